"""Results of ``embprobe compare --layers`` on the page: sentences, heat maps, a table of nearest layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embprobe.comparing.layer_result import LayerComparison
from embprobe.plots.layers import figures_of
from embprobe.report.pairs import Drawn


@dataclass(frozen=True)
class ComparedByLayers:
    """A comparison of layers with its figures."""

    comparison: LayerComparison
    figures: Sequence[Drawn]


def compared_by_layers(
    comparison: LayerComparison, folder: Path, draw: Callable[[Path], Drawn | None]
) -> ComparedByLayers:
    """Return a comparison of layers with those of its figures that ``draw`` can read from its folder."""
    return ComparedByLayers(comparison, [drawn for path in figures_of(comparison, folder) if (drawn := draw(path))])
