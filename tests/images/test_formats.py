"""Formats by suffix and by first bytes, and those that another package reads."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embprobe.images import formats
from embprobe.images.decoding import UnreadableImage, decode
from embprobe.images.formats import ALL, FORMATS, REMEDIES, SUFFIXES, format_of
from embprobe.images.readers.folder import load_folder
from tests.conftest import encoded, noise

PICTURE = noise(0, (24, 16))
needs_heif = pytest.mark.skipif(
    "HEIC" not in FORMATS, reason="pillow-heif is not installed: pip install 'embprobe[heif]'"
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((f"x.{suffix}", "JPEG") for suffix in ("jpg", "jpeg", "jpe", "jif", "jfif", "JFIF", "mpo")),
        *((f"x.{suffix}", "PPM") for suffix in ("ppm", "pgm", "pbm", "pnm")),
        *(("x.apng", "PNG"), ("x.dib", "DIB"), ("y.dib", "BMP"), ("x.bmp", "BMP")),
    ],
)
def test_a_folder_is_read_whatever_the_format_calls_itself(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(encoded(PICTURE, kind))
    (row,) = load_folder(tmp_path).rows
    assert row.key == name and row.load().size == PICTURE.size


def test_a_suffix_belongs_to_one_format_but_for_bitmaps_with_and_without_a_head() -> None:
    suffixes = [suffix for each in ALL for suffix in each.suffixes]
    assert len(suffixes) == len(set(suffixes)) + 1 and suffixes.count(".dib") == 2
    assert set(suffixes) == SUFFIXES | REMEDIES.keys() and not SUFFIXES & REMEDIES.keys()


@pytest.mark.parametrize("head", [b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"])
def test_netpbm_in_text_and_in_bytes_is_read(head: bytes) -> None:
    size, plain = b" # a comment\n2 1\n", head in (b"P1", b"P2", b"P3")
    pixels, expected = {
        b"P1": (b"1 0", [[0] * 3, [255] * 3]),
        b"P2": (b"7\n0 7", [[0] * 3, [255] * 3]),
        b"P3": (b"255\n1 2 3 4 5 6", [[1, 2, 3], [4, 5, 6]]),
        b"P4": (b"\x80", [[0] * 3, [255] * 3]),
        b"P5": (b"255\n\x09\x0a", [[9] * 3, [10] * 3]),
        b"P6": (b"255\n\1\2\3\4\5\6", [[1, 2, 3], [4, 5, 6]]),
    }[head]
    assert np.asarray(decode(head + size + pixels + b"\n" * plain)).tolist() == [expected]


def test_netpbm_of_sixteen_bits_keeps_its_brightness() -> None:
    grey = np.array([[0, 0x1000, 0x8000, 0xFFFF]], np.uint16)
    assert np.asarray(decode(b"P5 4 1 65535\n" + grey.astype(">u2").tobytes()))[0, :, 0].tolist() == [0, 16, 128, 255]
    colour = b"P6 1 1 65535\n" + bytes([0xFF, 0xFF, 0x80, 0, 0x10, 0])
    assert decode(colour).getpixel((0, 0)) == pytest.approx((255, 128, 16), abs=1)


@pytest.mark.parametrize("content", [b"Pf\n1 1\n-1.0\n\0\0\0\x3f", b"P7\nWIDTH 1\n", b"Py 1 1 255\n\0", b"P6", b"P6\n"])
def test_other_netpbm_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableImage):
        decode(content)


def test_a_file_is_of_the_format_that_it_shows_whatever_follows() -> None:
    for each in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM"):
        found = format_of(encoded(PICTURE, each))
        assert found is not None and found.name == each
    for nothing in (b"", b"P6", b"II", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\xd8"):
        assert format_of(nothing) is None


@pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow has no AVIF")
def test_avif_is_read_as_pillow_reads_it(tmp_path: Path) -> None:
    content = encoded(PICTURE, "AVIF")
    (tmp_path / "x.avif").write_bytes(content)
    (row,) = load_folder(tmp_path).rows
    assert row.load().tobytes() == Image.open(io.BytesIO(content)).convert("RGB").tobytes()


# --- HEIC ---------------------------------------------------------------------------------------------------------


def test_heic_without_its_package_is_named_and_the_command_that_installs_it() -> None:
    head = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    if "HEIC" in FORMATS:
        with pytest.raises(UnreadableImage, match="not an image|damaged"):
            decode(head)
    else:
        assert REMEDIES[".heic"] == "pip install 'embprobe[heif]'" and ".heic" not in SUFFIXES
        reason = r"^HEIC, which this installation does not read \(pip install 'embprobe\[heif\]'\)$"
        with pytest.raises(UnreadableImage, match=reason):
            decode(head)


def test_optional_packages_are_not_imported_before_a_file_needs_them() -> None:
    code = (
        "import sys, embprobe.images; print([m for m in ('pillow_heif', 'PIL._avif', 'PIL._webp') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@needs_heif
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_heic_is_read(mode: str, tmp_path: Path) -> None:
    import pillow_heif

    picture = noise(1, (6, 4), 4).resize((48, 32), Image.Resampling.BILINEAR).convert(mode)
    pillow_heif.from_pillow(picture).save(tmp_path / "x.heic", quality=-1, chroma=444)
    (row,) = load_folder(tmp_path).rows
    known = set(Image.OPEN)  # another library may have put it there
    found, expected = row.read(), picture.convert("RGBA" if mode == "RGBA" else "RGB")
    assert found.mode == expected.mode and found.size == (48, 32)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(expected)).max() <= 4  # YCbCr of 8 bits
    assert set(Image.OPEN) == known  # Pillow is as it was


@needs_heif
def test_a_heic_cut_off_is_refused(tmp_path: Path) -> None:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(PICTURE).save(buffer, quality=90)
    for share in (0.3, 0.9):
        with pytest.raises(UnreadableImage):
            decode(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])


def test_a_format_whose_module_is_missing_is_not_available() -> None:
    assert not formats.Format("X", (".x",), lambda head: False, "x:y", module="no_such_module").is_available
