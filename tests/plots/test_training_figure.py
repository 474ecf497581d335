"""The curve of a training run, from the file that a run writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embprobe.plots import training
from embprobe.plots.style import figure
from embprobe.plots.training import plot_losses
from embprobe.system.history import History


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of every figure that is made."""
    found: list[Any] = []

    @contextmanager
    def listening(**how: Any) -> Iterator[Any]:
        with figure(**how) as (canvas, axes):
            found.extend(axes)
            yield canvas, axes

    monkeypatch.setattr(training, "figure", listening)
    return found


def written(folder: Path, steps: int, looks: dict[int, dict[str, float]]) -> Path:
    """A run whose loss is the number of the step."""
    history = History(steps)
    for step in range(1, steps + 1):
        history.add(step, {"loss": step, "scale": 10.0})
        if step in looks:
            history.look(step, looks[step])
    history.write(folder / "losses.csv")
    return folder / "losses.csv"


def test_the_loss_its_running_mean_and_what_was_found(drawn: list[Any], tmp_path: Path) -> None:
    # of 100 steps, the mean of 100 // 50 = 2 at a time: at step 2 it is (1 + 2) / 2 = 1.5
    looks = {50: {"effective_rank": 9.0, "nearest_concept": 0.25}, 100: {"effective_rank": 9.0, "nearest_concept": 0.5}}
    plot_losses(written(tmp_path, 100, looks), tmp_path / "new" / "losses.png")
    loss, found = drawn
    each, mean = (np.array(line.get_xydata()) for line in loss.get_lines())
    assert np.array_equal(each, [(step, step) for step in range(1, 101)])
    assert np.array_equal(mean, [(step, step - 0.5) for step in range(2, 101)])
    (looked,) = found.get_lines()
    assert looked.get_xydata().tolist() == [[50, 0.25], [100, 0.5]]
    with Image.open(tmp_path / "new" / "losses.png") as image:
        assert image.format == "PNG" and len(np.unique(np.asarray(image.convert("L")))) > 20
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"losses.png", "losses.svg"}


@pytest.mark.parametrize("steps", [1, 3])
def test_a_run_of_few_steps_that_looked_for_collapse_alone(steps: int, drawn: list[Any], tmp_path: Path) -> None:
    plot_losses(written(tmp_path, steps, {steps: {"effective_rank": 9.0}}), tmp_path / "losses.png")
    (loss,) = drawn
    each, mean = (line.get_xydata().tolist() for line in loss.get_lines())
    assert each == mean == [[step, step] for step in range(1, steps + 1)]
