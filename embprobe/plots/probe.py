"""The figure of a probe: one panel a question, every encoder with its interval."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from embprobe.encoders.naming import names_in_lines
from embprobe.interventions import find_intervention
from embprobe.plots.legend import draw_legend
from embprobe.plots.style import MARKERS, PALETTE, error_bar, figure, save
from embprobe.probing.key import SHOTS, SHUFFLED, Key
from embprobe.probing.results import Result, Results, span
from embprobe.probing.scores import Role
from embprobe.system.written import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from embprobe.embeddings.workspace import Workspace

_CONDITIONS = {SHOTS: "images of each value that the classifier was fitted on"}
"""What a strength is in where it is none of an intervention."""
_LETTERS = 58
"""How many letters of the heading have room above a column."""
_NAME, _TITLE, _UNIT = 22, 38, 24
"""How many letters fit into a line of an encoder's name, above a panel, and beside its axis."""

LINE = 0.15
"""Inches that a line of an encoder's name needs beside an axis."""

FIGURE = "figure.png"
"""The name of a figure beside the numbers it shows."""
Encoders = Mapping[str, Role]
"""The encoders of a figure by name, in their order."""


def plot_probe(rows: Sequence[Result], out: Path, *, question: str, first: Key | None = None) -> None:
    """Write the figure of :func:`draw_probe` to ``out``, and as SVG beside it."""
    with _drawn(rows, question=question, first=first) as canvas:
        save(canvas, out, vector=True)


def save_probe(results: Results, workspace: Workspace) -> Path:
    """Write results and their figure into a folder of the workspace, and return the folder.

    What cannot be written is logged as a warning: the results are worth more.
    """
    folder = results.folder(workspace)
    written("results", folder, lambda: results.save(folder))
    written("figure", folder / FIGURE, lambda: results.plot(folder / FIGURE))
    return folder


def draw_probe(rows: Sequence[Result], *, question: str, first: Key | None = None) -> Figure:
    """Draw strength curves where an intervention has several strengths, else dots; decoding against its control task.

    All have 95 % intervals. References and the majority baseline are drawn in grey: they are what the others are read
    against.

    Args:
        rows: The estimates; differences are passed over.
        question: The card's, for the heading.
        first: The key whose panel comes first.

    Returns:
        A matplotlib figure.
    """
    with _drawn(rows, question=question, first=first) as canvas:
        return canvas


