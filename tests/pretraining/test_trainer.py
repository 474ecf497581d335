from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from embprobe.encoders import load_encoder
from embprobe.encoders.towers import IMAGE_SIZE, WIDTH, TwoTowers
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from embprobe.pretraining import trainer
from embprobe.pretraining.data import Batch, TrainingImages
from embprobe.pretraining.objectives import OBJECTIVES
from embprobe.pretraining.trainer import Recipe, pretrain
from embprobe.pretraining.views import View, make_view

STEPS = 4
RECIPES = {name: Recipe(objective=name, images_seen=STEPS * 5 + 2, batch_size=5, seed=3) for name in OBJECTIVES}
EVERY = pytest.mark.parametrize("name", sorted(OBJECTIVES))


class Interrupted(Exception):
    pass


def stopping_at(step: int) -> Callable[[int, int, dict[str, float]], None]:
    def progress(done: int, steps: int, numbers: dict[str, float]) -> None:
        if done == step:
            raise Interrupted

    return progress


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def few(emoji: Images) -> Images:
    """The training drawings of eight concepts, about 36."""
    train = emoji.where(split="train")
    return train.where(concept=sorted(set(train.label("concept")))[100:108])


@pytest.fixture(scope="module")
def held_out(emoji: Images, few: Images) -> Images:
    return emoji.where(split="unseen-drawing", concept=sorted(set(few.label("concept"))))


@pytest.fixture(scope="module", autouse=True)
def _few_checkpoints() -> Iterator[None]:
    """Two checkpoints in a run, after two of the four steps and at the end; and the same sums on every machine."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "CHECKPOINTS", 2)
        yield


@pytest.fixture(scope="module")
def runs(few: Images, held_out: Images, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each objective."""
    root = tmp_path_factory.mktemp("runs")
    return {name: pretrain(few, RECIPES[name], root / name, held_out=held_out) for name in OBJECTIVES}


def test_a_run_leaves_weights_recipe_losses_and_curve(runs: dict[str, Path], few: Images) -> None:
    for name, folder in runs.items():
        assert sorted(contents(folder)) == ["losses.csv", "losses.png", "model.safetensors", "recipe.json"]
        recipe = json.loads((folder / "recipe.json").read_text())
        assert {key: recipe[key] for key in asdict(RECIPES[name])} == asdict(RECIPES[name])
        assert recipe["images_fingerprint"] == few.fingerprint
        rows = list(csv.DictReader((folder / "losses.csv").open()))
        assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
        looked = [bool(row["nearest_concept"]) and bool(row["effective_rank"]) for row in rows]
        assert looked == [False, True, False, True]


