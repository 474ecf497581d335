"""Read the samples that lmms-eval logs (``--log_samples``): a line of JSON for each question.

The form is that of lmms-eval 0.7: ``doc_id``, ``target``, ``filtered_resps`` and ``input``, and beside them an entry
for each metric of the task, which is a number or an object with one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.text import printable, visible
from embprobe.vlm.answers import Answer, Answers, mark_of
from embprobe.vlm.multiple_choice import MMVP, MMVP_GROUP
from embprobe.vlm.responses import group_of, letter_of, share_of
from embprobe.vlm.vmcbench import VMCBENCH

MAX_LINE = 2**26
"""Bytes of one sample, at most."""
_NO_METRICS = frozenset(
    {"doc_id", "doc", "target", "arguments", "input", "input_media", "resps", "filtered_resps", "token_counts"}
    | {"doc_hash", "prompt_hash", "target_hash"}
)
_SCORES = ("score", "is_correct", "correct", "hit", "exact_match", "acc", "accuracy")
"""Entries of a metric's object that say whether the question was answered rightly."""
_TASK = re.compile(r"(?:.*_)?samples_(.+)")


@dataclass(frozen=True)
class _Sample:
    doc_id: str
    target: str
    letter: str
    scores: Mapping[str, float]
    facts: Mapping[str, Any]
    """The entries of the objects of its metrics."""


def read_lmms_eval(path: Path, *, name: str = "", metric: str = "") -> Answers:
    """Read the answers of one model to the questions of one task.

    A question's key is the ``question_id`` of its metric, where there is one, else its ``doc_id``. MMVP's are counted
    from 1 as in its own file, and two are a pair. Where the task has no metric for single questions, a question is
    right if the response chooses the letter of the target (:func:`~embprobe.vlm.responses.letter_of`).

    Args:
        path: The file, ``DATE_samples_TASK.jsonl``.
        name: The model; without it the folder's name, which lmms-eval makes of the model's.
        metric: The metric; by default the one that most samples have, the first of several.

    Raises:
        UsageError: The file cannot be read, or has no such metric.
        EmbprobeError: It is damaged, holds other lines, or nothing says of each question whether it is right.
    """
    samples = _samples(path)
    counts = Counter(each for sample in samples for each in sample.scores)
    if metric and metric not in counts:
        known = visible(", ".join(counts)) or "none"
        raise UsageError(f"'{path}' has no metric '{visible(metric)}' of single questions; it has: {known}.")
    chosen = metric or max(counts, key=lambda each: counts[each], default="")
    notes = []
    scores = [sample.scores.get(chosen) for sample in samples]
    if not chosen:
        if not any(len(sample.target.strip()) == 1 and letter_of(sample.target) for sample in samples):
            raise EmbprobeError(
                f"'{path}' has no metric that says of each question whether it is right, and its targets are no "
                "letters of options."
            )
        scores = [float(sample.letter == letter_of(sample.target)) for sample in samples]
        unclear = sum(not sample.letter for sample in samples)
        notes.append(f"no metric of single questions: letters were compared; {unclear:,} responses choose none")
    if lost := scores.count(None):
        notes.append(f"{lost:,} samples left out, without a score by '{visible(chosen)}'")
    kept = [(sample, score) for sample, score in zip(samples, scores, strict=True) if score is not None]
    keys = [_key(sample) for sample, _ in kept]
    if len(set(keys)) < len(keys):
        keys = [sample.doc_id for sample, _ in kept]
    rows = [_answer(key, sample, score) for key, (sample, score) in zip(keys, kept, strict=True)]
    try:
        return Answers(
            name=name or printable(path.resolve().parent.name or path.stem),
            rows=rows,
            asked=_task(path),
            notes=tuple(notes),
        )
    except EmbprobeError as error:
        raise EmbprobeError(f"'{path}': {error}") from None


