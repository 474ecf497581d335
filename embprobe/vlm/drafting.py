"""Parts that drafts of scenes are made of: their questions, plain colours, places and words for things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from embprobe.vlm.scenes import BACKGROUNDS, COLORS, Area, Box, Color, Scene, Thing
from embprobe.vlm.stock import OPTIONS, Rng, Stock

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
CORNERS = ("top left", "top right", "bottom left", "bottom right")
_IN = {"top left": (-1, -1), "top right": (1, -1), "bottom left": (-1, 1), "bottom right": (1, 1)}
_JITTER = 10
"""Most by which a channel of a colour differs from the colour's own, of 255."""


@dataclass(frozen=True)
class Asked:
    """A question without its key and its image."""

    group: str
    kind: str
    text: str
    options: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Draft:
    """A scene, all facts of which are known."""

    kind: str
    scene: Scene
    asked: tuple[Asked, ...]
    caption: str
    concept: str
    """What its questions are resampled with: the concept of its first thing, or the word that stands alone."""
    labels: Mapping[str, str] = field(default_factory=dict)
    spare: int = 0
    """The position of the row that the picture replaces, where it shows no thing."""


def ask(rng: Rng, group: str, kind: str, text: str, right: str, among: Sequence[str]) -> Asked:
    """Ask for the right one among four, in random order; the wrong ones are drawn from the others."""
    others = [each for each in among if each != right]
    options = [right, *several(rng, others, OPTIONS - 1)]
    order = rng.permutation(OPTIONS)
    return Asked(group, kind, text, tuple(options[i] for i in order), int((order == 0).argmax()))


def alone(
    kind: str,
    stock: Stock,
    rng: Rng,
    things: tuple[Thing, ...],
    asked: Asked,
    caption: str,
    labels: Mapping[str, str],
) -> Draft:
    """Put things on a plain colour; one question is asked."""
    background, row = one(rng, BACKGROUNDS), things[0].row
    scene = Scene((Area(WHOLE, shade(background, rng)),), things)
    labels = {**labels_of_row(stock, row), "background": background, **labels}
    text = f"{caption}, on {with_article(background)} background."
    return Draft(kind, scene, (asked,), text, stock.concepts[row], labels)


def one(rng: Rng, among: Sequence[str]) -> str:
    """Draw one of some values, each as often."""
    return among[int(rng.integers(len(among)))]


def several(rng: Rng, among: Sequence[str], number: int) -> list[str]:
    """Draw as many of some values, in random order, none twice."""
    return [among[i] for i in rng.permutation(len(among))[:number]]


def shade(color: str, rng: Rng) -> Color:
    """Return a colour near to that of a name."""
    red, green, blue = (COLORS[color] + rng.integers(-_JITTER, _JITTER + 1, 3)).clip(0, 255).tolist()
    return red, green, blue


def in_corner(corner: str, rng: Rng) -> tuple[float, float]:
    """Return a centre near to that of a quarter of the scene."""
    x, y = rng.uniform(-0.02, 0.02, 2).tolist()
    return 0.5 + 0.25 * _IN[corner][0] + x, 0.5 + 0.25 * _IN[corner][1] + y


def labels_of_row(stock: Stock, row: int) -> dict[str, str]:
    """Return a row's labels that are true of its thing in a scene, too."""
    own = stock.images.rows[row].labels
    return {each: own[each] for each in ("concept", "name", "category", "style") if each in own}


def name_of(stock: Stock, row: int) -> str:
    """Return words for a row's thing: its name, if that may be asked."""
    return with_article(stock.names[row] or "thing")


def described(stock: Stock, row: int) -> str:
    """Return words for a row's thing and its category, as far as they may be asked."""
    category = stock.categories[row]
    return name_of(stock, row) + (f" of the kind {category}" if category in stock.kinds else "")


def with_article(noun: str) -> str:
    """Return a noun behind its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
