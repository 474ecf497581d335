"""Draw the facts of a scene, of one kind or another, and the questions that they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from embprobe.vlm.scenes import BACKGROUNDS, COLORS, Area, Box, Color, Scene, Thing, Word
from embprobe.vlm.stock import OPTIONS, Rng, Stock

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
SIDES = ("left", "right", "above", "below")
CORNERS = ("top left", "top right", "bottom left", "bottom right")
TURNS = ("upright", "turned to the right", "upside down", "turned to the left")
NUMBERS = ("1", "2", "3", "4", "5")
_AT = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
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

    scene: Scene
    asked: tuple[Asked, ...]
    caption: str
    concept: str
    """What its questions are resampled with: the concept of its first thing, or the word that stands alone."""
    labels: Mapping[str, str] = field(default_factory=dict)
    spare: int = 0
    """The position of the row that the picture replaces, where it shows no thing."""


@dataclass(frozen=True)
class Kind:
    """A kind of scene."""

    name: str
    draw: Callable[[Stock, Sequence[str], Rng], Draft]
    fits: Callable[[Stock], bool] = lambda stock: True
    """Whether the images have what it needs."""


def labelled(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw one thing on a plain colour with a word, or one of them alone."""
    background = _one(rng, BACKGROUNDS)
    ink = _one(rng, [each for each in COLORS if each != background])
    word, style = _one(rng, words), stock.style(rng)
    shown = _one(rng, ("both", "both", "thing", "word"))
    labels, asked, caption = {"background": background}, list[Asked](), ""
    things: tuple[Thing, ...] = ()
    written: tuple[Word, ...] = ()
    concept, spare = word, 0
    if shown != "word":
        row, of_thing = _one_thing(stock, style, rng)
        asked += of_thing
        on_top = bool(rng.integers(2))
        x, y = rng.uniform(-0.04, 0.04, 2).tolist()
        shift = 0.0 if shown == "thing" else 0.17 if on_top else -0.17
        size = float(rng.uniform(0.76, 0.86) if shown == "thing" else rng.uniform(0.56, 0.62))
        things = (Thing(row, 0.5 + x, 0.5 + y + shift, size),)
        concept = stock.concepts[row]
        labels |= _labels(stock, row)
        caption = _thing(stock, row) + (f" drawn by {style}" if stock.has_styles else "")
    else:
        spare, on_top = stock.row(rng, style), bool(rng.integers(2))
    if shown != "thing":
        top = 0.02 if on_top else 0.62
        box = (0.02, top, 0.98, top + 0.36) if shown == "both" else (0.02, 0.2, 0.98, 0.8)
        written = (Word(word.upper(), box, COLORS[ink], int(rng.integers(2**31))),)
        asked += [
            _ask(rng, "text", "word", "What is written?", word, words),
            _ask(rng, "colour", "ink", "What colour are the letters?", ink, [c for c in COLORS if c != background]),
        ]
        labels |= {"word": word, "ink": ink}
        caption = f"{caption} with the word {word} in {ink}" if caption else f"the word {word} in {ink}"
    others = [each for each in BACKGROUNDS if shown == "thing" or each != ink]
    asked.append(_ask(rng, "colour", "background", "What colour is the background?", background, others))
    scene = Scene((Area(WHOLE, _shade(background, rng)),), things, written)
    return Draft(scene, tuple(asked), f"{caption} on {_a(background)} background.", concept, labels, spare)


