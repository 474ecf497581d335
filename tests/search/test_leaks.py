"""Leaks: planted copies are found as what they are, and nothing else is."""

from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from embprobe.errors import EmbprobeError
from embprobe.images import Images, Row, load_images
from embprobe.images.decoding import UnreadableImage
from embprobe.search import leaks
from embprobe.search.leaks import Leak, find_leaks
from tests.conftest import encoded, noise, real_images, row_of, solid


def scene(seed: int, side: int = 64) -> Image.Image:
    """A smooth picture of its own: noise of 6 x 6, enlarged."""
    return noise(seed, (6, 6)).resize((side, side), Image.Resampling.BICUBIC)


def files(folder: Path, contents: Mapping[str, bytes]) -> Images:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return load_images(str(folder))


def kinds(train: Images, tests: Images, **options: object) -> dict[str, tuple[str, str]]:
    """By key of a test image the key of the training image it duplicates, and how."""
    found = find_leaks(train, tests, **options)  # type: ignore[arg-type]
    return {tests.rows[leak.test].key: (train.rows[leak.train].key, leak.how) for leak in found.leaks}


def test_every_kind_of_copy_is_found_and_innocent_images_are_not(tmp_path: Path) -> None:
    pictures = [scene(i) for i in range(20)]
    train = files(tmp_path / "train", {f"{i:02d}.png": encoded(each, "PNG") for i, each in enumerate(pictures)})
    tests = files(
        tmp_path / "tests",
        {
            "another name.png": encoded(pictures[3], "PNG"),
            "uncompressed.png": encoded(pictures[4], "PNG", compress_level=0),
            "bitmap.bmp": encoded(pictures[5], "BMP"),
            "opaque.png": encoded(pictures[6].convert("RGBA"), "PNG"),
            "half.jpg": encoded(pictures[7].resize((32, 32)), "JPEG", quality=60),
            "large.webp": encoded(pictures[8].resize((200, 160)), "WEBP", quality=70),
            "new.png": encoded(scene(100), "PNG"),
            "mixed.png": encoded(Image.blend(pictures[9], scene(101), 0.4), "PNG"),
            "turned.png": encoded(pictures[10].rotate(90), "PNG"),
        },
    )
    assert kinds(train, tests) == {
        "another name.png": ("03.png", "bytes"),
        "uncompressed.png": ("04.png", "pixels"),
        "bitmap.bmp": ("05.png", "pixels"),
        "opaque.png": ("06.png", "pixels"),
        "half.jpg": ("07.png", "near"),
        "large.webp": ("08.png", "near"),
    }
    assert kinds(train, tests, near=False, pixels=False) == {"another name.png": ("03.png", "bytes")}
    assert {how for _, how in kinds(train, tests, near=False).values()} == {"bytes", "pixels"}
    assert set(kinds(train, tests, pixels=False).values()) == {
        ("03.png", "bytes"),
        *((f"{i:02d}.png", "near") for i in range(4, 9)),
    }
    found = find_leaks(train, tests)
    assert dict(found.counts) == {"bytes": 1, "pixels": 3, "near": 2} and len(found) == 6
    assert [tests.rows[i].key for i in found.kept] == ["mixed.png", "new.png", "turned.png"]
    assert not find_leaks(train, tests.take(found.kept)).leaks
    assert found.note() == (
        "6 of 9 test images are among the training images: 1 as the same file, 3 as the same pixels, 2 as near "
        "duplicates"
    )


