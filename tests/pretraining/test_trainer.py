from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from embprobe.encoders import load_encoder
from embprobe.encoders.towers.two_towers import CLUSTERS, TwoTowers
from embprobe.encoders.towers.vit import IMAGE_SIZE, WIDTH
from embprobe.errors import EmbprobeError, UsageError
from embprobe.pretraining import run
from embprobe.pretraining.data import Batch, TrainingImages, Words
from embprobe.pretraining.objectives import OBJECTIVES, build_objective
from embprobe.pretraining.objectives.base import Features
from embprobe.pretraining.objectives.clip import Clip
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.trainer import pretrain
from embprobe.pretraining.views import DINO_GLOBAL, View, make_view
from embprobe.system.processes import Machine
from tests.encoders.tiny_bert import tiny_bert
from tests.pretraining.conftest import THINGS, drawings

STEPS = 4
RECIPES = {name: Recipe(name, images_seen=STEPS * 5 + 2, batch_size=5, seed=3) for name in OBJECTIVES}
SHORT = replace(RECIPES["clip"], images_seen=5)
EVERY = pytest.mark.parametrize("name", sorted(OBJECTIVES))
FEW, HELD_OUT = drawings(), drawings(range(9, 10), "held out")

pytestmark = pytest.mark.usefixtures("quick")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "losses.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def runs(quick: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each objective."""
    root = tmp_path_factory.mktemp("runs")
    return {name: pretrain(FEW, RECIPES[name], root / name, held_out=HELD_OUT) for name in OBJECTIVES}


# --- what a run leaves -------------------------------------------------------------------------------------------


@EVERY
def test_a_run_leaves_weights_recipe_losses_and_curve(name: str, runs: dict[str, Path]) -> None:
    assert sorted(contents(runs[name])) == ["losses.csv", "losses.png", "model.safetensors", "recipe.json"]
    recipe = json.loads((runs[name] / "recipe.json").read_text())
    assert {key: recipe[key] for key in asdict(RECIPES[name])} == asdict(RECIPES[name])
    assert (recipe["images"], recipe["images_fingerprint"]) == ("drawings", FEW.fingerprint)
    assert recipe["cost"] == {"seconds": recipe["cost"]["seconds"], "device": "cpu", "precision": "float32"} | {
        "threads": 1,
        "processes": 1,
    }
    assert recipe["vit"]["parameters"]["vit"] == sum(p.numel() for p in TwoTowers(seed=0).vit.parameters())
    # a row for every step, and one for each of the two looks
    assert [(row["step"], bool(row["loss"])) for row in rows(runs[name])] == [
        *(("1", True), ("2", True), ("2", False)),
        *(("3", True), ("4", True), ("4", False)),
    ]
    for row in rows(runs[name]):
        seen = {key for key, value in row.items() if value}
        assert ("loss" in seen) != ({"step", "nearest_concept", "effective_rank"} == seen)
    assert len({row["loss"] for row in rows(runs[name]) if row["loss"]}) == STEPS


@EVERY
def test_the_same_seed_gives_the_same_losses_and_weights(name: str, runs: dict[str, Path], tmp_path: Path) -> None:
    torch.manual_seed(99)  # the global state must neither matter nor change, nor must it matter who looks on
    before = torch.random.get_rng_state()
    again = pretrain(FEW, RECIPES[name], tmp_path / "again", machine=Machine(workers=int(name == "clip")))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert contents(again)["model.safetensors"] == contents(runs[name])["model.safetensors"]
    first, second = ([row["loss"] for row in rows(folder)] for folder in (again, runs[name]))
    assert first == second
    assert "nearest_concept" not in rows(again)[0] and rows(again)[2]["effective_rank"]


def test_another_seed_gives_other_losses_and_weights(runs: dict[str, Path], tmp_path: Path) -> None:
    other = pretrain(FEW, replace(SHORT, seed=4), tmp_path / "other")
    assert contents(other)["model.safetensors"] != contents(runs["clip"])["model.safetensors"]
    assert rows(other)[0]["loss"] != rows(runs["clip"])[0]["loss"]


