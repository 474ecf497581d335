"""A sheet of disagreements: pairs near for one encoder and far for the other on the left, the reverse on the right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from embprobe.comparing.result import Comparison, Disagreement, DisagreementPair, load_comparison
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.naming import short_names
from embprobe.errors import EmbprobeError
from embprobe.images.rows import Row
from embprobe.plots.letters import drawable
from embprobe.plots.style import PALETTE, figure, save
from embprobe.plots.thumbnails import cut_middle, describe, picture_of
from embprobe.system.text import visible
from embprobe.system.written import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACROSS = 2
"""Pairs beside each other on each side."""
_SIDE, _GAP = 192, 12
_LETTERS = 30


def save_pairs(comparison: Comparison, workspace: Workspace) -> None:
    """Write the numbers into a folder of the workspace, and a sheet for every two encoders beside them.

    Of a comparison that is there already only missing sheets are drawn. What cannot be written is logged as a warning:
    the comparison is worth more.
    """
    path = comparison.path(workspace)
    known = _is_saved(comparison, path.parent)
    if not known:
        written("comparison", path, lambda: comparison.save(workspace))
    for both, sheet in zip(comparison.both_ways(), sheets_of(comparison, path.parent), strict=True):
        if not (known and sheet.is_file()):
            written("figure", sheet, partial(plot_pairs, both, comparison.rows, sheet))


def _is_saved(comparison: Comparison, folder: Path) -> bool:
    try:
        return load_comparison(folder) == comparison
    except EmbprobeError:
        return False


def sheets_of(comparison: Comparison, folder: Path) -> list[Path]:
    """Return the paths of a comparison's sheets in its folder: ``pairs-1.png`` and so on."""
    return [folder / f"pairs-{number}.png" for number in range(1, len(comparison.both_ways()) + 1)]


def plot_pairs(both: tuple[Disagreement, Disagreement], rows: Mapping[str, Row], out: Path) -> None:
    """Write the figure of :func:`draw_pairs` to ``out``."""
    with _drawn(both, rows) as canvas:
        save(canvas, out)


def draw_pairs(both: tuple[Disagreement, Disagreement], rows: Mapping[str, Row]) -> Figure:
    """Draw the pairs of both directions, largest difference first; under each its percentiles and attributes.

    ``rows`` holds the images of the pairs by key; pairs whose images it lacks are drawn by their keys alone.
    """
    with _drawn(both, rows) as canvas:
        return canvas


@contextmanager
def _drawn(both: tuple[Disagreement, Disagreement], rows: Mapping[str, Row]) -> Iterator[Figure]:
    lines = max(1, *(-(-len(half.pairs) // _ACROSS) for half in both))
    gap = [0.12]
    widths = [1.0] * _ACROSS + gap + [1.0] * _ACROSS
    width, height = 2.4 * 2 * _ACROSS, 0.8 + 1.75 * lines
    with figure(width=width, height=height, rows=lines, columns=len(widths), widths=widths) as (canvas, axes):
        canvas.suptitle("\n".join(_heading(half, side) for half, side in zip(both, ("left", "right"), strict=True)))
        for axis in axes:
            axis.axis("off")
        for side, half in enumerate(both):
            for i, pair in enumerate(half.pairs):
                line, place = divmod(i, _ACROSS)
                _draw(axes[line * len(widths) + side * (_ACROSS + 1) + place], pair, rows, half, PALETTE[side])
        yield canvas


def _heading(half: Disagreement, side: str) -> str:
    none = "" if half.pairs else ": there are none"
    near, far = short_names([half.near, half.far]).values()
    return f"{side}: near for {near} and far for {far}{none}"


def _draw(axis: Axes, pair: DisagreementPair, rows: Mapping[str, Row], half: Disagreement, color: str) -> None:
    sheet = Image.new("RGB", (2 * _SIDE + _GAP, _SIDE), "white")
    for key, left in zip(pair.keys, (0, _SIDE + _GAP), strict=True):
        picture = ImageOps.contain(picture_of(rows.get(key)), (_SIDE, _SIDE), Image.Resampling.LANCZOS)
        sheet.paste(picture, (left + (_SIDE - picture.width) // 2, (_SIDE - picture.height) // 2))
    axis.axis("on")
    axis.imshow(sheet)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color(color)
    captions = [", ".join(describe(rows[key])) if key in rows else visible(key) for key in pair.keys]
    axis.set_title("\n".join(cut_middle(drawable(caption), _LETTERS) for caption in captions), fontsize=7)
    names = short_names([half.near, half.far]).values()
    shares = zip(names, pair.percentiles, strict=True)
    near, far = (f"{name.partition('/')[2]} {share:.1%}" for name, share in shares)
    facts = [f"{'same' if same else 'other'} {visible(name)}" for name, same in pair.same.items()]
    facts += [] if pair.color is None else [f"colours {pair.color:.2f}"]
    axis.set_xlabel(f"less alike: {near}, {far} of pairs\n{', '.join(facts)}")
    axis.xaxis.label.set_fontsize(6.5)
