"""Say before a training how many steps, how much memory, disk and time it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from embprobe.errors import EmbprobeError
from embprobe.system.memory import available_memory
from embprobe.system.processes import Machine
from embprobe.system.text_models import transformers_library
from embprobe.vlm.prompts import Prompt
from embprobe.vlm.recipe import Data, Recipe, Stage
from embprobe.vlm.training import TrainingData

Part = Literal["weights", "gradients", "optimizer", "activations"]
_FLOAT = 4
_TOKENIZED = 500
"""Samples of which the mean length is taken."""
_HEADROOM = 0.9
"""The share of a device's memory that tensors may take; the rest goes to the libraries and to gaps between tensors."""
_UTILISED = 0.4
"""The share of the rate of a large matrix product that a training reaches: Chowdhery et al. 2022, "PaLM", table 3, has
0.21 to 0.46 for four large models."""


@dataclass(frozen=True)
class LanguageShape:
    """The numbers of a causal language model that memory and time depend on."""

    parameters: int
    matrices: int
    """Weights of its linear layers, those of the head among them: each is used once for each token."""
    per_rank: int
    """Weights that LoRA adds for each unit of its rank: inputs and outputs of all linear layers but the head."""
    width: int
    inner: int
    """The width inside of a block's perceptron."""
    depth: int
    vocabulary: int


@dataclass(frozen=True)
class DataSize:
    """The size of a stage's data."""

    samples: int
    images: int
    """Different ones."""
    text_tokens: float
    """Of a sample on average, the template's among them."""
    longest: int
    """The most text tokens of a sample."""


@dataclass(frozen=True)
class EncoderSize:
    """The numbers of an image encoder that a plan depends on."""

    image_tokens: int
    """Tokens of an image that the language model reads."""
    width: int
    parameters: int = 0
    """0 if its tokens are stored already, or nobody knows."""


@dataclass(frozen=True)
class StagePlan:
    """One stage of a training."""

    name: str
    samples: int
    steps: int
    tokens: float
    """Of a sample on average, those of the image among them."""
    trained: int
    """Weights that are trained."""
    memory: Mapping[Part, int]
    """Bytes on each device at the same time."""
    flops: float
    seconds: float
    """0 if nobody knows the machine's rate."""

    @property
    def total_memory(self) -> int:
        """Bytes on each device."""
        return sum(self.memory.values())


@dataclass(frozen=True)
class Plan:
    """A training that has not begun."""

    language: LanguageShape
    connector: int
    """Weights of the connector."""
    stages: tuple[StagePlan, ...]
    stored_tokens: int
    """Bytes on the disk, if the images' tokens are stored."""
    available: int
    """Bytes that a device of this machine has for it."""
    rate: float
    """Operations a second that a training reaches here; 0 if nobody knows."""

    @property
    def memory(self) -> int:
        """Bytes on each device, of the stage that takes most."""
        return max(stage.total_memory for stage in self.stages)

    @property
    def fits(self) -> bool:
        """Whether a device has memory enough."""
        return self.memory <= _HEADROOM * self.available

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)


def language_shape(config: Any) -> LanguageShape:
    """Return the shape of a language model from its configuration, by building it without memory for its weights.

    Example:
        >>> from transformers import LlamaConfig
        >>> vicuna = language_shape(LlamaConfig())  # the defaults are those of Llama 7B
        >>> vicuna.parameters, vicuna.matrices, 128 * vicuna.per_rank
        (6738415616, 6607077376, 319815680)
    """
    automatic: Any = transformers_library().AutoModelForCausalLM
    with torch.device("meta"):
        model = automatic.from_config(config)
    head = model.get_output_embeddings()
    layers = [each for each in model.modules() if isinstance(each, nn.Linear)]
    width = int(model.get_input_embeddings().embedding_dim)
    return LanguageShape(
        parameters=sum(each.numel() for each in model.parameters()),
        matrices=sum(each.weight.numel() for each in layers),
        per_rank=sum(each.in_features + each.out_features for each in layers if each is not head),
        width=width,
        inner=int(getattr(config, "intermediate_size", None) or 4 * width),
        depth=int(config.num_hidden_layers),
        vocabulary=int(model.get_input_embeddings().num_embeddings),
    )


