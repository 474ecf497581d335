"""``embprobe vlm compare``: accuracies of vision-language models by group of questions, and their differences."""

from __future__ import annotations

from dataclasses import asdict
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
    from collections.abc import Sequence

    from embprobe.statistics import Estimate
    from embprobe.vlm.answers import Answers
    from embprobe.vlm.compare import Accuracy, ComparedGroup, VlmComparison
    from embprobe.vlm.predicted import Prediction


def compare(
    answers: Annotated[
        list[str],
        typer.Argument(
            help="Files with the answers of a model each: of 'embprobe vlm eval', lmms-eval's samples (.jsonl, or the "
            "folder of several tasks), or VLMEvalKit's results (.xlsx, .tsv, .json). NAME=FILE names the model.",
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
    comparison = compare_answers([_opened(each) for each in answers], references=reference or (), seed=seed)
    predictions = predict_groups(probes, comparison, seed=seed) if probes else ()
    if json:
        print_json({**comparison.as_json(), "predictions": [asdict(each) for each in predictions]})
    else:
        print_vlm_comparison(comparison)
        if predictions:
            print_predictions(predictions)
    for remark in comparison.notes:
        note(f"{visible(remark)}.")
    if out is not None:
        if not written("figure", out, lambda: plot_vlm(comparison, out)):
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
    """Print the accuracy of every model by group, then the differences between every two of them."""
    print_accuracies(comparison)
    if comparison.differences:
        _print_differences(output(width=120), comparison)


def print_accuracies(comparison: VlmComparison) -> None:
    """Print the accuracy of every model by group of questions."""
    from embprobe.encoders.naming import short_names
    from embprobe.probing.results import span

    words = "/".join(dict.fromkeys(f"{group.resampled}s" for group in comparison.groups))
    turned = any(each.every != each.accuracy for each in comparison.accuracies)
    caption = f"95 % bootstrap intervals over {span([group.units for group in comparison.groups])} {words}."
    table = Table(
        title=escape(visible(f"How many questions are answered rightly? {comparison.asked}".rstrip())),
        title_justify="left",
        caption=caption + turned * " Every turn: the share that is right however the options are turned.",
        caption_justify="left",
    )
    table.add_column("group")
    table.add_column("guessing", justify="right")
    table.add_column("model")
    for heading in ("accuracy", "every turn") if turned else ("accuracy",):
        table.add_column(heading, justify="right")
    short = short_names(comparison.models)
    for group in comparison.groups:
        names = [visible(group.name or "all"), *_counted(group)]
        chance = "" if group.chance is None else f"{group.chance:.3f}"
        models = [comparison.accuracy(model, group.name) for model in comparison.models]
        table.add_row(
            escape("\n".join(names)),
            chance,
            escape("\n".join(short[each.model] for each in models)),
            *("\n".join(map(_interval, column)) for column in _columns(models, turned)),
            end_section=True,
        )
    output(width=120).print(table)


def _columns(models: Sequence[Accuracy], turned: bool) -> list[list[Estimate]]:
    accuracies = [each.accuracy for each in models]
    return [accuracies, [each.every for each in models]] if turned else [accuracies]


def _counted(group: ComparedGroup) -> list[str]:
    """Return how many sets, questions and pairs a group has, a line each."""
    sets = [f"{len(group.kinds)} sets"] if group.kinds else []
    pairs = [f"{group.pairs:,} pairs"] if group.pairs else []
    return [*sets, f"{group.questions:,} questions", *pairs]


def _print_differences(console: Console, comparison: VlmComparison) -> None:
    from embprobe.encoders.naming import short_names
    from embprobe.probing.results import format_p

    short = short_names(comparison.models)
    table = Table(
        title="Which model is better?",
        title_justify="left",
        caption=f"Accuracy of the first less that of the second, on the same questions; p Holm-corrected over "
        f"{len(comparison.differences):,}.",
        caption_justify="left",
    )
    for heading in ("group", "models"):
        table.add_column(heading)
    for heading in ("difference", "p"):
        table.add_column(heading, justify="right")
    for group in comparison.groups:
        found = [each for each in comparison.differences if each.group == group.name]
        table.add_row(
            escape(visible(group.name or "all")),
            escape("\n".join(f"{short[each.a]} - {short[each.b]}" for each in found)),
            "\n".join(_interval(each.difference, signed=True) for each in found),
            "\n".join(format_p(each.p_adjusted) for each in found),
            end_section=True,
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
    return f"{found.estimate:{sign}.3f}  {found.low:{sign}.3f} to {found.high:{sign}.3f}"