def test_of_several_the_first_is_named_and_of_near_ones_the_nearest() -> None:
    def row(key: str, picture: Image.Image) -> Row:
        return row_of(key, picture)

    blurred = [Image.blend(scene(0), scene(1), share) for share in (0.04, 0.02, 0.06)]
    train = Images("train", [row("0", scene(5)), *(row(f"n{i}", each) for i, each in enumerate(blurred))])
    twice = Images("train", [*train.rows, row("first", scene(0)), row("second", scene(0))])
    tests = Images("tests", [row("x", scene(0)), row("y", scene(0))])
    assert kinds(train, tests) == {"x": ("n1", "near"), "y": ("n1", "near")}
    assert kinds(twice, tests) == {"x": ("first", "bytes"), "y": ("first", "bytes")}  # of pictures, pixels are bytes
    (near, _) = find_leaks(train, tests).leaks
    grey = [np.asarray(each.convert("L").resize((16, 16), Image.Resampling.BOX)) for each in (scene(0), blurred[1])]
    assert near.similarity == pytest.approx(np.corrcoef([each.ravel() for each in grey])[0, 1], abs=1e-6)
    assert 0.99 < near.similarity < 1
    assert not kinds(train, tests, threshold=1.0)


def test_a_near_duplicate_is_found_in_any_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_CHUNK", 3)
    train = Images("train", [row_of(str(i), scene(i)) for i in range(10)])
    tests = Images("tests", [row_of(str(i), scene(i).resize((32, 32))) for i in range(10)])
    assert kinds(train, tests) == {str(i): (str(i), "near") for i in range(10)}


def test_pictures_of_one_colour_are_the_same_only_if_they_are() -> None:
    train = Images("train", [row_of("red", solid((250, 0, 0))), row_of("green", solid((0, 250, 0)))])
    tests = Images("tests", [row_of("a", solid((250, 0, 1))), row_of("b", solid((0, 250, 0), (9, 9)))])
    assert kinds(train, tests) == {}


def test_vectors_decide_what_is_near() -> None:
    pictures = [scene(i) for i in range(6)]
    train = Images("train", [row_of(str(i), each) for i, each in enumerate(pictures)])
    tests = Images(
        "tests",
        [row_of("same", pictures[2]), row_of("mirrored", ImageOps.mirror(pictures[3])), row_of("new", scene(9))],
    )
    of_train, of_tests = np.eye(6, dtype=np.float32), np.zeros((3, 6), np.float32)
    of_tests[0, 5] = 1  # it is the same picture, whatever a vector says
    of_tests[1, [3, 4]] = 5, 0.5  # cosine 5 / sqrt(25.25) = 0.995
    of_tests[2, [0, 1]] = 1, 0.2  # 1 / sqrt(1.04) = 0.981
    vectors = of_train, of_tests
    found = find_leaks(train, tests, vectors=vectors)
    assert found.leaks[0] == Leak(0, 2, "bytes", 1.0)
    assert found.leaks[1].how == "near" and found.leaks[1].train == 3
    assert found.leaks[1].similarity == pytest.approx(5 / np.sqrt(25.25)) and len(found) == 2
    assert [leak.test for leak in find_leaks(train, tests, vectors=vectors, threshold=0.98).leaks] == [0, 1, 2]
    assert [leak.test for leak in find_leaks(train, tests, vectors=vectors, near=False).leaks] == [0]


def test_rows_without_pictures_are_compared_by_vectors_alone() -> None:
    train, tests = (Images.without_pictures(name, ["a", "b"]) for name in ("train", "tests"))
    x = np.eye(2, dtype=np.float32)
    assert kinds(train, tests, vectors=(x, x[::-1])) == {"a": ("b", "near"), "b": ("a", "near")}
    assert kinds(train, tests, vectors=(x, np.zeros_like(x))) == {}
    with pytest.raises(EmbprobeError, match="neither bytes nor pixels.*give vectors of both sets"):
        find_leaks(train, tests)


