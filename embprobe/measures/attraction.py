"""Attraction: is an image nearer to others that share an attribute with it, such as a style, whatever they show?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.preference import COLLAPSED, TIE
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors, check_labels, l2_normalize
from embprobe.system.threads import matrix_product

CHANCE = 0.5
"""The attraction of an attribute that an encoder does not see, whatever else it sees."""

_CELLS = 2**21
"""Triplets compared at a time: 16 MiB."""
_Codes = NDArray[np.int64]


@dataclass(frozen=True)
class _Block:
    """The triplets of the anchors of one attribute value with candidates of one content."""

    anchors: _Codes
    same: _Codes
    """Candidates with the anchors' attribute."""
    others: list[tuple[_Codes, ScoreArray]]
    """By other value of the attribute its candidates, and the weight of each anchor's comparison with them."""


def attraction(
    vectors: Vectors, attribute: LabelArray, content: LabelArray, *, groups: Sequence[str] | None = None
) -> ScoreArray:
    """Score how often an image is nearer to one that shares its ``attribute`` than to one that does not.

    For an anchor i take two images of one other content: a with i's attribute, b with another. The estimate is

        theta = mean over ordered pairs (s, t) of attribute values, anchors i with s, contents c other than i's, and a
                in (s, c), b in (t, c), each step with equal weights, of [cos(i, a) > cos(i, b)], where ties count half.

    As a and b show the same, what an encoder sees of the content cancels: an encoder blind to the attribute has 0.5 in
    expectation. As (s, t) weighs as much as (t, s), images that are near to everything, whatever their attribute,
    leave it at 0.5, too.

    An image is in triplets as the anchor and as a candidate, so the share of its own triplets would give intervals
    that are too narrow. The scores are influence values instead: theta + n r sum of w (h - theta) over the triplets
    (weight w, outcome h) in which an image's group takes part. Each group of a triplet receives all of it, which
    counts what is random in a *pair* of groups twice; r scales that down, r² = 1 - sum over pairs of groups / sum over
    groups (of squared influence), as in the variance for dyads of Aronow, Samii and Assenova (2015), equation 6.

    Args:
        vectors: ``[n, d]``.
        attribute: The attribute of each image, such as its style, ``[n]``.
        content: What each image shows, such as its concept or category, ``[n]``.
        groups: The group that each image is resampled with, ``[n]``; by default each image by itself.

    It holds three arrays ``[n, n]``, 100 MB for 2,000 images.

    Returns:
        Scores ``[n]`` whose mean is theta: 0.5 if the attribute does not matter, 1 if it decides. A single score may
        lie outside 0 to 1. NaN for images in no triplet.

    Raises:
        EmbprobeError: For fewer than two attributes or contents, if no two attributes occur in the same content and
            in another one, for vectors without a direction, and if all embeddings coincide.

    Example:
        >>> x = np.array([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0], [0.2, 1.0]])  # photos lie near photos
        >>> style = np.array(["photo", "photo", "sketch", "sketch"])
        >>> attraction(x, style, np.array(["cat", "dog", "cat", "dog"])).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    x = l2_normalize(vectors)
    check_labels(attribute, "attribute")
    check_labels(content, "content")
    if 1 - float(np.square(x.mean(0)).sum()) < COLLAPSED:
        raise EmbprobeError("All embeddings coincide, so none is nearer than another. Has the encoder collapsed?")
    n = len(x)
    values, contents = _coded(attribute, n, "attribute"), _coded(content, n, "content")
    group = _coded(np.arange(n) if groups is None else np.asarray(groups), n, "group")
    cosine, won, weight = matrix_product(x, x.T), np.zeros((n, n)), np.zeros((n, n))
    anchored = np.zeros((n, 2))
    for block in _blocks(values, contents):
        for candidates, weights in block.others:
            _compare(cosine, group, block, candidates, weights, won, weight, anchored)
    theta = float(anchored[:, 0].sum() / anchored[:, 1].sum())
    pairs = np.where(group[:, None] == group, 0.0, won - theta * weight)
    influence = anchored[:, 0] - theta * anchored[:, 1] + pairs.sum(0)
    taking_part = (anchored[:, 1] > 0) | (weight > 0).any(0)
    strata = _strata(values, contents, group)
    influence = _deviations(influence, strata)
    scale = _pair_correction(influence, pairs, group, strata)
    count = int(taking_part.sum())
    return np.where(taking_part, theta + count * scale * influence, np.nan)


def separable(attribute: LabelArray, content: LabelArray) -> bool:
    """Return whether two values of the attribute occur in the same content, so that both can be told apart.

    Example:
        >>> separable(np.array(["photo", "sketch"]), np.array(["cat", "dog"]))  # all cats are photos, all dogs sketches
        False
    """
    values, contents = (_coded(labels, len(attribute), "label") for labels in (attribute, content))
    return bool(_comparable(_cells(values, contents))[0].any())


def _cells(values: _Codes, contents: _Codes) -> _Codes:
    """Count the images with each value of the attribute and each content, ``[values, contents]``."""
    cells = np.zeros((values.max() + 1, contents.max() + 1), np.int64)
    np.add.at(cells, (values, contents), 1)
    return cells


def _comparable(cells: _Codes) -> tuple[NDArray[np.bool_], _Codes, _Codes]:
    """Return which values s and t can be compared, the number of their anchors, and that of contents for an anchor.

    ``[s, t]``, ``[s, t]`` and ``[s, t, content of the anchor]``.
    """
    both = (cells[:, None] > 0) & (cells[None] > 0)
    number = both.sum(2)[:, :, None] - both
    anchors = np.where(number > 0, cells[:, None], 0).sum(2)
    return (anchors > 0) & (anchors.T > 0) & ~np.eye(len(cells), dtype=bool), anchors, number


def _blocks(values: _Codes, contents: _Codes) -> Iterator[_Block]:
    """Yield the triplets of every attribute value and content, with weights that sum to 1 over all.

    Raises:
        EmbprobeError: No two values can be compared.
    """
    cells = _cells(values, contents)
    usable, anchors, number = _comparable(cells)
    if not usable.any():
        raise EmbprobeError(
            "No two values of the attribute occur in the same content, beside images of another content, so the "
            "attribute and the content cannot be told apart. Take images in which several contents come with several "
            "values of the attribute."
        )
    rows_of = {(s, c): np.flatnonzero((values == s) & (contents == c)) for s, c in np.argwhere(cells > 0).tolist()}
    for s, c in rows_of:
        rivals = [t for t in np.flatnonzero(usable[s]).tolist() if (t, c) in rows_of]
        rows = np.flatnonzero((values == s) & (contents != c))
        if not rivals or not len(rows):
            continue
        shares = 1 / np.maximum(number[s][:, contents[rows]], 1) / np.maximum(anchors[s], 1)[:, None] / usable.sum()
        yield _Block(rows, rows_of[s, c], [(rows_of[t, c], shares[t]) for t in rivals])


def _compare(
    cosine: ScoreArray,
    group: _Codes,
    block: _Block,
    candidates: _Codes,
    weights: ScoreArray,
    won: ScoreArray,
    weight: ScoreArray,
    anchored: ScoreArray,
) -> None:
    """Add the outcomes and weights of a block's triplets with these candidates to those of anchors and of pairs."""
    a, b = block.same, candidates
    # where a and b are of one group, that group is one part of the triplet and not two
    part = np.where(group[a][:, None] == group[b], 0.5, 1.0) / (len(a) * len(b))
    step = max(1, _CELLS // (len(a) * len(b)))
    for start in range(0, len(block.anchors), step):
        rows, w = block.anchors[start : start + step], weights[start : start + step]
        margin = cosine[rows[:, None], a][:, :, None] - cosine[rows[:, None], b][:, None, :]
        outcome = np.where(np.abs(margin) < TIE, 0.5, margin > 0)
        anchored[rows, 0] += w * outcome.mean((1, 2))
        anchored[rows, 1] += w
        for columns, axis, letters in ((a, 1, "iab,ab->ia"), (b, 0, "iab,ab->ib")):
            won[rows[:, None], columns] += w[:, None] * np.einsum(letters, outcome, part)
            weight[rows[:, None], columns] += w[:, None] * part.sum(axis)


def _strata(values: _Codes, contents: _Codes, group: _Codes) -> _Codes:
    """Return the stratum of each image within which images are sampled.

    Values of the attribute have equal weights whatever their number, so each is a stratum. Where a content has several
    groups, contents are fixed as well: then a stratum is a value in a content, unless it has a single image.
    """
    if len(np.unique(_crossed(group, contents))) == contents.max() + 1:
        return values
    cells = _crossed(values, contents)
    single = np.bincount(cells)[cells] < 2
    return np.asarray(np.unique(np.where(single, -1 - values, cells), return_inverse=True)[1], np.int64)


def _pair_correction(influence: ScoreArray, pairs: ScoreArray, group: _Codes, strata: _Codes) -> float:
    """Return the factor by which influences are too large because a pair of groups counts in both of them."""
    number = group.max() + 1
    by_group = np.bincount(group, influence, number)
    # of a pair's influence only that counts which neither of its images has with all the others
    between = _sums(_sums((_centred(_centred(pairs, strata).T, strata)).T, group).T, group)
    both_ways = between + between.T
    np.fill_diagonal(both_ways, 0)
    groups, dyads = float(by_group @ by_group), float((both_ways * both_ways).sum() / 2)
    return float(np.sqrt(np.clip(1 - dyads / groups, 0.5, 1))) if groups > 0 else 1.0


def _centred(values: ScoreArray, strata: _Codes) -> ScoreArray:
    """Subtract from each row its mean over the columns of each stratum. ``[n, m] -> [n, m]``."""
    return np.asarray(values - (_sums(values, strata) / np.bincount(strata))[:, strata])


def _sums(values: ScoreArray, strata: _Codes) -> ScoreArray:
    """Sum each row over the columns of each stratum. ``[n, m] -> [n, strata]``."""
    order = np.argsort(strata, kind="stable")
    return np.asarray(np.add.reduceat(values[:, order], np.cumsum(np.bincount(strata)) - np.bincount(strata), axis=1))


def _deviations(values: ScoreArray, strata: _Codes) -> ScoreArray:
    """Return each value less the mean of its stratum, scaled so that squares are unbiased: by sqrt(n / (n - 1))."""
    number = np.bincount(strata)
    means = np.bincount(strata, values) / number
    return np.asarray((values - means[strata]) * np.sqrt(number / np.maximum(number - 1, 1))[strata])


def _coded(labels: NDArray[np.generic], n: int, name: str) -> _Codes:
    """Number the labels by value; ``name`` is the word for them in the message if there are not ``n``."""
    if len(labels) != n:
        raise EmbprobeError(f"There are {n:,} embeddings, but {len(labels):,} values of '{name}': give one for each.")
    return np.asarray(np.unique(labels, return_inverse=True)[1], np.int64)


def _crossed(a: _Codes, b: _Codes) -> _Codes:
    """Number the combinations of ``a`` and ``b`` that occur."""
    return np.asarray(np.unique(a * (b.max() + 1) + b, return_inverse=True)[1], np.int64)
