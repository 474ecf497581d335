"""timm's models from a folder or a repository of the hub, and its training checkpoints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import timm.data.config
import timm.data.transforms_factory
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from embprobe.embeddings.extract import encode
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError, UsageError
from tests.conftest import Malicious
from tests.encoders.conftest import PICTURES, Put, untrained, worst

DINOV3 = "vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m"


def save_model(name: str, folder: Path, **options: Any) -> Path:
    """Write a model in the form in which timm puts one on the hub, and return its folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_for_hf(untrained(timm.create_model(name, **options)), str(folder), safe_serialization=True)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model("test_vit", tmp_path / "folder")


def timm_vectors(name: str) -> Any:
    """Return the vectors of timm's own model, through its own preprocessing."""
    model = timm.create_model(name, pretrained=True, num_classes=0).eval()
    config = timm.data.config.resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    transform: Any = timm.data.transforms_factory.create_transform(**config, is_training=False)
    with torch.inference_mode():
        return model(torch.stack([transform(picture) for picture in PICTURES]))


@pytest.mark.parametrize(
    ("name", "classes"), [("test_vit", 1000), ("test_vit", 0), ("test_vit4", 1000), ("test_convnext", 1000)]
)
def test_a_folder_gives_timms_own_vectors(name: str, classes: int, tmp_path: Path) -> None:
    folder = save_model(name, tmp_path / "folder", num_classes=classes)
    encoder = load_encoder(f"timm/local-dir:{folder}")
    assert worst(encode(encoder, PICTURES), timm_vectors(f"local-dir:{folder}")) < 1e-5
    assert encoder.spec.name == f"timm/local-dir:{folder}"


def test_a_folder_may_hold_a_model_of_another_size(tmp_path: Path) -> None:
    folder = save_model("vit_tiny_patch16_224", tmp_path / "folder", img_size=96)
    encoder = load_encoder(f"timm/local-dir:{folder}")
    assert encoder.spec.require_image_input().input_size == 96
    assert worst(encode(encoder, PICTURES), timm_vectors(f"local-dir:{folder}")) < 1e-5


def test_the_size_a_model_was_trained_at_need_not_be_a_multiple_of_its_patches(tmp_path: Path) -> None:
    """384 pixels in patches of 14, as in one of SigLIP's; the last pixels are not seen."""
    folder = save_model("vit_tiny_patch16_224", tmp_path / "folder", img_size=100)
    for option in ("", ",size=100"):
        encoder = load_encoder(f"timm/local-dir:{folder}{option}")
        assert worst(encode(encoder, PICTURES), timm_vectors(f"local-dir:{folder}")) < 1e-5
    with pytest.raises(UsageError, match="patches of 16 pixels"):
        load_encoder(f"timm/local-dir:{folder},size=101")


def test_a_revision_of_a_repository_can_be_named(folder: Path, hub: Put) -> None:
    hub("owner/model", folder)
    bare, named = load_encoder("timm/hf-hub:owner/model"), load_encoder("timm/hf-hub:owner/model@main")
    assert named.spec.fingerprint == bare.spec.fingerprint


def test_the_hub_and_a_folder_give_the_same(folder: Path, hub: Put) -> None:
    hub("owner/model", folder)
    from_hub, from_folder = load_encoder("timm/hf-hub:owner/model"), load_encoder(f"timm/local-dir:{folder}")
    assert from_hub.spec.name == "timm/hf-hub:owner/model"
    assert np.array_equal(encode(from_hub, PICTURES), encode(from_folder, PICTURES))
    assert from_hub.spec.weights_sha256 == from_folder.spec.weights_sha256


def test_a_dino_from_the_hub_gives_its_class_token_too(tmp_path: Path, hub: Put) -> None:
    """The same weights under timm's own name do."""
    folder = save_model(DINOV3, tmp_path / "dinov3")
    hub("timm/dinov3", folder)
    own = load_encoder(f"timm/{DINOV3}:{folder / 'model.safetensors'},size=64")
    for place in ("hf-hub:timm/dinov3", f"local-dir:{folder}"):
        encoder = load_encoder(f"timm/{place},size=64")
        assert encoder.spec.pooling == own.spec.pooling == "cls"
        assert np.array_equal(encode(encoder, PICTURES), encode(own, PICTURES))


def test_options_are_for_folders_too(folder: Path) -> None:
    own = f"timm/test_vit:{folder / 'model.safetensors'}"
    for options in (",pooling=mean", ",size=96", ",resize=200", ",pooling=cls+mean,size=64,resize=64"):
        loaded, expected = load_encoder(f"timm/local-dir:{folder}{options}"), load_encoder(own + options)
        assert np.array_equal(encode(loaded, PICTURES), encode(expected, PICTURES))