def test_what_cannot_be_read_is_counted_and_a_damaged_file_in_both_is_a_leak(tmp_path: Path) -> None:
    def away() -> bytes:
        raise UnreadableImage("gone")

    torn = encoded(scene(0), "PNG")[:900]
    train = files(tmp_path / "train", {"a.png": torn, "b.png": encoded(scene(1), "PNG")})
    tests = files(tmp_path / "tests", {"x.png": torn, "y.png": encoded(scene(2), "PNG")})
    tests = Images("tests", [*tests.rows, Row(key="z", labels={}, content="z", source=away)])
    found = find_leaks(train, tests)
    assert found.leaks == (Leak(0, 0, "bytes", 1.0),) and found.unreadable == 3
    assert found.note().endswith("1 as the same file; 3 images could not be read, and may be among both")
    assert find_leaks(train, tests, near=False, pixels=False).unreadable == 1
    nothing = find_leaks(train.take([1]), tests.take([1]))
    assert (nothing.note(), nothing.kept.tolist(), len(nothing)) == ("", [0], 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "above 0 and at most 1, not 0"),
        ({"threshold": 1.1}, "not 1.1"),
        ({"threshold": float("nan")}, "not nan"),
        ({"vectors": (np.eye(3), np.eye(2))}, "2 training images, but 3 vectors"),
        ({"vectors": (np.eye(2), np.eye(3))}, "1 test images, but 3 vectors"),
        ({"vectors": (np.eye(2), np.eye(1))}, "2 dimensions, those of tests 1"),
    ],
)
def test_what_cannot_be_compared_is_an_error(options: dict[str, object], message: str) -> None:
    train = Images("train", [row_of(str(i), scene(i)) for i in range(2)])
    with pytest.raises(EmbprobeError, match=message):
        find_leaks(train, train.take([0]), **options)  # type: ignore[arg-type]


def test_training_images_are_forgotten_again() -> None:
    """Memory is that of the tests: 2,000 training pictures of 12 kB, 24 MB, are never held together."""
    train = Images("train", [Row(key=str(i), labels={}, content="", source=_Scene(i)) for i in range(2000)])
    tests = train.take(range(5))
    tracemalloc.start()
    found = find_leaks(train, tests)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 5 and peak < 6e6


class _Scene:
    """The source of one of many pictures, made when it is read."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self) -> bytes:
        return encoded(noise(self.seed, (64, 64)), "BMP")


def test_bytes_of_sixty_thousand_images_are_compared_within_a_minute() -> None:
    block = np.random.default_rng(0).integers(0, 256, (60_000, 64), np.uint8)
    rows = [Row(key=str(i), labels={}, content="", source=_Bytes(block, i)) for i in range(60_000)]
    train, tests = Images("train", rows[:50_000]), Images("tests", [*rows[50_000:], *rows[100:200]])
    began = time.perf_counter()
    found = find_leaks(train, tests, pixels=False, near=False)
    assert time.perf_counter() - began < 60
    assert [leak.train for leak in found.leaks] == list(range(100, 200))


class _Bytes:
    def __init__(self, block: NDArray[np.uint8], number: int) -> None:
        self.block, self.number = block, number

    def __call__(self) -> bytes:
        return bytes(self.block[self.number]) * 40  # 2.5 kB, a small JPEG's


def planted(train: Images, tests: Images, change: Sequence[int]) -> Images:
    """The test images, of which those at these positions are training images, halved and saved as a poor JPEG."""
    rows = list(tests.rows)
    for i in change:
        picture = train.rows[7 * i].load()
        half = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.LANCZOS)
        content = encoded(half, "JPEG", quality=50)
        rows[i] = Row(key=f"planted {i}", labels={}, content="", source=io.BytesIO(content).getvalue)
    return Images("planted", rows)


def test_planted_near_duplicates_of_real_images_are_found_and_no_others() -> None:
    for name, positions in (("pacs-half.parquet", range(0, 60, 3)), ("imagenet-one-each.parquet", range(0, 60, 3))):
        images = real_images(name)
        train, tests = images.take(range(0, len(images), 2)), images.take(range(1, len(images), 2))
        found = find_leaks(train, planted(train, tests, positions))
        assert [(leak.test, leak.train, leak.how) for leak in found.leaks] == [(i, 7 * i, "near") for i in positions]
