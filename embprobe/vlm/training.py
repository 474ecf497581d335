"""Train a vision-language model, stage by stage, from a recipe."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from embprobe.embeddings.session import TrainingProgress
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.files import replacing, sweep, write_json
from embprobe.system.history import History
from embprobe.system.processes import Machine, Processes, torch_threads
from embprobe.vlm.conversation import IMAGE, Conversation
from embprobe.vlm.image_tokens import TokenSource
from embprobe.vlm.model import VisionLanguageModel, collate, learned
from embprobe.vlm.order import batches
from embprobe.vlm.prompts import PROMPTS, PackedSamples, Prompt, Sample, caption_sample, described_sample, sample_of
from embprobe.vlm.recipe import Recipe, Stage

SAVED_EVERY = 300.0
"""Seconds between two checkpoints, the most that a kill costs."""


@dataclass(frozen=True)
class TrainingData:
    """What a model learns from: conversations about images, and by the key of an image its caption."""

    conversations: Sequence[Conversation]
    captions: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any text or key."""
        digest = hashlib.sha256()
        for each in self.conversations:
            digest.update(f"{each!r}\n".encode("utf-8", "replace"))
        for key, caption in self.captions.items():
            digest.update(f"{key!r} {caption!r}\n".encode("utf-8", "replace"))
        return digest.hexdigest()[:16]

    def texts(self) -> Iterator[str]:
        """Return all texts, without the marks of images."""
        for each in self.conversations:
            for turn in each.turns:
                yield turn.human.replace(IMAGE, " ")
                yield turn.assistant
        yield from self.captions.values()

    def steps(self, stage: Stage) -> int:
        """Return the number of steps of a stage over these data."""
        return stage.steps(len(self.captions if stage.data == "captions" else self.conversations))

    def seen_by(self, source: TokenSource) -> TrainingData:
        """Return the data without what is about images that have no tokens."""
        keys = set(source.keys)
        return TrainingData(
            [each for each in self.conversations if each.image is None or each.image in keys],
            {key: caption for key, caption in self.captions.items() if key in keys},
        )

    def samples(self, stage: Stage, prompt: Prompt, tokenizer: Any) -> PackedSamples:
        """Return the samples of a stage.

        Raises:
            EmbprobeError: There are none.
        """
        if stage.data == "captions":
            made = PackedSamples(caption_sample(key, text, prompt, tokenizer) for key, text in self.captions.items())
        elif stage.data == "descriptions":
            made = PackedSamples(
                described_sample(each, self.captions[each.image], prompt, tokenizer)
                for each in self.conversations
                if each.image is not None and each.image in self.captions
            )
        else:
            made = PackedSamples(sample_of(each, prompt, tokenizer) for each in self.conversations)
        if not len(made):
            raise EmbprobeError(f"There are no {stage.data} for the stage '{stage.name}'.")
        return made


def run_stages(
    model: VisionLanguageModel,
    stages: Sequence[Stage],
    data: TrainingData,
    recipe: Recipe,
    out: Path,
    *,
    tokenizer: Any,
    source: TokenSource | None,
    described: Mapping[str, object],
    seed: int,
    machine: Machine | None = None,
    progress: TrainingProgress | None = None,
) -> VisionLanguageModel:
    """Train a model through some stages of a recipe; its weights are changed.

    An interrupted run goes on from its last checkpoint in ``out``, with the losses of one that was never interrupted.
    The checkpoint stays; whoever saves the model removes it by :func:`forget`.

    Args:
        model: The model.
        stages: Those to go through.
        data: What is learned from.
        recipe: The prompt and the context are taken from it.
        out: The folder of the run, for its checkpoint and ``losses.csv``.
        tokenizer: Of the language model.
        source: The images' tokens; None for a model that sees no images, which learns from the same texts.
        described: Facts that identify the run; a folder with a run of others is refused.
        seed: Of the order of the samples.
        machine: The device and its settings; by default one CPU.
        progress: Called after each step, with the number of steps of all stages.

    Raises:
        UsageError: ``out`` holds another run.
        EmbprobeError: A stage has no data, the loss stops being a number, or the checkpoint is damaged.
    """
    machine = machine or Machine()
    refuse_other(out, described)
    prompt = PROMPTS[recipe.language.prompt]
    with torch_threads(machine.threads), torch.random.fork_rng(range(torch.cuda.device_count())):
        run = _Run(model, out, described, machine, Processes(machine.device))
        plans = [
            _Plan.of(stage, data.samples(stage, prompt, tokenizer), source, recipe.language.context, seed=[seed, i])
            for i, stage in enumerate(stages)
        ]
        total = sum(plan.steps for plan in plans)
        run.resume(len(plans), total)
        while run.stage < len(plans):
            run.train(plans[run.stage], source, sum(plan.steps for plan in plans[: run.stage]), total, progress)
        if not plans and run.processes.first:
            write_json(out / "run.json", dict(described))  # which the end of a stage writes otherwise
    return model.eval()


