"""Benchmarks on the page: a table for each data set, and the images that one encoder gets right and another wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embprobe.benchmarking.cell import FOLDER, Cell, Scored, load_scores
from embprobe.benchmarking.formats import grid_of
from embprobe.benchmarking.records import Records, find_records
from embprobe.benchmarking.tasks import find_task
from embprobe.comparing.result import rows_by_key
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from embprobe.images import Images, Row
from embprobe.probing.results import span
from embprobe.report.thumbnails import row_uri

SIDE = 72
SHOWN = 8
"""Images that one encoder gets right and another wrong, at most, in each direction."""
_SIDE_BY_SIDE = ("linear-probe", "gda", "knn-20", "knn-1", "zero-shot")
"""The task whose answers are shown: the first that two encoders have."""


@dataclass(frozen=True)
class Line:
    """A task on a split, with a cell for each encoder that has one."""

    split: str
    task: str
    chance: float | None
    cells: Sequence[Cell | None]


@dataclass(frozen=True)
class RightAndWrong:
    """Images that one encoder gets right and another wrong."""

    right: str
    wrong: str
    count: int
    tested: int
    shown: Sequence[tuple[str, str]]
    """A data URI, empty if there is no picture, and the image's class."""


@dataclass(frozen=True)
class Benchmarked:
    """The cells of a data set."""

    name: str
    encoders: Sequence[str]
    lines: Sequence[Line]
    over: str
    """The number of groups that intervals are over, and their kind."""
    task: str
    """The task of ``sides``."""
    sides: Sequence[RightAndWrong]


def read_benchmarks(workspace: Workspace) -> Records:
    """Return the cells of a workspace; none if nothing was benchmarked there."""
    if not (workspace.root / FOLDER).is_dir():
        return Records([], [])
    try:
        return find_records([workspace.root])
    except EmbprobeError:
        return Records([], [])


def benchmarked(records: Records, images: Mapping[str, Images]) -> list[Benchmarked]:
    """Arrange cells by data set; ``images`` are those that could be opened, by their fingerprints."""
    return [_benchmarked(each, images.get(each.cells[0].dataset.fingerprint)) for each in records.by_dataset()]


def _benchmarked(records: Records, images: Images | None) -> Benchmarked:
    cells, grid = records.cells, grid_of(records.cells)
    task, sides = _sides(cells, records.paths, images)
    return Benchmarked(
        cells[0].dataset.name,
        grid.encoders,
        [
            Line(split, find_task(name).title, next(cell.chance for cell in of_line if cell is not None), of_line)
            for (_, split, name), of_line in zip(grid.lines, grid.cells, strict=True)
        ],
        f"{span([cell.split.groups for cell in cells])} {cells[0].split.resampled}s",
        find_task(task).title if task else "",
        sides,
    )


def _sides(cells: Sequence[Cell], paths: Sequence[Path], images: Images | None) -> tuple[str, list[RightAndWrong]]:
    """Return the task, and both directions of the first two encoders that were tested at it on the same images."""
    main = [(cell, path) for cell, path in zip(cells, paths, strict=True) if cell.split.kind != "domain"]
    for task in _SIDE_BY_SIDE:
        at_task = [(cell, path) for cell, path in main if cell.task == task]
        if len(at_task) < 2:
            continue
        (a, of_a), (b, of_b) = at_task[:2]
        try:
            scores = load_scores(of_a), load_scores(of_b)
        except EmbprobeError:
            continue
        if list(scores[0].keys) != list(scores[1].keys):
            continue
        rows = {} if images is None or not images.has_pictures else rows_by_key(images)
        names = a.encoder.name, b.encoder.name
        return task, [_side(names, scores, rows), _side(names[::-1], scores[::-1], rows)]
    return "", []


def _side(names: Sequence[str], scores: Sequence[Scored], rows: Mapping[str, Row]) -> RightAndWrong:
    found = np.flatnonzero((scores[0].values >= 0.5) & (scores[1].values < 0.5))
    chosen = np.sort(np.random.default_rng(0).permutation(found)[:SHOWN])
    keys, classes = scores[0].keys, scores[0].classes
    shown = [(row_uri(rows[keys[i]], SIDE) if keys[i] in rows else "", classes[i]) for i in chosen.tolist()]
    return RightAndWrong(names[0], names[1], len(found), len(keys), shown)
