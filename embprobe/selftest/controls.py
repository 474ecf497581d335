"""Promises on controls, measured in pixels: each changes something else, by as much, and leaves its attribute alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images
from embprobe.interventions import find_intervention
from embprobe.interventions.color import mean_delta_e
from embprobe.interventions.registry import INTERVENTIONS
from embprobe.interventions.style import mean_change
from embprobe.selftest.pictures import (
    Pair,
    Values,
    amount,
    changed,
    chroma,
    drawings,
    images_of,
    oklab,
    photographs,
    picture_row,
    plain,
    rgb,
    turn,
)
from embprobe.selftest.promise import Settings, Verdict, holds, near, over

_COLORS = (
    ("hue", 60.0),
    ("saturation", -0.5),
    ("greyscale", 1.0),
    ("temperature", 200.0),
    ("tint=140", 0.5),
    ("palette", 1.0),
)
_STYLES = (
    ("line-drawing", 0.3),
    ("posterize", 6.0),
    ("oil", 0.03),
    ("halftone", 0.04),
    ("pixel-art", 0.08),
    ("watercolor", 1.0),
)


def lightness(settings: Settings) -> Iterator[Verdict]:
    """Check that the control of a change of colour changes lightness by as much, and keeps hues."""
    for kind, images in (("photographs", photographs()), ("drawings", drawings())):
        for name, strength in _COLORS:
            # an image of which the control would leave nothing to recognise has none, and is left out of both
            both = [_both(images.take([i]), images, name, strength) for i in range(len(images))]
            if not any(both):
                continue
            pairs, controls = zip(*filter(None, both), strict=True)
            by_change = np.array([mean_delta_e(a, b) for a, b in pairs])
            by_control = np.array([mean_delta_e(a, b) for a, b in controls])
            # transparent parts count for nothing in either, and a drawing in black and white may have no room
            about = f"change of {kind} by the control of {name} {strength:g}, over that by {name} (CIEDE2000)"
            yield near(about, float(np.median(by_control / np.maximum(by_change, 1e-9))), 1, 0.15)
            turned, moved = [], []
            for before, after in controls:
                old, new = oklab(before), oklab(after)
                colored = (chroma(old) > 0.04) & (chroma(new) > 0.04)
                turned.append(np.abs(turn(old, new))[colored])
                moved.append(np.abs(new[:, 0] - old[:, 0]))
            yield near("median degrees by which it turns hues", float(np.median(np.concatenate(turned))), 0, 2)
            lighter = float(np.concatenate(moved).mean())
            yield holds("mean change of lightness by it", "above 0.005", f"{lighter:.3f}", lighter > 0.005)


def _both(image: Images, donors: Images, name: str, strength: float) -> tuple[Pair, Pair] | None:
    """Return one image under a change of colour and under its control; None where the control is refused."""
    try:
        (control,) = changed(image, f"{name}/lightness", strength, donors=donors)
    except UnreadableImage:
        return None
    (change,) = changed(image, name, strength, donors=donors)
    return change, control


def blur(settings: Settings) -> Iterator[Verdict]:
    """Check that the control of a change of style blurs by as much, and keeps the mean colour."""
    for kind, images in (("photographs", photographs()), ("drawings", drawings().take([0, 2, 4]))):
        for name, strength in _STYLES:
            pairs = changed(images, name, strength)
            controls = changed(images, f"{name}/blur", strength)
            ratios = [
                over(mean_change(*control), mean_change(*pair)) for control, pair in zip(controls, pairs, strict=True)
            ]
            yield near(
                f"change of {kind} by the blur of {name} {strength:g}, over that by {name}",
                float(np.median(ratios)),
                1,
                0.03,
            )
            means = max(float(np.abs(rgb(a).mean((0, 1)) - rgb(b).mean((0, 1))).max()) for a, b in controls)
            yield near("largest change of a channel's mean by it, of 255", 255 * means, 0, 1)
            edges = max(over(_edges(rgb(b)), _edges(rgb(a))) for a, b in controls)
            yield holds("differences of neighbouring pixels after it, relative", "below 1", f"{edges:.3f}", edges < 1)


def ink(settings: Settings) -> Iterator[Verdict]:
    """Check that the controls of a word draw as much ink, and no word."""
    whites = [
        picture_row(name, plain((255, 255, 255), 200), name=name, category=name)
        for name in ("rather", "whether", "perhaps")
    ]
    for kind, images in (("white paper", images_of(whites)), ("photographs", photographs())):
        words = changed(images, "word-agrees", 0.6)
        for control in find_intervention("word-agrees").controls:
            drawn = changed(images, f"word-agrees/{control}", 0.6)
            if kind == "white paper":
                ratio = [over(amount(*other), amount(*word)) for other, word in zip(drawn, words, strict=True)]
                yield near(f"ink of '{control}' on {kind}, over that of the word", float(np.median(ratio)), 1, 0.12)
            same = [over(amount(other[1], word[1]), amount(*word)) for other, word in zip(drawn, words, strict=True)]
            apart = float(min(same))
            yield holds(
                f"share of the word's ink that '{control}' puts elsewhere on {kind}",
                "above 0.2",
                f"{apart:.3f}",
                apart > 0.2,
            )


def every(settings: Settings) -> Iterator[Verdict]:
    """Check that every registered intervention of colour, text or style has a control, but a swap of drawings."""
    kinds = {"color": {"lightness"}, "text": {"shuffled", "glyphs", "box"}, "style": {"blur"}}
    lacking = [
        name
        for name, each in INTERVENTIONS.items()
        if not each.whole and each.attribute in kinds and set(each.controls) != kinds[each.attribute]
    ]
    yield holds("interventions that lack a control", "none", ", ".join(lacking) or "none", not lacking)


def _edges(values: Values) -> float:
    return float(np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean())
