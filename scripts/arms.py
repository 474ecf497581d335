"""Train the arms of the controlled study and put the four claims about CLIP and DINO to each pair.

    python scripts/arms.py --out runs/arms --images-seen 100000 --threads 1 --precision bfloat16

Every arm changes one thing of the small recipe (docs/pretraining.md says what question it is). What is finished is not
trained again, and what was interrupted goes on. Prints a Markdown table of differences with intervals, each claim
corrected with the other three of its pair, and writes it to ``arms.json`` too.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embprobe.claims.model import bundled_claims
from embprobe.claims.roles import UNTRAINED, Roles, load_cast
from embprobe.claims.run import run_study
from embprobe.cli.console import note
from embprobe.cli.progress import progress_bar, training_bar
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.images import load_images
from embprobe.pretraining.pair import pretrain_on_emoji
from embprobe.pretraining.recipe import Recipe
from embprobe.system.processes import Machine, choose_machine

QUALITIES = ("the category", "embedded text", "colour", "style")
"""What the claims that are put to a pair say one of the two is more sensitive to."""
PAIR_CLAIMS = tuple(
    claim.model_copy(update={"vectors": ""})  # each encoder's own, as in earlier tables
    for quality in QUALITIES
    for claim in bundled_claims()
    if claim.quality == f"sensitive to {quality}" and {claim.a, claim.b} == {"clip", "dino"}
)
MATCHED_COMPUTE = 2.7
"""So many images CLIP sees in the time that DINO needs for one: measured on a CPU by benchmarks/pretraining.py."""


@dataclass(frozen=True)
class Arm:
    """A pair, and what its recipes say that the small recipe does not."""

    name: str
    clip: Mapping[str, Any] = field(default_factory=dict)
    dino: Mapping[str, Any] = field(default_factory=dict)


def arms(images_seen: int, seeds: int) -> list[Arm]:
    """All of them, seeds first."""
    longer = round(MATCHED_COMPUTE * images_seen)
    return [
        *(Arm(f"seed {seed}", {"seed": seed}, {"seed": seed}) for seed in range(seeds)),
        Arm("words never spelled in captions, none alone", {"parrot_rate": 0.0, "alone_rate": 0.0}),
        Arm("words spelled, none alone", {"alone_rate": 0.0}),
        Arm("white backgrounds", {"backgrounds": False}, {"backgrounds": False}),
        Arm("DINO without colour jitter", {}, {"augmentation": "no-jitter"}),
        Arm("DINO under another light instead of colour jitter", {}, {"augmentation": "planckian"}),
        Arm("DINO shown words twice as often", {}, {"word_rate": 0.8}),
        Arm("CLIP with DINO's augmentation", {"augmentation": "dino"}),
        Arm("matched in compute", {"images_seen": longer}),
    ]


def main() -> None:
    """Train, ask, print."""
    parser = argparse.ArgumentParser(description="The arms of the controlled study.")
    parser.add_argument("--out", type=Path, default=Path("runs/arms"), help="folder of runs, workspace and table")
    parser.add_argument("--images-seen", type=int, default=100_000, help="of every run but the longer one")
    parser.add_argument("--seeds", type=int, default=3, help="pairs of the unchanged recipe")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads")
    parser.add_argument("--precision", default="", help="float32 or bfloat16")
    parser.add_argument("--train-only", choices=("clip", "dino"), help="train these and ask nothing, for two at a time")
    arguments = parser.parse_args()

    rows, machine = [], choose_machine("cpu", precision=arguments.precision, threads=arguments.threads)
    for arm in arms(arguments.images_seen, arguments.seeds):
        names = {}
        for objective, changes in (("clip", arm.clip), ("dino", arm.dino)):
            if arguments.train_only in (None, objective):
                recipe = Recipe(objective, **{"images_seen": arguments.images_seen, **changes})
                folder = trained(recipe, arguments.out, machine)
                names[objective] = f"bundled/{objective}:{folder / 'model.safetensors'}"
        if arguments.train_only:
            continue
        seed = int(arm.clip.get("seed", 0))
        roles = Roles(names, "'{}' is no part of this", f"{UNTRAINED}:{seed}" if seed else UNTRAINED)
        session = Session(Workspace.open(arguments.out / "workspace"), "cpu", 0, progress=progress_bar)
        study = run_study(load_cast(roles, device="cpu"), load_images("bundled/emoji"), session, claims=PAIR_CLAIMS)
        rows.append({"arm": arm.name, "claims": [decision.as_json() for decision in study.decisions]})
        (arguments.out / "arms.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    if rows:
        print(table(rows))


def trained(recipe: Recipe, out: Path, machine: Machine) -> Path:
    """The folder of this run, trained if it is not yet."""
    default = Recipe(recipe.objective)
    changed = {k: v for k, v in vars(recipe).items() if v != getattr(default, k)}
    name = "-".join([recipe.objective, *(f"{key}={value}" for key, value in changed.items())])
    note(name)
    return pretrain_on_emoji(recipe, out / name, machine=machine, progress_bar=training_bar)


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each arm: a - b of each claim, its interval, and the verdict; below, what else decided one."""
    lines = [
        "| arm | " + " | ".join(f"{claim.card} ({claim.a} - {claim.b})" for claim in PAIR_CLAIMS) + " |",
        "|---" * (len(PAIR_CLAIMS) + 1) + "|",
    ]
    for row in rows:
        cells = [cell(decision) for decision in row["claims"]]
        lines.append(f"| {row['arm']} | " + " | ".join(cells) + " |")
    said = {
        f"{row['arm']}: {decision['because']}.": 0 for row in rows for decision in row["claims"] if decision["because"]
    }
    return "\n".join([*lines, "", *said] if said else lines)


def cell(decision: Mapping[str, Any]) -> str:
    """The difference with its interval, and what it says."""
    found = decision["difference"]
    if found is None:
        return str(decision["verdict"])
    return f"{found['estimate']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f}), {decision['verdict']}"


if __name__ == "__main__":
    main()
