"""A folder in which ten thousand files are broken: nothing crashes, nothing is lost, and what is whole is unharmed."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from embprobe.embeddings.extract import encode, extract
from embprobe.embeddings.store import Store
from embprobe.embeddings.workspace import Workspace
from embprobe.images import Images
from embprobe.images.decoding import FORMATS, SUFFIXES, UnreadableImage, decode
from embprobe.images.readers.folder import load_folder
from tests.conftest import CountingEncoder, encoded, make_encoder, noise

HOSTILE, GOOD_EACH = 10_000, 10
SUFFIX = {
    **{"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "DIB": ".dib", "TIFF": ".tiff"},
    **{"PPM": ".ppm", "AVIF": ".avif", "HEIC": ".heic"},
}


# --- good files of every format, small ---------------------------------------------------------------------------


def picture(seed: int, mode: str = "RGB") -> Image.Image:
    """24 x 20 pixels of soft blobs, in this mode."""
    blobs = noise(seed, (5, 4), 4 if mode == "RGBA" else 3).resize((24, 20), Image.Resampling.BILINEAR)
    return blobs.quantize(32) if mode == "P" else blobs.convert(mode)


def still(kind: str, mode: str, /, **options: Any) -> Callable[[int], bytes]:
    return lambda seed: encoded(picture(seed, mode), kind, **options)


def frames(kind: str, mode: str = "RGB", /, **options: Any) -> Callable[[int], bytes]:
    def make(seed: int) -> bytes:
        more = [picture(seed + 1, mode), picture(seed + 2, mode)]
        return encoded(picture(seed, mode), kind, save_all=True, append_images=more, **options)

    return make


def sixteen_bits(kind: str, /, **options: Any) -> Callable[[int], bytes]:
    def make(seed: int) -> bytes:
        grey = np.asarray(picture(seed, "L")).astype(np.uint16)
        return encoded(Image.fromarray(grey * 257), kind, **options)

    return make


def heic(seed: int, size: tuple[int, int] = (24, 20)) -> bytes:
    """As pillow-heif writes it, where it is installed."""
    from pillow_heif import from_pillow

    buffer = io.BytesIO()
    from_pillow(picture(seed).resize(size)).save(buffer, quality=90)
    return buffer.getvalue()


def exif() -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = 6  # turn clockwise
    found[0x010F] = "the maker of the camera"
    found[0x8769] = {0x9000: b"0230"}
    return found


# The first word is the format.
KINDS: dict[str, Callable[[int], bytes]] = {
    "JPEG": still("JPEG", "RGB"),
    "JPEG grey": still("JPEG", "L"),
    "JPEG CMYK": still("JPEG", "CMYK"),
    "JPEG progressive": still("JPEG", "RGB", progressive=True),
    "JPEG with EXIF": still("JPEG", "RGB", exif=exif(), comment=b"hello", icc_profile=b"x" * 200),
    "JPEG of several": frames("MPO"),
    "PNG": still("PNG", "RGB"),
    "PNG alpha": still("PNG", "RGBA"),
    "PNG palette": still("PNG", "P", transparency=0),
    "PNG grey": still("PNG", "L"),
    "PNG one bit": still("PNG", "1"),
    "PNG 16 bits": sixteen_bits("PNG"),
    "PNG animated": frames("PNG"),
    "WEBP": still("WEBP", "RGB"),
    "WEBP with EXIF": still("WEBP", "RGB", exif=exif()),
    "WEBP lossless": still("WEBP", "RGBA", lossless=True),
    "WEBP animated": frames("WEBP"),
    "GIF": still("GIF", "P"),
    "GIF animated": frames("GIF", "P", transparency=1),
    "BMP": still("BMP", "RGB"),
    "BMP palette": still("BMP", "P"),
    "BMP one bit": still("BMP", "1"),
    "TIFF": still("TIFF", "RGB"),
    "TIFF LZW": still("TIFF", "RGB", compression="tiff_lzw"),
    "TIFF deflate": still("TIFF", "RGB", compression="tiff_adobe_deflate"),
    "TIFF JPEG": still("TIFF", "RGB", compression="jpeg"),
    "TIFF packbits": still("TIFF", "RGB", compression="packbits"),
    "TIFF fax": still("TIFF", "1", compression="group4"),
    "TIFF CMYK": still("TIFF", "CMYK"),
    "TIFF alpha": still("TIFF", "RGBA", compression="tiff_lzw"),
    "TIFF 16 bits": sixteen_bits("TIFF", compression="tiff_lzw"),
    "TIFF pages": frames("TIFF", compression="tiff_lzw"),
    "TIFF 64 bit offsets": still("TIFF", "RGB", big_tiff=True),
    "DIB": still("DIB", "RGB"),
    "DIB palette": still("DIB", "P"),
    "PPM": still("PPM", "RGB"),
    "PPM grey": still("PPM", "L"),
    "PPM one bit": still("PPM", "1"),
    "PPM 16 bits": sixteen_bits("PPM"),
    "AVIF": still("AVIF", "RGB"),
    "AVIF alpha": still("AVIF", "RGBA"),
    "AVIF animated": frames("AVIF"),
    "HEIC": heic,
}
KINDS = {kind: make for kind, make in KINDS.items() if kind.split()[0] in FORMATS}  # AVIF and HEIC: where they are read


# --- what goes wrong with files, and what people do to them ------------------------------------------------------

Mutation = Callable[[np.random.Generator, bytes], bytes]


def flip_bytes(rng: np.random.Generator, content: bytes, *, within: int | None = None) -> bytes:
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        changed[int(rng.integers(min(within or len(content), len(content))))] = int(rng.integers(256))
    return bytes(changed)


def flip_bit(rng: np.random.Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    changed[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: int(rng.integers(1, len(content)))]


def drop_stretch(rng: np.random.Generator, content: bytes) -> bytes:
    start = int(rng.integers(len(content)))
    return content[:start] + content[start + int(rng.integers(1, 64)) :]


def repeat_stretch(rng: np.random.Generator, content: bytes) -> bytes:
    start = int(rng.integers(len(content)))
    return content[: start + int(rng.integers(1, 64))] + content[start:]


def swap_stretches(rng: np.random.Generator, content: bytes) -> bytes:
    a, b, c, d = sorted(int(place) for place in rng.integers(0, len(content), 4))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def insert_garbage(rng: np.random.Generator, content: bytes) -> bytes:
    start = int(rng.integers(len(content)))
    return content[:start] + rng.bytes(int(rng.integers(1, 20))) + content[start:]


def append_garbage(rng: np.random.Generator, content: bytes) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 200)))


def blow_up_a_number(rng: np.random.Generator, content: bytes) -> bytes:
    """The lengths, counts and offsets in a file are numbers of two or four bytes, in either order."""
    numbers = (b"\xff\xff", b"\0\0", b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\x01\0\0")
    number = numbers[int(rng.integers(len(numbers)))]
    start = int(rng.integers(len(content) - len(number)))
    return content[:start] + number + content[start + len(number) :]


def swap_chunks(rng: np.random.Generator, content: bytes) -> bytes:
    """Two whole chunks of a PNG or WebP change places; other files, two stretches."""
    head, chunks = png_chunks(content) if content.startswith(b"\x89PNG") else riff_chunks(content)
    if len(chunks) < 2:
        return swap_stretches(rng, content)
    a, b = rng.integers(0, len(chunks), 2)
    chunks[a], chunks[b] = chunks[b], chunks[a]
    return head + b"".join(chunks)


def png_chunks(content: bytes) -> tuple[bytes, list[bytes]]:
    chunks, start = [], 8
    while start < len(content):
        stop = start + 12 + int.from_bytes(content[start : start + 4], "big")
        chunks.append(content[start:stop])
        start = stop
    return content[:8], chunks


def riff_chunks(content: bytes) -> tuple[bytes, list[bytes]]:
    chunks, start = [], 12
    while content.startswith(b"RIFF") and start < len(content):
        size = int.from_bytes(content[start + 4 : start + 8], "little")
        chunks.append(content[start : start + 8 + size + size % 2])
        start += 8 + size + size % 2
    return content[:12], chunks


def sealed(content: bytes) -> bytes:
    """The checksums of a PNG put right, so that what is wrong in a chunk reaches who reads the chunk."""
    head, chunks = png_chunks(content)
    right = [chunk[:-4] + struct.pack(">I", zlib.crc32(chunk[4:-4])) if len(chunk) >= 12 else chunk for chunk in chunks]
    return head + b"".join(right)


MUTATIONS: tuple[Mutation, ...] = (
    flip_bytes,
    partial(flip_bytes, within=64),  # where sizes, depths and kinds of compression stand
    flip_bit,
    cut,
    drop_stretch,
    repeat_stretch,
    swap_stretches,
    swap_chunks,
    insert_garbage,
    append_garbage,
    blow_up_a_number,
)


def mutated(rng: np.random.Generator, content: bytes) -> bytes:
    """One mutation, sometimes another on top."""
    found = MUTATIONS[int(rng.integers(len(MUTATIONS)))](rng, content)
    if len(found) > 8 and rng.random() < 0.3:
        found = MUTATIONS[int(rng.integers(len(MUTATIONS) - 1))](rng, found)
    return sealed(found) if found.startswith(b"\x89PNG\r\n\x1a\n") and rng.random() < 0.7 else found


# --- ten thousand of them, among good ones -----------------------------------------------------------------------


@dataclass(frozen=True)
class Extracted:
    """The folder's rows, which of them are whole, the format of each, and what became of them."""

    images: Images
    good: frozenset[str]
    formats: dict[str, str]
    encoder: CountingEncoder
    store: Store
    workspace: Workspace


