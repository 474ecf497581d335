"""LLaVA-1.5's two stages from the command line, on tiny random models in the real file formats."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from embprobe.cli.vlm_train import train
from embprobe.errors import EmbprobeError, UsageError
from embprobe.vlm import training
from embprobe.vlm.language import load_language
from embprobe.vlm.trained import load_trained
from tests.vlm.tiny_clip import tiny_clip
from tests.vlm.tiny_llama import tiny_llama

app = typer.Typer()
app.command()(train)
COLOURS = ("red", "green", "blue", "white", "black", "yellow")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both models, six images, a caption of each, and conversations of which one is about no image."""
    folder = tmp_path_factory.mktemp("material")
    tiny_llama(folder / "tiny-llama")
    tiny_clip(folder / "tiny-clip")
    (folder / "images" / "coco").mkdir(parents=True)
    captions, conversations = [], []
    for number, colour in enumerate(COLOURS):
        path = f"coco/{number}.png"
        Image.new("RGB", (16, 16), colour).save(folder / "images" / path)
        asked = [{"from": "human", "value": "Describe it.\n<image>"}, {"from": "gpt", "value": f"a {colour} square"}]
        captions.append({"id": str(number), "image": path, "conversations": asked})
        talk = [
            {"from": "human", "value": "<image>\nWhat colour is it?"},
            {"from": "gpt", "value": colour},
            {"from": "human", "value": "What shape?"},
            {"from": "gpt", "value": "A square."},
        ]
        conversations.append({"id": str(number), "image": path, "conversations": talk})
    alone = [{"from": "human", "value": "How are you?"}, {"from": "gpt", "value": "Well."}]
    conversations.append({"id": "text", "conversations": alone})
    (folder / "captions.json").write_text(json.dumps(captions))
    (folder / "conversations.json").write_text(json.dumps(conversations))
    # the published recipe, but for the batch size: 2 of 6 images make 3 steps of pre-training
    for name in ("llava-1.5", "llava-1.5-lora"):
        text = Path(training.__file__).with_name("recipes").joinpath(f"{name}.toml").read_text()
        small = text.replace("batch_size = 256", "batch_size = 2").replace("batch_size = 128", "batch_size = 2")
        small = small.replace("rank = 128, alpha = 256", "rank = 4, alpha = 8").replace(
            "context = 2048", "context = 400"
        )
        (folder / f"{name}.toml").write_text(small)
    return folder


def arguments(material: Path, out: Path, *more: str, recipe: str = "llava-1.5") -> list[str]:
    return [
        *("-e", f"transformers/local-dir:{material / 'tiny-clip'}"),
        *("--language-model", str(material / "tiny-llama"), "--recipe", str(material / f"{recipe}.toml")),
        *("--captions", str(material / "captions.json"), "--conversations", str(material / "conversations.json")),
        *("--images", str(material / "images"), "--out", str(out), "--workspace", str(material / "workspace")),
        *("--device", "cpu", "--threads", "1", *more),
    ]


def run(*options: str) -> str:
    result = CliRunner().invoke(app, options)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def losses(out: Path) -> list[float]:
    with (out / "losses.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def trained(material: Path) -> Path:
    out = material / "trained"
    printed = json.loads(run(*arguments(material, out, "--json")))
    # 6 captions and 7 conversations by two
    assert (printed["recipe"], printed["steps"]) == ("llava-1.5", 3 + 4)
    return out


def test_both_stages_train_the_connector_and_then_the_language_model(material: Path, trained: Path) -> None:
    assert len(losses(trained)) == 7 and not (trained / "checkpoint.pt").exists()
    loaded = load_trained(trained)
    assert loaded.encoder.startswith(f"transformers/local-dir:{material / 'tiny-clip'},layer=2,")  # -2 of three
    connector = load_file(trained / "connector.safetensors")
    assert {name: tuple(value.shape) for name, value in connector.items()} == {
        **{"0.weight": (16, 8), "0.bias": (16,)},  # from the encoder's width to the language model's
        **{"2.weight": (16, 16), "2.bias": (16,)},
    }
    before = load_language(material / "tiny-llama").model.state_dict()
    after = loaded.model.language.state_dict()
    assert all(not torch.equal(value, after[name]) for name, value in before.items() if "layers" in name)


def test_learning_rates_and_trained_weights_are_the_recipes(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[tuple[str, float, int]]()
    step = training._Run._step

    def watched(self: Any, network: Any, unsynchronised: Any, optimizer: Any, plan: Any, *more: Any) -> float:
        loss = step(self, network, unsynchronised, optimizer, plan, *more)
        weights = sum(value.numel() for group in optimizer.param_groups for value in group["params"])
        (rate,) = {group["lr"] for group in optimizer.param_groups}
        seen.append((plan.stage.name, rate, weights))
        return loss

    monkeypatch.setattr(training._Run, "_step", watched)
    run(*arguments(material, tmp_path / "run"))
    connector = 8 * 16 + 16 + 16 * 16 + 16
    language = sum(value.numel() for value in load_language(material / "tiny-llama").model.parameters())
    # 3 % of three or four steps is one step, at a rate of 0; then the half cosine
    first = [("pre-training", 1e-3 * share, connector) for share in (0, 1, 0.5)]
    second = [("tuning", 2e-5 * share, connector + language) for share in (0, 1, 0.75, 0.25)]
    expected = [*first, *second]
    assert [(name, weights) for name, _, weights in seen] == [(name, weights) for name, _, weights in expected]
    np.testing.assert_allclose([rate for _, rate, _ in seen], [rate for _, rate, _ in expected], rtol=1e-12)


def test_tokens_encoded_on_the_fly_give_nearly_the_losses_of_stored_ones(
    material: Path, trained: Path, tmp_path: Path
) -> None:
    run(*arguments(material, tmp_path / "run", "--live"))
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(trained), rtol=1e-3)


def test_parts_of_a_batch_change_no_loss(material: Path, trained: Path, tmp_path: Path) -> None:
    run(*arguments(material, tmp_path / "run", "--accumulate", "2"))
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(trained), rtol=1e-5)


