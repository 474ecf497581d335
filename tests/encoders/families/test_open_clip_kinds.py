"""Every kind of open_clip model, as small as it can be: preprocessing and vectors are open_clip's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from embprobe.embeddings.extract import encode
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError, UsageError
from tests.encoders.conftest import CONFIGS, PICTURES, worst

SIDE = {"siglip": 160, "attention": 160}
"""Side of a kind's input in pixels, where that is not 64."""
WIDTH = {"vit": 64, "openai": 64, "coca": 32, "convnext": 64, "mobileclip": 768, "siglip": 96}
"""Dimension of the features before the projection."""
PROJECTION = {
    "vit": lambda visual, vectors: vectors @ visual.proj,
    "openai": lambda visual, vectors: vectors @ visual.proj,
    "coca": lambda visual, vectors: vectors @ visual.proj,
    "convnext": lambda visual, vectors: visual.head.proj(vectors),
    "mobileclip": lambda visual, vectors: visual.trunk.head.fc(vectors),
    "siglip": lambda visual, vectors: vectors,  # it has none
}


def open_clip_model(folder: Path, **options: Any) -> tuple[Any, torch.Tensor]:
    """Return open_clip's own model, and the pictures through its own preprocessing."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}", **options)
    return model.eval(), torch.stack([preprocess(picture) for picture in PICTURES])


@pytest.mark.parametrize("kind", CONFIGS)
@torch.inference_mode()
def test_image_vectors_are_open_clips_own(kind: str, clips: dict[str, Path]) -> None:
    model, batch = open_clip_model(clips[kind])
    encoder = load_encoder(f"open_clip/local-dir:{clips[kind]}")
    assert worst(encode(encoder, PICTURES), model.encode_image(batch, normalize=False)) < 1e-5
    assert encoder.spec.require_image_input().input_size == batch.shape[-1] == SIDE.get(kind, 64)
    assert encoder.spec.dimension == CONFIGS[kind]["embed_dim"]


@pytest.mark.parametrize("kind", CONFIGS)
@torch.inference_mode()
def test_text_vectors_are_open_clips_own(kind: str, clips: dict[str, Path]) -> None:
    if kind == "siglip":
        pytest.importorskip("transformers")
    texts = ["a photo of a cat", "Größe: 3 €", "", "dog " * 30]
    tokens = open_clip.get_tokenizer(f"local-dir:{clips[kind]}")(texts)
    assert tokens.shape == (4, 12)  # the context length of the model, not the tokenizer's 77
    model, _ = open_clip_model(clips[kind])
    encoder = load_encoder(f"open_clip/local-dir:{clips[kind]}")
    assert encoder.spec.has_text
    assert worst(encoder.encode_texts(texts), model.encode_text(tokens, normalize=False)) < 1e-5


def test_the_vectors_are_of_many_lengths(clips: dict[str, Path]) -> None:
    """CoCa normalises unless it gets ``normalize=False``."""
    encoder = load_encoder(f"open_clip/local-dir:{clips['coca']}")
    for vectors in (encode(encoder, PICTURES), encoder.encode_texts(["a cat", "two dogs"])):
        assert abs((vectors**2).sum(1) - 1).min() > 0.1


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "resnet"])
@torch.inference_mode()
def test_size_is_open_clips_force_image_size(kind: str, clips: dict[str, Path]) -> None:
    model, batch = open_clip_model(clips[kind], force_image_size=96)
    encoder = load_encoder(f"open_clip/local-dir:{clips[kind]},size=96")
    image_input = encoder.spec.require_image_input()
    assert image_input.input_size == image_input.resize_to == batch.shape[-1] == 96
    assert worst(encode(encoder, PICTURES), model.encode_image(batch, normalize=False)) < 1e-5


@pytest.mark.parametrize(("kind", "size"), [("resnet", "96"), ("vit", "15"), ("coca", "1"), ("siglip", "8")])
def test_a_size_that_a_model_cannot_take_is_a_sentence(kind: str, size: str, clips: dict[str, Path]) -> None:
    with pytest.raises(EmbprobeError, match=r"open_clip/local-dir") as refused:
        load_encoder(f"open_clip/local-dir:{clips[kind]},size={size}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("size", ["0", "-3", "1e9", "abc", "5000", "64.0", "²"])
def test_a_size_that_is_no_number_of_pixels_is_a_sentence(size: str, clips: dict[str, Path]) -> None:
    for option in ("size", "resize"):
        with pytest.raises(UsageError, match=f"'{option}={size}': give a side in pixels, 1 to 4096"):
            load_encoder(f"open_clip/local-dir:{clips['vit']},{option}={size}")


@torch.inference_mode()
def test_resize_is_the_shorter_side_before_the_crop(clips: dict[str, Path]) -> None:
    """open_clip has no such option; the expected vectors come from torchvision's steps."""
    steps = [
        Resize(96, InterpolationMode.BICUBIC),
        CenterCrop(64),
        ToTensor(),
        Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
    ]
    model, _ = open_clip_model(clips["vit"])
    expected = model.encode_image(torch.stack([Compose(steps)(picture) for picture in PICTURES]))
    encoder = load_encoder(f"open_clip/local-dir:{clips['vit']},resize=96")
    assert worst(encode(encoder, PICTURES), expected) < 1e-5
    with pytest.raises(UsageError, match="takes the whole image, squashed to 160 x 160: leave out 'resize'"):
        load_encoder(f"open_clip/local-dir:{clips['siglip']},resize=256")


@pytest.mark.parametrize("kind", PROJECTION)
@torch.inference_mode()
def test_the_trunks_vectors_projected_are_the_projected_vectors(kind: str, clips: dict[str, Path]) -> None:
    model, batch = open_clip_model(clips[kind])
    encoder = load_encoder(f"open_clip/local-dir:{clips[kind]},pooling=trunk")
    vectors = torch.from_numpy(encode(encoder, PICTURES))
    assert (encoder.spec.pooling, encoder.spec.has_text) == ("trunk", False)
    assert encoder.spec.dimension == WIDTH[kind]
    assert worst(PROJECTION[kind](model.visual, vectors), model.encode_image(batch, normalize=False)) < 1e-5
    with pytest.raises(UsageError, match="has no text side"):
        encoder.encode_texts(["a cat"])


@torch.inference_mode()
def test_the_trunk_of_a_vit_by_hand(clips: dict[str, Path]) -> None:
    """Patches, blocks, and the class token through the last norm: the order of open_clip's ``forward``."""
    model, batch = open_clip_model(clips["vit"])
    visual = model.visual
    tokens = visual.conv1(batch).flatten(2).transpose(1, 2)
    tokens = torch.cat([visual.class_embedding.expand(len(batch), 1, -1), tokens], 1) + visual.positional_embedding
    tokens = visual.transformer(visual.ln_pre(tokens))
    encoder = load_encoder(f"open_clip/local-dir:{clips['vit']},pooling=trunk")
    assert worst(encode(encoder, PICTURES), visual.ln_post(tokens[:, 0])) < 1e-5


@pytest.mark.parametrize("kind", ["resnet", "attention"])
def test_a_model_that_pools_and_projects_in_one_layer_has_no_trunk(kind: str, clips: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="pools and projects in one layer"):
        load_encoder(f"open_clip/local-dir:{clips[kind]},pooling=trunk")


def test_an_unknown_pooling_is_a_sentence(clips: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="have pooling=projected and pooling=trunk, not 'cls'"):
        load_encoder(f"open_clip/local-dir:{clips['vit']},pooling=cls")
