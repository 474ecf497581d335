"""Fill ``results/`` with the records of benchmarks, which docs/results.md shows.

    python scripts/published.py here --data FOLDER   # bundled, reference and one small real encoder, without a network
    python scripts/published.py gpu --data FOLDER    # twelve public encoders on the cards' data sets, for one GPU
    python scripts/published.py gpu --only cifar-10  # one group of data sets

What is measured, with which encoders, stands in ``HERE`` and ``GPU``. Cells are kept in the workspace with a score per
image, so that a run that was interrupted goes on, and a later one scores only what is new. ``results/`` gets the
records alone, a file for each data set and a line for each cell: numbers and counts, no image, no key of one and no
path. A record that a newer one replaces is removed.
Data sets that are not there are passed over, with the reason.

``here`` reads ``cifar-10.parquet`` (1,000 training images of each class and all test images, JPEG) and
``pacs-half.parquet`` (1,525 images) from ``--data``; ``gpu`` looks there for ``CARD/`` before it asks the place that a
card names. EfficientNet-Lite0 needs the two packages that scripts/efficientnet_lite0.py names.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import embprobe as ep
from embprobe.benchmarking.cell import FOLDER, Cell, load_cells
from embprobe.benchmarking.dataset import Dataset, open_dataset
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.devices import resolve_device
from embprobe.system.files import replacing

RESULTS = Path(__file__).parents[1] / "results"
DIGITS = 6
"""Decimals of a number in ``results/``."""
_EXAMPLE = re.compile(r", first '.*'$", re.DOTALL)
"""At the end of a note: the first of some groups, which may be the name of a folder."""


@dataclass(frozen=True)
class Group:
    """Data sets that are measured together, because some are tested by what another was fitted on."""

    datasets: Sequence[str]
    """What :func:`embprobe.load_images` opens; ``{data}`` stands for the folder of the user's data."""
    encoders: Sequence[str]
    name: str = ""
    """The name in the records, where the images are not all of the data set; one data set alone has one."""


SMALL = (
    "bundled/clip",
    "bundled/dino",
    "reference/random-vit",
    "reference/color-histogram",
    "reference/pixels",
)
"""Those that come with embprobe."""
OWN = "python:efficientnet_lite0:encoder"
"""A real network that none of our families loads, as a user would bring it."""
HERE = (
    Group(["bundled/emoji"], (*SMALL, OWN)),
    Group(
        ["pacs@{data}/pacs-half.parquet"],
        (*SMALL, OWN),
        "pacs (1,525 images)",
    ),
    Group(["cifar-10@{data}/cifar-10.parquet"], SMALL, "cifar-10 (a fifth of train, JPEG)"),
)

PUBLIC = (
    "open_clip/ViT-B-16:openai",
    "open_clip/ViT-L-14:openai",
    "open_clip/ViT-B-16:laion2b_s34b_b88k",
    "open_clip/ViT-B-16:datacomp_xl_s13b_b90k",
    "open_clip/ViT-B-16-SigLIP:webli",
    "open_clip/ViT-B-16-SigLIP2:webli",
    "timm/vit_base_patch16_224.dino,resize=256",
    "timm/vit_base_patch14_dinov2.lvd142m,size=224,resize=256",
    "timm/vit_base_patch16_dinov3.lvd1689m",
    "timm/vit_base_patch16_224.mae",
    "timm/vit_base_patch16_224.augreg_in21k",
    "timm/resnet50.a1_in1k",
)
"""Image-text, self-supervised and supervised encoders, most of them ViT-B/16, so that objectives can be compared."""
GPU = tuple(
    Group(datasets, PUBLIC)
    for datasets in (
        ["cifar-10", "cifar-10.1"],
        ["cifar-100"],
        ["stl-10"],
        ["mnist"],
        ["svhn"],
        ["caltech-101"],
        ["oxford-pets"],
        ["flowers-102"],
        ["fgvc-aircraft"],
        ["dtd"],
        ["eurosat"],
        ["resisc45"],
        ["pcam"],
        ["food-101"],
        ["stanford-cars"],
        ["cub-200"],
        ["ucf-101"],
        ["country211"],
        ["sun397"],
        ["pacs"],
        ["domainnet"],
        ["flickr30k"],
        ["coco-captions"],
        ["imagenet-1k", "imagenet-v2", "imagenet-a", "imagenet-r", "imagenet-sketch", "objectnet"],
    )
)


