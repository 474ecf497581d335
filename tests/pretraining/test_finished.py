"""Runs are known by their recipes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from embprobe.errors import EmbprobeError
from embprobe.pretraining.finished import bundled_folder, find_runs, runs_of
from embprobe.pretraining.recipe import Recipe


def written(folder: Path, recipe: Recipe, *, finished: bool = True, **other: Any) -> Path:
    folder.mkdir(parents=True)
    described = {**asdict(recipe), "images_fingerprint": "f", **other}
    (folder / "recipe.json").write_text(json.dumps(described), encoding="utf-8")
    if finished:
        (folder / "model.safetensors").touch()
    return folder


def test_runs_are_known_by_their_recipe_whatever_their_folder_is_called(tmp_path: Path) -> None:
    written(tmp_path / "a", Recipe("clip", images_seen=100_000))
    written(tmp_path / "b", Recipe("clip", images_seen=30_000), finished=False)
    written(tmp_path / "c", Recipe("clip", images_seen=30_000, seed=1))  # departs twice
    written(tmp_path / "d", Recipe("dino", images_seen=30_000))
    written(tmp_path / "e", Recipe("clip", parrot_rate=0.0))
    (tmp_path / "f").mkdir()
    (tmp_path / "g.txt").touch()
    runs = find_runs(tmp_path)
    assert [run.folder.name for run in runs] == ["a", "b", "c", "d", "e"]
    by_size = runs_of(runs, "clip", "images_seen")
    assert {size: (run.folder.name, run.finished) for size, run in by_size.items()} == {
        30_000: ("b", False),
        100_000: ("a", True),
    }
    assert list(by_size) == [30_000, 100_000]
    assert runs[0].encoder == f"bundled/clip:{tmp_path / 'a' / 'model.safetensors'}" and runs[0].images == "f"
    assert list(runs_of(runs, "clip", "parrot_rate")) == [0.0]
    assert runs_of(runs, "siglip", "seed") == {}


def test_of_two_runs_of_one_recipe_the_finished_one_is_taken(tmp_path: Path) -> None:
    written(tmp_path / "a", Recipe("clip", seed=1), finished=False)
    written(tmp_path / "b", Recipe("clip", seed=1))
    written(tmp_path / "c", Recipe("clip", seed=1))
    assert runs_of(find_runs(tmp_path), "clip", "seed")[1].folder.name == "b"


def test_recipes_of_other_versions(tmp_path: Path) -> None:
    # a setting that was not there yet has its default, one that is no more is ignored, an unknown objective passed over
    described = {"objective": "clip", "images_seen": 500, "cost": {}, "strength": 3}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "recipe.json").write_text(json.dumps(described), encoding="utf-8")
    for i, other in enumerate(({"objective": "mae"}, {"augmentation": "strong"}, {})):
        (tmp_path / str(i)).mkdir()
        wrong = other if not other else {"objective": "clip", **other}
        (tmp_path / str(i) / "recipe.json").write_text(json.dumps(wrong), encoding="utf-8")
    (run,) = find_runs(tmp_path)
    assert run.recipe == Recipe("clip", images_seen=500)


def test_a_folder_that_is_missing_and_a_recipe_that_is_damaged_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match="no folder '.*none' with training runs: choose the --out"):
        find_runs(tmp_path / "none")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "recipe.json").write_text("{", encoding="utf-8")
    with pytest.raises(EmbprobeError, match=r"recipe.json' is damaged"):
        find_runs(tmp_path)


def test_the_bundled_encoders_are_runs_of_a_million_images() -> None:
    runs = find_runs(bundled_folder())
    assert {run.folder.name for run in runs} >= {"clip", "dino", "siglip"} and all(run.finished for run in runs)
    for objective in ("clip", "dino"):
        assert list(runs_of(runs, objective, "images_seen")) == [1_000_000]
        assert runs_of(runs, objective, "seed")[0].folder.name == objective  # not clip-lm, nor an arm
