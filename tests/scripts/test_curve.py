"""scripts/curve.py and scripts/seeds.py: which runs are missing, and what their numbers become."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embprobe.claims.model import Claim
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


@pytest.fixture
def seeds(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    script = by_path(SCRIPTS / "seeds.py")
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


# --- seeds -------------------------------------------------------------------------------------------------------


def claim(relation: str, margin: float = 0.0, a: str = "clip", b: str = "dino") -> Claim:
    number = {"kind": "decoding", "target": "category"}
    return Claim.model_validate(
        {"a": a, "b": b, "relation": relation, "quality": "able", "card": "category", "number": number}
        | ({"margin": margin} if margin else {})
    )


def test_claims_over_seeds_by_hand(seeds: Any) -> None:
    # images that do not differ: clip 0.9 and 0.7, dino 0.5 and 0.5. 0.8 - 0.5 = 0.3, standard error 0.1, one degree of
    # freedom: p of 0 is that of t = 3, p of the margin 0.2 that of t = 1
    six = table(c0=[0.9] * 6, c1=[0.7] * 6, d0=[0.5] * 6, d1=[0.5] * 6)
    roles = {"clip": {0: "c0", 1: "c1"}, "dino": {0: "d0", 1: "d1"}}
    rows = seeds.rows_over_seeds([claim("more"), claim("similar", 0.2)], [six, six], roles, seed=0)
    first, second, more, *others, similar = rows
    assert [(row["encoder"], row["against"], row["estimate"]) for row in (first, second)] == [
        ("clip-seed0", "dino-seed0", 0.4),
        ("clip-seed1", "dino-seed1", 0.2),
    ]
    assert len(others) == 2
    assert (more["estimate"], more["spread"], more["seeds"]) == (0.3, [0.141421, 0.0], [2, 2])
    assert (more["low"], more["high"]) == pytest.approx((0.3 - 1.2706, 0.3 + 1.2706), abs=1e-4)
    assert (more["over_images"], more["verdict"]) == ([0.3, 0.3], "undecided")
    # two-sided p of t = 3 and 1 with one degree of freedom: 0.2048 and 0.5; Holm: 0.4097 and 0.5
    assert (more["p"], similar["p"]) == pytest.approx((0.2048, 0.5), abs=1e-4)
    assert (more["p_adjusted"], similar["p_adjusted"]) == pytest.approx((0.4097, 0.5), abs=1e-4)
    printed = seeds.table_of(rows)
    assert printed.count("undecided") == 2 and "clip 0.141, dino 0.000" in printed


def test_seeds_that_agree_decide_and_a_claim_of_dino_is_dinos(seeds: Any) -> None:
    rng = np.random.default_rng(0)
    easy = rng.uniform(size=200)
    many = table(
        **{f"c{i}": (easy + 0.001 * i).tolist() for i in range(3)},
        **{f"d{i}": (easy + 0.3 - 0.001 * i).tolist() for i in range(2)},
    )
    roles = {"clip": {i: f"c{i}" for i in range(3)}, "dino": {0: "d0", 4: "d1"}}
    rows = seeds.rows_over_seeds([claim("more", a="dino", b="clip"), claim("more")], [many, many], roles, seed=0)
    verdicts = [row["verdict"] for row in rows if "verdict" in row]
    assert verdicts == ["reproduced", "not reproduced"]
    assert [row["seeds"] for row in rows if "verdict" in row] == [[2, 3], [3, 2]]
    assert [row["encoder"] for row in rows if "verdict" not in row] == ["dino-seed0", "clip-seed0"]  # both have these


def test_one_seed_is_too_few_and_the_message_says_how_to_train_another(seeds: Any, tmp_path: Path) -> None:
    written(tmp_path / "runs" / "x", Recipe("clip", seed=1), images_fingerprint="bundled")
    with pytest.raises(EmbprobeError, match=r"dino has 1 finished run .* --objective dino --seed 1 --out .*dino-seed1"):
        seeds.finished(tmp_path / "runs")
    todo = seeds.missing(tmp_path / "runs", range(2))
    assert [(recipe.objective, recipe.seed, folder.name) for recipe, folder in todo] == [("dino", 1, "dino-seed1")]
    written(tmp_path / "runs" / "y", Recipe("dino", seed=1), images_fingerprint="bundled")
    found = seeds.finished(tmp_path / "runs")
    assert {objective: list(of) for objective, of in found.items()} == {"clip": [0, 1], "dino": [0, 1]}
    written(tmp_path / "runs" / "z", Recipe("dino", seed=2), images_fingerprint="other")
    with pytest.raises(EmbprobeError, match="different images"):
        seeds.finished(tmp_path / "runs")


def test_the_claims_are_the_pairs(seeds: Any) -> None:
    claims = seeds.claims_of_pair()
    assert len(claims) >= 4 and all({each.a, each.b} == {"clip", "dino"} for each in claims)
