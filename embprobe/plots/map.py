"""Maps side by side, one per encoder, coloured by a label, with thumbnails of some images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from embprobe.embeddings.workspace import distinct_slug
from embprobe.encoders.naming import names_in_lines
from embprobe.encoders.spec import Floats
from embprobe.images.rows import Row
from embprobe.plots.legend import draw_legend
from embprobe.plots.style import MARKERS, PALETTE, figure, save
from embprobe.search.maps import Maps
from embprobe.system.text import visible
from embprobe.system.written import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DISTINCT = 9
"""Most values of a label that get a colour and a marker of their own; the others are grey."""
_LETTERS = 60
"""Most letters in a line of an encoder's name above its map."""
CROWDED = 20_000
"""Most points that are drawn one by one; of more the density is drawn."""
_BINS = 90
_SIDE, _SHARE = 64, 0.045
"""Pixels of a thumbnail, and its share of the panel's width."""


def save_maps(maps: Maps, *, label: str = "", thumbnails: int = 0) -> Path | None:
    """Draw the maps in their folder, coloured by a label that every row has, and return the path of the PNG.

    None, after a warning, if it cannot be written: the maps are, and need not be made again.
    """
    figure = maps.folder / (f"by-{distinct_slug(label)}.png" if label else "plain.png")
    labels = maps.rows.label(label) if label else None
    drawn = thumbnails if maps.rows.has_pictures else 0
    rows = maps.rows.rows
    is_there = written(
        "figure",
        figure,
        lambda: plot_maps(maps.layouts, labels, figure, label=label, rows=rows, thumbnails=drawn),
    )
    return figure if is_there else None


def plot_maps(
    layouts: Mapping[str, Floats],
    labels: Sequence[str] | None,
    out: Path,
    *,
    label: str = "",
    rows: Sequence[Row] = (),
    thumbnails: int = 0,
) -> None:
    """Draw the maps of several encoders as panels of one figure, and save it as PNG and SVG.

    Above 20,000 points hexagons are drawn in the colour of their most frequent value, the darker the more points are in
    them.

    Args:
        layouts: By encoder, the positions of the same rows, ``[n, 2]``.
        labels: A value for each row, whose most frequent ones have a colour each; None for points of one colour.
        out: The path of the PNG; the SVG lies beside it.
        label: The name of the label, the title of the legend.
        rows: The rows, for their images.
        thumbnails: The number of images drawn at their positions. They are spread over the first map, and the same on
            all maps, so that they can be followed from one to another.
    """
    values = labels or [""] * len(next(iter(layouts.values())))
    shown = [value for value, _ in Counter(values).most_common(_DISTINCT)]
    value_of = np.array([shown.index(value) if value in shown else -1 for value in values])
    pictures = _pictures(next(iter(layouts.values())), rows, thumbnails) if thumbnails else {}
    titles = names_in_lines(layouts, _LETTERS)
    with figure(width=5.2 * len(layouts), height=5.8, columns=len(layouts)) as (canvas, axes):
        for axis, (encoder, points) in zip(axes, layouts.items(), strict=True):
            axis.set_title(titles[encoder])
            middle, half = (points.max(0) + points.min(0)) / 2, 0.53 * float(np.ptp(points, axis=0).max())
            (_densities if len(points) > CROWDED else _points)(axis, points, value_of)
            for i, picture in pictures.items():
                _place(axis, picture, points[i], width=2 * _SHARE * half)
            axis.set(xticks=[], yticks=[], aspect="equal")
            axis.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
            axis.spines[:].set_visible(False)
        handles = [axes[0].scatter([], [], s=20, color=_color(i), marker=_marker(i)) for i in range(len(shown))]
        captions = [visible(value) for value in shown]
        if (value_of == -1).any():
            handles.append(axes[0].scatter([], [], s=20, color="0.75"))
            captions.append(f"{len(set(values)) - len(shown):,} others")
        if labels:
            draw_legend(canvas, handles, captions, title=visible(label), columns=5)
        save(canvas, out, vector=True)


def _points(axis: Axes, points: Floats, value_of: NDArray[np.int64]) -> None:
    """Draw every point; ``value_of`` numbers the values of the label, −1 for those without a colour of their own."""
    for i in range(-1, _DISTINCT):
        x, y = points[value_of == i].T
        axis.scatter(x, y, s=6, alpha=0.6, linewidths=0, color=_color(i), marker=_marker(i), rasterized=True)


def _densities(axis: Axes, points: Floats, value_of: NDArray[np.int64]) -> None:
    """Draw hexagons in the colour of their most frequent value, the darker the more points are in them."""
    from matplotlib.colors import to_rgb

    x, y = points.T
    bins: Any = {"gridsize": _BINS, "mincnt": 1, "linewidths": 0}
    counts = np.asarray(axis.hexbin(x, y, None, visible=False, **bins).get_array())
    cells = axis.hexbin(x, y, value_of, reduce_C_function=_most_frequent, **bins)
    ink = np.array([to_rgb(_color(int(i))) for i in np.asarray(cells.get_array())])
    weight = 0.15 + 0.85 * (np.log1p(counts) / np.log1p(counts.max()))[:, None]
    cells.set_array(None)
    cells.set_facecolor(weight * ink + (1 - weight))


def _most_frequent(values: NDArray[Any] | list[float]) -> float:
    return float(Counter(values).most_common(1)[0][0])


def _color(i: int) -> str:
    return "0.75" if i < 0 else PALETTE[i % len(PALETTE)]


def _marker(i: int) -> str:
    return "o" if i < 0 else MARKERS[(i + i // len(PALETTE)) % len(MARKERS)]


def _pictures(points: Floats, rows: Sequence[Row], count: int) -> dict[int, Image.Image]:
    """Choose images far apart on the map, each the farthest from those before; the first is nearest the middle."""
    chosen = [int(np.square(points - points.mean(0)).sum(1).argmin())]
    far = np.square(points - points[chosen[0]]).sum(1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(far.argmax()))
        far = np.minimum(far, np.square(points - points[chosen[-1]]).sum(1))
    pictures = {i: rows[i].read(at_least=_SIDE).convert("RGBA") for i in chosen}
    return {i: ImageOps.contain(each, (_SIDE, _SIDE), Image.Resampling.LANCZOS) for i, each in pictures.items()}


def _place(axis: Axes, picture: Image.Image, point: Floats, *, width: float) -> None:
    """Draw a picture around a point, ``width`` wide in the units of the map."""
    x, y = point
    half = width / 2, width / 2 * picture.height / picture.width
    extent = (x - half[0], x + half[0], y - half[1], y + half[1])
    axis.imshow(picture, extent=extent, zorder=3, interpolation="lanczos")
