"""The registry of interventions: ours, and those that other installed packages add under an entry point.

One of ours is a function of an image and a strength, and a line in ``INTERVENTIONS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points

from PIL import Image

from embprobe.errors import EmbprobeError, UsageError
from embprobe.interventions import color, nuisance, pose, scenes, style, swaps, words
from embprobe.interventions.base import Change, Intervention, Planner, matched, pixels
from embprobe.system.suggestions import did_you_mean

ENTRY_POINTS = "embprobe.interventions"
"""The entry-point group of interventions in other packages; each entry point names an :class:`Intervention`."""


def _still(change: Callable[[Image.Image, float], Image.Image]) -> Change:
    """Wrap a change in which nothing is random."""
    return lambda image, strength, rng: change(image, strength)


def _color(
    name: str, unit: str, range: tuple[float, float], preview: tuple[float, ...], planner: Planner
) -> Intervention:
    mark = f"|recognisable {color.RECOGNISABLE:g}"
    controls = {"lightness": matched(planner, color.match_lightness_recognisably, mark=mark)}
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
        planner = swaps.hued(change, hue)
        hued = replace(_color(name, unit, (0, 1), (0.5, 1), planner), given=given)
        # a drawing in one ink keeps its shape, and is recognised, however light or dark its ink becomes
        controls = {"lightness": matched(planner, color.match_lightness)} if change is swaps.ink else hued.controls
        return replace(hued, controls=controls)

    return given()


def _nuisance(name: str, unit: str, most: float, preview: tuple[float, ...], change: Change) -> Intervention:
    return Intervention(name, "nuisance", unit, (0, most), preview, pixels(change))


def _swap(name: str, attribute: str, unit: str, planner: Planner) -> Intervention:
    return Intervention(name, attribute, unit, (0, 1), (1,), planner, whole=True)


def _background(texture: str = "") -> Intervention:
    if texture and texture not in swaps.TEXTURES:
        raise UsageError(f"'background=' takes one of {', '.join(swaps.TEXTURES)}, not '{texture}'.")
    change = partial(swaps.background, texture=texture)
    controls = {"alone": pixels(partial(change, alone=True))}
    unit = "opacity of the new background"
    return Intervention("background", "category", unit, (0, 1), (0.5, 1), pixels(change), controls, given=_background)


def _of_arguments(name: str, unit: str, arguments: tuple[str, ...], planner: Callable[[str], Planner]) -> Intervention:
    """Make an intervention that takes one of a few arguments, or any of them at random."""

    def given(argument: str = "") -> Intervention:
        if argument and argument not in arguments:
            raise UsageError(f"'{name}=' takes one of {', '.join(arguments)}, not '{argument}'.")
        return Intervention(name, "scene", unit, (0, 1), (1,), planner(argument), whole=True, given=given)

    return replace(given(), arguments=arguments)


def _scene(name: str, unit: str, arguments: tuple[str, ...], scene: scenes.Scene) -> Intervention:
    return _of_arguments(name, unit, arguments, lambda argument: scenes.composing(scene, argument, arguments))


_SIDE = "share of the shorter side"

INTERVENTIONS: dict[str, Intervention] = {
    intervention.name: intervention
    for intervention in (
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
        _background(),
        _of_arguments(
            "turn", "1: turned clockwise, or mirrored", pose.TURNS, lambda how: pixels(partial(pose.turn, how=how))
        ),
        Intervention("scale", "scene", "share of each side", (0, 0.75), (0.25, 0.5), pixels(_still(pose.scale))),
        _scene("count", "1: so many copies", scenes.COUNTS, scenes.count),
        _scene("place", "1: at this side of the middle", scenes.SIDES, scenes.place),
        Intervention(
            "plant",
            "scene",
            "1: at any place in a scene",
            (0, 1),
            (1,),
            pixels(scenes.plant),
            {"mask": pixels(partial(scenes.plant, mask=True))},
            whole=True,
        ),
        _scene("beside", "1: at this side of a chequered ball", scenes.HALVES, scenes.beside),
        _scene("larger", "1: the larger of two copies is at this side", scenes.HALVES, scenes.larger),
        _scene("occluded", "1: half hidden, or not", scenes.WHETHER, scenes.occluded),
        _scene("odd", "1: one of four copies is upside down, or none", scenes.WHETHER, scenes.odd),
        _of_arguments("present", "1: there among others, or not", scenes.WHETHER, scenes.present),
        _nuisance("crop", "share of each side cut away", 0.5, (0.05, 0.15, 0.3), nuisance.crop),
        _nuisance("shift", "share of width and height", 0.5, (0.05, 0.1, 0.2), nuisance.shift),
        _nuisance("jpeg", "100 - quality", 95, (50, 80, 92), _still(nuisance.jpeg)),
        _nuisance("noise", "standard deviation, share of the range", 0.5, (0.05, 0.1, 0.2), nuisance.noise),
    )
}


def list_interventions() -> list[str]:
    """List the names of all interventions: ours, then those of other installed packages by the alphabet."""
    return [*INTERVENTIONS, *_plugins()]


def attributes() -> list[str]:
    """List the attributes that interventions change, each once.

    Raises:
        EmbprobeError: An intervention of another package cannot be imported.

    Example:
        >>> attributes()
        ['color', 'text', 'style', 'category', 'scene', 'nuisance']
    """
    return list(dict.fromkeys(find_intervention(name).attribute for name in list_interventions()))


def find_intervention(name: str) -> Intervention:
    """Find an intervention by its name.

    Args:
        name: An intervention (``hue``), with its argument where it takes one (``word=thus``), or one of its controls
            (``hue/lightness``), which is an intervention, too.

    Raises:
        UsageError: There is none of this name; the message lists those that there are.
        EmbprobeError: It is of another package and cannot be imported.

    Example:
        >>> find_intervention("hue/lightness").unit
        'degrees in OKLCh'
    """
    front, _, control = name.partition("/")
    front, equals, argument = front.partition("=")
    known = INTERVENTIONS.get(front) or _plugin(front)
    if known is None:
        names = list_interventions()
        hint = did_you_mean(front, names)
        raise UsageError(f"There is no intervention '{front}'.{hint} There are: {', '.join(sorted(names))}.")
    if equals:
        if known.given is None:
            takes = ", ".join(f"'{each.name}='" for each in INTERVENTIONS.values() if each.given)
            raise UsageError(f"'{front}' takes no argument '{argument}'; what takes one: {takes}.")
        if not argument:
            raise UsageError(f"'{front}=' lacks its argument; without the '=' it is drawn at random.")
        known = replace(known.given(argument), name=f"{front}={argument}", origin=known.origin)
    if not control:
        return known
    if control not in known.controls:
        controls = f"Its controls: {', '.join(known.controls)}." if known.controls else "It has none."
        raise UsageError(f"'{front}' has no control '{control}'. {controls}")
    return replace(known, name=name, planner=known.controls[control], controls={})


def _plugins() -> dict[str, EntryPoint]:
    """Find the entry points of other packages by name; one cannot take the name of an intervention of ours."""
    points = {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in INTERVENTIONS}
    return dict(sorted(points.items()))


def _plugin(name: str) -> Intervention | None:
    """Import the intervention that another package adds under this name; None if there is none."""
    point = _plugins().get(name)
    if point is None:
        return None
    try:
        loaded = point.load()
    except Exception as error:  # a stranger's module can fail in any way
        raise EmbprobeError(f"The intervention '{name}' ({point.value}) cannot be imported: {error}") from None
    if not isinstance(loaded, Intervention):
        raise EmbprobeError(f"The intervention '{name}' ({point.value}) is no embprobe.interventions.Intervention.")
    origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    return replace(loaded, name=name, origin=origin)
