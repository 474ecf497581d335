"""Which word is drawn into an image: its own, another's, or one that has nothing to do with any."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import numpy as np
from PIL import Image

from embprobe.errors import UsageError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row
from embprobe.interventions.base import Edit, Plan, Planner, Rng
from embprobe.interventions.text import Ink, draw_word, is_drawable
from embprobe.system.text import visible

NAMES = ("name", "concept", "category", "class")
"""The labels that name what an image shows; the first one a row has is taken."""
NEUTRAL = (
    *("thus", "maybe", "again", "hence", "quite", "often", "almost", "rather", "indeed", "perhaps", "whether"),
    *("somehow", "likewise", "moreover", "meanwhile", "therefore", "otherwise", "throughout", "nevertheless"),
)
_LONGEST = 12
_SIMILAR = 2
"""Letters by which a conflicting word may be longer or shorter than the image's own."""


def word_of(row: Row) -> str | None:
    """The word for what a row shows: its name, or the longest word of a name that is too long to be legible."""
    names = (row.labels.get(label, "").replace("_", " ").strip() for label in NAMES)
    name = next((name for name in names if parts_of(name)), None)
    if name is None or len(name) <= _LONGEST:
        return name
    return max(name.replace("-", " ").split(), key=len)[: 2 * _LONGEST]


def agreeing(ink: Ink = "word") -> Planner:
    """The word for what the image shows."""

    def plan(row: Row, strength: float, rng: Rng) -> Edit:
        return _edit(_own(row), strength, ink)

    return lambda donors: plan


def conflicting(ink: Ink = "word") -> Planner:
    """The word for what another image shows: of another category where there are categories, of similar length."""

    def bind(donors: Images) -> Plan:
        known = {(word, row.labels.get("category", "")) for row in donors.rows if (word := word_of(row))}
        named = sorted(each for each in known if is_drawable(each[0]))
        vocabulary = [named[i] for i in np.random.default_rng(0).permutation(len(named))]  # a draw may end at the next
        similar: dict[int, list[tuple[str, str]]] = {}

        def plan(row: Row, strength: float, rng: Rng) -> Edit:
            own, category = _own(row), row.labels.get("category", "")
            if len(own) not in similar:
                similar[len(own)] = [each for each in vocabulary if abs(len(each[0]) - len(own)) <= _SIMILAR]
            mine = {part for label in NAMES for part in parts_of(row.labels.get(label, ""))}
            for words in (similar[len(own)], vocabulary):
                start = int(rng.integers(max(len(words), 1)))
                for word, of in itertools.chain(words[start:], words[:start]):
                    if not mine & parts_of(word) and (of != category or not category):
                        return _edit(word, strength, ink)
            raise UnreadableImage("no other image has another category to take a word from")

        return plan

    return bind


def neutral(ink: Ink = "word") -> Planner:
    """A word that names nothing that any of the images shows."""

    def bind(donors: Images) -> Plan:
        used = {part for row in donors.rows for label in NAMES for part in parts_of(row.labels.get(label, ""))}
        free = [word for word in NEUTRAL if word not in used]

        def plan(row: Row, strength: float, rng: Rng) -> Edit:
            own = word_of(row) or ""
            similar = [word for word in free if abs(len(word) - len(own)) <= _SIMILAR]
            return _edit(str(rng.choice(similar or free or list(NEUTRAL))), strength, ink)

        return plan

    return bind


def anywhere(word: str = "") -> Callable[[Ink], Planner]:
    """A given word (a neutral one, if it is empty), its place as random as its face, colour and size.

    Its size is between half and the whole of the strength, so that neither place nor size tells which word it is.
    """
    if word and not (is_drawable(word) and parts_of(word)):
        raise UsageError(f"The faces at hand have no letters for '{visible(word)}'.")
    if len(word) > 2 * _LONGEST:
        raise UsageError(f"'{visible(word)}' is too long to be read in an image: {2 * _LONGEST} letters at most.")

    def planner(ink: Ink = "word") -> Planner:
        def plan(row: Row, strength: float, rng: Rng) -> Edit:
            return _edit(word or str(rng.choice(NEUTRAL)), strength, ink, anywhere=True)

        return lambda donors: plan

    return planner


def parts_of(name: str) -> set[str]:
    """The words of a name, in small letters."""
    return set(re.findall(r"[^\W_]+", name.lower()))


def _own(row: Row) -> str:
    word = word_of(row)
    if word is None:
        raise UnreadableImage(f"it has no label that names what it shows ({', '.join(NAMES)})")
    if not is_drawable(word):
        raise UnreadableImage(f"the faces at hand have no letters for '{word}'")
    return word


def _edit(word: str, strength: float, ink: Ink, *, anywhere: bool = False) -> Edit:
    if strength == 0:
        return Edit(lambda image, rng: image.copy(), word, word)

    def apply(image: Image.Image, rng: Rng) -> Image.Image:
        share = strength * (1 - rng.random() / 2) if anywhere else strength
        return draw_word(image, word, share=share, rng=rng, ink=ink, place="random" if anywhere else "clear")

    return Edit(apply, word, word)
