"""The controlled study of a language model of a few weights: trained once, then read; and what it cannot be made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from embprobe.embeddings.session import Session, TrainingProgress
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.encoders.spec import Encoder
from embprobe.errors import UsageError
from embprobe.images import Images
from embprobe.probing.context import NotApplicable
from embprobe.vlm.answers import Answers
from embprobe.vlm.controlled import SEEN, UNSEEN, make_material, run_controlled
from embprobe.vlm.recipe import Recipe
from embprobe.vlm.trained import BLIND
from tests.conftest import make_encoder

RECIPE = Recipe.model_validate(
    {
        "schema": 1,
        "name": "tiny",
        "language": {
            "scratch": {"width": 16, "depth": 1, "heads": 2, "inner": 16},
            "context": 256,
            "prompt": "words",
        },
        "stages": [
            {"name": data, "data": data, "trains": trains, "learning_rate": 1e-3, "batch_size": 8}
            for data, trains in (("descriptions", "language model"), ("conversations", "both"))
        ],
    }
)
SCENES = TEST_SCENES = 26
STEPS = 4
"""Of each stage: conversations about 26 images by 8."""


@dataclass
class Watched:
    """What a session was called with."""

    steps: list[int] = field(default_factory=list)
    """The number of steps of each training that stepped, at each of its steps."""
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def bar(self, activity: str, total: int) -> Iterator[TrainingProgress]:
        yield lambda step, steps, numbers: self.steps.append(steps)

    def session(self, workspace: Workspace) -> Session:
        return Session(workspace, training=self.bar, note=self.notes.append)


def asked(
    encoders: list[Encoder], images: Images, session: Session, *, blind: bool = True
) -> dict[str, dict[str, Answers]]:
    return run_controlled(encoders, images, session, recipe=RECIPE, scenes=SCENES, test_scenes=TEST_SCENES, blind=blind)


@pytest.fixture(scope="module")
def encoders() -> list[Encoder]:
    return [load_encoder("bundled/clip"), load_encoder("reference/pixels")]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.open(tmp_path_factory.mktemp("space"))


def test_every_encoder_and_a_blind_model_answer_once_and_are_read_then(
    encoders: list[Encoder], emoji: Images, workspace: Workspace
) -> None:
    first = Watched()
    found = asked([*encoders, make_encoder("means")], emoji, first.session(workspace))
    assert list(found) == ["bundled/clip", "reference/pixels", BLIND]
    # the language model alone, then three models side by side, whose steps are added up
    assert first.steps == [STEPS] * STEPS + [3 * STEPS] * (3 * STEPS)
    assert first.notes[:1] == ["'test/means' gives an image one vector, and a language model reads tokens"]
    material = make_material(emoji, recipe=RECIPE, seed=0, scenes=SCENES, test_scenes=TEST_SCENES)
    for tests in found.values():
        assert list(tests) == [SEEN, UNSEEN]
        for test, answers in tests.items():
            assert answers.questions == material.tests[test].fingerprint
            assert [row.key for row in answers.rows] == [each.key for each in material.tests[test].questions]
    names = {row.kind for row in found[BLIND][UNSEEN].rows}
    assert "kind" in names and "name" not in names  # nobody is asked to name a concept that was never seen

    again = Watched()
    assert asked(encoders, emoji, again.session(workspace)) == found and again.steps == []
    fewer = Watched()
    assert asked(encoders[:1], emoji, fewer.session(workspace), blind=False) == {"bundled/clip": found["bundled/clip"]}
    assert fewer.steps == []


def test_a_trained_model_whose_answers_are_lost_is_asked_again(
    encoders: list[Encoder], emoji: Images, workspace: Workspace
) -> None:
    found = asked(encoders, emoji, Watched().session(workspace))
    (lost,) = Path(workspace.root).rglob("blind/unseen_drawings-*.jsonl")
    lost.unlink()
    watched = Watched()
    assert asked(encoders, emoji, watched.session(workspace)) == found
    assert watched.steps == [] and lost.is_file()


def test_what_questions_cannot_be_made_of_is_a_sentence(
    encoders: list[Encoder], emoji: Images, workspace: Workspace
) -> None:
    session = Watched().session(workspace)
    whole = emoji.labelled(lambda row: {name: value for name, value in row.labels.items() if name != "split"})
    with pytest.raises(NotApplicable, match="of 'bundled/emoji' no image has the split 'train', which questions are"):
        asked(encoders, whole, session)
    some = emoji.where(split=["train", "unseen-drawing"])
    with pytest.raises(NotApplicable, match="no image has the split 'unseen-concept'"):
        asked(encoders, some, session)
    with pytest.raises(UsageError, match="None of the encoders gives tokens that a language model could read"):
        asked([make_encoder("means")], emoji, session)