def flat(batch: Tensor) -> Tensor:
    """The pixels themselves: the same vector only for the same pixels."""
    return batch.flatten(1)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    """Extracted once by two workers, so that broken and whole files are read side by side."""
    root, rng = tmp_path_factory.mktemp("hostile"), np.random.default_rng(0)
    folder = root / "files"
    folder.mkdir()
    formats, good = {}, set()
    whole = {kind: make(0) for kind, make in KINDS.items()}
    for kind, make in KINDS.items():
        for i in range(GOOD_EACH):
            key = f"{i * HOSTILE // GOOD_EACH:05d} {kind}, whole{SUFFIX[kind.split()[0]]}"
            (folder / key).write_bytes(make(i))
            formats[key] = kind.split()[0]
            good.add(key)
    for i in range(HOSTILE):
        kind = list(KINDS)[i % len(KINDS)]
        key = f"{i:05d} {kind}{SUFFIX[kind.split()[0]]}"
        (folder / key).write_bytes(mutated(rng, whole[kind]))
        formats[key] = kind.split()[0]
    images, encoder = load_folder(folder), make_encoder("flat", flat, dimension=48)
    workspace = Workspace.open(root / "workspace")
    torch.set_num_threads(2)
    (store,) = extract(images, [encoder], workspace)
    return Extracted(images, frozenset(good), formats, encoder, store, workspace)


pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's, about what is wrong with a file


def test_every_file_is_in_the_store_or_among_the_rejected(extracted: Extracted) -> None:
    assert len(extracted.images) == HOSTILE + GOOD_EACH * len(KINDS)
    embedded, rejected = extracted.store.keys(), [row.key for row in extracted.store.rejected]
    assert sorted(embedded + rejected) == sorted(extracted.formats)
    assert extracted.store.vectors().shape == (len(embedded), 48)
    assert np.isfinite(extracted.store.vectors()).all()


def test_whole_files_have_the_vectors_that_they_have_alone(extracted: Extracted) -> None:
    position = {key: i for i, key in enumerate(extracted.store.keys())}
    assert extracted.good <= position.keys()
    vectors = extracted.store.vectors()
    for row in extracted.images.rows:
        if row.key in extracted.good:
            assert np.array_equal(vectors[position[row.key]], encode(extracted.encoder, [row.load()])[0]), row.key


def test_of_every_format_some_broken_files_can_be_read_and_some_cannot(extracted: Extracted) -> None:
    embedded = {row.key for row in extracted.store.embedded().rows}
    read = Counter(extracted.formats[key] for key in embedded - extracted.good)
    rejected = Counter(extracted.formats[row.key] for row in extracted.store.rejected)
    assert set(read) == set(rejected) == set(FORMATS)
    assert min(*read.values(), *rejected.values()) >= 50
    assert sum(read.values()) + sum(rejected.values()) == HOSTILE