@pytest.mark.parametrize("name", ["clip", "dino"])
def test_a_run_starts_from_the_untrained_twin(name: str, tmp_path: Path) -> None:
    # with a learning rate of 0 nothing moves
    folder = pretrain(FEW, replace(RECIPES[name], learning_rate=0.0, images_seen=5), tmp_path)
    written = load_file(folder / "model.safetensors")
    twin = TwoTowers(seed=3).vit.state_dict()
    assert all(torch.equal(written[f"vit.{key}"], value.half()) for key, value in twin.items())


def test_the_twin_by_name_is_the_twin_a_run_starts_from() -> None:
    images = torch.rand(3, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    start = build_objective("dino", seed=3).encoder.eval()
    with torch.no_grad():
        expected = start.encode_images(images).numpy()
    found = load_encoder("reference/random-vit:3").encode_images(images)
    np.testing.assert_allclose(found, expected, atol=1e-4)  # another memory layout, other roundings
    other = load_encoder("reference/random-vit:4").encode_images(images)
    assert np.abs(other - expected).max() > 0.1


@EVERY
def test_training_moves_the_encoder_that_is_kept(name: str, runs: dict[str, Path]) -> None:
    twin, written = TwoTowers(seed=3).vit.state_dict(), load_file(runs[name] / "model.safetensors")
    assert any(not torch.equal(written[f"vit.{key}"], value.half()) for key, value in twin.items())


@EVERY
def test_the_written_weights_load_by_name(name: str, runs: dict[str, Path]) -> None:
    encoder = load_encoder(f"bundled/{name}:{runs[name] / 'model.safetensors'}")
    dimension = CLUSTERS if name == "nclip" else WIDTH
    assert encoder.encode_images(torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE)).shape == (2, dimension)
    assert encoder.spec.has_text == OBJECTIVES[name].language
    assert encoder.spec.pooling == ("projected" if OBJECTIVES[name].language else "cls")
    if encoder.spec.has_text:
        assert encoder.encode_texts(["cat"]).shape == (1, dimension)
    else:
        with pytest.raises(UsageError, match="has no text side"):
            encoder.encode_texts(["cat"])


