"""``embprobe verify``: whether stores still are what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embprobe.cli.console import note, print_json
from embprobe.cli.options import WORKSPACE, JsonOption, WorkspaceOption
from embprobe.cli.session import LISTED
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.embeddings.verify import Checked


def verify(
    workspace: WorkspaceOption = WORKSPACE,
    repair: Annotated[
        bool, typer.Option("--repair", help="Forget damaged shards, so that the next extract makes just those again.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check every byte of every store against the hashes written beside it."""
    from embprobe.embeddings.verify import verify_stores
    from embprobe.embeddings.workspace import Workspace

    space = Workspace.open(workspace, create=False)
    checked = list(verify_stores(space, repair=repair))
    if json:
        print_json([store.as_json() for store in checked])
    else:
        print_checked(checked, space.root, repaired=repair)
    if any(store.problems and not (repair and store.damaged) for store in checked):
        raise typer.Exit(1)


def print_checked(checked: Sequence[Checked], root: Path, *, repaired: bool = False) -> None:
    """Print a line for each store, its problems under it, and how damaged shards are made again."""
    for store in checked:
        state = (
            f"{len(store.problems)} damaged" if store.problems else "whole" if store.complete else "whole, unfinished"
        )
        name = f"{visible(store.encoder)} x {visible(store.images)}, " if store.encoder else ""
        shards = f"{store.shards:,} shard{'' if store.shards == 1 else 's'}"
        folder = visible(str(store.folder.relative_to(root)))
        note(f"{state}: {name}{shards}, {store.bytes / 1e6:,.1f} MB, {folder}")
        for problem in store.problems[:LISTED]:
            note(f"  {visible(problem)}")
        if len(store.problems) > LISTED:
            note(f"  and {len(store.problems) - LISTED:,} more")
    if not checked:
        note("There are no stores yet.")
    if any(store.damaged for store in checked):
        when = "The" if repaired else "With --repair the"
        note(f"{when} next extract makes the damaged shards again, and only those.")
