"""Decoding large JPEGs at reduced scale: never too small, only where asked for, and nearly the same vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embprobe.embeddings.extract import extract
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import Encoder, load_encoder
from embprobe.encoders.preprocessing import FAST_MARGIN, decoded_side
from embprobe.images import Images, Row
from embprobe.images.decoding import decode
from embprobe.images.readers.folder import load_folder
from tests.conftest import cosines, encoded, make_encoder, noise, row_of, snapshot

PHOTOGRAPHS: dict[str, Callable[[], Any]] = {
    "astronaut": skimage.data.astronaut,
    "cat": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
    "rocket": skimage.data.rocket,
}


# --- decode(..., at_least=n) -------------------------------------------------------------------------------------


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def same(a: Image.Image, b: Image.Image) -> bool:
    return a.mode == b.mode and a.size == b.size and a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    ("size", "at_least", "decoded"),
    [
        ((400, 300), 151, (400, 300)),  # a half would be 150
        ((400, 300), 150, (200, 150)),
        ((400, 300), 76, (200, 150)),  # a quarter would be 75
        ((400, 300), 75, (100, 75)),
        ((400, 300), 10, (50, 38)),  # an eighth, 37.5 rounded up, is the least there is
        ((300, 401), 75, (75, 101)),  # 401 / 4 = 100.25, rounded up
        ((4000, 8), 8, (4000, 8)),  # it is the shorter side that counts
    ],
)
def test_sizes_by_hand(size: tuple[int, int], at_least: int, decoded: tuple[int, int]) -> None:
    assert decode(encoded(noise(0, size), "JPEG"), at_least=at_least).size == decoded


@given(
    width=st.integers(1, 500),
    height=st.integers(1, 500),
    at_least=st.integers(1, 300),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    orientation=st.integers(1, 8),
    progressive=st.booleans(),
    subsampling=st.sampled_from(["4:4:4", "4:2:0"]),
)
@settings(max_examples=200)
def test_the_shorter_side_is_never_less_than_asked_for(
    width: int, height: int, at_least: int, mode: str, orientation: int, progressive: bool, subsampling: str
) -> None:
    picture = noise(0, (width, height)).convert(mode)
    options: dict[str, Any] = {} if mode == "L" else {"subsampling": subsampling}
    content = encoded(picture, "JPEG", exif=turned(orientation), progressive=progressive, **options)
    exact, fast = decode(content), decode(content, at_least=at_least)
    assert min(fast.size) >= min(at_least, *exact.size)
    assert (exact.width >= exact.height) == (fast.width >= fast.height) or fast.width == fast.height
    scale = max(exact.size) / max(fast.size)
    assert exact.width / scale == pytest.approx(fast.width, abs=1) and fast.mode == "RGB"
    if min(exact.size) < 2 * at_least:
        assert same(exact, fast)
    else:
        assert fast.width < exact.width


def test_a_photograph_of_several_is_decoded_at_reduced_scale_too() -> None:
    pictures = [noise(i, (200, 160)) for i in range(2)]
    content = encoded(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    assert decode(content, at_least=80).size == (100, 80)


def test_the_reduced_picture_is_the_picture() -> None:
    content = encoded(Image.fromarray(PHOTOGRAPHS["astronaut"]()), "JPEG", quality=90)
    exact, fast = decode(content), decode(content, at_least=64)
    assert (exact.size, fast.size) == ((512, 512), (64, 64))
    small = np.asarray(exact.resize((64, 64), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - np.asarray(fast)).mean() < 2  # of 255


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "jpeg"})],
)
def test_other_formats_are_decoded_exactly(kind: str, options: dict[str, Any]) -> None:
    content = encoded(noise(0, (300, 200)), kind, **options)
    assert same(decode(content), decode(content, at_least=10))


def test_an_encoder_gets_twice_the_pixels_that_it_resizes_to() -> None:
    exact = make_encoder(side=24).spec.require_image_input()
    fast = replace(exact, decoding="fast")
    assert FAST_MARGIN == 2
    assert decoded_side(exact) is None and decoded_side(fast) == 48


# --- extract(..., fast_decode=True) ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """As cameras save them: about 3,000 pixels wide, quality 90, colour at half the resolution."""
    folder = tmp_path_factory.mktemp("photographs")
    for name, load in PHOTOGRAPHS.items():
        picture = Image.fromarray(load())
        height = 3000 * picture.height // picture.width
        large = picture.resize((3000, height), Image.Resampling.LANCZOS)
        large.save(folder / f"{name}.jpg", quality=90, subsampling="4:2:0")
    return load_folder(folder)


@pytest.fixture(scope="module")
def random_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights for open_clip's smallest ViT at 224 pixels."""
    path = tmp_path_factory.mktemp("open_clip") / "random.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(open_clip.create_model("ViT-S-32-alt").state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["reference/pixels", "reference/random-vit", "bundled/clip", "open_clip/ViT-S-32-alt"])