def count(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw one to five copies of a thing, together as large as one would be, so that colours tell no number."""
    row = stock.row(rng, stock.style(rng))
    number = int(rng.integers(1, len(NUMBERS) + 1))
    size = float(rng.uniform(0.52, 0.6)) / number**0.5
    centres = _apart(number, size, rng)
    asked = _ask(rng, "vision-centric", "count", "How many things are there?", str(number), NUMBERS)
    plain, background = bool(rng.integers(2)), _one(rng, BACKGROUNDS)
    scene = Scene(
        (Area(WHOLE, _shade(background, rng)),) if plain else (),
        tuple(Thing(row, x, y, size) for x, y in centres),
        texture=None if plain else int(rng.integers(2**31)),
    )
    labels = {**_labels(stock, row), "count": str(number)} | ({"background": background} if plain else {})
    behind = f"{_a(background)} background" if plain else "a texture"
    caption = f"{number} of the same thing, {_thing(stock, row)}, on {behind}."
    return Draft(scene, (asked,), caption, stock.concepts[row], labels)


def place(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw a thing at one side of the middle."""
    row, side = stock.row(rng, stock.style(rng)), _one(rng, SIDES)
    away, along = float(rng.uniform(0.24, 0.28)), float(rng.uniform(-0.1, 0.1))
    x, y = (_AT[side][0] * away or along), (_AT[side][1] * away or along)
    asked = _ask(rng, "vision-centric", "place", "Where is the thing, seen from the middle?", side, SIDES)
    thing = Thing(row, 0.5 + x, 0.5 + y, float(rng.uniform(0.36, 0.44)))
    return _alone(stock, rng, (thing,), asked, f"{_thing(stock, row)} {_seen(side)} the middle", {"place": side})


def larger(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw two copies of a thing at opposite sides, one four times as large in area."""
    row, side = stock.row(rng, stock.style(rng)), _one(rng, SIDES)
    dx, dy = _AT[side]
    size, (along, across) = float(rng.uniform(0.48, 0.54)), rng.uniform(-0.1, 0.1, 2).tolist()
    large = Thing(row, 0.5 + 0.22 * dx + abs(dy) * along, 0.5 + 0.22 * dy + abs(dx) * along, size)
    small = Thing(row, 0.5 - 0.27 * dx + abs(dy) * across, 0.5 - 0.27 * dy + abs(dx) * across, size / 2)
    asked = _ask(rng, "vision-centric", "larger", "Where is the larger of the two things?", side, SIDES)
    caption = f"two of the same thing, {_thing(stock, row)}, the larger one {_seen(side)} the other"
    return _alone(stock, rng, (large, small), asked, caption, {"larger": side})


def turned(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw a thing upright, upside down or on one of its sides."""
    style, quarters = stock.style(rng), int(rng.integers(len(TURNS)))
    row = stock.turnable(rng, style, upright=True)
    if row is None:
        return place(stock, words, rng)
    x, y = rng.uniform(-0.06, 0.06, 2).tolist()
    thing = Thing(row, 0.5 + x, 0.5 + y, float(rng.uniform(0.7, 0.84)), quarters)
    asked = _ask(rng, "vision-centric", "turned", "How is the thing turned?", TURNS[quarters], TURNS)
    caption = f"{_thing(stock, row)}, {TURNS[quarters]}"
    return _alone(stock, rng, (thing,), asked, caption, {"turned": TURNS[quarters]})


def odd(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw a thing in four corners, one of them upside down or replaced by one of another category."""
    style, corner, size = stock.style(rng), _one(rng, CORNERS), float(rng.uniform(0.36, 0.42))
    row = stock.turnable(rng, style)
    flipped = not stock.has_categories or bool(rng.integers(2))
    if row is None:
        return place(stock, words, rng)
    own = _category(stock, row)
    other = row if flipped else stock.row(rng, style, _one(rng, [each for each in stock.categories if each != own]))
    things = tuple(
        Thing(other, *_corner(each, rng), size, 2 * flipped)
        if each == corner
        else Thing(row, *_corner(each, rng), size)
        for each in CORNERS
    )
    things = tuple(sorted(things, key=lambda thing: (thing.row != row, thing.quarters)))
    asked = _ask(rng, "vision-centric", "odd", "Which thing differs from the others?", corner, CORNERS)
    same = _thing(stock, row)
    caption = f"{same} in four corners, the one at the {corner} {'upside down' if flipped else 'another thing'}"
    return _alone(stock, rng, things, asked, caption, {"odd": corner})


def two(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw two things of different categories, each on half of another colour with a word below it."""
    style, halves = stock.style(rng), ("left", "right")
    colors, below = _several(rng, BACKGROUNDS, OPTIONS), _several(rng, words, OPTIONS)
    inks = [_one(rng, [each for each in COLORS if each not in colors[:2]]) for _ in halves]
    pool = stock.named_categories if len(stock.named_categories) >= OPTIONS else ()
    categories = _several(rng, pool or stock.categories, OPTIONS)
    named = stock.different(rng, style, categories) if pool else None
    rows = named[:2] if named else [stock.row(rng, style, each) for each in categories[:2]]
    first = int(rng.integers(2))  # the half that is asked about
    things, written, areas = list[Thing](), list[Word](), list[Area]()
    for i, x in enumerate((0.25, 0.75)):
        areas.append(Area((x - 0.25, 0, x + 0.25, 1), _shade(colors[i], rng)))
        things.append(Thing(rows[i], x, 0.4 + float(rng.uniform(-0.05, 0.05)), float(rng.uniform(0.42, 0.46))))
        box = (x - 0.25, 0.68, x + 0.25, 1.0)
        written.append(Word(below[i].upper(), box, COLORS[inks[i]], int(rng.integers(2**31))))
    kind, order = categories[first], (first, 1 - first, 2, 3)
    asked = [
        _ask(
            rng,
            "reasoning",
            "colour behind",
            f"What colour is behind the thing of the kind {kind}?",
            colors[first],
            [colors[i] for i in order],
        ),
        _ask(
            rng,
            "reasoning",
            "word beside",
            f"What is written below the thing of the kind {kind}?",
            below[first],
            [below[i] for i in order],
        ),
    ]
    if named:
        offered = [stock.names[row] for row in named]
        text = f"Which thing is labelled {below[first]}?"
        asked.append(_ask(rng, "text", "label", text, offered[first], [offered[i] for i in order]))
    parts = [f"{_thing(stock, rows[i])} above the word {below[i]} on {colors[i]}" for i in range(2)]
    caption = f"{parts[0]} at the left, {parts[1]} at the right."
    labels = {**_labels(stock, rows[0]), "left word": below[0], "right word": below[1]}
    labels |= {"left background": colors[0], "right background": colors[1]}
    scene = Scene(tuple(areas), tuple(things), tuple(written))
    return Draft(scene, tuple(asked), caption, stock.concepts[rows[first]], labels)


def kinds(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw four things in the corners, one to four of which are of one category."""
    style, number = stock.style(rng), int(rng.integers(1, OPTIONS + 1))
    asked_kind = _one(rng, stock.categories)
    others = [each for each in stock.categories if each != asked_kind]
    of = [asked_kind] * number + [_one(rng, others) for _ in range(OPTIONS - number)]
    rows, corners = [stock.row(rng, style, each) for each in of], _several(rng, CORNERS, OPTIONS)
    things = tuple(Thing(row, *_corner(at, rng), 0.4) for row, at in zip(rows, corners, strict=True))
    text = f"How many things are of the kind {asked_kind}?"
    asked = _ask(rng, "reasoning", "how many", text, str(number), NUMBERS[:OPTIONS])
    shown = ", ".join(_thing(stock, row) for row in rows)
    caption = f"{shown}: {number} of the kind {asked_kind}"
    return _alone(stock, rng, things, asked, caption, {"count": str(number)})


def houses(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw four things in the corners, one of them in another style than the rest."""
    (style, other), corner = _several(rng, stock.styles, 2), _one(rng, CORNERS)
    rest = [each for each in CORNERS if each != corner]
    things = (
        Thing(stock.row(rng, other), *_corner(corner, rng), 0.4),
        *(Thing(stock.row(rng, style), *_corner(each, rng), 0.4) for each in rest),
    )
    asked = _ask(rng, "style", "houses", "Which thing is drawn in another style than the rest?", corner, CORNERS)
    caption = f"four things drawn by {style}, but the one at the {corner} by {other}"
    return _alone(stock, rng, things, asked, caption, {"odd": corner})


def _has_categories(stock: Stock) -> bool:
    return stock.has_categories


def _has_styles(stock: Stock) -> bool:
    return stock.has_styles


_LABELLED, _TWO = Kind("labelled", labelled), Kind("two", two, _has_categories)
KINDS = (
    *(_LABELLED, Kind("count", count), Kind("turned", turned)),
    *(_LABELLED, _TWO, Kind("odd", odd)),
    *(_LABELLED, Kind("place", place), Kind("houses", houses, _has_styles)),
    *(_LABELLED, _TWO, Kind("larger", larger), Kind("kinds", kinds, _has_categories)),
)
"""Kinds in the order in which scenes take turns; those that many questions need stand here more than once."""


def _one_thing(stock: Stock, style: str, rng: Rng) -> tuple[int, list[Asked]]:
    """Draw a thing, and the questions about its name, its category and its style."""
    asked: list[Asked] = []
    pool = stock.named_categories
    naming = bool(pool) and bool(rng.integers(3))
    among = pool if naming else stock.categories
    several = len(among) >= OPTIONS
    kinds = _several(rng, among, OPTIONS) if several else [_one(rng, among)]
    alike = not several or bool(rng.integers(2))
    rows = stock.different(rng, style, [kinds[0]] * OPTIONS if alike else kinds) if naming else None
    row = rows[0] if rows else stock.row(rng, style, kinds[0])
    if rows:
        offered = [stock.names[each] for each in rows]
        asked.append(_ask(rng, "category", "name", "What is shown?", offered[0], offered))
    if several and stock.has_categories:
        asked.append(_ask(rng, "category", "kind", "What kind of thing is shown?", kinds[0], kinds))
    if stock.has_styles:
        asked.append(_ask(rng, "style", "house", "In which style is it drawn?", style, stock.styles))
    return row, asked


def _ask(rng: Rng, group: str, kind: str, text: str, right: str, among: Sequence[str]) -> Asked:
    """Ask for the right one among four, in random order; the wrong ones are drawn from the others."""
    others = [each for each in among if each != right]
    options = [right, *_several(rng, others, OPTIONS - 1)]
    order = rng.permutation(OPTIONS)
    return Asked(group, kind, text, tuple(options[i] for i in order), int((order == 0).argmax()))


def _alone(
    stock: Stock, rng: Rng, things: tuple[Thing, ...], asked: Asked, caption: str, labels: Mapping[str, str]
) -> Draft:
    """Put things on a plain colour; one question is asked."""
    background, row = _one(rng, BACKGROUNDS), things[0].row
    scene = Scene((Area(WHOLE, _shade(background, rng)),), things)
    described = {**_labels(stock, row), "background": background, **labels}
    return Draft(scene, (asked,), f"{caption}, on {_a(background)} background.", stock.concepts[row], described)


def _one(rng: Rng, among: Sequence[str]) -> str:
    return among[int(rng.integers(len(among)))]


def _several(rng: Rng, among: Sequence[str], number: int) -> list[str]:
    return [among[i] for i in rng.permutation(len(among))[:number]]


def _shade(color: str, rng: Rng) -> Color:
    red, green, blue = (COLORS[color] + rng.integers(-_JITTER, _JITTER + 1, 3)).clip(0, 255).tolist()
    return red, green, blue


def _corner(corner: str, rng: Rng) -> tuple[float, float]:
    x, y = rng.uniform(-0.02, 0.02, 2).tolist()
    return 0.5 + 0.25 * _IN[corner][0] + x, 0.5 + 0.25 * _IN[corner][1] + y


def _apart(number: int, size: float, rng: Rng) -> list[tuple[float, float]]:
    """Choose centres at random for things of a size that do not touch: cells of a grid, moved within their room."""
    across = 1 if number == 1 else 2 if number <= 4 else 3
    cells, room = rng.permutation(across * across)[:number], max(0.0, 1 / across - size - 0.02) / 2
    moves = rng.uniform(-room, room, (number, 2)).tolist()
    return [
        ((c % across + 0.5) / across + x, (c // across + 0.5) / across + y)
        for c, (x, y) in zip(cells, moves, strict=True)
    ]


def _category(stock: Stock, row: int) -> str:
    return stock.images.rows[row].labels["category"] if stock.has_categories else ""


def _labels(stock: Stock, row: int) -> dict[str, str]:
    own = stock.images.rows[row].labels
    return {each: own[each] for each in ("concept", "name", "category", "style") if each in own}


def _thing(stock: Stock, row: int) -> str:
    name = stock.names[row]
    return _a(name or "thing")


def _seen(side: str) -> str:
    return f"{side} of" if side in ("left", "right") else side


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
