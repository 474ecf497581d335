"""What only lists, checks or explains starts at once: it imports no network, no index, no figure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from embprobe.cli.app import COMMANDS
from tests.conftest import Run

SCRIPT = """
import sys
from embprobe.cli.app import app
for arguments in sys.argv[1].split(";"):
    try:
        app(arguments.split())
    except SystemExit as ended:
        assert not ended.code, arguments
heavy = {"torch", "torchvision", "faiss", "timm", "open_clip", "transformers", "sklearn", "umap", "matplotlib"}
print("imported:", *sorted(heavy & set(sys.modules)))
"""
HELP = [f"{command} --help" for commands in COMMANDS.values() for command in commands]


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
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, ";".join(command_lines)], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "imported:"
