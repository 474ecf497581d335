"""The table of a benchmark: its cells side by side, paired differences between encoders, and means over data sets."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from embprobe.benchmarking.cell import Cell, Scored
from embprobe.benchmarking.run import LeftOut, Ran
from embprobe.errors import EmbprobeError, UsageError
from embprobe.measures.decoding import balance
from embprobe.measures.vectors import ScoreArray
from embprobe.statistics import (
    FEWEST_DATASETS,
    DatasetScores,
    Estimate,
    RecipeDifference,
    Resampled,
    compare_recipes,
    holm,
    least_detectable_difference,
    resample,
    resample_datasets,
    tied_groups,
)
from embprobe.system.frames import data_frame

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "dataset", "split", "kind", "task", "encoder", "metric", "estimate", "low", "high", "chance", "fitted", "tested",
    "classes", "groups", "resampled", "seed", "seconds",
)  # fmt: skip
"""Of a table of cells."""


@dataclass(frozen=True, order=True)
class Line:
    """A line of the table: a task on a split of a data set."""

    dataset: str
    split: str
    task: str


@dataclass(frozen=True)
class Difference:
    """The main number of one encoder less that of another on the same images, paired."""

    is_difference: ClassVar[bool] = True
    """As of a :class:`~embprobe.probing.results.Result`, beside which tables show it."""
    line: Line
    encoder: str
    against: str
    estimate: float
    low: float
    high: float
    p: float
    p_adjusted: float
    """Holm-corrected over all differences of the split of this data set."""
    detectable: float
    """The least true difference that these images would have shown with a probability of 0.8."""


@dataclass(frozen=True)
class Mean:
    """The mean of an encoder's main numbers at a task over data sets, each of which counts the same."""

    task: str
    encoder: str
    datasets: Sequence[str]
    over_images: Estimate
    """With an interval for these data sets."""
    over_datasets: Estimate | None
    """With an interval for data sets like these; None of fewer than five."""
    rank: Estimate | None
    """The mean rank, 1 for the best, over the images of these data sets; it hides how large the gaps are."""


@dataclass(frozen=True)
class RecipeGap:
    """The difference between two recipes, each of which was trained with several seeds."""

    line: Line
    recipe: str
    against: str
    difference: RecipeDifference


