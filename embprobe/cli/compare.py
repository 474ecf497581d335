"""``embprobe compare``: how far encoders agree."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embprobe.cli.console import note_files, output, print_json
from embprobe.cli.layers import print_layers
from embprobe.cli.options import (
    MAX_UNLABELLED,
    EncodersOption,
    ImagesArgument,
    JsonOption,
    MaxUnlabelledOption,
    RunOptions,
    SeedOption,
)
from embprobe.cli.progress import spinner
from embprobe.cli.session import begin
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.comparing.layer_result import LayerComparison
    from embprobe.comparing.result import Agreement, Comparison, PairSharing
    from embprobe.statistics import Estimate


def compare(
    images: ImagesArgument = None,
    encoder: EncodersOption = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="The layers of each encoder with those of another and with each other instead: all, 'every 2', or "
            "numbers such as 8,10,12. One encoder is enough."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Neighbours of an image that mutual k-NN compares.", min=1)] = 10,
    by: Annotated[
        list[str] | None,
        typer.Option(help="A label that may explain a disagreement; repeatable. Default: category, style."),
    ] = None,
    pairs: Annotated[int, typer.Option(help="Disagreement pairs to show in each direction.", min=1, max=100)] = 12,
    thresholds: Annotated[
        str,
        typer.Option(
            help="Limits on cosines by name: loose, strict or imagenet (the study's), mmvp (blind pairs). Default: "
            "--percentiles.",
            metavar="NAME",
        ),
    ] = "",
    near_far: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Pairs near for the first encoder have a cosine above the first number, and below the second by the "
            "second encoder.",
            metavar="NEAR FAR",
        ),
    ] = None,
    far_near: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Pairs near for the second encoder have a cosine below the first number by the first encoder, and "
            "above the second by the second.",
            metavar="FAR NEAR",
        ),
    ] = None,
    percentiles: Annotated[
        tuple[float, float],
        typer.Option(
            help="Without limits on cosines: near is a pair above the first percentile of an encoder's own cosines, "
            "far one below the second.",
            metavar="NEAR FAR",
        ),
    ] = (0.95, 0.5),
    sampled: Annotated[
        int,
        typer.Option(
            help="Of more images, all pairs of two random samples of at most this many are looked at.",
            min=2,
            max=50_000,
        ),
    ] = 20_000,
    most_per_image: Annotated[
        int | None, typer.Option(help="Let an image be in so many contrasting pairs at most, against hubs.", min=1)
    ] = None,
    why: Annotated[
        bool,
        typer.Option(
            "--why", help="Map which parts of the first pairs make them near for one encoder, far for the other."
        ),
    ] = False,
    *,
    run: RunOptions,
    seed: SeedOption = 0,
    max_unlabelled: MaxUnlabelledOption = MAX_UNLABELLED,
    json: JsonOption = False,
) -> None:
    """Measure how far encoders agree, what explains where they do not, and on which pairs they disagree most."""
    from embprobe import api
    from embprobe.comparing.layer_result import LayerComparison
    from embprobe.plots.layers import figures_of
    from embprobe.plots.pairs import sheets_of
    from embprobe.plots.why import why_sheets_of

    subjects = begin(images, encoder, run, seed=seed, max_unlabelled=max_unlabelled)
    about_pairs: dict[str, Any] = {
        "by": by,
        "pairs": pairs,
        "thresholds": thresholds,
        "near_far": near_far,
        "far_near": far_near,
        "percentiles": percentiles,
        "sampled": sampled,
        "most_per_image": most_per_image,
        "why": why,
    }
    rows, encoders, session = subjects.images, subjects.encoders, subjects.session
    compared: Comparison | LayerComparison
    with spinner("comparing") as notify:
        if layers is None:
            compared = api.compare(rows, encoders, k=k, notify=notify, session=session, **about_pairs)
        else:  # it says which options do not go with layers
            compared = api.compare(rows, encoders, layers=layers, k=k, notify=notify, session=session, **about_pairs)
    path = compared.path(session.workspace)
    figures: list[Path]
    whys: list[Path] = []
    if isinstance(compared, LayerComparison):
        figures = figures_of(compared, path.parent)
    else:
        figures = sheets_of(compared, path.parent)
        whys = why_sheets_of(len(figures), path.parent) if why else []
    if json:
        drawn = [str(figure) if figure.is_file() else None for figure in figures]
        print_json({**compared.as_json(), "figures": drawn, **_why(compared, whys)})
    else:
        if isinstance(compared, LayerComparison):
            print_layers(compared)
        else:
            print_comparison(compared)
        note_files([*figures, *whys], path)
    if not path.is_file():
        raise typer.Exit(1)


def _why(comparison: Comparison | LayerComparison, sheets: Sequence[Path]) -> dict[str, Any]:
    """Return the maps of a comparison's pairs and the paths of their sheets, if they were asked for."""
    from embprobe.comparing.layer_result import LayerComparison

    if not sheets or isinstance(comparison, LayerComparison):
        return {}
    drawn = [str(sheet) if sheet.is_file() else None for sheet in sheets]
    return {"why": [each.as_json() for each in comparison.why], "why_figures": drawn}


