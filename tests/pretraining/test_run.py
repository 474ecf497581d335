"""A run may stop at any moment: it goes on with the losses and weights of one that did not."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from embprobe.errors import EmbprobeError, UsageError
from embprobe.pretraining import run, trainer
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.trainer import pretrain
from embprobe.system.processes import Machine
from tests.conftest import Malicious
from tests.pretraining.apart import Ended, Order
from tests.pretraining.conftest import drawings

STEPS, KILLS = 8, 30
FEW, HELD_OUT = drawings(), drawings(range(9, 10), "held out")
RECIPES = {name: Recipe(name, images_seen=STEPS * 4, batch_size=4, seed=3) for name in ("clip", "dino-v1")}
EACH = pytest.mark.parametrize("name", RECIPES)
FILES = ["losses.csv", "losses.png", "model.safetensors", "recipe.json"]

pytestmark = pytest.mark.usefixtures("quick")
Apart = Callable[..., list[Ended]]


class Interrupted(KeyboardInterrupt):
    pass


def stopping_at(step: int) -> Callable[[int, int, dict[str, float]], None]:
    def progress(done: int, steps: int, numbers: dict[str, float]) -> None:
        if done == step:
            raise Interrupted

    return progress


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def same_results(found: Path, expected: Path) -> bool:
    return all((found / file).read_bytes() == (expected / file).read_bytes() for file in FILES[:1] + FILES[2:3])


@pytest.fixture(scope="module")
def whole(quick: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that nothing stopped."""
    root = tmp_path_factory.mktemp("whole")
    return {name: pretrain(FEW, recipe, root / name) for name, recipe in RECIPES.items()}


# --- stopped -----------------------------------------------------------------------------------------------------


@EACH
def test_a_run_that_is_killed_again_and_again_has_the_losses_of_one_that_is_not(
    name: str, whole: dict[str, Path], apart: Apart, tmp_path: Path
) -> None:
    # a kill is up to two steps and a fiftieth of a second after the first step, wherever that may be
    killed: list[tuple[int, float]] = []
    for _ in range(KILLS):
        moment = (random.randint(1, 3), random.uniform(0, 0.02))
        (ended,) = apart(Order(str(tmp_path), name, images_seen=STEPS * 4, kill_after=moment))
        assert not ended.error, killed
        if not ended.killed:
            break
        killed.append(moment)
    assert 1 <= len(killed) < KILLS, killed
    assert same_results(tmp_path, whole[name]), killed
    assert sorted(contents(tmp_path)) == FILES, killed


@pytest.mark.parametrize(("stop", "goes_on_with"), [(1, 1), (4, 5), (6, 5)])
def test_what_comes_after_the_last_checkpoint_is_done_again(
    stop: int, goes_on_with: int, whole: dict[str, Path], tmp_path: Path
) -> None:
    # the checkpoints are of steps 4 and 8
    recipe, seen = RECIPES["clip"], list[int]()
    with pytest.raises(Interrupted):
        pretrain(FEW, recipe, tmp_path, progress=stopping_at(stop))
    assert sorted(contents(tmp_path) if stop >= 4 else []) == (
        ["checkpoint.pt", "losses.csv", "recipe.json"] if stop >= 4 else []
    )
    pretrain(FEW, recipe, tmp_path, progress=lambda step, *_: seen.append(step))
    assert seen == list(range(goes_on_with, STEPS + 1))
    assert same_results(tmp_path, whole["clip"])


def test_a_checkpoint_is_written_when_it_is_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trainer, "SAVED_EVERY", 0.0)
    with pytest.raises(Interrupted):
        pretrain(FEW, RECIPES["clip"], tmp_path, progress=stopping_at(3))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 3


