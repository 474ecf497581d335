"""Open questions: our own, and those of published benchmarks: VMCBench, MMVP, others in the form of VLMEvalKit."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.readers.locations import local_file, why
from embprobe.images.readers.parquet import load_parquet
from embprobe.images.reading import GUESSED
from embprobe.images.rows import Images
from embprobe.images.sources import open_source
from embprobe.system.text import printable, visible
from embprobe.vlm.multiple_choice import TEXTS, Gathered, Unusable, column_names, notes_on_mmvp, pair_up
from embprobe.vlm.question import LETTERS, QuestionSet, left_without
from embprobe.vlm.question_files import QUESTIONS, read_questions
from embprobe.vlm.tsv import read_tsv

_MMVP_CSV = "Questions.csv"
_MOST_BYTES = 2**24
"""Of ``Questions.csv``: MMVP's has 30 kB."""


def open_questions(path: Path | str) -> QuestionSet:
    """Open multiple-choice questions about images from the files of a benchmark, or our own.

    What is read, recognised by the file:

    - a folder of ``embprobe vlm questions`` (:func:`~embprobe.vlm.question_files.read_questions`);
    - a ``.tsv`` of VLMEvalKit, images as base64 (``VMCBench_DEV.tsv``, ``MMVP.tsv``, ``MMBench_DEV_EN.tsv``): columns
      index, image, question, A, B, …, answer, and category, l2-category, hint where there are any;
    - ``.parquet`` files of the same columns, or a folder of them, images as Hugging Face writes them;
    - a folder with MMVP's ``Questions.csv`` and its images ``1.jpg``, ``2.jpg``, … at any depth.

    A question's group is VMCBench's if its category is one of its twenty sets, else ``l2-category``, else its category.
    A name with "MMVP" in it, and columns "options" and "correct answer", mean MMVP: every two rows are a pair, in the
    group ``vision-centric``.

    Rows without an answer, an image or two different options are left out and counted in the notes. Images are decoded
    when they are needed; :func:`without_images` leaves out the questions about those that turn out broken.

    Raises:
        UsageError: There is no such file, or it holds no questions of a known form.
        EmbprobeError: It is damaged, or none of its questions can be asked.
    """
    path = Path(path)
    if path.is_dir():
        if (path / QUESTIONS).is_file():
            return read_questions(path)
        if (path / _MMVP_CSV).is_file():
            return _mmvp_folder(path)
        files = sorted(path.rglob("*.parquet"))
        if files:
            return _parquet(path.name, files)
    elif path.suffix.lower() == ".tsv":
        name = printable(path.stem)
        return _question_set(name, *read_tsv(path, name))
    elif path.suffix.lower() == ".parquet" and path.is_file():
        return _parquet(path.stem, [path])
    if not path.exists():
        raise UsageError(f"There is no file or folder '{visible(str(path))}' with questions.")
    raise UsageError(
        f"'{visible(str(path))}' holds no questions of a known form: give a folder of 'embprobe vlm questions', a "
        f".tsv of VLMEvalKit, .parquet files of Hugging Face, or MMVP's folder with '{_MMVP_CSV}'."
    )


def without_images(questions: QuestionSet, unreadable: Collection[str]) -> QuestionSet:
    """Leave out the questions about some images, both of a pair, and count them in the notes.

    Args:
        questions: The questions.
        unreadable: The keys of images that could not be decoded.

    Raises:
        EmbprobeError: No question is left.
    """
    broken = set(unreadable)
    left = replace(questions, questions=left_without(questions.questions, lambda each: each.image in broken))
    lost = len(questions) - len(left)
    if not len(left):
        raise EmbprobeError(f"No image of '{visible(questions.name)}' can be read, so no question can be asked.")
    note = f"{lost:,} question{'s' * (lost > 1)} left out because of images that cannot be read"
    return replace(left, notes=(*left.notes, note)) if lost else questions


def _question_set(name: str, gathered: Gathered, images: Images, *, mmvp: bool = False) -> QuestionSet:
    notes: tuple[str, ...] = ()
    if mmvp or "mmvp" in name.casefold():
        pair_up(gathered, name)
        notes = notes_on_mmvp(gathered)
    usable = gathered.usable(name)
    needed = {question.image for question in usable}
    kept = images.take([i for i, key in enumerate(images.keys) if key in needed])
    return QuestionSet(name, usable, kept, (*images.notes, *gathered.notes, *notes))


def _parquet(name: str, files: Sequence[Path]) -> QuestionSet:
    name = printable(name)
    images = load_parquet(name, [local_file(file, files[0].parent) for file in files], GUESSED)
    gathered, forms = Gathered(), set[str]()
    keys = images.keys
    for number, (names, fields) in enumerate(_rows(files)):
        if "question" not in names:
            raise EmbprobeError(f"'{name}' has no column 'question'. Its columns: {visible(', '.join(names))}.")
        forms |= {"mmvp"} if {"options", "correct answer"} <= set(names) else set()
        if number >= len(keys):
            break
        gathered.add(fields, keys[number])
    if len(gathered.questions) != len(keys):
        raise EmbprobeError(f"'{name}' has {len(keys):,} images and {len(gathered.questions):,} questions.")
    return _question_set(name, gathered, replace(images, notes=()), mmvp=bool(forms))


def _rows(files: Sequence[Path]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield the names of the columns and the texts of each row."""
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                names = column_names(schema.names)
                wanted = [at for at, name in enumerate(names) if name in TEXTS]
                for batch in file.iter_batches(1024, columns=[schema.names[at] for at in wanted]):
                    for row in batch.to_pylist():
                        yield names, _fields({names[at]: row[schema.names[at]] for at in wanted})
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise EmbprobeError(f"'{visible(str(path))}' cannot be read as parquet: {why(error)}.") from None


def _fields(row: dict[str, Any]) -> dict[str, str]:
    options = row.pop("options", None)
    if isinstance(options, list):
        row |= dict(zip(LETTERS, options, strict=False))
    elif options is not None:
        row["options"] = options
    return {name: "" if value is None else str(value) for name, value in row.items()}


def _mmvp_folder(folder: Path) -> QuestionSet:
    name = printable(folder.resolve().name or "MMVP")
    images = open_source(str(folder))
    by_number = {Path(key).stem: key for key in reversed(images.keys)}
    gathered = Gathered()
    for number, fields in enumerate(_csv_rows(folder / _MMVP_CSV), 1):
        image = by_number.get(str(number), Unusable("without an image"))
        gathered.add({**fields, "index": str(number)}, image)
    return _question_set(name, gathered, replace(images, notes=()), mmvp=True)


def _csv_rows(path: Path) -> list[dict[str, str]]:
    if path.stat().st_size > _MOST_BYTES:
        raise EmbprobeError(f"'{path}' has more than {_MOST_BYTES >> 20} MiB: it is not MMVP's.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except UnicodeDecodeError:
        raise EmbprobeError(f"'{path}' is not UTF-8. Save the file in that encoding.") from None
    except csv.Error as error:
        raise EmbprobeError(f"'{path}' cannot be read as a table: {error}.") from None
    columns = column_names(header)
    if lacking := [name for name in ("question", "options", "correct answer") if name not in columns]:
        raise EmbprobeError(f"'{path}' has no column '{lacking[0]}', so it is not MMVP's.")
    return [dict(zip(columns, row, strict=False)) for row in rows if any(row)]
