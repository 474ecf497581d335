"""Whether stores on disk still are what was written: every byte against the hashes in their manifests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embprobe.embeddings.store import metadata_file, read_manifest, vectors_file
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from embprobe.system.files import write_json
from embprobe.system.locks import held
from embprobe.system.text import printable

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Checked:
    """A store, how much of it there is, and what is wrong with it."""

    folder: Path
    encoder: str
    images: str
    shards: int
    complete: bool
    bytes: int
    damaged: tuple[int, ...]
    problems: tuple[str, ...]

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

    With ``repair``, damaged shards are taken out of the manifest, so that the next extraction makes them again and
    keeps the rest; no file is deleted. A store that another process writes is an :class:`EmbprobeError` then.
    """
    for folder in workspace.stores():
        checked = _check(folder)
        if repair and checked.damaged:
            with held(workspace.lock(folder), f"The store '{folder}'"):
                _forget(folder, checked.damaged)
        yield checked


def _check(folder: Path) -> Checked:
    try:
        manifest = read_manifest(folder)
    except (EmbprobeError, FileNotFoundError) as error:  # the last: it was removed a moment ago
        return Checked(folder, "", "", 0, False, 0, (), (printable(str(error)),))
    size, damaged, problems = 0, [], []
    for shard, facts in sorted(manifest["shards"].items()):
        wrong = []
        for path, digest in (
            (vectors_file(folder, shard), "sha256"),
            (metadata_file(folder, shard), "metadata_sha256"),
        ):
            found, length = _hash(path)
            size += length
            if found != facts[digest]:
                wrong.append(f"{path.relative_to(folder)} {'is gone' if found is None else 'has changed'}")
        problems += wrong
        damaged += [shard] if wrong else []
    encoder: Mapping[str, Any] = manifest["encoder"]
    name = f"{encoder.get('family')}/{encoder.get('model')}" + (f":{w}" if (w := encoder.get("weights")) else "")
    return Checked(
        folder,
        printable(name),
        printable(str(manifest.get("images"))),
        len(manifest["shards"]),
        bool(manifest.get("complete")),
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


def _forget(folder: Path, shards: tuple[int, ...]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["shards"] = {shard: facts for shard, facts in manifest["shards"].items() if int(shard) not in shards}
    manifest["complete"] = False
    write_json(path, manifest)
