"""Embeddings on disk: one encoder x one set of rows, in the layout that clip-retrieval and autofaiss read.

A store is a folder with ``img_emb/img_emb_00000.npy`` (memory-mappable, ``[n, d]``), beside it
``metadata/metadata_00000.parquet`` (key and labels of the same rows), and ``manifest.json``. Shard *i* holds the rows
``i * SHARD_ROWS`` and on, less those whose image could not be read; these are in ``rejected.jsonl`` with the reason. A
shard counts once the manifest names it, and the manifest is replaced whole: a killed run loses the shard it was at.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.encoders.base import EncoderSpec, Floats
from embprobe.errors import EmbprobeError
from embprobe.files import replacing, write_json
from embprobe.images.rows import Images, Row, printable

SCHEMA = 1
SHARD_ROWS = 4096
_VERSIONS = ("embprobe", "torch", "open_clip_torch", "timm", "numpy", "pillow")


@dataclass(frozen=True)
class Rejected:
    """A row whose image could not be read, and why."""

    key: str
    reason: str
    row: int
    """Its position among the rows."""


@dataclass
class Store:
    """Vectors of one encoder for one set of rows. :func:`open_store` makes or resumes one."""

    folder: Path
    spec: EncoderSpec
    images: Images
    device: str
    shards: dict[int, dict[str, Any]] = field(default_factory=dict)
    shard_rows: int = SHARD_ROWS
    written: int = 0
    """Rows written since the store was opened; 0 if everything was already there."""

    @property
    def shard_count(self) -> int:
        """How many shards the store has when it is complete."""
        return -(-len(self.images) // self.shard_rows)

    @property
    def complete(self) -> bool:
        """Whether every shard is written."""
        return len(self.shards) == self.shard_count

    @property
    def rejected(self) -> list[Rejected]:
        """The rows without a vector, in order."""
        return [Rejected(**row) for _, shard in sorted(self.shards.items()) for row in shard["rejected"]]

    @property
    def version(self) -> str:
        """A hash over all shards: what is made from this store is stale when it changes."""
        hashes = [shard["sha256"] for _, shard in sorted(self.shards.items())]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]

    def rows_of(self, shard: int) -> Sequence[Row]:
        """The rows that shard covers."""
        return self.images.rows[shard * self.shard_rows : (shard + 1) * self.shard_rows]

    def write_shard(self, shard: int, vectors: Floats, rows: Sequence[Row], rejected: Sequence[Rejected]) -> None:
        """Write one shard whole: the vectors ``[n, d]`` of ``rows``, and the rows that have none."""
        if vectors.shape != (len(rows), self.spec.dimension):
            raise ValueError(f"expected vectors {(len(rows), self.spec.dimension)}, got {vectors.shape}")
        with replacing(self._vectors(shard)) as path:
            np.save(path, vectors)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        names = sorted({name for row in self.images.rows for name in row.labels} - {"key"})
        table = pa.table(
            {
                "key": pa.array([printable(row.key) for row in rows], pa.string()),
                **{printable(name): pa.array([_label(row, name) for row in rows], pa.string()) for name in names},
            }
        )
        with replacing(self.folder / "metadata" / f"metadata_{shard:05d}.parquet") as path:
            pq.write_table(table, path)
        self.shards[shard] = {
            "rows": len(rows),
            "sha256": digest,
            "rejected": [asdict(replace(row, key=printable(row.key))) for row in rejected],
        }
        self.written += len(rows)
        self._write_manifest()
        if self.complete:
            with replacing(self.folder / "rejected.jsonl") as path:
                lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in self.rejected)
                path.write_text("".join(lines), encoding="utf-8")

    def keys(self) -> list[str]:
        """The keys of the rows that have a vector, in the order of :meth:`vectors`."""
        return [row.key for row in self.embedded().rows]

    def embedded(self) -> Images:
        """The rows that have a vector, in the order of :meth:`vectors`."""
        missing = {rejected.row for rejected in self.rejected}
        return self.images.take(i for i in range(len(self.images)) if i not in missing)

    def vectors(self) -> Floats:
        """All vectors ``[n, d]``; raises :class:`EmbprobeError` if a shard is missing or damaged."""
        if not self.complete:
            raise EmbprobeError(f"The store '{self.folder}' is not complete. Extract again to finish it.")
        parts = []
        for shard, facts in sorted(self.shards.items()):
            try:
                part: Floats | None = np.load(self._vectors(shard), mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError):
                part = None
            if not isinstance(part, np.ndarray) or part.shape != (facts["rows"], self.spec.dimension):
                raise EmbprobeError(
                    f"Shard {shard} of the store '{self.folder}' is damaged or missing. "
                    "Remove the folder to extract it again."
                )
            parts.append(part)
        return np.concatenate(parts) if parts else np.empty((0, self.spec.dimension), np.float32)

    def summary(self) -> dict[str, Any]:
        """The store in a few facts, for ``--json``."""
        return {
            "encoder": self.spec.name,
            "folder": str(self.folder),
            "images": len(self.embedded()),
            "encoded_now": self.written,
            "dimension": self.spec.dimension,
            "rejected": [asdict(row) for row in self.rejected],
        }

    def _vectors(self, shard: int) -> Path:
        return self.folder / "img_emb" / f"img_emb_{shard:05d}.npy"

    def _write_manifest(self) -> None:
        manifest = {
            "schema": SCHEMA,
            "encoder": asdict(self.spec),
            "encoder_fingerprint": self.spec.fingerprint,
            "images": self.images.name,
            "images_fingerprint": self.images.fingerprint,
            "count": len(self.images),
            "shard_rows": self.shard_rows,
            "complete": self.complete,
            "shards": {str(shard): facts for shard, facts in sorted(self.shards.items())},
            "device": self.device,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}},
        }
        write_json(self.folder / "manifest.json", manifest)


def open_store(folder: Path, spec: EncoderSpec, images: Images, *, device: str = "cpu") -> Store:
    """The store in ``folder``, with the shards that are already there, or an empty one.

    Raises :class:`EmbprobeError` if what lies there was written by another schema version or for something else.
    """
    path = folder / "manifest.json"
    if not path.exists():
        return Store(folder, spec, images, device)
    try:
        manifest: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = manifest["schema"]
        if schema != SCHEMA:
            raise EmbprobeError(f"The store '{folder}' was written with schema {schema}; this embprobe reads {SCHEMA}.")
        same = (
            manifest["encoder_fingerprint"] == spec.fingerprint and manifest["images_fingerprint"] == images.fingerprint
        )
        shards = {int(shard): _checked(facts) for shard, facts in manifest["shards"].items()}
        shard_rows = int(manifest["shard_rows"])
        if shard_rows < 1 or not set(shards) <= set(range(-(-len(images) // shard_rows))):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EmbprobeError(f"'{path}' is damaged. Remove the folder '{folder}' to extract it again.") from None
    if not same:
        raise EmbprobeError(f"The store '{folder}' is of another encoder or other images. Remove it to extract again.")
    return Store(folder, spec, images, device, shards, shard_rows)


def _label(row: Row, name: str) -> str | None:
    return printable(row.labels[name]) if name in row.labels else None


def _checked(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A shard's entry in the manifest, or one of the errors that a damaged one raises."""
    rejected = [asdict(Rejected(**row)) for row in facts["rejected"]]
    return {"rows": int(facts["rows"]), "sha256": str(facts["sha256"]), "rejected": rejected}
