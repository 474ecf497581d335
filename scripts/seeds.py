"""Put the study's claims to several training runs of each recipe: what would other seeds give?

    python scripts/seeds.py --out runs/seeds --seeds 3 --threads 1 --precision bfloat16     # 4 hours of one core
    python scripts/seeds.py --out runs/seeds --finished-only                                # 5 minutes: trains nothing

Asked are the claims that come with embprobe whose two roles are clip and dino. Runs are known by the recipe in their
folder, not by its name: the default but for the seed; the bundled encoders are seed 0. The interval of a difference is
over images and seeds at once (:func:`embprobe.statistics.compare_recipes`); beside it are those over images alone,
which the study has, and over seeds alone, and how far seeds of one recipe lie apart. Writes a record (``--record
docs/records/seeds.json``) and prints it as a table.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from embprobe.claims.model import Claim, bundled_claims
from embprobe.claims.roles import PIXELS, UNTRAINED
from embprobe.claims.verdicts import decide
from embprobe.cli.console import note
from embprobe.cli.progress import progress_bar, training_bar
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError
from embprobe.images import load_images
from embprobe.pretraining.finished import TrainingRun, bundled_folder, find_runs, runs_of
from embprobe.pretraining.pair import PAIR, pretrain_on_emoji
from embprobe.pretraining.processes import choose_machine
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.scoring import Question, Table, paired_difference, score_encoders, write_record
from embprobe.statistics import Estimate, compare_recipes, holm


def main() -> None:
    """Train what is missing, ask, write the record, print it."""
    parser = argparse.ArgumentParser(description="The claims over seeds of training.")
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"), help="folder of runs and workspace")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each recipe")
    parser.add_argument("--finished-only", action="store_true", help="train nothing, and take the seeds that there are")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads of training")
    parser.add_argument("--precision", default="", help="float32 or bfloat16")
    parser.add_argument("--workspace", type=Path, help="default: a folder in --out")
    parser.add_argument("--record", type=Path, help="default: seeds.json in --out")
    arguments = parser.parse_args()

    if not arguments.finished_only:
        machine = choose_machine("cpu", precision=arguments.precision, threads=arguments.threads)
        for recipe, folder in missing(arguments.out, range(arguments.seeds)):
            note(folder.name)
            pretrain_on_emoji(recipe, folder, machine=machine, progress_bar=training_bar)
    runs = finished(arguments.out)
    session = Session(
        Workspace.open(arguments.workspace or arguments.out / "workspace"), "cpu", 0, progress=progress_bar
    )
    images = load_images("bundled/emoji")
    encoders = {
        f"{objective}-seed{seed}": load_encoder(run.encoder, device="cpu")
        for objective, by_seed in runs.items()
        for seed, run in by_seed.items()
    }
    references = [load_encoder(name, device="cpu") for name in (UNTRAINED, PIXELS)]
    claims = claims_of_pair()
    questions = [Question(claim.sentence, claim.card, claim.number) for claim in claims]
    tables = score_encoders(questions, list(encoders.values()), images, session, references=references)
    roles = {
        objective: {seed: encoders[f"{objective}-seed{seed}"].spec.name for seed in by_seed}
        for objective, by_seed in runs.items()
    }
    rows = rows_over_seeds(claims, tables, roles, seed=session.seed)
    head = {
        "command": "python scripts/seeds.py",
        "versions": {name: version(name) for name in ("embprobe", "torch", "numpy", "scikit-learn")},
        "images": {"name": images.name, "fingerprint": images.fingerprint, "count": len(images)},
        "encoders": {short: encoder.spec.fingerprint for short, encoder in encoders.items()},
        "seed": session.seed,
    }
    write_record(arguments.record or arguments.out / "seeds.json", head, rows)
    print(table_of(rows))


def claims_of_pair() -> list[Claim]:
    """Return the claims whose roles are the pair's."""
    return [claim for claim in bundled_claims() if {claim.a, claim.b} == set(PAIR)]


def missing(out: Path, seeds: Sequence[int]) -> list[tuple[Recipe, Path]]:
    """List the recipes that lack a finished run, with the folder of the interrupted or the new run."""
    runs = find_runs(bundled_folder(), *([out] if out.is_dir() else []))
    todo = []
    for seed in seeds:
        for objective in PAIR:
            run = runs_of(runs, objective, "seed").get(seed)
            if run is None or not run.finished:
                recipe = Recipe(objective, seed=seed)
                todo.append((recipe, out / f"{objective}-seed{seed}" if run is None else run.folder))
    return todo


