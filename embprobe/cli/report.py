"""``embprobe report``: a workspace as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embprobe.cli.console import note
from embprobe.cli.options import WORKSPACE, FoldersOption, KeyColumnOption, LabelsOption, RunOptions, WorkspaceOption
from embprobe.cli.progress import spinner
from embprobe.cli.session import open_rows


def report(
    images: Annotated[
        str | None,
        typer.Argument(help="The images on the map, where they are now. Default: those of the newest result."),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option("--encoder", "-e", help="Encoders on the map; repeatable. Default: those of the newest result."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page. Default: report.html in the workspace.")] = None,
    workspace: WorkspaceOption = WORKSPACE,
    folders: FoldersOption = None,
    key_column: KeyColumnOption = None,
    label: LabelsOption = None,
) -> None:
    """Write one self-contained HTML page: every result and comparison, examples, an interactive map, the numbers."""
    from embprobe import api

    run = RunOptions(folders=folders, key_column=key_column, label=label)
    rows = None if images is None else open_rows(images, run)
    with spinner("report") as notify:
        page = api.write_report(out, images=rows, encoders=encoder, workspace=workspace, notify=notify)
    note(f"Page: {page}")
