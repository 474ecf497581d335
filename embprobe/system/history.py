"""Collect the numbers of a training run: means over stretches of steps, and the monitor's looks at the encoder."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embprobe.system.files import replacing

ROWS = 260
"""The approximate number of points on a run's curve; a shorter run has one for every step."""


class History:
    """Rows of named numbers, ``step`` first, of a run that has ``steps`` steps."""

    def __init__(self, steps: int) -> None:
        self.rows: list[dict[str, float]] = []
        self.last_look: dict[str, float] = {}
        self._stretch = max(1, steps // ROWS)
        self._steps = steps
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add the numbers of a step; their means become a row at the end of a stretch and of the run."""
        for name, value in numbers.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if step % self._stretch == 0 or step == self._steps:
            self.rows.append({"step": step, **{name: value / self._count for name, value in self._sums.items()}})
            self._sums, self._count = {}, 0

    def look(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add the numbers of a look at the encoder after a step, as a row of their own."""
        self.last_look = dict(numbers)
        self.rows.append({"step": step, **numbers})

    def write(self, path: Path) -> None:
        """Write all rows as CSV, numbers with six digits."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in self.rows)

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint keeps and :meth:`restore` takes."""
        return {"rows": self.rows, "last_look": self.last_look, "sums": self._sums, "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the state of an interrupted run, as :meth:`state` returned it."""
        self.rows, self.last_look = state["rows"], state["last_look"]
        self._sums, self._count = state["sums"], state["count"]
