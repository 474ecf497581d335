"""Files that other people made: decoded exactly, or refused with a reason, and nothing else."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from embprobe.images.decoding import UnreadableImage, decode, flatten
from tests.conftest import encoded, noise, solid

WHITE, RED = (255, 255, 255), (255, 0, 0)


def values(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)


def png(width: int, height: int, *, depth: int, color: int, pixels: bytes) -> bytes:
    """A PNG file written by hand, for what Pillow does not write: 16-bit colour, and sizes that are a lie."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


# --- decoded as seen ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, [[0, 1], [2, 3]]),
        (2, [[1, 0], [3, 2]]),  # mirrored
        (3, [[3, 2], [1, 0]]),  # upside down
        (4, [[2, 3], [0, 1]]),
        (5, [[0, 2], [1, 3]]),
        (6, [[2, 0], [3, 1]]),  # a camera held upright: turn clockwise
        (7, [[3, 1], [2, 0]]),
        (8, [[1, 3], [0, 2]]),
    ],
)
def test_exif_orientation_is_applied(orientation: int, upright: list[list[int]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8))
    assert values(decode(encoded(stored, "PNG", exif=exif)))[..., 0].tolist() == upright


def test_a_photograph_taken_upright_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.new("L", (64, 32))
    stored.paste(255, (0, 0, 32, 32))  # left half white: the top half once turned clockwise
    upright = decode(encoded(stored, "JPEG", exif=exif))
    assert upright.size == (32, 64)
    assert values(upright)[:30].min() > 250 and values(upright)[34:].max() < 5


def test_half_transparent_black_on_white_is_mid_grey() -> None:
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    # 255 * (1 - 128 / 255) = 127
    assert flatten(decode(encoded(half, "PNG")), WHITE).getpixel((0, 0)) == (127, 127, 127)
    assert flatten(decode(encoded(half, "PNG")), RED).getpixel((0, 0)) == (127, 0, 0)


@pytest.mark.parametrize(("alpha", "seen"), [(0, WHITE), (255, (10, 20, 30))])
def test_transparent_shows_the_background_and_opaque_hides_it(alpha: int, seen: tuple[int, int, int]) -> None:
    assert flatten(Image.new("RGBA", (1, 1), (10, 20, 30, alpha)), WHITE).getpixel((0, 0)) == seen


def test_a_transparent_palette_entry_is_transparent() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        found = decode(encoded(picture, kind, transparency=0))
        assert found.mode == "RGBA"
        assert values(found)[0, 0, 3] == 0 and values(found)[0, 1].tolist() == [0, 0, 255, 255]


def test_an_opaque_palette_is_rgb() -> None:
    picture = Image.new("P", (1, 1))
    picture.putpalette([1, 2, 3])
    assert decode(encoded(picture, "PNG")).getpixel((0, 0)) == (1, 2, 3)


def test_a_transparent_colour_is_transparent() -> None:
    found = decode(encoded(solid(RED, (1, 1)), "PNG", transparency=RED))
    assert found.getpixel((0, 0)) == (255, 0, 0, 0)


def test_greyscale_and_its_alpha_are_kept() -> None:
    assert decode(encoded(Image.new("L", (1, 1), 7), "PNG")).getpixel((0, 0)) == (7, 7, 7)
    assert decode(encoded(Image.new("LA", (1, 1), (7, 100)), "PNG")).getpixel((0, 0)) == (7, 7, 7, 100)
    assert decode(encoded(Image.new("1", (1, 1), 1), "PNG")).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_brightness(kind: str) -> None:
    # the high byte, as viewers show it: 0x0000, 0x1000, 0x8000, 0xFFFF
    picture = Image.fromarray(np.array([[0, 0x1000, 0x8000, 0xFFFF]], np.uint16))
    assert values(decode(encoded(picture, kind)))[0, :, 0].tolist() == pytest.approx([0, 16, 128, 255], abs=1)


def test_sixteen_bit_colour_keeps_its_brightness() -> None:
    pixel = struct.pack(">BHHH", 0, 0xFFFF, 0x8000, 0x1000)  # a filter byte, then red, green, blue
    assert decode(png(1, 1, depth=16, color=2, pixels=pixel)).getpixel((0, 0)) == (255, 128, 16)


