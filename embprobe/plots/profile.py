"""Depth profiles: the headline over the relative depth of networks, encoders over each other, bands for intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from embprobe.encoders.naming import names_in_lines
from embprobe.plots.legend import draw_legend
from embprobe.plots.probe import FIGURE
from embprobe.plots.style import MARKERS, PALETTE, error_bar, figure, save
from embprobe.probing.profiles import LAYERS
from embprobe.probing.results import Result, Results, span
from embprobe.system.written import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from embprobe.embeddings.workspace import Workspace

TOGETHER = "depth"
"""The name of the figure of several cards."""
_OUTPUT = 1.14
"""Where the encoder's own vector stands on the axis of depth."""
_TITLE, _UNIT, _HEADING, _NAME = 44, 34, 58, 34
"""Letters in a line of a panel's title, of an axis, of the heading above a column, and of an encoder's name."""


def save_profile(results: Results, workspace: Workspace) -> Path:
    """Write a profile and its figure into a folder of the workspace, and return the folder."""
    folder = results.folder(workspace)
    written("results", folder, lambda: results.save(folder))
    written("figure", folder / FIGURE, lambda: plot_profiles([results], folder / FIGURE))
    return folder


def save_profiles(profiles: Sequence[Results], workspace: Workspace) -> Path | None:
    """Write the figure of several cards into the workspace, and return its path; None if it cannot be written."""
    out = workspace.figure(TOGETHER)
    return out if written("figure", out, lambda: plot_profiles(profiles, out)) else None


def plot_profiles(profiles: Sequence[Results], out: Path) -> None:
    """Write the figure of :func:`draw_profiles` to ``out``, and as SVG beside it."""
    with _drawn(profiles) as canvas:
        save(canvas, out, vector=True)


def draw_profiles(profiles: Sequence[Results]) -> Figure:
    """Draw one panel a card: estimates over relative depth, 0 the input and 1 the last layer, with 95 % bands.

    Points at the right end are the encoders' own vectors. Untrained networks are dashed, and references without layers
    are lines of their own estimate.

    Args:
        profiles: Results of :func:`embprobe.probing.profiles.run_profiles`; at least one.

    Returns:
        A matplotlib figure.
    """
    with _drawn(profiles) as canvas:
        return canvas


@contextmanager
def _drawn(profiles: Sequence[Results]) -> Iterator[Figure]:
    columns = min(2, len(profiles))
    lines = -(-len(profiles) // columns)
    subjects = list(dict.fromkeys(row.encoder for each in profiles for row in each.rows if row.role == "subject"))
    flat = list(dict.fromkeys(row.encoder for each in profiles for row in each.rows if _is_flat(row, each)))
    with figure(width=4.6 * columns, height=3.0 * lines + 1.0, rows=lines, columns=columns) as (canvas, axes):
        rows = [row for each in profiles for row in each.rows]
        units = " or ".join(dict.fromkeys(f"{row.resampled}s" for row in rows))
        heading = f"Headlines by depth; 95 % intervals over {span([row.groups for row in rows])} {units}"
        canvas.suptitle(textwrap.fill(heading, _HEADING * columns), fontsize=10, x=0.01, ha="left")
        handles: dict[str, Line2D] = {}
        for axis, results in zip(axes, profiles, strict=False):
            _draw(axis, results, subjects, flat, handles)
        for axis in axes[len(profiles) :]:
            axis.remove()
        short = names_in_lines(list(handles), _NAME)
        draw_legend(canvas, list(handles.values()), [short[name] for name in handles], columns=2)
        yield canvas


def _is_flat(row: Result, results: Results) -> bool:
    """Return whether a row is of a reference that has no layers."""
    return row.role == "reference" and row.encoder not in results.manifest[LAYERS]


def _draw(
    axis: Axes, results: Results, subjects: Sequence[str], flat: Sequence[str], handles: dict[str, Line2D]
) -> None:
    layers = results.manifest[LAYERS]
    axis.set_title(textwrap.fill(str(results.conclusions.key), _TITLE))
    axis.set(xlabel="depth: layer / number of layers", ylabel=textwrap.fill(results.rows[0].unit, _UNIT))
    for i, encoder in enumerate([*subjects, *(name for name in layers if name not in subjects)]):
        rows = [row for row in results.rows if row.encoder == encoder]
        curve = sorted((row for row in rows if row.key.layer is not None), key=lambda row: row.key.layer or 0)
        if not curve:
            continue
        subject = encoder in subjects
        color = PALETTE[i % len(PALETTE)] if subject else "0.5"
        depths = [(row.key.layer or 0) / layers[encoder]["depth"] for row in curve]
        marker, dashes, width = (MARKERS[i % len(MARKERS)], "-", 1.4) if subject else ("", "--", 1.0)
        estimates, low, high = zip(*((row.estimate, row.low, row.high) for row in curve), strict=True)
        (line,) = axis.plot(depths, estimates, linestyle=dashes, lw=width, color=color, marker=marker, markersize=4)
        axis.fill_between(depths, low, high, color=color, alpha=0.2 if subject else 0.1, lw=0)
        handles.setdefault(encoder, line)
        for row in (row for row in rows if row.key.layer is None and subject):
            at = _OUTPUT + 0.03 * i
            axis.errorbar([at], [row.estimate], error_bar(row), fmt=marker, color=color, markersize=5, lw=1)
    for row in (row for row in results.rows if _is_flat(row, results)):
        number = flat.index(row.encoder)
        dots = (0, (8 - 2 * (number % 3), 2, *(1, 2) * (1 + number)))
        handles.setdefault(row.encoder, axis.axhline(row.estimate, color="0.6", linestyle=dots, lw=1))
    floor = results.rows[0].floor
    if floor is not None:
        handles.setdefault("a blind encoder", axis.axhline(floor, color="0.3", linestyle=":", lw=1))
    axis.set_xlim(0, _OUTPUT + 0.03 * len(subjects) + 0.03)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1, _OUTPUT + 0.015], ["0", "¼", "½", "¾", "1", "output"])
    axis.grid(axis="y", color="0.92")
    axis.set_axisbelow(True)
