"""Recipes: what a file may say, the number of steps, and the learning rate of each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.errors import EmbprobeError, UsageError
from embprobe.vlm.recipe import Recipe, Stage, list_recipes, read_recipe

TEXT = """
schema = 1
name = "mine"
[language]
scratch = { width = 16, depth = 1, heads = 2, inner = 32 }
prompt = "words"
[[stages]]
name = "language"
data = "descriptions"
trains = "language model"
learning_rate = 1e-3
batch_size = 4
[[stages]]
name = "tuning"
data = "conversations"
trains = "both"
learning_rate = 1e-3
batch_size = 4
"""


def stage(**changes: Any) -> Stage:
    given = {"name": "x", "data": "captions", "trains": "connector", "learning_rate": 0.01, "batch_size": 4}
    return Stage.model_validate(given | changes)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_what_a_file_leaves_out_is_as_in_llava(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, TEXT))
    assert (recipe.image.layer, recipe.image.norm, recipe.image.standardised) == (-2, "none", False)
    assert (recipe.connector.depth, recipe.language.context) == (2, 2048)
    tuning = recipe.stages[1]
    assert (tuning.epochs, tuning.warmup, tuning.weight_decay, tuning.clip, tuning.by_length) == (1, 0.03, 0, 1, False)
    assert [each.sees for each in recipe.stages] == [False, True]
    assert Recipe.model_validate(recipe.model_dump(by_alias=True)) == recipe


def test_every_recipe_that_comes_along_can_be_read() -> None:
    assert list_recipes() == ["llava-1.5", "llava-1.5-lora", "small"]
    for name in list_recipes():
        assert read_recipe(name).name == name


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ("schema = 1", "schema = 2", "schema", "should be 1"),
        ("schema = 1", "", "schema", "this key is missing"),
        ('name = "mine"', 'nmae = "mine"', "name", "this key is missing"),
        ("[language]", "colour = 1\n[language]", "colour", "there is no such key here"),
        ("[language]", '[image]\nlayer = "last"\n[language]', "image.layer", "integer"),
        ("[language]", '[image]\nstored = "int8"\n[language]', "image.stored", "'float16' or 'float32'"),
        ("[language]", "[connector]\ndepth = 0\n[language]", "connector.depth", "greater than or equal to 1"),
        ("[language]", "[connector]\ndepth = 9\n[language]", "connector.depth", "less than or equal to 8"),
        ("[language]", '[language]\nmodel = "a/b"', "language", "name a model, or give the shape of one from scratch"),
        ("scratch = { width = 16, depth = 1, heads = 2, inner = 32 }", "", "language", "name a model, or give"),
        ("width = 16", "width = 18", "language.scratch", "width must be an even multiple of heads"),
        ("width = 16", "width = 4", "language.scratch.width", "greater than or equal to 8"),
        ('prompt = "words"', 'prompt = "chatml"', "language.prompt", "'vicuna-v1' or 'words'"),
        ('prompt = "words"', "context = 8", "language.context", "greater than or equal to 16"),
        ('data = "conversations"', 'data = "jokes"', "stages.1.data", "'descriptions', 'captions' or 'conversations'"),
        ('trains = "both"', 'trains = "encoder"', "stages.1.trains", "'language model', 'connector'"),
        ('trains = "language model"', 'trains = "both"', "stages.0", "only the language model learns from them"),
        ('trains = "both"', 'trains = "connector and lora"', "stages.1", "a table 'lora' goes with trains"),
        ('trains = "both"', 'trains = "both"\nlora = { rank = 4 }', "stages.1", "a table 'lora' goes with trains"),
        ("learning_rate = 1e-3", "learning_rate = 0", "stages.0.learning_rate", "greater than 0"),
        ("learning_rate = 1e-3", "learning_rate = nan", "stages.0.learning_rate", "greater than 0|finite"),
        ("learning_rate = 1e-3", "learning_rate = inf", "stages.0.learning_rate", "finite"),
        ("batch_size = 4", "batch_size = 0", "stages.0.batch_size", "greater than or equal to 1"),
        ("batch_size = 4", "batch_size = 4\nwarmup = 1.5", "stages.0.warmup", "less than or equal to 1"),
        ("batch_size = 4", "batch_size = 4\nepochs = 0", "stages.0.epochs", "greater than 0"),
        ("batch_size = 4", "batch_size = 4\nweight_decay = -1", "stages.0.weight_decay", "greater than or equal to 0"),
        ("batch_size = 4", "batch_size = 4\nclip = 0", "stages.0.clip", "greater than 0"),
        ('name = "tuning"', 'name = "language"', "the top", "two stages have the same name"),
    ],
)
def test_a_mistake_is_a_sentence_with_its_key(old: str, new: str, key: str, reason: str, tmp_path: Path) -> None:
    assert old in TEXT
    path = written(tmp_path, TEXT.replace(old, new, 1))
    with pytest.raises(EmbprobeError, match=rf"^The card '.*mine.toml' is not right at '{key}': .*({reason})"):
        read_recipe(path)


def test_stages_that_see_come_behind_those_that_do_not(tmp_path: Path) -> None:
    head, first, second = TEXT.split("[[stages]]")
    path = written(tmp_path, "[[stages]]".join([head, second, first]))
    with pytest.raises(EmbprobeError, match="stages without images come first: they are the same for every encoder"):
        read_recipe(path)


def test_two_tables_of_adapters_are_refused_and_one_twice_is_not(tmp_path: Path) -> None:
    def tuned(name: str, rank: int) -> str:
        table = '[[stages]]\nname = "{}"\ndata = "captions"\ntrains = "connector and lora"\nlearning_rate = 1e-3\n'
        return table.format(name) + f"batch_size = 4\nlora = {{ rank = {rank} }}\n"

    assert len(read_recipe(written(tmp_path, TEXT + tuned("a", 4) + tuned("b", 4))).stages) == 4
    with pytest.raises(EmbprobeError, match="two stages have different tables 'lora'"):
        read_recipe(written(tmp_path, TEXT + tuned("a", 4) + tuned("b", 8)))


def test_no_recipe_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no recipe 'smal'.* There are: llava-1.5, .*small.*Did you mean small"):
        read_recipe("smal")
    with pytest.raises(UsageError, match=r"'.*gone.toml' cannot be read: No such file"):
        read_recipe(tmp_path / "gone.toml")
    with pytest.raises(EmbprobeError, match=r"is not valid TOML"):
        read_recipe(written(tmp_path, "schema = = 1"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EmbprobeError, match=r"bytes.toml' is not a text file"):
        read_recipe(tmp_path / "bytes.toml")


def test_the_last_batch_is_filled_up() -> None:
    # 10 samples by 4 are 2.5 batches, twice that are 5, a quarter 0.6, and none is one
    assert stage().steps(10) == 3
    assert stage(epochs=2).steps(10) == 5
    assert stage(epochs=0.25).steps(10) == stage().steps(0) == 1
    assert stage(batch_size=5).steps(10) == 2


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine() -> None:
    # a rise over 4 of 12 steps, then 8 steps of the cosine: after 2, 4 and 6 of them a half of 1 + cos 45°, 90°, 135°
    rates = [stage(warmup=1 / 3).learning_rate_at(step, 12) for step in range(12)]
    assert rates[:5] == pytest.approx([0, 0.0025, 0.005, 0.0075, 0.01])
    assert rates[6] == pytest.approx(0.005 * (1 + math.sqrt(0.5)))
    assert rates[8] == pytest.approx(0.005)
    assert rates[10] == pytest.approx(0.005 * (1 - math.sqrt(0.5)))
    assert rates[11] == pytest.approx(0.005 * (1 + math.cos(math.pi * 7 / 8))) and rates[11] > 0


def test_without_warmup_the_first_step_has_the_highest_rate() -> None:
    assert stage(warmup=0).learning_rate_at(0, 10) == 0.01
    assert stage(warmup=0).learning_rate_at(0, 10, 0.5) == 0.5
    assert stage(warmup=0).learning_rate_at(0, 1) == 0.01
    assert stage(warmup=1).learning_rate_at(9, 10) == pytest.approx(0.009)  # nothing but the rise


@given(st.integers(1, 300), st.floats(0, 1))
def test_a_rate_is_never_above_the_peak_and_rises_once(steps: int, warmup: float) -> None:
    rates = [stage(warmup=warmup).learning_rate_at(step, steps) for step in range(steps)]
    assert all(0 <= rate <= 0.01 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
