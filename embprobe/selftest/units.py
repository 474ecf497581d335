"""Promises on the units of interventions, measured in pixels; every registered intervention is in ``UNITS``."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from PIL import Image

from embprobe.interventions import find_intervention, intervene
from embprobe.interventions.color import srgb_to_oklab
from embprobe.interventions.registry import INTERVENTIONS
from embprobe.interventions.style import mean_change
from embprobe.selftest import scenes
from embprobe.selftest.pictures import (
    Values,
    change,
    changed,
    chroma,
    drawings,
    hue,
    images_of,
    ink_box,
    muted,
    oklab,
    photographs,
    picture_row,
    plain,
    rgb,
    turn,
)
from embprobe.selftest.promise import Settings, Verdict, holds, near, over, rises

Unit = Callable[[], Iterator[Verdict]]
_RED = (255, 0, 0)
_GREY = (128, 128, 128)


def color_space(settings: Settings) -> Iterator[Verdict]:
    """Check Oklab on the primaries, whose values CSS Color 4 prints."""
    for name, color, expected in (
        ("red", (1, 0, 0), (0.628, 0.225, 0.126)),
        ("green", (0, 1, 0), (0.866, -0.234, 0.179)),
        ("blue", (0, 0, 1), (0.452, -0.032, -0.312)),
        ("white", (1, 1, 1), (1.0, 0.0, 0.0)),
    ):
        lab = srgb_to_oklab(np.array(color, np.float64))
        passed = bool(np.abs(lab - expected).max() < 0.001)
        yield holds(f"Oklab of {name}", _numbers(expected), _numbers(lab + 0.0), passed)


def units(settings: Settings) -> Iterator[Verdict]:
    """Check that a strength of every registered intervention has the effect that its unit says."""
    for unit in UNITS.values():
        yield from unit()


def nothing(settings: Settings) -> Iterator[Verdict]:
    """Check that a strength of 0 changes no pixel, of any intervention and any control."""
    some = drawings()
    names = [name for name in INTERVENTIONS if name != "recolor"]  # it refuses drawings in several colours
    controls = [f"{name}/{control}" for name in names for control in find_intervention(name).controls]
    moved = [
        name
        for name in (*names, *controls)
        if not name.endswith("/alone")
        and any(rgb(a).tobytes() != rgb(b).tobytes() for a, b in changed(some.take([0, 3]), name, 0.0, donors=some))
    ]
    about = f"interventions and controls, of {len(names) + len(controls)}, that change pixels at strength 0"
    yield holds(about, "none", ", ".join(moved) or "none", not moved)


def _hue() -> Iterator[Verdict]:
    red, turned = oklab(plain(_RED))[0], oklab(change(plain(_RED), "hue", 120))[0]
    yield near("hue of pure red (29.2°) turned by 120", float(hue(turned)), 149.2, 2)
    yield near("lightness of pure red (0.628) turned by 120", turned[0], red[0], 0.01)
    before = oklab(plain(muted()))[0]
    for degrees in (60, 120, -90):
        after = oklab(change(plain(muted()), "hue", degrees))[0]
        yield near(f"degrees that a muted colour turns by hue {degrees}", float(turn(before, after)), degrees, 3)
        yield near(f"its chroma after hue {degrees}, relative", float(chroma(after) / chroma(before)), 1, 0.05)
    for name, images in (("photographs", photographs()), ("drawings", drawings())):
        identity = max(float(np.abs(rgb(a) - rgb(b)).max()) for a, b in changed(images, "hue", 360))
        yield near(f"largest change of a channel, of 255, of {name} by hue 360", 255 * identity, 0, 1)
        turns, lightness = [], []
        for a, b in changed(images, "hue", 120):
            old, new = oklab(a), oklab(b)
            colored = (chroma(old) > 0.04) & (chroma(new) > 0.04)
            turns.append(turn(old, new)[colored])
            lightness.append(np.abs(new[:, 0] - old[:, 0]))
        yield near(f"median degrees that colours of {name} turn by hue 120", _median(turns), 120, 3)
        yield near("median change of their lightness", _median(lightness), 0, 0.01)


def _saturation() -> Iterator[Verdict]:
    before = oklab(plain(muted()))[0]
    for strength, expected in ((-1, 0.0), (-0.5, 0.5), (0.5, 1.5), (1, 2.0)):
        after = oklab(change(plain(muted()), "saturation", strength))[0]
        yield near(
            f"relative chroma after saturation {strength:g}", float(chroma(after) / chroma(before)), expected, 0.07
        )


def _greyscale() -> Iterator[Verdict]:
    before = oklab(plain(muted()))[0]
    for strength, expected in ((0.5, 0.5), (1, 0.0)):
        after = oklab(change(plain(muted()), "greyscale", strength))[0]
        yield near(
            f"relative chroma after greyscale {strength:g}", float(chroma(after) / chroma(before)), expected, 0.05
        )
    chromas = [chroma(oklab(b)) for a, b in changed(photographs(), "greyscale", 1)]
    yield near("largest chroma of photographs after greyscale 1", max(float(c.max()) for c in chromas), 0, 0.005)


def _temperature() -> Iterator[Verdict]:
    # the light of a grey: 1e6 / kelvin, from 6504 K (154 mired)
    for mired in (-80, 100, 200):
        measured = 1e6 / _kelvin(change(plain(_GREY), "temperature", mired)) - 1e6 / _kelvin(plain(_GREY))
        yield near(
            f"mired by which the light of a grey changes at temperature {mired}", measured, mired, 0.15 * abs(mired)
        )


def _palette() -> Iterator[Verdict]:
    red, teal = plain(muted()), change(plain(muted()), "hue", 160)
    images = images_of([picture_row("red", red), picture_row("teal", teal)])
    (_, now_teal), (_, now_red) = changed(images, "palette", 1)
    off = max(_apart(now_teal, teal), _apart(now_red, red))
    yield near("distance of two images' colours, once they have each other's", off, 0, 0.01)
    half = changed(images, "palette", 0.5)[0][1]
    yield near("share of the way at palette 0.5", over(_apart(half, red), _apart(teal, red)), 0.5, 0.07)


def _tint() -> Iterator[Verdict]:
    before = oklab(plain(muted()))[0]
    for degrees in (30, 140, 260):
        after = oklab(change(plain(muted()), f"tint={degrees}", 1))[0]
        off = (float(hue(after)) - degrees + 180) % 360 - 180
        yield near(f"degrees from the hue {degrees} after tint={degrees} 1", off, 0, 4)
        yield near("its relative chroma", float(chroma(after) / chroma(before)), 1, 0.07)


def _recolor() -> Iterator[Verdict]:
    drawing = Image.new("RGBA", (40, 40))
    drawing.paste((20, 20, 20, 255), (10, 10, 30, 30))
    after = change(drawing, "recolor=140", 1)
    yield near("hue of a black drawing after recolor=140 1", float(hue(oklab(after)[0])), 140, 3)
    same = np.array_equal(np.asarray(after)[..., 3], np.asarray(drawing)[..., 3])
    yield holds("its transparency", "the same", "the same" if same else "another", same)


def _words() -> Iterator[Verdict]:
    rows = [
        picture_row(name, plain((255, 255, 255), 200), name=name, category=category)
        for name, category in (("cat", "animal"), ("oak", "plant"), ("emu", "animal"), ("fern", "plant"))
    ]
    images = images_of(rows)
    for name in ("word-agrees", "word-conflicts", "word-neutral"):
        for strength in (0.3, 0.6):
            boxes = [ink_box(a, b) for a, b in changed(images, name, strength)]
            widest = max(width / 200 for width, _ in boxes)
            yield near(f"largest width of words by {name} {strength:g}, share of the width", widest, strength, 0.04)
    words = dict(
        zip((row.key for row in rows), intervene(images, "word-agrees", 0.5, seed=0).label("word"), strict=True)
    )
    own = all(key == word for key, word in words.items())
    yield holds("words by word-agrees", "the image's own", "its own" if own else str(words), own)
    category = {row.key: row.labels["category"] for row in rows}
    conflicting = intervene(images, "word-conflicts", 0.5, seed=0)
    other = all(category[row.labels["word"]] != row.labels["category"] for row in conflicting.rows)
    yield holds("words by word-conflicts", "of another category", "another" if other else "the same", other)
    neutral = set(intervene(images, "word-neutral", 0.5, seed=0).label("word"))
    none = not neutral & set(category)
    yield holds("words by word-neutral", "no image's name", ", ".join(sorted(neutral)), none)
    widths = [ink_box(a, b)[0] / 200 for seed in range(4) for a, b in changed(images, "word=THUS", 0.8, seed=seed)]
    within = min(widths) >= 0.38 and max(widths) <= 0.84
    yield holds("widths of words by word=THUS 0.8", "0.4 to 0.8", f"{min(widths):.2f} to {max(widths):.2f}", within)


def _house() -> Iterator[Verdict]:
    some = drawings()
    pairs = list(zip(some.rows, changed(some, "house", 1), strict=True))
    originals = {(row.labels["concept"], row.labels["family"]): rgb(row.read()) for row in some.rows}
    right = [
        any(
            concept == row.labels["concept"] and family != row.labels["family"] and _close(rgb(after), pixels)
            for (concept, family), pixels in originals.items()
        )
        for row, (_, after) in pairs
    ]
    yield near("share of drawings that become the same concept's of another house", float(np.mean(right)), 1, 0)


def _line_drawing() -> Iterator[Verdict]:
    yield near(
        "lightness of a plain colour as a line drawing",
        float(rgb(change(plain(muted()), "line-drawing", 1)).mean()),
        1,
        1e-9,
    )
    (a, whole), (_, half) = (changed(photographs().take([0]), "line-drawing", s)[0] for s in (1, 0.5))
    halfway, all_the_way = (rgb(half) - rgb(a)).ravel(), (rgb(whole) - rgb(a)).ravel()
    way = over(float(halfway @ all_the_way), float(all_the_way @ all_the_way))
    yield near("share of the way at line-drawing 0.5", way, 0.5, 0.01)


def _posterize() -> Iterator[Verdict]:
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(8, axis=0))
    for bits in (3, 5, 7):
        levels = len(np.unique(np.asarray(change(ramp, "posterize", bits))))
        yield near(f"levels of a ramp after posterize {bits}", levels, 2 ** (8 - bits), 0)


def _oil() -> Iterator[Verdict]:
    step = np.zeros((100, 100, 3), np.uint8)
    step[:, 50:] = 200
    kept = np.array_equal(np.asarray(change(Image.fromarray(step), "oil", 0.03)), step)
    yield holds("a sharp edge after oil 0.03", "the same", "the same" if kept else "another", kept)
    # a bright square of 5 pixels is smaller than a brush of radius 5 and wider than one of radius 1
    dot = np.zeros((100, 100, 3), np.uint8)
    dot[48:53, 48:53] = 255
    left = [float(rgb(change(Image.fromarray(dot), "oil", s))[50, 50, 0]) for s in (0.01, 0.05)]
    yield near("middle of a dot of 5 pixels under a brush of radius 1", left[0], 1, 0.01)
    yield holds("under a brush of radius 5", "below 0.75", f"{left[1]:.3f}", left[1] < 0.75)


def _halftone() -> Iterator[Verdict]:
    for pitch in (0.05, 0.1):
        printed = rgb(change(plain(_GREY, 200), "halftone", pitch))[..., 0]
        spectrum = np.abs(np.fft.fft2(printed - printed.mean()))
        y, x = np.unravel_index(spectrum.argmax(), spectrum.shape)
        frequency = math.hypot(min(y, 200 - y), min(x, 200 - x)) / 200
        yield near(
            f"distance of the dots of halftone {pitch:g}, share of the side",
            over(1 / 200, frequency),
            pitch,
            0.1 * pitch,
        )
        yield near("mean of a grey of 0.502 under these dots", float(printed.mean()), 0.502, 0.03)


def _pixel_art() -> Iterator[Verdict]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3)).astype(np.uint8))
    for side in (0.05, 0.1):
        after = np.asarray(change(noise, "pixel-art", side))
        runs = 1 + int((after[0, 1:] != after[0, :-1]).any(-1).sum())
        yield near(f"blocks in a row of pixels after pixel-art {side:g}", runs, 1 / side, 0)


def _watercolor() -> Iterator[Verdict]:
    picture = photographs().rows[1].read()
    yield rises(
        "change of a photograph by watercolor 0.3, 0.6, 1",
        [mean_change(picture, change(picture, "watercolor", s)) for s in (0.3, 0.6, 1)],
    )
    yield near("white after watercolor 1", float(rgb(change(plain((255, 255, 255)), "watercolor", 1)).min()), 1, 1e-9)


def _object() -> Iterator[Verdict]:
    some = drawings()
    categories = {rgb(row.read()).tobytes(): row.labels["category"] for row in some.rows}
    after = [rgb(b).tobytes() for _, b in changed(some, "object", 1)]
    other = [
        categories.get(b, row.labels["category"]) != row.labels["category"]
        for row, b in zip(some.rows, after, strict=True)
    ]
    yield near("share of drawings that become one of another category", float(np.mean(other)), 1, 0)


def _background() -> Iterator[Verdict]:
    some = drawings().take([0])
    (before, whole), (_, half), (_, alone) = (
        changed(some, name, s)[0] for name, s in (("background", 1), ("background", 0.5), ("background/alone", 1))
    )
    alpha = np.asarray(before)[..., 3]
    kept = bool((np.asarray(whole)[alpha == 255] == np.asarray(before)[alpha == 255]).all())
    yield holds("the object in front of a new background", "the same", "the same" if kept else "another", kept)
    behind = np.abs(np.asarray(whole, np.float64) - np.asarray(alone))[alpha == 0].max()
    yield near("largest difference of the background from that of the control, of 255", float(behind), 0, 0)
    way = over((1 - rgb(half)[alpha == 0]).mean(), (1 - rgb(whole)[alpha == 0]).mean())
    yield near("share of the way from white at background 0.5", way, 0.5, 0.02)


def _crop() -> Iterator[Verdict]:
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 201)[None, :, None], (201, 1, 3)).astype(np.uint8))
    for share in (0.1, 0.3):
        after = rgb(change(ramp, "crop", share))[100, :, 0]
        yield near(f"share of a ramp that is left after crop {share:g}", float(np.ptp(after)), 1 - share, 0.02)


def _shift() -> Iterator[Verdict]:
    dot = Image.new("RGBA", (200, 100))
    dot.paste((0, 0, 0, 255), (98, 48, 102, 52))
    for share in (0.1, 0.2):
        y, x = (float(each.mean()) for each in np.nonzero(np.asarray(change(dot, "shift", share))[..., 3]))
        moved = np.hypot((x - 99.5) / 200, (y - 49.5) / 100)
        yield near(f"share of width and height that shift {share:g} moves a dot by", float(moved), share, 0.01)


def _jpeg() -> Iterator[Verdict]:
    picture = photographs().rows[0].read()
    for strength in (50, 80):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=100 - strength)
        same = np.array_equal(rgb(Image.open(buffer)), rgb(change(picture, "jpeg", strength)))
        yield holds(f"jpeg {strength}", f"a JPEG of quality {100 - strength}", "the same" if same else "another", same)


def _noise() -> Iterator[Verdict]:
    for strength in (0.05, 0.1):
        values = rgb(change(plain(_GREY, 128), "noise", strength))
        yield near(
            f"standard deviation of a grey after noise {strength:g}", float(values.std()), strength, 0.03 * strength
        )


def _none() -> Iterator[Verdict]:
    yield from ()


UNITS: Mapping[str, Unit] = {
    "hue": _hue,
    "saturation": _saturation,
    "greyscale": _greyscale,
    "temperature": _temperature,
    "palette": _palette,
    "tint": _tint,
    "recolor": _recolor,
    "word-agrees": _words,
    "word-conflicts": _none,
    "word-neutral": _none,
    "word": _none,
    "house": _house,
    "line-drawing": _line_drawing,
    "posterize": _posterize,
    "oil": _oil,
    "halftone": _halftone,
    "pixel-art": _pixel_art,
    "watercolor": _watercolor,
    "object": _object,
    "background": _background,
    **scenes.UNITS,
    "crop": _crop,
    "shift": _shift,
    "jpeg": _jpeg,
    "noise": _noise,
}
"""By intervention, the check of its unit; the four that draw words have one in common."""


def _kelvin(picture: Image.Image) -> float:
    """Return the correlated colour temperature of a picture's mean colour (McCamy 1992)."""
    srgb = rgb(picture).reshape(-1, 3).mean(0)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = to_xyz @ linear
    x, y = xyz[:2] / xyz.sum()
    n = (x - 0.3320) / (0.1858 - y)
    return float(449 * n**3 + 3525 * n**2 + 6823.3 * n + 5520.33)


def _apart(a: Image.Image, b: Image.Image) -> float:
    """Return the distance of two plain colours in Oklab's a and b."""
    return float(np.linalg.norm(oklab(a)[0, 1:] - oklab(b)[0, 1:]))


def _median(parts: list[Values]) -> float:
    return float(np.median(np.concatenate(parts)))


def _close(a: Values, b: Values) -> bool:
    return a.shape == b.shape and bool(np.abs(a - b).max() < 0.02)


def _numbers(values: object) -> str:
    return ", ".join(f"{value:.3f}" for value in np.asarray(values).tolist())