@contextmanager
def _drawn(rows: Sequence[Result], *, question: str, first: Key | None) -> Iterator[Figure]:
    panels: dict[Key, list[Result]] = {}
    for row in sorted(rows, key=lambda row: first is None or _panel_of(row.key) != _panel_of(first)):
        if not row.is_difference:
            panels.setdefault(_panel_of(row.key), []).append(row)
    encoders = roles_of([row for panel in panels.values() for row in panel])
    columns = 1 if len(panels) == 1 else 2 if len(panels) <= 4 else 3
    lines = -(-len(panels) // columns)
    height = 0.5 + max(2.6, 0.9 + LINE * label_lines(encoders)) * lines
    with figure(width=4.6 * columns, height=height, rows=lines, columns=columns) as (canvas, axes):
        sizes = span([row.groups for row in rows])
        heading = f"{textwrap.fill(question, _LETTERS * columns)}\n95 % intervals over {sizes} {rows[0].resampled}s"
        canvas.suptitle(heading, fontsize=10, x=0.01, ha="left")
        for axis, (key, panel) in zip(axes, panels.items(), strict=False):
            decoded = panels.get(replace(key, condition=None))
            if key.kind == "decoding" and key.condition == SHUFFLED and decoded:
                title = f"{replace(key, condition=None)}, against {SHUFFLED}"
                axis.set_title(textwrap.fill(title, _TITLE))
                _against_control(axis, decoded, panel, encoders)
                continue
            axis.set_title(textwrap.fill(str(key), _TITLE))
            draw = _curves if len({row.key.strength for row in panel}) > 1 else draw_dots
            draw(axis, panel, encoders)
        for unused in axes[len(panels) :]:
            unused.remove()
        handles, names = next(
            (a.get_legend_handles_labels() for a in axes if a.get_legend_handles_labels()[0]), ([], [])
        )
        if handles:
            draw_legend(canvas, handles, names, columns=3)
        yield canvas


def label_lines(encoders: Encoders) -> int:
    """Return the number of lines that the encoders' names fill below each other."""
    return sum(name.count("\n") + 1 for name in names_in_lines(encoders, _NAME).values())


def roles_of(rows: Sequence[Result]) -> Encoders:
    """Return the role of each encoder, in the order in which they come."""
    return {row.encoder: row.role for row in rows}


def _curves(axis: Axes, panel: Sequence[Result], encoders: Encoders) -> None:
    for encoder in encoders:
        points = sorted((row for row in panel if row.encoder == encoder), key=lambda row: row.key.strength or 0)
        if points:
            x = [row.key.strength or 0.0 for row in points]
            color, marker = look(encoder, encoders)
            axis.plot(
                x,
                [row.estimate for row in points],
                color=color,
                marker=marker,
                markersize=4,
                label=_label(encoder, encoders),
            )
            axis.fill_between(
                x, [row.low for row in points], [row.high for row in points], color=color, alpha=0.2, lw=0
            )
    key = panel[0].key
    condition = (key.target if key.kind == "displacement" else key.condition) or ""
    unit = _CONDITIONS.get(condition) or find_intervention(condition).unit
    axis.set(xlabel=unit, ylabel=textwrap.fill(panel[0].unit, _UNIT))
    _from_zero(axis.set_ylim, panel)
    if min(row.low for row in panel) < 0:
        axis.axhline(0, color="0.6", lw=0.8)
    axis.set_xticks(sorted({row.key.strength for row in panel if row.key.strength is not None}))


def _against_control(axis: Axes, decoded: Sequence[Result], control: Sequence[Result], encoders: Encoders) -> None:
    """Accuracy over what the classifier gets right of labels that mean nothing; on the line it is all memory."""
    memory = {row.encoder: row for row in control}
    for row in decoded:
        if other := memory.get(row.encoder):
            color, marker = look(row.encoder, encoders)
            axis.errorbar(
                other.estimate,
                row.estimate,
                error_bar(row),
                error_bar(other),
                fmt=marker,
                color=color,
                capsize=2,
                markersize=5,
                label=_label(row.encoder, encoders),
            )
    axis.axline((0, 0), slope=1, color="0.6", lw=0.8)
    axis.set(xlabel="accuracy of shuffled labels", ylabel="accuracy", xlim=(0, None), ylim=(0, None))
    axis.grid(color="0.9")
    axis.set_axisbelow(True)


def draw_dots(axis: Axes, panel: Sequence[Result], encoders: Encoders) -> None:
    """An encoder a line, its estimate with its interval; the look of each is its place among ``encoders``."""
    shown = [encoder for encoder in encoders if any(row.encoder == encoder for row in panel)]
    for row in panel:
        color, marker = look(row.encoder, encoders)
        place = shown.index(row.encoder)
        axis.errorbar(row.estimate, place, xerr=error_bar(row), color=color, marker=marker, capsize=2, markersize=5)
    called = names_in_lines(encoders, _NAME)
    axis.set_yticks(range(len(shown)), [called[encoder] for encoder in shown])
    axis.set(xlabel=panel[0].unit, ylim=(len(shown) - 0.5, -0.5))
    axis.grid(axis="x", color="0.9")
    even = _even_odds(panel)
    if even is None:
        _from_zero(axis.set_xlim, panel)
    if even is not None or min(row.low for row in panel) < 0:
        axis.axvline(even or 0, color="0.6", lw=0.8)
    axis.set_axisbelow(True)


def _panel_of(key: Key) -> Key:
    """Return what all keys of one panel share: all but the strength."""
    return replace(key, strength=None)


def _even_odds(panel: Sequence[Result]) -> float | None:
    """Return what a blind encoder has, where that is neither zero nor drawn as guessing."""
    guessed = any(row.role == "baseline" for row in panel)
    return None if guessed else panel[0].floor or None


def _from_zero(limit: Callable[[float | None, float | None], object], panel: Sequence[Result]) -> None:
    """Lengths can be compared where they start at zero."""
    if min(row.low for row in panel) >= 0:
        limit(0, None)
    elif max(row.high for row in panel) <= 0:
        limit(None, 0)


def _label(encoder: str, encoders: Encoders) -> str:
    """Return an encoder's name in a legend, from which matplotlib leaves out names that begin with an underscore."""
    name = names_in_lines(encoders, _NAME)[encoder]
    return f" {name}" if name.startswith("_") else name


def look(encoder: str, encoders: Encoders) -> tuple[str, str]:
    """Return the colour and the marker of an encoder: its place among those of its kind."""
    subject = encoders[encoder] == "subject"
    i = [name for name, role in encoders.items() if (role == "subject") == subject].index(encoder)
    if subject:
        # from the eighth on, a colour comes again with another marker
        return PALETTE[i % len(PALETTE)], MARKERS[(i + i // len(PALETTE)) % len(MARKERS)]
    return ("0.35", "0.5", "0.65", "0.75")[i % 4], ("<", ">", "p", "*")[i % 4]
