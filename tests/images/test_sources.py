"""The same images in every form that can be given: the same vectors, the same categories."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from embprobe.embeddings.extract import extract
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.registry import load_encoder
from embprobe.encoders.spec import Floats
from embprobe.errors import EmbprobeError, UsageError
from embprobe.export import TARGETS, collect_content
from embprobe.images import Images, load_images, open_images
from embprobe.images.paths import GUESSED_LABELS
from embprobe.images.reading import Reading
from embprobe.images.sources import open_source
from tests.conftest import encoded, make_encoder, noise, snapshot

CLASSES = ["bird", "cat", "dog"]
KEYS = ["n01", "n02", "n03"]
"""What a data set's own folders may be called."""


@dataclass(frozen=True)
class Picture:
    """One of the images; its class is a number into ``CLASSES``."""

    name: str
    number: int
    content: bytes

    @property
    def id(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def _pictures() -> list[Picture]:
    """Ten images of three classes in four formats, from 9 x 8 to 18 x 17 pixels, one in four with an alpha channel."""
    kinds = [("png", "PNG", 4), ("jpg", "JPEG", 3), ("webp", "WEBP", 3), ("bmp", "BMP", 3)]
    found = []
    for i in range(10):
        suffix, kind, channels = kinds[i % 4]
        found.append(Picture(f"{i:03d}.{suffix}", i % 3, encoded(noise(i, (9 + i, 8 + i), channels), kind)))
    return found


PICTURES = _pictures()
HALVES = {"train": PICTURES[:6], "test": PICTURES[6:]}


# --- the forms: each writes the images below a folder and gives what a user would type ------------------------------
#
# ``named``: classes by their names, as a folder's name or a text; else as data sets come, by number or by their own key


def write(path: Path | str, content: bytes) -> None:
    with fsspec.open(str(path), "wb") as file:
        file.write(content)


def tar(pictures: list[Picture], named: bool) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for picture in pictures:
            folder = f"{CLASSES[picture.number]}/" if named else ""
            members = {f"{folder}{picture.name}": picture.content}
            if not named:
                members[f"{picture.name.partition('.')[0]}.cls"] = str(picture.number).encode()
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def parquet(pictures: list[Picture], named: bool, *, struct: bool = False, rows: int = 3) -> bytes:
    """Row groups of three; the classes as text, or as numbers to which the schema gives names in another language."""
    images = [{"bytes": p.content, "path": p.name} for p in pictures] if struct else [p.content for p in pictures]
    numbers = [p.number for p in pictures]
    classes = {"category": [CLASSES[number] for number in numbers]} if named else {"label": numbers}
    features = {"label": {"_type": "ClassLabel", "names": ["Vogel", "Katze", "Hund"]}}
    table = pa.table({"image": images, **classes})
    buffer = io.BytesIO()
    metadata = {} if named else {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), buffer, row_group_size=rows)
    return buffer.getvalue()


def folder(at: Path, named: bool) -> str:
    for picture in PICTURES:
        path = at / "photos" / (CLASSES if named else KEYS)[picture.number] / picture.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.content)
    return str(at / "photos")


def folder_of_splits(at: Path, named: bool) -> str:
    for split, pictures in HALVES.items():
        for picture in pictures:
            path = at / "photos" / split / (CLASSES if named else KEYS)[picture.number] / picture.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.content)
    return str(at / "photos")


def one_tar(at: Path, named: bool) -> str:
    write(at / "all.tar", tar(PICTURES, named))
    return str(at / "all.tar")


def tars_by_braces(at: Path, named: bool) -> str:
    for i, pictures in enumerate(HALVES.values()):
        write(at / f"shard-{i:03d}.tar", tar(pictures, named))
    return f"{at}/shard-{{000..001}}.tar"


def tars_by_wildcard(at: Path, named: bool) -> str:
    tars_by_braces(at, named)
    return f"{at}/shard-*.tar"


def folder_of_tars(at: Path, named: bool) -> str:
    tars_by_braces(at / "shards" / "deeper", named)
    return str(at / "shards")


def tar_by_url(at: Path, named: bool) -> str:
    write(f"memory://{at.name}/all.tar", tar(PICTURES, named))
    return f"memory://{at.name}/all.tar"


