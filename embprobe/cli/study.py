"""``embprobe study``: the claims of the studies, one by one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from embprobe.cli.console import note_files, output, print_json
from embprobe.cli.estimates import estimate_cell, print_checks
from embprobe.cli.options import (
    IMAGES,
    MAX_UNLABELLED,
    WORKSPACE,
    DeviceOption,
    FoldersOption,
    ImagesArgument,
    JsonOption,
    KeyColumnOption,
    LabelsOption,
    MaxUnlabelledOption,
    RunOptions,
    SeedOption,
    WorkspaceOption,
)
from embprobe.cli.progress import training_bar
from embprobe.cli.session import choose_device, open_rows, start_session
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.claims.run import Study
    from embprobe.claims.verdicts import Decision


def study(
    images: ImagesArgument = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            "-e",
            help="ROLE=ENCODER, with a role of clip, dino, siglip, clip-lm, nclip, xclip, slip, clip-no-words, "
            "dino-words, clip-tenth, dino-tenth or twin (an untrained network); repeatable, a role too, for other "
            "training runs of it. Default: the bundled encoders.",
        ),
    ] = None,
    pretrained: Annotated[
        int | None,
        typer.Option("--pretrain", help="First train clip and dino on this many images each, then study these.", min=1),
    ] = None,
    vlm: Annotated[
        bool,
        typer.Option(
            "--vlm",
            help="Train a small vision-language model on each encoder's tokens, too, and ask the claims about "
            "questions: some ten minutes an encoder on two cores.",
        ),
    ] = False,
    claims: Annotated[
        Path | None, typer.Option(help="A file of claims of your own (.toml). Default: those that come along.")
    ] = None,
    workspace: WorkspaceOption = WORKSPACE,
    folders: FoldersOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    max_unlabelled: MaxUnlabelledOption = MAX_UNLABELLED,
    json: JsonOption = False,
    key_column: KeyColumnOption = None,
    label: LabelsOption = None,
) -> None:
    """Ask the claims of the studies one by one: reproduced, not reproduced or undecided, with intervals."""
    from embprobe import api
    from embprobe.claims.model import read_claims, roles_of
    from embprobe.claims.roles import parse_roles
    from embprobe.errors import UsageError
    from embprobe.plots.probe import FIGURE

    if encoder and pretrained:
        raise UsageError("--pretrain trains the encoders that are studied: leave it out or --encoder.")
    asked = read_claims(claims) if claims else None
    run = RunOptions(workspace=workspace, device=device, folders=folders, key_column=key_column, label=label)
    rows, chosen_device = open_rows(images or IMAGES, run), choose_device(device)
    roles = parse_roles(encoder, None if asked is None else roles_of(asked)) if encoder else None
    session = start_session(run, chosen_device, seed=seed, max_unlabelled=max_unlabelled)
    if pretrained:
        from embprobe.pretraining.pair import pretrained_roles

        roles = pretrained_roles(
            pretrained, session.workspace, seed=seed, device=chosen_device, progress_bar=training_bar
        )
    result = api.check_claims(rows, roles, claims=asked, vlm=vlm, session=session)
    folder = result.results.folder(session.workspace)
    if json:
        print_json(result.results.as_json())
    else:
        print_study(result)
        note_files([folder / FIGURE], folder / "results.json")
    if not (folder / "results.json").is_file():
        raise typer.Exit(1)


def print_study(study: Study) -> None:
    """Print each claim with the paper's finding, our question and number, and its verdict; then what was learned."""
    from embprobe.probing.results import span

    differences = [row for decision in study.decisions if (row := decision.difference) is not None]
    over = f"{span([row.groups for row in differences])} {visible(differences[0].resampled)}s"
    lines = output(soft_wrap=True)
    asked = [decision for decision in study.decisions if decision.difference is not None]
    for source in dict.fromkeys(decision.claim.source for decision in asked):
        table = Table(title=escape(visible(source)), title_justify="left", show_lines=True)
        table.add_column("claim, the paper's finding, our question", ratio=1)
        table.add_column("our number", no_wrap=True)
        table.add_column("verdict", max_width=26)
        for decision in asked:
            if decision.claim.source == source:
                table.add_row(*_cells(decision))
        output(width=140).print(table)
    lines.print(
        escape(
            f"95 % bootstrap intervals over {over}, not corrected; p by sign flips, of its margin where a claim has "
            f"one, Holm-corrected over the {len(differences)} claims that were asked. A verdict needs both."
        )
    )
    verdicts = Counter(decision.verdict for decision in study.decisions)
    lines.print(f"[bold]{', '.join(f'{number} {verdict}' for verdict, number in verdicts.items())}.[/bold]")
    for reason in dict.fromkeys(each.because for each in study.decisions if each.difference is None):
        claims = [each.claim.sentence for each in study.decisions if each.difference is None and each.because == reason]
        lines.print(escape(visible(f"Not asked, for {reason}: {'; '.join(claims)}.")))
    for learning in study.learned:
        lines.print(escape(visible(learning.sentence)))
    print_checks(lines, study.results)
    roles = ", ".join(f"{role} is {name}" for role, name in study.names.items())
    lines.print(escape(visible(f"Roles: {roles}.")))


def _cells(decision: Decision) -> tuple[str, str, str]:
    claim = decision.claim
    published = f" ({claim.published})" if claim.published else ""
    margin = f", margin {claim.margin:g}" if claim.margin else ""
    vectors = {"class token": ", of class tokens", "own": ", of each encoder's own vector"}.get(claim.vectors, "")
    assert decision.difference is not None  # it was asked
    said = [
        f"[bold]{escape(visible(claim.sentence))}[/bold]",
        *([escape(visible(f"Paper: {claim.paper}{published}"))] if claim.paper else []),
        escape(visible(f"Here: {decision.difference.key}{margin}{vectors}.")),
        *([escape(visible(f"Differs: {claim.differs}"))] if claim.differs else []),
    ]
    roles = zip((claim.a, claim.b), decision.estimates or (), strict=False)
    numbers = [*(f"{role} {row.estimate:.3f}" for role, row in roles), estimate_cell(decision.difference)]
    if decision.spread is not None:
        runs = zip((claim.a, claim.b), decision.runs, decision.spread, strict=True)
        numbers.append("\n".join(f"{number} runs of {role} spread {spread:.3f}" for role, number, spread in runs))
    if decision.beside is not None:
        other = "own vectors" if claim.vectors == "class token" else "class tokens"
        e = decision.beside
        numbers.append(f"{other} {e.estimate:+.3f} ({e.low:+.3f} to {e.high:+.3f})")
    verdict = decision.verdict + (f": {visible(decision.because)}" if decision.because else "")
    return "\n".join(said), escape("\n".join(filter(None, numbers))), escape(verdict)
