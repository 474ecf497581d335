"""Preference: where two attributes pull an image in different directions, which one does the embedding follow?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors, check_labels, l2_normalize
from embprobe.system.threads import matrix_product

TIE = 1e-7
"""Cosines that differ by less count as equal: the rounding of float32 near 1."""
COLLAPSED = 1e-9
"""Smallest mean squared distance to the mean vector, for vectors of length 1; below it all embeddings coincide."""

_CHUNK = 64
_Codes = NDArray[np.int64]
_Pool = Callable[[_Codes], tuple[_Codes, _Codes]]
"""From anchors ``[m]`` to their partners, those of one anchor after those of another, and how many each has ``[m]``."""


def preference(
    vectors: Vectors,
    concept: LabelArray,
    cue: LabelArray,
    *,
    within: LabelArray | None = None,
    apart: LabelArray | None = None,
    candidates: NDArray[np.bool_] | None = None,
    pairs: int = 200,
    seed: int = 0,
) -> ScoreArray:
    """Return for each image how often the same concept with another cue is nearer than the same cue on another concept.

    For the anchor i, let A be the images with its ``concept`` and another ``cue``, B those with its ``cue`` and another
    ``concept``. The score is the share of pairs (a, b) in A x B with cos(i, a) > cos(i, b), where ties count half: the
    shape bias of Geirhos et al. (2019), for distances rather than for a classifier.

    Args:
        vectors: ``[n, d]``.
        concept: The concept of each image, ``[n]``.
        cue: The competing attribute of each image, such as its style, ``[n]``.
        within: a and b have the anchor's value of this label, such as the split, ``[n]``.
        apart: a and b have another value of this label than the anchor, such as the drawing that the image was made
            from, ``[n]``.
        candidates: Whether an image may be a or b, ``[n]``; by default all may.
        pairs: The number of pairs drawn for an anchor, one from each of as many equal strata of A x B, so all of them
            if there are no more. They depend on labels and ``seed`` alone: every encoder is tested on the same ones.
        seed: Decides which pairs.

    Returns:
        Scores ``[n]`` from 0 (always the cue) to 1 (always the concept); 0.5: neither. NaN for anchors with an empty A
        or B.

    Raises:
        EmbprobeError: If A or B is empty for every anchor, for fewer than two concepts or cues, for vectors without a
            direction, and if all embeddings coincide.

    Example:
        >>> x = np.array([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0], [0.2, 1.0]])  # sees cats and dogs, hardly the style
        >>> preference(x, np.array(["cat", "cat", "dog", "dog"]), np.array(["photo", "sketch", "photo", "sketch"]))
        array([1., 1., 1., 1.])
    """
    x = l2_normalize(vectors)
    check_labels(concept, "concept")
    check_labels(cue, "cue")
    if pairs < 1:
        raise EmbprobeError(f"Preference needs at least one pair an image; {pairs} were asked for.")
    if 1 - float(np.square(x.mean(0)).sum()) < COLLAPSED:
        raise EmbprobeError("All embeddings coincide, so none is nearer than another. Has the encoder collapsed?")
    n = len(x)
    concepts, cues = _coded(concept, n, "concept"), _coded(cue, n, "cue")
    scope = np.zeros(n, np.int64) if within is None else _coded(within, n, "within")
    source = None if apart is None else _coded(apart, n, "apart")
    by_concept = _pool(_crossed(scope, concepts), cues, source, allowed=candidates)
    by_cue = _pool(_crossed(scope, cues), concepts, source, allowed=candidates)

    rng = np.random.default_rng(seed)
    scores = np.full(n, np.nan)
    # Neighbours in this order share the larger of A and B, so a chunk needs few rows and one matrix product.
    few, many = sorted((concepts, cues), key=np.max)
    order = np.lexsort((many, few, scope))
    for start in range(0, n, _CHUNK):
        anchors = order[start : start + _CHUNK]
        anchors, a, b, drawn = _triplets(anchors, by_concept, by_cue, pairs, rng)
        if len(anchors):
            nearer = _difference(x, anchors, a, b)
            wins = np.where(np.abs(nearer) < TIE, 0.5, nearer > 0)
            scores[anchors] = (wins * (np.arange(wins.shape[1]) < drawn[:, None])).sum(1) / drawn
    if np.isnan(scores).all():
        raise EmbprobeError(
            "No image has both a partner of its concept with another cue and one of its cue with another concept, so "
            "nothing pulls in two directions. Take images in which every concept comes with several cues"
            + ("." if within is None and apart is None else ", or ask for less of 'within' and 'apart'.")
        )
    return scores


def _triplets(
    anchors: _Codes, by_concept: _Pool, by_cue: _Pool, pairs: int, rng: np.random.Generator
) -> tuple[_Codes, _Codes, _Codes, _Codes]:
    """Draw the pairs of each anchor.

    Returns the anchors with neither set empty ``[m]``, the drawn rows of A and of B ``[m, k]`` each, with k the largest
    number drawn for an anchor, and how many of the k count for each anchor ``[m]``.
    """
    (a, in_a), (b, in_b) = by_concept(anchors), by_cue(anchors)
    first_a, first_b = np.cumsum(in_a) - in_a, np.cumsum(in_b) - in_b
    both = np.flatnonzero(in_a * in_b)
    anchors, in_a, in_b, first_a, first_b = anchors[both], in_a[both], in_b[both], first_a[both], first_b[both]
    possible = in_a * in_b
    drawn = np.minimum(possible, pairs)
    # Single precision stays clear of 1, so a place never slips into the next stratum by rounding.
    most = int(drawn.max(initial=0))
    place = np.arange(most) + rng.random((len(both), most), np.float32).astype(np.float64)
    number = np.minimum((place * (possible / drawn)[:, None]).astype(np.int64), possible[:, None] - 1)
    return anchors, a[first_a[:, None] + number // in_b[:, None]], b[first_b[:, None] + number % in_b[:, None]], drawn


def _difference(x: ScoreArray, anchors: _Codes, a: _Codes, b: _Codes) -> ScoreArray:
    """Compute cos(i, a) − cos(i, b), ``[m, k]``, from one product of the anchors with every row that occurs."""
    occurs = np.zeros(len(x), bool)
    occurs[a] = occurs[b] = True
    rows = np.flatnonzero(occurs)
    column = np.empty(len(x), np.int64)
    column[rows] = np.arange(len(rows))
    cosine = matrix_product(x[anchors], x[rows].T)
    here = np.arange(len(anchors))[:, None]
    return np.asarray(cosine[here, column[a]] - cosine[here, column[b]])


def _pool(same: _Codes, *others: _Codes | None, allowed: NDArray[np.bool_] | None) -> _Pool:
    """Return a function that finds, for each anchor, the allowed rows that share ``same`` but none of ``others``."""
    order = np.argsort(same, kind="stable")
    size = np.bincount(same)
    begin = np.cumsum(size) - size
    differing = [codes for codes in others if codes is not None]

    def members(anchors: _Codes) -> tuple[_Codes, _Codes]:
        group = same[anchors]
        length = size[group]
        owner = np.repeat(np.arange(len(anchors)), length)
        shift = begin[group] - (np.cumsum(length) - length)
        rows = order[np.arange(len(owner)) + shift[owner]]
        kept = np.logical_and.reduce([codes[rows] != codes[anchors][owner] for codes in differing])
        if allowed is not None:
            kept &= allowed[rows]
        return rows[kept], np.bincount(owner[kept], minlength=len(anchors))

    return members


def _coded(labels: LabelArray, n: int, name: str) -> _Codes:
    """Number the labels by value; ``name`` is what the message calls them if there are not ``n``."""
    if len(labels) != n:
        raise EmbprobeError(f"There are {n:,} embeddings, but {len(labels):,} values of '{name}': give one for each.")
    return np.asarray(np.unique(labels, return_inverse=True)[1], np.int64)


def _crossed(a: _Codes, b: _Codes) -> _Codes:
    """Number the combinations of ``a`` and ``b`` that occur."""
    return np.asarray(np.unique(a * (b.max() + 1) + b, return_inverse=True)[1], np.int64)
