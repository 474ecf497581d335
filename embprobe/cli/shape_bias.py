"""``embprobe shape-bias``: decisions for shape and for texture, of encoders, people and networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from embprobe.cli.console import note, output, print_json
from embprobe.cli.options import MAX_UNLABELLED, EncodersOption, JsonOption, MaxUnlabelledOption, RunOptions, SeedOption
from embprobe.cli.session import choose_device, load_encoders, open_rows, start_session
from embprobe.system.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embprobe.benchmarking.shape import DecidedBias
    from embprobe.statistics import Estimate

_NAME = 26
"""Letters of an encoder's name on a line of the table."""


def shape_bias(
    images: Annotated[
        str | None,
        typer.Argument(
            help="Images with the labels shape and texture: cue-conflict@FOLDER, a folder, tars, parquet files. "
            "Without any, published decisions alone are counted.",
            metavar="[IMAGES]",
        ),
    ] = None,
    encoder: EncodersOption = None,
    means_of: Annotated[
        str | None,
        typer.Option(
            help="Images of the same classes to take class means of. Default: those whose shape and texture agree.",
            metavar="IMAGES",
        ),
    ] = None,
    decisions: Annotated[
        list[Path] | None,
        typer.Option(
            help="A CSV file of published decisions, in the form of Geirhos et al.; repeatable.", metavar="FILE"
        ),
    ] = None,
    *,
    run: RunOptions,
    seed: SeedOption = 0,
    max_unlabelled: MaxUnlabelledOption = MAX_UNLABELLED,
    json: JsonOption = False,
) -> None:
    """Measure how often encoders decide for the shape of images whose texture is of another class."""
    from embprobe import api
    from embprobe.benchmarking.dataset import open_dataset
    from embprobe.benchmarking.shape import SHAPE, decisions_biases
    from embprobe.cli.session import reading_of

    if images is None:
        if not decisions:
            api.shape_bias()  # raises, and says what to give
        found = decisions_biases(decisions or [], seed=seed, note=lambda remark: note(f"{visible(remark)}."))
    else:
        dataset = open_dataset(images, reading_of(run), label=SHAPE, max_unlabelled=max_unlabelled)
        others = None if means_of is None else open_rows(means_of, run)
        device = choose_device(run.device)
        loaded = load_encoders(encoder, device, run.precision)
        session = start_session(run, device, seed=seed, max_unlabelled=max_unlabelled)
        found = api.shape_bias(dataset, loaded, means_of=others, decisions=decisions, session=session)
    if json:
        print_json({"schema": 1, "biases": [each.as_json() for each in found]})
    else:
        print_shape_biases(found)


def print_shape_biases(found: Sequence[DecidedBias]) -> None:
    """Print a line for each encoder, network or person: the shape bias and, beside it, the coverage."""
    from embprobe.encoders.naming import names_in_lines

    called = names_in_lines([each.name for each in found], _NAME)
    table = Table(title="Shape or texture?", title_justify="left", caption_justify="left", caption=_caption(found))
    table.add_column("decided by")
    for heading in ("shape bias", "coverage", "shape", "texture", "neither"):
        table.add_column(heading, justify="right")
    for each in found:
        biases = each.biases
        counts = (f"{count:,}" for count in (biases.shape, biases.texture, biases.neither))
        subject = f"{called[each.name]}\n{each.by}"
        table.add_row(escape(subject), _value(biases.bias), _value(biases.coverage), *counts, end_section=True)
    output(width=120).print(table)


def _value(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate.estimate:.3f}\n{estimate.low:.3f} to {estimate.high:.3f}"


def _caption(found: Sequence[DecidedBias]) -> str:
    from embprobe.probing.results import span

    images = span([each.biases.coverage.groups if each.biases.coverage else 1 for each in found])
    guess = ", ".join(f"{2 / count:.3f} among {count}" for count in sorted({each.classes for each in found}))
    return (
        f"95 % bootstrap intervals over {images} images whose shape and texture are of two classes. Shape bias: of the "
        f"decisions for either, the share for the shape. Coverage: the share for either; of a guess {guess} classes."
    )
