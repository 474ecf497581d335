"""Encoders are loaded by name, and the fingerprint that keys a store changes with everything that changes vectors."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from embprobe.encoders import EncoderSpec, ImageInput, list_encoders, list_families, load_encoder
from embprobe.encoders.spec import TokenGrid, hash_weights
from embprobe.errors import EmbprobeError, UsageError
from tests.conftest import changed, make_encoder

PLUGIN = """
from tests.conftest import make_encoder

def names():
    return ["tiny", "tiny:v1"]

def load(model, weights, *, device):
    return make_encoder(f"{model} with {weights or 'nothing'} on {device}")
"""


def install(folder: Path, entry_points: str, **modules: str) -> None:
    """Write a distribution as pip would leave it on sys.path."""
    info = folder / "plug-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[embprobe.encoders]\n{entry_points}\n")
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("reference/pixel", "reference/pixels"),
        ("reference/histogram", "reference/color-histogram"),
        ("bundled/clpi", "bundled/clip"),
        ("open_clip/ViT-B-61:openai", "open_clip/ViT-B-16:openai"),
        ("timm/vit_base_patch16_224.dno", "timm/vit_base_patch16_224.dino"),
    ],
)
def test_an_unknown_encoder_names_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_encoder(wrong)
    assert f"There is no encoder '{wrong}'" in str(refused.value)
    assert right in str(refused.value).split("Did you mean")[1]


@pytest.mark.parametrize("name", ["tensorflow/resnet", "", "/", "pixels", "reference", "reference/", "../../x:y"])
def test_an_unknown_family_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"There is no encoder '{name}'"):
        load_encoder(name)


def test_an_unknown_family_lists_the_families() -> None:
    with pytest.raises(UsageError, match="Families are bundled, reference, open_clip, timm"):
        load_encoder("zzzz/qqqq")


def test_encoders_are_listed_by_pattern() -> None:
    names = ["color-and-pixels", "color-histogram", "grey-pixels", "lightness-histogram", "pixels"]
    names += ["random-vit", "texture"]
    assert list_encoders("reference/*") == [f"reference/{name}" for name in names]
    assert list_encoders("COLOR-H") == ["reference/color-histogram"]  # part of a name, in any case
    assert list_encoders("pixel*") == []  # a pattern is the whole name
    assert list_encoders("no such thing") == []
    dinos = list_encoders("*dino*")
    assert "timm/vit_base_patch16_224.dino" in dinos and all("dino" in name for name in dinos)
    assert "open_clip/ViT-B-16:openai" in list_encoders("open_clip/ViT-B-16:*")


def test_another_package_adds_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "plug = plug_encoders", plug_encoders=PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    assert list_families() == [
        "bundled",
        "reference",
        "open_clip",
        "timm",
        "dino",
        "transformers",
        "study",
        "python",
        "vectors",
        "plug",
    ]
    assert list_encoders("plug/") == ["plug/tiny", "plug/tiny:v1"]
    assert load_encoder("plug/tiny:v1", device="cpu").spec.model == "tiny with v1 on cpu"
    assert load_encoder("plug/tiny").spec.model == "tiny with nothing on cpu"
    with pytest.raises(UsageError, match="Did you mean plug/tiny"):
        load_encoder("plug/tinny")


def test_another_package_cannot_take_the_place_of_our_own_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "reference = plug_encoders", plug_encoders=PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    assert list_families().count("reference") == 1
    assert load_encoder("reference/pixels").spec.model == "pixels"


def test_a_family_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "broken = no_such_module_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_encoder("reference/pixels").spec.model == "pixels"  # the others still work
    with pytest.raises(EmbprobeError, match="broken"):
        load_encoder("broken/tiny")


CHANGED: dict[str, Any] = {
    "family": "other",
    "model": "other",
    "weights_sha256": "1" * 64,
    "pooling": "cls",
    "input_size": 8,
    "resize": "squash",
    "resize_to": 8,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "dimension": 4,
    "decoding": "fast",
    "max_pixels": 5,
    "has_text": True,
    "precision": "float16",
    "layer": 2,
    "norm": "last",
    "tokens": TokenGrid(prefix=1, rows=2, columns=2),
    "stored": "float16",
}


def test_the_fingerprint_changes_with_every_field_but_the_name_of_hashed_weights() -> None:
    spec = make_encoder(weights_sha256="0" * 64).spec
    own = {field.name for field in dataclasses.fields(EncoderSpec)} - {"image_input"}
    assert own | {field.name for field in dataclasses.fields(ImageInput)} == {*CHANGED, "weights", "options"}
    fingerprints = {changed(spec, **{name: value}).fingerprint for name, value in CHANGED.items()}
    assert len(fingerprints | {spec.fingerprint}) == len(CHANGED) + 1
    assert dataclasses.replace(spec, weights="renamed.pt").fingerprint == spec.fingerprint
    assert dataclasses.replace(spec, options="size=224").fingerprint == spec.fingerprint


def test_where_no_weights_are_hashed_their_name_counts() -> None:
    spec = make_encoder(weights_sha256="").spec
    assert dataclasses.replace(spec, weights="v2").fingerprint != spec.fingerprint


def test_a_spec_has_the_name_the_user_typed() -> None:
    spec = make_encoder("tiny").spec
    assert spec.name == "test/tiny"
    assert dataclasses.replace(spec, weights="a/b:c.pt").name == "test/tiny:a/b:c.pt"


def test_weights_are_hashed_by_value_not_by_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(3, 2)
    network = nn.Sequential(linear, nn.BatchNorm1d(2))  # has a weight of no dimensions, the batch count
    before = hash_weights(network)
    assert len(before) == 64
    torch.save(network.state_dict(), tmp_path / "a.pt")
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    for state in (torch.load(tmp_path / "a.pt", weights_only=True), load_file(tmp_path / "a.safetensors")):
        copy = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        copy.load_state_dict(state)
        assert hash_weights(copy) == before
    with torch.no_grad():
        linear.bias[1] += 1e-6
    assert hash_weights(network) != before
