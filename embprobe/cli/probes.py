"""Questions with intervals: probes, the study, and the test of the instrument."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from embprobe.cli.options import (
    IMAGES,
    WORKSPACE,
    DeviceOption,
    EncodersOption,
    FastOption,
    ImagesArgument,
    JsonOption,
    PrecisionOption,
    SeedOption,
    WorkspaceOption,
    begin,
    choose_device,
    load_encoders,
    open_rows,
)
from embprobe.errors import EmbprobeError


def probe(
    images: ImagesArgument = IMAGES,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", "-a", help="What to probe, or 'all'; repeatable.")
    ] = None,
    card: Annotated[list[Path] | None, typer.Option(help="A probe card of your own; repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only what the headlines and the checks need.")] = False,
    encoder: EncodersOption = None,
    workspace: WorkspaceOption = WORKSPACE,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "",
    fast_decode: FastOption = False,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Measure how much each encoder notices an attribute: a table, a figure and a JSON, with intervals."""
    from embprobe.cli import terminal
    from embprobe.errors import UsageError
    from embprobe.plots.forest import plot_forest
    from embprobe.plots.probe import plot_probe
    from embprobe.probing.card import attributes, bundled_card, read_card
    from embprobe.probing.context import NotApplicable
    from embprobe.probing.run import run_probe

    every = attributes() if "all" in (attribute or []) else []
    names = dict.fromkeys([name for name in attribute or [] if name != "all"] + every)
    cards = [bundled_card(name) for name in names] + [read_card(path) for path in card or []]
    if not cards:
        raise UsageError(f"Say what to probe: --attribute {', '.join([*attributes(), 'all'])}; or --card FILE.")
    if quick:
        cards = [asked.quickly() for asked in cards]
    rows, encoders, session = begin(
        images, encoder, workspace, device, precision=precision, fast_decode=fast_decode, seed=seed
    )
    subjects = [each.spec.name for each in encoders]
    found = []
    for asked in cards:
        references = load_encoders([name for name in asked.references if name not in subjects], session.device)
        try:
            results = run_probe(asked, rows, encoders, references, session)
        except NotApplicable as reason:
            if len(cards) == 1:
                raise
            terminal.note(str(reason))
            continue
        folder = session.workspace.results(f"{asked.attribute}-{results.fingerprint}")
        results.save(folder)
        figure = folder / "figure.png"
        plot_probe(results.rows, figure, question=asked.question, first=results.conclusions.key)
        found.append(results)
        if not json:
            terminal.print_results(results, title=f"{asked.title}: {asked.question}")
            terminal.note(f"Figure: {figure}\nNumbers: {folder / 'results.json'}")
    if not found:
        raise EmbprobeError(f"None of the probes can be asked of '{rows.name}'.")
    together = session.workspace.figure("attributes")
    if len(found) > 1 and plot_forest(found, together) and not json:
        terminal.note(f"All of them: {together}")
    if json:
        told = [results.as_json() for results in found]
        terminal.print_json(told[0] if len(cards) == 1 else told)


def study(
    images: ImagesArgument = IMAGES,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            "-e",
            help="ROLE=ENCODER, with a role of clip, dino, siglip, nclip, xclip, clip-lm or twin (an untrained "
            "network); repeatable. Default: the bundled encoders.",
        ),
    ] = None,
    pretrained: Annotated[
        int | None,
        typer.Option("--pretrain", help="First train clip and dino on so many images each, then study these.", min=1),
    ] = None,
    workspace: WorkspaceOption = WORKSPACE,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Ask the claims of the studies one by one: reproduced, not reproduced or undecided, with intervals."""
    from embprobe.claims.roles import bundled_roles, load_cast, parse_roles
    from embprobe.claims.run import run_study
    from embprobe.cli import terminal
    from embprobe.embeddings.session import Session
    from embprobe.embeddings.workspace import Workspace
    from embprobe.errors import UsageError
    from embprobe.plots.claims import plot_claims

    if encoder and pretrained:
        raise UsageError("--pretrain trains the encoders that are studied: leave it out or --encoder.")
    rows, where = open_rows(images), choose_device(device)
    roles = parse_roles(encoder) if encoder else bundled_roles()
    space = Workspace.open(workspace)
    if pretrained:
        from embprobe.pretraining.pair import pretrained_roles

        roles = pretrained_roles(pretrained, space, seed=seed, device=where, progress_bar=terminal.training_bar)
    cast = load_cast(roles, device=where)
    session = Session(space, where, seed, progress=terminal.progress_bar, extracted=terminal.rejections())
    found = run_study(cast, rows, session)
    folder = space.results(f"study-{found.results.fingerprint}")
    found.results.save(folder)
    plot_claims(found.decisions, folder / "figure.png")
    if json:
        terminal.print_json(found.results.as_json())
    else:
        terminal.print_study(found)
        terminal.note(f"Figure: {folder / 'figure.png'}\nNumbers: {folder / 'results.json'}")


def selftest(
    studies: Annotated[int, typer.Option(help="Simulated studies; a thousand take a minute.", min=100)] = 400,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Test the instrument: does it find what was planted, and nothing where there is nothing? Do intervals hold?"""
    from embprobe.cli import terminal
    from embprobe.selftest.run import selftest

    with terminal.spinner("selftest") as notify:
        verdicts = list(selftest(studies=studies, seed=seed, notify=notify))
    if json:
        terminal.print_json([asdict(verdict) for verdict in verdicts])
    else:
        terminal.print_verdicts(verdicts)
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)
