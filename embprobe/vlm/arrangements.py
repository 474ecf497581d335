"""Draft scenes of one thing and its copies: how many there are, where, how large and how turned."""

from __future__ import annotations

from collections.abc import Sequence

from embprobe.vlm.drafting import (
    CORNERS,
    WHOLE,
    Draft,
    alone,
    ask,
    in_corner,
    labels_of_row,
    name_of,
    one,
    shade,
    with_article,
)
from embprobe.vlm.scenes import BACKGROUNDS, Area, Scene, Thing
from embprobe.vlm.stock import Rng, Stock

SIDES = ("left", "right", "above", "below")
TURNS = ("upright", "turned to the right", "upside down", "turned to the left")
NUMBERS = ("1", "2", "3", "4", "5")
_AT = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}


def count(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw one to five copies of a thing, together as large as one would be, so that colours tell no number."""
    row = stock.row(rng, stock.style(rng))
    number = int(rng.integers(1, len(NUMBERS) + 1))
    size = float(rng.uniform(0.52, 0.6)) / number**0.5
    centres = _apart(number, size, rng)
    asked = ask(rng, "vision-centric", "count", "How many things are there?", str(number), NUMBERS)
    plain, background = bool(rng.integers(2)), one(rng, BACKGROUNDS)
    scene = Scene(
        (Area(WHOLE, shade(background, rng)),) if plain else (),
        tuple(Thing(row, x, y, size) for x, y in centres),
        texture=None if plain else int(rng.integers(2**31)),
    )
    labels = {**labels_of_row(stock, row), "count": str(number)} | ({"background": background} if plain else {})
    behind = f"{with_article(background)} background" if plain else "a texture"
    caption = f"{number} of the same thing, {name_of(stock, row)}, on {behind}."
    return Draft("count", scene, (asked,), caption, stock.concepts[row], labels)


def place(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw a thing at one side of the middle."""
    row, side = stock.row(rng, stock.style(rng)), one(rng, SIDES)
    away, along = float(rng.uniform(0.24, 0.28)), float(rng.uniform(-0.1, 0.1))
    x, y = (_AT[side][0] * away or along), (_AT[side][1] * away or along)
    asked = ask(rng, "vision-centric", "place", "Where is the thing, seen from the middle?", side, SIDES)
    thing = Thing(row, 0.5 + x, 0.5 + y, float(rng.uniform(0.36, 0.44)))
    return alone(
        "place", stock, rng, (thing,), asked, f"{name_of(stock, row)} {_seen(side)} the middle", {"place": side}
    )


def larger(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw two copies of a thing at opposite sides, one four times as large in area."""
    row, side = stock.row(rng, stock.style(rng)), one(rng, SIDES)
    dx, dy = _AT[side]
    size, (along, across) = float(rng.uniform(0.48, 0.54)), rng.uniform(-0.1, 0.1, 2).tolist()
    large = Thing(row, 0.5 + 0.22 * dx + abs(dy) * along, 0.5 + 0.22 * dy + abs(dx) * along, size)
    small = Thing(row, 0.5 - 0.27 * dx + abs(dy) * across, 0.5 - 0.27 * dy + abs(dx) * across, size / 2)
    asked = ask(rng, "vision-centric", "larger", "Where is the larger of the two things?", side, SIDES)
    caption = f"two of the same thing, {name_of(stock, row)}, the larger one {_seen(side)} the other"
    return alone("larger", stock, rng, (large, small), asked, caption, {"larger": side})


def turned(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw a thing upright, upside down or on one of its sides."""
    style, quarters = stock.style(rng), int(rng.integers(len(TURNS)))
    row = stock.turnable(rng, style, standing=True)
    if row is None:
        return place(stock, words, rng)
    x, y = rng.uniform(-0.06, 0.06, 2).tolist()
    thing = Thing(row, 0.5 + x, 0.5 + y, float(rng.uniform(0.7, 0.84)), quarters)
    asked = ask(rng, "vision-centric", "turned", "How is the thing turned?", TURNS[quarters], TURNS)
    caption = f"{name_of(stock, row)}, {TURNS[quarters]}"
    return alone("turned", stock, rng, (thing,), asked, caption, {"turned": TURNS[quarters]})


def odd(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw a thing in four corners, one of them upside down or replaced by another thing."""
    style, corner, size = stock.style(rng), one(rng, CORNERS), float(rng.uniform(0.36, 0.42))
    flipped = bool(rng.integers(2))
    row = stock.turnable(rng, style) if flipped else stock.row(rng, style)
    if row is None:
        return place(stock, words, rng)
    other = row if flipped else stock.unlike(rng, style, row)
    if other is None:
        return place(stock, words, rng)
    things = tuple(
        Thing(other, *in_corner(each, rng), size, 2 * flipped)
        if each == corner
        else Thing(row, *in_corner(each, rng), size)
        for each in CORNERS
    )
    things = tuple(sorted(things, key=lambda thing: (thing.row != row, thing.quarters)))
    asked = ask(rng, "vision-centric", "odd", "Which thing differs from the others?", corner, CORNERS)
    same = name_of(stock, row)
    caption = f"{same} in four corners, the one at the {corner} {'upside down' if flipped else 'another thing'}"
    return alone("odd", stock, rng, things, asked, caption, {"odd": corner})


def _apart(number: int, size: float, rng: Rng) -> list[tuple[float, float]]:
    """Choose centres at random for things of a size that do not touch: cells of a grid, moved within their room."""
    across = 1 if number == 1 else 2 if number <= 4 else 3
    cells, room = rng.permutation(across * across)[:number], max(0.0, 1 / across - size - 0.02) / 2
    moves = rng.uniform(-room, room, (number, 2)).tolist()
    return [
        ((c % across + 0.5) / across + x, (c // across + 0.5) / across + y)
        for c, (x, y) in zip(cells, moves, strict=True)
    ]


def _seen(side: str) -> str:
    return f"{side} of" if side in ("left", "right") else side