def tars_by_urls(at: Path, named: bool) -> str:
    for i, pictures in enumerate(HALVES.values()):
        write(f"memory://{at.name}/{i}.tar", tar(pictures, named))
    return f"memory://{at.name}/*.tar"


def one_parquet(at: Path, named: bool) -> str:
    write(at / "all.parquet", parquet(PICTURES, named))
    return str(at / "all.parquet")


def parquet_of_structs(at: Path, named: bool) -> str:
    write(at / "all.parquet", parquet(PICTURES, named, struct=True, rows=1))
    return str(at / "all.parquet")


def parquet_by_braces(at: Path, named: bool) -> str:
    for split, pictures in HALVES.items():
        write(at / f"{split}-00000-of-00001.parquet", parquet(pictures, named, struct=True))
    return f"{at}/{{train,test}}-00000-of-00001.parquet"


def folder_of_parquet(at: Path, named: bool) -> str:
    parquet_by_braces(at / "data", named)
    return str(at / "data")


def parquet_by_urls(at: Path, named: bool) -> str:
    for i, pictures in enumerate(HALVES.values()):
        write(f"memory://{at.name}/{i}.parquet", parquet(pictures, named, rows=2))
    return f"memory://{at.name}/{{0..1}}.parquet"


def hub(at: Path, named: bool) -> str:
    """Written by Hugging Face's library; images from bytes, classes as its own feature."""
    library = importlib.import_module("datasets")
    features = {"image": library.Image()}
    features |= {"category": library.Value("string")} if named else {"label": library.ClassLabel(names=["x", "y", "z"])}
    for split, pictures in HALVES.items():
        column = [CLASSES[picture.number] if named else picture.number for picture in pictures]
        images = [{"bytes": picture.content, "path": None} for picture in pictures]
        rows = library.Dataset.from_dict(
            {"image": images, "category" if named else "label": column}, features=library.Features(features)
        )
        (at / "hub").mkdir(exist_ok=True)
        rows.to_parquet(str(at / "hub" / f"{split}.parquet"), batch_size=4)
    return f"hf:{at}/hub"


FORMS: list[Callable[[Path, bool], str]] = [
    *(folder, folder_of_splits),
    *(one_tar, tars_by_braces, tars_by_wildcard, folder_of_tars, tar_by_url, tars_by_urls),
    *(one_parquet, parquet_of_structs, parquet_by_braces, folder_of_parquet, parquet_by_urls),
    hub,
]
EVERY_FORM = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__.replace("_", " "))
SPLIT_FORMS = [folder_of_splits, parquet_by_braces, folder_of_parquet, hub]

CARD = f"""
schema = 1
name = "animals"
title = "Animals"
description = "Ten of them."
licence = "CC0"
needs = "nothing"
labels = ["category", "split"]
class_names = {CLASSES}
class_keys = {KEYS}
folder = "split/class"

[columns]
category = "label"

[splits]
train = "six"
test = "four"
"""


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of no other test's name, also in memory; and no network for Hugging Face's library."""
    library = importlib.import_module("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    library.disable_progress_bars()
    path = tmp_path / f"{uuid.uuid4()}"
    (path / "shards" / "deeper").mkdir(parents=True)
    (path / "data").mkdir()
    (path / "animals.toml").write_text(CARD)
    yield path
    library.enable_progress_bars()
    if MemoryFileSystem().exists(f"/{path.name}"):
        MemoryFileSystem().rm(f"/{path.name}", recursive=True)


def extracted(images: Images, workspace: Workspace) -> Mapping[str, tuple[str, Floats]]:
    """By what the image's bytes are, its category and its vector."""
    (store,) = extract(images, [make_encoder(function=lambda batch: batch.flatten(1), dimension=48)], workspace)
    assert store.rejected == []
    rows = store.embedded().rows
    ids = [hashlib.sha256(content).hexdigest() for row in rows if isinstance(content := row.source(), bytes)]
    assert len(set(ids)) == len(rows) == len(PICTURES)
    categories = [row.labels["category"] for row in rows]
    return {id: (category, vector) for id, category, vector in zip(ids, categories, store.vectors(), strict=True)}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[str, Floats]]:
    """Each picture alone, as one file; its category as it was made."""
    at = tmp_path_factory.mktemp("one by one")
    encoder = make_encoder(function=lambda batch: batch.flatten(1), dimension=48)
    found = {}
    for picture in PICTURES:
        (at / picture.name).write_bytes(picture.content)
        (store,) = extract(load_images(str(at / picture.name)), [encoder], Workspace.open(at / "workspace"))
        found[picture.id] = CLASSES[picture.number], store.vectors()[0]
    assert len({tuple(vector) for _, vector in found.values()}) == len(PICTURES)
    return found


