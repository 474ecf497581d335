"""Example images of a card: as they are, and under the changes that the card makes."""

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
"""Most changes of a card that are shown."""
ALIKE = 3
"""Most changes by one intervention that are shown."""
_PLAIN, _TRIED = 8, 12


@dataclass(frozen=True)
class Shown:
    """A picture and its caption, which gives the reason if there is no picture."""

    picture: str
    """A data URI, or empty."""
    caption: str


@dataclass(frozen=True)
class Examples:
    """Lines of pictures: a line per image, the original first, if the card changes images, else one line of images."""

    lines: Sequence[Sequence[Shown]]
    changed: bool
    left_out: int
    """The number of the card's changes that are not shown."""


def examples_of(card: Mapping[str, Any], images: Images, *, seed: int) -> Examples:
    """Choose random images that the card measures, and show them under its changes, or as they are if it has none.

    Images that the first change alters are taken before others. There are no examples of a card without measures.
    """
    changes = list(dict.fromkeys(_changes(card)))
    shown = _few(changes)
    rows = _chosen(card, images, seed) if _measures(card) else []
    if not changes:
        return Examples(
            [[_as_it_is(row, str(card.get("attribute"))) for row in rows[:_PLAIN]]] if rows else [], False, 0
        )
    lines = [_line(row, shown[:1], images, seed) for row in rows[:_TRIED]]
    order = sorted(range(len(lines)), key=lambda i: not _differs(lines[i]))  # altered images come first
    chosen = [rows[i] for i in order[:EXAMPLES]]
    return Examples([_line(row, shown, images, seed) for row in chosen], True, len(changes) - len(shown))


def _measures(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(card.get("measures") or [])


def _changes(card: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield interventions with their strengths and controls, then treatments, as the card names them."""
    for measure in _measures(card):
        if name := measure.get("intervention"):
            strengths = measure.get("strengths") or []
            yield from ((name, float(strength)) for strength in strengths)
            control, _, own_strength = str(measure.get("control") or "").partition(" ")
            if own_strength:  # a treatment of its own, such as "noise 0.05"
                yield control, float(own_strength)
            elif control and strengths:
                yield f"{name}/{control}", float(strengths[-1])
    for measure in _measures(card):
        treatments = measure.get("treatments") or {}
        factors = (measure.get("factors") or {}).values()
        treated = [measure.get("under") or "none"]
        for levels in [treatments, *(factor for factor in factors if isinstance(factor, Mapping))]:
            treated += [text for texts in levels.values() for text in texts] if isinstance(levels, Mapping) else levels
        for text in treated:
            name, _, strength = str(text).partition(" ")
            if strength:
                yield name, float(strength)


def _few(changes: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Keep at most ``CHANGES``, and ``ALIKE`` by one intervention: of ten words drawn into an image three will do."""
    seen: Counter[str] = Counter()
    shown = []
    for name, strength in changes:
        front = name.partition("=")[0]
        seen[front] += 1
        if seen[front] <= ALIKE:
            shown.append((name, strength))
    return shown[:CHANGES]


def _differs(line: Sequence[Shown]) -> bool:
    """Return whether the first change altered the image: a black drawing has no hue to turn."""
    return len(line) > 1 and line[1].picture not in ("", line[0].picture)


def _chosen(card: Mapping[str, Any], images: Images, seed: int) -> list[Row]:
    """Return rows in random order, of those that the first measure with a selection takes, if they have its labels."""
    where: Mapping[str, Any] = next((w for m in _measures(card) if (w := (m.get("images") or {}).get("where"))), {})
    selection = {label: values for label, values in where.items() if images.has(label)}
    rows = images.where(**selection).rows or images.rows
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[i] for i in order]


def _line(row: Row, changes: Sequence[tuple[str, float]], donors: Images, seed: int) -> list[Shown]:
    """Show a row as it is, then under each change; words and palettes are taken from ``donors``."""
    caption = ", ".join(describe(row))
    try:
        small = shrunk(row, 2 * SIDE)
        original = small.load()
    except (UnreadableImage, OSError) as reason:
        return [Shown("", f"{caption}: cannot be read ({reason})")]
    line = [Shown(data_uri(original, SIDE), caption)]
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
