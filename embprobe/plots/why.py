"""Sheets of occlusion maps: pairs of images, and which parts of them make an encoder call the two near."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from embprobe.comparing.why import FILE, ExplainedDisagreement, ExplainedPair, save_explanations
from embprobe.embeddings.occlusion import OcclusionMap
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.naming import names_in_lines, short_names
from embprobe.plots.letters import drawable
from embprobe.plots.neighbors import draw_query, subject_of
from embprobe.plots.style import figure, free_path, save
from embprobe.plots.thumbnails import cut_middle, describe
from embprobe.search.neighbors import ExplainedNeighbor, Neighborhood
from embprobe.system.text import visible
from embprobe.system.written import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS, _ENDS = "PuOr_r", (0.1, 0.9)
"""Purple, white, orange: ColorBrewer's scheme for numbers on both sides of 0 that colour-blind people can read, without
its darkest ends, on which neither an image nor an outline is seen."""
_INCHES = 1.15
"""Width of a picture."""
_LETTERS = 20
_NAME = 17
_PALEST = 0.6
"""Lightness of the darkest pixel under a map, from 0 to 1: the colours must stay those of the bar."""
_LEAST = 1e-6
"""The end of the scale of a sheet whose maps are all zero."""
_LEGEND = (
    "Fall of the cosine when a part is hidden. Orange: it makes the two near; purple: it keeps them apart. "
    "Outlined: beyond chance"
)


@dataclass(frozen=True)
class _Cell:
    """A picture or a map in a line of a sheet."""

    shown: OcclusionMap | Image.Image | Neighborhood
    title: str


_Gap = None
"""A gap between the cells of two pairs."""
_Line = Sequence[_Cell | None]


def save_why_neighbors(neighborhoods: Sequence[Neighborhood], workspace: Workspace) -> list[Path | None]:
    """Draw a sheet of each neighbourhood that is explained among the workspace's figures and return their paths.

    Names are given as for sheets of neighbours: None, after a warning, for a sheet that cannot be written.
    """
    sheets: list[Path | None] = []
    taken: set[str] = set()
    for one in neighborhoods:
        if not one.why:
            continue
        subject = subject_of(one.query)
        sheet = free_path(workspace.figure(f"why-{one.query.file_name}"), subject)
        if str(sheet).casefold() in taken:
            sheet = sheet.with_stem(f"{sheet.stem}-{len(sheets) + 1}")
        taken.add(str(sheet).casefold())
        drawn = written("figure", sheet, partial(plot_why_neighbors, one, sheet, subject=subject))
        sheets.append(sheet if drawn else None)
    return sheets


def plot_why_neighbors(neighborhood: Neighborhood, out: Path, *, subject: str = "") -> None:
    """Draw for each encoder its first neighbours, each beside its map and that of the query.

    ``subject`` is a mark of the query that is written into the file.
    """
    titles = names_in_lines(neighborhood.why, _NAME)
    lines = []
    for encoder, explained in neighborhood.why.items():
        line: list[_Cell | None] = [_Cell(neighborhood, f"{titles[encoder]}\nquery")]
        for one in explained:
            line += [_Gap, *_neighbor(one)]
        lines.append(line)
    heading = f"What makes these near to {visible(neighborhood.query.name)}?"
    with _drawn(lines, heading) as canvas:
        save(canvas, out, subject=subject)


def why_sheets_of(count: int, folder: Path) -> list[Path]:
    """Return the paths of a comparison's sheets of maps: ``why-1.png`` and so on, one for every two encoders."""
    return [folder / f"why-{number}.png" for number in range(1, count + 1)]


