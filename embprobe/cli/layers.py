"""Print a comparison of layers: which are nearest to each other, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from embprobe.cli.console import output
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.comparing.layer_result import LayerComparison, NearestLayers


def print_layers(comparison: LayerComparison) -> None:
    """Print for each layer of an encoder the nearest layer of another, by both measures, and what follows."""
    from embprobe.encoders.naming import fold, short_names

    console = output(width=140)
    short = short_names(comparison.encoders)
    for a, b in comparison.between():
        table = Table(
            title=f"Which layers agree? {comparison.compared:,} images of {escape(visible(comparison.images.name))}",
            title_justify="left",
            caption_justify="left",
            caption=_layers_caption(comparison),
        )
        table.add_column(f"layer of\n{escape(fold(short[a], 24))}")
        columns = [each for each in comparison.nearest if (each.a, each.b) == (a, b)]
        for each in columns:
            table.add_column(f"nearest of\n{escape(fold(short[b], 24))}", justify="right")
            table.add_column(f"by {escape(each.measure)}", justify="right")
        for i, layer in enumerate(comparison.encoders[a].layers):
            table.add_row(str(layer), *(cell for each in columns for cell in _nearest_cells(each, i)))
        console.print(table)
    for sentence in comparison.sentences():
        console.print(f"[bold]{escape(visible(sentence))}[/bold]", soft_wrap=True)


def _nearest_cells(nearest: NearestLayers, i: int) -> tuple[str, str]:
    return (
        f"{nearest.nearest[i]} ({nearest.low[i]} to {nearest.high[i]})",
        f"{nearest.values[i]:.3f} ({nearest.values_low[i]:.3f} to {nearest.values_high[i]:.3f})",
    )


def _layers_caption(comparison: LayerComparison) -> str:
    chances = {}
    for each in comparison.similarities:
        spread = "" if each.chance_spread is None else f" ± {each.chance_spread:.1g}"
        chances[each.measure] = f"{each.measure} {each.chance:.4f}{spread}"
    return (
        f"95 % bootstrap intervals over {comparison.resampled}s, of a nearest layer those of 95 % of the resamples. "
        f"By chance: {', '.join(chances.values())}."
    )