@dataclass(frozen=True)
class Benchmark:
    """Cells of some data sets, encoders and tasks, and what follows from them."""

    cells: Sequence[Cell]
    scores: Sequence[Scored]
    paths: Sequence[Path]
    left_out: Sequence[LeftOut] = ()
    baseline: str = ""
    """The encoder that all others are compared with; "" compares every two."""
    seed: int = 0

    @classmethod
    def of(cls, ran: Ran, *, baseline: str = "", seed: int = 0) -> Benchmark:
        """Return what a run gave, with a baseline.

        Raises:
            UsageError: The baseline is none of the encoders.
            EmbprobeError: No cell has a number.
        """
        if not ran.cells:
            reasons = "; ".join(dict.fromkeys(each.reason.removesuffix(".") for each in ran.left_out))
            raise EmbprobeError(f"No cell of this benchmark could be scored: {reasons or 'no task is possible'}.")
        names = dict.fromkeys(cell.encoder.name for cell in ran.cells)
        if baseline and baseline not in names:
            raise UsageError(f"The baseline '{baseline}' is none of the encoders: {', '.join(names)}.")
        return cls(ran.cells, ran.scores, ran.paths, ran.left_out, baseline, seed)

    @cached_property
    def encoders(self) -> list[str]:
        """The names of the encoders, in their order."""
        return list(dict.fromkeys(cell.encoder.name for cell in self.cells))

    @cached_property
    def lines(self) -> dict[Line, dict[str, int]]:
        """By line the position of each encoder's cell; an encoder without one is missing."""
        lines: dict[Line, dict[str, int]] = {}
        for i, cell in enumerate(self.cells):
            lines.setdefault(Line(cell.dataset.name, cell.split.name, cell.task), {})[cell.encoder.name] = i
        return lines

    def differences(self) -> list[Difference]:
        """Return the paired differences of the main numbers: to the baseline, or between every two encoders.

        p is corrected by Holm's procedure over all differences of a split: its tasks and its pairs of encoders.
        """
        return list(self._differences)

    @cached_property
    def _differences(self) -> list[Difference]:
        found: list[Difference] = []
        for split in dict.fromkeys((line.dataset, line.split) for line in self.lines):
            tested: list[tuple[Line, str, str, Estimate]] = []
            for line, encoders in self.lines.items():
                if (line.dataset, line.split) != split:
                    continue
                column = {name: i for i, name in enumerate(encoders)}
                if pairs := self._pairs(list(encoders)):
                    drawn = self._resampled(line)
                    tested += [(line, a, b, drawn.difference(column[a], column[b])) for a, b in pairs]
            adjusted = holm([estimate.p or 0.0 for *_, estimate in tested])
            for (line, a, b, each), p in zip(tested, adjusted, strict=True):
                least = least_detectable_difference(each.low, each.high)
                found.append(Difference(line, a, b, each.estimate, each.low, each.high, each.p or 0.0, p, least))
        return found

    def letters(self) -> dict[Line, dict[str, str]]:
        """Return by line the letters of each encoder: two share one exactly if their difference is undecided.

        Empty with a baseline, which leaves most pairs uncompared.
        """
        if self.baseline:
            return {}
        p_values: dict[Line, dict[tuple[str, str], float]] = {}
        for each in self.differences():
            p_values.setdefault(each.line, {})[each.encoder, each.against] = each.p_adjusted
        found = {}
        for line, of_line in p_values.items():
            estimates = {name: self.cells[i].value.estimate for name, i in self.lines[line].items()}
            found[line] = {name: "".join(letters) for name, letters in tied_groups(estimates, of_line).items()}
        return found

    def means(self) -> list[Mean]:
        """Return the mean over the main splits of data sets, by task: of tasks that all encoders have on two or more.

        Intervals are over the images of these data sets; from five data sets on there are also those over data sets
        like these, which are wider.
        """
        by_task: dict[str, list[Line]] = {}
        for line, encoders in self.lines.items():
            main = self.cells[next(iter(encoders.values()))].split.kind != "domain"
            if main and len(encoders) == len(self.encoders):
                by_task.setdefault(line.task, []).append(line)
        return [mean for task, lines in by_task.items() if len(lines) > 1 for mean in self._means(task, lines)]

    def recipe_gaps(self, recipes: Mapping[str, Sequence[str]]) -> list[RecipeGap]:
        """Return the differences between recipes by line, with training seeds as a second source of error.

        Args:
            recipes: By name the encoders that were trained by the same recipe with other seeds, two or more.

        Raises:
            UsageError: There are fewer than two recipes, or an encoder of one is none of this benchmark's.
            EmbprobeError: A recipe has one seed only.
        """
        if len(recipes) < 2:
            raise UsageError("Recipes are compared with each other: name two, each with the encoders of its seeds.")
        for recipe, names in recipes.items():
            if unknown := [name for name in names if name not in self.encoders]:
                raise UsageError(f"The recipe '{recipe}' names '{unknown[0]}', which is none of the encoders.")
        gaps = []
        for line, encoders in self.lines.items():
            for a, b in itertools.combinations(recipes, 2):
                if not {*recipes[a], *recipes[b]} <= encoders.keys():
                    continue
                first, second = (self._matrix(line, recipes[of]) for of in (a, b))
                groups = self.scores[encoders[recipes[a][0]]].groups
                unit = self.cells[encoders[recipes[a][0]]].split.resampled
                gaps.append(RecipeGap(line, a, b, compare_recipes(first, second, groups, seed=self.seed, unit=unit)))
        return gaps

    def _means(self, task: str, lines: Sequence[Line]) -> Iterator[Mean]:
        sets = []
        for line in lines:
            groups = self.scores[self.lines[line][self.encoders[0]]].groups
            sets.append(DatasetScores(line.dataset, self._matrix(line, self.encoders), list(groups)))
        drawn = resample_datasets(sets, seed=self.seed)
        several, ranked = len(sets) >= FEWEST_DATASETS, len(self.encoders) > 1
        for i, name in enumerate(self.encoders):
            yield Mean(
                task,
                name,
                [line.dataset for line in lines],
                drawn.mean(i, sets="fixed"),
                drawn.mean(i) if several else None,
                drawn.rank(i, sets="fixed") if ranked else None,
            )

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of encoders that are compared."""
        return self._pairs(self.encoders)

    def _pairs(self, encoders: Sequence[str]) -> list[tuple[str, str]]:
        if self.baseline:
            return [(name, self.baseline) for name in encoders if name != self.baseline and self.baseline in encoders]
        return list(itertools.combinations(encoders, 2))

    def _matrix(self, line: Line, encoders: Iterable[str]) -> ScoreArray:
        """Return the main scores of a line by some encoders, ``[n, encoders]``.

        Raises:
            EmbprobeError: Encoders of the line were not tested on the same images.
        """
        first, *others = (self.scores[i] for i in self.lines[line].values())
        if any(list(each.keys) != list(first.keys) for each in others):
            raise EmbprobeError(
                f"Encoders were tested on other images of '{line.dataset}' ({line.split}, {line.task}), so they "
                "cannot be compared. Run the benchmark with all of them at once."
            )
        at = [self.lines[line][name] for name in encoders]
        return np.stack([main_scores(self.cells[i], self.scores[i]) for i in at], axis=1)

    def _resampled(self, line: Line) -> Resampled:
        """Return the main scores of a line, ``[n, encoders]``, resampled over the groups of its images."""
        at = next(iter(self.lines[line].values()))
        unit = self.cells[at].split.resampled
        matrix = self._matrix(line, self.lines[line])
        return resample(matrix, self.scores[at].groups, seed=self.seed, unit=unit)

    def rows(self) -> list[dict[str, Any]]:
        """Return the cells as rows of a table, with the columns of :data:`COLUMNS`."""
        return [row_of(cell) for cell in self.cells]

    def to_frame(self) -> pd.DataFrame:
        """Return the cells as a pandas data frame.

        Raises:
            EmbprobeError: pandas is not installed.
        """
        return data_frame(self.rows(), COLUMNS)

    def to_csv(self) -> str:
        """Return the cells as CSV, a header first."""
        return csv_of(self.rows())

    def as_json(self) -> dict[str, Any]:
        """Return cells, differences and what was left out for JSON."""
        return {
            "schema": 1,
            "baseline": self.baseline or None,
            "cells": [cell.model_dump(mode="json", by_alias=True) for cell in self.cells],
            "differences": [{**asdict(each.line), **_without_line(each)} for each in self.differences()],
            "means": [asdict(each) for each in self.means()],
            "left_out": [asdict(each) for each in self.left_out],
            "files": [str(path) for path in self.paths],
        }


def main_scores(cell: Cell, scored: Scored) -> ScoreArray:
    """Return the scores whose mean is the main number, ``[n]``."""
    if cell.main != "mean per class":
        return scored.values
    return balance(scored.values, np.array(scored.classes))


def row_of(cell: Cell) -> dict[str, Any]:
    """Return a cell as a row of a table, with the columns of :data:`COLUMNS`."""
    return {
        "dataset": cell.dataset.name,
        "split": cell.split.name,
        "kind": cell.split.kind,
        "task": cell.task,
        "encoder": cell.encoder.name,
        "metric": cell.main,
        "estimate": cell.value.estimate,
        "low": cell.value.low,
        "high": cell.value.high,
        "chance": cell.chance,
        "fitted": cell.split.fitted,
        "tested": cell.split.tested,
        "classes": cell.dataset.classes,
        "groups": cell.split.groups,
        "resampled": cell.split.resampled,
        "seed": cell.seed,
        "seconds": cell.seconds,
    }


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of cells as CSV, a header first; texts that a spreadsheet would run begin with an apostrophe."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _without_line(difference: Difference) -> dict[str, Any]:
    return {name: value for name, value in asdict(difference).items() if name != "line"}


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
