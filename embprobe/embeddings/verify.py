"""Checking stores on disk: every byte against the hashes in their manifests, and damaged shards taken out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embprobe.embeddings.finite import holding_infinite
from embprobe.embeddings.manifest import read_manifest, write_manifest
from embprobe.embeddings.store import metadata_file, vectors_file
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from embprobe.system.locks import held
from embprobe.system.text import printable

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Checked:
    """The state of a store on disk: its shards and bytes, and its problems."""

    folder: Path
    encoder: str
    images: str
    shards: int
    complete: bool
    bytes: int
    damaged: tuple[int, ...]
    """Shards with a file that is gone or has changed, or with vectors that are not finite."""
    problems: tuple[str, ...]
    """A sentence for each of those files and vectors, or one that says why there is no manifest to check against."""

    def as_json(self) -> dict[str, Any]:
        """All of it, for ``--json``."""
        return {
            **self.__dict__,
            "folder": printable(str(self.folder)),
            "damaged": [*self.damaged],
            "problems": [*self.problems],
        }


def verify_stores(workspace: Workspace, *, repair: bool = False) -> Iterator[Checked]:
    """Check every store of a workspace.

    A shard that holds vectors that are not finite, as earlier versions wrote them, counts as damaged, too.

    With ``repair``, damaged shards are taken out of the manifest, so that the next extraction makes them again and
    keeps the rest; no file is deleted. A store that another process writes is an :class:`EmbprobeError` then.
    """
    for folder in workspace.stores():
        checked = _check(folder)
        if repair and checked.damaged:
            with held(workspace.lock(folder), f"The store '{folder}'"):
                write_manifest(folder, read_manifest(folder).without(checked.damaged))
        yield checked


def _check(folder: Path) -> Checked:
    try:
        manifest = read_manifest(folder)
    except (EmbprobeError, FileNotFoundError) as error:  # the last: it was removed a moment ago
        return Checked(folder, "", "", 0, False, 0, (), (printable(str(error)),))
    size, damaged, problems = 0, [], []
    for shard, facts in sorted(manifest.shards.items()):
        wrong = []
        for path, expected in (
            (vectors_file(folder, shard), facts.sha256),
            (metadata_file(folder, shard), facts.metadata_sha256),
        ):
            digest, length = _hash(path)
            size += length
            if digest != expected:
                wrong.append(f"{path.relative_to(folder)} {'is gone' if digest is None else 'has changed'}")
        if not wrong and holding_infinite(folder, [(shard, facts)]):
            wrong.append(f"{vectors_file(folder, shard).relative_to(folder)} holds vectors that are not finite")
        problems += wrong
        damaged += [shard] if wrong else []
    return Checked(
        folder,
        printable(manifest.encoder_name),
        printable(manifest.images),
        len(manifest.shards),
        manifest.complete,
        size,
        tuple(damaged),
        tuple(problems),
    )


def _hash(path: Path) -> tuple[str | None, int]:
    """sha256 and size of a file; None if it cannot be read."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
    except OSError:
        return None, size
    return digest.hexdigest(), size
