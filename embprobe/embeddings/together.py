"""Group the sets of images that are encoded together: within bounds of memory and open files, and none twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from embprobe.embeddings.job import Wanted, merged
from embprobe.encoders.spec import Encoder
from embprobe.system.files import most_open_files

_VECTORS = 2**30
"""Bytes of the vectors of a group, at most: most of its shards are full, and written, near the end of the pass."""


def groups_of(wanted: Sequence[Wanted], *, most_rows: int) -> Iterator[list[Wanted]]:
    """Yield the sets that are encoded together, in their order, each with those of its encoders that read pictures.

    Sets without rows, pictures or such encoders are left out; so are sets whose vectors are taken from the store of a
    larger one, and those of more than ``most_rows`` rows, which gain nothing.

    Args:
        wanted: The sets.
        most_rows: Rows of a group, at most: each is an object in memory.
    """
    able = [replace(each, encoders=_reading(each)) for each in merged(wanted) if each.images.has_pictures]
    group: list[Wanted] = []
    rows = stores = held = 0
    for each in _largest([each for each in able if each.encoders and len(each.images) <= most_rows]):
        rows, stores = rows + len(each.images), stores + len(each.encoders)  # which hold the files of their locks open
        held += len(each.images) * sum(encoder.spec.bytes for encoder in each.encoders)
        if group and (rows > most_rows or stores > most_open_files() // 2 or held > _VECTORS):
            yield group
            group, rows, stores = [], len(each.images), len(each.encoders)
            held = rows * sum(encoder.spec.bytes for encoder in each.encoders)
        group.append(each)
    if group:
        yield group


def _reading(wanted: Wanted) -> list[Encoder]:
    """Return the encoders that read pictures, each once."""
    reading = (encoder for encoder in wanted.encoders if encoder.spec.image_input is not None)
    return list({encoder.spec.fingerprint: encoder for encoder in reading}.values())


def _largest(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Leave out sets whose rows are all in a larger one, unchanged or changed in the same way.

    Their vectors are taken from its store, without reading an image, when they are embedded.
    """
    families: dict[tuple[str, str], list[Wanted]] = {}
    for each in wanted:
        if each.images.place:
            family = each.images.place, each.images.name.partition("+")[2]
            families.setdefault(family, []).append(each)
    left_out: set[int] = set()
    for members in families.values():
        if len(members) > 1:
            largest = max(members, key=lambda each: len(each.images))
            left_out.update(id(each) for each in members if _is_part(each, largest))
    return [each for each in wanted if id(each) not in left_out]


def _is_part(part: Wanted, whole: Wanted) -> bool:
    """Return whether a larger set has all rows and encoders of another one."""
    if len(part.images) >= len(whole.images):
        return False
    encoders = {encoder.spec.fingerprint for encoder in whole.encoders}
    if not encoders.issuperset(encoder.spec.fingerprint for encoder in part.encoders):
        return False
    rows = {(row.key, row.content) for row in whole.images.rows}
    return rows.issuperset((row.key, row.content) for row in part.images.rows)