def assert_same(found: Mapping[str, tuple[str, Floats]], expected: Mapping[str, tuple[str, Floats]]) -> None:
    assert found.keys() == expected.keys()
    assert {id: category for id, (category, _) in found.items()} == {id: name for id, (name, _) in expected.items()}
    assert all(np.array_equal(found[id][1], vector) for id, (_, vector) in expected.items())


@EVERY_FORM
def test_every_form_gives_the_same_vectors_and_categories(
    form: Callable[[Path, bool], str], at: Path, workspace: Workspace, expected: Mapping[str, tuple[str, Floats]]
) -> None:
    place = form(at, True)
    before = snapshot(at)
    images = load_images(place)
    assert_same(extracted(images, workspace), expected)
    assert all(note.startswith(GUESSED_LABELS) for note in images.notes) and len(images.notes) <= 2
    assert snapshot(at) == before  # nothing is unpacked or left behind


@EVERY_FORM
def test_every_form_gives_them_through_a_card_that_names_the_classes(
    form: Callable[[Path, bool], str], at: Path, workspace: Workspace, expected: Mapping[str, tuple[str, Floats]]
) -> None:
    images = load_images(f"{at}/animals.toml@{form(at, False)}")
    assert images.name == "animals" and images.notes == ()
    assert_same(extracted(images, workspace), expected)


@EVERY_FORM
def test_a_card_leaves_names_that_are_right_as_they_are(
    form: Callable[[Path, bool], str], at: Path, workspace: Workspace, expected: Mapping[str, tuple[str, Floats]]
) -> None:
    images = load_images(f"{at}/animals.toml@{form(at, True)}")
    assert images.notes == ()
    assert_same(extracted(images, workspace), expected)


@EVERY_FORM
def test_loading_again_finds_every_vector_done(
    form: Callable[[Path, bool], str], at: Path, workspace: Workspace
) -> None:
    place, encoder = form(at, True), make_encoder()
    assert load_images(place).fingerprint == load_images(place).fingerprint
    extract(load_images(place), [encoder], workspace)
    assert encoder.encoded == len(PICTURES)
    extract(load_images(place), [encoder], workspace)
    assert encoder.encoded == len(PICTURES)


@pytest.mark.parametrize("form", SPLIT_FORMS, ids=lambda form: form.__name__.replace("_", " "))
def test_a_card_picks_a_split_from_every_form_that_has_one(form: Callable[[Path, bool], str], at: Path) -> None:
    place = form(at, False)
    for split, pictures in HALVES.items():
        images = load_images(f"{at}/animals.toml:{split}@{place}")
        assert images.name == f"animals:{split}"
        contents = [row.source() for row in images.rows]
        assert sorted(contents, key=str) == sorted((picture.content for picture in pictures), key=str)
        assert set(images.label("split")) == {split}
        assert set(images.label("category")) == set(CLASSES)


def test_a_real_encoder_sees_the_same_in_a_folder_a_tar_and_a_table(at: Path, workspace: Workspace) -> None:
    encoder = load_encoder("reference/pixels")
    found = []
    for form in (folder, one_tar, parquet_of_structs):
        images = load_images(form(at, True))
        (store,) = extract(images, [encoder], workspace)
        order = sorted(range(len(images)), key=lambda i, images=images: str(images.rows[i].source()))  # type: ignore[misc]
        found.append(store.vectors()[order])
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
    assert len(np.unique(found[0], axis=0)) == len(PICTURES)


# --- which form it is ----------------------------------------------------------------------------------------------


