"""``embprobe demo``: everything once, on the bundled encoders and images."""

from __future__ import annotations

from embprobe.cli.compare import compare
from embprobe.cli.console import note
from embprobe.cli.extract import extract
from embprobe.cli.neighbors import neighbors
from embprobe.cli.options import IMAGES, PAIR, WORKSPACE, DeviceOption, RunOptions, SeedOption, WorkspaceOption
from embprobe.cli.probe import probe
from embprobe.cli.report import report


def demo(workspace: WorkspaceOption = WORKSPACE, device: DeviceOption = "auto", seed: SeedOption = 0) -> None:
    """Extract, probe, find neighbours, compare: the bundled pair on bundled images, a minute or two on two cores."""
    from embprobe.comparing.result import COLORS
    from embprobe.embeddings.workspace import Workspace
    from embprobe.images import load_images
    from embprobe.probing.card import bundled_card

    query = next(row for row in load_images(IMAGES).rows if row.key == "1f431/openmoji")
    picture = Workspace.open(workspace).figure("demo-query")
    picture.parent.mkdir(parents=True, exist_ok=True)
    query.load().save(picture)
    run = RunOptions(workspace=workspace, device=device)
    extract(IMAGES, [*PAIR, *bundled_card("category").references, COLORS], run=run)  # the images are read once for all
    probe(IMAGES, ["category", "text", "color", "style"], quick=True, run=run, seed=seed)
    neighbors([str(picture)], run=run)
    compare(IMAGES, run=run, seed=seed)
    report(workspace=workspace)
    note(f"Look at the figures and numbers named above, or at all of them in {workspace / 'report.html'}")
