"""Measure what more training images do: clip and dino at 30,000, 100,000, 300,000 and 1,000,000 images seen.

    python scripts/curve.py --out runs/curve --threads 1 --precision bfloat16           # an hour of one core
    python scripts/curve.py --out runs/curve --finished-only                             # 5 minutes: trains nothing

Each size is a training run of its own with the whole schedule: the learning rate falls to zero at its end. A checkpoint
of a longer run has seen as many images at a higher rate, and is another thing. Runs are known by the recipe in their
folder, not by its name; the bundled encoders are the ones of a million. What is finished is not trained again, and what
was interrupted goes on. Writes a record of estimates and paired differences (``--record docs/records/curve.json``) and
the figure (``--figure docs/images/curve.png``).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embprobe.claims.roles import PIXELS, UNTRAINED
from embprobe.cli.console import note
from embprobe.cli.progress import progress_bar, training_bar
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError
from embprobe.images import load_images
from embprobe.plots.curve import Panel, plot_curves
from embprobe.pretraining.finished import TrainingRun, bundled_folder, find_runs, runs_of
from embprobe.pretraining.pair import PAIR, pretrain_on_emoji
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.scoring import Question, Table, paired_difference, score_encoders, write_record
from embprobe.probing.pattern import KeyPattern
from embprobe.statistics import Estimate, holm, resample
from embprobe.system.processes import choose_machine

SIZES = (30_000, 100_000, 300_000, 1_000_000)
DRAWING = "unseen drawings"
QUESTIONS = (
    Question(
        "category of unseen drawings",
        "category",
        KeyPattern(kind="decoding", target="category", variant="linear probe", test=DRAWING),
    ),
    Question(
        "concept of unseen drawings",
        "category",
        KeyPattern(kind="decoding", target="concept", variant="k-NN", test=DRAWING),
    ),
    Question(
        "anagrams beyond shuffled ink",
        "text",
        KeyPattern(
            kind="decoding",
            target="anagram",
            variant="linear probe",
            test="unseen concepts",
            condition="beyond word/shuffled",
        ),
    ),
    Question("name, zero-shot", "category", KeyPattern(kind="zero-shot", target="name", variant="accuracy")),
)
HEADING = (
    "What more training images do. Each point is a training run of its own with the whole schedule, not a checkpoint "
    "of a longer one; one run a point. Bands: 95 % intervals over {}s"
)
Runs = Mapping[str, Mapping[int, TrainingRun]]
"""By objective and images seen."""


def main() -> None:
    """Train what is missing, ask, write the record and the figure."""
    parser = argparse.ArgumentParser(description="The effect of the number of training images.")
    parser.add_argument("--out", type=Path, default=Path("runs/curve"), help="folder of runs and workspace")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="images seen")
    parser.add_argument("--finished-only", action="store_true", help="train nothing, and take the sizes that there are")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads of training")
    parser.add_argument("--precision", default="", help="float32 or bfloat16")
    parser.add_argument("--workspace", type=Path, help="default: a folder in --out")
    parser.add_argument("--record", type=Path, help="default: curve.json in --out")
    parser.add_argument("--figure", type=Path, help="default: curve.png in --out")
    arguments = parser.parse_args()

    if not arguments.finished_only:
        machine = choose_machine("cpu", precision=arguments.precision, threads=arguments.threads)
        for recipe, folder in missing(arguments.out, arguments.sizes):
            note(folder.name)
            pretrain_on_emoji(recipe, folder, machine=machine, progress_bar=training_bar)
    runs = finished(arguments.out, arguments.sizes)
    session = Session(
        Workspace.open(arguments.workspace or arguments.out / "workspace"), "cpu", 0, progress=progress_bar
    )
    images = load_images("bundled/emoji")
    encoders = {
        label(objective, size): load_encoder(run.encoder, device="cpu")
        for objective, by_size in runs.items()
        for size, run in by_size.items()
    }
    references = [load_encoder(name, device="cpu") for name in (UNTRAINED, PIXELS)]
    tables = score_encoders(QUESTIONS, list(encoders.values()), images, session, references=references)
    names = {encoder.spec.name: short for short, encoder in encoders.items()} | {UNTRAINED: "untrained"}
    rows = [row for table in tables for row in rows_of(renamed(table, names), runs, seed=session.seed)]
    with_p = [row for row in rows if row["p"] is not None]
    for row, p in zip(with_p, holm([row["p"] for row in with_p]), strict=True):
        row["p_adjusted"] = round(p, 6)
    head = {
        "command": f"python scripts/curve.py --sizes {' '.join(map(str, arguments.sizes))}",
        "versions": {name: version(name) for name in ("embprobe", "torch", "numpy", "scikit-learn")},
        "images": {"name": images.name, "fingerprint": images.fingerprint, "count": len(images)},
        "encoders": {short: encoder.spec.fingerprint for short, encoder in encoders.items()},
        "seed": session.seed,
    }
    write_record(arguments.record or arguments.out / "curve.json", head, rows)
    plot_curves(
        [panel(renamed(table, names), runs, seed=session.seed) for table in tables],
        arguments.figure or arguments.out / "curve.png",
        heading=HEADING.format(tables[0].resampled),
    )
    print(table_of(rows, runs))


def missing(out: Path, sizes: Sequence[int]) -> list[tuple[Recipe, Path]]:
    """List the recipes that lack a finished run, with the folder of the interrupted or the new run."""
    runs = find_runs(bundled_folder(), *([out] if out.is_dir() else []))
    todo = []
    for size in sorted(sizes):
        for objective in PAIR:
            run = runs_of(runs, objective, "images_seen").get(size)
            if run is None or not run.finished:
                recipe = Recipe(objective, images_seen=size)
                todo.append((recipe, out / label(objective, size) if run is None else run.folder))
    return todo


def finished(out: Path, sizes: Sequence[int]) -> Runs:
    """Return the finished runs of these sizes by objective and size.

    Raises:
        EmbprobeError: There are not two sizes of any objective, or runs were trained on different images.
    """
    runs = find_runs(bundled_folder(), *([out] if out.is_dir() else []))
    found = {
        objective: {
            size: run for size, run in runs_of(runs, objective, "images_seen").items() if size in sizes and run.finished
        }
        for objective in PAIR
    }
    if all(len(by_size) < 2 for by_size in found.values()):
        raise EmbprobeError(f"No objective has two finished runs of other lengths in '{out}': train them first.")
    if len({run.images for by_size in found.values() for run in by_size.values()}) > 1:
        raise EmbprobeError(f"The runs in '{out}' were trained on different images, so their lengths say nothing.")
    return found


def label(objective: str, size: int) -> str:
    """Name a run: clip-30k.

    >>> label("clip", 30_000), label("dino", 1_000_000), label("clip", 640)
    ('clip-30k', 'dino-1M', 'clip-640')
    """
    if size >= 1_000_000:
        return f"{objective}-{size / 1_000_000:g}M"
    return f"{objective}-{size / 1000:g}k" if size >= 1000 else f"{objective}-{size}"


def renamed(table: Table, names: Mapping[str, str]) -> Table:
    """Return a table with short names of the encoders; others are left out."""
    scores = {names[encoder]: values for encoder, values in table.scores.items() if encoder in names}
    return replace(table, scores=scores)


def rows_of(table: Table, runs: Runs, *, seed: int) -> list[dict[str, Any]]:
    """Make the rows of one question: estimates, differences of successive sizes, of objectives, and of their growth."""
    rows = [row(table, encoder, None, mean(table, values, seed=seed)) for encoder, values in table.scores.items()]
    growth = {}
    for objective, by_size in runs.items():
        sizes = [size for size in by_size if label(objective, size) in table.scores]
        pairs = list(zip(sizes[1:], sizes, strict=False))
        if len(sizes) > 2:
            pairs.append((sizes[-1], sizes[0]))
        for more, fewer in pairs:
            a, b = label(objective, more), label(objective, fewer)
            rows.append(row(table, a, b, paired_difference(table, table.scores[a] - table.scores[b], seed=seed)))
        if len(sizes) > 1:
            growth[objective] = (sizes[0], sizes[-1])
    first, second = PAIR
    for size in (size for size in runs[first] if size in runs[second]):
        a, b = label(first, size), label(second, size)
        if {a, b} <= table.scores.keys():
            rows.append(row(table, a, b, paired_difference(table, table.scores[a] - table.scores[b], seed=seed)))
    if len(growth) == 2 and growth[first] == growth[second]:
        grown = [
            table.scores[label(objective, growth[objective][1])] - table.scores[label(objective, growth[objective][0])]
            for objective in PAIR
        ]
        measure = f"{table.question.name}: growth"
        rows.append(
            {**row(table, first, second, paired_difference(table, grown[0] - grown[1], seed=seed)), "measure": measure}
        )
    return rows


def mean(table: Table, values: NDArray[np.float64], *, seed: int) -> Estimate:
    """Estimate the mean score of an encoder."""
    return resample(values[:, None], table.groups, seed=seed).mean(0)


def row(table: Table, encoder: str, against: str | None, estimate: Estimate) -> dict[str, Any]:
    """Make a row of the record, numbers with six digits."""
    numbers = {name: round(getattr(estimate, name), 6) for name in ("estimate", "low", "high")}
    p = None if estimate.p is None else round(estimate.p, 6)
    measured = {"measure": table.question.name, "encoder": encoder, "against": against, **numbers}
    return {**measured, "p": p, "groups": estimate.groups, "resampled": table.resampled, "unit": table.unit}


def panel(table: Table, runs: Runs, *, seed: int) -> Panel:
    """Make the panel of one question."""
    curves = {
        objective: {
            size: mean(table, table.scores[name], seed=seed)
            for size in by_size
            if (name := label(objective, size)) in table.scores
        }
        for objective, by_size in runs.items()
    }
    untrained = table.scores.get("untrained")
    return Panel(
        table.question.name,
        table.unit,
        curves,
        None if untrained is None else mean(table, untrained, seed=seed),
        table.floor,
    )


def table_of(rows: Sequence[Mapping[str, Any]], runs: Runs) -> str:
    """Return the estimates as a Markdown table, a line a run."""
    measures = [question.name for question in QUESTIONS]
    lines = [f"| run | {' | '.join(measures)} |", "|---" * (len(measures) + 1) + "|"]
    estimates = {(each["measure"], each["encoder"]): each for each in rows if each["against"] is None}
    for encoder in ("untrained", *(label(objective, size) for objective in runs for size in runs[objective])):
        cells = [estimates.get((measure, encoder)) for measure in measures]
        texts = [
            "" if cell is None else f"{cell['estimate']:.3f} ({cell['low']:.3f} to {cell['high']:.3f})"
            for cell in cells
        ]
        lines.append(f"| {encoder} | {' | '.join(texts)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
