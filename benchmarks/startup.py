"""How long a user waits: `embprobe --help`, the demo, and a second `extract`, each in a process of its own.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time

REPEATS = 9


def seconds(*command: str, cwd: str) -> float:
    """Wall time of a command that must succeed."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=cwd, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Print one line per command; medians where a command is short."""
    with tempfile.TemporaryDirectory() as folder:

        def median(*command: str) -> float:
            seconds(*command, cwd=folder)
            return statistics.median(seconds(*command, cwd=folder) for _ in range(REPEATS))

        print(f"python -c pass                  {median('-c', 'pass'):6.2f} s  (median of {REPEATS})")
        print(f"python -c 'import typer'        {median('-c', 'import typer'):6.2f} s  (median of {REPEATS})")
        print(f"embprobe --help                 {median('-m', 'embprobe', '--help'):6.2f} s  (median of {REPEATS})")
        print(f"embprobe demo, new workspace    {seconds('-m', 'embprobe', 'demo', cwd=folder):6.1f} s")
        print(f"embprobe extract, already there {seconds('-m', 'embprobe', 'extract', cwd=folder):6.1f} s")


if __name__ == "__main__":
    main()
