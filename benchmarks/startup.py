"""How long a user waits: commands that should answer at once, the demo, a second `extract`; each in its own process.

python benchmarks/startup.py
python benchmarks/startup.py --before PATH

With PATH, a checkout of another state, commands on vectors that are already there are run by both states in turns
instead, and their CPU time is compared: it varies less than wall time on a machine that does other things, too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 9
WIDTH = 34
WORKSPACE = "from pathlib import Path; from embprobe.embeddings.workspace import Workspace; "
WORKSPACE += "Workspace.open(Path('embprobe-workspace'))"
HERE = Path(__file__).parents[1]
COMMANDS = {
    "import torch": "-c import:torch",
    "import open_clip, timm": "-c import:open_clip,timm",
    "encoders reference/": "-m embprobe encoders reference/",
    "neighbors image.png": "-m embprobe neighbors image.png",
    "map --method pca, first": "-m embprobe map --method pca --seed {round}",
    "map --method pca, again": "-m embprobe map --method pca",
    "compare --json": "-m embprobe compare --json",
}
IMAGE = "import io; from PIL import Image; from embprobe.images import load_images; "
IMAGE += "Image.open(io.BytesIO(load_images('bundled/emoji').rows[100].source())).convert('RGB').save('image.png')"


def seconds(*command: str, cwd: str | Path, tree: Path = HERE) -> tuple[float, float]:
    """Wall time and CPU time, of user and system, of a command that must succeed, run by the state in a checkout."""
    installed = [path for path in sys.path if path.endswith("site-packages")]  # first, or datasets/ would hide theirs
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*installed, str(tree)])}
    started, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *command], cwd=cwd, env=environment, check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, cpu


def main() -> None:
    """Print one line per command; medians where a command is short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of the state to compare with")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of the comparison")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS), metavar="NAME")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.before:
            beside(arguments.before.resolve(), arguments.repeats, arguments.commands, Path(folder))
        else:
            alone(folder)


def alone(folder: str) -> None:
    """Print the times of this state."""
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


def beside(before: Path, repeats: int, commands: list[str], folder: Path) -> None:
    """Print the CPU time of both states, which take turns: median, least and most, and the ratio of the medians."""
    states = {"before": before, "after": HERE}
    for state, tree in states.items():
        (folder / state).mkdir()
        seconds("-c", IMAGE, cwd=folder / state, tree=tree)
        seconds("-m", "embprobe", "extract", cwd=folder / state, tree=tree)
    print(f"{'CPU seconds':{WIDTH}} {'before':^24} {'after':^24}  before / after")
    for name in commands:
        times: dict[str, list[float]] = {state: [] for state in states}
        for turn in range(repeats + 1):
            words = COMMANDS[name].format(round=turn).split()
            command = [word.replace("import:", "import ") for word in words]
            for state, tree in states.items():
                _, cpu = seconds(*command, cwd=folder / state, tree=tree)
                if turn:  # the first one fills caches of files
                    times[state].append(cpu)
        medians = [statistics.median(each) for each in times.values()]
        cells = (
            f"{median:6.2f} ({min(each):5.2f} .. {max(each):5.2f})"
            for median, each in zip(medians, times.values(), strict=True)
        )
        print(f"{name:{WIDTH}} {'   '.join(cells)}   {medians[0] / medians[1]:5.2f}", flush=True)


if __name__ == "__main__":
    main()
