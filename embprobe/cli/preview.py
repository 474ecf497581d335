"""``embprobe preview``: look before you measure."""

from __future__ import annotations

from typing import Annotated

import typer

from embprobe.cli.console import note, print_json
from embprobe.cli.options import IMAGES, WORKSPACE, FoldersOption, JsonOption, RunOptions, SeedOption, WorkspaceOption
from embprobe.cli.session import open_rows


def preview(
    image: Annotated[
        str, typer.Argument(help="An image file, or the key of one of IMAGES.", metavar="[IMAGE]")
    ] = "1f431/noto",
    attribute: Annotated[
        list[str] | None,
        typer.Option("--attribute", "-a", help="What to change; repeatable. Default: every attribute."),
    ] = None,
    images: Annotated[
        str, typer.Option("--images", "-i", help="Images that words, colours and other drawings are taken from.")
    ] = IMAGES,
    word: Annotated[str, typer.Option(help="The word for what the image shows, if it has no label.")] = "",
    workspace: WorkspaceOption = WORKSPACE,
    folders: FoldersOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Draw an image under every intervention on an attribute and its controls, to look before you measure."""
    from dataclasses import replace

    from embprobe.embeddings.workspace import Workspace
    from embprobe.images import find_row
    from embprobe.interventions import attributes
    from embprobe.interventions.preview import preview
    from embprobe.plots.preview import save_preview

    donors = open_rows(images, RunOptions(folders=folders))
    row = find_row(image, donors)
    if word:
        row = replace(row, labels={**row.labels, "name": word})
    space = Workspace.open(workspace)
    documents = []
    for name in attribute or attributes():
        sheet = preview(row, name, donors, seed=seed)
        figure = save_preview(sheet, space)
        documents.append({**sheet.as_json(), "figure": str(figure) if figure else None})
        if figure and not json:
            note(f"{name}: {figure}")
    if json:
        print_json(documents[0] if len(documents) == 1 else documents)
    if not all(document["figure"] for document in documents):  # they are all that was asked for
        raise typer.Exit(1)