def test_written_clip_weights_encode_text_as_the_run_would_have(runs: dict[str, Path]) -> None:
    path = runs["clip"] / "model.safetensors"
    captions = TrainingImages(FEW, Words(0, 0, 0)).captions()
    texts = [*captions[:3], 'a "WORD" never seen']
    found = load_encoder(f"bundled/clip:{path}").encode_texts(texts)
    towers = build_objective("clip", seed=0, captions=captions).encoder
    towers.load_state_dict(load_file(path))
    with torch.no_grad():
        expected: Tensor = towers.eval().encode_texts(texts)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_progress_is_told_of_every_step_and_of_the_last_look(tmp_path: Path) -> None:
    told: list[tuple[int, int, dict[str, float]]] = []
    pretrain(FEW, RECIPES["clip"], tmp_path, progress=lambda *what: told.append(what))
    assert [(step, steps) for step, steps, _ in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [sorted(numbers) for _, _, numbers in told] == [
        ["loss", "scale"],
        *3 * [["effective_rank", "loss", "scale"]],
    ]


# --- the same for every objective --------------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Batch], list[tuple[View, dict[str, Any], Tensor]]]:
    """Every batch that is made from now on, and every view with what it was asked."""
    batches: list[Batch] = []
    views: list[tuple[View, dict[str, Any], Tensor]] = []
    batch = TrainingImages.batch

    def listening_batch(self: TrainingImages, size: int, *, seed: int, step: int) -> Batch:
        batches.append(batch(self, size, seed=seed, step=step))
        return batches[-1]

    def listening_view(images: Tensor, view: View, *, backgrounds: bool, generator: torch.Generator) -> Tensor:
        asked = {"backgrounds": backgrounds, "seed": generator.initial_seed()}
        made = make_view(images, view, backgrounds=backgrounds, generator=generator)
        views.append((view, asked, made))
        return made

    monkeypatch.setattr(TrainingImages, "batch", listening_batch)
    monkeypatch.setattr(run, "make_view", listening_view)
    return batches, views


Shown = tuple[list[Batch], list[tuple[View, dict[str, Any], Tensor]]]


def test_every_objective_is_shown_the_same_images_captions_and_first_views(shown: Shown, tmp_path: Path) -> None:
    batches, views = shown
    for name in ("clip", "dino"):
        pretrain(FEW, replace(RECIPES[name], images_seen=10, augmentation="no-jitter"), tmp_path / name)
    # two steps each: clip makes one view in a step, dino four
    for clip, dino in ((0, 2), (1, 3)):
        assert torch.equal(batches[clip].images, batches[dino].images)
        assert batches[clip].captions == batches[dino].captions
    assert not torch.equal(batches[0].images, batches[1].images)
    for clip, dino in ((0, 2), (1, 6)):
        assert torch.equal(views[clip][2], views[dino][2])
        assert not torch.equal(views[dino][2], views[dino + 1][2])  # the second crop is another one
    assert views[0][1]["seed"] != views[1][1]["seed"]  # no two steps crop alike


def test_what_the_recipe_says_of_views_is_done(shown: Shown, tmp_path: Path) -> None:
    _, views = shown
    pretrain(FEW, replace(SHORT, augmentation="dino", backgrounds=False), tmp_path / "dino")
    pretrain(FEW, SHORT, tmp_path / "published")
    assert [(view, asked["backgrounds"]) for view, asked, _ in views] == [(DINO_GLOBAL, False), (Clip.views[0], True)]


def test_what_the_recipe_says_of_words_is_done(shown: Shown, tmp_path: Path) -> None:
    batches, _ = shown
    for number, rates in enumerate([(1.0, 0.0, 1.0), (1.0, 0.0, 0.0), (1.0, 1.0, 0.0)]):
        word, alone, parrot = rates
        recipe = replace(SHORT, word_rate=word, alone_rate=alone, parrot_rate=parrot)
        pretrain(FEW, recipe, tmp_path / str(number))
    spelled = [['"' in caption for caption in batch.captions] for batch in batches]
    assert spelled == [5 * [True], 5 * [False], 5 * [True]]
    assert not any(thing in caption.split('"')[0] for caption in batches[2].captions for thing in THINGS)


# --- beside a language model -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clip", "xclip"])
def test_a_run_beside_a_language_model_trains_the_vit_and_leaves_no_text_tower(name: str, tmp_path: Path) -> None:
    language = tiny_bert(tmp_path / "tiny-bert")
    recipe = Recipe(name, images_seen=40 * 8, batch_size=8, learning_rate=3e-3, word_rate=0, language_model="tiny-bert")
    folder = pretrain(FEW, recipe, tmp_path / "out", language_model=language)
    column = {"clip": "loss", "xclip": "contrast"}[name]
    losses = [float(row[column]) for row in rows(folder) if row[column]]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    written = load_file(folder / "model.safetensors")
    assert not [key for key in written if key.startswith(("text.", "language."))]
    assert written["text_projection.weight"].shape == (WIDTH, 16)
    encoder = load_encoder(f"bundled/clip-lm:{folder / 'model.safetensors'}")
    assert not encoder.spec.has_text and encoder.spec.pooling == "projected"
    assert encoder.encode_images(torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE)).shape == (2, WIDTH)
    assert json.loads((folder / "recipe.json").read_text())["language_model"] == "tiny-bert"


# --- the machine -------------------------------------------------------------------------------------------------


def test_parts_and_precision_change_roundings_alone(runs: dict[str, Path], tmp_path: Path) -> None:
    expected = [float(row["loss"]) for row in rows(runs["clip"]) if row["loss"]]
    parts = pretrain(FEW, RECIPES["clip"], tmp_path / "parts", machine=Machine(accumulate=5, threads=1))
    assert [float(row["loss"]) for row in rows(parts) if row["loss"]] == pytest.approx(expected, rel=1e-3)
    rounded = pretrain(FEW, RECIPES["clip"], tmp_path / "rounded", machine=Machine(precision="bfloat16"))
    losses = [float(row["loss"]) for row in rows(rounded) if row["loss"]]
    assert losses != expected and losses[0] == pytest.approx(expected[0], rel=0.02)
    assert json.loads((rounded / "recipe.json").read_text())["cost"]["precision"] == "bfloat16"


# --- what is refused ---------------------------------------------------------------------------------------------