def read_lmms_eval_folder(folder: Path, *, name: str = "") -> Answers:
    """Read the answers of one model to the questions of several tasks, the newest file of each task in a folder.

    Of more than one task, keys begin with the task's name, and questions without a category are in a group of their
    task. A task without scores of single questions is left out and named.

    Raises:
        UsageError: There is no file of samples in the folder.
        EmbprobeError: None of them has a score of single questions.
    """
    newest = {_task(path): path for path in sorted(folder.glob("*samples_*.jsonl"))}  # names begin with the date
    if not newest:
        raise UsageError(
            f"There are no samples of lmms-eval in '{visible(str(folder))}': give the folder where --log_samples has "
            "written 'DATE_samples_TASK.jsonl'."
        )
    name = name or printable(folder.resolve().name)
    if len(newest) == 1:
        return read_lmms_eval(next(iter(newest.values())), name=name)
    rows: list[Answer] = []
    notes: list[str] = []
    for task, path in newest.items():
        try:
            found = read_lmms_eval(path, name=name)
        except EmbprobeError as reason:
            notes.append(f"{task} left out: {reason}".removesuffix("."))
            continue
        rows += [
            replace(row, key=f"{task}/{row.key}", pair=row.pair and f"{task}/{row.pair}", group=row.group or task)
            for row in found.rows
        ]
        notes += [f"{task}: {note}" for note in found.notes]
    if not rows:
        raise EmbprobeError(f"No task in '{visible(str(folder))}' has a score of single questions: {'; '.join(notes)}.")
    return Answers(name=name, rows=rows, asked=", ".join(newest), notes=tuple(notes))


def _task(path: Path) -> str:
    return printable(found[1] if (found := _TASK.fullmatch(path.stem)) else path.stem)


def _answer(key: str, sample: _Sample, score: float) -> Answer:
    category = str(sample.facts.get("category") or "")
    paired = "pair_index" in sample.facts
    return Answer(
        key=key,
        score=score,
        every=score == 1,
        options=2 if paired else 4 if category in VMCBENCH else 0,
        group=MMVP_GROUP if paired else group_of(category),
        kind=MMVP if paired else category,
        pair=_following(sample.facts["pair_index"]) if paired else "",
        mark=mark_of("lmms-eval", sample.target),
    )


def _key(sample: _Sample) -> str:
    if "pair_index" in sample.facts:  # of MMVP, whose own file counts from 1
        return _following(sample.facts.get("index", sample.doc_id))
    return str(sample.facts.get("question_id", sample.doc_id))


def _following(number: object) -> str:
    return str(number + 1) if isinstance(number, int) else str(number)


def _samples(path: Path) -> list[_Sample]:
    samples = []
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise EmbprobeError(f"Line {number:,} of '{path}' has more than {MAX_LINE >> 20} MiB.")
                if line.strip():
                    samples.append(_sample(line, number, path))
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror}.") from None
    if not samples:
        raise EmbprobeError(f"'{path}' holds no samples.")
    return samples


def _sample(line: bytes, number: int, path: Path) -> _Sample:
    try:
        content = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise EmbprobeError(f"Line {number:,} of '{path}' is no JSON: {error}.") from None
    if not isinstance(content, dict) or "doc_id" not in content:
        raise EmbprobeError(
            f"Line {number:,} of '{path}' is no sample of lmms-eval: it lacks 'doc_id'. "
            "Give the file that --log_samples writes."
        )
    scores, facts = dict[str, float](), dict[str, Any]()
    for name, value in content.items():
        if name in _NO_METRICS:
            continue
        entries = value if isinstance(value, dict) else {"score": value}
        if isinstance(value, dict):
            facts |= value
        score = next((share_of(entries[each]) for each in _SCORES if each in entries), None)
        if score is not None:
            scores[name] = score
    response = content.get("filtered_resps")
    while isinstance(response, list) and response:
        response = response[0]
    target = str(content.get("target", ""))
    return _Sample(str(content["doc_id"]), target, letter_of(str(response or "")), scores, facts)