def refuse_other(out: Path, described: Mapping[str, object]) -> None:
    """Raise UsageError if a folder holds a run that is described otherwise."""
    known = described_in(out)
    if known is None:
        return
    if differing := sorted(name for name in described if known.get(name) != json.loads(json.dumps(described[name]))):
        raise UsageError(
            f"'{out}' holds another run ({', '.join(differing)}). Choose another --out or remove the folder."
        )


def described_in(out: Path) -> dict[str, Any] | None:
    """Read the facts of the run in a folder; None if there is none.

    Raises:
        EmbprobeError: The file is damaged.
    """
    path = out / "run.json"
    if not path.exists():
        return None
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        described = None
    if not isinstance(described, dict):
        raise EmbprobeError(f"'{path}' is damaged. Choose another --out or remove '{out}'.")
    return described


def forget(out: Path) -> None:
    """Remove the checkpoint of a run whose model is saved."""
    (out / "checkpoint.pt").unlink(missing_ok=True)


@dataclass(frozen=True)
class _Plan:
    """The samples of a stage and their order."""

    stage: Stage
    samples: Sequence[Sample]
    order: np.ndarray[Any, np.dtype[np.int64]]
    image_tokens: int
    context: int
    seed: Sequence[int]

    @classmethod
    def of(
        cls, stage: Stage, samples: Sequence[Sample], source: TokenSource | None, context: int, *, seed: list[int]
    ) -> _Plan:
        lengths = [len(sample.ids) for sample in samples]
        steps = stage.steps(len(samples))
        order = batches(lengths, stage.batch_size, steps, seed=_mixed(seed), by_length=stage.by_length)
        return cls(stage, samples, order, 0 if source is None else source.count, context, seed)

    @property
    def steps(self) -> int:
        return len(self.order)


