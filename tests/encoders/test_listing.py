"""The description of an encoder, made without its weights, agrees with the encoder once it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torchvision.models import resnet50

from embprobe.encoders import Listing, describe_encoder, list_encoders, load_encoder

BUILT_IN = [*list_encoders("bundled/*"), *list_encoders("reference/*")]


@pytest.fixture
def weights(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the name of an architecture with a file of untrained weights."""
    name: str = request.param
    family, _, model = name.partition("/")
    file = tmp_path / "weights.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if model == "resnet50":
            network: Any = resnet50()
        else:
            network = timm.create_model(f"{model}_patch16_224" if family == "dino" else model)
    heads = ("fc.", "head.") if family == "dino" else ()
    state = {key: value for key, value in network.state_dict().items() if not key.startswith(heads)}
    torch.save(state, file)
    return f"{name}:{file}"


def check(name: str, listing: Listing) -> None:
    """Check a description against the loaded encoder."""
    spec = load_encoder(name).spec
    assert (listing.dimension, listing.has_text) == (spec.dimension, spec.has_text)
    assert listing.input_size == spec.require_image_input().input_size


@pytest.mark.parametrize("name", BUILT_IN)
def test_descriptions_of_built_in_encoders_are_true(name: str) -> None:
    listing = describe_encoder(name)
    assert listing.name == name and name in list_encoders("*/*")
    check(name, listing)


@pytest.mark.parametrize(
    "weights",
    [
        "timm/test_vit",
        "timm/test_vit3",
        "timm/test_convnext",
        "timm/mobilenetv3_small_050",
        "timm/vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m",
        "dino/vit_tiny",
        "dino/resnet50",
    ],
    indirect=True,
)
def test_the_description_of_an_architecture_is_true_of_a_file(weights: str) -> None:
    name = weights.partition(":")[0]
    listing = describe_encoder(name)
    assert listing.name == name
    check(weights, listing)


@pytest.mark.parametrize(
    ("name", "dimension", "input_size", "has_text", "source"),
    [
        ("open_clip/ViT-B-16-SigLIP:webli", 768, 224, True, "Hugging Face hub, timm/ViT-B-16-SigLIP"),
        ("open_clip/MobileCLIP2-S0:dfndr2b", 512, 256, True, "Hugging Face hub, timm/MobileCLIP2-S0-OpenCLIP"),
        (
            "open_clip/coca_ViT-B-32:laion2b_s13b_b90k",
            512,
            224,
            True,
            "Hugging Face hub, laion/CoCa-ViT-B-32-laion2B-s13B-b90k",
        ),
        ("open_clip/RN50", 1024, 224, True, "a file: open_clip/RN50:FILE"),
        ("open_clip/hf-hub:OWNER/NAME", None, None, True, "that repository"),
        ("open_clip/local-dir:FOLDER", None, None, True, "that folder"),
        (
            "timm/vit_small_patch14_reg4_dinov2.lvd142m",
            384,
            518,
            False,
            "Hugging Face hub, timm/vit_small_patch14_reg4_dinov2.lvd142m",
        ),
        ("timm/resnet18", 512, 224, False, "Hugging Face hub, timm/resnet18.a1_in1k"),
        ("timm/hf-hub:OWNER/NAME", None, None, False, "that repository"),
        ("timm/local-dir:FOLDER", None, None, False, "that folder"),
        ("dino/vit_base", 768, 224, False, "a file: dino/vit_base:FILE"),
        ("transformers/hf-hub:OWNER/NAME", None, None, False, "that repository"),
    ],
)
def test_published_weights_are_described(
    name: str, dimension: int | None, input_size: int | None, has_text: bool, source: str
) -> None:
    assert describe_encoder(name) == Listing(name, source, dimension, input_size, has_text)


def test_every_model_of_open_clip_is_described() -> None:
    for name in list_encoders("open_clip/*"):
        listing = describe_encoder(name)
        known = not name.startswith(("open_clip/hf-hub", "open_clip/local-dir"))
        assert listing.weights and (listing.dimension is not None) == (listing.input_size is not None) == known, name


def test_a_pattern_that_names_its_family_matches_the_same_names_as_a_search_of_all() -> None:
    everything = list_encoders("*")
    for family in ("bundled", "reference", "study", "dino", "timm", "open_clip", "transformers"):
        assert list_encoders(f"{family.upper()}/") == [name for name in everything if f"{family}/" in name]
        assert list_encoders(f"{family}/*") == [name for name in everything if name.startswith(f"{family}/")]
