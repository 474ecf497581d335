"""Trained models in their folders: saved, loaded, damaged, and not trained a second time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from embprobe.errors import EmbprobeError, UsageError
from embprobe.vlm.image_tokens import TokenSource, moments
from embprobe.vlm.language import Language, load_language
from embprobe.vlm.model import collate
from embprobe.vlm.prompts import PROMPTS, sample_of
from embprobe.vlm.recipe import Recipe
from embprobe.vlm.small import small_language
from embprobe.vlm.trained import (
    BLIND,
    Trained,
    language_fingerprint,
    load_trained,
    stages_of,
    train,
    train_language,
)
from tests.conftest import snapshot
from tests.vlm.tiny_vlm import BOTH, COLOURS, CONNECTOR, LANGUAGE, KnownTokens, tiny_data, tiny_recipe

DATA = tiny_data()
RECIPE = tiny_recipe(CONNECTOR, BOTH, image={"standardised": True})
SOURCE = KnownTokens(scale=5.0)


def language(seed: int = 0) -> Language:
    shape = RECIPE.language.scratch
    assert shape is not None
    return small_language(DATA.texts(), shape, context=64, seed=seed)


def never(step: int, total: int, numbers: dict[str, float]) -> None:
    raise AssertionError(f"step {step} is trained again")


def trained_in(out: Path, *, recipe: Recipe = RECIPE, source: TokenSource | None = SOURCE, **options: Any) -> Trained:
    torch.set_num_threads(1)
    return train(recipe, DATA, out, source=source, language=options.pop("language", language()), **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_in(tmp_path_factory.mktemp("trained") / "run")


@torch.no_grad()
def logits(trained: Trained) -> torch.Tensor:
    """Return what a model expects behind the first two conversations."""
    samples = [sample_of(each, PROMPTS["words"], trained.tokenizer) for each in DATA.conversations[:2]]
    seeing = trained.model.connector is not None
    batch = collate(samples, SOURCE.count if seeing else 0, context=64)
    return trained.model.logits(batch, SOURCE(COLOURS[:2]) if seeing else None)


# --- saved and loaded ------------------------------------------------------------------------------------------------


def test_a_loaded_model_is_the_trained_one(made: Trained) -> None:
    again = load_trained(made.folder)
    assert torch.equal(logits(again), logits(made)) and not again.model.training
    assert (again.encoder, again.recipe, again.folder) == ("known", RECIPE, made.folder)
    assert again.tokenizer.get_vocab() == made.tokenizer.get_vocab()
    assert sorted(path.name for path in made.folder.iterdir()) == [
        "connector.safetensors",
        "language",
        "losses.csv",
        "run.json",
        "vlm.json",
    ]


def test_the_moments_of_the_tokens_are_saved_with_the_connector(made: Trained) -> None:
    saved, (mean, deviation) = load_file(made.folder / "connector.safetensors"), moments(SOURCE)
    assert torch.equal(saved["0.mean"], mean) and torch.equal(saved["0.deviation"], deviation)
    assert (deviation - 5).abs().max() < 3  # 16 numbers drawn with a deviation of 5


def test_the_precision_is_that_of_the_language_model(made: Trained) -> None:
    half = load_trained(made.folder, precision="bfloat16")
    assert half.model.language.dtype == torch.bfloat16
    torch.testing.assert_close(logits(half).float(), logits(made), atol=0.1, rtol=0.1)


def test_a_finished_run_is_loaded(made: Trained) -> None:
    before = snapshot(made.folder)
    again = trained_in(made.folder, progress=never)
    assert torch.equal(logits(again), logits(made)) and snapshot(made.folder) == before


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"recipe": tiny_recipe(BOTH)}, "recipe"),
        ({"source": replace(SOURCE, name="other")}, "encoder"),
        ({"source": replace(SOURCE, fingerprint="2")}, "tokens"),
        ({"source": replace(SOURCE, keys=COLOURS[:5])}, "data"),
        ({"source": None}, "data, encoder, tokens|encoder, tokens"),
        ({"seed": 1}, "seed"),
        ({"language": language(seed=1)}, "language"),
    ],
)
def test_another_run_is_refused_and_nothing_changes(options: dict[str, Any], name: str, made: Trained) -> None:
    before = snapshot(made.folder)
    with pytest.raises(UsageError, match=rf"holds another run \(({name})\)"):
        trained_in(made.folder, progress=never, **options)
    assert snapshot(made.folder) == before


def test_a_run_that_was_killed_before_it_was_saved_is_saved(
    made: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("embprobe.vlm.trained.write_json", killed)  # of vlm.json, behind all weights
        with pytest.raises(KeyboardInterrupt):
            trained_in(tmp_path / "run")
    with pytest.raises(UsageError, match="it has no vlm.json"):
        load_trained(tmp_path / "run")
    assert torch.equal(logits(trained_in(tmp_path / "run", progress=never)), logits(made))
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


# --- the blind model -------------------------------------------------------------------------------------------------


def test_a_blind_model_has_no_connector_and_no_stage_of_it(tmp_path: Path) -> None:
    steps = list[tuple[int, int]]()
    blind = trained_in(tmp_path / "run", source=None, progress=lambda now, total, _: steps.append((now, total)))
    assert steps == [(step, 4) for step in (1, 2, 3, 4)]  # of the stage "both" alone
    assert blind.encoder == BLIND and blind.model.connector is None
    assert not (tmp_path / "run" / "connector.safetensors").exists()
    again = load_trained(tmp_path / "run")
    assert again.model.connector is None and torch.equal(logits(again), logits(blind))
    assert torch.equal(logits(trained_in(tmp_path / "run", source=None, progress=never)), logits(blind))


def test_stages_without_images_are_those_of_the_language_model() -> None:
    recipe = tiny_recipe(LANGUAGE, CONNECTOR, BOTH)
    assert [stage.name for stage in stages_of(recipe, blind=False)] == ["connector", "both"]
    assert [stage.name for stage in stages_of(recipe, blind=True)] == ["both"]


def test_a_blind_run_of_no_stages_is_no_other_encoders_run(tmp_path: Path) -> None:
    recipe = tiny_recipe(CONNECTOR)
    untouched = trained_in(tmp_path / "run", recipe=recipe, source=None, progress=never)
    assert language_fingerprint(Language(untouched.model.language, untouched.tokenizer, "", 64)) == (
        language_fingerprint(language())
    )
    with pytest.raises(UsageError, match=r"holds another run \(encoder, tokens\)"):
        trained_in(tmp_path / "run", recipe=recipe)


# --- the language model from scratch ---------------------------------------------------------------------------------


def test_the_language_model_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    recipe, steps = tiny_recipe(LANGUAGE, BOTH), list[int]()
    first = train_language(recipe, DATA, tmp_path / "a", progress=lambda step, total, _: steps.append(step))
    assert steps == [1, 2, 3, 4] and first == tmp_path / "a" / "language"
    assert not (tmp_path / "a" / "checkpoint.pt").exists()
    assert train_language(recipe, DATA, tmp_path / "a", progress=never) == first
    again, other = (train_language(recipe, DATA, tmp_path / name, seed=seed) for name, seed in (("b", 0), ("c", 1)))
    fingerprints = [language_fingerprint(load_language(folder)) for folder in (first, again, other)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert fingerprints[0] != language_fingerprint(language())  # it has learned
    with pytest.raises(UsageError, match=r"holds another run \(seed\)"):
        train_language(recipe, DATA, tmp_path / "a", seed=1)
    # stages that see images do not matter to it
    assert train_language(tiny_recipe(LANGUAGE), DATA, tmp_path / "a", progress=never) == first


def test_without_a_stage_of_its_own_it_stays_as_it_was_drawn(tmp_path: Path) -> None:
    recipe = tiny_recipe(BOTH)
    for _ in range(2):
        folder = train_language(recipe, DATA, tmp_path / "run", progress=never)
    assert language_fingerprint(load_language(folder)) == language_fingerprint(language())


def test_a_published_language_model_is_not_trained_from_scratch(tmp_path: Path) -> None:
    recipe = tiny_recipe(BOTH, language={"model": "a/b"})
    with pytest.raises(UsageError, match="recipe 'tiny' names a language model of its own: it is not trained from"):
        train_language(recipe, DATA, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_fingerprint_changes_with_a_weight_and_with_the_vocabulary() -> None:
    shape, first = RECIPE.language.scratch, language()
    assert shape is not None and language_fingerprint(first) == language_fingerprint(language())
    other = small_language([*DATA.texts()][:-1] + ["a purple square"], shape, context=64, seed=0)
    assert language_fingerprint(replace(first, tokenizer=other.tokenizer)) != language_fingerprint(first)
    before = language_fingerprint(first)
    with torch.no_grad():
        first.model.model.norm.weight[0] += 1e-3
    assert language_fingerprint(first) != before


# --- damaged ---------------------------------------------------------------------------------------------------------


def described(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        facts = json.loads((folder / "vlm.json").read_text())
        change(facts)
        (folder / "vlm.json").write_text(json.dumps(facts))

    return damage


def connected(folder: Path) -> None:
    save_file({"0.weight": torch.zeros(2, 2)}, folder / "connector.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "vlm.json").write_text("{"),
        lambda folder: (folder / "vlm.json").write_text("[]"),
        lambda folder: (folder / "vlm.json").write_bytes(b"\xff"),
        described(lambda facts: facts.pop("width")),
        described(lambda facts: facts.pop("encoder")),
        described(lambda facts: facts.update(width="wide")),
        described(lambda facts: facts.update(width=4)),
        described(lambda facts: facts.update(recipe={})),
        described(lambda facts: facts["recipe"]["connector"].update(depth=1)),
        lambda folder: (folder / "connector.safetensors").unlink(),
        lambda folder: (folder / "connector.safetensors").write_bytes(b""),
        lambda folder: (folder / "connector.safetensors").write_bytes(
            (folder / "connector.safetensors").read_bytes()[:-8]
        ),
        connected,
    ],
)
def test_a_damaged_folder_is_a_sentence(damage: Callable[[Path], object], made: Trained, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path / "run")
    damage(tmp_path / "run")
    with pytest.raises(EmbprobeError, match=r"^'.*run' is damaged: .+\. Remove it and train again\.$"):
        load_trained(tmp_path / "run")


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: shutil.rmtree(folder),
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"damaged"),
        lambda folder: (folder / "tokenizer.json").write_text("{"),
    ],
)
def test_a_damaged_language_model_is_a_sentence(
    damage: Callable[[Path], object], made: Trained, tmp_path: Path
) -> None:
    shutil.copytree(made.folder, tmp_path / "run")
    damage(tmp_path / "run" / "language")
    with pytest.raises(EmbprobeError, match="language'"):
        load_trained(tmp_path / "run")


def test_a_folder_without_a_model_is_a_sentence(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=r"holds no trained vision-language model: it has no vlm.json\.$"):
            load_trained(folder)
