"""Draft scenes of several things, colours and words, each of them a question's answer, and list all kinds of scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from embprobe.vlm.arrangements import NUMBERS, count, larger, odd, place, turned
from embprobe.vlm.drafting import (
    CORNERS,
    WHOLE,
    Asked,
    Draft,
    alone,
    ask,
    described,
    in_corner,
    labels_of_row,
    name_of,
    one,
    several,
    shade,
    with_article,
)
from embprobe.vlm.scenes import BACKGROUNDS, COLORS, Area, Scene, Thing, Word
from embprobe.vlm.stock import BORDERING, OPTIONS, Rng, Stock

Draw = Callable[[Stock, Sequence[str], Rng], Draft]
"""Draws a scene of one kind from the images and the words to write."""


def kinds_of_scenes(stock: Stock) -> list[Draw]:
    """Return the kinds that a set of images suffices for, in the order in which scenes take turns.

    Those that many questions need stand there more than once.
    """
    of_kinds, of_styles = bool(stock.kinds), stock.has_styles
    return [
        *[labelled, count, turned],
        *[labelled, *[two] * of_kinds, odd],
        *[labelled, place, *[houses] * of_styles],
        *[labelled, *[two] * of_kinds, larger, *[kinds] * of_kinds],
    ]


def labelled(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw one thing on a plain colour with a word, or one of them alone."""
    background = one(rng, BACKGROUNDS)
    ink = one(rng, [each for each in COLORS if each != background])
    word, style = one(rng, words), stock.style(rng)
    shown = one(rng, ("both", "both", "thing", "word"))
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
        labels |= labels_of_row(stock, row)
        caption = described(stock, row) + (f" drawn by {style}" if stock.has_styles else "")
    else:
        spare, on_top = stock.row(rng, style), bool(rng.integers(2))
    if shown != "thing":
        top = 0.02 if on_top else 0.62
        box = (0.02, top, 0.98, top + 0.36) if shown == "both" else (0.02, 0.2, 0.98, 0.8)
        written = (Word(word.upper(), box, COLORS[ink], int(rng.integers(2**31))),)
        asked += [
            ask(rng, "text", "word", "What is written?", word, words),
            ask(rng, "colour", "ink", "What colour are the letters?", ink, [c for c in COLORS if c != background]),
        ]
        labels |= {"word": word, "ink": ink}
        caption = f"{caption} with the word {word} in {ink}" if caption else f"the word {word} in {ink}"
    others = [each for each in BACKGROUNDS if shown == "thing" or each != ink]
    asked.append(ask(rng, "colour", "background", "What colour is the background?", background, others))
    scene = Scene((Area(WHOLE, shade(background, rng)),), things, written)
    return Draft(
        "labelled", scene, tuple(asked), f"{caption} on {with_article(background)} background.", concept, labels, spare
    )


def _one_thing(stock: Stock, style: str, rng: Rng) -> tuple[int, list[Asked]]:
    """Draw a thing, and the questions about its name, its category and its style.

    Categories are drawn first, each as often, and one of them is the truth: names of a category that has few are asked
    no less, and offered no less, than those of others.
    """
    asked: list[Asked] = []
    naming = bool(stock.named) and bool(rng.integers(3))
    among = stock.named if naming else stock.kinds
    category = one(rng, among) if among else None
    rows = None
    if naming and category is not None:
        alike = len(among) < OPTIONS or bool(rng.integers(2))
        others = [category] * (OPTIONS - 1) if alike else several(rng, [c for c in among if c != category], OPTIONS - 1)
        rows = stock.different(rng, style, [category, *others])
    row = rows[0] if rows else stock.row(rng, style, category)
    if rows:
        offered = [stock.names[each] for each in rows]
        asked.append(ask(rng, "category", "name", "What is shown?", offered[0], offered))
    clear = [each for each in among if each in stock.kinds]
    if category in clear and len(clear) >= OPTIONS:
        asked.append(ask(rng, "category", "kind", "What kind of thing is shown?", category, clear))
    if stock.has_styles:
        asked.append(ask(rng, "style", "house", "In which style is it drawn?", style, stock.styles))
    return row, asked


