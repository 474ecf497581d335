"""Splits: the images that classifiers are fitted on, and those that they are tested on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embprobe.benchmarking.dataset import Dataset
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.errors import EmbprobeError
from embprobe.images.groups import IMAGE, Grouping
from embprobe.images.splits import rows_in
from embprobe.measures.folds import FOLDS, group_folds
from embprobe.measures.vectors import LabelArray
from embprobe.search.leaks import Leaks
from embprobe.system.text import visible

Positions = NDArray[np.int64]
Kind = Literal["official", "folds", "domain", "elsewhere"]
"""The data set's own split; folds where it has none; a domain that no fitted image is of; another set's images."""


@dataclass(frozen=True)
class Split:
    """Rows to fit on and rows to test, and for each part of the test its rows and those that it is fitted on."""

    name: str
    """``train → test``, ``5 folds over images``, ``photo, fitted on other domains``."""
    kind: Kind
    fit: EmbeddingSet
    test: EmbeddingSet
    parts: Sequence[tuple[Positions, Positions]]
    """Positions in ``fit`` and in ``test``; every test row is in one part."""
    fit_labels: LabelArray
    truth: LabelArray
    fit_groups: LabelArray
    groups: LabelArray
    """Of the test rows: what an interval resamples."""
    unit: str
    """The label whose values are these groups; ``image`` where each is by itself."""
    notes: tuple[str, ...] = ()


def splits_of(
    dataset: Dataset, embedded: EmbeddingSet, grouping: Grouping, *, seed: int, training: Split | None = None
) -> Iterator[Split]:
    """Yield the main split of a data set, then one for every domain.

    Args:
        dataset: The data set.
        embedded: Its rows that have a vector by every encoder.
        grouping: The groups that are folded and resampled whole.
        seed: Decides the folds.
        training: The main split of the data set that this one is ``fitted_on``, of the same encoders.

    Raises:
        EmbprobeError: No image can be tested.
    """
    if training is not None:
        yield _elsewhere(dataset, embedded, grouping, training)
    elif dataset.only_tests:
        test = rows_in(embedded.rows, dataset.test) if dataset.test else np.arange(len(embedded))
        yield _only_tests(dataset, embedded, grouping, test)
    elif dataset.fit:
        fit, test = rows_in(embedded.rows, dataset.fit), rows_in(embedded.rows, dataset.test)
        yield _apart(f"{dataset.fit} → {dataset.test}", "official", dataset, embedded, grouping, fit, test)
    elif not dataset.label:  # captions alone
        yield _only_tests(dataset, embedded, grouping, np.arange(len(embedded)))
    else:
        yield _folds(dataset, embedded, grouping, seed)
    if dataset.domains:
        domains = embedded.label(dataset.domains)
        for domain in np.unique(domains).tolist():
            test = np.flatnonzero(domains == domain)
            fit = np.flatnonzero(domains != domain)
            if dataset.fit:
                fit = fit[np.isin(fit, rows_in(embedded.rows, dataset.fit))]
            if len(fit):
                name = f"{domain}, fitted on the other {dataset.domains}s"
                yield _apart(name, "domain", dataset, embedded, grouping, fit, test)


def _only_tests(dataset: Dataset, embedded: EmbeddingSet, grouping: Grouping, test: Positions) -> Split:
    """Return a split with nothing to fit on."""
    return _apart(dataset.test or "all images", "official", dataset, embedded, grouping, test[:0], test)


def _apart(
    name: str,
    kind: Kind,
    dataset: Dataset,
    embedded: EmbeddingSet,
    grouping: Grouping,
    fit: Positions,
    test: Positions,
) -> Split:
    if not len(test) or (dataset.fit and not len(fit)):
        raise EmbprobeError(f"No image of '{dataset.name}' is left to {'test' if len(fit) else 'fit on'}.")
    fitted, tested = embedded.take(fit), embedded.take(test)
    parts = [(np.arange(len(fit)), np.arange(len(test)))]
    split = _split(name, kind, fitted, tested, parts, dataset, grouping)
    notes = _shared_groups(split) if kind == "official" else ()
    return replace(split, notes=(*notes, *split.notes))


def _split(
    name: str,
    kind: Kind,
    fit: EmbeddingSet,
    test: EmbeddingSet,
    parts: Sequence[tuple[Positions, Positions]],
    dataset: Dataset,
    grouping: Grouping,
    notes: tuple[str, ...] = (),
    fit_groups: LabelArray | None = None,
) -> Split:
    """Return a split; the groups of the images to fit on are those of the data set, unless they are another's."""
    labels, truth = _labels(fit, dataset), _labels(test, dataset)
    new = ~np.isin(truth, labels)
    if new.any() and len(labels):
        count = f"{int(new.sum()):,} of {len(truth):,} test images"
        first = f"first '{visible(str(truth[new][0]))}'"
        reason = f"have a {dataset.label} that no image to fit on has, {first}: a classifier is wrong on them"
        notes = (*notes, f"{count} {reason}")
    return Split(
        name,
        kind,
        fit,
        test,
        parts,
        labels,
        truth,
        np.array(grouping.of(fit.rows)) if fit_groups is None else fit_groups,
        np.array(grouping.of(test.rows)),
        grouping.label,
        notes,
    )


