"""Plans: numbers of Vicuna 7B by hand, and memory as autograd really keeps it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM

from embprobe.errors import EmbprobeError
from embprobe.system.processes import Machine
from embprobe.vlm.conversation import IMAGE, Conversation, Turn
from embprobe.vlm.language import Language
from embprobe.vlm.lora import with_adapters
from embprobe.vlm.planning import (
    DataSize,
    EncoderSize,
    Plan,
    activation_bytes,
    data_size,
    fewest_parts,
    language_shape,
    measured_rate,
    plan,
)
from embprobe.vlm.prompts import PROMPTS
from embprobe.vlm.recipe import Data, Lora, read_recipe
from embprobe.vlm.training import TrainingData
from tests.vlm.tiny_llama import tiny_tokenizer

GPU = Machine("cuda:0", precision="bfloat16")
LARGE = EncoderSize(image_tokens=576, width=1024)
"""CLIP ViT-L/14 of 336 pixels: 24 x 24 patches."""
SIZES: dict[Data, DataSize] = {
    "captions": DataSize(samples=558_128, images=558_128, text_tokens=24, longest=124),
    "conversations": DataSize(samples=665_298, images=665_298, text_tokens=224, longest=4000),
}
VICUNA = language_shape(LlamaConfig())  # transformers' defaults are the numbers of Llama 7B


def planned(recipe: str = "llava-1.5", *, machine: Machine = GPU, available: int = 141 * 10**9, **more: Any) -> Plan:
    return plan(read_recipe(recipe), VICUNA, LARGE, SIZES, machine=machine, available=available, **more)


def test_vicunas_weights_by_hand() -> None:
    # a block: four matrices of attention, three of the perceptron, two norms; embeddings, head, the last norm
    block = 4 * 4096**2 + 3 * 4096 * 11008
    assert VICUNA.matrices == 32 * block + 32_000 * 4096
    assert VICUNA.parameters == 32 * (block + 2 * 4096) + 2 * 32_000 * 4096 + 4096 == 6_738_415_616
    assert VICUNA.per_rank == 32 * (4 * (4096 + 4096) + 3 * (4096 + 11008))
    assert (VICUNA.width, VICUNA.inner, VICUNA.depth, VICUNA.vocabulary) == (4096, 11008, 32, 32000)


def test_a_model_that_ties_its_embeddings_has_them_once_and_uses_them_as_its_head() -> None:
    shape = language_shape(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=100, n_positions=16))
    block = 4 * 8 * 8 + 2 * 8 * 32 + 3 * 8 + 8 + 32 + 8 + 4 * 8
    assert shape.parameters == 100 * 8 + 16 * 8 + block + 2 * 8


def test_steps_tokens_and_trained_weights_are_llavas() -> None:
    first, second = planned().stages
    assert (first.name, first.steps, first.tokens) == ("pre-training", 2181, 600)
    assert (second.name, second.steps, second.tokens) == ("tuning", 5198, 800)
    connector = 1024 * 4096 + 4096 + 4096 * 4096 + 4096
    assert (first.trained, second.trained) == (connector, connector + 6_738_415_616)
    assert planned("llava-1.5-lora").stages[1].trained == connector + 319_815_680


def test_memory_of_full_tuning_by_hand() -> None:
    first, second = planned(machine=replace(GPU, accumulate=128)).stages
    every = 6_738_415_616 + 20_979_712
    assert second.memory["weights"] == 4 * every + 2 * VICUNA.matrices
    assert second.memory["gradients"] == 4 * every and second.memory["optimizer"] == 8 * every
    # one sample of 2,048 tokens, for it is cut there
    assert second.memory["activations"] == 2048 * (32 * (34 * 4096 + 8 * 11008) + 16 * 32_000)
    # two samples of 576 + 124 tokens; gradients pass through the frozen model and train the connector alone
    assert first.memory["activations"] == 2 * 700 * (32 * (16 * 4096 + 6 * 11008) + 16 * 32_000)
    assert first.memory["gradients"] == 4 * 20_979_712


def test_a_model_that_stays_frozen_is_held_in_half_precision() -> None:
    lora = planned("llava-1.5-lora", machine=replace(GPU, accumulate=128)).stages[1]
    adapters = 319_815_680
    assert lora.memory["weights"] == 2 * 6_738_415_616 + 4 * (20_979_712 + adapters)
    assert lora.memory["optimizer"] == 8 * (20_979_712 + adapters)
    assert planned("llava-1.5-lora", machine=replace(GPU, precision="float32")).stages[1].memory["weights"] > 26e9


def test_what_fits_where() -> None:
    def parts(recipe: str, available: int) -> int | None:
        stages = read_recipe(recipe).stages
        return fewest_parts(
            lambda number: planned(recipe, machine=replace(GPU, accumulate=number), available=available),
            [stage.batch_size for stage in stages],
        )

    assert not planned(available=160 * 10**9).fits
    # 16 bytes a weight and 2 of copies are 121 GB, the longest sample 16 GB, and nine tenths of the memory 144 GB
    assert parts("llava-1.5", 160 * 10**9) == 128 and parts("llava-1.5", 80 * 10**9) is None
    # 19 GB and 24 GB a sample: two within 72 GB
    assert parts("llava-1.5-lora", 80 * 10**9) == 64 and parts("llava-1.5-lora", 24 * 10**9) is None
    assert planned(processes=8).stages[1].memory["gradients"] == 8 * planned().stages[1].trained  # and their exchange


def test_time_is_operations_by_rate() -> None:
    first, second = planned(rate=4e14, processes=8).stages
    attention = 32 * 4096 * 600
    expected = 2181 * 256 * 600 * (4 * VICUNA.matrices + 8 * attention)
    assert first.flops == pytest.approx(expected, rel=1e-12)
    assert first.seconds == pytest.approx(expected / 8 / 4e14)
    attention = 32 * 4096 * 800
    assert second.flops == pytest.approx(5198 * 128 * 800 * (6 * VICUNA.matrices + 12 * attention), rel=1e-12)
    assert planned().seconds == 0
    # LLaVA-1.5's authors had 8 A100 for about 5.5 and 20 hours; 0.4 of an A100's 312e12 operations a second
    published = planned(rate=0.4 * 312e12, processes=8)
    assert 1 < published.stages[0].seconds / 3600 < 5.5 and 5 < published.stages[1].seconds / 3600 < 20


def test_sizes_of_data_are_counted_in_tokens() -> None:
    tokenizer, prompt = tiny_tokenizer(), PROMPTS["vicuna-v1"]
    first, second = read_recipe("llava-1.5").stages
    talks = [
        Conversation(key=str(i), image="a" if i % 2 else None, turns=[Turn(f"{IMAGE}\n" * (i % 2) + "b", "c" * i)])
        for i in range(1, 2001)
    ]
    data = TrainingData(talks, {"a": "cat", "b": "a" * 50})
    captions = data_size(data, first, prompt, tokenizer)
    lengths = [len(sample.ids) for sample in data.samples(first, prompt, tokenizer)]
    assert captions == DataSize(2, 2, sum(lengths) / 2, max(lengths))
    conversations = data_size(data, second, prompt, tokenizer)
    lengths = [len(sample.ids) for sample in data.samples(second, prompt, tokenizer)]
    assert (conversations.samples, conversations.images, conversations.longest) == (2000, 1, max(lengths))
    assert conversations.text_tokens == pytest.approx(sum(lengths) / 2000, rel=0.02)
    with pytest.raises(EmbprobeError, match="There are no captions for the stage 'pre-training'"):
        data_size(TrainingData(talks, {}), first, prompt, tokenizer)


def test_an_encoder_is_paid_once_where_tokens_are_stored_and_else_each_epoch() -> None:
    seeing = EncoderSize(576, 1024, parameters=300_000_000)
    recipe = read_recipe("llava-1.5")
    twice = recipe.model_copy(update={"stages": [stage.model_copy(update={"epochs": 2.0}) for stage in recipe.stages]})

    def operations(*, stored: bool, encoder: EncoderSize) -> float:
        return plan(twice, VICUNA, encoder, SIZES, machine=GPU, available=1, stored=stored).stages[0].flops

    once = operations(stored=True, encoder=seeing) - operations(stored=True, encoder=LARGE)
    assert once == pytest.approx(2 * 300e6 * 576 * 558_128)
    assert operations(stored=False, encoder=seeing) - operations(stored=False, encoder=LARGE) == pytest.approx(2 * once)


def test_the_store_takes_two_bytes_a_number() -> None:
    assert planned(images=1000).stored_tokens == 1000 * 576 * 1024 * 2
    assert planned().stored_tokens == (558_128 + 665_298) * 576 * 1024 * 2 and planned(stored=False).stored_tokens == 0


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("trains", ["all", "none", "lora"])
def test_activations_are_those_that_autograd_keeps(trains: Literal["all", "none", "lora"], half: bool) -> None:
    if trains == "lora":
        pytest.importorskip("peft")
    per_token = (kept(trains, half, 4, 96) - kept(trains, half, 2, 96)) - (
        kept(trains, half, 4, 32) - kept(trains, half, 2, 32)
    )
    shape = replace(VICUNA, width=64, inner=128, depth=2)
    # the rest is two numbers a head and norm
    assert per_token / 64 == pytest.approx(activation_bytes(shape, trains=trains, half=half, rank=8), rel=0.03)


def kept(trains: str, half: bool, depth: int, tokens: int) -> int:
    """Return the bytes of all tensors that autograd keeps in a forward pass, besides the weights."""
    config = LlamaConfig(
        vocab_size=50, hidden_size=64, intermediate_size=128, num_hidden_layers=depth, num_attention_heads=4
    )
    model: Any = LlamaForCausalLM(config)
    if trains == "none":
        model.requires_grad_(False)
    if trains == "lora":
        adapted = with_adapters(Language(model, None, "", 0), Lora(rank=8, alpha=8, dropout=0.05), seed=0)
        model = adapted.model
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    tensors: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            tensors[storage.data_ptr()] = storage
        return tensor

    embeddings = torch.zeros(1, tokens, 64, requires_grad=True)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = model.train()(inputs_embeds=embeddings, use_cache=False).logits
    assert logits.requires_grad
    return sum(storage.nbytes() for storage in tensors.values())


def test_the_measured_rate_is_a_share_of_the_machines() -> None:
    assert 1e7 < measured_rate("cpu", "float32", side=256, seconds=0.05) < 1e13
