"""Every family takes the weights of its network out of the wrappers that any training code leaves."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from embprobe.encoders import load_encoder
from embprobe.encoders.checkpoints.reading import INDEX
from embprobe.errors import EmbprobeError, UsageError
from tests.encoders.conftest import CONFIGS, SCHEDULED, open_clip_folder, untrained
from tests.encoders.families.test_timm_places import save_model
from tests.encoders.families.vision_transformer import weights

State = dict[str, Tensor]
FAMILIES = ["timm", "open_clip", "dino", "transformers"]


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


WRAPPED: dict[str, Callable[[State], dict[str, Any]]] = {
    "torch.compile": lambda state: prefixed(state, "_orig_mod."),
    "compiled within": lambda state: {
        f"{name.partition('.')[0]}._orig_mod.{name.partition('.')[2]}" if "." in name else name: value
        for name, value in state.items()
    },
    "several GPUs": lambda state: {"model": prefixed(state, "module."), "args": argparse.Namespace(lr=0.1)},
    "nested": lambda state: {"epoch": 1, "net": {"weights": prefixed(state, "module._orig_mod.encoder.")}},
    "Lightning": lambda state: {
        "state_dict": prefixed(state, "model.") | {"projector.0.weight": torch.ones(3)},
        "hyper_parameters": {"lr": np.float64(0.1)},
        "optimizer_states": [SCHEDULED],
        "pytorch-lightning_version": "2.1.0",
        "callbacks": {},
    },
    "averaged": lambda state: {
        "state_dict": {name: value * 0 for name, value in state.items()},
        "state_dict_ema": prefixed(state, "module."),
    },
    "teacher": lambda state: {
        "student": prefixed({name: value * 0 for name, value in state.items()}, "module.backbone."),
        "teacher": prefixed(state, "backbone.")
        | {"head.mlp.0.weight": torch.ones(3), "dino_loss.center": torch.ones(1)},
        "optimizer": SCHEDULED,
    },
}


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Path, State]]:
    """Return by family the name of a small encoder up to its weights, the folder or file of these, and the weights."""
    root = tmp_path_factory.mktemp("weights")
    found: dict[str, tuple[str, Path, State]] = {}
    timm_folder = save_model("test_vit", root / "timm")
    found["timm"] = ("timm/test_vit:", timm_folder, load_file(timm_folder / "model.safetensors"))
    clip = open_clip_folder("vit", root / "clip")
    found["open_clip"] = ("open_clip/tiny-vit:", clip, load_file(clip / "open_clip_model.safetensors"))
    (root / "dino").mkdir()
    dino = weights(16)
    save_file(dino, root / "dino" / "model.safetensors")
    found["dino"] = ("dino/vit_tiny:", root / "dino", dino)
    return found


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the architecture ``tiny-vit`` into open_clip's table."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-vit", CONFIGS["vit"])


@pytest.mark.parametrize("wrapping", WRAPPED)
@pytest.mark.parametrize("family", ["timm", "open_clip", "dino"])
def test_wrapped_weights_are_the_same_encoder(
    family: str, wrapping: str, states: dict[str, tuple[str, Path, State]], tmp_path: Path
) -> None:
    name, folder, state = states[family]
    file = tmp_path / "last.ckpt"
    torch.save(WRAPPED[wrapping](state), file)
    plain = load_encoder(f"{name}{folder}").spec
    assert load_encoder(f"{name}{file}").spec.weights_sha256 == plain.weights_sha256


@pytest.mark.parametrize("wrapping", ["torch.compile", "Lightning", "nested", "averaged"])
@pytest.mark.parametrize("kind", ["vit", "clip", "clip_vision_model", "siglip_vision_model", "dinov2"])
def test_wrapped_weights_beside_a_configuration_of_transformers(kind: str, wrapping: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.encoders.families.test_transformers import save_model as save_transformers

    folder = save_transformers(kind, tmp_path / "plain")
    wrapped = shutil.copytree(folder, tmp_path / "wrapped")
    (wrapped / "model.safetensors").unlink()
    torch.save(WRAPPED[wrapping](load_file(folder / "model.safetensors")), wrapped / "pytorch_model.bin")
    plain = load_encoder(f"transformers/local-dir:{folder}").spec
    assert load_encoder(f"transformers/local-dir:{wrapped}").spec.fingerprint == plain.fingerprint


def test_a_key_takes_another_network_in_every_family(
    states: dict[str, tuple[str, Path, State]], tmp_path: Path
) -> None:
    for name, folder, state in states.values():
        file = tmp_path / "last.ckpt"
        torch.save(WRAPPED["averaged"](state), file)
        encoder = load_encoder(f"{name}{file},key=state_dict")
        assert encoder.spec.options == "key=state_dict"
        assert encoder.spec.weights_sha256 != load_encoder(f"{name}{folder}").spec.weights_sha256
        with pytest.raises(UsageError, match=r"'last\.ckpt' has no 'student'; it has state_dict_ema and state_dict\."):
            load_encoder(f"{name}{file},key=student")


def test_a_key_is_for_files(states: dict[str, tuple[str, Path, State]]) -> None:
    for name in ("timm/test_vit.r160_in1k", "open_clip/ViT-B-32:openai"):
        with pytest.raises(UsageError, match="chooses a network of a checkpoint file"):
            load_encoder(f"{name},key=teacher")


@pytest.mark.parametrize("family", ["timm", "open_clip", "dino"])
def test_shards_with_an_index_are_the_same_encoder(
    family: str, states: dict[str, tuple[str, Path, State]], tmp_path: Path
) -> None:
    name, folder, state = states[family]
    files = {weight: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, weight in enumerate(sorted(state))}
    for file in set(files.values()):
        save_file({weight: state[weight] for weight in files if files[weight] == file}, tmp_path / file)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": files}))
    plain = load_encoder(f"{name}{folder}").spec
    for place in (tmp_path, tmp_path / INDEX):
        assert load_encoder(f"{name}{place}").spec.weights_sha256 == plain.weights_sha256


@pytest.mark.parametrize("classes", [3, 10, 1000])
@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "resnet10t"])
def test_a_classifier_of_any_size_is_left_out(name: str, classes: int, tmp_path: Path) -> None:
    """timm's loader would take the published number of classes alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = untrained(timm.create_model(name, num_classes=classes))
    torch.save({"state_dict": network.state_dict()}, tmp_path / "tuned.pth")
    network.reset_classifier(0)
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    tuned, bare = (load_encoder(f"timm/{name}:{tmp_path / file}.pth").spec for file in ("tuned", "bare"))
    assert tuned.fingerprint == bare.fingerprint


