"""The controlled study inside a small vision-language model: the same questions, texts, steps and seed for all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock

from embprobe.embeddings.session import Session, TrainingProgress
from embprobe.embeddings.workspace import slug
from embprobe.encoders.spec import Encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.probing.context import NotApplicable
from embprobe.system.processes import Machine
from embprobe.system.text_models import transformers_library
from embprobe.system.threads import side_by_side
from embprobe.vlm.answers import Answers, read_answers, write_answers
from embprobe.vlm.evaluate import answer
from embprobe.vlm.generate import generate
from embprobe.vlm.image_tokens import StoredTokens, stored_tokens, token_encoder
from embprobe.vlm.language import load_language
from embprobe.vlm.prompts import PROMPTS, conversations_of
from embprobe.vlm.question import QuestionSet
from embprobe.vlm.recipe import Recipe, read_recipe
from embprobe.vlm.trained import BLIND, stages_of, train, train_language
from embprobe.vlm.training import TrainingData

SCENES, TEST_SCENES = 20_000, 2_500
"""Scenes that a model learns from, and of each test."""
SEEN, UNSEEN = "unseen drawings", "unseen concepts"
"""The tests: drawings of concepts that were trained on by a house that was left out, and concepts never seen, which
nobody is asked to name."""


@dataclass(frozen=True)
class Material:
    """What models learn from and what they are asked."""

    images: Images
    """The scenes that are learned from."""
    data: TrainingData
    tests: Mapping[str, QuestionSet]
    """By the name of the test."""

    @property
    def sets(self) -> list[Images]:
        """All sets of scenes, those that are learned from first."""
        return [self.images, *(test.images for test in self.tests.values())]


def make_material(
    images: Images, *, recipe: Recipe, seed: int, scenes: int = SCENES, test_scenes: int = TEST_SCENES
) -> Material:
    """Generate scenes, conversations about them and questions, out of images with a label ``split``.

    Args:
        images: Cut-outs with labels: ``concept``, ``name``, ``category``, ``style``, and ``split``, of which ``train``
            is learned from, ``unseen-drawing`` and ``unseen-concept`` are asked about.
        recipe: Its prompt words the conversations.
        seed: Decides everything that is random.
        scenes: Those that are learned from.
        test_scenes: Those of each test.

    Raises:
        NotApplicable: A split has no images, or questions cannot be made of them.
    """
    parts = {split: images.where(split=split) for split in ("train", "unseen-drawing", "unseen-concept")}
    for split, part in parts.items():
        if not len(part):
            raise NotApplicable(f"of '{images.name}' no image has the split '{split}', which questions are made of")
    try:
        learned = generate(parts["train"], scenes=scenes, seed=seed, name="scenes to learn from")
        known = {option for each in learned.questions.questions if each.kind == "name" for option in each.options}
        tests = {
            SEEN: generate(parts["unseen-drawing"], scenes=test_scenes, seed=seed + 1, names=known, name=SEEN),
            UNSEEN: generate(parts["unseen-concept"], scenes=test_scenes, seed=seed + 2, names=(), name=UNSEEN),
        }
    except EmbprobeError as error:
        raise NotApplicable(f"no questions can be made of '{images.name}': {str(error).removesuffix('.')}") from None
    data = TrainingData(
        conversations_of(learned.questions, PROMPTS[recipe.language.prompt], seed=seed),
        dict(zip(learned.questions.images.keys, learned.captions, strict=True)),
    )
    return Material(learned.questions.images, data, {name: part.questions for name, part in tests.items()})


def run_controlled(
    encoders: Sequence[Encoder],
    images: Images,
    session: Session,
    *,
    recipe: Recipe | None = None,
    scenes: int = SCENES,
    test_scenes: int = TEST_SCENES,
    blind: bool = True,
    machine: Machine | None = None,
) -> dict[str, dict[str, Answers]]:
    """Train the small model on each encoder's tokens, by the same texts, steps and seed, and put questions to it.

    Everything is kept in the workspace: what was trained and asked before is read, and what was interrupted goes on.

    Args:
        encoders: The encoders; those without tokens are left out with a note. Raw pixels get the grid of the first.
        images: Cut-outs, as :func:`make_material` needs them.
        session: The workspace, the device and the seed.
        recipe: With a language model from scratch; by default ``small``.
        scenes: Those that are learned from.
        test_scenes: Those of each test.
        blind: Whether a model that sees no images is trained, too.
        machine: The device of the training; by default the session's.

    Returns:
        By the name of an encoder, or ``blind``, and by the name of a test its answers.

    Raises:
        NotApplicable: No questions can be made of the images.
        UsageError: No encoder has tokens, or the package transformers is missing.
    """
    transformers_library()  # rather now than after the images are encoded
    recipe, machine = recipe or read_recipe("small"), machine or Machine(device=session.device)
    material = make_material(images, recipe=recipe, seed=session.seed, scenes=scenes, test_scenes=test_scenes)
    readers = _token_encoders(encoders, recipe, session)
    for part in material.sets:  # pictures are drawn once for all encoders
        session.stores(part, list(readers.values()), f"tokens of {part.name}", tokens=True)
    root = session.workspace.vlm(_mark(recipe, material, session.seed))
    runs = [
        _Run(
            name,
            root / f"{slug(name)}-{reader.spec.fingerprint[:8]}",
            [stored_tokens(part, reader, session) for part in material.sets],
        )
        for name, reader in readers.items()
    ]
    if blind:
        runs.append(_Run(BLIND, root / BLIND, [None] * len(material.sets)))
    left = [run for run in runs if not all(path.is_file() for path in run.files(material).values())]
    if left:
        _train_all(left, material, recipe, root, session, machine)
    return {run.name: {test: read_answers(path) for test, path in run.files(material).items()} for run in runs}


def _token_encoders(encoders: Sequence[Encoder], recipe: Recipe, session: Session) -> dict[str, Encoder]:
    """Return by the name of each encoder that of its tokens; those without tokens are noted."""
    readers: dict[str, Encoder] = {}
    for encoder in encoders:
        try:
            readers[encoder.spec.name] = token_encoder(encoder, recipe.image, next(iter(readers.values()), None))
        except UsageError as error:
            session.note(str(error).removesuffix("."))
    if not readers:
        raise UsageError("None of the encoders gives tokens that a language model could read: name a network.")
    return readers


@dataclass(frozen=True)
class _Run:
    """The training of one model, and its folder."""

    name: str
    out: Path
    sources: Sequence[StoredTokens | None]
    """Of the scenes that are learned from, then of each test; None for a model that sees nothing."""

    def files(self, material: Material) -> dict[str, Path]:
        """Return by the name of a test the file of its answers."""
        return {
            test: self.out / f"{slug(test)}-{asked.fingerprint[:8]}.jsonl" for test, asked in material.tests.items()
        }

    def steps(self, recipe: Recipe, material: Material) -> int:
        """Return the number of steps."""
        stages = stages_of(recipe, blind=self.sources[0] is None)
        return sum(map(material.data.steps, stages))


class _Stopped(Exception):
    """Ends a training beside which another failed, or that the user interrupted; its checkpoint stays."""


class _Counted:
    """Adds up the steps of trainings that run side by side, for one progress bar, and ends them together."""

    def __init__(self, progress: TrainingProgress | None, total: int) -> None:
        self._progress, self._total, self._lock = progress, total, Lock()
        self._steps: dict[str, int] = {}
        self._stopped = Event()

    def stop(self) -> None:
        """Let each training end at its next step."""
        self._stopped.set()

    def of(self, name: str) -> TrainingProgress:
        """Return what a training calls after each step."""

        def count(step: int, steps: int, numbers: dict[str, float]) -> None:
            if self._stopped.is_set():
                raise _Stopped
            with self._lock:
                self._steps[name] = step
                if self._progress is not None:
                    self._progress(sum(self._steps.values()), self._total, numbers)

        return count


def _train_all(
    runs: Sequence[_Run], material: Material, recipe: Recipe, root: Path, session: Session, machine: Machine
) -> None:
    """Train the language model, then on each encoder's tokens a copy of it, side by side; write their answers."""
    words = [stage for stage in recipe.stages if not stage.sees]
    with session.training("language model", sum(map(material.data.steps, words))) as progress:
        language = train_language(
            recipe, material.data, root / "language", seed=session.seed, machine=machine, progress=progress
        )
    steps = sum(run.steps(recipe, material) for run in runs)
    name = runs[0].name if len(runs) == 1 else f"{len(runs)} models"
    with session.training(name, steps) as bar:
        counted = _Counted(bar, steps)
        side_by_side(
            lambda run: _train(run, material, recipe, language, session, machine, counted),
            runs,
            device=machine.device,
            stop=counted.stop,
        )


def _train(
    run: _Run,
    material: Material,
    recipe: Recipe,
    language: Path,
    session: Session,
    machine: Machine,
    counted: _Counted,
) -> None:
    """Train a model on an encoder's tokens, put the questions of each test to it, and write its answers."""
    trained = train(
        recipe,
        material.data,
        run.out,
        source=run.sources[0],
        language=load_language(language, device=machine.device),
        seed=session.seed,
        machine=replace(machine, threads=None),
        progress=counted.of(run.name),
    )
    for (test, questions), source in zip(material.tests.items(), run.sources[1:], strict=True):
        answers = answer(
            trained.model,
            questions,
            recipe,
            name=run.name,
            tokenizer=trained.tokenizer,
            source=source,
            machine=machine,
        )
        write_answers(run.files(material)[test], answers)


def _mark(recipe: Recipe, material: Material, seed: int) -> str:
    facts = [recipe.model_dump_json(by_alias=True), material.data.fingerprint, str(seed)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