def test_one_image_is_a_file_of_any_name(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(PICTURES[1].content)
    assert [row.source() for row in open_source(str(tmp_path / "photo.jpg")).rows] == [PICTURES[1].content]


def test_a_folder_with_images_is_one_of_images_whatever_else_is_in_it(tmp_path: Path) -> None:
    folder(tmp_path, True)
    write(tmp_path / "photos" / "more.tar", tar(PICTURES, True))
    write(tmp_path / "photos" / "more.parquet", parquet(PICTURES, True))
    assert [row.key for row in open_source(f"{tmp_path}/photos").rows] == sorted(
        f"{CLASSES[picture.number]}/{picture.name}" for picture in PICTURES
    )


def test_hidden_files_in_a_folder_of_tars_are_passed_over(tmp_path: Path) -> None:
    """macOS leaves ``._0.tar`` beside ``0.tar`` on disks of others; downloads leave a folder ``.cache``."""
    write(tmp_path / "0.tar", tar(PICTURES, True))
    (tmp_path / "._0.tar").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "1.tar").write_bytes(b"half of it")
    assert len(open_source(str(tmp_path))) == len(PICTURES)


FORMS_OF_FILES = [folder, folder_of_tars, folder_of_parquet]


@pytest.mark.parametrize("form", FORMS_OF_FILES, ids=lambda form: form.__name__.replace("_", " "))
def test_own_output_among_the_files_is_no_input(form: Callable[[Path, bool], str], at: Path) -> None:
    """``cd photos; embprobe extract .; embprobe map .`` leave stores and figures there."""
    place = Path(form(at, True))
    before = open_source(str(place))
    workspace = Workspace.open(place / "embprobe-workspace")
    (store,) = extract(before, [make_encoder()], workspace)
    figure = workspace.figure("map")
    figure.parent.mkdir()
    noise(1).save(figure)
    assert list(store.folder.rglob("*.parquet"))
    after = open_source(str(place))
    assert after.fingerprint == before.fingerprint and after.rows == before.rows
    assert [note for note in after.notes if note not in before.notes] == [
        "1 folder passed over, with output of embprobe: embprobe-workspace"
    ]


def test_own_output_among_the_files_of_a_pattern_is_no_input(at: Path) -> None:
    place = Path(folder_of_parquet(at, True))
    before = open_source(f"{place}/*.parquet")
    workspace = Workspace.open(place / "w")
    (store,) = extract(before, [make_encoder()], workspace)
    after = open_source(f"{place}/**/*.parquet")
    assert after.fingerprint == before.fingerprint
    assert "1 folder passed over, with output of embprobe: w" in after.notes
    depth = "/*" * len(store.folder.relative_to(place).parts)
    with pytest.raises(EmbprobeError, match=r"No file matches .* 1 file passed over, in a workspace of embprobe: "):
        open_source(f"{place}{depth}/metadata/*.parquet")
    with pytest.raises(UsageError, match="in a workspace of embprobe"):
        open_source(str(store.folder))


@pytest.mark.parametrize("target", ["atlas", "huggingface", "fiftyone"])
def test_an_export_among_the_files_is_no_input_and_alone_it_is(target: str, at: Path, workspace: Workspace) -> None:
    form = folder if target == "fiftyone" else folder_of_parquet
    place, encoder = Path(form(at, True)), make_encoder()
    before = open_source(str(place))
    session = Session(workspace, "cpu")
    embedded = session.embed(before, [encoder], "")
    content = collect_content(embedded, [encoder], session, method="none", neighbors=2)
    out = place / ("map.parquet" if target == "atlas" else "export")
    TARGETS[target].write(content, out)
    after = open_source(str(place))
    assert after.fingerprint == before.fingerprint
    assert any("passed over" in note and note.endswith((": map", ": export")) for note in after.notes)
    assert len(open_source(str(out))) == len(PICTURES)


def test_wildcards_pass_over_hidden_files_and_go_along_links(tmp_path: Path) -> None:
    write(tmp_path / "away" / "1.tar", tar(PICTURES[:4], True))
    write(tmp_path / "shards" / "0.tar", tar(PICTURES[4:], True))
    (tmp_path / "shards" / "._0.tar").write_bytes(b"\0\5\x16\7")
    (tmp_path / "shards" / "more").symlink_to(tmp_path / "away")
    (tmp_path / "shards" / "up").symlink_to(tmp_path)
    assert len(open_source(f"{tmp_path}/shards/*.tar")) == 6
    assert len(open_source(f"{tmp_path}/shards/**/*.tar")) == len(PICTURES)
    assert len(open_source(f"{tmp_path}/shards")) == len(PICTURES)