def _labels(embedded: EmbeddingSet, dataset: Dataset) -> LabelArray:
    """Return the class of each row; "" where there are only captions."""
    return embedded.label(dataset.label) if dataset.label else np.array([""] * len(embedded))


def _shared_groups(split: Split) -> tuple[str, ...]:
    """Return a note if groups lie on both sides of an official split."""
    shared = set(split.fit_groups.tolist()).intersection(split.groups.tolist())
    if split.unit == IMAGE or not shared:
        return ()
    return (f"{len(shared):,} {split.unit}s have images on both sides of the split, first '{min(shared)}'",)


def _elsewhere(dataset: Dataset, embedded: EmbeddingSet, grouping: Grouping, training: Split) -> Split:
    """Return a split that is fitted on another set's training images of the classes that are tested."""
    truth = embedded.label(dataset.label)
    known = np.isin(truth, training.fit_labels)
    fit = np.flatnonzero(np.isin(training.fit_labels, truth[known]))
    if len(np.unique(training.fit_labels[fit])) < 2:
        raise EmbprobeError(
            f"'{training.fit.rows.name}' and '{dataset.name}' share no two classes: one of them may have other names."
        )
    notes: tuple[str, ...] = ()
    if gone := int((~known).sum()):
        first = visible(str(truth[~known][0]))
        why = f"have a {dataset.label} that '{training.fit.rows.name}' has no image to fit on of"
        notes = (f"{gone:,} of {len(truth):,} images {why}, and are left out, first '{first}'",)
    fitted, tested = training.fit.take(fit), embedded.take(np.flatnonzero(known))
    parts = [(np.arange(len(fit)), np.arange(len(tested)))]
    name, groups = f"fitted on {dataset.fitted_on}", training.fit_groups[fit]
    return _split(name, "elsewhere", fitted, tested, parts, dataset, grouping, notes, groups)


def _folds(dataset: Dataset, embedded: EmbeddingSet, grouping: Grouping, seed: int) -> Split:
    """Return folds over groups; images of a class that no other group has could not be learned, and are left out.

    Where that leaves too few, there is nothing to fit on, and all images are tested.
    """
    labels, groups = embedded.label(dataset.label), np.array(grouping.of(embedded.rows))
    groups_of = Counter(label for label, _ in set(zip(labels.tolist(), groups.tolist(), strict=True)))
    kept = np.array([i for i, label in enumerate(labels.tolist()) if groups_of[label] > 1], np.int64)
    notes: tuple[str, ...] = ()
    if alone := len(labels) - len(kept):
        first = visible(min(label for label, count in groups_of.items() if count == 1))
        why = f"have a {dataset.label} that no other {grouping.label} has"
        notes = (f"{alone:,} of {len(labels):,} images {why}, and are left out, first '{first}'",)
    if len(np.unique(labels[kept])) < 2 or len(np.unique(groups[kept])) < FOLDS:
        reason = (
            f"it has no official split, and too few images have a {dataset.label} that another {grouping.label} has: "
            "there is nothing to fit on"
        )
        return replace(_only_tests(dataset, embedded, grouping, np.arange(len(labels))), notes=(reason,))
    chosen = embedded.take(kept)
    fold = group_folds(groups[kept], labels[kept], seed=seed)
    parts = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(FOLDS)]
    name = f"{FOLDS} folds over {grouping.label}s"
    return _split(name, "folds", chosen, chosen, parts, dataset, grouping, notes)


def without_leaks(split: Split, leaks: Leaks) -> Split:
    """Return the split without the test images that are among those to fit on."""
    kept = leaks.kept
    if len(kept) == len(split.truth):
        return split
    parts = [(np.arange(len(split.fit_labels)), np.arange(len(kept)))]
    return replace(split, test=split.test.take(kept), parts=parts, truth=split.truth[kept], groups=split.groups[kept])
