"""Maps side by side, one per encoder, coloured by a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from embprobe.encoders.base import Floats
from embprobe.files import replacing
from embprobe.images.rows import visible
from embprobe.plots.style import MARKERS, PALETTE, figure

_NAMED = 9
"""So many values get a look of their own; the rest is grey."""


def plot_maps(layouts: Mapping[str, Floats], labels: Sequence[str], out: Path, *, label: str) -> None:
    """One panel per encoder (``[n, 2]`` each) of the same rows; the label's most frequent values are told apart."""
    shown = [value for value, _ in Counter(labels).most_common(_NAMED)]
    value_of = np.array([shown.index(label) if label in shown else -1 for label in labels])
    with figure(width=4.5 * len(layouts), height=5, columns=len(layouts)) as (canvas, axes):
        for axis, (encoder, points) in zip(axes, layouts.items(), strict=True):
            x, y = points[:, 0], points[:, 1]
            axis.set_title(encoder)
            axis.scatter(x[value_of == -1], y[value_of == -1], s=3, color="0.85", linewidths=0)
            for i, value in enumerate(shown):
                color, marker = PALETTE[i % len(PALETTE)], MARKERS[i // len(PALETTE)]
                here, name = value_of == i, visible(value)
                axis.scatter(x[here], y[here], s=6, alpha=0.6, linewidths=0, color=color, marker=marker, label=name)
            axis.set(xticks=[], yticks=[])
        handles, names = axes[0].get_legend_handles_labels()
        canvas.legend(handles, names, title=label, loc="outside lower center", ncols=5, fontsize=8, markerscale=2)
        with replacing(out) as path:
            canvas.savefig(path)
