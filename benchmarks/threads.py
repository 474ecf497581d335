"""Commands on vectors that are already there, on idle cores and beside a program that keeps one core busy.

python benchmarks/threads.py --before PATH

PATH is a checkout of the state to compare with. Both states and both conditions take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMANDS = {
    "category": "probe --attribute category --quick",
    "style": "probe --attribute style --quick",
    "color": "probe --attribute color --quick",
    "compare": "compare",
    "study": "study",
    "selftest": "selftest",
}
HERE = Path(__file__).parents[1]
SPIN = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """Keep the first core busy meanwhile."""
    if not wanted:
        yield
        return
    program = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        yield
    finally:
        program.kill()
        program.wait()


def seconds(tree: Path, command: str, workspace: Path) -> tuple[float, float]:
    """Wall time and CPU time, of user and system, of a command that must succeed."""
    installed = [path for path in sys.path if path.endswith("site-packages")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*installed, str(tree)])}
    program = [sys.executable, "-m", "embprobe", *command.split()]
    program += [] if command == "selftest" else ["--workspace", str(workspace)]
    started, before = time.perf_counter(), os.times()
    subprocess.run(program, cwd=workspace, env=environment, check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, cpu


def shown(times: list[float]) -> str:
    """Format the median and extremes of some times."""
    return f"{statistics.median(times):7.1f} ({min(times):.1f} .. {max(times):.1f})"


def main() -> None:
    """Print the times of each command, then what a busy core costs and what the threads cost before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the state before")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=["category", "style", "color", "compare"])
    parser.add_argument("--workspace", type=Path, help="one whose vectors are there already")
    arguments = parser.parse_args()
    trees = {"before": arguments.before.resolve(), "after": HERE}
    with tempfile.TemporaryDirectory() as folder:
        workspace = (arguments.workspace or Path(folder)).resolve()
        print(
            f"{os.cpu_count()} cores; medians of {arguments.repeats}, extremes; load before: {os.getloadavg()[0]:.1f}"
        )
        for name in arguments.commands:
            if arguments.workspace is None:
                seconds(HERE, COMMANDS[name], workspace)  # extract
            wall, cpu = (
                defaultdict[tuple[str, bool], list[float]](list),
                defaultdict[tuple[str, bool], list[float]](list),
            )
            for _ in range(arguments.repeats):
                for beside in (False, True):
                    for state, tree in trees.items():
                        with busy(beside):
                            w, c = seconds(tree, COMMANDS[name], workspace)
                        wall[state, beside].append(w)
                        cpu[state, beside].append(c)
            print(f"\n{COMMANDS[name]}")
            for state in trees:
                for beside in (False, True):
                    where = "beside a busy core" if beside else "idle"
                    print(
                        f"  {state:7}{where:20} {shown(wall[state, beside])} s   {shown(cpu[state, beside])} s of CPU"
                    )
                slower = statistics.median(wall[state, True]) / statistics.median(wall[state, False])
                print(f"  {state:7}busy / idle          {slower:7.2f}")
            for beside in (False, True):
                ratio = statistics.median(wall["before", beside]) / statistics.median(wall["after", beside])
                work = statistics.median(cpu["before", beside]) / statistics.median(cpu["after", beside])
                where = "beside a busy core" if beside else "idle"
                print(f"  before / after, {where:18} {ratio:.2f} of time, {work:.2f} of CPU", flush=True)


if __name__ == "__main__":
    main()
