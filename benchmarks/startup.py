"""How long a user waits: commands that should answer at once, the demo, a second `extract`; each in its own process.

python benchmarks/startup.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

REPEATS = 9
WIDTH = 34
WORKSPACE = "from pathlib import Path; from embprobe.embeddings.workspace import Workspace; "
WORKSPACE += "Workspace.open(Path('embprobe-workspace'))"


def seconds(*command: str, cwd: str) -> tuple[float, float]:
    """Wall time and CPU time, of user and system, of a command that must succeed."""
    started, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *command], cwd=cwd, check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, cpu


def main() -> None:
    """Print one line per command; medians where a command is short."""
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'':{WIDTH}}   wall      CPU")

        def show(name: str, *command: str, repeats: int = REPEATS) -> None:
            if repeats > 1:
                seconds(*command, cwd=folder)
            times = [seconds(*command, cwd=folder) for _ in range(repeats)]
            wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
            median = f"  (median of {repeats})" if repeats > 1 else ""
            print(f"{name:{WIDTH}} {wall:6.2f} s {cpu:6.2f} s{median}", flush=True)

        show("python -c pass", "-c", "pass")
        show("python -c 'import typer'", "-c", "import typer")
        seconds("-c", WORKSPACE, cwd=folder)
        for command in ("--version", "--help", "probe --help", "datasets", "encoders", "verify"):
            show(f"embprobe {command}", "-m", "embprobe", *command.split())
        show("embprobe demo, new workspace", "-m", "embprobe", "demo", repeats=1)
        show("embprobe extract, already there", "-m", "embprobe", "extract", repeats=1)


if __name__ == "__main__":
    main()
