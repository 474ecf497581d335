"""Training stage by stage: losses, updated weights, interruptions, and a folder that holds something else."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from embprobe.embeddings.session import TrainingProgress
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.processes import Machine
from embprobe.vlm import training
from embprobe.vlm.conversation import Conversation, Turn
from embprobe.vlm.image_tokens import TokenSource
from embprobe.vlm.model import VisionLanguageModel, build_connector, collate, learned
from embprobe.vlm.prompts import PROMPTS
from embprobe.vlm.recipe import Recipe
from embprobe.vlm.small import small_language
from embprobe.vlm.training import TrainingData, forget, run_stages
from tests.conftest import Malicious, snapshot
from tests.vlm.tiny_vlm import BOTH, COLOURS, CONNECTOR, LANGUAGE, KnownTokens, tiny_data, tiny_recipe

DATA = tiny_data()
Weights = dict[str, Tensor]


def fresh(recipe: Recipe) -> tuple[VisionLanguageModel, Any]:
    """Return an untrained model and its tokenizer, the same each time."""
    assert recipe.language.scratch is not None
    language = small_language(DATA.texts(), recipe.language.scratch, context=64, seed=0)
    return VisionLanguageModel(language.model, build_connector(3, 16, depth=2, seed=0)), language.tokenizer


def train(
    out: Path,
    recipe: Recipe,
    *,
    data: TrainingData = DATA,
    source: TokenSource | None = KnownTokens(),  # noqa: B008
    seed: int = 0,
    machine: Machine | None = None,
    progress: TrainingProgress | None = None,
) -> Weights:
    """Train a fresh model through all stages of a recipe; return its weights."""
    model, tokenizer = fresh(recipe)
    described = {"recipe": recipe.model_dump(by_alias=True), "data": data.fingerprint, "seed": seed}
    run_stages(
        model,
        recipe.stages,
        data,
        recipe,
        out,
        tokenizer=tokenizer,
        source=source,
        described=described,
        seed=seed,
        machine=machine,
        progress=progress,
    )
    assert not model.training
    return weights(model)


def weights(model: VisionLanguageModel) -> Weights:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def losses(out: Path) -> list[float]:
    with (out / "losses.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def changed(before: Weights, after: Weights) -> set[str]:
    """Return the parts of a model of which any weight changed."""
    return {name.partition(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}


def stopping_at(step: int) -> TrainingProgress:
    """Return a progress callback that stops the run as Ctrl-C does."""

    def stop(now: int, total: int, numbers: dict[str, float]) -> None:
        if now == step:
            raise KeyboardInterrupt

    return stop


# --- losses and updates ----------------------------------------------------------------------------------------------


def test_the_loss_of_a_step_is_the_mean_over_all_learned_tokens_before_it(tmp_path: Path) -> None:
    recipe = tiny_recipe({**CONNECTOR, "batch_size": 8, "epochs": 1})
    model, tokenizer = fresh(recipe)
    samples = DATA.samples(recipe.stages[0], PROMPTS["words"], tokenizer)
    batch = collate(list(samples), 2, context=64)
    assert learned(batch) == 8 * 4  # "a", the colour, "square" and the end
    with torch.no_grad():
        expected = float(model(batch, KnownTokens()(COLOURS))) / 32
    seen = list[tuple[int, int, float]]()
    train(tmp_path / "run", recipe, progress=lambda step, total, numbers: seen.append((step, total, numbers["loss"])))
    ((step, steps, loss),) = seen
    assert (step, steps) == (1, 1) and loss == pytest.approx(expected, rel=1e-5)
    assert losses(tmp_path / "run") == pytest.approx([expected], rel=1e-5)
    with torch.no_grad():
        blind = float(model(collate(list(samples), 0, context=64), None)) / 32  # no place for an image
    train(tmp_path / "blind", recipe, source=None)
    assert losses(tmp_path / "blind") == pytest.approx([blind], rel=1e-5) and abs(blind - expected) > 1e-4


def test_the_first_step_is_adamws(tmp_path: Path) -> None:
    # Adam's first step moves each weight by the learning rate against the sign of its gradient, and AdamW draws
    # matrices to 0 by learning rate x decay of themselves
    rates = {"learning_rate": 0.01, "connector_learning_rate": 0.002, "weight_decay": 0.5, "clip": 1e6}
    recipe = tiny_recipe({**BOTH, **rates, "batch_size": 8, "epochs": 1})
    before, after = weights(fresh(recipe)[0]), train(tmp_path / "run", recipe)
    for name in ("connector.0.weight", "connector.2.bias", "language.model.norm.weight", "language.lm_head.weight"):
        if name not in before:  # the weights of the input are those of the output
            name = "language.model.embed_tokens.weight"
        rate = 0.002 if name.startswith("connector") else 0.01
        decay = 0.5 if before[name].ndim == 2 else 0.0
        moved = (after[name] - before[name] * (1 - rate * decay)).abs()
        assert float(moved.max()) == pytest.approx(rate, rel=1e-3)
        assert float(moved.median()) == pytest.approx(rate, rel=1e-2)


def test_a_long_gradient_is_scaled_down(tmp_path: Path) -> None:
    # Adam divides by the gradient's size, unless it is as small as its epsilon of 1e-8
    stage = {**CONNECTOR, "batch_size": 8, "epochs": 1}
    before = weights(fresh(tiny_recipe(stage))[0])
    moved = [
        (train(tmp_path / str(clip), tiny_recipe({**stage, "clip": clip}))[name] - before[name]).abs().max()
        for clip in (1.0, 1e-10)
        for name in ["connector.0.weight"]
    ]
    assert float(moved[0]) == pytest.approx(0.01, rel=1e-3) and float(moved[1]) < 1e-4


def test_a_stage_trains_its_part_and_leaves_the_other_bit_for_bit(tmp_path: Path) -> None:
    untrained = weights(fresh(tiny_recipe())[0])
    assert changed(untrained, train(tmp_path / "1", tiny_recipe(LANGUAGE))) == {"language"}
    assert changed(untrained, train(tmp_path / "2", tiny_recipe(CONNECTOR))) == {"connector"}
    assert changed(untrained, train(tmp_path / "3", tiny_recipe(BOTH))) == {"language", "connector"}


def test_parts_of_a_batch_and_a_seed(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    train(tmp_path / "whole", recipe)
    train(tmp_path / "parts", recipe, machine=Machine(accumulate=2))
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), rtol=1e-5)
    train(tmp_path / "other", recipe, seed=1)
    assert losses(tmp_path / "other") != losses(tmp_path / "whole")
    with pytest.raises(UsageError, match="batch of 4 cannot be cut into 1 x 3 equal parts"):
        train(tmp_path / "uneven", recipe, machine=Machine(accumulate=3))


def test_torchs_random_state_is_left_as_it_was(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    train(tmp_path / "run", tiny_recipe(CONNECTOR))
    assert torch.equal(torch.random.get_rng_state(), before)


# --- interrupted -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Weights]:
    """A run of three stages with four steps each, and its weights."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, train(out, tiny_recipe())