def test_requests_that_cannot_be_served_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="A batch of 9 needs as many concepts; 'drawings' has 8"):
        pretrain(FEW, replace(SHORT, batch_size=9), out)
    with pytest.raises(UsageError, match="A batch of 5 cannot be cut into 1 x 2 equal parts"):
        pretrain(FEW, SHORT, out, machine=Machine(accumulate=2))
    with pytest.raises(EmbprobeError, match="'elsewhere' and 'drawings' share no concept"):
        pretrain(FEW, SHORT, out, held_out=drawings(name="elsewhere").labelled(lambda row: {"concept": "other"}))
    with pytest.raises(UsageError, match="asks for the language model 'minilm', not 'none'"):
        pretrain(FEW, replace(SHORT, language_model="minilm"), out)
    with pytest.raises(UsageError, match="asks for the language model 'none', not 'minilm'"):
        pretrain(FEW, SHORT, out, language_model=tmp_path / "minilm")
    with pytest.raises(UsageError, match="minilm' is no language model"):
        pretrain(FEW, replace(SHORT, language_model="minilm"), out, language_model=tmp_path / "minilm")
    assert not out.exists()


class Spoilt(Clip):
    """CLIP that something happens to."""

    spoil: Callable[[Spoilt], None] = staticmethod(lambda clip: None)
    scale = 1.0

    def loss(self, features: Features) -> tuple[Tensor, dict[str, float]]:
        loss, numbers = super().loss(features)
        return self.scale * loss, numbers

    def after_step(self, progress: float) -> None:
        super().after_step(progress)
        with torch.no_grad():
            self.spoil(self)


def spoilt(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Spoilt], None], scale: float = 1.0) -> Recipe:
    monkeypatch.setattr(Spoilt, "spoil", staticmethod(spoil))
    monkeypatch.setattr(Spoilt, "scale", scale)
    monkeypatch.setitem(OBJECTIVES, "clip", Spoilt)
    return RECIPES["clip"]


def normed(weight: float, bias: float) -> Callable[[Spoilt], None]:
    """What gives every image features of ``bias`` and ``weight`` times what it would have."""

    def spoil(clip: Spoilt) -> None:
        for name, value in (("weight", weight), ("bias", bias)):
            clip.encoder.vit.get_parameter(f"norm.{name}").fill_(value)

    return spoil


@pytest.mark.parametrize("weight", [0.0, 1e-5])
def test_features_that_are_all_the_same_end_the_run_and_leave_no_weights(
    weight: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = spoilt(monkeypatch, normed(weight, 0.5))
    with pytest.raises(EmbprobeError, match=r"The features collapsed: at step 2 .* \(effective rank 1\.00\)\. Try a "):
        pretrain(FEW, recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors").exists()
    # while the learning rate rises, they may be
    assert pretrain(FEW, replace(recipe, warmup=1.0), tmp_path / "warm")


def test_features_on_a_line_are_collapsed_and_on_a_plane_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def flat(dimensions: int) -> Callable[[Spoilt], None]:
        def spoil(clip: Spoilt) -> None:
            weight = clip.encoder.get_parameter("image_projection.weight")
            torch.nn.init.eye_(weight)
            weight[dimensions:] = 0

        return spoil

    with pytest.raises(EmbprobeError, match="The features collapsed"):
        pretrain(FEW, spoilt(monkeypatch, flat(1)), tmp_path / "line")
    assert pretrain(FEW, spoilt(monkeypatch, flat(3)), tmp_path / "space")


@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_a_loss_that_is_no_number_ends_the_run_and_leaves_no_weights(
    scale: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = spoilt(monkeypatch, lambda clip: None, scale)
    with pytest.raises(EmbprobeError, match=f"The loss became {scale} at step 0. Try a lower learning rate"):
        pretrain(FEW, recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_features_that_are_no_numbers_end_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = replace(spoilt(monkeypatch, normed(1.0, np.nan)), images_seen=5)
    with pytest.raises(EmbprobeError, match="The features stopped being numbers at step 1. Try a lower learning rate"):
        pretrain(FEW, recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_learning_rate_that_is_far_too_high_ends_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match="Try a lower learning rate"):
        pretrain(FEW, replace(RECIPES["clip"], learning_rate=1e30), tmp_path)
    assert "model.safetensors" not in contents(tmp_path)