@pytest.mark.parametrize("recipe", ["llava-1.5", "llava-1.5-lora"])
def test_a_run_that_is_killed_goes_on_with_the_same_losses(
    recipe: str, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if recipe == "llava-1.5-lora":  # whose dropout is random
        pytest.importorskip("peft")
    monkeypatch.setattr(training, "SAVED_EVERY", -1.0)
    run(*arguments(material, tmp_path / "whole", recipe=recipe))
    step, stopping = training._Run._step, [2, 3]  # in the first stage, and in the second

    def stopped(self: Any, *more: Any) -> float:
        if stopping and (self.step, self.stage) == (stopping[0] - 1, 2 - len(stopping)):
            del stopping[0]
            raise KeyboardInterrupt
        return step(self, *more)

    monkeypatch.setattr(training._Run, "_step", stopped)
    for _ in range(2):
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(*arguments(material, tmp_path / "killed", recipe=recipe))
        assert (tmp_path / "killed" / "checkpoint.pt").exists()
        assert not (tmp_path / "killed" / "vlm.json").exists()
    run(*arguments(material, tmp_path / "killed", recipe=recipe))
    assert not stopping and losses(tmp_path / "killed") == losses(tmp_path / "whole")
    for name in ("connector.safetensors", "language/model.safetensors"):
        whole, killed = (load_file(tmp_path / run_name / name) for run_name in ("whole", "killed"))
        assert all(torch.equal(value, killed[key]) for key, value in whole.items())


def test_lora_saves_adapters_and_the_merged_model(material: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    run(*arguments(material, tmp_path / "run", recipe="llava-1.5-lora"))
    adapters = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert len(adapters) == 2 * 7 * 2 and any(
        value.abs().max() > 0 for key, value in adapters.items() if "lora_B" in key
    )
    adapted = peft.PeftModel.from_pretrained(load_language(material / "tiny-llama").model, tmp_path / "run" / "adapter")
    ids = torch.tensor([[1, 40, 41]])
    with torch.no_grad():
        merged = load_trained(tmp_path / "run").model.language(ids).logits
        torch.testing.assert_close(merged, adapted(ids).logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize("recipe", ["llava-1.5", "llava-1.5-lora"])
def test_half_precision_gives_nearly_the_same_losses(recipe: str, material: Path, tmp_path: Path) -> None:
    if recipe == "llava-1.5-lora":  # whose language model is frozen and so kept in bfloat16
        pytest.importorskip("peft")
    for precision in ("float32", "bfloat16"):
        run(*arguments(material, tmp_path / precision, "--precision", precision, recipe=recipe))
    np.testing.assert_allclose(losses(tmp_path / "bfloat16"), losses(tmp_path / "float32"), rtol=0.01)
    kept = {value.dtype for value in load_file(tmp_path / "bfloat16" / "language" / "model.safetensors").values()}
    assert kept == {torch.bfloat16 if recipe == "llava-1.5-lora" else torch.float32}


def test_two_processes_give_the_losses_of_one(material: Path, trained: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = arguments(material, tmp_path / "run")
    command = [sys.executable, "-c", "from embprobe.cli.app import main; main()", "vlm", "train", *options]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank)}, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    # one of the seven conversations has no image, so that a process has a step without one
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(trained), rtol=1e-5)
    alone, together = (load_file(out / "connector.safetensors") for out in (trained, tmp_path / "run"))
    assert all(torch.allclose(value, together[name], atol=1e-6) for name, value in alone.items())


def test_a_blind_model_needs_no_captions(material: Path, tmp_path: Path) -> None:
    options = arguments(material, tmp_path / "run", "--json")
    options[1] = "blind"
    del options[options.index("--captions") : options.index("--captions") + 2]
    assert json.loads(run(*options))["steps"] == 4
    assert load_trained(tmp_path / "run").model.connector is None


def test_the_small_recipe_trains_its_language_model_first(material: Path, tmp_path: Path) -> None:
    options = arguments(material, tmp_path / "run", "--steps", "2", "--json")
    del options[options.index("--language-model") : options.index("--language-model") + 2]
    options[options.index("--recipe") + 1] = "small"
    assert json.loads(run(*options))["steps"] == 1 + 1 + 1  # every stage has fewer samples than a batch
    assert len(losses(tmp_path / "run")) == 3 and len(losses(tmp_path / "run" / "from-scratch")) == 1


def test_a_trial_has_no_more_than_the_steps_asked_for(material: Path, tmp_path: Path) -> None:
    assert json.loads(run(*arguments(material, tmp_path / "run", "--steps", "2", "--json")))["steps"] == 4
    assert len(losses(tmp_path / "run")) == 4


# --- before anything is trained ------------------------------------------------------------------------------------


def test_a_dry_run_prints_the_plan_and_writes_nothing(material: Path, tmp_path: Path) -> None:
    options = arguments(material, tmp_path / "run", "--dry-run", "--tflops", "1")
    plan = json.loads(run(*options, "--json"))
    first, second = plan["stages"]
    assert (first["steps"], second["steps"], first["samples"], second["samples"]) == (3, 4, 6, 7)
    assert first["trained"] == plan["connector_parameters"] == 8 * 16 + 16 + 16 * 16 + 16
    assert first["memory"]["optimizer"] == 8 * first["trained"]
    assert plan["fits"] and plan["fewest_parts"] == 1 and plan["operations_per_second"] == 1e12
    assert plan["stored_tokens"] == 6 * 16 * 8 * 2  # numbers of two bytes
    printed = run(*options)
    assert "It fits into the memory of this machine" in printed and "pre-training" in printed
    assert not (tmp_path / "run").exists()


def without(material: Path, name: str) -> list[str]:
    options = arguments(material, material / "never")
    at = options.index(name)
    return options[:at] + options[at + 2 :]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (lambda folder: without(folder, "--captions"), "stage 'pre-training' of 'llava-1.5' needs --captions FILE"),
        (lambda folder: without(folder, "--conversations"), "stage 'tuning' of 'llava-1.5' needs --conversations FILE"),
        (lambda folder: arguments(folder, folder / "never", "--language-model", str(folder)), "has no config.json"),
        (lambda folder: arguments(folder, folder / "never", "--accumulate", "3"), "cannot be cut into 1 x 3 equal"),
        (lambda folder: arguments(folder, folder / "never", "--images", "nowhere"), "no folder 'nowhere' of images"),
        (lambda folder: arguments(folder, folder / "never", "--recipe", "lava"), "There is no recipe 'lava'"),
    ],
)
def test_what_cannot_be_trained_is_a_sentence_and_leaves_nothing(
    options: Callable[[Path], list[str]], reason: str, material: Path
) -> None:
    with pytest.raises(UsageError, match=reason):
        run(*options(material))
    assert not (material / "never").exists()


def test_another_run_in_the_folder_is_refused(material: Path, trained: Path) -> None:
    with pytest.raises(UsageError, match=r"holds another run \(seed\)"):
        run(*arguments(material, trained, "--seed", "1"))


def test_a_missing_image_is_counted(material: Path, tmp_path: Path) -> None:
    captions = json.loads((material / "captions.json").read_text())
    captions[3]["image"] = "coco/gone.png"
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    options = arguments(material, tmp_path / "run", "--captions", str(tmp_path / "captions.json"), "--dry-run")
    with pytest.raises(EmbprobeError, match=r"1 of 6 .* first '3': its image 'coco/gone.png' is not there.*left-out 1"):
        run(*options)
    assert json.loads(run(*options, "--json", "--max-left-out", "1"))["stages"][0]["samples"] == 5
