"""Natural pairs: on images nobody changed, does an embedding call those alike that share an attribute?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import ScoreArray, Vectors, unit

Attribute = NDArray[Any] | Sequence[AbstractSet[str]] | Sequence[str]
"""Labels ``[n]``, a measured property such as a colour histogram ``[n, d]``, or a set of words for each image."""
LEAST = 9
"""Partners of an image, and one more for each attribute held constant: with fewer a rank correlation says little."""

_DECIMALS = 7  # of a similarity: what differs by less is rounding, and a tie
_LEFT = 1e-9  # of a variance: what the controls leave of it by rounding alone
_CHUNK = 256
_Similarity = Callable[[int, int], ScoreArray]


def natural_pairs(
    vectors: Vectors, attributes: Mapping[str, Attribute], of: str, *, partners: int = 500, seed: int = 0
) -> ScoreArray:
    """For every image, how its similarity to others goes with their similarity in ``of``, the others held constant.

    ``[n, d] -> [n]``, from -1 to 1; 0 means that ``of`` makes no difference beyond what it shares with the other
    ``attributes``. Over ``partners`` other images (all, if there are fewer), it is the partial Spearman correlation
    between cos(f(x), f(x')) and the similarity of x and x' in ``of``: ranks with ties at their mean, then the
    correlation of what least squares on the ranks of the other attributes leaves of both.
    Labels are similar (1) if equal, else 0; rows of numbers by their cosine; sets of words by their intersection over
    their union, 1 if both are empty.

    The partners of image i are the images i + s for the same random shifts s (mod n), so they depend on ``n`` and
    ``seed`` alone. An image scores NaN if over its partners the embedding or ``of`` does not vary, or nothing is left
    of it by the controls; a control that does not vary is left out. So labels should be coarse: a value that few images
    have is rarely met among partners. Raises :class:`EmbprobeError` if all images score NaN, for fewer than ``LEAST``
    partners and one for each control, and for vectors without a direction.

    >>> degrees = np.deg2rad(np.arange(0, 90, 9))
    >>> x = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)  # ten images, one after another on a circle
    >>> natural_pairs(x, {"color": np.array(["red"] * 2 + ["blue"] * 8)}, "color")[0].round(4)  # 4 / sqrt(60 * 8 / 9)
    np.float64(0.5477)
    """
    x = unit(vectors)
    if of not in attributes:
        raise EmbprobeError(f"There is no attribute '{of}'; there are {', '.join(map(repr, attributes)) or 'none'}.")
    n, needed = len(x), LEAST + len(attributes) - 1
    if min(n - 1, partners) < needed:
        raise EmbprobeError(
            f"Natural pairs in {len(attributes)} attribute(s) need at least {needed + 1} images and {needed} partners "
            f"for each; there are {n} images and {partners} partners."
        )
    shifts = np.random.default_rng(seed).permutation(np.arange(1, n))[:partners]
    controls = [name for name in attributes if name != of]
    asked = [_cosine(x, shifts), *(_similarity(name, attributes[name], n, shifts) for name in (of, *controls))]
    scores = np.empty(n)
    varies = np.zeros(2, bool)
    for start in range(0, n, _CHUNK):
        end = min(start + _CHUNK, n)
        ranks = np.stack([standard_ranks(similarity(start, end)) for similarity in asked])
        varies |= ranks[:2].any(axis=(1, 2))
        scores[start:end] = _partial(np.einsum("aik,bik->iab", ranks, ranks))
    if np.isnan(scores).all():
        raise EmbprobeError(_why_nothing(of, controls, *varies.tolist()))
    return scores


def _partial(correlation: ScoreArray) -> ScoreArray:
    """The correlation of the first two variables, given the others: ``[n, k, k] -> [n]``."""
    two, controls = correlation[:, :2, :2], correlation[:, :2, 2:]
    # The pseudo-inverse drops controls that do not vary and all but one of those that say the same.
    explained = controls @ np.linalg.pinv(correlation[:, 2:, 2:], rcond=_LEFT, hermitian=True) @ controls.swapaxes(1, 2)
    left = two - explained
    variance = left[:, 0, 0] * left[:, 1, 1]
    defined = (left[:, 0, 0] > _LEFT) & (left[:, 1, 1] > _LEFT)
    found = left[:, 0, 1] / np.sqrt(np.where(defined, variance, 1.0))
    return np.asarray(np.where(defined, np.clip(found, -1, 1), np.nan))


def standard_ranks(similarity: ScoreArray) -> ScoreArray:
    """Ranks along each row, less their mean, scaled to length 1; zeros where all are equal. ``[n, k] -> [n, k]``.

    What differs by less than rounding is a tie, and ties have the mean of their ranks.
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.round(similarity, _DECIMALS), axis=1)
    ranks -= (similarity.shape[1] + 1) / 2
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    return np.asarray(ranks / np.where(length == 0, 1.0, length))