def plan(
    recipe: Recipe,
    language: LanguageShape,
    encoder: EncoderSize,
    sizes: Mapping[Data, DataSize],
    *,
    machine: Machine,
    processes: int = 1,
    available: int | None = None,
    rate: float = 0.0,
    stored: bool = True,
    images: int | None = None,
) -> Plan:
    """Plan the stages of a recipe that see images.

    **Memory** of a device: weights take 4 bytes each, or 2 where the language model is frozen and the precision is
    bfloat16; where it is trained in bfloat16, its matrices are there as copies of 2 bytes, too. Gradients take 4 bytes
    for each trained weight, and 4 more where several processes exchange them; AdamW's two moments 8 (Kingma and Ba
    2015, algorithm 1). Activations are those that autograd keeps of a Llama (:func:`activation_bytes`), and four
    copies of the logits, for the longest sample of a part of a batch.

    **Time**: a token takes two operations for each weight forward, as many backward for the gradient of the inputs,
    which stages with a frozen language model need, too, and as many for that of the weights where they are trained
    (Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1); attention takes ``4 s w`` a layer for
    each of these passes, with ``s`` tokens of width ``w`` (Chowdhery et al. 2022, "PaLM", appendix B). An encoder takes
    two operations for each weight and token, once an image if its tokens are stored, else in each epoch.

    Args:
        recipe: The recipe.
        language: The shape of its language model.
        encoder: The size of the image encoder.
        sizes: By the data of a stage its size.
        machine: Precision and number of the parts that a batch goes through the model in.
        processes: Among which each part is divided.
        available: Bytes of memory that a device has; by default those of this machine.
        rate: Operations a second that a training reaches on each device (:func:`measured_rate`); 0 if unknown.
        stored: Whether tokens of images are stored.
        images: The number of different images of all stages; by default the sum of the stages' numbers.
    """
    connector = connector_parameters(encoder.width, language.width, depth=recipe.connector.depth)
    weight = 2 if language_precision(recipe, machine) == "bfloat16" else _FLOAT
    stages = []
    for stage in recipe.stages:
        if not stage.sees:
            continue
        size = sizes[stage.data]
        adapters = language.per_rank * max(each.lora.rank if each.lora else 0 for each in recipe.stages)
        trained = {
            "connector": connector,
            "both": connector + language.parameters + adapters,
            "language model": language.parameters + adapters,
            "connector and lora": connector + adapters,
        }[stage.trains]
        whole = stage.trains in ("both", "language model")
        share = min(1.0, size.images / size.samples)  # of the samples that have an image, at most
        context = recipe.language.context
        mean = min(context, size.text_tokens + share * encoder.image_tokens)
        longest = min(context, size.longest + encoder.image_tokens)
        part = math.ceil(stage.batch_size / machine.accumulate / processes)
        copies = 2 * language.matrices if machine.precision == "bfloat16" and weight == _FLOAT else 0
        memory: dict[Part, int] = {
            "weights": weight * language.parameters + _FLOAT * (connector + adapters) + copies,
            "gradients": _FLOAT * trained * (2 if processes > 1 else 1),
            "optimizer": 2 * _FLOAT * trained,
            "activations": part * longest * _token_bytes(language, stage, machine),
        }
        steps = stage.steps(size.samples)
        passes = 3 if whole else 2
        token = 2 * passes * language.matrices + 4 * passes * language.depth * language.width * mean
        flops = steps * stage.batch_size * mean * token
        flops += 2 * encoder.parameters * encoder.image_tokens * size.images * (1 if stored else stage.epochs)
        seconds = flops / (rate * processes) if rate else 0.0
        stages.append(StagePlan(stage.name, size.samples, steps, mean, trained, memory, flops, seconds))
    images = sum(size.images for size in sizes.values()) if images is None else images
    bytes_each = 2 if recipe.image.stored == "float16" else 4
    return Plan(
        language,
        connector,
        tuple(stages),
        images * encoder.image_tokens * encoder.width * bytes_each if stored else 0,
        memory_of(machine.device) if available is None else available,
        rate,
    )


def language_precision(recipe: Recipe, machine: Machine) -> str:
    """Return the precision of a language model's weights: that of the machine, where they stay frozen.

    Small steps of the learning rate would be lost in the rounding of bfloat16.
    """
    frozen = all(stage.trains in ("connector", "connector and lora") for stage in recipe.stages)
    return machine.precision if frozen else "float32"


