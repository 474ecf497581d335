"""Published decisions on cue-conflict images: the CSV files of people and networks of Geirhos et al."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import LabelArray
from embprobe.system.text import visible

SIXTEEN_CLASSES = (
    *("airplane", "bear", "bicycle", "bird", "boat", "bottle", "car", "cat"),
    *("chair", "clock", "dog", "elephant", "keyboard", "knife", "oven", "truck"),
)
"""The classes that people and networks decide among."""
COLUMNS = ("subj", "object_response", "category", "imagename")
"""The columns that are read; ``session``, ``trial``, ``rt`` and ``condition`` may stand beside them."""
NO_DECISION = "na"
"""Where somebody did not answer in time."""
MAX_BYTES = 64 << 20
"""A larger file is not read: 1,280 decisions have 0.1 MB."""
_CLASS = "|".join(SIXTEEN_CLASSES)
_NAME = re.compile(rf"(?:.*_)?(?P<shape>{_CLASS})\d+-(?P<texture>{_CLASS})\d+\.(?:png|jpe?g)", re.IGNORECASE)
"""``0001_xyz_knife3-bicycle2.png``: the shape of a knife, the texture of a bicycle."""
_SUBJECT = re.compile(r"\w[\w .+-]{0,199}")
_DECISIONS = frozenset((*SIXTEEN_CLASSES, NO_DECISION))


@dataclass(frozen=True, eq=False)
class Decisions:
    """Decisions on images with cues in conflict, each of a subject (a person or a network) on one image."""

    subjects: LabelArray
    """Who decided, ``[n]``."""
    images: LabelArray
    """The name of each image without what stands before its classes, ``[n]``: ``knife3-bicycle2``. It is the same for
    all subjects."""
    decisions: LabelArray
    """One of :data:`SIXTEEN_CLASSES`, or :data:`NO_DECISION`, ``[n]``."""
    shape: LabelArray
    texture: LabelArray
    notes: tuple[str, ...] = ()
    """A sentence on lines that were left out, if there are any."""

    def __len__(self) -> int:
        return len(self.decisions)

    def of(self, subject: str) -> Decisions:
        """Return the decisions of one subject."""
        rows = self.subjects == subject
        if not rows.any():
            raise EmbprobeError(
                f"There are no decisions of '{visible(subject)}'. Subjects: {', '.join(np.unique(self.subjects))}."
            )
        return Decisions(
            self.subjects[rows],
            self.images[rows],
            self.decisions[rows],
            self.shape[rows],
            self.texture[rows],
            self.notes,
        )


def read_decisions(path: Path) -> Decisions:
    """Read decisions from a CSV file as the authors publish them (``raw-data/cue-conflict/`` of ``model-vs-human``).

    A line is one decision: ``category`` is the class of the shape, and the class of the texture stands in ``imagename``
    behind the last hyphen, ``0001_xyz_knife3-bicycle2.png``. A line is left out, and counted in a note, if it decides
    for no class of the sixteen nor ``na``, if its image has another name than that, or if that contradicts
    ``category``.

    Raises:
        EmbprobeError: The file is no CSV in UTF-8, lacks a column or has it twice, is larger than 64 MiB, or no line
            of it is a decision.

    Example:
        >>> import tempfile
        >>> line = "net,1,1,0.5,knife,knife,cc,0001_cc_knife3-bicycle2.png"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "net.csv")
        ...     header = "subj,session,trial,rt,object_response,category,condition,imagename"
        ...     _ = path.write_text(f"{header}\\n{line}\\n")
        ...     read = read_decisions(path)
        >>> read.decisions.tolist(), read.shape.tolist(), read.texture.tolist()
        (['knife'], ['knife'], ['bicycle'])
    """
    try:
        if not path.is_file():
            raise EmbprobeError(f"There is no file '{path}' to read decisions from.")
        if path.stat().st_size > MAX_BYTES:
            raise EmbprobeError(
                f"'{path}' has more than {MAX_BYTES >> 20} MiB, too many for decisions: give one line for each of them."
            )
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(path, csv.reader(file, strict=True))
    except UnicodeDecodeError:
        raise EmbprobeError(f"'{path}' cannot be read as decisions: save it as CSV in UTF-8.") from None
    except (OSError, csv.Error) as error:
        raise EmbprobeError(f"'{path}' cannot be read as decisions: {error}.") from None


def _read(path: Path, lines: Iterator[list[str]]) -> Decisions:
    header = [name.strip() for name in next(lines, [])]
    if lacking := [name for name in COLUMNS if header.count(name) != 1]:
        raise EmbprobeError(
            f"'{path}' is not a file of decisions: it needs the columns {', '.join(COLUMNS)}, each once, and has not "
            f"{', '.join(lacking)}."
        )
    places = [header.index(name) for name in COLUMNS]
    rows: list[tuple[str, str, str, str, str]] = []
    count, strange = 0, ""
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        count += 1
        row = _decision([line[place].strip() for place in places]) if len(line) == len(header) else None
        if row is not None:
            rows.append(row)
        elif not strange:
            strange = f"line {number:,} ('{visible(','.join(line)[:80])}')"
    if not rows:
        first = f"; its first is {strange}" if strange else ""
        raise EmbprobeError(
            f"'{path}' holds no decision among the sixteen classes on an image named like knife3-bicycle2.png{first}."
        )
    notes: tuple[str, ...] = ()
    if count > len(rows):
        notes = (
            f"{count - len(rows):,} of {count:,} lines of {visible(path.name)} left out: no decision among the sixteen "
            f"classes on an image named after its shape and texture, first {strange}",
        )
    subjects, images, decisions, shape, texture = map(np.array, zip(*rows, strict=True))
    return Decisions(subjects, images, decisions, shape, texture, notes)


def _decision(values: Sequence[str]) -> tuple[str, str, str, str, str] | None:
    """Return subject, image, decision, shape and texture; None if a value is not of its kind."""
    subject, decision, category, image = values
    name = _NAME.fullmatch(image)
    if name is None or decision.lower() not in _DECISIONS or not _SUBJECT.fullmatch(subject):
        return None
    shape, texture = name["shape"].lower(), name["texture"].lower()
    if category.lower() != shape:
        return None
    return subject, image[name.start("shape") :].rpartition(".")[0], decision.lower(), shape, texture