def print_comparison(comparison: Comparison) -> None:
    """Print how far every two encoders agree beside chance, and what the similarity of each goes with."""
    from embprobe.encoders.naming import short_names
    from embprobe.probing.results import span

    console = output(width=140)
    over = span([agreement.value.groups for agreement in comparison.agreements])
    table = Table(
        title=f"Do the encoders agree? {comparison.compared:,} images of {escape(visible(comparison.images.name))}",
        title_justify="left",
        caption_justify="left",
        caption=f"95 % bootstrap intervals over {over} {comparison.resampled}s. Chance: rows matched at random, mean "
        "and the 97.5th percentile.",
    )
    measures = list(dict.fromkeys(agreement.measure for agreement in comparison.agreements))
    short = short_names(comparison.encoders)
    table.add_column("encoders")
    for measure in measures:
        table.add_column(escape(measure), justify="right")
    for a, b in dict.fromkeys((agreement.a, agreement.b) for agreement in comparison.agreements):
        cells = [_cell(agreement) for agreement in comparison.agreements if (agreement.a, agreement.b) == (a, b)]
        table.add_row(f"{escape(short[a])}\n{escape(short[b])}", *cells, end_section=True)
    console.print(table)
    if comparison.explanations:
        _print_explanations(console, comparison)
    _print_pairs(console, comparison)


def _cell(agreement: Agreement) -> str:
    e = agreement.value
    interval = f"{e.estimate:.3f} ({e.low:.3f} to {e.high:.3f})"
    return f"{interval}\nchance {agreement.chance:.4f}, to {agreement.chance_high:.4f}"


def _print_explanations(console: Console, comparison: Comparison) -> None:
    from embprobe.encoders.naming import short_names

    console.print("What does similarity go with? Partial rank correlation over pairs, the others held constant")
    table = Table()
    table.add_column("attribute")
    for name in short_names(comparison.encoders).values():
        table.add_column(escape(name), justify="right")
    by_attribute: dict[str, dict[str, Estimate]] = {}
    for one in comparison.explanations:
        by_attribute.setdefault(one.attribute, {}).update({one.a: one.of_a, one.b: one.of_b})
    for attribute, by_encoder in by_attribute.items():
        estimates = [by_encoder[encoder] for encoder in comparison.encoders]
        cells = (f"{e.estimate:.3f}\n{e.low:.3f} to {e.high:.3f}" for e in estimates)
        table.add_row(escape(visible(attribute)), *cells, end_section=True)
    console.print(table)
    for a, b in itertools.combinations(comparison.encoders, 2):
        console.print(f"[bold]{escape(visible(comparison.sentence(a, b)))}[/bold]", soft_wrap=True)


def _print_pairs(console: Console, comparison: Comparison) -> None:
    """Print what pairs near for only one of two encoders share, beside random pairs of the same images."""
    from embprobe.encoders.naming import short_names

    for half, other in comparison.both_ways():
        short = short_names([half.near, half.far])
        table = Table(
            title=f"Which pairs are near for only one? {comparison.looked_at:,} pairs were looked at",
            title_justify="left",
            caption_justify="left",
            caption=f"95 % intervals over {comparison.resampled}s, a pair resampling both of its images. Random pairs: "
            "each image as often as in the pairs near for one only.",
        )
        table.add_column("what pairs have in common")
        for way in (half, other):
            limits = "cosines above {:.3f}, below {:.3f}".format(*way.limits)
            counted = "" if way.counted == way.found else f", {way.counted:,} of them counted"
            hub = f"\n{way.images:,} images, the busiest in {way.busiest:,} pairs" if way.counted else ""
            heading = f"near for {short[way.near]} only\n{limits}\n{way.found:,} pairs{counted}{hub}"
            table.add_column(escape(heading), justify="right")
        table.add_column("difference", justify="right")
        contrasts = {
            each.attribute: each.difference
            for each in comparison.contrasts
            if (each.a, each.b) == (half.near, half.far)
        }
        for attribute in dict.fromkeys(row.attribute for way in (half, other) for row in way.sharing):
            rows = [next((row for row in way.sharing if row.attribute == attribute), None) for way in (half, other)]
            distance = any(row is not None and row.distance for row in rows)
            label = f"distance in {visible(attribute)}" if distance else f"the same {visible(attribute)}"
            table.add_row(
                escape(label),
                *("too few pairs" if row is None else _shared(row) for row in rows),
                "" if attribute not in contrasts else _signed(contrasts[attribute]),
                end_section=True,
            )
        console.print(table)
        console.print(f"[bold]{escape(visible(comparison.pair_sentence(half.near, half.far)))}[/bold]", soft_wrap=True)


def _shared(row: PairSharing) -> str:
    e = row.share
    return f"{e.estimate:.3f} ({e.low:.3f} to {e.high:.3f})\nrandom {row.matched:.3f}, beyond it\n{_signed(row.beyond)}"


def _signed(e: Estimate) -> str:
    return f"{e.estimate:+.3f} ({e.low:+.3f} to {e.high:+.3f})"