@pytest.mark.parametrize("last", ["plot_losses", "save_towers"])
def test_a_run_that_ends_while_it_writes_its_results_is_not_taken_for_finished(
    last: str, whole: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stop(*_: Any) -> None:
        raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(f"embprobe.{'plots.training' if last == 'plot_losses' else 'pretraining.run'}.{last}", stop)
        pretrain(FEW, RECIPES["clip"], tmp_path)
    leftover = tmp_path / ".checkpoint.123.tmp.pt"
    leftover.write_bytes(b"what a killed process left")
    pretrain(FEW, RECIPES["clip"], tmp_path, progress=stopping_at(STEPS))  # no step is done again
    assert same_results(tmp_path, whole["clip"]) and sorted(contents(tmp_path)) == FILES
    assert json.loads((tmp_path / "recipe.json").read_text())["cost"]["device"] == "cpu"


def test_a_run_may_go_on_on_another_machine(whole: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        pretrain(FEW, RECIPES["clip"], tmp_path, held_out=HELD_OUT, progress=stopping_at(5))
    pretrain(FEW, RECIPES["clip"], tmp_path, machine=Machine(accumulate=2))
    found, expected = (
        [line.split(",")[:2] for line in (folder / "losses.csv").read_text().splitlines()]
        for folder in (tmp_path, whole["clip"])
    )
    assert [step for step, _ in found] == [step for step, _ in expected]
    for (_, loss), (_, same) in zip(found[1:], expected[1:], strict=True):
        assert (loss == same == "") or float(loss) == pytest.approx(float(same), rel=1e-3)


# --- what is there already ---------------------------------------------------------------------------------------


def test_a_finished_run_is_not_run_again(whole: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "Run", stopping_at)  # none is made
    before = contents(whole["clip"])
    assert pretrain(FEW, RECIPES["clip"], whole["clip"], progress=stopping_at(1)) == whole["clip"]
    assert contents(whole["clip"]) == before


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_of_another_recipe_or_of_other_images_is_refused_and_what_differs_is_named(
    finished: bool, whole: dict[str, Path], tmp_path: Path
) -> None:
    # begun over it and interrupted, its weights would be taken for those of the other recipe
    recipe, folder = RECIPES["clip"], tmp_path / "run"
    if finished:
        shutil.copytree(whole["clip"], folder)
    else:
        with pytest.raises(Interrupted):
            pretrain(FEW, recipe, folder, progress=stopping_at(5))
    before = contents(folder)
    for other, named in (
        (replace(recipe, objective="dino"), "objective"),
        (replace(recipe, seed=4, learning_rate=1e-4), "learning_rate, seed"),
        (replace(recipe, parrot_rate=0.5, augmentation="dino"), "parrot_rate, augmentation"),
    ):
        with pytest.raises(UsageError, match=rf"holds a run of another recipe \({named}\)\. Choose another --out"):
            pretrain(FEW, other, folder, progress=stopping_at(1))
    with pytest.raises(UsageError, match=r"\(images_fingerprint\)"):
        pretrain(FEW.take(range(len(FEW) - 1)), recipe, folder)
    assert contents(folder) == before


@pytest.mark.parametrize("content", ["", "{", "[]", "\ud800"])
def test_a_recipe_that_cannot_be_read_is_a_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(EmbprobeError, match="recipe.json' is damaged"):
        pretrain(FEW, RECIPES["clip"], tmp_path)


@pytest.mark.parametrize("kind", ["empty", "torn", "another", "malicious"])
def test_a_checkpoint_that_cannot_be_read_is_a_sentence(kind: str, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        pretrain(FEW, RECIPES["clip"], tmp_path, progress=stopping_at(5))
    checkpoint, mark = tmp_path / "checkpoint.pt", tmp_path / "mark"
    if kind == "empty":
        checkpoint.write_bytes(b"")
    elif kind == "torn":
        checkpoint.write_bytes(checkpoint.read_bytes()[:100_000])
    else:
        torch.save({"step": 3} if kind == "another" else {"step": Malicious(mark)}, checkpoint)
    with pytest.raises(EmbprobeError, match="checkpoint.pt' is damaged. Remove it to start the run again"):
        pretrain(FEW, RECIPES["clip"], tmp_path)
    assert not mark.exists()


def test_no_two_steps_and_no_two_seeds_crop_alike() -> None:
    assert len({run._mixed(seed, step) for seed in range(30) for step in range(30)}) == 900
