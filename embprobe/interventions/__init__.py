"""Interventions: an image in, the same image with one attribute changed out; each with controls that do not change it.

One is a function of an image and a line here.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from PIL import Image

from embprobe.errors import UsageError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row
from embprobe.interventions import color, nuisance, style, swaps, words
from embprobe.interventions.base import Change, Edit, Intervention, Planner, Rng, matched, pixels

__all__ = [
    "INTERVENTIONS",
    "Edit",
    "Intervention",
    "attributes",
    "check_strength",
    "find_intervention",
    "intervene",
    "plan_of",
]


def _still(change: Callable[[Image.Image, float], Image.Image]) -> Change:
    """A change with nothing random in it."""
    return lambda image, strength, rng: change(image, strength)


def _color(
    name: str, unit: str, range: tuple[float, float], preview: tuple[float, ...], planner: Planner
) -> Intervention:
    controls = {"lightness": matched(planner, color.match_lightness)}
    return Intervention(name, "color", unit, range, preview, planner, controls)


def _style(name: str, unit: str, most: float, preview: tuple[float, ...], change: Change) -> Intervention:
    controls = {"blur": matched(pixels(change), lambda original, changed, rng: style.match_blur(original, changed))}
    return Intervention(name, "style", unit, (0, most), preview, pixels(change), controls)


def _word(name: str, planner: Callable[..., Planner]) -> Intervention:
    controls = {ink: planner(ink) for ink in ("shuffled", "glyphs", "box")}
    return Intervention(name, "text", "share of the image's width", (0, 1), (0.3, 0.5, 0.8), planner(), controls)


def _any_word(argument: str = "") -> Intervention:
    return replace(_word("word", words.anywhere(argument)), given=_any_word)


def _hued(name: str, unit: str, change: Callable[[Image.Image, float, float], Image.Image]) -> Intervention:
    def given(argument: str = "") -> Intervention:
        try:
            hue = float(argument) if argument else None
        except ValueError:
            hue = math.nan
        if hue is not None and not math.isfinite(hue):
            raise UsageError(f"'{name}=' takes a hue in degrees, not '{argument}'.")
        return replace(_color(name, unit, (0, 1), (0.5, 1), swaps.hued(change, hue)), given=given)

    return given()


def _nuisance(name: str, unit: str, most: float, preview: tuple[float, ...], change: Change) -> Intervention:
    return Intervention(name, "nuisance", unit, (0, most), preview, pixels(change))


def _swap(name: str, attribute: str, unit: str, planner: Planner) -> Intervention:
    return Intervention(name, attribute, unit, (0, 1), (1,), planner, whole=True)


_SIDE = "share of the shorter side"

INTERVENTIONS = {
    each.name: each
    for each in (
        _color("hue", "degrees in OKLCh", (-360, 360), (60, 120, 180), pixels(_still(color.rotate_hue))),
        _color("saturation", "change of the chroma", (-1, 1), (-0.5, 0.5, 1), pixels(_still(color.saturate))),
        _color("greyscale", "share of the chroma removed", (0, 1), (0.5, 1), pixels(_still(color.desaturate))),
        _color("temperature", "mired", (-100, 250), (-100, 100, 250), pixels(_still(color.shift_temperature))),
        _color("palette", "share of the way to another image's colours", (0, 1), (0.5, 1), swaps.palette),
        _hued("tint", "share of the way to one hue", color.tint),
        _hued("recolor", "share of the way to a vivid colour", swaps.ink),
        _word("word-agrees", words.agreeing),
        _word("word-conflicts", words.conflicting),
        _word("word-neutral", words.neutral),
        _any_word(),
        _swap("house", "style", "1: drawn by another house", swaps.house),
        _style("line-drawing", "share of the way to a line drawing", 1, (0.5, 1), _still(style.line_drawing)),
        _style("posterize", "bits of each channel removed", 7, (5, 6, 7), _still(style.posterize)),
        _style("oil", f"radius of the brush, {_SIDE}", 0.05, (0.01, 0.02, 0.03), _still(style.oil)),
        _style("halftone", f"pitch of the dots, {_SIDE}", 0.1, (0.02, 0.035, 0.06), _still(style.halftone)),
        _style("pixel-art", f"side of the blocks, {_SIDE}", 0.2, (0.02, 0.04, 0.08), _still(style.pixel_art)),
        _style("watercolor", "share of the whole effect", 1, (0.3, 0.6, 1), style.watercolor),
        _swap("object", "category", "1: an image of another category, alike in colour and size", swaps.object_),
        Intervention(
            "background",
            "category",
            "opacity of the new background",
            (0, 1),
            (0.5, 1),
            pixels(swaps.background),
            {"alone": pixels(partial(swaps.background, alone=True))},
        ),
        _nuisance("crop", "share of each side cut away", 0.5, (0.05, 0.15, 0.3), nuisance.crop),
        _nuisance("shift", "share of width and height", 0.5, (0.05, 0.1, 0.2), nuisance.shift),
        _nuisance("jpeg", "100 - quality", 95, (50, 80, 92), _still(nuisance.jpeg)),
        _nuisance("noise", "standard deviation, share of the range", 0.5, (0.05, 0.1, 0.2), nuisance.noise),
    )
}


def attributes() -> list[str]:
    """The attributes that interventions change."""
    return list(dict.fromkeys(each.attribute for each in INTERVENTIONS.values()))


def find_intervention(name: str) -> Intervention:
    """The intervention of this name, with an argument (``word=thus``), or a control of one (``hue/lightness``).

    Raises :class:`UsageError` with the known names if there is none.
    """
    front, _, control = name.partition("/")
    front, given, argument = front.partition("=")
    known = INTERVENTIONS.get(front)
    if known is None:
        near = difflib.get_close_matches(front, INTERVENTIONS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"There is no intervention '{front}'.{hint} There are: {', '.join(sorted(INTERVENTIONS))}.")
    if given:
        if known.given is None:
            takes = ", ".join(f"'{each.name}='" for each in INTERVENTIONS.values() if each.given)
            raise UsageError(f"'{front}' takes no argument '{argument}'; what takes one: {takes}.")
        if not argument:
            raise UsageError(f"'{front}=' lacks its argument; without the '=' it is drawn at random.")
        known = replace(known.given(argument), name=f"{front}={argument}")
    if not control:
        return known
    if control not in known.controls:
        there = f"Its controls: {', '.join(known.controls)}." if known.controls else "It has none."
        raise UsageError(f"'{front}' has no control '{control}'. {there}")
    return replace(known, name=name, planner=known.controls[control], controls={})


def intervene(images: Images, name: str, strength: float, *, seed: int, donors: Images | None = None) -> Images:
    """The same rows with every image changed when it is read.

    ``donors`` are the rows that words, palettes and other drawings are taken from (default: ``images``). Deterministic:
    what happens to a row depends on its key, the seed and the donors alone. A row to which it cannot be done is
    unreadable, with the reason. The word that was drawn into an image is its label ``word``. Raises
    :class:`UsageError` for an unknown name or a strength outside its range.
    """
    plan = plan_of(find_intervention(name), strength, donors or images, seed=seed)
    edits = {row.key: plan(row) for row in images.rows}

    def change(row: Row) -> tuple[str, Callable[[Image.Image], Image.Image]]:
        edit = edits[row.key]
        mark = f"{name}={float(strength)!r}@{seed}" + (f"|{edit.mark}" if edit.mark else "")
        return mark, lambda image: edit.apply(image, _rng(row, seed))

    def labels(row: Row) -> Mapping[str, str]:
        word = edits[row.key].word
        return {**row.labels, "word": word} if word else row.labels

    return images.map(f"{name}={strength:g}@{seed}", change).labelled(labels)


def plan_of(intervention: Intervention, strength: float, donors: Images, *, seed: int) -> Callable[[Row], Edit]:
    """What will be done to each row; where it cannot be done, an edit that raises the reason when applied.

    Raises :class:`UsageError` for a strength outside the intervention's range.
    """
    check_strength(intervention, strength)
    plan = intervention.planner(donors)

    def planned(row: Row) -> Edit:
        try:
            return plan(row, strength, _rng(row, seed, "plan"))
        except UnreadableImage as error:
            reason = str(error)

        def refuse(image: Image.Image, rng: Rng) -> Image.Image:
            raise UnreadableImage(reason)

        return Edit(refuse, reason)

    return planned


def check_strength(intervention: Intervention, strength: float) -> None:
    """Raise :class:`UsageError` for a strength that the intervention does not have."""
    low, high = intervention.range
    if not low <= strength <= high or (intervention.whole and strength not in (0, 1)):
        allowed = "is 0 or 1" if intervention.whole else f"goes from {low:g} to {high:g}"
        raise UsageError(f"The strength of '{intervention.name}' {allowed} ({intervention.unit}), not {strength:g}.")


def _rng(row: Row, seed: int, what: str = "") -> Rng:
    """A row's generator; what is chosen for it must not go together with how it is done, so planning has its own."""
    digest = hashlib.sha256(f"{seed}:{row.key}{what and chr(0) + what}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(list(digest))