def test_vectors_are_nearly_those_of_exact_decoding(
    name: str, photographs: Images, random_clip: Path, workspace: Workspace
) -> None:
    encoder = load_encoder(f"{name}:{random_clip}" if name.startswith("open_clip") else name)
    (exact,) = extract(photographs, [encoder], workspace)
    (fast,) = extract(photographs, [encoder], workspace, fast_decode=True)
    between = cosines(fast.vectors(), exact.vectors())
    assert between.diagonal().mean() > 0.99
    assert (between.argmax(1) == np.arange(len(photographs))).all()  # each is nearest to itself
    assert (fast.vectors() != exact.vectors()).any(1).all()  # it was another decoding


def test_fast_vectors_are_in_a_store_of_their_own(photographs: Images, workspace: Workspace) -> None:
    encoder = make_encoder(side=8)
    (exact,) = extract(photographs, [encoder], workspace)
    before = snapshot(exact.folder)
    (fast,) = extract(photographs, [encoder], workspace, fast_decode=True)
    assert fast.folder != exact.folder
    decodings = [each.spec.require_image_input().decoding for each in (exact, fast, encoder)]
    assert decodings == ["exact", "fast", "exact"]
    assert snapshot(exact.folder) == before
    assert encoder.encoded == 2 * len(photographs)
    for fast_decode, first in ((False, exact), (True, fast)):
        (again,) = extract(photographs, [encoder], workspace, fast_decode=fast_decode)
        assert (again.folder, again.version, again.spec) == (first.folder, first.version, first.spec)
    assert encoder.encoded == 2 * len(photographs)


def test_what_is_small_or_no_jpeg_has_the_very_same_vectors(tmp_path: Path, workspace: Workspace) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise(0, (300, 200)).save(folder / "other.png")
    noise(1, (31, 40)).save(folder / "small.jpg")  # less than twice 2 x 8
    noise(2, (300, 200)).save(folder / "large.jpg")
    in_memory = row_of("z, in memory", noise(3, (300, 200)))
    images = Images("pictures", (*load_folder(folder).rows, in_memory))
    (exact,) = extract(images, [make_encoder(side=8)], workspace)
    (fast,) = extract(images, [make_encoder(side=8)], workspace, fast_decode=True)
    differs = (exact.vectors() != fast.vectors()).any(1)
    assert dict(zip(fast.keys(), differs.tolist(), strict=True)) == {
        "large.jpg": True,
        "other.png": False,
        "small.jpg": False,
        "z, in memory": False,
    }


def test_encoders_of_different_sizes_each_get_what_they_get_alone(tmp_path: Path, photographs: Images) -> None:
    encoders: list[Encoder] = [make_encoder("small", side=8), make_encoder("large", side=100)]
    together = extract(photographs, encoders, Workspace.open(tmp_path / "together"), fast_decode=True)
    for encoder, store in zip(encoders, together, strict=True):
        (alone,) = extract(photographs, [encoder], Workspace.open(tmp_path / "alone"), fast_decode=True)
        assert np.array_equal(store.vectors(), alone.vectors())


def test_the_row_decodes_no_smaller_than_the_encoder_needs(photographs: Images) -> None:
    row: Row = photographs.rows[0]  # 3000 x 3000
    assert row.load().size == (3000, 3000)
    assert row.load(at_least=2 * 224).size == (750, 750)
    assert row.load(at_least=2 * 384).size == (1500, 1500)
