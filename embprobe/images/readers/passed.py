"""Count the files among images that are not read, by their endings, and find images that lack a known ending."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from embprobe.images.formats import REMEDIES, format_of
from embprobe.images.labels import note_of
from embprobe.images.readers.walk import ending
from embprobe.system.text import visible

ARCHIVES = frozenset({".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar"})
TABLES = frozenset({".tar", ".parquet"})
"""Files that hold images of their own, for another reader."""
_OTHER_IMAGES = frozenset(
    {
        *(".jp2", ".j2k", ".jpx", ".jpf", ".jxl", ".jxr", ".wdp", ".svg", ".svgz", ".ico", ".icns", ".psd", ".psb"),
        *(".xcf", ".eps", ".tga", ".pcx", ".dds", ".exr", ".hdr", ".qoi", ".dcm", ".svs", ".ndpi", ".fits"),
        *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef"),
        *(".srw", ".x3f", ".3fr", ".iiq"),
    }
)
_VIDEOS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp"})
_NO_IMAGES = frozenset(
    {
        *(".txt", ".json", ".jsonl", ".cls", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".toml", ".md", ".rst", ".html"),
        *(".py", ".ipynb", ".sh", ".js", ".css", ".log", ".ini", ".cfg", ".pdf", ".doc", ".docx", ".xls", ".xlsx"),
        *(".npy", ".npz", ".mat", ".pkl", ".pt", ".pth", ".h5", ".hdf5", ".safetensors", ".onnx", ".bin", ".db"),
        *(".wav", ".mp3", ".flac", ".xmp", ".aae", ".thm", ".lnk", ".exe", ".sqlite", ".idx", ".lst", ".names"),
    }
)
_LOOKED_AT = 1000
"""Files of unknown endings that are opened, at most: a folder may hold a million."""
_ENDINGS = 8
"""Endings listed in a note, at most."""


class PassedOver:
    """The files of a folder that are not read as images."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unread: list[Path] = []
        self._archives: list[Path] = []
        self._tables: list[Path] = []
        self._unknown: list[Path] = []
        self._unknown_count = 0

    def add(self, folder: str, name: str) -> None:
        """Take a file that is no image by its ending."""
        suffix = ending(name)
        if suffix in _OTHER_IMAGES or suffix in _VIDEOS or suffix in REMEDIES:
            self._unread.append(Path(folder, name))
        elif suffix in ARCHIVES:
            self._archives.append(Path(folder, name))
        elif suffix in TABLES:
            self._tables.append(Path(folder, name))
        elif suffix not in _NO_IMAGES:
            self._unknown_count += 1
            if len(self._unknown) < _LOOKED_AT:
                self._unknown.append(Path(folder, name))

    def notes(self) -> tuple[str, ...]:
        """Return notes that count the files, name the first, and say how they can be read."""
        return (*self._of_formats(), *self._of_files())

    def _of_formats(self) -> list[str]:
        if not self._unread:
            return []
        endings = Counter(path.suffix.lower() for path in self._unread)
        counted = [f"{visible(ending)} ({count:,})" for ending, count in endings.most_common(_ENDINGS)]
        counted += ["…"] if len(endings) > _ENDINGS else []
        first = visible(self._names(self._unread)[0])
        note = f"{len(self._unread):,} files passed over, of formats that are not read: {', '.join(counted)}; "
        note += f"the first is {first}"
        if len(self._unread) == 1:
            note = f"1 file passed over, of a format that is not read: {first}"
        for remedy in dict.fromkeys(REMEDIES[end] for end in sorted(endings.keys() & REMEDIES.keys())):
            readable = sorted(end for end in endings if REMEDIES.get(end) == remedy)
            note += f". After {remedy} {' and '.join(readable)} are read"
        return [note]

    def _of_files(self) -> list[str]:
        tables = [path for path in self._tables if not path.with_suffix("").is_dir()]  # img2dataset's lists of a shard
        nameless = [path for path in self._unknown if _looks_like_image(path)]
        more = f", among the first {_LOOKED_AT:,} files of unknown endings" if self._unknown_count > _LOOKED_AT else ""
        return [
            *note_of("archive{s} passed over, to be unpacked first", self._names(self._archives)),
            *note_of(
                "tar{s} or parquet file{s} passed over, because images lie around (give a pattern such as "
                "'FOLDER/*.tar' to read them)",
                self._names(tables),
            ),
            *note_of(
                f"file{{s}} passed over that would be images by their first bytes, but have no known ending such as "
                f".jpg{more}",
                self._names(nameless),
            ),
        ]

    def _names(self, paths: list[Path]) -> list[str]:
        return [path.relative_to(self._folder).as_posix() for path in sorted(paths)]


def _looks_like_image(path: Path) -> bool:
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return False
        with path.open("rb") as file:
            head = file.read(256)
    except OSError:
        return False
    kind = format_of(head)
    # two letters or a number at the beginning, as of BMP, DIB and PPM, are those of many other files
    return kind is not None and (
        kind.name not in ("BMP", "DIB", "PPM") or (head[:2] == b"BM" and head[6:10] == bytes(4))
    )
