"""The controlled study inside a small vision-language model: the same questions, texts, steps and seed for all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import slug
from embprobe.encoders.spec import Encoder
from embprobe.errors import UsageError
from embprobe.images.rows import Images
from embprobe.system.processes import Machine
from embprobe.vlm.answers import Answers, read_answers, write_answers
from embprobe.vlm.conversation import Conversation, Turn
from embprobe.vlm.evaluate import answer
from embprobe.vlm.generate import generate
from embprobe.vlm.image_tokens import StoredTokens, token_encoder
from embprobe.vlm.language import load_language
from embprobe.vlm.prompts import PROMPTS, Prompt
from embprobe.vlm.question import Question, QuestionSet
from embprobe.vlm.recipe import Recipe, read_recipe
from embprobe.vlm.trained import BLIND, train, train_language
from embprobe.vlm.training import TrainingData

SCENES, TEST_SCENES = 20_000, 3_000
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
        UsageError: A split has no images.
    """
    parts = {split: images.where(split=split) for split in ("train", "unseen-drawing", "unseen-concept")}
    for split, part in parts.items():
        if not len(part):
            raise UsageError(f"Of '{images.name}' no image has the split '{split}', which questions are made of.")
    learned = generate(parts["train"], scenes=scenes, seed=seed, name="scenes to learn from")
    known = {option for each in learned.questions.questions if each.kind == "name" for option in each.options}
    tests = {
        SEEN: generate(parts["unseen-drawing"], scenes=test_scenes, seed=seed + 1, names=known, name=SEEN),
        UNSEEN: generate(parts["unseen-concept"], scenes=test_scenes, seed=seed + 2, names=(), name=UNSEEN),
    }
    data = TrainingData(
        conversations_of(learned.questions, PROMPTS[recipe.language.prompt], seed=seed),
        dict(zip(learned.questions.images.keys, learned.captions, strict=True)),
    )
    return Material(learned.questions.images, data, {name: part.questions for name, part in tests.items()})


def conversations_of(questions: QuestionSet, prompt: Prompt, *, seed: int) -> list[Conversation]:
    """Return a conversation about each image: its questions in random order, each with its options."""
    by_image: dict[str, list[Question]] = {}
    for each in questions.questions:
        by_image.setdefault(each.image, []).append(each)
    rng = np.random.default_rng(seed)
    made = []
    for image, asked in by_image.items():
        shuffled = [asked[i] for i in rng.permutation(len(asked))]
        later = [Turn(prompt.with_options(each), prompt.candidates(each)[each.answer]) for each in shuffled[1:]]
        made.append(Conversation(key=image, image=image, turns=[prompt.ask(shuffled[0]), *later]))
    return made


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
        encoders: The encoders; the grid of the first is that of encoders without one, such as raw pixels.
        images: Cut-outs, as :func:`make_material` needs them.
        session: The workspace, the device and the seed.
        recipe: With a language model from scratch; by default ``small``.
        scenes: Those that are learned from.
        test_scenes: Those of each test.
        blind: Whether a model that sees no images is trained, too.
        machine: The device of the training; by default the session's.

    Returns:
        By the name of an encoder, or ``blind``, and by the name of a test its answers.
    """
    recipe, machine = recipe or read_recipe("small"), machine or Machine(device=session.device)
    material = make_material(images, recipe=recipe, seed=session.seed, scenes=scenes, test_scenes=test_scenes)
    readers = list[Encoder]()
    for encoder in encoders:
        readers.append(token_encoder(encoder, recipe.image, readers[0] if readers else None))
    for part in material.sets:  # pictures are drawn once for all encoders
        session.stores(part, readers, f"tokens of {part.name}", tokens=True)
    root = session.workspace.vlm(_mark(recipe, material, session.seed))
    words = [stage for stage in recipe.stages if not stage.sees]
    with session.training(
        "language model", sum(stage.steps(len(material.data.conversations)) for stage in words)
    ) as progress:
        language = train_language(
            recipe, material.data, root / "language", seed=session.seed, machine=machine, progress=progress
        )
    found: dict[str, dict[str, Answers]] = {}
    for name, reader in [
        *((encoder.spec.name, reader) for encoder, reader in zip(encoders, readers, strict=True)),
        *([(BLIND, None)] if blind else []),
    ]:
        found[name] = _asked(name, reader, material, recipe, language, root, session, machine)
    return found


def _asked(
    name: str,
    reader: Encoder | None,
    material: Material,
    recipe: Recipe,
    language: Path,
    root: Path,
    session: Session,
    machine: Machine,
) -> dict[str, Answers]:
    """Return the answers of one encoder's model to each test, from the workspace if they are there."""
    out = root / (BLIND if reader is None else f"{slug(name)}-{reader.spec.fingerprint[:8]}")
    files = {test: out / f"{slug(test)}-{asked.fingerprint[:8]}.jsonl" for test, asked in material.tests.items()}
    if all(path.is_file() for path in files.values()):
        return {test: read_answers(path) for test, path in files.items()}
    source = None if reader is None else _stored(material.images, reader, session)
    total = sum(
        stage.steps(len(material.data.captions if stage.data == "captions" else material.data.conversations))
        for stage in recipe.stages
        if stage.sees and (source is not None or stage.trains != "connector")
    )
    with session.training(name, total) as progress:
        trained = train(
            recipe,
            material.data,
            out,
            source=source,
            language=load_language(language, device=machine.device),
            seed=session.seed,
            machine=machine,
            progress=progress,
        )
    answers = {}
    for test, questions in material.tests.items():
        seen = None if reader is None else _stored(questions.images, reader, session)
        with session.progress(f"{name}, {test}", len(questions)) as count:
            answers[test] = answer(
                trained.model,
                questions,
                recipe,
                name=name,
                tokenizer=trained.tokenizer,
                source=seen,
                machine=machine,
                progress=count,
            )
        write_answers(files[test], answers[test])
    return answers


def _stored(images: Images, reader: Encoder, session: Session) -> StoredTokens:
    tokens = session.tokens(images, reader, f"tokens of {images.name}")
    return StoredTokens(tokens, f"{reader.spec.fingerprint}-{images.fingerprint}")


def _mark(recipe: Recipe, material: Material, seed: int) -> str:
    facts = [recipe.model_dump_json(by_alias=True), material.data.fingerprint, str(seed)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
