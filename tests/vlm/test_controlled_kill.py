"""A controlled study that is interrupted goes on where it stopped, and ends as one that never was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embprobe.embeddings.session import Session, TrainingProgress
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.encoders.spec import Encoder
from embprobe.images import Images
from embprobe.vlm import training
from embprobe.vlm.answers import Answers
from embprobe.vlm.controlled import run_controlled
from tests.vlm.test_controlled import RECIPE, SCENES, TEST_SCENES


class Stopped:
    """A session's progress that notes each step, and stops at one as Ctrl-C does."""

    def __init__(self, at: tuple[str, int] | None = None) -> None:
        self.at, self.steps = at, list[tuple[str, int]]()

    @contextmanager
    def bar(self, activity: str, total: int) -> Iterator[TrainingProgress]:
        def step(now: int, steps: int, numbers: dict[str, float]) -> None:
            self.steps.append((activity, now))
            if (activity, now) == self.at:
                raise KeyboardInterrupt

        yield step


def study(stopped: Stopped, encoder: Encoder, images: Images, root: Path) -> dict[str, dict[str, Answers]]:
    session = Session(Workspace.open(root), training=stopped.bar)
    return run_controlled([encoder], images, session, recipe=RECIPE, scenes=SCENES, test_scenes=TEST_SCENES)


def files(root: Path) -> dict[str, bytes]:
    """Return the contents of all files of the models by their places: weights, losses and answers."""
    return {str(path.relative_to(root)): path.read_bytes() for path in (root / "vlm").rglob("*") if path.is_file()}


def test_a_study_that_is_stopped_in_each_of_its_trainings_ends_as_one_that_never_was(
    emoji: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder("reference/pixels")
    language, models = "language model", "2 models"
    whole = Stopped()
    expected = study(whole, encoder, emoji, tmp_path / "whole")
    # four steps each: the language model, then one model after the other, as tests have one thread
    assert whole.steps == [(language, i) for i in range(1, 5)] + [(models, i) for i in range(1, 9)]

    monkeypatch.setattr(training, "SAVED_EVERY", -1.0)  # a checkpoint after each step, and after its callback
    for at, steps in (
        ((language, 4), [(language, i) for i in (1, 2, 3, 4)]),  # the last step is in no checkpoint yet
        ((models, 3), [(language, 4), *((models, i) for i in (1, 2, 3))]),  # in the first model
        ((models, 6), [(models, i) for i in (3, 4, 5, 6)]),  # the second, whose steps come after the first's four
    ):
        stopped = Stopped(at)
        with pytest.raises(KeyboardInterrupt):
            study(stopped, encoder, emoji, tmp_path / "stopped")
        assert stopped.steps == steps
    rest = Stopped()
    assert study(rest, encoder, emoji, tmp_path / "stopped") == expected
    # the first model has answered and is not counted; the second kept one of its two steps
    assert [step for _, step in rest.steps] == [2, 3, 4]
    assert files(tmp_path / "stopped") == files(tmp_path / "whole") != {}
