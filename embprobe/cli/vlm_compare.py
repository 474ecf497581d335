"""``embprobe vlm compare``: accuracies of vision-language models by group of questions, and their differences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embprobe.cli.console import note, output, print_json
from embprobe.cli.options import JsonOption, SeedOption
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.statistics import Estimate
    from embprobe.vlm.answers import Answers
    from embprobe.vlm.compare import VlmComparison
    from embprobe.vlm.predicted import Prediction


def compare(
    answers: Annotated[
        list[str],
        typer.Argument(
            help="Files with the answers of a model each: of 'embprobe vlm eval', lmms-eval's samples (.jsonl), or "
            "VLMEvalKit's results (.xlsx, .tsv). NAME=FILE names the model.",
            metavar="FILE...",
        ),
    ],
    probe: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder with the results of a probe of the same encoders: does it predict the accuracies? "
            "Repeatable; needs 4 encoders.",
            metavar="FOLDER",
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="A model that is drawn in grey, such as a blind one; repeatable.", metavar="NAME"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Draw the accuracies into this PNG, and an SVG beside it.", metavar="FILE.png")
    ] = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Compare models' answers to the same questions: accuracy by group, and differences with paired intervals."""
    from embprobe.errors import UsageError
    from embprobe.plots.vlm import plot_vlm
    from embprobe.probing.results import Results
    from embprobe.system.written import written
    from embprobe.vlm.compare import compare_answers
    from embprobe.vlm.predicted import predict_groups

    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--out must end in .png, not '{visible(out.name)}': an SVG is written beside it.")
    probes = [Results.load(folder, scores=False) for folder in probe or []]
    comparison = compare_answers([_opened(each) for each in answers], seed=seed)
    if unknown := [name for name in reference or [] if name not in comparison.models]:
        models = visible(", ".join(comparison.models))
        raise UsageError(f"--reference '{visible(unknown[0])}' is none of the models: {models}.")
    predictions = predict_groups(probes, comparison, seed=seed) if probes else ()
    if json:
        from dataclasses import asdict

        print_json({**comparison.as_json(), "predictions": [asdict(each) for each in predictions]})
    else:
        print_vlm_comparison(comparison)
        if predictions:
            print_predictions(predictions)
    for remark in comparison.notes:
        note(f"{visible(remark)}.")
    if out is not None:
        if not written("figure", out, lambda: plot_vlm(comparison, out, references=reference or ())):
            raise typer.Exit(1)
        note(f"Figure: {out}")


def _opened(given: str) -> Answers:
    """Open ``FILE`` or ``NAME=FILE``; a file whose own name has an equals sign comes first."""
    from embprobe.vlm.outside import open_answers

    name, sign, path = given.partition("=")
    if sign and name and path and not Path(given).exists():
        return open_answers(path, name=name)
    return open_answers(given)


def print_vlm_comparison(comparison: VlmComparison) -> None:
    """Print the accuracy of every model by group, then the differences, then what follows."""
    console = output(width=120)
    _print_accuracies(console, comparison)
    if comparison.differences:
        _print_differences(console, comparison)
    console.print(escape(visible_lines(comparison.headline())))


def _print_accuracies(console: Console, comparison: VlmComparison) -> None:
    from embprobe.encoders.naming import names_in_lines
    from embprobe.probing.results import span

    words = "/".join(dict.fromkeys(f"{group.resampled}s" for group in comparison.groups))
    called = names_in_lines(comparison.models, 20)
    table = Table(
        title=escape(visible(f"How many questions are answered rightly? {comparison.asked}".rstrip())),
        title_justify="left",
        caption=f"95 % bootstrap intervals over {span([group.units for group in comparison.groups])} {words}. "
        "Every: the share that is right in all turns of the options.",
        caption_justify="left",
    )
    table.add_column("group")
    table.add_column("questions", justify="right")
    table.add_column("guessing", justify="right")
    for model in comparison.models:
        table.add_column(escape(called[model]), justify="right")
    turned = any(each.every != each.accuracy for each in comparison.accuracies)
    for group in comparison.groups:
        cells = []
        for model in comparison.models:
            found = comparison.accuracy(model, group.name)
            every = f"\nevery {found.every.estimate:.3f}" if turned else ""
            cells.append(f"{_interval(found.accuracy)}{every}")
        counted = f"{group.questions:,}" + (f"\n{group.pairs:,} pairs" if group.pairs else "")
        counted += f"\n{len(group.kinds)} sets" if group.kinds else ""
        chance = "-" if group.chance is None else f"{group.chance:.3f}"
        table.add_row(escape(visible(group.name or "all")), counted, chance, *cells, end_section=True)
    console.print(table)


def _print_differences(console: Console, comparison: VlmComparison) -> None:
    from embprobe.encoders.naming import short_names
    from embprobe.probing.results import format_p

    short = short_names(comparison.models)
    table = Table(
        title="Which model is better?",
        title_justify="left",
        caption=f"Accuracy of the first less that of the second, on the same questions; p Holm-corrected over "
        f"{len(comparison.differences):,} differences.",
        caption_justify="left",
    )
    for heading in ("group", "models"):
        table.add_column(heading)
    for heading in ("difference", "p"):
        table.add_column(heading, justify="right")
    for each in comparison.differences:
        table.add_row(
            escape(visible(each.group or "all")),
            f"{escape(short[each.a])} - {escape(short[each.b])}",
            _interval(each.difference, signed=True).replace("\n", "  "),
            format_p(each.p_adjusted),
        )
    console.print(table)


def print_predictions(predictions: tuple[Prediction, ...]) -> None:
    """Print how far each probe ranks the encoders as their accuracy in each group does."""
    from embprobe.probing.results import format_p

    count = len(predictions[0].agreement.encoders)
    table = Table(
        title="Do probes predict the accuracies?",
        title_justify="left",
        caption=f"Spearman's rank correlation over {count} encoders with its 95 % interval over encoders, and "
        f"Kendall's; p Holm-corrected over {len(predictions):,}.",
        caption_justify="left",
    )
    for heading in ("probe", "group"):
        table.add_column(heading)
    for heading in ("Spearman", "Kendall", "p"):
        table.add_column(heading, justify="right")
    for each in predictions:
        found = each.agreement
        table.add_row(
            escape(visible(each.attribute)),
            escape(visible(each.group or "all")),
            f"{found.spearman:+.2f}  {found.low:+.2f} to {found.high:+.2f}",
            f"{found.kendall:+.2f}",
            format_p(each.p_adjusted),
        )
    output(width=120).print(table)


def _interval(found: Estimate, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{found.estimate:{sign}.3f}\n{found.low:{sign}.3f} to {found.high:{sign}.3f}"


def visible_lines(text: str) -> str:
    """Make text of several lines safe to print."""
    return "\n".join(map(visible, text.split("\n")))
