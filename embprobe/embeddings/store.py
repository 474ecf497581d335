"""Embeddings on disk: one encoder x one set of rows, in the layout that clip-retrieval and autofaiss read.

A store is a folder with ``img_emb/img_emb_00000.npy`` (memory-mappable, ``[n, d]``; ``[n, t, d]`` of tokens), beside it
``metadata/metadata_00000.parquet`` (key and labels of the same rows), ``rows/rows_00000.npy`` (marks by which another
store finds its rows here, :mod:`embprobe.embeddings.reuse`), and ``manifest.json``. Shard *i* holds the rows
from ``i * shard_rows`` on, less those whose image could not be read; these are in ``rejected.jsonl`` with the reason. A
shard counts once the manifest names it, and the manifest is replaced whole: a killed run loses only the shard it was
writing. The manifest also holds the hash of every file (:mod:`embprobe.embeddings.manifest`).
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embprobe.embeddings.manifest import SCHEMA, Manifest, Rejected, ShardFacts, read_manifest, write_manifest
from embprobe.encoders.spec import EncoderSpec, Floats
from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images, Row
from embprobe.measures.blocks import Blocks, as_array
from embprobe.system.files import replacing, sweep
from embprobe.system.text import printable

_log = logging.getLogger(__name__)

SHARD_ROWS, SHARDS = 1024, 256
"""The fewest rows of a shard, doubled until the store has no more than this many shards."""
SHARD_BYTES = 2**26
"""The bytes of a shard of tokens: several are in memory while they are computed."""
_VERSIONS = ("embprobe", "torch", "open_clip_torch", "timm", "numpy", "pillow")


@dataclass
class Store:
    """The folder that holds one encoder's vectors of one set of rows, shard by shard.

    :func:`open_store` opens a folder that is complete, half-written or new; :meth:`write_shard` adds to it, and once it
    is :attr:`complete`, :meth:`vectors` and :meth:`embedded` give the vectors and the rows they are of.
    """

    folder: Path
    spec: EncoderSpec
    images: Images
    device: str
    """The device that encodes what is missing, as the manifest will name it."""
    shards: dict[int, ShardFacts] = field(default_factory=dict)
    """The shards that are written, by number."""
    shard_rows: int = 0
    """Rows of a shard; 0 is replaced by a number that suits the number of images."""
    written: int = 0
    """Rows written since the store was opened; 0 if everything was already there."""
    taken: int = 0
    """Those of them whose vectors were taken from other stores."""
    lost: list[int] = field(default_factory=list)
    """Shards that were written once and were damaged or gone when :meth:`drop_damaged` looked."""

    def __post_init__(self) -> None:
        if not self.shard_rows and self.spec.tokens is not None:
            self.shard_rows = max(1, SHARD_BYTES // self.spec.bytes)
        elif not self.shard_rows:
            self.shard_rows = SHARD_ROWS
            while self.shard_count > SHARDS:
                self.shard_rows *= 2

    @property
    def shard_count(self) -> int:
        """How many shards the store has when it is complete."""
        return -(-len(self.images) // self.shard_rows)

    @property
    def rows_from(self) -> str:
        """A hash of where the rows come from and how they are changed; "" if that is not known.

        Rows of two sets with the same hash have the same image if they have the same key and content.
        """
        if not self.images.place:
            return ""
        changes = self.images.name.partition("+")[2]
        return hashlib.sha256(f"{self.images.place}\0{changes}".encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def complete(self) -> bool:
        """Whether every shard is written."""
        return len(self.shards) == self.shard_count

    @property
    def missing(self) -> list[int]:
        """The numbers of the shards that are not written, in order."""
        return [number for number in range(self.shard_count) if number not in self.shards]

    @property
    def rejected(self) -> list[Rejected]:
        """The rows without a vector, in order."""
        return [row for _, facts in sorted(self.shards.items()) for row in facts.rejected]

    @property
    def version(self) -> str:
        """A hash over all shards: an index or a map made from this store is stale when it changes."""
        hashes = [facts.sha256 for _, facts in sorted(self.shards.items())]
        return hashlib.sha256("".join(hashes).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def span(self, shard: int) -> tuple[int, int]:
        """The positions of the first row that shard covers, and of the one behind its last."""
        return shard * self.shard_rows, min((shard + 1) * self.shard_rows, len(self.images))

    def rows_of(self, shard: int) -> Sequence[Row]:
        """The rows that shard covers."""
        start, stop = self.span(shard)
        return self.images.rows[start:stop]

    def sweep(self) -> None:
        """Remove files that killed runs left half-written; only the process that holds the store's lock may."""
        for folder, stem in (("img_emb", "*"), ("metadata", "*"), ("rows", "*"), (".", "manifest"), (".", "rejected")):
            sweep(self.folder / folder, stem)

    def damaged(self) -> list[int]:
        """The shards whose files are gone or of another size; ``embprobe verify`` reads every byte."""
        return [
            shard
            for shard, facts in self.shards.items()
            if _size(vectors_file(self.folder, shard)) != facts.bytes
            or _size(metadata_file(self.folder, shard)) != facts.metadata_bytes
        ]

    def drop_damaged(self) -> None:
        """Take damaged shards out of the manifest; the rest of the store stays as it is.

        Raises ``OSError`` and forgets nothing if their folder is not there and cannot be made (a disk that is away).
        """
        damaged = self.damaged()
        for shard in damaged:
            for path in (vectors_file(self.folder, shard), metadata_file(self.folder, shard)):
                path.parent.mkdir(parents=True, exist_ok=True)
        for shard in damaged:
            del self.shards[shard]
            self.lost.append(shard)
            _log.warning("Shard %d of the store '%s' is damaged or gone. It is made again.", shard, self.folder)
        if damaged:  # before files of the same name with other hashes are written
            self._write_manifest()

    def write_shard(
        self,
        shard: int,
        vectors: Floats,
        rows: Sequence[Row],
        rejected: Sequence[Rejected],
        seconds: Mapping[str, float] | None = None,
        *,
        copy_of: Path | None = None,
    ) -> None:
        """Write one shard whole: the vectors or tokens of ``rows``, and the rows that have none.

        Args:
            shard: Its number.
            vectors: The vectors.
            rows: Their rows.
            rejected: The rows without a vector.
            seconds: How long each stage took.
            copy_of: A file of another store with the same vectors; it gets another name where the system can do that,
                so that the vectors are on the disk once.

        Raises:
            OSError: The disk is full or may not be written to; the store is as it was.
        """
        if vectors.shape != (len(rows), *self.spec.shape):
            raise ValueError(f"expected vectors {(len(rows), *self.spec.shape)}, got {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise ValueError("vectors that are not finite belong among the rejected rows")
        began = time.perf_counter()
        contents = {
            vectors_file(self.folder, shard): _npy(vectors),
            metadata_file(self.folder, shard): self._table(rows),
        }
        if self.rows_from:
            contents[rows_file(self.folder, shard)] = _npy(row_marks(rows))
        for path, content in contents.items():
            with replacing(path) as temporary:
                if path.parent.name != "img_emb" or copy_of is None or not _linked(copy_of, temporary, content):
                    temporary.write_bytes(content)
        (digest, size), (metadata_digest, metadata_size), *marks = (
            (hashlib.sha256(content).hexdigest(), len(content)) for content in contents.values()
        )
        stages = dict(seconds or {}) | {"write": time.perf_counter() - began}
        before = self.shards.pop(shard, None)
        self.shards[shard] = ShardFacts(
            rows=len(rows),
            sha256=digest,
            bytes=size,
            metadata_sha256=metadata_digest,
            metadata_bytes=metadata_size,
            rows_sha256=marks[0][0] if marks else "",
            rejected=tuple(rejected),
            device=self.device,
            seconds={stage: round(taken, 3) for stage, taken in stages.items()},
            finite=True,
        )
        try:
            if self.complete:
                with replacing(self.folder / "rejected.jsonl") as path:
                    lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in self.rejected)
                    path.write_text("".join(lines), encoding="utf-8")
            self._write_manifest()  # last: every file it names is there
        except OSError:
            del self.shards[shard]
            if before is not None:
                self.shards[shard] = before
            raise
        self.written += len(rows)

    def keys(self) -> list[str]:
        """The keys of the rows that have a vector, in the order of :meth:`vectors`."""
        return [row.key for row in self.embedded().rows]

    def embedded(self) -> Images:
        """The rows that have a vector, in the order of :meth:`vectors`."""
        missing = {rejected.row for rejected in self.rejected}
        return self.images.take(i for i in range(len(self.images)) if i not in missing) if missing else self.images

    def vectors(self) -> Floats:
        """All vectors ``[n, d]`` or tokens ``[n, t, d]``, without a copy.

        They are the memory map of the only shard, or :class:`Blocks` of them all.
        Files stay as they are, whatever is done to the numbers. Raises as :meth:`blocks` does.
        """
        parts = list(self._opened("c" if len(self.shards) == 1 else "r"))
        if len(parts) > 1:
            return as_array(Blocks(parts))
        return parts[0] if parts else np.empty((0, *self.spec.shape), self.spec.stored)

    def blocks(self) -> Iterator[Floats]:
        """Open the vectors shard by shard, each ``[n, d]`` as a memory map, in the order of :meth:`keys`.

        Raises:
            EmbprobeError: The store is not complete, or a shard is missing or damaged.
        """
        return self._opened("r")

    def _opened(self, mode: Literal["r", "c"]) -> Iterator[Floats]:
        """Open the vectors shard by shard; "c": what is changed in memory, as users do, never reaches the file."""
        if not self.complete:
            raise EmbprobeError(f"The store '{self.folder}' is not complete. Extract again to finish it.")
        for shard, facts in sorted(self.shards.items()):
            try:
                block: Floats | None = np.load(vectors_file(self.folder, shard), mmap_mode=mode, allow_pickle=False)
            except (OSError, ValueError, EOFError):
                block = None
            if not isinstance(block, np.ndarray) or block.shape != (facts.rows, *self.spec.shape):
                raise EmbprobeError(
                    f"Shard {shard} of the store '{self.folder}' is damaged or missing. "
                    "Run 'embprobe verify --repair', then extract again: only such shards are encoded anew."
                )
            yield block

    @property
    def seconds(self) -> dict[str, float]:
        """How long each stage took over all shards, summed over the workers.

        Only writing is this store's alone; the other stages are of all encoders that the run gave the same shards.
        """
        stages = dict.fromkeys(stage for facts in self.shards.values() for stage in facts.seconds)
        return {stage: sum(facts.seconds.get(stage, 0.0) for facts in self.shards.values()) for stage in stages}

    def summary(self) -> dict[str, Any]:
        """The store in a few facts, for ``--json``."""
        return {
            "encoder": self.spec.name,
            "folder": str(self.folder),
            "images": len(self.embedded()),
            "encoded_now": self.written - self.taken,
            "taken_from_other_stores": self.taken,
            "dimension": self.spec.dimension,
            **({"tokens": asdict(self.spec.tokens)} if self.spec.tokens is not None else {}),
            "seconds": {stage: round(taken, 3) for stage, taken in self.seconds.items()},
            "damaged_and_done_again": self.lost,
            "rejected": [asdict(row) for row in self.rejected],
        }

    @cached_property
    def _labels(self) -> list[str]:
        return [name for name in self.images.label_names if name != "key"]

    def _table(self, rows: Sequence[Row]) -> bytes:
        """Keys and labels as the bytes of a parquet file."""
        table = pa.table(
            {
                "key": pa.array([printable(row.key) for row in rows], pa.string()),
                **{
                    printable(name): pa.array([_label(row, name) for row in rows], pa.string()) for name in self._labels
                },
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        content: bytes = sink.getvalue().to_pybytes()
        return content

    def _write_manifest(self) -> None:
        manifest = Manifest(
            schema=SCHEMA,
            encoder=asdict(self.spec),
            encoder_fingerprint=self.spec.fingerprint,
            images=self.images.name,
            images_fingerprint=self.images.fingerprint,
            rows_from=self.rows_from,
            count=len(self.images),
            shard_rows=self.shard_rows,
            complete=self.complete,
            shards=dict(sorted(self.shards.items())),
            device=self.device,
            versions=_versions(),
        )
        write_manifest(self.folder, manifest)


def open_store(folder: Path, spec: EncoderSpec, images: Images, *, device: str = "cpu") -> Store:
    """Open the store in ``folder``, with the shards that are written there, or an empty one.

    Raises :class:`EmbprobeError` if the folder holds a store of another schema version, encoder or images, or a damaged
    one.
    """
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        return Store(folder, spec, images, device)
    stored = manifest.encoder_fingerprint, manifest.images_fingerprint, manifest.count
    if stored != (spec.fingerprint, images.fingerprint, len(images)):
        raise EmbprobeError(f"The store '{folder}' is of another encoder or other images. Remove it to extract again.")
    return Store(folder, spec, images, device, manifest.shards, manifest.shard_rows)


def vectors_file(folder: Path, shard: int) -> Path:
    """Where a shard's vectors lie in a store."""
    return folder / "img_emb" / f"img_emb_{shard:05d}.npy"


def metadata_file(folder: Path, shard: int) -> Path:
    """Where the keys and labels of a shard's rows lie in a store."""
    return folder / "metadata" / f"metadata_{shard:05d}.parquet"


def rows_file(folder: Path, shard: int) -> Path:
    """Where the marks of a shard's rows lie in a store (:func:`row_marks`), in the order of its vectors."""
    return folder / "rows" / f"rows_{shard:05d}.npy"


def row_marks(rows: Iterable[Row]) -> NDArray[np.uint64]:
    """Return a hash of each row's key and content, ``[n]``.

    64 bits: of a million rows looked up among a million others, one is mistaken with a probability of 5e-8.
    """
    texts = (f"{row.key}\0{row.content}".encode("utf-8", "surrogatepass") for row in rows)
    return np.frombuffer(b"".join(hashlib.sha256(text).digest()[:8] for text in texts), np.uint64)


@cache
def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}}


def _label(row: Row, name: str) -> str | None:
    return printable(row.labels[name]) if name in row.labels else None


def _npy(vectors: NDArray[Any]) -> bytes:
    """The bytes of a .npy file; written by hand they fail on a full disk with a reason, which NumPy's own do not."""
    buffer = io.BytesIO()
    np.save(buffer, vectors)
    return buffer.getvalue()


def _linked(other: Path, path: Path, content: bytes) -> bool:
    """Give a file another name, if it holds this content and the file system can do that; return whether it did."""
    try:
        if other.read_bytes() != content:
            return False
        path.hardlink_to(other)
    except OSError:
        return False
    return True


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
