"""Records of benchmarks in workspaces: the cells that were scored, joined and chosen from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from embprobe.benchmarking.cell import FOLDER, Cell, load_cell, load_cells
from embprobe.benchmarking.tasks import TASKS
from embprobe.errors import EmbprobeError


@dataclass(frozen=True)
class Records:
    """Cells with their paths, and why others could not be read."""

    cells: Sequence[Cell]
    paths: Sequence[Path]
    notes: Sequence[str] = ()

    def by_dataset(self) -> list[Records]:
        """Return the records of each data set; another version of its rows is another data set."""
        found: dict[tuple[str, str], list[int]] = {}
        for i, cell in enumerate(self.cells):
            found.setdefault((cell.dataset.name, cell.dataset.fingerprint), []).append(i)
        return [Records([self.cells[i] for i in at], [self.paths[i] for i in at]) for at in found.values()]


def find_records(
    roots: Sequence[Path], *, datasets: str = "*", encoders: str = "*", tasks: str = "*", splits: str = "*"
) -> Records:
    """Return the cells in some folders, such as workspaces or ``results/`` of a repository.

    Of cells with one fingerprint, which are the same numbers, the first counts. They come by data set, its main split
    before its domains, and by task.

    Args:
        roots: Folders; cells lie in them, or in their folder ``benchmark``: a file each, as a workspace has them, or a
            line each of files ``.jsonl``.
        datasets: A pattern of names, in which ``*`` stands for anything, as in the others.
        encoders: A pattern of names.
        tasks: A pattern of names.
        splits: A pattern of names.

    Raises:
        EmbprobeError: A folder is not there, or no cell is chosen.
    """
    found: dict[str, tuple[Cell, Path]] = {}
    notes: list[str] = []
    for root in roots:
        if not root.is_dir():
            raise EmbprobeError(f"There is no folder '{root}'.")
        below = root / FOLDER if (root / FOLDER).is_dir() else root
        for path, cell in _cells_in(below):
            if isinstance(cell, Exception):
                notes.append(f"passed over: {cell}".removesuffix("."))
                continue
            chosen = (
                (cell.dataset.name, datasets),
                (cell.encoder.name, encoders),
                (cell.task, tasks),
                (cell.split.name, splits),
            )
            if all(fnmatchcase(name, pattern) for name, pattern in chosen):
                found.setdefault(cell.fingerprint, (cell, path))
    if not found:
        where = ", ".join(f"'{root}'" for root in roots)
        raise EmbprobeError(f"There are no such records of benchmarks in {where}. 'embprobe benchmark' makes them.")
    cells = sorted(found.values(), key=lambda each: _order(each[0]))
    return Records([cell for cell, _ in cells], [path for _, path in cells], notes)


def _cells_in(folder: Path) -> Iterator[tuple[Path, Cell | Exception]]:
    """Yield each cell in a folder with its file, or why it cannot be read."""
    for path in sorted(folder.glob("*/*/*/*.json")):
        try:
            yield path, load_cell(path)
        except (EmbprobeError, OSError) as reason:
            yield path, reason
    for path in sorted(folder.glob("*.jsonl")):
        try:
            yield from ((path, cell) for cell in load_cells(path))
        except OSError as reason:
            yield path, reason


def _order(cell: Cell) -> tuple[str, str, bool, str, int, str]:
    rank = TASKS.index(cell.task) if cell.task in TASKS else len(TASKS)
    return cell.dataset.name, cell.dataset.fingerprint, cell.split.kind == "domain", cell.split.name, rank, cell.task
