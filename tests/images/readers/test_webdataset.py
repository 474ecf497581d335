"""WebDataset tars, as the library of that name reads them; and tars that are broken, or made to harm."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embprobe.embeddings.extract import extract
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, Row, load_images
from embprobe.images.decoding import SUFFIXES
from embprobe.images.labels import MAX_SIDECAR_BYTES
from embprobe.images.readers.locations import Location
from tests.conftest import encoded, make_encoder, noise, reason, remarks, snapshot, solid

RED, GREEN = encoded(solid((255, 0, 0)), "PNG"), encoded(solid((0, 255, 0)), "PNG")
BLOCK = 512
END = bytes(2 * BLOCK)

Members = Iterable[tuple[str | tarfile.TarInfo, bytes]]


def tar_of(path: Path, members: Members, *, format: int = tarfile.GNU_FORMAT) -> Path:
    """A tar of these members, in their order."""
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            if member.isreg() and member.size == 0:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The 512 bytes before a member, whatever size they claim."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def whole(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def raw(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def load(path: Path) -> Images:
    return load_images(str(path))


def labels(images: Images) -> dict[str, dict[str, str]]:
    return {row.key: dict(row.labels) for row in images.rows}


def color(row: Row) -> Any:
    return row.read().convert("RGB").getpixel((0, 0))


# --- samples -----------------------------------------------------------------------------------------------------


def test_members_of_one_name_are_a_sample_and_sidecars_are_its_labels(tmp_path: Path) -> None:
    images = load(
        tar_of(
            tmp_path / "shard-0.tar",
            [
                ("000.json", b'{"width": 8, "alt": "a cat"}'),
                ("000.png", RED),
                ("000.txt", b"a cat on a mat\n"),
                ("000.cls", b"3"),
                ("001.txt", b"no image"),
                ("002.png", GREEN),
            ],
        )
    )
    assert images.name == "shard-0"
    assert labels(images) == {
        "shard-0/000": {"width": "8", "alt": "a cat", "caption": "a cat on a mat", "class": "3"},
        "shard-0/002": {},
    }
    assert [color(row) for row in images.rows] == [(255, 0, 0), (0, 255, 0)]
    assert remarks(images) == ("1 sidecar in shard-0 without an image of that name: 001.txt",)


def test_folders_in_a_tar_are_labels_as_in_a_folder(tmp_path: Path) -> None:
    tar = tar_of(tmp_path / "t.tar", [("cat/a.png", RED), ("cat/tabby/b.png", RED), ("dog/a.png", RED)])
    assert labels(load(tar)) == {
        "t/cat/a": {"category": "cat"},
        "t/cat/tabby/b": {"category": "cat", "folder": "cat/tabby"},
        "t/dog/a": {"category": "dog"},
    }
    split = tar_of(tmp_path / "s.tar", [("train/cat/a.png", RED), ("val/dog/b.png", RED)])
    assert [dict(row.labels) for row in load(split).rows] == [
        {"split": "train", "category": "cat"},
        {"split": "validation", "category": "dog"},
    ]


def test_all_formats_in_capitals_or_not_are_images(tmp_path: Path) -> None:
    names = [f"{i}{suffix.upper() if i % 2 else suffix}" for i, suffix in enumerate(sorted(SUFFIXES))]
    images = load(tar_of(tmp_path / "t.tar", [(name, RED) for name in names]))
    assert [row.key for row in images.rows] == [f"t/{i}" for i in range(len(SUFFIXES))]
    assert labels(load(tar_of(tmp_path / "u.tar", [("a.PNG", RED), ("a.CLS", b"1")]))) == {"u/a": {"class": "1"}}


def test_two_images_in_a_sample_are_two_rows_with_its_labels(tmp_path: Path) -> None:
    images = load(tar_of(tmp_path / "t.tar", [("a.left.png", RED), ("a.cls", b"1"), ("a.right.png", GREEN)]))
    assert labels(images) == {"t/a.left.png": {"class": "1"}, "t/a.right.png": {"class": "1"}}
    assert [color(row) for row in images.rows] == [(255, 0, 0), (0, 255, 0)]


def test_a_key_that_comes_again_later_is_another_sample(tmp_path: Path) -> None:
    images = load(tar_of(tmp_path / "t.tar", [("a.png", RED), ("b.png", RED), ("a.png", GREEN), ("a.cls", b"1")]))
    assert labels(images) == {"t/a": {}, "t/b": {}, "t/a#2": {"class": "1"}}
    assert color(images.rows[2]) == (0, 255, 0)


def test_keys_tell_tars_apart(tmp_path: Path) -> None:
    for name in ("x/train", "x/test"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tar_of(tmp_path / f"{name}.tar", [("a.png", RED)])
    assert [row.key for row in load_images(f"{tmp_path}/x/*.tar").rows] == ["test/a", "train/a"]
    assert [row.key for row in load(tmp_path / "x").rows] == ["test/a", "train/a"]


def test_hidden_members_and_those_that_macos_adds_are_passed_over(tmp_path: Path) -> None:
    names = [".hidden.png", "._a.png", "cat/._b.png", "__MACOSX/cat/._b.png", ".DS_Store", "plain", "png", "c.png"]
    assert [row.key for row in load(tar_of(tmp_path / "t.tar", [(name, RED) for name in names])).rows] == ["t/c"]


def test_a_tar_of_img2dataset_is_read_though_a_table_of_addresses_lies_beside_it(
    tmp_path: Path, workspace: Workspace
) -> None:
    """It writes 00000.tar, 00000.parquet without images, and 00000_stats.json; its samples' labels have a ``key``."""
    folder = tmp_path / "laion"
    folder.mkdir()
    sidecar = b'{"key": "000000000", "caption": "a cat", "status": "success"}'
    tar_of(folder / "00000.tar", [("000000000.jpg", RED), ("000000000.json", sidecar), ("000000001.jpg", GREEN)])
    pq.write_table(pa.table({"url": ["http://a", "http://b"], "key": ["0", "1"]}), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text("{}")
    images = load(folder)
    assert [row.key for row in images.rows] == ["00000/000000000", "00000/000000001"]
    (store,) = extract(images, [make_encoder()], workspace)
    written = pq.read_table(store.folder / "metadata" / "metadata_00000.parquet").to_pydict()
    assert written["key"] == store.keys() == ["00000/000000000", "00000/000000001"]
    assert written["caption"] == ["a cat", None]


# --- samples that are not side by side, and names that come again --------------------------------------------------


def test_members_of_a_sample_may_lie_anywhere(tmp_path: Path) -> None:
    texts = [(f"{i}.txt", f"caption {i}".encode()) for i in range(3)]
    classes = [(f"{i}.cls", str(i).encode()) for i in (2, 0, 1)]
    pictures = [("1.png", RED), ("0.png", GREEN), ("2.png", RED)]
    images = load(tar_of(tmp_path / "t.tar", [*texts, *pictures, *classes]))
    assert labels(images) == {f"t/{i}": {"caption": f"caption {i}", "class": str(i)} for i in range(3)}
    assert [row.key for row in images.rows] == ["t/1", "t/0", "t/2"]
    assert remarks(images) == ()
    assert color(images.rows[1]) == (0, 255, 0)


def test_names_with_dots_are_paired_up_to_the_last(tmp_path: Path) -> None:
    members = [
        ("img 2.0 (clean).jpg", RED),
        ("img 2.0 (clean).txt", b"clean"),
        ("img 2.1.jpg", GREEN),
        ("img 2.1.txt", b"raw"),
        ("img 2.txt", b"of both"),
        ("img 2.2.txt", b"of nobody"),
    ]
    images = load(tar_of(tmp_path / "t.tar", members))
    assert labels(images) == {"t/img 2.0 (clean).jpg": {"caption": "of both"}, "t/img 2.1.jpg": {"caption": "of both"}}
    images = load(tar_of(tmp_path / "t.tar", [*members[:4], members[5]]))
    assert labels(images) == {"t/img 2.0 (clean).jpg": {"caption": "clean"}, "t/img 2.1.jpg": {"caption": "raw"}}
    (note,) = remarks(images)
    assert note.startswith("1 sidecar in t not read: no image has the same name up to the last dot")
    assert note.endswith(": img 2.2.txt")


def test_the_convention_of_webdataset_holds(tmp_path: Path) -> None:
    """The key ends at the first dot; a mask and the eyes of a stereo pair share the labels of their sample."""
    members = [
        ("0.left.jpg", RED),
        ("0.right.jpg", GREEN),
        ("0.json", b'{"x": 1}'),
        ("0.left.json", b'{"eye": "left"}'),
    ]
    images = load(tar_of(tmp_path / "t.tar", members))
    assert labels(images) == {"t/0.left.jpg": {"x": "1", "eye": "left"}, "t/0.right.jpg": {"x": "1"}}
    assert remarks(images) == ()


@pytest.mark.parametrize("name", ["a.png.txt", "A.txt", "a.TXT", "a.png.json"])
def test_sidecars_of_other_spellings_are_read(tmp_path: Path, name: str) -> None:
    content = b'{"caption": "hello"}' if name.endswith("json") else b"hello"
    images = load(tar_of(tmp_path / "t.tar", [(name, content), ("b.png", RED), ("a.png", RED)]))
    assert labels(images) == {"t/b": {}, "t/a": {"caption": "hello"}}
    told = "1 sidecar in t read though the image's name has other capitals: A.txt"
    assert remarks(images) == ((told,) if name == "A.txt" else ())


def test_a_member_that_comes_twice_in_a_row_is_two_images(tmp_path: Path) -> None:
    images = load(tar_of(tmp_path / "t.tar", [("a.png", RED), ("a.png", GREEN), ("a.txt", b"x"), ("b.png", RED)]))
    assert labels(images) == {"t/a": {}, "t/a#2": {"caption": "x"}, "t/b": {}}
    assert [color(row) for row in images.rows] == [(255, 0, 0), (0, 255, 0), (255, 0, 0)]
    assert remarks(images) == ("1 image in t more than once, each is read: a.png",)


def test_of_sidecars_that_come_twice_the_last_counts(tmp_path: Path) -> None:
    images = load(tar_of(tmp_path / "t.tar", [("a.png", RED), ("a.txt", b"old"), ("a.txt", b"new")]))
    assert labels(images) == {"t/a": {"caption": "new"}}
    assert remarks(images) == ("1 sidecar in t more than once, of which the last counts: a.txt",)


def test_tars_that_were_joined_keep_the_labels_of_each(tmp_path: Path) -> None:
    """The same keys again: with each sample together, and with all captions before all images."""
    together = [
        (f"{i}.{kind}", kind.encode() + str(n).encode()) for n in range(2) for i in "ab" for kind in ("png", "cls")
    ]
    apart = [
        (f"{i}.{kind}", kind.encode() + str(n).encode()) for kind in ("cls", "png") for n in range(2) for i in "ab"
    ]
    for members in (together, apart):
        images = load(tar_of(tmp_path / "t.tar", members))
        assert [(row.key, row.source(), row.labels["class"]) for row in images.rows] == [
            ("t/a", b"png0", "cls0"),
            ("t/b", b"png0", "cls0"),
            ("t/a#2", b"png1", "cls1"),
            ("t/b#2", b"png1", "cls1"),
        ]


STEMS = st.sampled_from(["a", "b", "c.d", "c.e", "f/g", "v1.0 (x)"])


@given(st.sets(STEMS, min_size=1), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_order_of_members_decides_no_label(
    tmp_path_factory: pytest.TempPathFactory, stems: set[str], shuffler: Any
) -> None:
    members = [(f"{stem}{end}", stem.encode() if end == ".txt" else RED) for stem in stems for end in (".png", ".txt")]
    shuffler.shuffle(members)
    images = load(tar_of(tmp_path_factory.mktemp("tars") / "t.tar", members))
    assert sorted(row.labels["caption"] for row in images.rows) == sorted(stems)
    assert all(row.key.removeprefix("t/").startswith(row.labels["caption"].partition(".")[0]) for row in images.rows)
    assert remarks(images) == ()


def test_boxes_in_a_tar_are_no_captions(tmp_path: Path) -> None:
    images = load(tar_of(tmp_path / "t.tar", [("a.jpg", RED), ("a.txt", b"0 0.5 0.5 0.25 0.25\n")]))
    assert labels(images) == {"t/a": {}}
    assert remarks(images) == ("1 text in t with boxes of objects, no caption: a.txt",)


def test_an_empty_tar_among_others_is_listed(tmp_path: Path) -> None:
    tar_of(tmp_path / "b.tar", [("a.png", RED)])
    raw(tmp_path / "a.tar")
    raw(tmp_path / "c.tar", END)
    tar_of(tmp_path / "d.tar", [("a.npy", b"1")])
    images = load(tmp_path)
    assert [row.key for row in images.rows] == ["b/a"]
    assert remarks(images) == ("3 tars without images: a, c, d",)
    (tmp_path / "b.tar").write_bytes(b"")
    with pytest.raises(EmbprobeError, match="There are no images"):
        load(tmp_path)
    (tmp_path / "c.tar").unlink()
    (tmp_path / "d.tar").unlink()
    with pytest.raises(EmbprobeError, match=r"a\.tar' is not a tar, .* It has 0 bytes\."):
        load(tmp_path)


def test_a_column_of_keys_has_no_meaning_in_a_tar(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a tar and has no table, so no column 'id'"):
        load_images(str(tar_of(tmp_path / "t.tar", [("a.png", RED)])), key_column="id")


# --- as the library reads them -----------------------------------------------------------------------------------

PARTS = st.sampled_from(["a", "b", "é", "0", "x y", "a-1", "long" * 30])
FOLDERS = st.lists(st.sampled_from(["cat", "dog.d", "train", "Ä", "f" * 90]), max_size=2)
ENDINGS = st.sampled_from(
    ["png", "PNG", "jpg", "cls", "txt", "TXT", "json", "seg.png", "0.jpg", "meta.json", "npy", "", ".png"]
)
NAMES = st.builds(lambda folders, part, ending: "/".join([*folders, f"{part}.{ending}"]), FOLDERS, PARTS, ENDINGS)


@given(st.lists(NAMES, max_size=8, unique_by=str.lower), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
@example(["b.png", "a.", "b.cls"], tarfile.GNU_FORMAT)
@settings(max_examples=120)
def test_samples_are_those_of_the_library(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], format: int
) -> None:
    """The same groups with the same images and texts, though the library needs a sample's members side by side."""
    folder = tmp_path_factory.mktemp("tars")
    content = {name: encoded(solid((i, 0, 0), (1, 1)), "PNG") for i, name in enumerate(names)}
    members = [(name, str(names.index(name)).encode() if _is_text(name) else content[name]) for name in names]
    tar = tar_of(folder / "t.tar", members, format=format)

    places = {_stem(f"t/{name}"): i for i, name in reversed(list(enumerate(names))) if _is_image(name)}
    members.sort(key=lambda member: places.get(_stem(f"t/{member[0]}"), len(names)))
    side_by_side = tar_of(folder / "grouped.tar", members, format=format)
    expected = []
    for sample in webdataset.WebDataset(str(side_by_side), shardshuffle=False, empty_check=False):
        fields = {name: value for name, value in sample.items() if not name.startswith("__")}
        pictures = {name: value for name, value in fields.items() if name.rpartition(".")[2] in ("png", "jpg")}
        named = {label: fields[name].decode() for name, label in _TEXTS.items() if name in fields}
        expected += [(sample["__key__"], picture, named) for picture in pictures.values()]

    found = []
    if expected:
        for row in load(tar).rows:
            named = {name: value for name, value in row.labels.items() if name in _TEXTS.values()}
            found.append((_stem(row.key), row.source(), named))
    else:
        with pytest.raises(EmbprobeError, match="There are no images"):
            load(tar)
    assert found == expected


_TEXTS = {"txt": "caption", "cls": "class"}


def _is_text(name: str) -> bool:
    return name.rpartition("/")[2].partition(".")[2].lower() in _TEXTS


def _is_image(name: str) -> bool:
    return name.rpartition(".")[2].lower() in ("png", "jpg")


def _stem(key: str) -> str:
    """The sample's key in a row's: without the tar, the number of a second one, and the extension of a second image."""
    folder, slash, base = key.removeprefix("t/").partition("#")[0].rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_and_contents_of_any_length_survive_every_format(tmp_path: Path, format: int) -> None:
    pictures = [encoded(noise(seed, (40, 30)), "PNG") for seed in range(3)]
    names = [f"{'f' * 120}/{'n' * 90}.png", "é/ü.png", "plain.png"]
    images = load(tar_of(tmp_path / "t.tar", zip(names, pictures, strict=True), format=format))
    assert [row.key for row in images.rows] == [f"t/{name.removesuffix('.png')}" for name in names]
    assert [row.source() for row in images.rows] == pictures


def test_images_are_read_a_stretch_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches of 4 KiB: three members of 1 KiB with header fit, a member of 9 KiB is a stretch of its own."""
    monkeypatch.setattr("embprobe.images.readers.webdataset.BLOCK_BYTES", 4096)
    sizes = [1024, 1024, 1024, 1024, 9000, 1024, 1024]
    contents = [bytes([i]) * size for i, size in enumerate(sizes)]
    images = load(tar_of(tmp_path / "t.tar", [(f"{i}.png", content) for i, content in enumerate(contents)]))
    reads: list[tuple[int, int]] = []
    real = Location.read

    def read(self: Location, start: int, end: int) -> bytes:
        reads.append((start, end))
        return real(self, start, end)

    monkeypatch.setattr(Location, "read", read)
    assert [row.source() for row in images.rows] == contents
    # data of member i begins at 512 (i + 1) and what came before, in whole blocks: 9000 bytes are 18 blocks
    assert reads == [(512, 4608), (5120, 6144), (6656, 15656), (16384, 18944)]


# --- members that are no files, and names that would lead elsewhere ------------------------------------------------


def test_names_that_would_lead_out_are_only_keys_and_nothing_is_written(tmp_path: Path) -> None:
    inside = tmp_path / "here" / "inside"
    inside.mkdir(parents=True)
    absolute = f"{tmp_path}/absolute.png"
    names = [
        "../up.png",
        "../../../../etc/cron.d/x.png",
        absolute,
        "/root.png",
        "a/../../b.png",
        "./dot.png",
        "C:\\c.png",
    ]
    tar = tar_of(inside / "t.tar", [(name, RED) for name in names])
    before = snapshot(tmp_path)
    images = load(tar)
    assert [row.key for row in images.rows] == [
        *("t/up", "t/etc/cron.d/x", f"t{tmp_path}/absolute", "t/root", "t/a/b", "t/dot", "t/C:\\c")
    ]
    assert [color(row) for row in images.rows] == [(255, 0, 0)] * len(names)
    assert snapshot(tmp_path) == before


def test_links_and_devices_are_noted_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(RED)
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [("good.png", GREEN)]
    for i, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)):
        member = tarfile.TarInfo(f"{i}.png")
        member.type, member.linkname = kind, str(tmp_path / "secret.png")
        members.append((member, b""))
    folder = tarfile.TarInfo("folder.png")
    folder.type = tarfile.DIRTYPE
    images = load(tar_of(tmp_path / "t.tar", [*members, (folder, b"")]))
    assert [(row.key, color(row)) for row in images.rows] == [("t/good", (0, 255, 0))]
    (note,) = remarks(images)
    assert re.fullmatch(r"5 members of t .*links.*devices.*: 0\.png, 1\.png, 2\.png, …", note)


def sparse_header(name: str, real: int, chunks: Sequence[tuple[int, int]]) -> bytes:
    """The header that GNU tar writes for a file with holes: where its chunks lie, and how large it is with holes."""
    stored = sum(size for _, size in chunks)
    block = bytearray(header(name, stored, tarfile.GNUTYPE_SPARSE))
    for i, (offset, size) in enumerate(chunks):
        block[386 + 24 * i : 410 + 24 * i] = b"%011o\0%011o\0" % (offset, size)
    block[483:495] = b"%011o\0" % real
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_a_file_with_holes_is_not_read_as_something_else(tmp_path: Path) -> None:
    """The tar has only the chunks: read as they lie there, the holes would be filled with what comes next."""
    picture = encoded(solid((0, 0, 0), (64, 64)), "BMP")
    assert picture[54:] == bytes(64 * 64 * 3)  # black: after the header, one hole
    tar = raw(
        tmp_path / "t.tar",
        sparse_header("a.bmp", len(picture), [(0, 54)]) + whole(picture[:54]),
        sparse_header("b.txt", 4096, [(0, 5)]) + whole(b"hello"),
        *(header(f"{name}.png", len(RED)) + whole(RED) for name in "bc"),
        END,
    )
    with tarfile.open(tar) as archive:
        holed = archive.extractfile("a.bmp")
        assert holed is not None and holed.read() == picture  # tarfile knows what is meant
    images = load(tar)
    black = [row for row in images.rows if row.key == "t/a"]
    assert all(row.source() == picture for row in black)
    assert black or any("a.bmp" in note for note in images.notes)
    assert [row.key for row in images.rows if row.key != "t/a"] == ["t/b", "t/c"]
    assert len(labels(images)["t/b"].get("caption", "hello").strip("\0")) == 5


# --- broken ------------------------------------------------------------------------------------------------------


def small(path: Path) -> tuple[bytes, list[tuple[str, int, int]]]:
    """A tar of four images and a caption in 512-byte blocks; and of each image name, start and end."""
    pictures = [encoded(noise(seed, (12, 12 + 6 * seed)), "PNG") for seed in range(4)]
    members = [(f"{i}.png", picture) for i, picture in enumerate(pictures)]
    tar_of(path, [*members[:2], ("1.txt", b"the second"), *members[2:]])
    places, start = [], 0
    for i, picture in enumerate(pictures):
        start += BLOCK
        places.append((f"t/{i}", start, start + len(picture)))
        start += len(whole(picture)) + (2 * BLOCK if i == 1 else 0)
    content = path.read_bytes()
    assert [content[start:end] for _, start, end in places] == pictures
    return content[: start + 2 * BLOCK], places


def test_a_tar_that_ends_anywhere_gives_what_is_whole_and_says_what_is_not(tmp_path: Path) -> None:
    content, places = small(tmp_path / "whole.tar")
    good = {row.key: row.source() for row in load(tmp_path / "whole.tar").rows}
    tar = tmp_path / "t.tar"
    cuts = {cut for block in range(0, len(content) + 1, BLOCK) for cut in (block - 1, block, block + 1)}
    assert len(cuts) > 40
    for cut in sorted(cut for cut in cuts if 0 <= cut <= len(content)):
        tar.write_bytes(content[:cut])
        begun = {key: (start, end) for key, start, end in places if start <= cut}
        if not begun:
            with pytest.raises(EmbprobeError, match="is not a tar"):
                load(tar)
            continue
        images = load(tar)
        assert [row.key for row in images.rows] == list(begun), cut
        for row in images.rows:
            if begun[row.key][1] <= cut:
                assert row.source() == good[row.key.replace("t/", "whole/")], cut
            else:
                assert reason(row) == "the tar ends in the middle of it", cut
                assert "damaged after" in images.notes[-1], cut


def test_a_sidecar_that_is_cut_off_is_no_label(tmp_path: Path) -> None:
    tar = tar_of(tmp_path / "whole.tar", [("a.png", RED), ("a.cls", b"123")])
    assert load(tar).rows[0].labels == {"class": "123"}
    start = tar.read_bytes().rindex(b"123")
    cut = load(raw(tmp_path / "cut.tar", tar.read_bytes()[: start + 2]))
    assert cut.rows[0].labels == {}  # not class 12
    assert cut.notes


@pytest.mark.parametrize(
    ("size", "why"),
    [
        (len(RED) + 10**6, "the tar ends in the middle of it"),
        (8**11 - 1, "larger than 512 MiB"),  # the most that eleven octal digits can say
        (2**60, "larger than 512 MiB"),
    ],
)
def test_a_member_that_lies_about_its_size_is_unreadable_and_those_before_it_are_not(
    tmp_path: Path, size: int, why: str
) -> None:
    tar = raw(tmp_path / "t.tar", header("a.png", len(RED)), whole(RED), header("b.png", size), whole(GREEN), END)
    images = load(tar)
    assert [(row.key, reason(row)) for row in images.rows] == [("t/a", None), ("t/b", why)]
    assert "damaged after b" in images.notes[0]


@pytest.mark.parametrize("size", [-1, -512, -1024, -(2**40)])
def test_a_member_of_negative_size_ends_the_tar_and_not_the_patience(tmp_path: Path, size: int) -> None:
    lying = bytearray(header("b.png", 0))
    lying[124:136] = (2**96 + size).to_bytes(12, "big")  # two's complement, as GNU tar writes sizes of eight octets
    lying[148:156] = b" " * 8
    lying[148:156] = b"%06o\0 " % sum(lying)
    images = load(raw(tmp_path / "t.tar", header("a.png", len(RED)), whole(RED), bytes(lying), whole(GREEN), END))
    assert [row.key for row in images.rows] == ["t/a"]
    assert "negative size" in images.notes[0]


@pytest.mark.parametrize(
    "link",
    [
        header("././@LongLink", 4, tarfile.GNUTYPE_LONGNAME) + whole(b"abc\0"),
        header("././@LongLink", 4, tarfile.GNUTYPE_LONGLINK) + whole(b"abc\0"),
        header("pax", 6, tarfile.XGLTYPE) + whole(b"6 a=b\n"),
        header("pax", 6, tarfile.XHDTYPE) + whole(b"6 a=b\n"),
    ],
    ids=["long name", "long link", "global pax", "pax"],
)
def test_a_long_chain_of_headers_about_headers_ends_the_tar(tmp_path: Path, link: bytes) -> None:
    """``tarfile`` calls itself for each, so three thousand of them are deeper than Python goes."""
    good = header("a.png", len(RED)) + whole(RED)
    images = load(raw(tmp_path / "t.tar", good, link * 3000, good, END))
    assert [row.key for row in images.rows][:1] == ["t/a"]
    assert color(images.rows[0]) == (255, 0, 0)
    with pytest.raises(EmbprobeError, match=r"is not a tar|There are no images"):
        load(raw(tmp_path / "only.tar", link * 3000, END))


def test_a_sidecar_that_is_broken_or_huge_is_noted_and_costs_nothing_else(tmp_path: Path) -> None:
    huge = b'{"a": "' + b"x" * MAX_SIDECAR_BYTES + b'"}'
    members = [("a.png", RED), ("a.json", b"{"), ("a.cls", b"1"), ("b.json", huge), ("b.png", GREEN), ("c.png", RED)]
    images = load(tar_of(tmp_path / "t.tar", members))
    assert labels(images) == {"t/a": {"class": "1"}, "t/b": {}, "t/c": {}}
    note, without = remarks(images)
    assert re.fullmatch(r"2 sidecars in t .*could not be understood: a\.json, b\.json", note)
    assert without == "1 image without a .json, though most have one: c.png"
    assert [reason(row) for row in images.rows] == [None] * 3


def test_notes_are_safe_to_print(tmp_path: Path) -> None:
    members = [("b.png", GREEN), ("\x1b[2Ja.json", b"{"), ("\x1b[2Ja.png", RED)]
    tar = tar_of(tmp_path / "t.tar", members)
    cut = raw(tmp_path / "\x1b[2Jcut.tar", tar.read_bytes()[: len(whole(GREEN)) + 4 * BLOCK + 10])
    notes = load(cut).notes
    assert len(notes) == 2 and "damaged after" in notes[1]
    assert "\x1b" not in "".join(notes)


def test_an_image_that_is_no_image_is_unreadable(tmp_path: Path) -> None:
    images = load(tar_of(tmp_path / "t.tar", [("a.png", b"not a picture"), ("b.png", b""), ("c.png", RED)]))
    assert [reason(row) for row in images.rows] == ["not an image in a known format", "empty", None]


def test_a_tar_without_images_and_what_is_no_tar_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty.tar").write_bytes(b"")
    (tmp_path / "photo.tar").write_bytes(encoded(noise(0, (64, 64)), "JPEG"))
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    for name in ("empty", "photo", "packed"):
        with pytest.raises(EmbprobeError, match=rf"{name}\.tar' is not a tar, or a compressed one; unpack it first"):
            load(tmp_path / f"{name}.tar")
    raw(tmp_path / "zeros.tar", END)
    tar_of(tmp_path / "texts.tar", [("a.txt", b"a"), ("b.npy", b"b")])
    for name in ("zeros", "texts"):
        with pytest.raises(
            EmbprobeError, match=rf"There are no images in '{name}'\. Looked for members ending in \.apng, "
        ):
            load(tmp_path / f"{name}.tar")
    for suffix in (".tar.gz", ".tgz", ".tar.zst", ".TAR.BZ2"):
        (tmp_path / f"a{suffix}").write_bytes(b"")
        with pytest.raises(UsageError, match="is compressed; unpack it first"):
            load(tmp_path / f"a{suffix}")


def test_whatever_bytes_change_nothing_else_is_raised_and_nothing_is_written(tmp_path: Path) -> None:
    """Bytes anywhere; and bytes of headers whose checksum is then made right, so that what they say is believed."""
    folder = tmp_path / "tars"
    folder.mkdir()
    tar = folder / "t.tar"
    members = [("cat/a.png", RED), ("cat/a.txt", b"hello"), (f"{'x' * 120}/b.png", GREEN), ("b/c.json", b'{"x": 1}')]
    originals = [
        whole(tar_of(tar, [*members, ("b/c.png", RED)], format=format).read_bytes().rstrip(b"\0")) + END
        for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    ]
    rng = np.random.default_rng(0)
    rows = rejected = refused = 0
    for turn in range(2000):
        content = bytearray(originals[turn % 2])
        heads = [i for i in range(0, len(content), BLOCK) if content[i + 257 : i + 262] == b"ustar"]
        if turn % 3 == 0:
            for at in rng.integers(0, len(content), 1 + turn % 4):
                content[at] = rng.integers(256)
        else:
            head = int(rng.choice(heads))
            for _ in range(1 + turn % 3):
                first, last = [(0, 100), (124, 136), (156, 157), (257, 265), (345, 500)][rng.integers(5)]
                content[head + rng.integers(first, last)] = rng.choice([0, 32, 47, 49, 55, 76, 83, 103, 120, 128, 255])
            content[head + 148 : head + 156] = b" " * 8
            content[head + 148 : head + 156] = b"%06o\0 " % sum(content[head : head + BLOCK])
        tar.write_bytes(content)
        try:
            images = load(tar)
        except EmbprobeError:
            refused += 1
            continue
        rows += len(images)
        rejected += sum(reason(row) is not None for row in images.rows)
    assert rows > 2500 and rejected > 20 and refused > 20  # all three happened
    assert [path.name for path in tmp_path.rglob("*")] == ["tars", "t.tar"]


def test_rows_are_stale_when_the_tar_is_written_anew(tmp_path: Path) -> None:
    before = load(tar_of(tmp_path / "t.tar", [("a.png", RED), ("b.png", GREEN)]))
    assert load(tmp_path / "t.tar").fingerprint == before.fingerprint
    after = load(tar_of(tmp_path / "t.tar", [("a.png", RED), ("b.png", GREEN), ("c.txt", bytes(10_000))]))
    assert [row.key for row in after.rows] == [row.key for row in before.rows]
    assert after.fingerprint != before.fingerprint


def test_a_tar_that_goes_away_makes_its_rows_unreadable(tmp_path: Path) -> None:
    images = load(tar_of(tmp_path / "t.tar", [("a.png", RED)]))
    (tmp_path / "t.tar").unlink()
    assert "No such file or directory" in str(reason(images.rows[0]))