def assert_goes_on(out: Path, whole: tuple[Path, Weights], *, behind: int) -> None:
    """Check that a run goes on behind a step, and ends as the one that was never interrupted."""
    steps = list[int]()
    after = train(out, tiny_recipe(), progress=lambda step, total, numbers: steps.append(step))
    assert steps == list(range(behind + 1, 13))
    assert (out / "losses.csv").read_bytes() == (whole[0] / "losses.csv").read_bytes()
    assert all(torch.equal(value, after[name]) for name, value in whole[1].items())


@pytest.mark.parametrize(
    ("often", "step", "behind"),
    [
        (True, 1, 0),  # before the first checkpoint
        (True, 3, 2),  # its own checkpoint follows the callback
        (True, 4, 3),
        (True, 5, 4),
        (True, 12, 11),
        (False, 7, 4),  # back to the end of the first stage
    ],
)
def test_an_interrupted_run_ends_as_one_that_never_was(
    often: bool, step: int, behind: int, whole: tuple[Path, Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVED_EVERY", -1.0 if often else 1e9)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", tiny_recipe(), progress=stopping_at(step))
    assert (tmp_path / "run" / "checkpoint.pt").exists() == (behind > 0)
    assert_goes_on(tmp_path / "run", whole, behind=behind)


SCRIPT = """
import os, signal, sys
from pathlib import Path
from embprobe.vlm import training
from tests.vlm.test_training import train
from tests.vlm.tiny_vlm import tiny_recipe
import torch
torch.set_num_threads(1)
training.SAVED_EVERY = -1.0
def kill(step, total, numbers):
    if step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
train(Path(sys.argv[1]), tiny_recipe(), progress=kill)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_process_goes_on(whole: tuple[Path, Weights], tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    search = os.pathsep.join([path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path] + [root])
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run")]
    ran = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": search}, capture_output=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    (tmp_path / "run" / ".checkpoint.pt.1.tmp").write_bytes(b"half of a file")
    assert_goes_on(tmp_path / "run", whole, behind=6)
    assert not list((tmp_path / "run").glob(".*"))


def test_a_run_that_is_done_does_no_step_again(whole: tuple[Path, Weights]) -> None:
    assert_goes_on(whole[0], whole, behind=12)


def test_a_forgotten_checkpoint_is_removed(tmp_path: Path) -> None:
    train(tmp_path / "run", tiny_recipe(CONNECTOR))
    for _ in range(2):
        forget(tmp_path / "run")
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["losses.csv", "run.json"]


# --- what cannot be trained ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"recipe": tiny_recipe(CONNECTOR)}, "recipe"),
        ({"data": replace(DATA, captions={**DATA.captions, "red": "a red circle"})}, "data"),
        ({"seed": 1}, "seed"),
    ],
)
def test_another_run_is_refused_and_nothing_changes(
    changes: dict[str, Any], name: str, whole: tuple[Path, Weights]
) -> None:
    before = snapshot(whole[0])
    with pytest.raises(UsageError, match=rf"holds another run \({name}\)\. Choose another --out or remove the folder"):
        train(whole[0], **{"recipe": tiny_recipe(), **changes})
    assert snapshot(whole[0]) == before


def test_a_run_without_stages_is_written_down_as_any_other(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    model, tokenizer = fresh(recipe)
    for seed in (0, 1):
        options: dict[str, Any] = {"tokenizer": tokenizer, "source": None, "described": {"seed": seed}, "seed": seed}
        if seed:
            with pytest.raises(UsageError, match=r"holds another run \(seed\)"):
                run_stages(model, [], DATA, recipe, tmp_path / "run", **options)
        else:
            run_stages(model, [], DATA, recipe, tmp_path / "run", **options)


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_a_damaged_description_is_a_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(EmbprobeError, match=r"run.json' is damaged. Choose another --out or remove"):
        train(tmp_path, tiny_recipe())


def test_a_loss_that_is_no_number_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    recipe = tiny_recipe({**CONNECTOR, "name": "first"})
    with pytest.raises(EmbprobeError, match=r"The loss became nan in the stage 'first'. Try a lower learning rate."):
        train(tmp_path / "run", recipe, source=KnownTokens(scale=float("inf")))
    assert not (tmp_path / "run").exists()


def rewritten(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Return the damage of a checkpoint that is read as one, and holds something else."""

    def damage(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no checkpoint"),
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: torch.save([1], path),
        lambda path: torch.save({}, path),
        rewritten(lambda state: state.pop("optimizer")),
        rewritten(lambda state: state.update(stage=9)),
        rewritten(lambda state: state.update(weights=[1])),
        rewritten(lambda state: state["weights"].update(unknown=torch.zeros(1))),
        rewritten(lambda state: state["weights"].update({"connector.0.weight": torch.zeros(7, 7)})),
        rewritten(lambda state: state.update(history={})),
    ],
)
def test_a_damaged_checkpoint_is_a_sentence(damage: Callable[[Path], object], tmp_path: Path) -> None:
    train(tmp_path, tiny_recipe(CONNECTOR))
    damage(tmp_path / "checkpoint.pt")
    with pytest.raises(EmbprobeError, match=r"checkpoint.pt' is damaged. Remove it to start the run again."):
        train(tmp_path, tiny_recipe(CONNECTOR))
    (tmp_path / "checkpoint.pt").unlink()
    train(tmp_path, tiny_recipe(CONNECTOR))


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    train(tmp_path, tiny_recipe(CONNECTOR))
    torch.save({"stage": Malicious(tmp_path / "mark")}, tmp_path / "checkpoint.pt")
    with pytest.raises(EmbprobeError, match=r"checkpoint.pt' is damaged"):
        train(tmp_path, tiny_recipe(CONNECTOR))
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("stage", "data", "name"),
    [
        (CONNECTOR, replace(DATA, captions={}), "captions"),
        (BOTH, replace(DATA, conversations=[]), "conversations"),
        (LANGUAGE, replace(DATA, captions={}), "descriptions"),
        (LANGUAGE, replace(DATA, conversations=[]), "descriptions"),
    ],
)
def test_a_stage_without_data_is_a_sentence(stage: Any, data: TrainingData, name: str, tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match=f"There are no {name} for the stage '{stage['name']}'."):
        train(tmp_path / "run", tiny_recipe(stage), data=data)
    assert not (tmp_path / "run").exists()