@pytest.mark.parametrize(
    ("extra", "note"),
    [
        ({"head.0.weight": (8, 64), "head.0.bias": (8,), "head.2.weight": (5, 8)}, ""),
        ({"mask_token": (1, 1, 64), "decoder_embed.weight": (8, 64)}, "'decoder_embed', 'mask_token'"),
        ({"projector.mlp.0.weight": (8, 64), "queue": (8, 99)}, "'projector', 'queue'"),
    ],
)
def test_parts_of_training_beside_the_trunk_are_passed_over(
    extra: dict[str, tuple[int, ...]],
    note: str,
    states: dict[str, tuple[str, Path, State]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name, folder, state = states["timm"]
    trunk = {name: value for name, value in state.items() if not name.startswith("head.")}
    torch.save(trunk | {key: torch.ones(shape) for key, shape in extra.items()}, tmp_path / "ssl.pth")
    plain = load_encoder(f"{name}{folder}").spec
    assert load_encoder(f"{name}{tmp_path / 'ssl.pth'}").spec.fingerprint == plain.fingerprint
    assert [message for message in caplog.messages if "not used" in message] == (
        [f"{len(extra)} weights of 'ssl.pth' beside the network are not used: {note}."] if note else []
    )


@pytest.mark.parametrize("family", ["open_clip", "dino"])
def test_a_classifier_is_left_out_in_every_family(
    family: str, states: dict[str, tuple[str, Path, State]], tmp_path: Path
) -> None:
    name, folder, state = states[family]
    torch.save(state | {"head.weight": torch.ones(3, 4), "classifier.bias": torch.ones(3)}, tmp_path / "tuned.pth")
    plain = load_encoder(f"{name}{folder}").spec
    assert load_encoder(f"{name}{tmp_path / 'tuned.pth'}").spec.fingerprint == plain.fingerprint


@pytest.mark.parametrize("family", ["timm", "open_clip", "dino"])
def test_other_weights_are_refused_with_the_network_that_they_look_like(
    family: str, states: dict[str, tuple[str, Path, State]], tmp_path: Path
) -> None:
    name = states[family][0]
    file = tmp_path / "other.pth"
    torch.save(timm.create_model("resnet18", num_classes=7).state_dict(), file)
    with pytest.raises(
        EmbprobeError, match="'other.pth' .*They look like a ResNet-18 .*'timm/resnet18:FILE'"
    ) as refused:
        load_encoder(f"{name}{file}")
    assert "\n" not in str(refused.value)
    if family != "dino":
        assert "weights are missing, first '" in str(refused.value) and "no place in the network" in str(refused.value)


def test_position_embeddings_of_another_size_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """test_vit has patches of 16 pixels: 160 pixels are 100 of them, 96 are 36."""
    torch.save(timm.create_model("test_vit", img_size=96).state_dict(), tmp_path / "small.pth")
    load_encoder(f"timm/test_vit:{tmp_path / 'small.pth'}")
    assert caplog.messages == [
        "The position embeddings of 'small.pth' are for 37 tokens, the network's for 101: they are resampled."
    ]
    load_encoder(f"timm/test_vit:{tmp_path / 'small.pth'},size=96")
    assert len(caplog.messages) == 1


def test_more_layers_than_the_configuration_has_are_refused(tmp_path: Path) -> None:
    """transformers would leave them out without a word."""
    pytest.importorskip("transformers")
    from tests.encoders.families.test_transformers import save_model as save_transformers

    folder = save_transformers("vit", tmp_path / "vit")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    with pytest.raises(EmbprobeError, match="16 have no place in the network"):
        load_encoder(f"transformers/local-dir:{folder}")


def test_shards_of_transformers_from_a_folder_and_the_hub(tmp_path: Path, hub: Callable[[str, Path], None]) -> None:
    pytest.importorskip("transformers")
    from tests.encoders.families.test_transformers import NETWORKS
    from tests.encoders.families.test_transformers import save_model as save_transformers

    whole = save_transformers("vit", tmp_path / "whole")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        untrained(NETWORKS["vit"]()).save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    hub("owner/sharded", tmp_path / "sharded")
    (tmp_path / "models--owner--sharded" / ".no_exist" / ("0" * 40)).mkdir(parents=True)
    (tmp_path / "models--owner--sharded" / ".no_exist" / ("0" * 40) / "preprocessor_config.json").touch()
    plain = load_encoder(f"transformers/local-dir:{whole}").spec
    for place in (f"local-dir:{tmp_path / 'sharded'}", "hf-hub:owner/sharded"):
        assert load_encoder(f"transformers/{place}").spec.weights_sha256 == plain.weights_sha256