def _similarity(name: str, attribute: Attribute, n: int, shifts: NDArray[np.int64]) -> _Similarity:
    """From the first row and the one after the last, to their similarity to their partners ``[rows, partners]``."""
    if len(attribute) != n:
        raise EmbprobeError(f"There are {n:,} embeddings, but {len(attribute):,} values of the attribute '{name}'.")
    if not isinstance(attribute, np.ndarray) and isinstance(attribute[0], AbstractSet):
        return _jaccard([frozenset(words) for words in attribute], shifts)
    values = np.asarray(attribute)
    if values.ndim == 2:
        lengths = np.linalg.norm(np.asarray(values, np.float64), axis=1, keepdims=True)
        bad = int((~np.isfinite(lengths) | (lengths == 0)).sum())
        if bad:
            raise EmbprobeError(f"{bad:,} of {n:,} rows of the attribute '{name}' are zero or not finite.")
        return _cosine(values / lengths, shifts)
    if values.ndim != 1 or values.dtype.kind == "f":
        raise EmbprobeError(
            f"The attribute '{name}' is neither labels, nor rows of numbers, nor sets of words. Cut a single number an "
            "image into a few ranges first."
        )
    codes = np.unique(values, return_inverse=True)[1]
    return lambda start, end: np.equal(codes[start:end, None], codes[_partners(start, end, n, shifts)]).astype(
        np.float64
    )


def _cosine(x: ScoreArray, shifts: NDArray[np.int64]) -> _Similarity:
    around = np.concatenate([x, x])  # so that the partners at one shift of consecutive images are a slice, not a copy

    def similarity(start: int, end: int) -> ScoreArray:
        here = x[start:end]
        return np.stack([np.einsum("nd,nd->n", here, around[start + s : end + s]) for s in shifts], axis=1)

    return similarity


def _jaccard(sets: Sequence[frozenset[str]], shifts: NDArray[np.int64]) -> _Similarity:
    code = {word: i for i, word in enumerate(sorted(set().union(*sets)))}
    nothing = len(code)  # a last word, which no image has, fills up shorter sets
    size = np.array([len(words) for words in sets])
    has = np.full((len(sets), int(size.max())), nothing)
    for i, words in enumerate(sets):
        has[i, : len(words)] = [code[word] for word in words]

    def similarity(start: int, end: int) -> ScoreArray:
        rows, here = _partners(start, end, len(sets), shifts), np.arange(end - start)[:, None]
        asked = np.zeros((end - start, nothing + 1), bool)
        asked[here, has[start:end]] = True
        asked[:, nothing] = False
        common = np.zeros(rows.shape)
        for k in range(has.shape[1]):  # a word at a time, so that no array is larger than rows by partners
            common += asked[here, has[rows, k]]
        union = size[start:end, None] + size[rows] - common
        return np.asarray(np.where(union == 0, 1.0, common / np.maximum(union, 1)))

    return similarity


def _partners(start: int, end: int, n: int, shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray((np.arange(start, end)[:, None] + shifts) % n)


def _why_nothing(of: str, controls: Sequence[str], embedding_varies: bool, attribute_varies: bool) -> str:
    if not embedding_varies:
        return "All embeddings coincide, so no image is more similar than another. Has the encoder collapsed?"
    if not attribute_varies:
        return (
            f"No two pairs of images differ in how similar they are in '{of}', so nothing can go with it. Take an "
            "attribute whose values are neither all equal nor all different."
        )
    held = ", ".join(f"'{name}'" for name in controls)
    return f"For no image anything is left to compare, once {held or 'nothing'} is held constant beside '{of}'."
