"""What was typed, made into queries for neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from embprobe.encoders.spec import Encoder
from embprobe.errors import UsageError
from embprobe.images import find_row, load_images
from embprobe.images.rows import Images, Row
from embprobe.images.sources import exists
from embprobe.search.neighbors import Query


def parse_queries(
    names: Sequence[str], images: Images, *, texts: Sequence[str] = (), minus: Sequence[str] = ()
) -> list[Query]:
    """A query for each image: a file, each file of a folder, or a row of ``images`` by its key.

    ``texts`` are added to each; without an image they are one query by themselves. What is to be taken away is an image
    file, a key of ``images``, or else a text. Raises :class:`UsageError` if there is nothing to ask, and for what is
    neither a file nor a key.
    """
    if blank := [text for text in (*texts, *minus) if not text.strip()]:
        raise UsageError(f"A text to find must say something; '{blank[0]}' does not.")
    keys = {row.key: row for row in images.rows}
    rows = {what: _row(what, keys) for what in minus}
    taken = [row for row in rows.values() if row is not None]
    silent = tuple(what for what, row in rows.items() if row is None)
    queries = [Query(row, tuple(texts), tuple(taken), silent) for name in names for row in _rows(name, images)]
    if not queries and texts:
        queries = [Query(None, tuple(texts), tuple(taken), silent)]
    if not queries:
        raise UsageError("Say what to look for: an image file, or --text and some words.")
    return queries


def encoders_for(queries: Sequence[Query], encoders: Sequence[Encoder]) -> tuple[list[Encoder], list[Encoder]]:
    """Split encoders into those that can answer the queries and, where a query has text, those that take none.

    Raises :class:`UsageError` if none of them can.
    """
    if not any(query.reads for query in queries):
        return [*encoders], []
    able = [encoder for encoder in encoders if encoder.spec.has_text]
    if not able:
        names = ", ".join(encoder.spec.name for encoder in encoders)
        raise UsageError(f"None of the encoders takes text ({names}). Try -e bundled/clip or one of open_clip's.")
    return able, [encoder for encoder in encoders if not encoder.spec.has_text]


def parse_where(conditions: Sequence[str]) -> dict[str, list[str]]:
    """``category=Food,Drink`` to the label and its values; the same label again adds values.

    Raises :class:`UsageError` for what has no equals sign.

    >>> parse_where(["category=Food,Drink", "style=noto"])
    {'category': ['Food', 'Drink'], 'style': ['noto']}
    """
    found: dict[str, list[str]] = {}
    for condition in conditions:
        label, equals, values = condition.partition("=")
        if not (label and equals and values):
            raise UsageError(f"--where wants LABEL=VALUE, such as category=Food; '{condition}' is none.")
        found.setdefault(label, []).extend(values.split(","))
    return found


def _row(what: str, keys: dict[str, Row]) -> Row | None:
    path = Path(what)
    if exists(path) and path.is_file():
        return find_row(what, Images("", tuple(keys.values())))
    return keys.get(what)


def _rows(name: str, images: Images) -> Sequence[Row]:
    path = Path(name)
    return load_images(name).rows if exists(path) and path.is_dir() else [find_row(name, images)]
