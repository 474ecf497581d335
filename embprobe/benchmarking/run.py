"""Run a benchmark: every cell that is not in the workspace is scored and kept there, so that a run can go on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embprobe.benchmarking.cell import (
    Cell,
    ClassValue,
    DatasetFacts,
    EncoderFacts,
    Scored,
    SplitFacts,
    Value,
    cell_path,
    fingerprint_of,
    kept,
    load_scores,
    save_cell,
)
from embprobe.benchmarking.dataset import Dataset, pair_up
from embprobe.benchmarking.names import name_vectors
from embprobe.benchmarking.split import Split, splits_of
from embprobe.benchmarking.split import without_leaks as _without_leaks
from embprobe.benchmarking.tasks import Needs, Part, Task, Texts, able
from embprobe.embeddings.session import Session
from embprobe.encoders.spec import Encoder
from embprobe.encoders.texts import encode_texts
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.groups import choose_grouping
from embprobe.measures.blocks import rows_at
from embprobe.measures.decoding import balance, guess_majority
from embprobe.measures.proportion import wilson_interval
from embprobe.measures.vectors import LabelArray, ScoreArray
from embprobe.search.leaks import find_leaks
from embprobe.statistics import resample
from embprobe.system.text import visible
from embprobe.system.threads import one_thread, side_by_side

_HELD = 16
"""Bytes that a fit holds for each number of the vectors: them, the part fitted on, and that part in its eigenbasis."""
_PACKAGES = ("embprobe", "torch", "numpy", "scikit-learn", "faiss-gpu", "faiss-cpu")


LookFor = Literal["auto", "bytes", "near", "off"]
"""How test images are looked for among the images to fit on: as the same file (``bytes``), which reads every file;
``near`` also as the same pixels and near duplicates, which decodes them; ``auto`` as the same file, of files of this
machine that are not too many."""
_READ_UNASKED = 200_000
"""Images whose files are read to look for leaks without being told to: less than a minute, if the disk is fast."""


@dataclass(frozen=True)
class LeftOut:
    """A cell or a data set that has no number, and the reason."""

    dataset: str
    task: str
    encoder: str
    reason: str


@dataclass(frozen=True)
class Ran:
    """The cells of a benchmark, where each lies, and what was left out."""

    cells: Sequence[Cell]
    paths: Sequence[Path]
    scores: Sequence[Scored]
    left_out: Sequence[LeftOut]
    scored: int
    """Cells that were not there before."""


@one_thread()
def run_benchmark(
    datasets: Sequence[Dataset],
    encoders: Sequence[Encoder],
    tasks: Sequence[Task],
    session: Session,
    *,
    leaks: LookFor = "off",
    without_leaks: bool = False,
) -> Ran:
    """Score every encoder at every task on every data set; cells that are in the workspace are not scored again.

    All encoders are tested on the same images: those that have a vector by every one of them.

    Args:
        datasets: One that is ``fitted_on`` another of them is tested with that one's training images.
        encoders: At least one.
        tasks: Those that a data set or an encoder does not allow are passed over.
        session: Gives vectors, device and seed; ``session.note`` gets a sentence on each that is left out.
        leaks: How test images are looked for among the images to fit on; a note counts them.
        without_leaks: Leave them out of the tests.

    Raises:
        UsageError: There are no data sets, encoders or tasks.
    """
    if not datasets or not encoders or not tasks:
        raise UsageError("A benchmark needs at least one data set, one encoder and one task.")
    done: list[tuple[Cell, Path, Scored, bool]] = []
    left_out: list[LeftOut] = []
    main: dict[str, Split] = {}
    # those that others are fitted on come first
    for dataset, other in sorted(pair_up(list(datasets)), key=lambda pair: pair[1] is not None):
        for note in dataset.notes:
            session.note(f"{visible(dataset.name)}: {note}")
        try:
            of_dataset = list(_splits(dataset, main.get(other.name) if other else None, encoders, session))
            if leaks != "off":
                of_dataset = [_checked(split, dataset, session, leaks, remove=without_leaks) for split in of_dataset]
        except EmbprobeError as reason:
            left_out.append(LeftOut(dataset.name, "", "", str(reason)))
            session.note(str(reason).removesuffix("."))
            continue
        main[dataset.name] = of_dataset[0]
        for split in of_dataset:
            for note in [*split.notes, *_lacking(dataset, split, other, tasks)]:
                session.note(f"{visible(dataset.name)}, {visible(split.name)}: {note}")
            ran, failed = _cells(dataset, split, encoders, tasks, session)
            done += ran
            left_out += failed
            if not ran and not failed:
                reasons = "; ".join(split.notes) or "these encoders allow none of the tasks"
                left_out.append(LeftOut(dataset.name, "", "", f"{split.name}: {reasons}"))
    order = {dataset.name: i for i, dataset in enumerate(datasets)}
    done.sort(key=lambda each: order[each[0].dataset.name])
    return Ran(
        [cell for cell, *_ in done],
        [path for _, path, *_ in done],
        [scored for _, _, scored, _ in done],
        left_out,
        sum(new for *_, new in done),
    )


def _lacking(dataset: Dataset, split: Split, other: Dataset | None, tasks: Sequence[Task]) -> Iterator[str]:
    """Yield sentences on what a data set lacks for some of the tasks."""
    if dataset.captions and split.kind != "domain" and any("captions" in task.needs for task in tasks):
        count, every = len(_with_captions(split, dataset.captions)), len(split.truth)
        if count < every:
            yield f"{every - count:,} of {every:,} test images have no caption, and are left out of retrieval"
    if dataset.only_tests and other is None and any("fit" in task.needs for task in tasks):
        where = f"name {dataset.fitted_on} with its place, too" if dataset.fitted_on else "it only tests"
        yield f"there is nothing to fit on, so tasks that fit are left out: {where}"


def _splits(dataset: Dataset, training: Split | None, encoders: Sequence[Encoder], session: Session) -> Iterator[Split]:
    embedded = session.directed(session.embed(dataset.images, encoders, f"{dataset.name}: extracting"))
    grouping = choose_grouping(dataset.images)
    if grouping.note:
        session.note(f"{visible(dataset.name)}: {grouping.note}")
    return splits_of(dataset, embedded, grouping, seed=session.seed, training=training)


def _checked(split: Split, dataset: Dataset, session: Session, how: LookFor, *, remove: bool) -> Split:
    """Note the test images that are among those to fit on, and leave them out if that is wanted."""
    apart = split.kind in ("official", "elsewhere") and len(split.fit_labels) and dataset.images.has_pictures
    if not apart:
        return split
    far = "://" in f"{split.fit.rows.place} {split.test.rows.place}"
    if how == "auto" and (far or len(split.fit_labels) + len(split.truth) > _READ_UNASKED):
        where = f"{visible(dataset.name)}, {visible(split.name)}"
        session.note(
            f"{where}: test images were not looked for among the training images, which would read all files; "
            "--leaks bytes does that"
        )
        return split
    leaks = find_leaks(split.fit.rows, split.test.rows, pixels=how == "near", near=how == "near")
    if leaks.note():
        what = "they are left out" if remove else "--without-leaks leaves them out"
        session.note(f"{visible(dataset.name)}, {visible(split.name)}: {leaks.note()}; {what}")
    return _without_leaks(split, leaks) if remove else split


@dataclass(frozen=True)
class _Order:
    """A cell that is to be scored."""

    task: Task
    encoder: Encoder
    path: Path
    fingerprint: str


def _cells(
    dataset: Dataset, split: Split, encoders: Sequence[Encoder], tasks: Sequence[Task], session: Session
) -> tuple[list[tuple[Cell, Path, Scored, bool]], list[LeftOut]]:
    """Score the cells of a split that are not there, side by side, and return all of them and those that failed."""
    facts = _facts(dataset, split, session)
    orders = [
        _order(dataset, split, facts, encoder, task, session)
        for encoder in encoders
        for task in able(tasks, _there(dataset, split, encoder))
    ]
    before = {order.path: kept(order.path, order.fingerprint) for order in orders}
    new = [order for order in orders if before[order.path] is None]
    texts = _texts(dataset, split, new)
    bytes_held = _HELD * max((split.fit.vectors[e.spec.name].size for e in encoders), default=0)
    title, tested = f"{dataset.name}, {split.name}", len(split.truth)
    activity = f"{title}: {len(new)} cell{'' if len(new) == 1 else 's'}"
    with session.progress(activity, len(new) * tested) if new else nullcontext() as progress:

        def scored(order: _Order) -> EmbprobeError | None:
            try:
                _score(order, dataset, split, texts, session)
            except EmbprobeError as reason:
                return reason
            finally:
                if progress is not None:
                    progress(tested)
            return None

        failures = dict(
            zip(
                (order.path for order in new),
                side_by_side(scored, new, memory=bytes_held, device=session.device),
                strict=True,
            )
        )
    cells, failed = [], []
    for order in orders:
        reason = failures.get(order.path)
        if reason is not None:
            failed.append(LeftOut(dataset.name, order.task.name, order.encoder.spec.name, str(reason)))
            session.note(f"{visible(title)}, {order.task.title}: {str(reason).removesuffix('.')}")
            continue
        cell = before[order.path] or kept(order.path, order.fingerprint)
        if cell is None:
            raise EmbprobeError(f"The record '{order.path}' was changed while it was written. Run this again.")
        cells.append((cell, order.path, load_scores(order.path), order.path in failures))
    return cells, failed


def _there(dataset: Dataset, split: Split, encoder: Encoder) -> set[Needs]:
    """Return what there is for a task to need."""
    there: set[Needs] = set()
    if len(split.fit_labels):
        there.add("fit")
    if encoder.spec.has_text and dataset.classes:
        there.add("names")
    if encoder.spec.has_text and dataset.captions and split.kind != "domain":
        there.add("captions")
    return there


def _facts(dataset: Dataset, split: Split, session: Session) -> dict[Needs | None, dict[str, object]]:
    """Return by what a task needs the facts that decide its scores; those under None decide all of them."""
    captions = [caption or "" for caption in split.test.rows.values(dataset.captions)] if dataset.captions else []
    return {
        None: {
            "test": split.test.rows.fingerprint,
            "labels": [_digest(split.fit_labels, split.fit_groups), _digest(split.truth, split.groups)],
            "split": [split.kind, split.name],
            "seed": session.seed,
            "decoding": [session.fast_decode, session.max_pixels],
        },
        "fit": {"fit": split.fit.rows.fingerprint},
        "names": {"classes": dataset.classes, "templates": dataset.templates},
        "captions": {"captions": _digest(np.array(captions))},
    }


def _order(
    dataset: Dataset,
    split: Split,
    facts: Mapping[Needs | None, Mapping[str, object]],
    encoder: Encoder,
    task: Task,
    session: Session,
) -> _Order:
    own: dict[str, object] = {"task": task.name, "method": task.method, "encoder": encoder.spec.fingerprint}
    own |= {"fit": "", "captions": "", **facts[None]}
    for need in task.needs:
        own |= facts[need]
    fingerprint = fingerprint_of(own)
    path = cell_path(session.workspace, dataset.name, split.name, task.name, encoder.spec.name, fingerprint)
    return _Order(task, encoder, path, fingerprint)


def _digest(*columns: LabelArray) -> str:
    return fingerprint_of({str(i): column.tolist() for i, column in enumerate(columns)})


def _texts(dataset: Dataset, split: Split, orders: Sequence[_Order]) -> Mapping[tuple[str, str], Texts]:
    """Return by encoder the vectors of the names of classes and of captions, as far as cells need them."""
    needed: dict[str, set[str]] = defaultdict(set)
    by_name = {order.encoder.spec.name: order.encoder for order in orders}
    for order in orders:
        needed[order.encoder.spec.name] |= order.task.needs - {"fit"}
    texts: dict[tuple[str, str], Texts] = {}
    for name, needs in needed.items():
        encoder = by_name[name]
        if "names" in needs:
            vectors = name_vectors(encoder, dataset.classes, dataset.templates)
            texts[name, "names"] = Texts(np.array(dataset.classes), vectors)
        if "captions" in needs:
            captions, images = _captions(split, dataset.captions)
            texts[name, "captions"] = Texts(np.array(captions), encode_texts(encoder, captions), images)
    return texts


def _captions(split: Split, label: str) -> tuple[list[str], NDArray[np.int64]]:
    """Return the captions of the test images that have any, each with the position of its image among these."""
    of_images = [text for text in split.test.rows.values(label) if text and text.strip()]
    pairs = [(line.strip(), i) for i, text in enumerate(of_images) for line in text.splitlines() if line.strip()]
    return [text for text, _ in pairs], np.array([i for _, i in pairs], np.int64)


def _with_captions(split: Split, label: str) -> NDArray[np.int64]:
    """Return the positions of the test images that have captions."""
    return np.flatnonzero([bool(text and text.strip()) for text in split.test.rows.values(label)])


def _score(
    order: _Order, dataset: Dataset, split: Split, texts: Mapping[tuple[str, str], Texts], session: Session
) -> None:
    """Score a cell and keep it."""
    began, name = time.perf_counter(), order.encoder.spec.name
    names, captions = texts.get((name, "names")), texts.get((name, "captions"))
    classifies = order.task.classifies
    rows = np.arange(len(split.truth)) if classifies else _with_captions(split, dataset.captions)
    values, nothing = np.full(len(split.truth), np.nan), np.empty(0, np.int64)
    for fit, test in split.parts if "fit" in order.task.needs else [(nothing, rows)]:
        part = Part(
            rows_at(split.fit.vectors[name], fit),
            split.fit_labels[fit],
            split.fit_groups[fit],
            rows_at(split.test.vectors[name], test),
            split.truth[test],
            names,
            captions,
            session.seed,
            session.device,
        )
        values[test] = order.task.score(part)
    values, truth, groups = values[rows], split.truth[rows], split.groups[rows]
    keys = split.test.keys()
    scored = Scored([keys[i] for i in rows.tolist()], groups.tolist(), truth.tolist(), values)
    columns = (
        {"accuracy": values, "mean per class": balance(values, truth)} if classifies else {order.task.unit: values}
    )
    main = dataset.metric if classifies else order.task.unit
    cell = Cell(
        fingerprint=order.fingerprint,
        dataset=DatasetFacts(
            name=dataset.name,
            card=dataset.card,
            fingerprint=dataset.images.fingerprint,
            images=len(dataset.images),
            label=dataset.label,
            classes=len(dataset.classes),
        ),
        split=SplitFacts(
            name=split.name,
            kind=split.kind,
            fitted=len(split.fit_labels),
            tested=len(rows),
            groups=len(np.unique(groups)),
            resampled=split.unit,
            fitted_on=dataset.fitted_on if split.kind == "elsewhere" else "",
        ),
        encoder=EncoderFacts(
            name=name,
            fingerprint=order.encoder.spec.fingerprint,
            weights=order.encoder.spec.weights,
            weights_sha256=order.encoder.spec.weights_sha256,
            dimension=order.encoder.spec.dimension,
            precision=order.encoder.spec.precision,
        ),
        task=order.task.name,
        unit=order.task.unit,
        main=main,
        numbers=_numbers(columns, groups, split.unit, session.seed),
        chance=_chance(main, truth) if classifies else None,
        per_class=_per_class(values, truth, groups) if classifies else {},
        seed=session.seed,
        seconds=round(time.perf_counter() - began, 3),
        device=session.device,
        versions=_versions(),
        notes=split.notes,
    )
    save_cell(order.path, cell, scored)


def _numbers(columns: Mapping[str, ScoreArray], groups: LabelArray, unit: str, seed: int) -> dict[str, Value]:
    drawn = resample(np.stack(list(columns.values()), axis=1), groups.tolist(), seed=seed, unit=unit)
    estimates = [drawn.mean(i) for i in range(len(columns))]
    return {
        name: Value(estimate=each.estimate, low=each.low, high=each.high)
        for name, each in zip(columns, estimates, strict=True)
    }


def _chance(main: str, truth: LabelArray) -> float:
    """Return the main number of the best constant answer: the commonest class's share, or one over their number."""
    return float(guess_majority(truth).mean()) if main == "accuracy" else 1 / len(np.unique(truth))


def _per_class(values: ScoreArray, truth: LabelArray, groups: LabelArray) -> dict[str, ClassValue]:
    """Return the mean of every class, with a score interval of as many images as it has independent groups."""
    found = {}
    for name in np.unique(truth).tolist():
        rows = truth == name
        share, count = float(values[rows].mean()), len(np.unique(groups[rows]))
        low, high = wilson_interval(min(max(share, 0.0), 1.0), count)
        found[name] = ClassValue(estimate=share, low=low, high=high, images=int(rows.sum()))
    return found


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:  # one of the two of FAISS
            continue
    return found