def test_cyan_ink_is_cyan() -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for kind in ("JPEG", "TIFF"):
        assert decode(encoded(cyan, kind)).getpixel((0, 0)) == (0, 255, 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame(kind: str) -> None:
    frames = [solid(RED), solid((0, 0, 255))]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    found = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **lossless))
    assert found.convert("RGB").getpixel((3, 3)) == RED


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_file_decodes_to_what_pillow_gives(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "no-suffix-needed"
    path.write_bytes(encoded(noise(0, (31, 17)), kind))
    expected = values(Image.open(path).convert("RGB"))
    assert np.array_equal(values(decode(path.read_bytes())), expected)


# --- refused with a reason ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    content = encoded(noise(0, (64, 64)), kind)
    with pytest.raises(UnreadableImage, match=r"damaged|not an image"):
        decode(content[: len(content) // 2])


@pytest.mark.parametrize(
    "content",
    [
        b"\0",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>',
        pickle.dumps(np.zeros((2, 2))),
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + b" " * 54 + b"\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",  # Pillow would start Ghostscript
        encoded(solid(RED), "ICO"),  # a whole image, in a format that is not offered
        encoded(solid(RED), "JPEG2000"),
    ],
    ids=["nul", "svg", "pickle", "npy", "eps", "ico", "jp2"],
)
def test_what_is_no_image_of_a_known_format_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableImage, match=r"^not an image in a known format$"):
        decode(content)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html><h1>404 Not Found</h1></html>", b"\n <HTML>sorry</HTML>"])
def test_a_web_page_is_called_one(page: bytes) -> None:
    with pytest.raises(UnreadableImage, match=r"^a web page, not an image$"):
        decode(page)


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(UnreadableImage, match=r"^empty$"):
        decode(b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 20_000, 60_000])  # 100 million pixels make Pillow warn, 400 million raise
def test_a_decompression_bomb_is_refused(side: int) -> None:
    reason = f"{side:,} x {side:,} = {side * side:,} pixels, more than the limit of 89,478,485 (--max-pixels raises it)"
    with pytest.raises(UnreadableImage, match=f"^{re.escape(reason)}$"):
        decode(png(side, side, depth=8, color=0, pixels=b"\0"))


def test_a_size_that_the_pixels_do_not_fill_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="damaged"):
        decode(png(100, 100, depth=8, color=0, pixels=b"\0"))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decoding_in_threads_refuses_every_bomb_and_leaves_the_warning_filters_alone() -> None:
    bomb = png(10_000, 10_000, depth=8, color=0, pixels=b"\0")
    picture = encoded(noise(0, (64, 64)), "PNG")
    before = list(warnings.filters)

    def reason(content: bytes) -> str:
        try:
            decode(content)
        except UnreadableImage as refused:
            return str(refused)
        return "decoded"

    with ThreadPoolExecutor(4) as readers:
        found = list(readers.map(reason, [picture, bomb] * 300))
    assert set(found[::2]) == {"decoded"}
    (refused,) = set(found[1::2])
    assert refused.startswith("10,000 x 10,000 = 100,000,000 pixels, more than the limit of 89,478,485")
    assert list(warnings.filters) == before


GOOD = {
    "PNG": encoded(noise(1, (16, 16)), "PNG"),
    "PNG with alpha": encoded(noise(2, (9, 7), 4), "PNG"),
    "JPEG": encoded(noise(3, (16, 16)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    "WebP": encoded(noise(4, (16, 16)), "WEBP"),
    "lossless WebP": encoded(noise(5, (16, 16), 4), "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", GOOD)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_a_mutated_file_decodes_or_is_refused(kind: str, data: st.DataObject) -> None:
    content = bytearray(GOOD[kind])
    flips = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for position, value in data.draw(st.lists(flips, max_size=8)):
        content[position] = value
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(content)), st.integers(0, len(content)))))
    how = data.draw(st.sampled_from(["keep", "cut", "drop", "repeat"]))
    mutated = {
        "keep": content,
        "cut": content[:stop],
        "drop": content[:start] + content[stop:],
        "repeat": content[:stop] + content[start:],
    }[how]
    try:
        found = decode(bytes(mutated))
    except UnreadableImage as refused:
        assert str(refused)
    else:
        assert found.mode in ("RGB", "RGBA") and found.width * found.height > 0


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(UnreadableImage):
        decode(content)