def test_tables_beside_tars_are_counted_unless_they_belong_to_them(tmp_path: Path) -> None:
    write(tmp_path / "00000.tar", tar(PICTURES, True))
    for name in ("00000.parquet", "more.parquet"):
        write(tmp_path / name, parquet(PICTURES, True))
    assert open_source(str(tmp_path)).notes[-1] == "1 file passed over, because .tar files lie around: more.parquet"


# --- splits and categories that names give, or a user ----------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["tar", "parquet"])
@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train-00000-of-00001", "test-0000"], {"train", "test"}),
        (["train/0000", "test/0000"], {"train", "test"}),
        (["train_freight", "train_passenger"], {None}),
        (["train", "bus"], {None}),
    ],
)
def test_tars_and_tables_are_of_the_split_that_their_names_are(
    tmp_path: Path, names: list[str], splits: set[str | None], suffix: str
) -> None:
    for name, pictures in zip(names, HALVES.values(), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / f"{name}.{suffix}", (tar if suffix == "tar" else parquet)(pictures, True))
    images = open_source(str(tmp_path))
    assert {row.labels.get("split") for row in images.rows} == splits
    assert set(images.label("category")) == set(CLASSES)
    assert any(note.startswith(f"{GUESSED_LABELS} file names: split (") for note in images.notes) == (splits != {None})
    assert not any("split" in row.labels for row in open_source(str(tmp_path), Reading(folders=())).rows)


def test_a_folder_in_a_tar_says_more_of_the_split_than_the_tars_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, picture in zip(("val/a.png", "test/b.png"), PICTURES, strict=False):
            member = tarfile.TarInfo(name)
            member.size = len(picture.content)
            archive.addfile(member, io.BytesIO(picture.content))
    write(tmp_path / "train.tar", buffer.getvalue())
    assert open_source(f"{tmp_path}/train.tar").label("split") == ["validation", "test"]


def test_named_levels_of_folders_take_the_place_of_guesses(at: Path) -> None:
    place = folder_of_splits(at, True)
    named = load_images(place, folders=["split", "animal"])
    assert named.label("animal") == load_images(place).label("category")
    assert named.lacks("category") and set(named.label("split")) == {"train", "test"} and named.notes == ()
    again = open_images(named.opened_as, named.reading)
    assert again.rows == named.rows and named.reading.options() == " --folders split,animal"
    assert load_images(place, folders=["category"]).label("category") == ["test"] * 4 + ["train"] * 6
    assert all(not row.labels for row in load_images(place, folders=[]).rows)
    assert load_images(one_tar(at, True), folders=["animal"]).label("animal") == [CLASSES[p.number] for p in PICTURES]


def test_levels_of_folders_where_there_are_none_are_refused(at: Path) -> None:
    folder(at, True)
    for place in (one_parquet(at, True), f"{at}/photos/cat/001.jpg", "bundled/emoji", "hf:owner/name"):
        with pytest.raises(UsageError, match="has no folders that could be labels: leave out --folders"):
            load_images(place, folders=["category"])
    with pytest.raises(UsageError, match=r"as many folders as 'split,category' names: 2\. The most is 1"):
        load_images(f"{at}/photos", folders=["split", "category"])


def test_a_name_that_is_empty_is_not_the_current_folder(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder(at, True))
    for name in ("", "cifar-10@", "cifar-10:test@", f"{at}/animals.toml@"):
        with pytest.raises(UsageError, match=r"'\.' is the current folder"):
            load_images(name)
    assert len(load_images(".")) == len(PICTURES)


@pytest.mark.parametrize("name", ["all.TAR", "all.Parquet"])
def test_extensions_in_capitals_count_for_a_file_and_in_a_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, (tar if name.endswith("TAR") else parquet)(PICTURES, True))
    assert len(open_source(str(tmp_path / name))) == len(PICTURES)
    assert len(open_source(str(tmp_path))) == len(PICTURES)


def test_what_is_there_and_no_source_says_why(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match=r"There are no images in '.*'\. Looked for files ending in"):
        open_source(str(tmp_path))
    with pytest.raises(UsageError, match=r"There is no folder or file 'nosuch'.*hf:OWNER/NAME"):
        open_source("nosuch")
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"a\.zip' is compressed; unpack it first"):
        open_source(str(tmp_path / "a.zip"))
    with pytest.raises(UsageError, match=r"There are no bundled images 'bundled/nosuch'"):
        open_source("bundled/nosuch")
