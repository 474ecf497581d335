"""An encoder's spec keeps its fingerprint, and specs that earlier versions saved are read."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from embprobe.embeddings.extract import encode, extract
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import EncoderSpec, ImageInput, load_encoder
from embprobe.encoders.given import given_vectors
from embprobe.errors import UsageError
from tests.conftest import Reads, noise

SPEC = EncoderSpec(
    family="test",
    model="mine",
    weights="v1",
    pooling="cls+mean",
    dimension=3,
    has_text=True,
    precision="float16",
    options="size=224",
    image_input=ImageInput(
        input_size=224,
        resize="shortest",
        resize_to=256,
        interpolation="bicubic",
        mean=(0.5, 0.25, 0.125),
        std=(1.0, 0.5, 0.25),
        decoding="fast",
    ),
)
PIXELS: dict[str, Any] = {
    "family": "reference",
    "model": "pixels",
    "weights": "",
    "weights_sha256": "",
    "pooling": "none",
    "input_size": 12,
    "resize": "shortest",
    "resize_to": 12,
    "interpolation": "bicubic",
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "dimension": 432,
    "has_text": False,
    "precision": "float32",
    "decoding": "exact",
    "options": "",
}
"""``encoder`` in the manifest of a store of ``reference/pixels``, as it was before there was an ``ImageInput``."""


def test_fingerprints_are_those_of_earlier_stores() -> None:
    # computed before the image input became a part of its own
    assert SPEC.fingerprint == "745f465b565d596b"
    assert replace(SPEC, weights_sha256="ab" * 32).fingerprint == "780f0d5ab164f2de"
    assert load_encoder("reference/pixels").spec.fingerprint == "dd48c61d8bdc2e78"
    assert load_encoder("bundled/clip").spec.fingerprint == "c43f5d05b3a13924"
    assert load_encoder("bundled/dino,precision=bfloat16").spec.fingerprint == "89b3a9e71a5fc61a"


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, image_input=None)], ids=["images", "no images"])
def test_a_saved_spec_is_read_again(spec: EncoderSpec) -> None:
    saved = json.loads(json.dumps(asdict(spec) | {"fingerprint": spec.fingerprint}))
    assert EncoderSpec.from_saved(saved) == spec


def test_a_spec_that_was_saved_flat_is_read() -> None:
    assert EncoderSpec.from_saved(PIXELS) == load_encoder("reference/pixels").spec


def test_an_earlier_store_is_opened_and_nothing_encoded(workspace: Workspace, reads: Reads) -> None:
    images, encoder = reads(4), load_encoder("reference/pixels")
    (store,) = extract(images, [encoder], workspace)
    path = store.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"encoder": PIXELS, "encoder_fingerprint": "dd48c61d8bdc2e78"}))
    seen = len(reads.keys)
    (again,) = extract(images, [encoder], workspace)
    assert (again.folder, again.complete, again.written) == (store.folder, True, 0) and len(reads.keys) == seen


DAMAGE: dict[str, tuple[Any, type[Exception]]] = {
    "no mapping": ([1, 2], TypeError),
    "no model": ({name: value for name, value in PIXELS.items() if name != "model"}, KeyError),
    "no input size": ({name: value for name, value in PIXELS.items() if name != "input_size"}, KeyError),
    "a dimension in words": (PIXELS | {"dimension": "432"}, TypeError),
    "a mean that is a number": (PIXELS | {"mean": 0.5}, TypeError),
    "a mean of words": (PIXELS | {"mean": ["a"]}, TypeError),
    "another pooling": (PIXELS | {"pooling": "median"}, ValueError),
    "another resize": (PIXELS | {"resize": "pad"}, ValueError),
    "an image input that is a number": (PIXELS | {"image_input": 5}, TypeError),
    "an empty image input": (PIXELS | {"image_input": {}}, KeyError),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_spec_is_refused(damage: str) -> None:
    saved, error = DAMAGE[damage]
    with pytest.raises(error):
        EncoderSpec.from_saved(saved)


def test_an_encoder_without_image_input_cannot_be_fed(workspace: Workspace, reads: Reads) -> None:
    given = given_vectors("mine", [[1.0, 2.0]])
    assert given.spec.image_input is None
    refused = "'mine' encodes no images"
    with pytest.raises(UsageError, match=refused):
        extract(reads(1), [given], workspace)
    with pytest.raises(UsageError, match=refused):
        encode(given, [noise(0)])
