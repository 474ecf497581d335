"""Everything once, on what comes along."""

from __future__ import annotations

from embprobe.cli.options import (
    IMAGES,
    PAIR,
    WORKSPACE,
    DeviceOption,
    SeedOption,
    WorkspaceOption,
)
from embprobe.cli.pictures import compare, neighbors, report
from embprobe.cli.probes import probe
from embprobe.cli.stores import extract


def demo(workspace: WorkspaceOption = WORKSPACE, device: DeviceOption = "auto", seed: SeedOption = 0) -> None:
    """Extract, probe, find neighbours, compare: the bundled pair on bundled images, a minute or two on two cores."""
    from embprobe.cli import terminal
    from embprobe.comparing.run import COLORS
    from embprobe.embeddings.workspace import Workspace
    from embprobe.images import load_images
    from embprobe.probing.card import bundled_card

    query = next(row for row in load_images(IMAGES).rows if row.key == "1f431/openmoji")
    picture = Workspace.open(workspace).figure("demo-query")
    picture.parent.mkdir(parents=True, exist_ok=True)
    query.load().save(picture)
    everyone = [*PAIR, *bundled_card("category").references, COLORS]
    extract(IMAGES, everyone, workspace, device)  # read once for all
    probe(IMAGES, ["category", "text", "color", "style"], quick=True, workspace=workspace, device=device, seed=seed)
    neighbors([str(picture)], workspace=workspace, device=device)
    compare(IMAGES, workspace=workspace, device=device, seed=seed)
    report(workspace=workspace)
    terminal.note(f"Look at the figures and numbers named above, or at all of them in {workspace / 'report.html'}")