def finished(out: Path) -> dict[str, dict[int, TrainingRun]]:
    """Return the finished runs by objective and seed.

    Raises:
        EmbprobeError: An objective has fewer than two, or runs were trained on different images.
    """
    runs = find_runs(bundled_folder(), *([out] if out.is_dir() else []))
    found = {
        objective: {seed: run for seed, run in runs_of(runs, objective, "seed").items() if run.finished}
        for objective in PAIR
    }
    for objective, by_seed in found.items():
        if len(by_seed) < 2:
            raise EmbprobeError(
                f"{objective} has {len(by_seed)} finished run in '{out}', and how far seeds differ takes two: train "
                f"another, as in embprobe pretrain --objective {objective} --seed 1 --out {out}/{objective}-seed1."
            )
    if len({run.images for by_seed in found.values() for run in by_seed.values()}) > 1:
        raise EmbprobeError(f"The runs in '{out}' were trained on different images, so their seeds say nothing.")
    return found


def rows_over_seeds(
    claims: Sequence[Claim], tables: Sequence[Table], roles: Mapping[str, Mapping[int, str]], *, seed: int
) -> list[dict[str, Any]]:
    """Make the rows of all claims: the difference of each seed that both roles have, then the one over seeds.

    The verdict is by the interval over images and seeds, and by its p, Holm-corrected over the claims.

    Args:
        claims: The claims.
        tables: The scores, one table a claim.
        roles: Names of encoders in the tables by role and training seed.
        seed: Of the resamples.
    """
    rows: list[dict[str, Any]] = []
    ends: list[dict[str, Any]] = []
    for claim, table in zip(claims, tables, strict=True):
        a, b = (np.stack([table.scores[name] for name in roles[role].values()], axis=1) for role in (claim.a, claim.b))
        for both in (of for of in roles[claim.a] if of in roles[claim.b]):
            values = table.scores[roles[claim.a][both]] - table.scores[roles[claim.b][both]]
            one = paired_difference(table, values, seed=seed)
            names = {"encoder": f"{claim.a}-seed{both}", "against": f"{claim.b}-seed{both}"}
            rows.append({"measure": claim.sentence, **names, **numbers(one), "unit": table.unit})
        found = compare_recipes(a, b, table.groups, seed=seed)
        p = max(found.p_against(end) for end in claim.region if math.isfinite(end))
        rows.append(
            {
                "measure": claim.sentence,
                "encoder": claim.a,
                "against": claim.b,
                **numbers(found.both),
                "over_images": [round(found.images.low, 6), round(found.images.high, 6)],
                "over_seeds": [round(found.seeds.low, 6), round(found.seeds.high, 6)],
                "spread": [round(each, 6) for each in found.spread],
                "seeds": [a.shape[1], b.shape[1]],
                "p": p,
                "groups": found.both.groups,
                "resampled": table.resampled,
                "unit": table.unit,
            }
        )
        ends.append(rows[-1])
    for claim, row, p in zip(claims, ends, holm([row["p"] for row in ends]), strict=True):
        verdict = decide(claim, row["low"], row["high"], p)
        row.update(p=round(row["p"], 6), p_adjusted=round(p, 6), verdict=verdict)
    return rows


def numbers(estimate: Estimate) -> dict[str, float]:
    """Return an estimate and its interval with six digits."""
    return {name: round(getattr(estimate, name), 6) for name in ("estimate", "low", "high")}


def table_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the differences over seeds as a Markdown table, a line a claim."""
    lines = [
        "| claim | over images and seeds | over images alone | standard deviation of seeds | verdict |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if "verdict" not in row:
            continue
        low, high = row["over_images"]
        spread = ", ".join(
            f"{role} {deviation:.3f}"
            for role, deviation in zip((row["encoder"], row["against"]), row["spread"], strict=True)
        )
        lines.append(
            f"| {row['measure']} ({row['encoder']} - {row['against']}) "
            f"| {row['estimate']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}) "
            f"| {low:+.3f} to {high:+.3f} | {spread} | {row['verdict']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
