"""The workspace: one folder with the stores, the results and the figures."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from embprobe.encoders.spec import EncoderSpec
from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images
from embprobe.system.files import write_json
from embprobe.system.folders import WORKSPACE_MARK, is_hidden
from embprobe.system.models import DamagedFile, Record, read_json_file

SCHEMA = 1
_LONGEST = 80
"""Most letters of a slug; file systems allow 255 bytes."""
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{i}" for port in ("COM", "LPT") for i in range(1, 10))}
"""Names of devices on Windows, whatever their suffix."""


class _Mark(Record):
    """The file by which a workspace is known; its schema is any version's."""

    schema_: Any = Field(alias="schema")


@dataclass(frozen=True)
class Workspace:
    """A folder with stores, results, training runs and figures, and the paths of each in it.

    :meth:`open` makes or checks the folder; the folders inside are made by the functions that write there.
    """

    root: Path

    @classmethod
    def open(cls, root: Path, *, create: bool = True) -> Workspace:
        """The workspace at ``root``; a new one if there is none, unless ``create`` is false.

        Raises :class:`EmbprobeError` if ``root`` is a file, holds other things than hidden files and those that
        systems leave everywhere, or was written by another schema version.
        """
        mark = root / WORKSPACE_MARK
        if root.exists() and not root.is_dir():
            raise EmbprobeError(f"The workspace '{root}' is a file. Give a folder with --workspace.")
        if not mark.exists():
            if root.exists() and not all(is_hidden(path.name) for path in root.iterdir()):
                raise EmbprobeError(
                    f"The folder '{root}' holds other things. Give an empty or new one with --workspace."
                )
            if not create:
                raise EmbprobeError(
                    f"There is no workspace at '{root}'. Run 'embprobe extract' first, or say --workspace."
                )
            write_json(mark, {"schema": SCHEMA})
            return cls(root)
        try:
            schema = read_json_file(_Mark, mark).schema_
        except DamagedFile as damage:
            raise EmbprobeError(
                f"'{mark}' is damaged. Give another folder with --workspace, or remove this one."
            ) from damage
        if schema != SCHEMA:
            raise EmbprobeError(
                f"The workspace '{root}' was written with schema {schema}; this embprobe reads schema {SCHEMA}. "
                "Give another folder with --workspace, or use the embprobe that wrote it."
            )
        return cls(root)

    def store(self, images: Images, spec: EncoderSpec) -> Path:
        """The folder of one encoder's vectors for these rows; both fingerprints are in its path, and decide.

        The names before them are those under which the rows and the encoder were first met.
        """
        rows = _folder(self.root / "stores", slug(images.name), images.fingerprint)
        return _folder(rows, slug(spec.name), spec.fingerprint)

    def stores_of(self, spec: EncoderSpec) -> list[Path]:
        """The folder of every store that this encoder has, of any images."""
        return sorted(path.parent for path in (self.root / "stores").glob(f"*/*-{spec.fingerprint[:8]}/manifest.json"))

    def stores(self) -> list[Path]:
        """Every store's folder."""
        return sorted(path.parent for path in (self.root / "stores").glob("*/*/manifest.json"))

    def lock(self, store: Path) -> Path:
        """The file that a process holds while it writes a store."""
        return self.root / f".{store.parent.name}-{store.name}.lock"

    def results(self, name: str) -> Path:
        """The folder of one probe's results."""
        return self.root / "results" / distinct_slug(name)

    def pretrained(self, name: str) -> Path:
        """The folder of one training run."""
        return self.root / "pretrained" / distinct_slug(name)

    def vlm(self, name: str) -> Path:
        """The folder of the vision-language models that learned from the same texts."""
        return self.root / "vlm" / slug(name)

    def figure(self, name: str) -> Path:
        """The path of a PNG; a slash in the name, as keys have, becomes an underscore."""
        return self.root / "figures" / f"{distinct_slug(name.replace('/', '_'))}.png"


def _folder(parent: Path, name: str, fingerprint: str) -> Path:
    """The folder in ``parent`` that ends in this fingerprint; a path for a new one if there is none."""
    mark = fingerprint[:8]
    return next(iter(sorted(parent.glob(f"*-{mark}"))), parent / f"{name}-{mark}")


def slug(name: str) -> str:
    """A name that is safe as one part of a path, on any system."""
    return re.sub(r"[^A-Za-z0-9.+=@-]+", "_", name)[:_LONGEST].strip("._") or "unnamed"


def distinct_slug(name: str) -> str:
    """A :func:`slug` that no other name has: one that lost something ends in a hash of the whole name.

    >>> distinct_slug("neighbors-cat"), distinct_slug("neighbors-日本")
    ('neighbors-cat', 'neighbors-f53d5d54')
    """
    plain = slug(name)
    if plain == name and plain.partition(".")[0].upper() not in _RESERVED:
        return plain
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: _LONGEST - len(mark) - 1].rstrip('._-')}-{mark}"
