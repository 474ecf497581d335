"""Choose the reader of a place: a folder, a file, a pattern of tars or parquet files, the hub, the bundled images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from embprobe.errors import UsageError
from embprobe.images.labels import note_of
from embprobe.images.readers.bundled import load_bundled
from embprobe.images.readers.folder import NoImages, load_file, load_folder
from embprobe.images.readers.huggingface import load_hub
from embprobe.images.readers.locations import Location, find_files, local_file
from embprobe.images.readers.parquet import load_parquet
from embprobe.images.readers.passed import ARCHIVES
from embprobe.images.readers.walk import Walk
from embprobe.images.readers.webdataset import load_tars
from embprobe.images.reading import GUESSED, Reading
from embprobe.images.rows import Images
from embprobe.system.text import printable

HUB = "hf:"


def open_source(name: str, reading: Reading = GUESSED) -> Images:
    """Open a path, a pattern, a URL, ``hf:owner/name`` or ``bundled/emoji``.

    Args:
        name: The place, as the user typed it.
        reading: Choices that are otherwise guessed.

    Raises:
        UsageError: There is no such place, or a choice of ``reading`` has no meaning there.
        EmbprobeError: There are no images in it.
    """
    if not name:
        raise UsageError("The name of the images is empty. Give a folder or file; '.' is the current folder.")
    return replace(_open(name, reading), place=_place(name))


def _place(name: str) -> str:
    """Return a name of the place that is the same from every folder, and for every split of it."""
    if exists(Path(name)):
        return str(Path(name).resolve())
    if name.startswith(("bundled/", HUB)):
        return name.partition(":")[0] if name.startswith("bundled/") else ":".join(name.split(":")[:2])
    return name if "://" in name else str(Path(name).absolute())


def _open(name: str, reading: Reading) -> Images:
    path = Path(name)
    if exists(path) and path.is_dir():
        return _folder(path, reading)
    if path.suffix.lower() in ARCHIVES:
        raise UsageError(f"'{name}' is compressed; unpack it first, so that its images can be read in any order.")
    if not exists(path):
        return _elsewhere(name, reading)
    if not path.is_file():
        raise UsageError(f"'{name}' is neither a file nor a folder.")
    reader = _READERS.get(path.suffix.lower())
    if reader is not None:
        return reader(printable(path.stem), [local_file(path)], reading)
    _refuse_levels(name, reading)
    _refuse_key_column(name, reading)
    return load_file(path)


def exists(path: Path) -> bool:
    """Return whether the path exists; False for a name that no file can have (too long, with a zero byte)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _elsewhere(name: str, reading: Reading) -> Images:
    """Open a name that is no path: bundled images, the hub, a URL or a pattern."""
    if name.startswith("bundled/"):
        _refuse_levels(name, reading)
        _refuse_key_column(name, reading)
        return load_bundled(name)
    if name.startswith(HUB):
        _refuse_levels(name, reading)
        return load_hub(name.removeprefix(HUB), reading)
    if "://" in name or any(sign in name for sign in "{*?["):
        return _pattern(name, reading)
    raise UsageError(
        f"There is no folder or file '{name}'. Give a folder of images, tars or parquet files "
        "('train-{000..099}.tar', '*.parquet', here or a URL), hf:OWNER/NAME, bundled/emoji, or a name that "
        "'embprobe datasets' lists."
    )


def _folder(path: Path, reading: Reading) -> Images:
    """Open a folder of images; or, where there are none, of tars or parquet files."""
    try:
        return load_folder(path, reading)
    except NoImages:
        walk = Walk(path)
        below = sorted(Path(folder, name) for folder, name in walk.files() if Path(name).suffix.lower() in _READERS)
        for suffix, reader in _READERS.items():
            files = [file for file in below if file.suffix.lower() == suffix and file.is_file()]
            if files:
                images = reader(printable(path.resolve().name), [local_file(file, path) for file in files], reading)
                stems = {file.with_suffix("") for file in files}
                others = [file for file in below if file.suffix.lower() != suffix and file.with_suffix("") not in stems]
                notes = note_of(
                    f"file{{s}} passed over, because {suffix} files lie around",
                    [file.relative_to(path).as_posix() for file in others],
                )
                return replace(images, notes=(*images.notes, *notes, *walk.notes()))
        raise


def _refuse_key_column(name: str, reading: Reading) -> None:
    if reading.key_column is not None:
        raise UsageError(f"'{name}' has no table, so no column '{reading.key_column}' of keys.")


def _pattern(pattern: str, reading: Reading) -> Images:
    found = find_files(pattern)
    files = found.files
    suffixes = {PurePosixPath(file.path).suffix.lower() for file in files}
    if len(suffixes) != 1 or not suffixes <= _READERS.keys():
        kinds = ", ".join(sorted(suffix or "no extension" for suffix in suffixes))
        raise UsageError(f"A pattern or URL names tars or parquet files; '{pattern}' names files of {kinds}.")
    images = _READERS[suffixes.pop()](printable(PurePosixPath(pattern).stem), files, reading)
    return replace(images, notes=(*images.notes, *found.notes))


def _refuse_levels(name: str, reading: Reading) -> None:
    if reading.folders:
        raise UsageError(f"'{name}' has no folders that could be labels: leave out --folders.")


def _tars(name: str, files: Sequence[Location], reading: Reading) -> Images:
    return load_tars(name, files, reading)


def _tables(name: str, files: Sequence[Location], reading: Reading) -> Images:
    _refuse_levels(name, reading)
    return load_parquet(name, files, reading)


_READERS: dict[str, Callable[[str, Sequence[Location], Reading], Images]] = {".tar": _tars, ".parquet": _tables}
