"""``embprobe study``: the claims of the studies, one by one."""

from __future__ import annotations

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
            help="ROLE=ENCODER, with a role of clip, dino, siglip, clip-lm, nclip, xclip or twin (an untrained "
            "network); repeatable. Default: the bundled encoders.",
        ),
    ] = None,
    pretrained: Annotated[
        int | None,
        typer.Option("--pretrain", help="First train clip and dino on this many images each, then study these.", min=1),
    ] = None,
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
    result = api.check_claims(rows, roles, claims=asked, session=session)
    folder = result.results.folder(session.workspace)
    if json:
        print_json(result.results.as_json())
    else:
        print_study(result)
        note_files([folder / FIGURE], folder / "results.json")
    if not (folder / "results.json").is_file():
        raise typer.Exit(1)


def print_study(study: Study) -> None:
    """Print a line a claim with its verdict; then what each encoder has learned, and the checks."""
    from embprobe.probing.results import span

    differences = [row for decision in study.decisions if (row := decision.difference) is not None]
    over = f"{span([row.groups for row in differences])} {visible(differences[0].resampled)}s"
    table = Table(
        title=escape(visible(str(study.results.manifest["card"]["title"]))),
        title_justify="left",
        caption_justify="left",
        caption=escape(
            f"95 % bootstrap intervals over {over}, not corrected; p by sign flips, of its margin where a claim has "
            f"one, Holm-corrected over the {len(differences)} claims that were asked. A verdict needs both."
        ),
    )
    for heading in ("claim", "estimates", "difference, p", "verdict"):
        table.add_column(heading)
    for decision in study.decisions:
        table.add_row(*map(escape, _cells(decision)), end_section=True)
    output(width=140).print(table)
    lines = output(soft_wrap=True)
    for learning in study.learned:
        lines.print(escape(visible(learning.sentence)))
    print_checks(lines, study.results)
    roles = ", ".join(f"{role} is {name}" for role, name in study.names.items())
    lines.print(escape(visible(f"Roles: {roles}.")))


def _cells(decision: Decision) -> tuple[str, str, str, str]:
    claim = decision.claim
    margin = f", margin {claim.margin:g}" if claim.margin else ""
    verdict = decision.verdict + (f": {visible(decision.because)}" if decision.because else "")
    roles = zip((claim.a, claim.b), decision.estimates or (), strict=False)
    estimates = "\n".join(f"{role} {row.estimate:.3f}" for role, row in roles)
    number = claim.number.describe() if decision.difference is None else str(decision.difference.key)
    return f"{claim.sentence}\n({number}{margin})", estimates, estimate_cell(decision.difference), verdict