@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors"])
def test_a_place_without_configuration_or_weights_is_refused(folder: Path, lacking: str, hub: Put) -> None:
    (folder / lacking).unlink()
    hub("owner/model", folder)
    for place in (f"local-dir:{folder}", "hf-hub:owner/model"):
        with pytest.raises(EmbprobeError, match=f"timm/{place}"):
            load_encoder(f"timm/{place}")


@pytest.mark.parametrize("damage", ["truncated", "lacking", "unrelated", "empty"])
def test_a_place_that_does_not_hold_all_the_weights_is_refused(folder: Path, damage: str, hub: Put) -> None:
    """And no random number takes the place of one that lacks."""
    file = folder / "model.safetensors"
    state = load_file(file)
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:1000])
    elif damage == "lacking":
        save_file({name: value for name, value in state.items() if not name.startswith("blocks.1.")}, file)
    else:
        save_file({"teacher.weight": torch.zeros(2)} if damage == "unrelated" else {}, file)
    hub("owner/model", folder)
    for place in (f"local-dir:{folder}", "hf-hub:owner/model"):
        with pytest.raises(EmbprobeError, match=f"Could not load 'timm/{place}'"):
            load_encoder(f"timm/{place}")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"architecture": "no_such"}', '{"architecture": 3}'])
def test_a_broken_configuration_is_a_sentence(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(EmbprobeError, match="Could not load 'timm/local-dir:") as refused:
        load_encoder(f"timm/local-dir:{folder}")
    assert "\n" not in str(refused.value)


def test_a_folder_with_malicious_weights_is_refused_and_they_do_not_run(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": Malicious(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(EmbprobeError, match="holds more than weights .*refused"):
        load_encoder(f"timm/local-dir:{folder}")
    assert not mark.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    for name in ("nowhere", "offline", "connectome"):  # names that look like reasons of network errors too
        with pytest.raises(EmbprobeError, match=f"Could not load .*{name}") as failed:
            load_encoder(f"timm/local-dir:{tmp_path / name}")
        assert "network" not in str(failed.value)


def test_a_folder_asks_nothing_of_the_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embprobe.system.hub._obstacle", lambda: pytest.fail("the hub was looked up"))
    load_encoder(f"timm/local-dir:{folder}")


@pytest.mark.parametrize("place", ["hf-hub", "local-dir"])
def test_a_place_that_is_not_named_is_a_sentence(place: str) -> None:
    with pytest.raises((EmbprobeError, UsageError), match=f"timm/{place}"):
        load_encoder(f"timm/{place}")


def test_a_repository_that_cannot_be_fetched_is_a_sentence_with_a_way_out(offline: None) -> None:
    with pytest.raises(EmbprobeError) as failed:
        load_encoder("timm/hf-hub:owner/model")
    assert str(failed.value) == (
        "The weights of 'timm/hf-hub:owner/model' could not be fetched. "
        "Without a network, give a folder: 'timm/local-dir:FOLDER'."
    )


def test_the_same_weights_in_another_architecture_are_another_encoder(folder: Path) -> None:
    """The configuration beside the weights changes vectors too: here, through the number of heads."""
    before = load_encoder(f"timm/local-dir:{folder}")
    config = json.loads((folder / "config.json").read_text())
    config["model_args"]["num_heads"] = 4
    (folder / "config.json").write_text(json.dumps(config))
    after = load_encoder(f"timm/local-dir:{folder}")
    assert worst(encode(before, PICTURES), encode(after, PICTURES)) > 1e-3
    assert before.spec.fingerprint != after.spec.fingerprint


@pytest.mark.parametrize("ema", [False, True])
def test_a_training_checkpoint_is_the_weights_that_timm_takes(folder: Path, tmp_path: Path, ema: bool) -> None:
    """As its training script writes one on several GPUs; where there are averaged weights, it takes these."""
    state = load_file(folder / "model.safetensors")
    checkpoint = {
        "epoch": 3,
        "arch": "test_vit",
        "state_dict": {f"module.{name}": value for name, value in state.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "version": 2,
        "args": argparse.Namespace(model="test_vit", lr=0.1, mean=None, betas=(0.9, 0.999)),
        "metric": 71.5,
    }
    if ema:
        checkpoint["state_dict_ema"] = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value * 0 for name, value in state.items()}
    file = tmp_path / "model_best.pth.tar"
    torch.save(checkpoint, file)
    loaded, expected = load_encoder(f"timm/test_vit:{file}"), load_encoder(f"timm/local-dir:{folder}")
    assert np.array_equal(encode(loaded, PICTURES), encode(expected, PICTURES))