def open_group(group: Group, data: Path | None) -> list[Dataset]:
    """Open the data sets of a group that are there; say why others are not."""
    opened = []
    for name in group.datasets:
        try:
            opened.append(_open(name, data))
        except (EmbprobeError, UsageError) as reason:
            print(f"passed over: {name}: {reason}", flush=True)
    return [replace(each, name=group.name) for each in opened] if group.name else opened


def _open(name: str, data: Path | None) -> Dataset:
    if "{data}" in name and data is None:
        raise UsageError("say with --data in which folder it lies")
    if data is not None and "@" not in name and (data / name).exists():
        name = f"{name}@{data / name}"
    return open_dataset(name.replace("{data}", str(data)))


def measure(groups: Sequence[Group], session: Session, data: Path | None, tasks: Sequence[str] | None) -> None:
    """Measure the groups one after the other, and write the records of each when it is done."""
    loaded: dict[str, Encoder | None] = {}
    for group in groups:
        datasets = open_group(group, data)
        encoders = [found for name in group.encoders if (found := _encoder(name, loaded, session.device))]
        if not datasets or not encoders:
            continue
        try:
            table = ep.benchmark(datasets, encoders, tasks=tasks, session=session)
        except EmbprobeError as reason:
            print(f"passed over: {', '.join(group.datasets)}: {reason}", flush=True)
            continue
        for each in table.left_out:
            print(f"left out: {each.dataset}, {each.task}, {each.encoder}: {each.reason}")
        write_records(table.cells, table.paths, session.workspace, RESULTS)
        print(f"{', '.join(each.name for each in datasets)}: {len(table.cells)} records", flush=True)


def _encoder(name: str, loaded: dict[str, Encoder | None], device: str) -> Encoder | None:
    """Load an encoder once; None if it cannot be had."""
    if name not in loaded:
        try:
            loaded[name] = ep.load_encoder(name, device=device)
        except (EmbprobeError, UsageError) as reason:
            print(f"passed over: {name}: {reason}", flush=True)
            loaded[name] = None
    return loaded[name]


def write_records(cells: Sequence[Cell], paths: Sequence[Path], workspace: Workspace, results: Path) -> None:
    """Write records of cells into ``results``, a file for each data set and a line for each cell.

    They replace lines of the same data set, encoder, task and seed: of an earlier split, version of the data set or
    method.
    """
    measured = {_subject(cell) for cell in cells}
    lines: dict[str, dict[Path, Cell]] = {}
    for cell, path in zip(cells, paths, strict=True):
        place = path.relative_to(workspace.root / FOLDER)
        lines.setdefault(place.parts[0], {})[place] = cell
    for name, new in lines.items():
        target = results / f"{name}.jsonl"
        before = list(load_cells(target)) if target.is_file() else []
        kept = [cell for cell in before if isinstance(cell, Cell) and _subject(cell) not in measured]
        texts = sorted(record_text(cell) for cell in [*kept, *new.values()])
        with replacing(target) as temporary:
            temporary.write_text("".join(texts), encoding="utf-8")


def _subject(cell: Cell) -> tuple[str, str, str, int]:
    return cell.dataset.name, cell.encoder.name, cell.task, cell.seed


def record_text(cell: Cell) -> str:
    """Return a record as a line of JSON, with six decimals, what it is of first, so that sorted lines stay in order."""
    notes = tuple(_EXAMPLE.sub("", note) for note in cell.notes)
    content = _rounded(cell.model_copy(update={"notes": notes}).model_dump(mode="json", by_alias=True))
    first = ("dataset", "split", "task", "encoder")
    ordered = {name: content[name] for name in (*first, *(name for name in content if name not in first))}
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":")) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description="Fill results/ with the records of benchmarks.")
    parser.add_argument("where", choices=("here", "gpu"))
    parser.add_argument("--data", type=Path, help="the folder of your copies of data sets")
    parser.add_argument("--only", default="", help="only groups that name this data set")
    parser.add_argument("--tasks", help="names with commas between; default: all that data set and encoder allow")
    parser.add_argument("--workspace", type=Path, default=Path("embprobe-workspace"), help="of vectors and scores")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))  # efficientnet_lite0
    groups = [
        group
        for group in (HERE if arguments.where == "here" else GPU)
        if not arguments.only or any(name.partition("@")[0] == arguments.only for name in group.datasets)
    ]
    if not groups:
        raise SystemExit(f"No group names the data set '{arguments.only}'.")
    session = Session(
        Workspace.open(arguments.workspace),
        resolve_device(arguments.device),
        note=lambda remark: print(f"{remark}.", flush=True),
    )
    measure(groups, session, arguments.data, arguments.tasks.split(",") if arguments.tasks else None)


if __name__ == "__main__":
    main()
