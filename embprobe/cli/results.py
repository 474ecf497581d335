"""``embprobe results``: the cells of benchmarks, joined across workspaces, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embprobe.cli.console import note, print_json
from embprobe.cli.options import WORKSPACE, JsonOption
from embprobe.system.text import visible


def results(
    workspaces: Annotated[
        list[Path],
        typer.Argument(
            help="Workspaces, or other folders with records.", metavar="[FOLDER]...", envvar="EMBPROBE_WORKSPACE"
        ),
    ] = [WORKSPACE],  # noqa: B006 - typer reads it, and nobody changes it
    dataset: Annotated[str, typer.Option(help="Only data sets of this name; * stands for anything.")] = "*",
    encoder: Annotated[str, typer.Option("--encoder", "-e", help="Only encoders of this name.")] = "*",
    task: Annotated[str, typer.Option(help="Only tasks of this name.")] = "*",
    split: Annotated[str, typer.Option(help="Only splits of this name.")] = "*",
    form: Annotated[str, typer.Option("--format", help="markdown, csv, latex or html.")] = "markdown",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead.", metavar="FILE")] = None,
    json: JsonOption = False,
) -> None:
    """List what 'embprobe benchmark' measured, joined across workspaces, as a table to copy."""
    from embprobe.benchmarking.formats import find_format
    from embprobe.benchmarking.records import find_records
    from embprobe.system.files import replacing

    write = find_format(form)
    found = find_records(workspaces, datasets=dataset, encoders=encoder, tasks=task, splits=split)
    for remark in found.notes:
        note(f"{visible(remark)}.")
    if json:
        print_json([cell.model_dump(mode="json", by_alias=True) for cell in found.cells])
        return
    text = write(found.cells)
    if out is None:
        typer.echo(text, nl=False)
        return
    with replacing(out) as path:
        path.write_text(text, encoding="utf-8")
    note(f"Table: {out}")
