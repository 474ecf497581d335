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
from embprobe.plots.pair_sharing import draw_sharing, has_sharing
from embprobe.plots.style import PALETTE, figure, save
from embprobe.plots.thumbnails import cut_middle, describe, picture_of
from embprobe.system.text import visible
from embprobe.system.written import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACROSS = 2
"""Pairs beside each other on each side."""
_BARS = 1.6
"""The width of the panels of bars, in widths of a pair."""
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
    """Draw pairs of both directions, largest difference first, and beside them bars of what all such pairs share.

    Under each pair stand its percentiles and attributes.

    ``rows`` holds the images of the pairs by key; pairs whose images it lacks are drawn by their keys alone.
    """
    with _drawn(both, rows) as canvas:
        return canvas


@contextmanager
def _drawn(both: tuple[Disagreement, Disagreement], rows: Mapping[str, Row]) -> Iterator[Figure]:
    panels = [distance for distance in (False, True) if has_sharing(both, distance=distance)]
    lines = max(len(panels), 1, *(-(-len(half.pairs) // _ACROSS) for half in both))
    gap = [0.12]
    widths = [1.0] * _ACROSS + gap + [1.0] * _ACROSS + ([*gap, _BARS] if panels else [])
    width, height = 2.4 * (2 * _ACROSS + (_BARS if panels else 0)), 0.8 + 1.75 * lines
    with figure(width=width, height=height, rows=lines, columns=len(widths), widths=widths) as (canvas, axes):
        headings = [_heading(half, side) for half, side in zip(both, ("left, blue", "right, orange"), strict=True)]
        legend = ["Bars: what these pairs share, with 95 % intervals; black lines: random pairs of the same images"]
        canvas.suptitle("\n".join(headings + (legend if panels else [])))
        for axis in axes:
            axis.axis("off")
        for side, half in enumerate(both):
            for i, pair in enumerate(half.pairs):
                line, place = divmod(i, _ACROSS)
                _draw(axes[line * len(widths) + side * (_ACROSS + 1) + place], pair, rows, half, PALETTE[side])
        if panels:
            grid = axes[0].get_gridspec()
            assert grid is not None  # they were made as one
            for unused in axes[len(widths) - 1 :: len(widths)]:
                unused.remove()
            ends = [round(lines * place / len(panels)) for place in range(len(panels) + 1)]
            for top, bottom, distance in zip(ends, ends[1:], panels, strict=False):
                draw_sharing(canvas.add_subplot(grid[top:bottom, -1]), both, distance=distance)
        yield canvas


def _heading(half: Disagreement, side: str) -> str:
    near, far = short_names([half.near, half.far]).values()
    limits = "cosines above {:.2f} and below {:.2f}".format(*half.limits)
    return f"{side}: near for {near} and far for {far} ({limits}): {half.found:,} pairs"


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
