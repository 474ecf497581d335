"""scripts/curve.py: which runs are missing, and what their numbers become."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embprobe.errors import EmbprobeError
from embprobe.pretraining.finished import TrainingRun
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.scoring import Question, Table
from embprobe.probing.pattern import KeyPattern
from tests.pretraining.test_finished import written
from tests.scripts.test_build_emoji import by_path

SCRIPTS = Path(__file__).parents[2] / "scripts"
QUESTION = Question("category", "category", KeyPattern(kind="decoding"))


@pytest.fixture
def bundled(tmp_path: Path) -> Path:
    """A clip and a dino in the place of the bundled encoders, whatever else comes along."""
    for objective in ("clip", "dino"):
        written(tmp_path / "bundled" / objective, Recipe(objective), images_fingerprint="bundled")
    return tmp_path / "bundled"


@pytest.fixture
def curve(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    script = by_path(SCRIPTS / "curve.py")
    monkeypatch.setattr(script, "bundled_folder", lambda: bundled)
    return script


def runs(**sizes: list[int]) -> dict[str, dict[int, TrainingRun]]:
    return {
        objective: {size: TrainingRun(Recipe(objective, images_seen=size), "f", Path(objective)) for size in of}
        for objective, of in sizes.items()
    }


def table(**scores: list[float]) -> Table:
    values = {name.replace("_", "-"): np.array(of, float) for name, of in scores.items()}
    count = len(next(iter(values.values())))
    return Table(QUESTION, values, [str(i) for i in range(count)], "concept", "accuracy", 0.125)


# --- sizes -------------------------------------------------------------------------------------------------------


def test_missing_runs_are_those_without_weights_and_go_on_in_their_folder(curve: Any, tmp_path: Path) -> None:
    written(tmp_path / "runs" / "mine", Recipe("clip", images_seen=30_000))
    written(tmp_path / "runs" / "stopped", Recipe("dino", images_seen=30_000), finished=False)
    todo = curve.missing(tmp_path / "runs", [30_000, 100_000, 1_000_000])  # the bundled ones are the million's
    assert [(recipe.objective, recipe.images_seen, folder.name) for recipe, folder in todo] == [
        ("dino", 30_000, "stopped"),
        ("clip", 100_000, "clip-100k"),
        ("dino", 100_000, "dino-100k"),
    ]
    assert len(curve.missing(tmp_path / "none", [30_000])) == 2


def test_finished_runs_are_by_size_and_of_the_same_images(curve: Any, tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match="No objective has two finished runs"):
        curve.finished(tmp_path / "runs", [30_000, 1_000_000])
    for size in (30_000, 100_000):
        written(tmp_path / "runs" / f"clip {size}", Recipe("clip", images_seen=size))
    found = curve.finished(tmp_path / "runs", [30_000, 100_000])
    assert {objective: list(of) for objective, of in found.items()} == {"clip": [30_000, 100_000], "dino": []}
    with pytest.raises(EmbprobeError, match="different images"):
        curve.finished(tmp_path / "runs", [30_000, 1_000_000])


def test_rows_by_hand(curve: Any) -> None:
    # clip: means 1/4, 2/4, 4/4; dino 1/4 and 2/4. clip grows by 1/4, 2/4 and 3/4 in all
    scored = table(
        clip_1k=[1, 0, 0, 0],
        clip_2k=[1, 1, 0, 0],
        clip_3k=[1, 1, 1, 1],
        dino_1k=[0, 0, 0, 1],
        dino_3k=[0, 1, 0, 1],
        untrained=[0, 0, 0, 0],
    )
    rows = curve.rows_of(scored, runs(clip=[1000, 2000, 3000], dino=[1000, 3000]), seed=0)
    found = {(row["measure"], row["encoder"], row["against"]): row["estimate"] for row in rows}
    assert found == {
        ("category", "clip-1k", None): 0.25,
        ("category", "clip-2k", None): 0.5,
        ("category", "clip-3k", None): 1.0,
        ("category", "dino-1k", None): 0.25,
        ("category", "dino-3k", None): 0.5,
        ("category", "untrained", None): 0.0,
        ("category", "clip-2k", "clip-1k"): 0.25,
        ("category", "clip-3k", "clip-2k"): 0.5,
        ("category", "clip-3k", "clip-1k"): 0.75,
        ("category", "dino-3k", "dino-1k"): 0.25,
        ("category", "clip-1k", "dino-1k"): 0.0,
        ("category", "clip-3k", "dino-3k"): 0.5,
        ("category: growth", "clip", "dino"): 0.5,  # 0.75 - 0.25
    }
    by_pair = {(row["encoder"], row["against"]): row for row in rows if row["measure"] == "category"}
    grown = by_pair["clip-3k", "clip-1k"]
    assert grown["p"] == pytest.approx(2 / 16 * 2)  # three ones of four: 2 * 2 of the 16 flips are as far from zero
    assert by_pair["clip-1k", None]["p"] is None and grown["low"] < 0.75 <= grown["high"]


def test_differences_are_paired_over_the_same_images(curve: Any) -> None:
    # each image is a tenth better, whatever its own: no interval
    rng = np.random.default_rng(0)
    easy = rng.uniform(size=50)
    scored = table(clip_1k=easy.tolist(), clip_2k=(easy + 0.1).tolist())
    rows = curve.rows_of(scored, runs(clip=[1000, 2000], dino=[]), seed=0)
    (pair,) = [row for row in rows if row["against"]]
    assert (pair["low"], pair["high"]) == pytest.approx((0.1, 0.1))


def test_an_encoder_without_text_is_absent_and_a_panel_has_the_untrained_network(curve: Any) -> None:
    scored = table(clip_1k=[1, 0], clip_2k=[1, 1], untrained=[0, 0])
    panel = curve.panel(scored, runs(clip=[1000, 2000], dino=[1000, 2000]), seed=0)
    assert {name: list(of) for name, of in panel.curves.items()} == {"clip": [1000, 2000], "dino": []}
    assert (panel.untrained.estimate, panel.floor, panel.unit) == (0.0, 0.125, "accuracy")
    rows = curve.rows_of(scored, runs(clip=[1000, 2000], dino=[1000, 2000]), seed=0)
    assert not any("dino" in str(row["encoder"]) for row in rows)


def test_the_questions_are_numbers_of_the_cards_and_examples_hold(curve: Any) -> None:
    from embprobe.probing.card import bundled_card

    for question in curve.QUESTIONS:
        bundled_card(question.card).only([question.number])  # raises if there is no such number
    assert doctest.testmod(curve).failed == 0
