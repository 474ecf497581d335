"""Queries for neighbours from names, texts and conditions as a user types them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from embprobe.encoders.spec import Encoder
from embprobe.errors import UsageError
from embprobe.images import find_row, load_images
from embprobe.images.rows import Images, Row
from embprobe.images.sources import exists
from embprobe.search.neighbors import Query
from embprobe.system.pixels import MAX_PIXELS


def parse_queries(
    names: Sequence[str], images: Images, *, texts: Sequence[str] = (), minus: Sequence[str] = ()
) -> list[Query]:
    """Make a query of each image: a file, each file of a folder, or a row of ``images`` by its key.

    ``texts`` are added to each; without an image they are one query by themselves. Each of ``minus`` is subtracted: an
    image file, a key of ``images``, or else a text. Raises :class:`UsageError` if there is neither an image nor a text,
    and for a name that is neither a file nor a key.
    """
    if blank := [text for text in (*texts, *minus) if not text.strip()]:
        raise UsageError(f"A text to find must say something; '{blank[0]}' does not.")
    keys = {row.key: row for row in images.rows if row.key in minus}  # of millions of rows, few are kept
    subtracted = {name: _row(name, images, keys) for name in minus}
    minus_rows = tuple(row for row in subtracted.values() if row is not None)
    minus_texts = tuple(text for text, row in subtracted.items() if row is None)
    queries = [Query(row, tuple(texts), minus_rows, minus_texts) for name in names for row in _rows(name, images)]
    if not queries and texts:
        queries = [Query(None, tuple(texts), minus_rows, minus_texts)]
    if not queries:
        raise UsageError("Say what to look for: an image file, or --text and some words.")
    return queries


def encoders_for(queries: Sequence[Query], encoders: Sequence[Encoder]) -> tuple[list[Encoder], list[Encoder]]:
    """Split encoders into those that can answer the queries and, where a query has text, those that take none.

    Raises :class:`UsageError` if none of them can.
    """
    if not any(query.has_text for query in queries):
        return [*encoders], []
    able = [encoder for encoder in encoders if encoder.spec.has_text]
    if not able:
        names = ", ".join(encoder.spec.name for encoder in encoders)
        raise UsageError(f"None of the encoders takes text ({names}). Try -e bundled/clip or one of open_clip's.")
    return able, [encoder for encoder in encoders if not encoder.spec.has_text]


def parse_where(conditions: Sequence[str]) -> dict[str, list[str]]:
    """Parse conditions such as ``category=Food,Drink`` into values by label; a label that is repeated gains values.

    Raises :class:`UsageError` for a condition without a label, an equals sign or a value.

    >>> parse_where(["category=Food,Drink", "style=noto"])
    {'category': ['Food', 'Drink'], 'style': ['noto']}
    """
    values_by_label: dict[str, list[str]] = {}
    for condition in conditions:
        label, equals, values = condition.partition("=")
        if not (label and equals and values):
            raise UsageError(f"--where wants LABEL=VALUE, such as category=Food; '{condition}' is none.")
        values_by_label.setdefault(label, []).extend(values.split(","))
    return values_by_label


def _row(name: str, images: Images, keys: dict[str, Row]) -> Row | None:
    path = Path(name)
    if exists(path) and path.is_file():
        return find_row(name, images)
    return keys.get(name)


def _rows(name: str, images: Images) -> Sequence[Row]:
    path = Path(name)
    if not exists(path) or not path.is_dir():
        return [find_row(name, images)]
    most = max((row.max_pixels for row in images.rows), default=MAX_PIXELS)
    return load_images(name).limited_to(most).rows
