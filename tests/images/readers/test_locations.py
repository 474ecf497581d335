"""Where files lie: patterns, URLs, and systems that fail."""

from __future__ import annotations

import io
import os
import re
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from embprobe.embeddings.extract import extract
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import load_images
from embprobe.images.decoding import UnreadableImage
from embprobe.images.readers.locations import Location, find_files, local_file
from tests.conftest import encoded, make_encoder, noise

PNGS = [encoded(noise(seed), "PNG") for seed in range(2)]


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def names(pattern: str) -> list[str]:
    return [file.name for file in find_files(pattern).files]


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a folder in memory of its own."""
    folder = f"/{uuid.uuid4()}"
    yield f"memory:/{folder}"
    MemoryFileSystem().rm(folder, recursive=True)


# --- patterns ----------------------------------------------------------------------------------------------------


def test_braces_count_and_list_and_nest(tmp_path: Path) -> None:
    put(tmp_path, "t-00.tar", "t-01.tar", "t-02.tar", "a1.tar", "a2.tar", "b.tar")
    assert names(f"{tmp_path}/t-{{00..02}}.tar") == ["t-00", "t-01", "t-02"]
    assert names(f"{tmp_path}/{{b,a{{1..2}}}}.tar") == ["b", "a1", "a2"]  # in the order of the braces
    assert names(f"{tmp_path}/t-{{02..00..2}}.tar") == ["t-02", "t-00"]


def test_a_wildcard_finds_files_in_their_order_and_may_stand_beside_braces(tmp_path: Path) -> None:
    put(tmp_path, "b.tar", "a.tar", "c.txt", "deep/d.tar")
    assert names(f"{tmp_path}/*.tar") == ["a", "b"]
    assert names(f"{tmp_path}/**/*.tar") == ["a", "b", "deep/d"]
    assert names(f"{tmp_path}/{{b,a}}.t?r") == ["b", "a"]
    assert names(f"{tmp_path}/[bc].*") == ["b", "c"]


@pytest.mark.parametrize("pattern", ["x-{0..3.tar", "x-{0..3}}.tar", "x-{{0,1}.tar", "x}.tar"])
def test_braces_that_do_not_match_are_shown(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"The braces in 'x.*\.tar' do not match"):
        find_files(pattern)


def test_a_file_of_a_pattern_that_is_not_there_is_named(tmp_path: Path) -> None:
    put(tmp_path, "t-0.tar", "t-2.tar")
    with pytest.raises(EmbprobeError, match=r"t-1\.tar' cannot be found"):
        find_files(f"{tmp_path}/t-{{0..2}}.tar")


def test_a_wildcard_without_a_match_is_shown(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match=r"No file matches '.*/\*\.tar'"):
        find_files(f"{tmp_path}/*.tar")
    with pytest.raises(EmbprobeError, match=r"No file matches"):
        load_images(f"{tmp_path}/*.tar")


def test_a_protocol_nobody_knows_is_named() -> None:
    with pytest.raises(UsageError, match=r"'nosuch://x/a\.tar' cannot be opened: Protocol not known: nosuch"):
        load_images("nosuch://x/a.tar")


def test_a_protocol_whose_library_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation(
        "embprobe-absent", "no_such_library.Absent", clobber=True, errtxt="Install no_such_library to access it"
    )
    with pytest.raises(UsageError, match=r"cannot be opened: Install no_such_library to access it"):
        load_images("embprobe-absent://bucket/a.tar")


def test_files_of_other_kinds_or_of_two_kinds_are_named(tmp_path: Path) -> None:
    put(tmp_path, "a.tar", "b.parquet", "c.png")
    with pytest.raises(UsageError, match=r"names files of \.parquet, \.tar"):
        load_images(f"{tmp_path}/[ab].*")
    with pytest.raises(UsageError, match=r"names files of \.png"):
        load_images(f"{tmp_path}/*.png")


def test_a_folder_or_a_pipe_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.tar").mkdir()
    os.mkfifo(tmp_path / "pipe.tar")  # opening it would wait for ever
    for name in ("folder.tar", "pipe.tar"):
        with pytest.raises(EmbprobeError, match=rf"{name}' is not a file"):
            find_files(f"file://{tmp_path}/{name}")
        with pytest.raises(EmbprobeError, match=rf"{name}' is not a file"):
            local_file(tmp_path / name)
    with pytest.raises(UsageError, match=r"pipe\.tar' is neither a file nor a folder"):
        load_images(str(tmp_path / "pipe.tar"))


def test_a_name_with_signs_of_a_pattern_is_a_file_if_it_is_there(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a{0,1}[x]*.tar", "w") as archive:
        _add(archive, "a.png", PNGS[0])
    assert [row.key for row in load_images(f"{tmp_path}/a{{0,1}}[x]*.tar").rows] == ["a{0,1}[x]*/a"]


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 300 + ".toml", "x\0y", "x" * 300 + "/*.tar"])
def test_a_name_that_can_be_no_path_is_an_error_like_any_other(name: str) -> None:
    with pytest.raises(EmbprobeError):
        load_images(name)


# --- names and marks ---------------------------------------------------------------------------------------------


def test_a_name_is_the_path_below_the_shared_folder_without_extension(tmp_path: Path) -> None:
    put(tmp_path, "x/train/0.tar", "x/test/0.tar", "x/test/1.2.tar")
    assert names(f"{tmp_path}/x/*/*.tar") == ["test/0", "test/1.2", "train/0"]
    assert names(f"{tmp_path}/x/test/*.tar") == ["0", "1.2"]
    assert names(f"file://{tmp_path}/x/test/0.tar") == ["0"]
    assert local_file(tmp_path / "x" / "test" / "0.tar", tmp_path).name == "x/test/0"
    assert local_file(tmp_path / "x" / "test" / "0.tar").name == "0"


def test_a_url_is_a_place_like_a_path(tmp_path: Path, memory: str) -> None:
    for name in ("a.tar", "b/c.tar"):
        MemoryFileSystem().pipe(f"{memory}/{name}", b"0123456789")
    found = find_files(f"{memory}/**/*.tar").files
    assert [(file.name, file.size, file.local) for file in found] == [("a", 10, False), ("b/c", 10, False)]
    assert found[0].read(2, 5) == b"234" and found[0].read(8, 99) == b"89"
    put(tmp_path, "a.tar")
    (here,) = find_files(f"{tmp_path}/a.tar").files
    assert here.local and here.read(2, 99) == b"tar"
    with here.open() as file:
        assert file.read() == b"a.tar"


def test_files_here_and_elsewhere_can_be_given_together(tmp_path: Path, memory: str) -> None:
    put(tmp_path, "a.tar")
    MemoryFileSystem().pipe(f"{memory}/b.tar", b"x")
    found = find_files(f"{{{tmp_path}/a,{memory}/b}}.tar").files
    assert [(file.name.rpartition("/")[2], file.local) for file in found] == [("a", True), ("b", False)]


def test_the_mark_changes_when_the_file_is_written_anew(tmp_path: Path, memory: str) -> None:
    def mark(url: str) -> str:
        return find_files(url).files[0].mark

    def written(content: bytes, at: int) -> tuple[str, str]:
        (tmp_path / "a.tar").write_bytes(content)
        os.utime(tmp_path / "a.tar", (at, at))
        MemoryFileSystem().pipe(f"{memory}/a.tar", content)
        return mark(f"{tmp_path}/a.tar"), mark(f"{memory}/a.tar")

    first, again, later, longer = written(b"one", 1), written(b"one", 1), written(b"two", 2), written(b"three", 2)
    assert first[0] == again[0] and len({first[0], later[0], longer[0]}) == 3
    assert len({first[1], again[1], later[1], longer[1]}) == 4  # in memory, every writing has its own time
    assert mark(f"{memory}/a.tar") == longer[1]


# --- systems that fail -------------------------------------------------------------------------------------------


class Failing(MemoryFileSystem):  # type: ignore[misc]
    """Files in memory, and a network between them and us that breaks."""

    protocol = "embprobe-failing"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    breaks: ClassVar[dict[str, Exception]] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix(f"{cls.protocol}:/")))

    def _may(self, what: str) -> None:
        if what in self.breaks:
            raise self.breaks[what]

    def info(self, path: str, **options: Any) -> Any:
        self._may("info")
        return super().info(path, **options)

    def glob(self, path: str, **options: Any) -> Any:
        self._may("glob")
        return super().glob(path, **options)

    def cat_file(self, path: str, **options: Any) -> Any:
        self._may("read")
        return super().cat_file(path, **options)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self._may("open")
        file = super()._open(path, mode, **options)
        return Unplugged(file.getvalue(), self.breaks["read"]) if "read" in self.breaks else file


class Unplugged(io.BytesIO):
    """A file that opens, and then cannot be read."""

    def __init__(self, content: bytes, error: Exception) -> None:
        super().__init__(content)
        self._error = error

    def read(self, *_: Any) -> bytes:
        raise self._error


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def failing() -> Iterator[type[Failing]]:
    """A system with a tar and a parquet file of two images; ``breaks`` says what fails from now on, and how."""
    fsspec.register_implementation(str(Failing.protocol), Failing, clobber=True)
    tar, table = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for i, png in enumerate(PNGS):
            _add(archive, f"{i}.png", png)
    pq.write_table(pa.table({"image": PNGS, "label": ["a", "b"]}), table)
    Failing().pipe({"/a.tar": tar.getvalue(), "/a.parquet": table.getvalue()})
    yield Failing
    Failing.breaks.clear()
    Failing.store.clear()


ERRORS: list[Callable[[], Exception]] = [
    lambda: ConnectionResetError(104, "Connection reset by peer"),
    lambda: TimeoutError(),  # without a word
    lambda: OSError("two\nlines"),
    lambda: RuntimeError("not even an OSError, as aiohttp's and botocore's are not"),
]
IDS = ["reset", "wordless", "two lines", "of another family"]


@pytest.mark.parametrize("kind", ["tar", "parquet"])
@pytest.mark.parametrize("what", ["glob", "info", "open", "read"])
@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_a_system_that_fails_while_loading_is_an_error(
    failing: type[Failing], kind: str, what: str, error: Callable[[], Exception]
) -> None:
    assert len(load_images(f"embprobe-failing://*.{kind}")) == 2
    failing.breaks[what] = error()
    with pytest.raises(EmbprobeError, match=r"\.(tar|parquet)' (could not be read|cannot be)"):
        load_images(f"embprobe-failing://*.{kind}")


@pytest.mark.parametrize("kind", ["tar", "parquet"])
@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_a_system_that_fails_while_reading_stops_and_says_what_to_do(
    failing: type[Failing], kind: str, error: Callable[[], Exception]
) -> None:
    images = load_images(f"embprobe-failing://a.{kind}")
    failing.breaks["read"] = error()
    with pytest.raises(EmbprobeError, match=r"could not be read: .*Run again to go on from where it stopped\."):
        images.rows[1].read()
    failing.breaks.clear()
    assert images.rows[1].read().size == (8, 8)


def test_rows_are_not_rejected_for_a_network_that_fails(failing: type[Failing], workspace: Workspace) -> None:
    images = load_images("embprobe-failing://a.tar")
    failing.breaks["read"] = ConnectionResetError(104, "Connection reset by peer")
    with pytest.raises(EmbprobeError, match="Connection reset by peer"):
        extract(images, [make_encoder()], workspace)
    failing.breaks.clear()
    (store,) = extract(images, [make_encoder()], workspace)
    assert (len(store.keys()), store.rejected) == (2, [])


def test_on_this_machine_a_file_that_is_gone_makes_its_rows_unreadable(tmp_path: Path) -> None:
    put(tmp_path, "a.tar")
    file = local_file(tmp_path / "a.tar")
    (tmp_path / "a.tar").unlink()
    for use in (Location.open, lambda location: location.read(0, 3)):
        with pytest.raises(UnreadableImage, match=r"a\.tar': No such file or directory"):
            use(file)


# --- what was typed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("cifar-1O", "cifar-10"), ("cifar-1O:test", "cifar-10"), ("imagnet-1k@/data/imagenet", "imagenet-1k")],
)
def test_a_wrong_name_gets_a_near_one(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"There is no folder or file '{typed}'") as error:
        load_images(typed)
    assert re.search(f"Did you mean '?{meant}", str(error.value))


def test_a_wrong_name_that_is_near_to_none_is_told_what_there_could_be() -> None:
    with pytest.raises(UsageError, match="There is no folder or file 'zzzzzz'") as error:
        load_images("zzzzzz")
    assert "Did you mean" not in str(error.value)
