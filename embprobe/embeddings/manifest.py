"""The manifest of a store: what it is of, and the facts of every shard that is written.

Schema 2. An encoder is kept as its spec was written (with the fields of ``image_input`` among the others, or in a table
of their own), because later versions of a spec have other fields; fingerprints decide whether it is the same one.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, StrictBool, model_validator
from pydantic.dataclasses import dataclass

from embprobe.errors import EmbprobeError
from embprobe.system.files import write_json
from embprobe.system.models import Count, DamagedFile, Number, Record, check_json, read_json
from embprobe.system.text import printable

SCHEMA: Final = 2
_NAME = "manifest.json"
_Printable = Annotated[str, AfterValidator(printable)]
_ShardNumber = Annotated[int, Field(ge=0)]  # not strict: JSON's keys are strings


@dataclass(frozen=True)
class Rejected:
    """A row whose image could not be read, and why."""

    key: _Printable
    reason: _Printable
    row: Count
    """Its position among the rows."""


class ShardFacts(Record):
    """One written shard: the size and hash of its two files, its rows without a vector, how long it took and on what.

    The vectors' file has ``rows`` vectors; the metadata's file holds keys and labels of the same rows.
    """

    rows: Count
    sha256: str
    bytes: Count
    metadata_sha256: str
    metadata_bytes: Count
    rows_sha256: str = ""
    """Of the rows' marks; "" in stores of earlier versions, and no vector is taken from those."""
    rejected: tuple[Rejected, ...]
    device: str
    seconds: dict[_Printable, Number]
    """By stage (read, decode, encode, write), summed over the workers."""
    finite: StrictBool = False
    """Whether rows with a vector that is not finite were rejected; earlier versions kept them."""


class Manifest(Record):
    """A store's ``manifest.json``: encoder, images, and the shards that are written.

    Shard *i* holds the rows from ``i * shard_rows`` on, less those that were rejected; the images have ``count`` rows.
    """

    schema_: Literal[2] = Field(alias="schema")
    encoder: dict[str, Any]
    encoder_fingerprint: str
    images: str
    images_fingerprint: str
    rows_from: str = ""
    """A hash of where the rows come from and how they are changed; "" if that is not known."""
    count: Count
    shard_rows: Annotated[Count, Field(ge=1)]
    complete: StrictBool
    shards: dict[_ShardNumber, ShardFacts]
    device: str
    versions: dict[str, str]

    @model_validator(mode="after")
    def _shards_lie_within_the_rows(self) -> Manifest:
        if beyond := [shard for shard in self.shards if shard * self.shard_rows >= self.count]:
            raise ValueError(f"shard {beyond[0]} is beyond the last of {self.count} rows")
        return self

    @property
    def encoder_name(self) -> str:
        """The encoder as ``family/model:weights``."""
        weights = self.encoder.get("weights")
        return f"{self.encoder.get('family')}/{self.encoder.get('model')}" + (f":{weights}" if weights else "")

    def without(self, shards: Collection[int]) -> Manifest:
        """The manifest of the same store as if these shards had not been written."""
        kept = {shard: facts for shard, facts in self.shards.items() if shard not in shards}
        return self.model_copy(update={"shards": kept, "complete": False})


def manifest_file(folder: Path) -> Path:
    """Where a store's manifest lies."""
    return folder / _NAME


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the store in ``folder``.

    Raises :class:`EmbprobeError` if it is damaged or of another schema version, ``FileNotFoundError`` if there is none.
    """
    path = manifest_file(folder)
    try:
        content = read_json(path)
        schema = content.get("schema", SCHEMA)
        if schema != SCHEMA:
            raise EmbprobeError(f"The store '{folder}' was written with schema {schema}; this embprobe reads {SCHEMA}.")
        return check_json(Manifest, content, path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise EmbprobeError(f"'{path}' cannot be read: {error.strerror}.") from None
    except DamagedFile as damage:
        raise EmbprobeError(f"'{path}' is damaged. Remove the folder '{folder}' to extract it again.") from damage


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of the store in ``folder``, whole or not at all; raises ``OSError`` if it cannot."""
    write_json(manifest_file(folder), manifest.model_dump(by_alias=True, exclude_defaults=True))