def save_why(explained: Sequence[ExplainedDisagreement], folder: Path) -> None:
    """Write the maps' numbers into a comparison's folder, and a sheet for every two encoders beside them.

    What cannot be written is logged as a warning.
    """
    written("file", folder / FILE, partial(save_explanations, explained, folder))
    sheets = why_sheets_of(len(explained) // 2, folder)
    for sheet, both in zip(sheets, zip(explained[::2], explained[1::2], strict=True), strict=True):
        written("figure", sheet, partial(plot_why_pairs, both, sheet))


def plot_why_pairs(both: tuple[ExplainedDisagreement, ExplainedDisagreement], out: Path) -> None:
    """Draw pairs that one encoder calls near and the other far, a line a pair, with the maps by both encoders."""
    lines, headings = [], []
    for half in both:
        near, far = short_names([half.disagreement.near, half.disagreement.far]).values()
        if half.pairs:
            headings.append(f"{len(half.pairs)} pairs near for {near}, far for {far}")
        lines += [_pair(half, one) for one in half.pairs]
    heading = "; then ".join(headings) or "There are no pairs that are near for only one of the encoders"
    with _drawn(lines, heading) as canvas:
        save(canvas, out)


def _neighbor(one: ExplainedNeighbor) -> list[_Cell]:
    """Return the cells of a neighbour: as it is, the query's map if it has one, its own map."""
    caption = "\n".join([f"{one.neighbor.similarity:.2f}", *describe(one.neighbor.row)])
    own = _Cell(one.of_neighbor, "of the neighbour")
    plain = _Cell(Image.fromarray(one.of_neighbor.crop), caption)
    return [plain, own] if one.of_query is None else [plain, _Cell(one.of_query, "of the query"), own]


def _pair(half: ExplainedDisagreement, one: ExplainedPair) -> list[_Cell | None]:
    """Return the cells of a pair: both images as they are, then their maps by both encoders."""
    names = short_names([half.disagreement.near, half.disagreement.far])
    crops = [each.crop for each in one.maps[half.disagreement.near]]
    line: list[_Cell | None] = [
        _Cell(Image.fromarray(crop), ", ".join(describe(row))) for crop, row in zip(crops, one.rows, strict=True)
    ]
    for encoder, cosine in zip(names, one.pair.cosines, strict=True):
        first, second = one.maps[encoder]
        line += [_Gap, _Cell(first, f"{names[encoder]}\ncosine {cosine:.2f}"), _Cell(second, "")]
    return line


@contextmanager
def _drawn(lines: Sequence[_Line], heading: str) -> Iterator[Figure]:
    """Draw lines of cells under a heading; all maps of a sheet have one scale, whose bar stands below."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import CenteredNorm, ListedColormap

    longest = max(lines, key=len, default=[_Gap])
    widths = [0.12 if cell is _Gap else 1.0 for cell in longest]
    maps = [cell.shown for line in lines for cell in line if cell and isinstance(cell.shown, OcclusionMap)]
    end = max([_LEAST, *(float(np.abs(each.drop).max()) for each in maps)])
    colors = ListedColormap(colormaps[_COLORS](np.linspace(*_ENDS, 257)))
    scale = ScalarMappable(CenteredNorm(0, halfrange=end), colors)
    width = max(_INCHES * sum(widths), 5.0)
    height = 1.1 + 1.6 * max(len(lines), 1)
    with figure(width=width, height=height, rows=max(len(lines), 1), columns=len(widths), widths=widths) as (
        canvas,
        axes,
    ):
        canvas.suptitle("\n".join(textwrap.wrap(drawable(heading), int(15 * width))), fontsize=9)
        for axis in axes:
            axis.axis("off")
        for number, line in enumerate(lines):
            for axis, cell in zip(axes[number * len(widths) :], line, strict=False):
                if cell is not None:
                    _show(axis, cell, scale)
        bar = canvas.colorbar(scale, ax=axes, orientation="horizontal", aspect=60, fraction=0.05, shrink=0.8)
        bar.set_label("\n".join(textwrap.wrap(_LEGEND, int(15 * width))), fontsize=7)
        bar.ax.tick_params(labelsize=6.5)
        yield canvas


def _show(axis: Axes, cell: _Cell, scale: Any) -> None:
    axis.axis("on")
    axis.set(xticks=[], yticks=[])
    if isinstance(cell.shown, Neighborhood):
        draw_query(axis, cell.shown, cell.title)
        return
    for spine in axis.spines.values():
        spine.set_visible(False)
    if isinstance(cell.shown, OcclusionMap):
        _overlay(axis, cell.shown, scale)
    else:
        axis.imshow(cell.shown)
    lines = [cut_middle(drawable(line), _LETTERS) for line in cell.title.splitlines()]
    axis.set_title("\n".join(lines), fontsize=6, loc="center")


def _overlay(axis: Axes, shown: OcclusionMap, scale: Any) -> None:
    """Draw the image in pale grey, tinted block by block, with a line around blocks that are beyond chance."""
    side, (rows, columns) = len(shown.crop), shown.drop.shape
    grey = np.asarray(Image.fromarray(shown.crop).convert("L"), np.float64) / 255
    at = [np.minimum((np.arange(side) + 0.5) * count // side, count - 1).astype(int) for count in (rows, columns)]
    tint = scale.to_rgba(shown.drop)[np.ix_(*at)][..., :3]
    axis.imshow(tint * (_PALEST + (1 - _PALEST) * grey)[..., None], extent=(0, columns, rows, 0))
    beyond = np.pad(shown.beyond_chance, 1)
    for row, column in np.argwhere(beyond[1:] != beyond[:-1]):
        axis.plot([column - 1, column], [row, row], color="black", linewidth=0.9)
    for row, column in np.argwhere(beyond[:, 1:] != beyond[:, :-1]):
        axis.plot([column, column], [row - 1, row], color="black", linewidth=0.9)
