"""The limit of pixels: true reasons, raised where asked for, in the manifest, and no hole for hostile files."""

from __future__ import annotations

import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import embprobe
from embprobe.cli.app import app
from embprobe.embeddings.extract import extract
from embprobe.embeddings.manifest import read_manifest
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import EncoderSpec, load_encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import load_image
from embprobe.images.decoding import FORMATS, MAX_PIXELS, UnreadableImage, decode
from embprobe.images.jpeg import bytes_of_decoding
from embprobe.images.readers.folder import load_folder
from embprobe.system.pixels import pillow_allows
from tests.conftest import encoded, make_encoder, noise
from tests.images.test_hostile_files import claiming, heic

PICTURE = noise(0, (40, 30))
"""1,200 pixels."""


def of(kind: str) -> bytes:
    return heic(0) if kind == "HEIC" else encoded(PICTURE, kind)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_limit_is_met_exactly_and_the_reason_is_true(kind: str) -> None:
    width, height = decode(of(kind)).size
    assert decode(of(kind), max_pixels=width * height).size == (width, height)
    with pytest.raises(UnreadableImage) as refused:
        decode(of(kind), max_pixels=width * height - 1)
    expected = f"{width} x {height} = {width * height:,} pixels, more than the limit of {width * height - 1:,}"
    assert str(refused.value) == f"{expected} (--max-pixels raises it)"


