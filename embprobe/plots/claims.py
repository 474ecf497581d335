"""The figure of a study: one row a claim, its difference with the interval, and what became of it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embprobe.claims.verdicts import Decision, Verdict
from embprobe.plots.probe import FIGURE
from embprobe.plots.style import MARKERS, PALETTE, error_bar, figure, save
from embprobe.plots.vlm import plot_vlm
from embprobe.probing.results import span
from embprobe.system.written import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from embprobe.claims.run import Study
    from embprobe.embeddings.workspace import Workspace

INSIDE = "vlm.png"
"""The figure of the accuracies inside a vision-language model."""
_LOOKS: dict[Verdict, tuple[str, str]] = {
    "reproduced": (PALETTE[2], MARKERS[0]),
    "not reproduced": (PALETTE[1], MARKERS[1]),
    "undecided": ("0.4", MARKERS[3]),
    "not asked": ("0.6", ""),
}
"""Colour and marker of each verdict, so that it is told in grey as well."""
_UNASKED = "not asked"


def plot_claims(decisions: Sequence[Decision], out: Path) -> None:
    """A forest plot, one panel a unit; the margin of a claim is shaded, zero is a line, the verdict stands beside it.

    Claims that were not asked have a row without a point, in a panel of their own.
    """
    panels: dict[str, list[Decision]] = {}
    for decision in decisions:
        unit = _UNASKED if decision.difference is None else decision.difference.unit
        panels.setdefault(unit, []).append(decision)
    if _UNASKED in panels:
        panels[_UNASKED] = panels.pop(_UNASKED)  # at the bottom
    height = 1.0 + 0.5 * len(decisions) + 0.45 * len(panels)
    ratios = [len(panel) + 0.5 for panel in panels.values()]
    with figure(width=9.5, height=height, rows=len(panels), heights=ratios) as (canvas, axes):
        rows = [decision.difference for decision in decisions if decision.difference is not None]
        over = f"{span([row.groups for row in rows])} {rows[0].resampled}s" if rows else "nothing"
        heading = f"What becomes of the study's claims\n95 % intervals of differences over {over}"
        canvas.suptitle(heading, fontsize=10, x=0.01, ha="left")
        for axis, (unit, panel) in zip(axes, panels.items(), strict=True):
            _draw(axis, panel, unit)
        save(canvas, out, vector=True)


def save_study(study: Study, workspace: Workspace) -> Path:
    """Write the results of a study and its figure into a folder of the workspace, and return the folder.

    What cannot be written is logged as a warning: the results are worth more.
    """
    folder = study.results.folder(workspace)
    written("results", folder, lambda: study.results.save(folder))
    written("figure", folder / FIGURE, lambda: plot_claims(study.decisions, folder / FIGURE))
    if (inside := study.inside) is not None:
        written("figure", folder / INSIDE, lambda: plot_vlm(inside, folder / INSIDE))
    return folder


def _draw(axis: Axes, panel: Sequence[Decision], unit: str) -> None:
    for i, decision in enumerate(panel):
        color, marker = _LOOKS[decision.verdict]
        row, margin = decision.difference, decision.claim.margin
        if row is not None:
            if margin:
                upper = margin if decision.claim.relation == "similar" else 0.0
                axis.barh(i, upper + margin, left=-margin, height=0.8, color="0.9", zorder=0)
            axis.errorbar(row.estimate, i, xerr=error_bar(row), color=color, marker=marker, capsize=3, markersize=6)
        axis.text(1.01, i, decision.verdict, transform=axis.get_yaxis_transform(), color=color, va="center")
    said = [f"{textwrap.fill(each.claim.sentence, 50)}\n({each.claim.a} - {each.claim.b})" for each in panel]
    axis.set_yticks(range(len(panel)), said, fontsize=8)
    axis.set_ylim(len(panel) - 0.5, -0.5)
    if unit == _UNASKED:
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        return
    axis.axvline(0, color="0.3", lw=0.8, zorder=1)
    axis.set_xlabel(f"difference in {unit}")
    axis.grid(axis="x", color="0.93")
    axis.set_axisbelow(True)