@EVERY
def test_the_same_seed_gives_the_same_losses_and_weights(
    name: str, runs: dict[str, Path], few: Images, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # the global state must neither matter nor change, nor must it matter who looks on
    before = torch.random.get_rng_state()
    again = pretrain(few, RECIPES[name], tmp_path / "again")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert contents(again)["model.safetensors"] == contents(runs[name])["model.safetensors"]
    losses = [[row["loss"] for row in csv.DictReader((f / "losses.csv").open())] for f in (again, runs[name])]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == STEPS


def test_another_seed_gives_other_weights(runs: dict[str, Path], few: Images, tmp_path: Path) -> None:
    other = pretrain(few, replace(RECIPES["clip"], seed=4, images_seen=5), tmp_path / "other")
    assert contents(other)["model.safetensors"] != contents(runs["clip"])["model.safetensors"]


@pytest.mark.parametrize(
    ("name", "stop", "goes_on_with"), [("clip", 1, 1), ("clip", 2, 3), ("clip", 3, 3), ("dino", 3, 3)]
)
def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(
    name: str, stop: int, goes_on_with: int, runs: dict[str, Path], few: Images, held_out: Images, tmp_path: Path
) -> None:
    # the first checkpoint is of step 2: what comes after it, or before, is done again
    with pytest.raises(Interrupted):
        pretrain(few, RECIPES[name], tmp_path, held_out=held_out, progress=stopping_at(stop))
    assert sorted(contents(tmp_path)) == (["checkpoint.pt", "losses.csv", "recipe.json"] if stop > 1 else [])
    seen: list[int] = []
    pretrain(few, RECIPES[name], tmp_path, held_out=held_out, progress=lambda step, *_: seen.append(step))
    assert seen == list(range(goes_on_with, STEPS + 1))
    for file in ("losses.csv", "model.safetensors"):
        assert contents(tmp_path)[file] == contents(runs[name])[file]


def test_a_finished_run_is_not_run_again(runs: dict[str, Path], few: Images) -> None:
    before = contents(runs["dino"])
    assert pretrain(few, RECIPES["dino"], runs["dino"], progress=stopping_at(1)) == runs["dino"]
    assert contents(runs["dino"]) == before


def test_the_folder_of_an_unfinished_run_refuses_another_recipe_or_other_images(few: Images, tmp_path: Path) -> None:
    recipe = RECIPES["clip"]
    with pytest.raises(Interrupted):
        pretrain(few, recipe, tmp_path, progress=stopping_at(3))
    before = contents(tmp_path)
    for other in (replace(recipe, objective="dino"), replace(recipe, seed=4), replace(recipe, learning_rate=1e-4)):
        with pytest.raises(UsageError, match="another recipe"):
            pretrain(few, other, tmp_path)
    with pytest.raises(UsageError, match="another recipe"):
        pretrain(few.take(range(len(few) - 1)), recipe, tmp_path)
    assert contents(tmp_path) == before


def test_the_folder_of_a_finished_run_refuses_another_recipe(
    runs: dict[str, Path], few: Images, tmp_path: Path
) -> None:
    # begun over it and interrupted, its weights would be taken for those of the other recipe
    folder = shutil.copytree(runs["clip"], tmp_path / "clip")
    with pytest.raises(UsageError, match="another recipe"):
        pretrain(few, replace(RECIPES["clip"], seed=4), folder, progress=stopping_at(3))
    assert contents(folder) == contents(runs["clip"])


def test_requests_that_cannot_be_served_are_refused_before_anything_is_written(few: Images, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="A batch of 9 needs as many concepts; 'bundled/emoji' has 8"):
        pretrain(few, replace(RECIPES["clip"], batch_size=9), tmp_path / "out")
    with pytest.raises(UsageError, match="no objective 'mae'. There are: clip, dino"):
        pretrain(few, replace(RECIPES["clip"], objective="mae"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_no_weights(few: Images, tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match="The loss became nan at step [12]. Try a lower learning rate"):
        pretrain(few, replace(RECIPES["clip"], learning_rate=1e30), tmp_path)
    assert "model.safetensors" not in contents(tmp_path)


def test_every_objective_is_shown_the_same_images_captions_and_first_views(
    few: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[Batch] = []
    views: list[tuple[int, Tensor]] = []
    batch = TrainingImages.batch

    def listening_batch(self: TrainingImages, size: int, *, seed: int, step: int) -> Batch:
        batches.append(batch(self, size, seed=seed, step=step))
        return batches[-1]

    def listening_view(images: Tensor, view: View, *, color_jitter: bool, generator: torch.Generator) -> Tensor:
        made = make_view(images, view, color_jitter=color_jitter, generator=generator)
        views.append((generator.initial_seed(), made))
        return made

    monkeypatch.setattr(TrainingImages, "batch", listening_batch)
    monkeypatch.setattr("embprobe.pretraining.trainer.make_view", listening_view)
    for name in ("clip", "dino"):
        pretrain(few, replace(RECIPES[name], images_seen=10), tmp_path / name)
    # two steps each: clip makes one view in a step, dino four
    for clip, dino in ((0, 2), (1, 3)):
        assert torch.equal(batches[clip].images, batches[dino].images)
        assert batches[clip].captions == batches[dino].captions
    assert not torch.equal(batches[0].images, batches[1].images)
    for clip, dino in ((0, 2), (1, 6)):
        assert torch.equal(views[clip][1], views[dino][1])
        assert not torch.equal(views[dino][1], views[dino + 1][1])  # the second crop is another one
    assert views[0][0] != views[1][0]  # no two steps crop alike


@EVERY
def test_a_run_starts_from_the_untrained_twin(name: str, few: Images, tmp_path: Path) -> None:
    twin = TwoTowers(seed=3).vit.state_dict()
    start = OBJECTIVES[name](seed=3, captions=["cat"]).encoder.vit.state_dict()
    assert twin.keys() == start.keys() and all(torch.equal(twin[key], start[key]) for key in twin)
    # and through the whole trainer: with a learning rate of 0 nothing moves
    folder = pretrain(few, replace(RECIPES[name], learning_rate=0.0, images_seen=5), tmp_path)
    written = load_file(folder / "model.safetensors")
    assert all(torch.equal(written[f"vit.{key}"], value.half()) for key, value in twin.items())


def test_the_twin_by_name_is_the_twin_a_run_starts_from() -> None:
    images = torch.rand(3, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    start = OBJECTIVES["dino"](seed=3, captions=[]).encoder.eval()
    with torch.no_grad():
        expected = start.encode_images(images).numpy()
    assert np.array_equal(load_encoder("reference/random-vit:3").encode_images(images), expected)


@EVERY
def test_training_moves_the_encoder_that_is_kept(name: str, runs: dict[str, Path]) -> None:
    twin, written = TwoTowers(seed=3).vit.state_dict(), load_file(runs[name] / "model.safetensors")
    assert any(not torch.equal(written[f"vit.{key}"], value.half()) for key, value in twin.items())


def test_the_written_weights_load_by_name(runs: dict[str, Path]) -> None:
    images = torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    for name, folder in runs.items():
        encoder = load_encoder(f"bundled/{name}:{folder / 'model.safetensors'}")
        assert encoder.encode_images(images).shape == (2, WIDTH)
        assert encoder.spec.has_text == (name == "clip")
    assert load_encoder(f"bundled/clip:{runs['clip'] / 'model.safetensors'}").spec.pooling == "projected"


def test_written_clip_weights_encode_text_as_the_run_would_have(runs: dict[str, Path], few: Images) -> None:
    path = runs["clip"] / "model.safetensors"
    texts = [*TrainingImages(few, word_rate=0).captions()[:3], 'a "WORD" never seen']
    found = load_encoder(f"bundled/clip:{path}").encode_texts(texts)
    assert found.shape == (4, WIDTH) and np.isfinite(found).all()
    towers = OBJECTIVES["clip"](seed=0, captions=TrainingImages(few, word_rate=0).captions()).encoder
    towers.load_state_dict(load_file(path))
    with torch.no_grad():
        expected: Tensor = towers.eval().encode_texts(texts)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_written_dino_weights_have_no_words(runs: dict[str, Path]) -> None:
    encoder = load_encoder(f"bundled/dino:{runs['dino'] / 'model.safetensors'}")
    with pytest.raises(UsageError, match="has no text side"):
        encoder.encode_texts(["cat"])


def test_steps_are_whole_batches_and_at_least_one() -> None:
    assert Recipe("clip", images_seen=32, batch_size=5).steps == 6  # of 6.4
    assert Recipe("clip", images_seen=3, batch_size=5).steps == 1
