"""A command imports only packages that it uses: listing needs no network, bundled encoders no library of encoders."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from embprobe.cli.app import COMMANDS
from embprobe.cli.vlm import VLM_COMMANDS
from tests.conftest import Run, noise

SCRIPT = """
import sys
from embprobe.cli.app import app
for arguments in sys.argv[1].split(";"):
    try:
        app(arguments.split())
    except SystemExit as ended:
        assert not ended.code, arguments
print("imported:", *sorted(set(sys.argv[2:]) & set(sys.modules)))
"""
OF_OTHER_ENCODERS = ("open_clip", "timm", "torchvision", "transformers")
HEAVY = ("torch", "faiss", "sklearn", "umap", "matplotlib", "pandas", *OF_OTHER_ENCODERS)
HELP = [f"{command} --help" for commands in COMMANDS.values() for command in commands]
HELP += ["vlm --help", *(f"vlm {command} --help" for command in VLM_COMMANDS)]


@pytest.mark.parametrize(
    "command_lines",
    [
        ["--help", "--version", *HELP],
        ["datasets", "datasets cifar-10", "datasets --json"],
        ["encoders", "encoders bundled/", "encoders reference/p*", "encoders bundled/clip --json"],
        ["verify", "verify --json"],
    ],
    ids=["help", "datasets", "encoders", "verify"],
)
def test_nothing_heavy_is_imported(run: Run, photos: Path, command_lines: list[str]) -> None:
    assert run("extract", photos, "-e", "reference/pixels").code == 0  # a store to verify
    assert imported(command_lines, HEAVY) == []


@pytest.mark.parametrize(
    "command",
    [
        "extract PHOTOS -e bundled/slip -e reference/random-vit -e reference/pixels",
        "neighbors PHOTOS/cat/d.png -i PHOTOS",
        "compare PHOTOS --by category --json",
        "map PHOTOS --method pca --json",
    ],
)
def test_bundled_and_reference_encoders_need_no_library_of_encoders(run: Run, photos: Path, command: str) -> None:
    for seed in range(40):  # a comparison needs some
        noise(seed, (16, 16)).save(photos / "bird" / f"{seed}.png")
    assert run("extract", photos, "-e", "bundled/clip", "-e", "bundled/dino").code == 0
    others = imported([command.replace("PHOTOS", str(photos))], [*OF_OTHER_ENCODERS, "sklearn", "umap"])
    assert others == []


def test_a_map_that_was_made_before_and_neighbours_of_few_need_no_pandas_or_faiss(run: Run, photos: Path) -> None:
    assert run("map", photos, "--method", "pca").code == 0
    assert imported([f"map {photos} --method pca", f"neighbors cat/d.png -i {photos}"], ["pandas", "faiss"]) == []


def imported(command_lines: Sequence[str], packages: Sequence[str]) -> list[str]:
    """Run commands in a process of their own and return those of the packages that it has imported."""
    script = [sys.executable, "-c", SCRIPT, ";".join(command_lines), *packages]
    ended = subprocess.run(script, capture_output=True, text=True, check=True)
    return ended.stdout.splitlines()[-1].split()[1:]
