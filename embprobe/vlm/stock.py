"""Sort the cut-outs of a set by what may be asked about them, so that truth and other options are drawn alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images
from embprobe.system.text import visible
from embprobe.vlm.scenes import looks_other, trimmed

Rng = np.random.Generator
OPTIONS = 4
"""Options of a question."""
LONGEST = 12
"""Letters of a name that may be asked: longer ones are rare words, and many."""
_TRIES = 60
"""Draws after which a question is left out because its options may both be right."""
UPRIGHT = ("Animals & Nature", "Smileys & Emotion")
"""Categories of the bundled drawings in which nearly everything has an upright position."""


@dataclass(frozen=True, eq=False)
class Stock:
    """The rows by style and category, each of which every style has."""

    images: Images
    styles: tuple[str, ...]
    categories: tuple[str, ...]
    """Those with rows in every style; one, "", where images have too few to ask about."""
    cells: dict[tuple[str, str], Sequence[int]]
    """The positions of the rows of a style and a category."""
    named: dict[tuple[str, str], Sequence[int]]
    """Those of them whose name may be asked."""
    named_categories: tuple[str, ...]
    """Those that have at least four names in every style."""
    names: Sequence[str]
    """The name of every row, "" where it may not be asked."""
    concepts: Sequence[str]
    words: Sequence[frozenset[str]]
    """The words of every row's name and keywords: those that share one may both be right."""
    notes: tuple[str, ...]
    _looks: dict[int, bool] = field(default_factory=dict)

    @property
    def has_styles(self) -> bool:
        """Whether there are styles enough to ask for one."""
        return len(self.styles) >= OPTIONS

    @property
    def has_categories(self) -> bool:
        """Whether there are categories enough to ask for one."""
        return len(self.categories) >= OPTIONS

    def style(self, rng: Rng) -> str:
        """Draw a style."""
        return self.styles[int(rng.integers(len(self.styles)))]

    def row(self, rng: Rng, style: str, category: str | None = None) -> int:
        """Draw a row of a style, of a given category or of one drawn first."""
        chosen = self.categories[int(rng.integers(len(self.categories)))] if category is None else category
        cell = self.cells[style, chosen]
        return cell[int(rng.integers(len(cell)))]

    def turnable(self, rng: Rng, style: str, *, upright: bool = False) -> int | None:
        """Draw a row that looks another in each of four positions; with ``upright``, one that stands in one of them."""
        standing = [each for each in self.categories if each in UPRIGHT] if upright else []
        for _ in range(_TRIES):
            category = standing[int(rng.integers(len(standing)))] if standing else None
            row = self.row(rng, style, category)
            if row not in self._looks:
                self._looks[row] = self._looks_turned(row)
            if self._looks[row]:
                return row
        return None

    def _looks_turned(self, position: int) -> bool:
        try:
            piece = trimmed(self.images.rows[position].read())
        except UnreadableImage:
            return False
        return looks_other(piece, 2) and looks_other(piece, 1)

    def different(self, rng: Rng, style: str, categories: Sequence[str]) -> list[int] | None:
        """Draw a row with a name of each category, such that no name is true of another's row.

        Every order of them is as probable: which is the truth may be chosen afterwards.
        """
        for _ in range(_TRIES):
            rows = [cell[int(rng.integers(len(cell)))] for each in categories for cell in [self.named[style, each]]]
            if all(self.words[a].isdisjoint(self.words[b]) for i, a in enumerate(rows) for b in rows[:i]):
                return rows
        return None


def take_stock(images: Images, names: Collection[str] | None) -> Stock:
    """Sort a set's rows.

    Args:
        images: Cut-outs, with labels ``style``, ``category``, ``concept`` and ``name`` as far as they have them.
        names: The names that may be asked and offered; all by default.

    Raises:
        EmbprobeError: There are no images, or one that was looked at has no transparent background.
    """
    _check(images)
    known = None if names is None else {each.lower() for each in names}
    notes: list[str] = []
    columns = {each: images.values(each) for each in ("style", "category", "name", "keywords", "concept")}
    asked = [_askable(name, known) for name in columns["name"]]
    words = [
        frozenset(" ".join((name or "", keywords or "")).lower().replace(",", " ").split())
        for name, keywords in zip(columns["name"], columns["keywords"], strict=True)
    ]
    style = _values(columns["style"], "style", "'style'", notes)
    category = _values(columns["category"], "category", "'category' and 'reasoning'", notes)
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)
    for position, cell in enumerate(zip(style, category, strict=True)):
        cells[cell].append(position)
    styles = tuple(sorted(set(style)))
    complete = tuple(each for each in sorted(set(category)) if all(cells.get((s, each)) for s in styles))
    if len(complete) < min(OPTIONS, len(set(category))):
        notes.append("Too few categories have images in every style: nothing is asked about styles.")
        cells, styles = defaultdict(list), ("",)
        for position, each in enumerate(category):
            cells["", each].append(position)
        complete = tuple(sorted(set(category)))
    named = {cell: [i for i in rows if asked[i]] for cell, rows in cells.items()}
    with_names = tuple(
        each for each in complete if all(len({asked[i] for i in named.get((s, each), ())}) >= OPTIONS for s in styles)
    )
    if not with_names:
        notes.append(f"No name is asked: that needs {OPTIONS} names of one word and at most {LONGEST} letters.")
    concepts = [concept or name or "" for concept, name in zip(columns["concept"], columns["name"], strict=True)]
    return Stock(images, styles, complete, dict(cells), named, with_names, asked, concepts, words, tuple(notes))


def _check(images: Images) -> None:
    if not len(images):
        raise EmbprobeError(f"There are no images in '{images.name}' to make scenes of.")
    for position in sorted({0, len(images) // 2, len(images) - 1}):
        row = images.rows[position]
        try:
            trimmed(row.read())
        except UnreadableImage as reason:
            raise EmbprobeError(
                f"'{visible(row.key)}' in '{images.name}' cannot be used: {reason}. Questions need cut-outs: PNG or "
                "WebP images with transparency around one object."
            ) from None


def _askable(name: str | None, known: Collection[str] | None) -> str:
    """Return a name in lower case, "" if it may not be asked."""
    plain = (name or "").lower()
    fits = plain.isascii() and plain.isalpha() and len(plain) <= LONGEST
    return plain if fits and (known is None or plain in known) else ""


def _values(column: Sequence[str | None], label: str, groups: str, notes: list[str]) -> list[str]:
    """Return a label's values, or "" for every row if they are incomplete or too few."""
    present = [each for each in column if each is not None]
    if len(present) < len(column) or len(set(present)) < OPTIONS:
        notes.append(
            f"Nothing is asked of group {groups}: that needs a label '{label}' of every image, {OPTIONS} values."
        )
        return [""] * len(column)
    return present