def data_size(data: TrainingData, stage: Stage, prompt: Prompt, tokenizer: Any) -> DataSize:
    """Return the size of a stage's data; of large data some evenly spaced samples, and the longest, are tokenized.

    Raises:
        EmbprobeError: There is nothing for the stage to learn from.
    """
    if stage.data == "captions":
        keys, lengths = list(data.captions), [len(caption) for caption in data.captions.values()]
        images = len(keys)

        def part(positions: Sequence[int]) -> TrainingData:
            return TrainingData([], {keys[i]: data.captions[keys[i]] for i in positions})
    else:
        lengths = [sum(len(turn.human) + len(turn.assistant) for turn in each.turns) for each in data.conversations]
        images = len({each.image for each in data.conversations} - {None})

        def part(positions: Sequence[int]) -> TrainingData:
            return TrainingData([data.conversations[i] for i in positions], data.captions)

    count = len(lengths)
    if not count:
        raise EmbprobeError(f"There are no {stage.data} for the stage '{stage.name}'.")
    some = part(range(0, count, max(1, count // _TOKENIZED))).samples(stage, prompt, tokenizer)
    (longest,) = part([lengths.index(max(lengths))]).samples(stage, prompt, tokenizer)
    return DataSize(count, images, sum(len(each.ids) for each in some) / len(some), len(longest.ids))


def fewest_parts(plan_of: Callable[[int], Plan], batch_sizes: Sequence[int], *, processes: int = 1) -> int | None:
    """Return the smallest number of parts of a batch with which a training fits into memory; None if none does.

    Args:
        plan_of: Returns the plan for a number of parts.
        batch_sizes: Those of the stages; each must be divisible by the parts of all processes.
        processes: Among which each batch is divided.
    """
    most = math.gcd(*batch_sizes)
    numbers = [parts for parts in range(1, most + 1) if most % (parts * processes) == 0]
    return next((parts for parts in numbers if plan_of(parts).fits), None)


def connector_parameters(width: int, language_width: int, *, depth: int) -> int:
    """Return the number of weights of a connector: ``depth`` linear layers with biases.

    Example:
        >>> connector_parameters(1024, 4096, depth=2)  # 1024 x 4096 + 4096 + 4096 x 4096 + 4096
        20979712
    """
    return width * language_width + (depth - 1) * language_width**2 + depth * language_width


def activation_bytes(
    language: LanguageShape, *, trains: Literal["all", "none", "lora"], half: bool, rank: int = 0
) -> int:
    """Return the bytes that autograd keeps of a token in all blocks of a Llama, counted by its saved tensors.

    A block of width ``w`` and inner width ``f`` keeps ``a w + b f`` bytes, and ``c`` for each unit of LoRA's rank. Its
    attention is computed without keeping a matrix of all pairs of tokens (torch's ``scaled_dot_product_attention``).

    Args:
        language: The shape.
        trains: Which weights are trained; through frozen ones gradients still pass to the connector.
        half: Whether it computes in bfloat16.
        rank: LoRA's.

    Example:
        >>> tiny = LanguageShape(0, 0, 0, width=10, inner=100, depth=2, vocabulary=0)
        >>> activation_bytes(tiny, trains="all", half=False)  # 2 x (40 x 10 + 16 x 100)
        4000
    """
    by_width, by_inner, by_rank = _KEPT[trains, half]
    return language.depth * (by_width * language.width + by_inner * language.inner + by_rank * rank)


_KEPT = {
    ("all", False): (40, 16, 0),
    ("all", True): (34, 8, 0),
    ("none", False): (24, 12, 0),
    ("none", True): (16, 6, 0),
    ("lora", False): (72, 20, 28),
    ("lora", True): (52, 12, 14),
}


def measured_rate(device: str, precision: str, *, side: int = 1024, seconds: float = 0.3) -> float:
    """Return the operations a second that a training reaches on a device: 0.4 of the rate of large matrix products.

    The products are measured for ``seconds``; ``side`` is that of their matrices.
    """
    matrix = torch.ones(side, side, device=device, dtype=getattr(torch, precision))
    done, started = 0, 0.0
    for number in range(1_000_000):
        if number == 2:  # the first ones load libraries
            _finished(device)
            started = time.perf_counter()
        matrix = (matrix @ matrix).clamp_(0, 1)
        if number >= 2 and number % 4 == 0:
            _finished(device)
            done = number - 1
            if time.perf_counter() - started > seconds:
                break
    return _UTILISED * 2 * side**3 * done / (time.perf_counter() - started)


def memory_of(device: str) -> int:
    """Return the bytes that a device has: a GPU's whole memory; of the CPU's what is available now."""
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory)
    return available_memory()


def _token_bytes(language: LanguageShape, stage: Stage, machine: Machine) -> int:
    """Return the bytes that a token keeps in a stage, its logits among them."""
    trains: Literal["all", "none", "lora"] = "none"
    if stage.lora is not None:
        trains = "lora"
    elif stage.trains != "connector":
        trains = "all"
    rank = stage.lora.rank if stage.lora is not None else 0
    half = machine.precision == "bfloat16"
    return activation_bytes(language, trains=trains, half=half, rank=rank) + 4 * _FLOAT * language.vocabulary


def _finished(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
