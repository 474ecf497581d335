"""Sort the cut-outs of a set by what may be asked about them, so that truth and other options are drawn alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images
from embprobe.system.text import visible
from embprobe.vlm.scenes import looks_turned, trimmed

Rng = np.random.Generator
OPTIONS = 4
"""Options of a question."""
LONGEST = 12
"""Letters of a name that may be asked: longer ones are rare words, and many."""
VAGUE = frozenset({"Activities", "Flags", "Objects", "Symbols"})
"""Categories of the bundled drawings that people would draw the borders of elsewhere: a medal is an activity."""
BORDERING = frozenset({"Smileys & Emotion", "Travel & Places"})
"""Those of the others that have things which could be of another: cats that smile, snowflakes."""
UPRIGHT, LYING = "face", frozenset({"upside", "rolling"})
"""The word for things that people know to stand upright, among names and keywords, and words for those that do not.

Other drawings stand as it suits them: leaves, tools and fruits at a slant.
"""
_TRIES = 60
"""Draws after which there is no such row: of several whose names share no word, or of one that looks another turned."""


@dataclass(frozen=True, eq=False)
class Stock:
    """The rows of a set by their style and category."""

    images: Images
    styles: tuple[str, ...]
    """Those that may be asked; one, "", where they may not."""
    kinds: tuple[str, ...]
    """The categories that may be asked, with rows in every style; none, where there are too few."""
    named: tuple[str, ...]
    """The categories with at least four names that may be asked in every style; "" is that of images without one."""
    of_style: Mapping[str, Sequence[int]]
    """The positions of a style's rows."""
    standing: Mapping[str, Sequence[int]]
    """The positions of a style's rows that have an upright position; all of them where it has none of a face."""
    cells: Mapping[tuple[str, str], Sequence[int]]
    """Those of the rows of a style and a category, which is "" where not every image has one."""
    named_cells: Mapping[tuple[str, str], Sequence[int]]
    """Those of them whose name may be asked."""
    names: Sequence[str]
    """The name of every row, "" where it may not be asked."""
    categories: Sequence[str]
    """The category of every row."""
    concepts: Sequence[str]
    words: Sequence[frozenset[str]]
    """The words of every row's name and keywords: of two that share one, the same may be true."""
    notes: tuple[str, ...]
    """The groups that are left out, and why."""
    _looks: dict[int, bool] = field(default_factory=dict)

    @property
    def has_styles(self) -> bool:
        """Whether the style may be asked."""
        return self.styles != ("",)

    def style(self, rng: Rng) -> str:
        """Draw a style."""
        return self.styles[int(rng.integers(len(self.styles)))]

    def row(self, rng: Rng, style: str, category: str | None = None) -> int:
        """Draw a row of a style, and of a category if one is given."""
        rows = self.of_style[style] if category is None else self.cells[style, category]
        return rows[int(rng.integers(len(rows)))]

    def unlike(self, rng: Rng, style: str, row: int) -> int | None:
        """Draw a row of a style that shows something else than another row; None if there is hardly any."""
        for _ in range(_TRIES):
            other = self.row(rng, style)
            if self.concepts[other] != self.concepts[row] and self.words[other].isdisjoint(self.words[row]):
                return other
        return None

    def turnable(self, rng: Rng, style: str, *, standing: bool = False) -> int | None:
        """Draw a row that looks another in each position, one of ``standing`` if asked for; None if hardly any does."""
        rows = (self.standing if standing else self.of_style)[style]
        for _ in range(_TRIES):
            row = rows[int(rng.integers(len(rows)))]
            if row not in self._looks:
                self._looks[row] = self._turns(row)
            if self._looks[row]:
                return row
        return None

    def _turns(self, position: int) -> bool:
        try:
            return looks_turned(trimmed(self.images.rows[position].read()))
        except UnreadableImage:
            return False

    def different(self, rng: Rng, style: str, categories: Sequence[str]) -> list[int] | None:
        """Draw a row with a name of each category, such that no name is true of another's row.

        None if that fails again and again. All of them are drawn alike, so that any one can be the truth.
        """
        cells = [self.named_cells[style, each] for each in categories]
        for _ in range(_TRIES):
            rows = [cell[int(rng.integers(len(cell)))] for cell in cells]
            if all(self.words[a].isdisjoint(self.words[b]) for i, a in enumerate(rows) for b in rows[:i]):
                return rows
        return None