@pytest.mark.parametrize("own", [None, 10, MAX_PIXELS, 10**9])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("error")
def test_a_limit_that_others_gave_pillow_decides_nothing(
    kind: str, own: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", own)
    assert decode(of(kind)).size == ((24, 20) if kind == "HEIC" else PICTURE.size)
    assert own == Image.MAX_IMAGE_PIXELS
    with pytest.raises(UnreadableImage, match="more than the limit of 89,478,485"):
        decode(claiming(kind, 10_000, 10_000))
    assert own == Image.MAX_IMAGE_PIXELS


def test_pillows_limit_is_the_highest_that_a_thread_needs_and_then_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with pillow_allows(500):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with pillow_allows(300):
        assert Image.MAX_IMAGE_PIXELS == 300
        with pillow_allows(50):
            assert Image.MAX_IMAGE_PIXELS == 300
        thread.start()
        assert entered.wait(10)
        assert Image.MAX_IMAGE_PIXELS == 500
    assert Image.MAX_IMAGE_PIXELS == 500
    leave.set()
    thread.join()
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(ZeroDivisionError), pillow_allows(200):
        _ = 1 // 0
    assert Image.MAX_IMAGE_PIXELS == 100


# --- JPEG at reduced scale ----------------------------------------------------------------------------------------


def test_a_jpeg_above_the_limit_is_read_at_reduced_scale() -> None:
    content = encoded(noise(0, (400, 300)), "JPEG")
    for most, shorter, size in ((30_000, 150, (200, 150)), (7_500, 75, (100, 75)), (119_999, 100, (200, 150))):
        assert decode(content, at_least=shorter, max_pixels=most).size == size
    too_much: list[tuple[int, int | None]] = [(29_999, 150), (119_999, 151), (119_999, None)]
    for most, at_least in too_much:
        with pytest.raises(UnreadableImage, match=r"^400 x 300 = 120,000 pixels, more than the limit of "):
            decode(content, at_least=at_least, max_pixels=most)


def test_other_formats_are_not_read_at_reduced_scale() -> None:
    for kind in set(FORMATS) - {"JPEG", "HEIC"}:
        with pytest.raises(UnreadableImage, match="40 x 30 = 1,200 pixels"):
            decode(of(kind), at_least=2, max_pixels=1_199)


def one_by_one(content: bytes) -> bytes:
    """A JPEG whose first scan is of one component: libjpeg keeps all coefficients until the others have come."""
    before, after = content.split(b"\xff\xda", 1)
    return before + b"\xff\xda\0\x08\x01\x01\x00\0\x3f\0" + after[int.from_bytes(after[:2]) :]


def test_the_memory_of_a_jpeg_in_several_scans_counts() -> None:
    # one scan: 4 bytes for each of 50 x 38 pixels; several: 2 bytes besides for each of 3 x 400 x 300 samples
    size, reduced = (400, 300), (50, 38)
    plain = encoded(noise(0, size), "JPEG")
    progressive = encoded(noise(0, size), "JPEG", progressive=True)
    assert bytes_of_decoding(plain, size, reduced, 3) == 4 * 50 * 38
    for several in (progressive, one_by_one(plain)):
        assert bytes_of_decoding(several, size, reduced, 3) == 4 * 50 * 38 + 2 * 3 * 400 * 300
    # in full, of most pixels: (4 + 6) x most bytes; reduced: 727,600 bytes
    assert decode(progressive, at_least=37, max_pixels=72_760).size == (50, 38)
    with pytest.raises(UnreadableImage, match="more than the limit"):
        decode(progressive, at_least=37, max_pixels=72_759)


@pytest.mark.parametrize("at_least", [None, 2, 448])
def test_a_small_jpeg_that_claims_four_billion_pixels_in_several_scans_is_refused(at_least: int | None) -> None:
    """Each would make libjpeg allocate 25 GB, however small it comes out."""
    small = Image.new("RGB", (16, 16))
    for content in (encoded(small, "JPEG", progressive=True), one_by_one(encoded(small, "JPEG"))):
        frame = b"\xff\xc2" if b"\xff\xc2" in content else b"\xff\xc0"
        before, after = content.split(frame, 1)
        lying = before + frame + after[:3] + struct.pack(">HH", 65_500, 65_500) + after[7:]
        with pytest.raises(UnreadableImage, match=r"^65,500 x 65,500 = 4,290,250,000 pixels"):
            decode(lying, at_least=at_least)


# --- in stores, on the command line, from Python ------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture of 1,200 pixels, a photograph of 120,000, and a drawing of 120,000."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    PICTURE.save(folder / "a.png")
    noise(1, (400, 300)).save(folder / "b.jpg")
    noise(2, (400, 300)).save(folder / "c.png")
    return folder


def test_the_limit_stands_in_the_manifest_and_makes_a_store_of_its_own(folder: Path, workspace: Workspace) -> None:
    images, encoder = load_folder(folder), make_encoder(side=8)
    (default,) = extract(images, [encoder], workspace)
    (small,) = extract(images, [encoder], workspace, max_pixels=2_000)
    (fast,) = extract(images, [encoder], workspace, max_pixels=50_000, fast_decode=True)
    assert (default.keys(), small.keys(), fast.keys()) == (["a.png", "b.jpg", "c.png"], ["a.png"], ["a.png", "b.jpg"])
    assert [row.key for row in small.rejected] == ["b.jpg", "c.png"]
    for store, most in ((default, MAX_PIXELS), (small, 2_000), (fast, 50_000)):
        manifest = read_manifest(store.folder)
        assert manifest.encoder["image_input"]["max_pixels"] == most
        assert EncoderSpec.from_saved(manifest.encoder) == store.spec
    assert len({store.folder for store in (default, small, fast)}) == 3
    assert default.spec.fingerprint == encoder.spec.fingerprint
    assert extract(images, [encoder], workspace, max_pixels=MAX_PIXELS)[0].folder == default.folder


def test_bundled_encoders_keep_their_fingerprints() -> None:
    # as they were before there was a limit to choose
    before = {
        "reference/pixels": "dd48c61d8bdc2e78",
        "bundled/clip": "c43f5d05b3a13924",
        "bundled/dino": "dc692f154df06ad1",
    }
    assert {name: load_encoder(name).spec.fingerprint for name in before} == before


def test_a_limit_of_nothing_is_refused(folder: Path, workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="max_pixels is at least 1"):
        extract(load_folder(folder), [make_encoder()], workspace, max_pixels=0)


def test_the_command_line_raises_and_lowers_the_limit(folder: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        command = [*arguments, "-e", "reference/pixels", "--workspace", str(tmp_path / "space")]
        ran = CliRunner().invoke(app, command, catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        return ran.output

    assert "could not be read" not in run("extract", str(folder))
    lowered = " ".join(run("extract", str(folder), "--max-pixels", "5000").split())
    assert "2 of 3 images could not be read" in lowered
    assert "400 x 300 = 120,000 pixels, more than the limit of 5,000 (--max-pixels raises it)" in lowered
    fast = run("extract", str(folder), "--max-pixels", "50000", "--fast-decode")
    assert "'c.png'" in fast and "'b.jpg'" not in fast


def test_neighbours_of_an_image_are_found_under_the_limit_of_the_run(folder: Path, tmp_path: Path) -> None:
    images = embprobe.load_images(str(folder))
    lone = tmp_path / "lone.png"
    noise(3, (400, 300)).save(lone)
    settings: dict[str, Any] = {"encoders": "reference/pixels", "workspace": tmp_path / "space", "k": 1}
    with pytest.raises(EmbprobeError, match="more than the limit of 5,000"):
        embprobe.neighbors(str(lone), images, max_pixels=5_000, **settings)
    (found,) = embprobe.neighbors(str(lone), images, max_pixels=200_000, **settings)
    assert found.query.row is not None and found.query.row.max_pixels == 200_000


def test_a_photograph_above_the_limit_asks_for_neighbours_at_reduced_scale_or_not_at_all(
    folder: Path, tmp_path: Path
) -> None:
    noise(3, (1400, 1100)).save(tmp_path / "lone.jpg")
    settings: dict[str, Any] = {"encoders": "reference/pixels", "workspace": tmp_path / "space", "k": 1}
    query, images = str(tmp_path / "lone.jpg"), str(folder)
    with pytest.raises(EmbprobeError, match=r"'lone.jpg' cannot be read as an image: 1,400 x 1,100 = 1,540,000 pixels"):
        embprobe.neighbors(query, images, max_pixels=1_000_000, **settings)
    (found,) = embprobe.neighbors(query, images, max_pixels=1_000_000, fast_decode=True, **settings)
    assert len(found.by_encoder["reference/pixels"]) == 1


def test_a_photograph_above_the_limit_is_opened_where_reduced_scale_will_do(tmp_path: Path) -> None:
    noise(0, (1400, 1100)).save(tmp_path / "large.jpg")
    noise(0, (1400, 1100)).save(tmp_path / "large.png")
    row = load_image(str(tmp_path / "large.jpg"), max_pixels=1_000_000).rows[0]
    assert row.load(at_least=448).size == (700, 550)
    with pytest.raises(EmbprobeError, match=r"1,400 x 1,100 = 1,540,000 pixels"):
        load_image(str(tmp_path / "large.png"), max_pixels=1_000_000)


def test_rows_keep_their_limit_through_changes() -> None:
    images = embprobe.load_images("bundled/emoji:train").take(range(2))
    limited = images.limited_to(5).labelled(lambda row: {"a": "b"}).map("x", lambda row: ("m", lambda image: image))
    assert [row.max_pixels for row in limited.rows] == [5, 5]
    assert limited.rows[0].content == f"{images.rows[0].content}|m"
    with pytest.raises(UnreadableImage, match="more than the limit of 5 "):
        limited.rows[0].read()