class _Run:
    """The state of a training: the stage and the step in it, the optimizer, and what is written down."""

    def __init__(
        self,
        model: VisionLanguageModel,
        out: Path,
        described: Mapping[str, object],
        machine: Machine,
        processes: Processes,
    ) -> None:
        self.model, self.out, self.described = model.to(processes.device), out, described
        self.machine, self.processes = machine, processes
        self.stage = self.step = 0
        self.touched: list[str] = []
        self.history = History(1)
        self._state: dict[str, Any] = {}

    def resume(self, stages: int, total: int) -> None:
        """Take up the checkpoint in the folder, if there is one."""
        self.history = History(total)
        if self.processes.first:
            sweep(self.out)
        checkpoint = self.out / "checkpoint.pt"
        if not checkpoint.exists():
            return
        try:
            state = torch.load(checkpoint, weights_only=True, map_location=self.processes.device)
            self.stage, self.step, self.touched = state["stage"], state["step"], state["touched"]
            known = dict(self.model.named_parameters())
            with torch.no_grad():
                for name, value in state["weights"].items():
                    known[name].copy_(value)
            self.history.restore(state["history"])
            self._state = state["optimizer"]
            if not 0 <= self.stage <= stages:
                raise ValueError(self.stage)
        except (UnpicklingError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError):
            raise EmbprobeError(f"'{checkpoint}' is damaged. Remove it to start the run again.") from None

    def train(
        self, plan: _Plan, source: TokenSource | None, before: int, total: int, progress: TrainingProgress | None
    ) -> None:
        """Go through the rest of a stage."""
        trained = self._chosen(plan.stage)
        optimizer = _optimizer(plan.stage, trained)
        if self._state:
            optimizer.load_state_dict(self._state)
        network: Any = self.model.train()
        unsynchronised: Any = nullcontext
        if self.processes.world > 1:
            network = DistributedDataParallel(self.model)
            unsynchronised = network.no_sync
        saved = time.monotonic()
        for positions in plan.order[self.step :]:
            # dropout draws from torch's global state: a run that goes on after a kill draws as one that never stopped
            torch.manual_seed(_mixed([*plan.seed, self.step, self.processes.rank]))
            loss = self._step(network, unsynchronised, optimizer, plan, positions, source)
            self.step += 1
            self.history.add(before + self.step, {"loss": loss})
            if progress is not None:
                progress(before + self.step, total, {"loss": loss})
            if time.monotonic() - saved > SAVED_EVERY and self.step < plan.steps:
                self._save(optimizer.state_dict())
                saved = time.monotonic()
        self.stage, self.step, self._state = self.stage + 1, 0, {}
        self._save({})

    def _chosen(self, stage: Stage) -> list[tuple[str, nn.Parameter]]:
        """Let the parameters of a stage be trained, and no others; return them."""
        chosen = []
        for name, parameter in self.model.named_parameters():
            of_connector, of_lora = name.startswith("connector."), ".lora_" in name
            on = {
                "connector": of_connector,
                "language model": not of_connector,
                "both": True,
                "connector and lora": of_connector or of_lora,
            }[stage.trains]
            parameter.requires_grad_(on)
            if on:
                chosen.append((name, parameter))
        self.touched = list(dict.fromkeys([*self.touched, *(name for name, _ in chosen)]))
        return chosen

    def _step(
        self,
        network: Any,
        unsynchronised: Any,
        optimizer: torch.optim.Optimizer,
        plan: _Plan,
        positions: np.ndarray[Any, np.dtype[np.int64]],
        source: TokenSource | None,
    ) -> float:
        """Train one step; return its loss, the mean over all learned tokens of the batch."""
        stage, samples = plan.stage, [plan.samples[i] for i in positions]
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate_at(self.step, plan.steps, group["peak"])
        # the whole batch is known to every process, and so is the number by which all their sums are divided
        whole = collate(samples, plan.image_tokens, context=plan.context)
        count = max(1, learned(whole))
        optimizer.zero_grad()
        loss = torch.zeros((), device=self.processes.device)
        parts = self.processes.parts(len(samples), self.machine.accumulate)
        for number, part in enumerate(parts):
            mine = samples[part]
            batch = whole if len(mine) == len(samples) else collate(mine, plan.image_tokens, context=plan.context)
            batch = batch.to(self.processes.device)
            tokens = self._tokens(mine, source)
            last = number == len(parts) - 1
            with nullcontext() if last else unsynchronised():
                with self.machine.autocast():
                    summed = network(batch, tokens)
                # processes' gradients are averaged, and here they are to be added
                (summed * self.processes.world / count).backward()
            loss += summed.detach() / count
        if self.processes.world > 1:
            torch.distributed.all_reduce(loss)
        value = float(loss)
        if not math.isfinite(value):
            raise EmbprobeError(f"The loss became {value} in the stage '{stage.name}'. Try a lower learning rate.")
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], stage.clip)
        optimizer.step()
        return value

    def _tokens(self, samples: Sequence[Sample], source: TokenSource | None) -> Tensor | None:
        keys = [sample.image for sample in samples if sample.image is not None]
        return None if source is None or not keys else source(keys).to(self.processes.device)

    def _save(self, optimizer: Mapping[str, Any]) -> None:
        if not self.processes.first:
            return
        write_json(self.out / "run.json", dict(self.described))
        known = dict(self.model.named_parameters())
        state = {
            "stage": self.stage,
            "step": self.step,
            "touched": self.touched,
            "weights": {name: known[name].detach() for name in self.touched},
            "optimizer": dict(optimizer),
            "history": self.history.state(),
        }
        with replacing(self.out / "checkpoint.pt") as path:
            torch.save(state, path)
        self.history.write(self.out / "losses.csv")


def _mixed(seeds: Sequence[int]) -> int:
    """Return one seed from several numbers."""
    return int(np.random.SeedSequence(list(seeds)).generate_state(1)[0])


def _optimizer(stage: Stage, trained: Sequence[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    """Make AdamW; weights of fewer than two dimensions do not decay, and the connector may have a rate of its own."""
    groups = list[dict[str, Any]]()
    for peak, of_connector in (
        (stage.connector_learning_rate or stage.learning_rate, True),
        (stage.learning_rate, False),
    ):
        members = [parameter for name, parameter in trained if name.startswith("connector.") == of_connector]
        for decay, part in _by_dimensions(members, stage.weight_decay):
            groups.append({"params": part, "weight_decay": decay, "peak": peak})
    return torch.optim.AdamW(groups, lr=stage.learning_rate, fused=True)


def _by_dimensions(parameters: Sequence[nn.Parameter], decay: float) -> Iterator[tuple[float, list[nn.Parameter]]]:
    for value, part in (
        (decay, [each for each in parameters if each.ndim >= 2]),
        (0.0, [each for each in parameters if each.ndim < 2]),
    ):
        if part:
            yield value, part
