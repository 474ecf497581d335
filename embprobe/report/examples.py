"""Example images of a card: as they are, and as it changed them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.images import Images, Row, UnreadableImage
from embprobe.interventions.preview import shrunk, under
from embprobe.plots.thumbnails import describe
from embprobe.report.thumbnails import data_uri

SIDE = 96
EXAMPLES = 3
CHANGES = 9
"""So many of what a card does are shown."""
ALIKE = 3
_PLAIN, _TRIED = 8, 12


@dataclass(frozen=True)
class Shown:
    """A picture and what stands under it; without a picture, the reason does."""

    picture: str
    """A data URI, or empty."""
    caption: str


@dataclass(frozen=True)
class Examples:
    """Lines of pictures: of a card that changes images, one line an image, the original first."""

    lines: Sequence[Sequence[Shown]]
    changed: bool
    left_out: int
    """Changes that the card makes and the lines lack."""


def examples_of(card: Mapping[str, Any], images: Images, *, seed: int) -> Examples:
    """Random images that the card is asked of, under what it does, or as they are if it changes nothing; none, if the
    card has no measures.

    Of those tried, the ones that the first change does something to are taken before others.
    """
    changes = list(dict.fromkeys(_changes(card)))
    shown = _few(changes)
    rows = _chosen(card, images, seed) if _measures(card) else []
    if not changes:
        return Examples(
            [[_as_it_is(row, str(card.get("attribute"))) for row in rows[:_PLAIN]]] if rows else [], False, 0
        )
    lines = [_line(row, shown[:1], images, seed) for row in rows[:_TRIED]]
    order = sorted(range(len(lines)), key=lambda i: not _differs(lines[i]))  # those that it changes come first
    chosen = [rows[i] for i in order[:EXAMPLES]]
    return Examples([_line(row, shown, images, seed) for row in chosen], True, len(changes) - len(shown))


def _measures(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(card.get("measures") or [])


def _changes(card: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Interventions with their strengths and controls, then treatments, as the card names them."""
    for measure in _measures(card):
        if name := measure.get("intervention"):
            strengths = measure.get("strengths") or []
            yield from ((name, float(strength)) for strength in strengths)
            if measure.get("control") and strengths:
                yield f"{name}/{measure['control']}", float(strengths[-1])
    for measure in _measures(card):
        treatments = measure.get("treatments") or {}
        factors = (measure.get("factors") or {}).values()
        said = [measure.get("under") or "none"]
        for levels in [treatments, *(each for each in factors if isinstance(each, Mapping))]:
            said += [text for texts in levels.values() for text in texts] if isinstance(levels, Mapping) else levels
        for text in said:
            name, _, strength = str(text).partition(" ")
            if strength:
                yield name, float(strength)


def _few(changes: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """At most ``CHANGES``, and ``ALIKE`` by one intervention: of ten words drawn into an image three will do."""
    met: Counter[str] = Counter()
    shown = []
    for name, strength in changes:
        front = name.partition("=")[0]
        met[front] += 1
        if met[front] <= ALIKE:
            shown.append((name, strength))
    return shown[:CHANGES]


def _differs(line: Sequence[Shown]) -> bool:
    """Whether the first change did anything: a black drawing has no hue to turn."""
    return len(line) > 1 and line[1].picture not in ("", line[0].picture)


def _chosen(card: Mapping[str, Any], images: Images, seed: int) -> list[Row]:
    """In random order, of those that the first measure with a choice is asked of, if the images have its labels."""
    where: Mapping[str, Any] = next((w for m in _measures(card) if (w := (m.get("images") or {}).get("where"))), {})
    known = {label: values for label, values in where.items() if images.has(label)}
    rows = images.where(**known).rows or images.rows
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[i] for i in order]


def _line(row: Row, changes: Sequence[tuple[str, float]], donors: Images, seed: int) -> list[Shown]:
    told = ", ".join(describe(row))
    try:
        small = shrunk(row, 2 * SIDE)
        original = small.load()
    except (UnreadableImage, OSError) as reason:
        return [Shown("", f"{told}: cannot be read ({reason})")]
    line = [Shown(data_uri(original, SIDE), told)]
    for name, strength in changes:
        try:
            cell = under(small, original, name, strength, donors, seed=seed)
        except (EmbprobeError, OSError) as reason:
            line.append(Shown("", f"{name} {strength:g}: {reason}"))
            continue
        picture = "" if cell.picture is None else data_uri(cell.picture, SIDE)
        line.append(Shown(picture, f"{name} {strength:g}" + (f": {cell.reason}" if cell.reason else "")))
    return line


def _as_it_is(row: Row, label: str) -> Shown:
    caption = ", ".join([*describe(row), row.labels.get(label, "")]).rstrip(", ")
    try:
        return Shown(data_uri(row.load(at_least=SIDE), SIDE), caption)
    except (UnreadableImage, OSError) as reason:
        return Shown("", f"{caption}: cannot be read ({reason})")
