"""Choose the word that is drawn into an image: its own name, another image's, or one that names none of the images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from embprobe.errors import UsageError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row
from embprobe.interventions.base import Edit, Plan, Planner, Rng
from embprobe.interventions.text import Ink, draw_word, is_drawable
from embprobe.interventions.vocabulary import Vocabulary, parts_of
from embprobe.system.text import visible

NAMES = ("name", "concept", "category", "class")
"""The labels that name the subject of an image; the first one a row has is taken."""
NEUTRAL = (
    *("thus", "maybe", "again", "hence", "quite", "often", "almost", "rather", "indeed", "perhaps", "whether"),
    *("somehow", "likewise", "moreover", "meanwhile", "therefore", "otherwise", "throughout", "nevertheless"),
)
_LONGEST = 12
"""Letters of a legible word; a longer name is cut down to its longest word."""
_SIMILAR = 2
"""Letters by which a conflicting word may be longer or shorter than the image's own."""


def word_of(row: Row) -> str | None:
    """Return the name of a row's subject, or the longest word of a name that is too long to be legible.

    None if the row has none of the labels in ``NAMES``, or no letter or digit in them.
    """
    names = (row.labels.get(label, "").replace("_", " ").strip() for label in NAMES)
    name = next((name for name in names if parts_of(name)), None)
    if name is None or len(name) <= _LONGEST:
        return name
    return max(name.replace("-", " ").split(), key=len)[: 2 * _LONGEST]


def agreeing(ink: Ink = "word") -> Planner:
    """Make a planner that writes each image's own name into it."""

    def plan(row: Row, strength: float, rng: Rng) -> Edit:
        return _edit(_own(row), strength, ink)

    return lambda donors: plan


def conflicting(ink: Ink = "word") -> Planner:
    """Make a planner that writes another image's name, of another category if there are any, of similar length."""

    def bind(donors: Images) -> Plan:
        names = {(word, row.labels.get("category", "")) for row in donors.rows if (word := word_of(row))}
        drawable = sorted((word, category) for word, category in names if is_drawable(word))
        # shuffled, so that the word after one that may not be taken is not its neighbour in the alphabet
        vocabulary = [drawable[i] for i in np.random.default_rng(0).permutation(len(drawable)).tolist()]
        all_words = Vocabulary(vocabulary)
        similar: dict[int, Vocabulary] = {}

        def plan(row: Row, strength: float, rng: Rng) -> Edit:
            own, category = _own(row), row.labels.get("category", "")
            if len(own) not in similar:
                near = (named for named in vocabulary if abs(len(named[0]) - len(own)) <= _SIMILAR)
                similar[len(own)] = Vocabulary(near)
            own_parts = frozenset[str]().union(*(parts_of(row.labels.get(label, "")) for label in NAMES))
            for words in (similar[len(own)], all_words):
                start = int(rng.integers(max(len(words), 1)))
                word = words.conflicting(start, own_parts, category)
                if word is not None:
                    return _edit(word, strength, ink)
            raise UnreadableImage("no other image has another category to take a word from")

        return plan

    return bind


def neutral(ink: Ink = "word") -> Planner:
    """Make a planner that writes a word which names none of the images."""

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
    """Return a function that makes a planner for a given word (if "", for a neutral one) at a random place.

    Its size is between half and the whole of the strength, so that neither place nor size tells which word it is.

    Raises:
        UsageError: The faces have no letters for the word, or it is too long to be read.
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


def _own(row: Row) -> str:
    """Return a row's own name; raise the reason if it has none that can be drawn."""
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