def test_every_reason_is_one_short_printable_line(extracted: Extracted) -> None:
    reasons = {row.reason for row in extracted.store.rejected}
    assert len(reasons) > 10
    for reason in reasons:
        assert reason.isprintable() and 0 < len(reason) < 200, reason
        assert not any(sign in reason for sign in ("Traceback", str(extracted.workspace.root)))
        assert not re.search(r"\b0x[0-9a-f]{4}", reason)  # an address; libheif writes sizes as 10x20


def test_a_second_run_reads_none_of_them_and_knows_the_same_reasons(extracted: Extracted) -> None:
    encoded_before = extracted.encoder.encoded
    (again,) = extract(extracted.images, [extracted.encoder], extracted.workspace)
    assert extracted.encoder.encoded == encoded_before
    assert (again.rejected, again.version) == (extracted.store.rejected, extracted.store.version)
    listed = (again.folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["key"] for line in listed] == [row.key for row in again.rejected]


# --- what happens with which kind of file ------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def claiming(kind: str, width: int, height: int) -> bytes:
    """A small file that says that it is very large."""
    small = Image.new("RGB", (2, 2))
    if kind == "PNG":
        return png_header(width, height) + encoded(small, "PNG")[33:]
    if kind == "GIF":
        return b"GIF89a" + struct.pack("<HH", width, height) + encoded(small, "GIF")[10:]
    if kind == "BMP":
        return encoded(small, "BMP")[:18] + struct.pack("<ii", width, height) + encoded(small, "BMP")[26:]
    if kind == "DIB":
        return encoded(small, "DIB")[:4] + struct.pack("<ii", width, height) + encoded(small, "DIB")[12:]
    if kind == "PPM":
        return b"P6 %d %d 255\n" % (width, height) + b"\0" * 12
    if kind in ("AVIF", "HEIC"):
        mark = b"ispe\0\0\0\0"
        before, *sizes = (encoded(small, "AVIF") if kind == "AVIF" else heic(0, (64, 64))).split(mark)
        return before + b"".join(mark + struct.pack(">II", width, height) + after[8:] for after in sizes)
    if kind == "JPEG":
        before, after = encoded(small, "JPEG").split(b"\xff\xc0", 1)  # 2 bytes of length, 1 of depth, then the size
        return before + b"\xff\xc0" + after[:3] + struct.pack(">HH", height, width) + after[7:]
    if kind == "WEBP":  # in lossless WebP, 14 bits of width - 1, 14 of height - 1
        before, after = encoded(small, "WEBP", lossless=True).split(b"\x2f", 1)
        flags = int.from_bytes(after[:4], "little") >> 28
        return before + b"\x2f" + struct.pack("<I", flags << 28 | height - 1 << 14 | width - 1) + after[4:]
    return with_tags(encoded(small, "TIFF"), {256: width, 257: height})


def with_tags(tiff: bytes, tags: dict[int, int]) -> bytes:
    """A TIFF whose first directory says something else."""
    changed = bytearray(tiff)
    start = int.from_bytes(tiff[4:8], "little")
    for entry in range(start + 2, start + 2 + 12 * int.from_bytes(tiff[start : start + 2], "little"), 12):
        tag = int.from_bytes(tiff[entry : entry + 2], "little")
        if tag in tags:
            changed[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, tags[tag])  # one number of 32 bits
    return bytes(changed)