def take_stock(images: Images, names: Collection[str] | None = None) -> Stock:
    """Sort a set's rows.

    Args:
        images: Cut-outs, with labels ``style``, ``category``, ``concept`` and ``name`` as far as they have them.
        names: The names that may be asked and offered; by default all.

    Raises:
        EmbprobeError: There are no images, or one that was looked at has no transparent background.
    """
    _check(images)
    notes: list[str] = []
    known = None if names is None else {each.lower() for each in names}
    columns = {each: images.values(each) for each in ("style", "category", "name", "keywords", "concept")}
    asked = [_askable(name, known) for name in columns["name"]]
    category, style = (_values(columns[each]) for each in ("category", "style"))
    if len(set(style)) < OPTIONS:
        notes.append(_note("style", "styles", "style"))
        style = [""] * len(images)
    styles = tuple(sorted(set(style)))
    cells, of_style = defaultdict[tuple[str, str], list[int]](list), defaultdict[str, list[int]](list)
    for position, cell in enumerate(zip(style, category, strict=True)):
        cells[cell].append(position)
        of_style[cell[0]].append(position)
    everywhere = [each for each in sorted(set(category)) if all((own, each) in cells for own in styles)]
    clear = [each for each in everywhere if each not in VAGUE]
    kinds = tuple(clear if len(clear) >= OPTIONS else everywhere)
    if len(kinds) < OPTIONS:
        notes.append(_note("category", "categories" + " that every style has" * (len(styles) > 1), "kinds of things"))
        kinds = ()
    named_cells = {cell: [i for i in rows if asked[i]] for cell, rows in cells.items()}
    named = tuple(
        each for each in everywhere if all(len({asked[i] for i in named_cells[own, each]}) >= OPTIONS for own in styles)
    )
    if not named and known != set():
        notes.append(f"Nothing is asked about names: that needs {OPTIONS} of one word of at most {LONGEST} letters")
    words = _words(columns)
    faces = {own: [i for i in rows if UPRIGHT in words[i] and not LYING & words[i]] for own, rows in of_style.items()}
    return Stock(
        images=images,
        styles=styles,
        kinds=kinds,
        named=named,
        of_style=of_style,
        standing={own: faces[own] or rows for own, rows in of_style.items()},
        cells=cells,
        named_cells=named_cells,
        names=asked,
        categories=category,
        concepts=_concepts(images.keys, columns),
        words=words,
        notes=tuple(notes),
    )


def _check(images: Images) -> None:
    if not len(images):
        raise EmbprobeError(f"There are no images in '{images.name}' to make scenes of.")
    for position in sorted({0, len(images) // 2, len(images) - 1}):
        row = images.rows[position]
        try:
            trimmed(row.read())
        except UnreadableImage as reason:
            raise EmbprobeError(
                f"'{visible(row.key)}' in '{images.name}' cannot be used: {reason}. Give cut-outs: PNG or WebP images "
                "with transparency around one object."
            ) from None


def _askable(name: str | None, known: Collection[str] | None) -> str:
    """Return a name in lower case, "" if it may not be asked."""
    plain = (name or "").lower()
    fits = plain.isascii() and plain.isalpha() and len(plain) <= LONGEST
    return plain if fits and (known is None or plain in known) else ""


def _values(column: Sequence[str | None]) -> list[str]:
    """Return a label's values, or "" for every row if one lacks it."""
    present = [each for each in column if each is not None]
    return present if len(present) == len(column) else [""] * len(column)


def _note(label: str, values: str, about: str) -> str:
    return f"Nothing is asked about {about}: that needs a label '{label}' of every image, and {OPTIONS} {values}"


def _concepts(keys: Sequence[str], columns: Mapping[str, Sequence[str | None]]) -> list[str]:
    rows = zip(columns["concept"], columns["name"], keys, strict=True)
    return [concept or name or key for concept, name, key in rows]


def _words(columns: Mapping[str, Sequence[str | None]]) -> list[frozenset[str]]:
    both = zip(columns["name"], columns["keywords"], strict=True)
    return [frozenset(f"{name or ''} {more or ''}".lower().replace(",", " ").split()) for name, more in both]
