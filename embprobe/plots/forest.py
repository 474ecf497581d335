"""Several attributes beside each other: of each probe the headline, every encoder with its interval."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from embprobe.embeddings.workspace import Workspace
from embprobe.plots.probe import LINE, draw_dots, label_lines, roles_of
from embprobe.plots.style import figure, save
from embprobe.probing.results import Results, span
from embprobe.system.written import written

_ACROSS = 2


def save_forest(found: Sequence[Results], workspace: Workspace) -> Path | None:
    """Draw :func:`plot_forest` among the workspace's figures and return its path.

    None if no probe has a headline, or, after a warning, if the figure cannot be written.
    """
    path, drawn = workspace.figure("attributes"), []
    is_there = written("figure", path, lambda: drawn.append(plot_forest(found, path)))
    return path if is_there and any(drawn) else None


def plot_forest(found: Sequence[Results], out: Path) -> bool:
    """One panel a probe that has a headline, in the order given; references in grey. Whether there was any."""
    panels = []
    for results in found:
        key = results.conclusions.key
        rows = [row for row in results.rows if row.key == key and not row.is_difference]
        if key is not None and rows:
            panels.append((str(results.manifest["card"]["question"]), str(key), rows))
    if not panels:
        return False
    encoders = roles_of([row for _, _, rows in panels for row in rows])
    columns = min(_ACROSS, len(panels))
    lines = -(-len(panels) // columns)
    height = 0.6 + lines * (
        1.1 + max(max(0.24 * len(rows), LINE * label_lines(roles_of(rows))) for _, _, rows in panels)
    )
    with figure(width=5.4 * columns, height=height, rows=lines, columns=columns) as (canvas, axes):
        every = [row for _, _, rows in panels for row in rows]
        canvas.suptitle(
            f"95 % intervals over {span([row.groups for row in every])} {every[0].resampled}s",
            fontsize=9,
            x=0.01,
            ha="left",
        )
        for axis, (asked, measure, rows) in zip(axes, panels, strict=False):
            axis.set_title("\n".join([*textwrap.wrap(asked, 50), *textwrap.wrap(measure, 50)]), fontsize=8.5)
            draw_dots(axis, rows, encoders)
        for unused in axes[len(panels) :]:
            unused.remove()
        save(canvas, out, vector=True)
    return True