def write(content: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(content)

    return make


def save(kind: str, size: tuple[int, int]) -> Callable[[Path], None]:
    return write(encoded(noise(0, size), kind))


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate((512 << 20) + 1)  # a hole: it takes no room


JPEG = encoded(noise(0, (64, 48)), "JPEG")
READ, DAMAGED = "read", "damaged or unreadable ("
NO_IMAGE = "not an image in a known format"

SPECIAL: dict[str, tuple[str, Callable[[Path], None], str]] = {
    # what it is: its name, how to make it, what happens
    "zero bytes": ("x.jpg", write(b""), "empty"),
    "a page of HTML": ("x.jpg", write(b"<!DOCTYPE html><title>404</title>"), "a web page, not an image"),
    "SVG": ("x.png", write(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), NO_IMAGE),
    "PDF": ("x.tiff", write(b"%PDF-1.7\n%%EOF"), NO_IMAGE),
    "JPEG 2000": ("x.jpg", save("JPEG2000", (16, 16)), NO_IMAGE),
    "a pointer of Git LFS": ("x.png", write(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), NO_IMAGE),
    "PNG named .jpg": ("x.jpg", save("PNG", (16, 16)), READ),
    "JPEG named .PNG": ("x.PNG", write(JPEG), READ),
    "half a JPEG": ("x.jpg", write(JPEG[: len(JPEG) // 2]), DAMAGED),
    "a JPEG and garbage": ("x.jpg", write(JPEG + b"garbage" * 99), READ),
    "half a PNG": ("x.png", write(encoded(noise(0, (64, 48)), "PNG")[:4000]), DAMAGED),
    "larger than 512 MiB": ("x.tiff", large, "larger than 512 MiB"),
    **{
        f"{kind} claiming {side:,} x {side:,}": (
            f"x{SUFFIX[kind]}",
            write(claiming(kind, side, side)),
            f"{side:,} x {side:,} = ",
        )
        for kind in FORMATS
        for side in (10_000, 16_000)  # above 89 million pixels; above 179 million, where Pillow refuses by itself
    },
    "PNG claiming 2 billion x 2 billion": ("x.png", write(png_header(2**31 - 1, 2**31 - 1)), "2,147,483,647 x "),
    "30,000 x 1": ("x.png", save("PNG", (30_000, 1)), READ),
    "1 x 30,000": ("x.png", save("PNG", (1, 30_000)), READ),
    "60,000 x 1": ("x.jpg", save("JPEG", (60_000, 1)), READ),
    "1 x 60,000": ("x.jpg", save("JPEG", (1, 60_000)), READ),
    "1 x 1": ("x.gif", save("GIF", (1, 1)), READ),
    "floats in TIFF": ("x.tif", write(encoded(Image.new("F", (4, 4), 0.5), "TIFF")), "pixels of 32 bits"),
    "32-bit integers in TIFF": ("x.tif", write(encoded(Image.new("I", (4, 4), 70_000), "TIFF")), "pixels of 32 bits"),
    "a pipe": ("x.jpg", os.mkfifo, "not a file (a pipe, a socket or a device)"),
    "a link to a device": ("x.jpg", lambda path: path.symlink_to("/dev/zero"), "not a file"),
    "a link to itself": ("x.jpg", lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "a link to nowhere": ("x.jpg", lambda path: path.symlink_to("nowhere.jpg"), "No such file or directory"),
    "a link to an image": ("x.jpg", lambda path: path.symlink_to("good.png"), READ),
    "a newline in its name": ("x\ny.jpg", write(JPEG), READ),
    "a terminal's escape in its name": ("x\x1b]0;title\x07\x1b[31m.jpg", write(JPEG), READ),
    "bytes that are no UTF-8 in its name": (os.fsdecode(b"x\xff\xfe.jpg"), write(JPEG), READ),
    "a name of 255 bytes": (f"{'x' * 251}.jpg", write(JPEG), READ),
}


@pytest.mark.parametrize(("name", "make", "outcome"), SPECIAL.values(), ids=SPECIAL)
def test_what_happens_with(
    name: str, make: Callable[[Path], None], outcome: str, tmp_path: Path, workspace: Workspace
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    noise(1).save(folder / "good.png")
    make(folder / name)
    images = load_folder(folder)
    assert [row.key for row in images.rows] == ["good.png", name]
    (store,) = extract(images, [make_encoder()], workspace)
    assert store.keys()[0] == "good.png"
    if outcome == READ:
        assert store.keys()[1:] == [name] and store.rejected == []
    else:
        (rejected,) = store.rejected
        assert store.keys()[1:] == [] and rejected.key == name
        assert rejected.reason.isprintable() and rejected.reason.startswith(outcome)


def test_every_format_and_every_suffix_that_is_read_is_tried() -> None:
    assert {kind.split()[0] for kind in KINDS} == set(FORMATS) <= set(SUFFIX)
    assert {SUFFIX[kind] for kind in FORMATS} <= SUFFIXES


def test_folders_that_are_called_like_images_are_walked_and_links_to_folders_are_not(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    noise(0).save(tmp_path / "x.jpg" / "y.png")
    (tmp_path / "x.jpg" / "again.png").symlink_to(tmp_path)
    assert [row.key for row in load_folder(tmp_path).rows] == ["x.jpg/y.png"]


def test_a_file_that_may_not_be_read_is_rejected(
    photos: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said by a stand-in for the system, because for root there is no such file."""
    read = Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path.name == "d.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    (store,) = extract(load_folder(photos), [make_encoder()], workspace)
    assert [(row.key, row.reason) for row in store.rejected] == [("cat/d.png", "Permission denied")]


def test_a_file_that_vanishes_after_it_was_listed_is_rejected(photos: Path, workspace: Workspace) -> None:
    images = load_folder(photos)
    (photos / "cat" / "d.png").unlink()
    (store,) = extract(images, [make_encoder()], workspace)
    assert [(row.key, row.reason) for row in store.rejected] == [("cat/d.png", "No such file or directory")]


# --- what is shown and written of them ---------------------------------------------------------------------------

NASTY = ("new\nline.jpg", "esc\x1b]0;title\x07\x1b[31m.jpg", os.fsdecode(b"\xff\xfe.jpg"))


def test_nasty_names_are_kept_and_written_as_utf8_one_a_line(tmp_path: Path, workspace: Workspace) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in NASTY:
        (folder / name).write_bytes(JPEG)
        (folder / f"not {name}").write_bytes(b"")
    (store,) = extract(load_folder(folder), [make_encoder()], workspace)
    assert set(store.keys()) == set(NASTY)
    written = {NASTY[0], NASTY[1], r"\xff\xfe.jpg"}  # what UTF-8 cannot hold becomes escapes
    assert set(pq.read_table(store.folder / "metadata" / "metadata_00000.parquet")["key"].to_pylist()) == written
    lines = (store.folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["key"] for line in lines} == {f"not {name}" for name in written}


def test_the_command_line_shows_nasty_names_as_escapes(on_the_command_line: subprocess.CompletedProcess[str]) -> None:
    shown = on_the_command_line.stderr
    assert "4 of 6 images could not be read" in shown
    assert all(escaped in shown for escaped in (r"new\nline.jpg", r"\x1b]0;title\x07", r"\xff\xfe.jpg"))
    assert not set(shown + on_the_command_line.stdout) & {"\x1b", "\x07"}


def test_the_command_line_shows_nothing_that_libraries_say(
    on_the_command_line: subprocess.CompletedProcess[str],
) -> None:
    assert "Warning" not in on_the_command_line.stderr  # Pillow's, once for every text
    assert "Fax3Decode" not in on_the_command_line.stderr  # libtiff's, once for every line of the image


@pytest.fixture(scope="module")
def on_the_command_line(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """`embprobe extract` of a good image, three empty ones with nasty names, and two at which libraries speak up."""
    folder = tmp_path_factory.mktemp("nasty")
    noise(0).save(folder / "good.png")
    for name in NASTY:
        (folder / name).write_bytes(b"")
    (folder / "bomb.png").write_bytes(claiming("PNG", 10_000, 10_000))
    (folder / "fax.tiff").write_bytes(fax_of_nothing(100))
    command = [
        "embprobe",
        "extract",
        str(folder),
        "-e",
        "reference/pixels",
        "--workspace",
        str(folder / ".space"),
    ]
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=True)


def fax_of_nothing(height: int) -> bytes:
    """A TIFF that says how many lines it has, and has code words for 20."""
    lines = Image.fromarray(np.random.default_rng(0).integers(0, 2, (20, 24)).astype(bool))
    return with_tags(encoded(lines, "TIFF", compression="group3"), {257: height, 278: height})


def test_good_files_of_every_kind_print_nothing(
    tmp_path: Path, workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither Pillow nor the C libraries under it, which write to the terminal past Python."""
    for kind, make in KINDS.items():
        (tmp_path / f"{kind}{SUFFIX[kind.split()[0]]}").write_bytes(make(0))
    (store,) = extract(load_folder(tmp_path), [make_encoder()], workspace)
    assert len(store.vectors()) == len(KINDS)
    assert capfd.readouterr() == ("", "")


# --- what lies around the images ---------------------------------------------------------------------------------


def test_a_label_called_key_does_not_take_the_place_of_the_keys(tmp_path: Path, workspace: Workspace) -> None:
    """As img2dataset writes it into its sidecars."""
    noise(0).save(tmp_path / "good.png")
    (tmp_path / "good.json").write_text('{"key": "000000000"}')
    images = load_folder(tmp_path)
    (store,) = extract(images, [make_encoder()], workspace)
    assert images.label("key") == ["000000000"]
    assert pq.read_table(store.folder / "metadata" / "metadata_00000.parquet")["key"].to_pylist() == ["good.png"]


def test_a_folder_that_may_not_be_listed_is_named_in_a_note(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.scandir

    def refusing(path: str) -> Any:
        if path.endswith("cat"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr("os.scandir", refusing)
    images = load_folder(photos)
    assert len(images) == 6 and not any(row.key.startswith("cat/") for row in images.rows)
    assert any("cat" in note for note in images.notes)


# --- a small file that takes long --------------------------------------------------------------------------------


@pytest.mark.parametrize("progressive", [True, False])
@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_jpeg_of_very_many_scans_is_refused(kind: str, progressive: bool) -> None:
    """Each goes over all pixels, in a few bytes: one megabyte of them would take minutes."""
    pictures = [Image.new("RGB", (1000, 1000)) for _ in range(2)]
    several = {"save_all": True, "append_images": pictures[1:]} if kind == "MPO" else {}
    before, after = encoded(pictures[0], kind, progressive=progressive, **several).split(b"\xff\xda", 1)
    # the header of a scan without data: of one component, and which part of it
    scan = b"\xff\xda\0\x08\x01\x01\x00" + (b"\0\0\x01" if progressive else b"\0\x3f\0")
    assert decode(before + scan * 9 + b"\xff\xda" + after).size == (1000, 1000)
    with pytest.raises(UnreadableImage, match=r"^too many scans to be a photograph$"):
        decode(before + scan * 10_000 + b"\xff\xda" + after)


def test_scans_are_counted_where_they_seem_to_be_part_of_something_else() -> None:
    """FF 01 is a marker alone; whoever takes the next bytes for its length, FF DA, passes over 65,498 bytes."""
    before, after = encoded(Image.new("RGB", (1000, 1000)), "JPEG", progressive=True).split(b"\xff\xda", 1)
    scan, comment = b"\xff\xda\0\x08\x01\x01\x00\0\0\x01", b"\xff\xfe\0\x06abcd"
    hidden = b"\xff\x01" + scan * 6549 + comment
    assert len(hidden) == 2 + 0xFFDA
    with pytest.raises(UnreadableImage, match=r"^too many scans to be a photograph$"):
        decode(before + scan + hidden + b"\xff\xda" + after)


def test_a_photograph_with_a_film_behind_it_is_read() -> None:
    """As telephones save them. In so many bytes, the mark of a scan stands 640 times by chance."""
    film = np.random.default_rng(0).bytes(40 << 20)
    assert decode(JPEG + film).size == (64, 48)
