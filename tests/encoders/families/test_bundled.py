"""Towers that embprobe trained are encoders: of the head's output, or of the CLS token before it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from embprobe.encoders import load_encoder
from embprobe.encoders.towers.two_towers import CLUSTERS, MEAN, STD, Head, TextTower, TwoTowers
from embprobe.encoders.towers.vit import IMAGE_SIZE, WIDTH
from embprobe.encoders.towers.weights import save_towers
from embprobe.errors import UsageError

IMAGES = torch.rand(3, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
DIMENSION = {"none": WIDTH, "linear": WIDTH, "clusters": CLUSTERS}


def write_towers(head: Head, folder: Path) -> tuple[TwoTowers, str]:
    """Write towers that know a word; return them and the name of their file as an encoder."""
    towers = TwoTowers(seed=0, text=TextTower(seed=0, vocabulary=["cat"]), head=head)
    towers.load_state_dict({name: value.half().float() for name, value in towers.state_dict().items()})
    save_towers(towers, folder / "model.safetensors")
    return towers.eval(), f"bundled/mine:{folder / 'model.safetensors'}"


@pytest.mark.parametrize("head", get_args(Head))
@torch.no_grad()
def test_the_vectors_are_those_of_the_towers(head: Head, tmp_path: Path) -> None:
    towers, name = write_towers(head, tmp_path)
    encoder = load_encoder(name)
    spec = encoder.spec
    image_input = spec.require_image_input()
    assert (spec.name, spec.dimension, image_input.input_size) == (name, DIMENSION[head], IMAGE_SIZE)
    assert (image_input.mean, image_input.std, spec.has_text) == (MEAN, STD, True)
    assert spec.pooling == ("cls" if head == "none" else "projected")
    np.testing.assert_allclose(encoder.encode_images(IMAGES), towers.encode_images(IMAGES).numpy(), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(["cat"]), towers.encode_texts(["cat"]).numpy(), atol=1e-5)


@pytest.mark.parametrize("head", get_args(Head))
@torch.no_grad()
def test_before_the_head_is_the_cls_token_which_no_text_fits(head: Head, tmp_path: Path) -> None:
    towers, name = write_towers(head, tmp_path)
    encoder = load_encoder(f"{name},pooling=cls")
    assert encoder.spec.pooling == "cls" and encoder.spec.dimension == WIDTH
    np.testing.assert_allclose(encoder.encode_images(IMAGES), towers.vit(IMAGES).numpy(), atol=1e-5)
    assert encoder.spec.fingerprint != load_encoder(name).spec.fingerprint or head == "none"
    with pytest.raises(UsageError, match="no text side"):
        encoder.encode_texts(["cat"])


def test_an_unknown_pooling_names_the_known_ones(tmp_path: Path) -> None:
    _, name = write_towers("linear", tmp_path)
    with pytest.raises(UsageError, match="'bundled/mine' has no pooling 'mean'; it has cls and projected"):
        load_encoder(f"{name},pooling=mean")
    assert load_encoder(f"{name},pooling=projected").spec.pooling == "projected"
    _, name = write_towers("none", tmp_path)
    with pytest.raises(UsageError, match="has no pooling 'projected'; it has cls"):
        load_encoder(f"{name},pooling=projected")


def test_weights_of_ones_own_may_go_by_any_name_and_without_weights_by_none(tmp_path: Path) -> None:
    _, name = write_towers("linear", tmp_path)
    for other in ("dino-v1", "run 7", "clip"):
        renamed = name.replace("mine", other)
        assert load_encoder(renamed).spec.name == renamed
    for wrong in ("bundled/mine", "bundled/:x"):
        with pytest.raises(UsageError, match="There is no encoder"):
            load_encoder(wrong)