def two(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw two things of different categories, each on half of another colour with a word below it."""
    style, halves = stock.style(rng), ("left", "right")
    colors, below = several(rng, BACKGROUNDS, OPTIONS), several(rng, words, OPTIONS)
    inks = [one(rng, [each for each in COLORS if each not in colors[:2]]) for _ in halves]
    pool = [each for each in stock.kinds if each in stock.named]
    naming = len(pool) >= OPTIONS
    categories = several(rng, pool if naming else stock.kinds, OPTIONS)
    named = stock.different(rng, style, categories) if naming else None
    rows = named[:2] if named else [stock.row(rng, style, each) for each in categories[:2]]
    first = int(rng.integers(2))  # the half that is asked about
    things, written, areas = list[Thing](), list[Word](), list[Area]()
    for i, x in enumerate((0.25, 0.75)):
        areas.append(Area((x - 0.25, 0, x + 0.25, 1), shade(colors[i], rng)))
        things.append(Thing(rows[i], x, 0.4 + float(rng.uniform(-0.05, 0.05)), float(rng.uniform(0.42, 0.46))))
        box = (x - 0.25, 0.68, x + 0.25, 1.0)
        written.append(Word(below[i].upper(), box, COLORS[inks[i]], int(rng.integers(2**31))))
    kind, order = categories[first], (first, 1 - first, 2, 3)
    asked = [
        ask(
            rng,
            "reasoning",
            "colour behind",
            f"What colour is behind the thing of the kind {kind}?",
            colors[first],
            [colors[i] for i in order],
        ),
        ask(
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
        asked.append(ask(rng, "text", "label", text, offered[first], [offered[i] for i in order]))
    parts = [f"{described(stock, rows[i])} above the word {below[i]} on {colors[i]}" for i in range(2)]
    caption = f"{parts[0]} at the left, {parts[1]} at the right."
    labels = {**labels_of_row(stock, rows[first]), "left word": below[0], "right word": below[1]}
    labels |= {"left background": colors[0], "right background": colors[1]}
    scene = Scene(tuple(areas), tuple(things), tuple(written))
    return Draft("two", scene, tuple(asked), caption, stock.concepts[rows[first]], labels)


def kinds(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw four things in the corners, one to four of which are of one category."""
    style, number = stock.style(rng), int(rng.integers(1, OPTIONS + 1))
    clear = [each for each in stock.kinds if each not in BORDERING]
    asked_kind = one(rng, clear)
    others = [each for each in clear if each != asked_kind]
    of = [asked_kind] * number + [one(rng, others) for _ in range(OPTIONS - number)]
    rows, corners = [stock.row(rng, style, each) for each in of], several(rng, CORNERS, OPTIONS)
    things = tuple(Thing(row, *in_corner(at, rng), 0.4) for row, at in zip(rows, corners, strict=True))
    text = f"How many things are of the kind {asked_kind}?"
    asked = ask(rng, "reasoning", "how many", text, str(number), NUMBERS[:OPTIONS])
    shown = ", ".join(name_of(stock, row) for row in rows)
    caption = f"{shown}: {number} of the kind {asked_kind}"
    return alone("kinds", stock, rng, things, asked, caption, {"count": str(number)})


def houses(stock: Stock, words: Sequence[str], rng: Rng) -> Draft:
    """Draw four things in the corners, one of them in another style than the rest."""
    (style, other), corner = several(rng, stock.styles, 2), one(rng, CORNERS)
    rest = [each for each in CORNERS if each != corner]
    things = (
        Thing(stock.row(rng, other), *in_corner(corner, rng), 0.4),
        *(Thing(stock.row(rng, style), *in_corner(each, rng), 0.4) for each in rest),
    )
    asked = ask(rng, "style", "houses", "Which thing is drawn in another style than the rest?", corner, CORNERS)
    caption = f"four things drawn by {style}, but the one at the {corner} by {other}"
    return alone("houses", stock, rng, things, asked, caption, {"odd": corner})