# --- the data --------------------------------------------------------------------------------------------------------


def test_data_are_what_has_tokens(tmp_path: Path) -> None:
    alone = Conversation(key="alone", image=None, turns=[Turn("hello", "hello")])
    data = replace(DATA, conversations=[*DATA.conversations, alone])
    kept = data.seen_by(KnownTokens(keys=["blue", "red", "violet"]))
    assert [each.key for each in kept.conversations] == ["talk of red", "talk of blue", "alone"]
    assert kept.captions == {"red": "a red square", "blue": "a blue square"}


def test_the_fingerprint_changes_with_any_text_and_key() -> None:
    first, *rest = DATA.conversations
    others = [
        replace(DATA, captions={**DATA.captions, "red": "a red square ."}),
        replace(DATA, captions={f"{key}s": text for key, text in DATA.captions.items()}),
        replace(DATA, conversations=[replace(first, image="green"), *rest]),
        replace(DATA, conversations=[replace(first, turns=first.turns[:1]), *rest]),
        replace(DATA, conversations=[*rest, first]),
    ]
    assert len({DATA.fingerprint, *(each.fingerprint for each in others)}) == 6
    assert tiny_data().fingerprint == DATA.fingerprint


def test_the_texts_hold_no_mark_of_an_image() -> None:
    texts = list(DATA.texts())
    assert len(texts) == 8 * 4 + 8 and not any("<image>" in text for text in texts)
    assert texts[1:4] == ["red", "what shape ?", "square"] and texts[-1] == "a grey square"
