"""Natural pairs: among unchanged images, are those that share an attribute more similar in an embedding?"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.blocks import Blocks, blocks_of
from embprobe.measures.pair_effects import PairEffects, PairTally
from embprobe.measures.vectors import ScoreArray, Vectors, check_directions, l2_normalize, lack_direction, lengths

Attribute = NDArray[Any] | Blocks | Sequence[AbstractSet[str]] | Sequence[str]
"""One value per image: labels ``[n]``, measured properties such as colour histograms ``[n, d]``, or sets of words."""
MIN_PARTNERS = 9
"""Partners an image needs, plus one for each attribute held constant: with fewer a rank correlation says little."""

_DECIMALS = 7  # of a similarity: smaller differences are rounding, and count as ties
_ROUNDING = 1e-9  # share of a variance that rounding alone leaves when the controls explain all of it
_CHUNK = 256
_WIDENED = 2**25
"""Numbers of an encoder up to which its directions are held in float64, twice: 512 MiB."""
_Similarity = Callable[[int, int], ScoreArray]


def natural_pairs(
    vectors: Vectors, attributes: Mapping[str, Attribute], attribute: str, *, partners: int = 500, seed: int = 0
) -> ScoreArray:
    """Correlate, for each image, its similarity to other images with their similarity in one attribute.

    It is the partial Spearman correlation between cos(f(x), f(x')) and the similarity of x and x' in ``attribute``,
    over the partners x' of an image x, with the similarity in the other ``attributes`` held constant: ranks with ties
    at their mean, then the correlation of what least squares on the ranks of the other attributes leaves of both.
    Labels are similar (1) if equal, else 0; rows of numbers by their cosine; sets of words by their intersection over
    their union, 1 if both are empty. Labels should be coarse: a value that few images have is rarely met among
    partners.

    The partners of image i are the images i + s for the same random shifts s (mod n), so they depend on ``n`` and
    ``seed`` alone.

    Args:
        vectors: ``[n, d]``.
        attributes: By name, a value for each of the n images.
        attribute: The name of the one to correlate with; the others are controls.
        partners: The number of other images that each is compared with; all, if there are fewer.
        seed: Decides which partners.

    Returns:
        Scores ``[n]`` from −1 to 1; 0 means that the attribute makes no difference beyond what it shares with the
        controls. NaN where over an image's partners the embedding or the attribute does not vary, or the controls leave
        nothing of it; a control that does not vary is left out. Their mean is the estimate; its interval needs
        :func:`natural_pair_effects`, because a pair's score belongs to both images.

    Raises:
        EmbprobeError: If all images score NaN, for fewer than ``MIN_PARTNERS`` partners and one for each control, and
            for vectors without a direction.

    Example:
        >>> degrees = np.deg2rad(np.arange(0, 90, 9))
        >>> x = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)  # ten images, one after another on a circle
        >>> colors = np.array(["red"] * 2 + ["blue"] * 8)
        >>> natural_pairs(x, {"color": colors}, "color")[0].round(4)  # 4 / sqrt(60 * 8 / 9)
        np.float64(0.5477)
    """
    return _measure({"": vectors}, attributes, [attribute], partners, seed)[0][attribute, ""]


def natural_pair_effects(
    vectors: Vectors,
    attributes: Mapping[str, Attribute],
    attribute: str,
    groups: Sequence[str],
    *,
    partners: int = 500,
    seed: int = 0,
) -> PairEffects:
    """Return the scores of :func:`natural_pairs` with the effect of each image on the others', for intervals.

    With u and v what the controls leave of the two ranks, scaled to variance 1, the influence of a partner on a
    correlation r is uv - r (u² + v²) / 2 (Devlin et al. 1975). That a partner moves the others' ranks adds about 1 % to
    the spread and is left out.

    Args:
        vectors: ``[n, d]``.
        attributes: As for :func:`natural_pairs`.
        attribute: As for :func:`natural_pairs`.
        groups: The resampled group of each image, ``[n]``.
        partners: As for :func:`natural_pairs`.
        seed: As for :func:`natural_pairs`.
    """
    every = every_natural_pair_effect({"": vectors}, attributes, [attribute], groups, partners=partners, seed=seed)
    return every[attribute, ""]


def every_natural_pair_effect(
    vectors: Mapping[str, Vectors],
    attributes: Mapping[str, Attribute],
    targets: Sequence[str],
    groups: Sequence[str],
    *,
    partners: int = 500,
    seed: int = 0,
) -> dict[tuple[str, str], PairEffects]:
    """Return :func:`natural_pair_effects` for several attributes and encoders, whose similarities are ranked once.

    Args:
        vectors: By encoder, ``[n, d]`` of the same rows.
        attributes: As for :func:`natural_pairs`.
        targets: The attributes to correlate with; for each the others are controls.
        groups: The resampled group of each image, ``[n]``.
        partners: As for :func:`natural_pairs`.
        seed: As for :func:`natural_pairs`.

    Returns:
        The effects by attribute and encoder.
    """
    tallies = {key: PairTally(groups, seed=seed) for key in itertools.product(targets, vectors)}
    scores, partners = _measure(vectors, attributes, targets, partners, seed, tallies)
    free = partners - 1 - len(attributes)  # degrees of freedom of a correlation
    return {key: tally.effects(scores[key], partners=free) for key, tally in tallies.items()}


_Tallies = Mapping[tuple[str, str], PairTally]


def _measure(
    vectors: Mapping[str, Vectors],
    attributes: Mapping[str, Attribute],
    targets: Sequence[str],
    partners: int,
    seed: int,
    tallies: _Tallies | None = None,
) -> tuple[dict[tuple[str, str], ScoreArray], int]:
    """Return the scores by attribute and encoder, and the number of partners; influences are added to ``tallies``."""
    for each in vectors.values():
        check_directions(each, min_rows=2)
    for attribute in targets:
        if attribute not in attributes:
            known = ", ".join(map(repr, attributes)) or "none"
            raise EmbprobeError(f"There is no attribute '{attribute}'; there are {known}.")
    n, needed = len(next(iter(vectors.values()))), MIN_PARTNERS + len(attributes) - 1
    if min(n - 1, partners) < needed:
        raise EmbprobeError(
            f"Natural pairs in {len(attributes)} attribute(s) need at least {needed + 1} images and {needed} partners "
            f"for each; there are {n} images and {partners} partners."
        )
    shifts = np.random.default_rng(seed).permutation(np.arange(1, n))[:partners]
    by_encoder = {name: _cosine(each, shifts) for name, each in vectors.items()}
    by_attribute = {name: _similarity(name, values, n, shifts) for name, values in attributes.items()}
    scores = {key: np.empty(n) for key in itertools.product(targets, vectors)}
    attributes_vary: set[str] = set()
    encoders_vary: set[str] = set()
    for start in range(0, n, _CHUNK):
        end = min(start + _CHUNK, n)
        ranks_of = {name: standard_ranks(similarity(start, end)) for name, similarity in by_attribute.items()}
        attributes_vary |= {name for name, ranks in ranks_of.items() if ranks.any()}
        for encoder, similarity in by_encoder.items():
            nearness = standard_ranks(similarity(start, end))
            encoders_vary |= {encoder} if nearness.any() else set()
            for attribute in targets:
                held = [ranks for name, ranks in ranks_of.items() if name != attribute]
                ranks = np.stack([nearness, ranks_of[attribute], *held])
                correlation = np.einsum("aik,bik->iab", ranks, ranks)
                scores[attribute, encoder][start:end] = here = _partial(correlation)
                if tallies is not None:
                    positions, influence = _partners(start, end, n, shifts), _influence(ranks, correlation, here)
                    tallies[attribute, encoder].add(np.arange(start, end), positions, influence)
    for attribute, encoder in scores:
        if np.isnan(scores[attribute, encoder]).all():
            controls = [name for name in attributes if name != attribute]
            raise EmbprobeError(
                _why_all_nan(attribute, controls, encoder in encoders_vary, attribute in attributes_vary)
            )
    return scores, len(shifts)


def _partial(correlation: ScoreArray) -> ScoreArray:
    """Correlate the first two of k variables, given the others. ``[n, k, k] -> [n]``."""
    residual = correlation[:, :2, :2] - correlation[:, :2, 2:] @ _slopes(correlation)
    variance = residual[:, 0, 0] * residual[:, 1, 1]
    defined = (residual[:, 0, 0] > _ROUNDING) & (residual[:, 1, 1] > _ROUNDING)
    partial = residual[:, 0, 1] / np.sqrt(np.where(defined, variance, 1.0))
    return np.asarray(np.where(defined, np.clip(partial, -1, 1), np.nan))


def _slopes(correlation: ScoreArray) -> ScoreArray:
    """Regress the first two of k variables on the others. ``[n, k, k] -> [n, k - 2, 2]``."""
    # The pseudo-inverse drops controls that do not vary and all but one of those that say the same.
    inverse = np.linalg.pinv(correlation[:, 2:, 2:], rcond=_ROUNDING, hermitian=True)
    return np.asarray(inverse @ correlation[:, 2:, :2])


def _influence(ranks: ScoreArray, correlation: ScoreArray, scores: ScoreArray) -> ScoreArray:
    """Return the influence of each partner on each row's score, 0 in a row without one. ``[k, n, p] -> [n, p]``."""
    residual = ranks[:2] - np.einsum("cip,icb->bip", ranks[2:], _slopes(correlation))
    length = np.linalg.norm(residual, axis=2, keepdims=True)
    u, v = residual / np.where(length == 0, 1.0, length)
    r = scores[:, None]
    return np.asarray(np.nan_to_num(ranks.shape[2] * (u * v - r * (u * u + v * v) / 2)))


def standard_ranks(similarity: ScoreArray) -> ScoreArray:
    """Rank the values of each row, centre the ranks and scale them to length 1. ``[n, k] -> [n, k]``.

    Zeros where all values are equal. Values that differ by less than rounding tie, and ties have the mean of their
    ranks.
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.round(similarity, _DECIMALS), axis=1)
    ranks -= (similarity.shape[1] + 1) / 2
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    return np.asarray(ranks / np.where(length == 0, 1.0, length))


def _similarity(name: str, attribute: Attribute, n: int, shifts: NDArray[np.int64]) -> _Similarity:
    """Return a function of start and end that gives those rows' similarities to their partners ``[rows, partners]``."""
    if len(attribute) != n:
        raise EmbprobeError(f"There are {n:,} embeddings, but {len(attribute):,} values of the attribute '{name}'.")
    if not isinstance(attribute, np.ndarray | Blocks) and isinstance(attribute[0], AbstractSet):
        return _jaccard([frozenset(words) for words in attribute], shifts)
    values = attribute if isinstance(attribute, Blocks) else np.asarray(attribute)
    if values.ndim == 2:
        bad = int(lack_direction(values).sum())
        if bad:
            raise EmbprobeError(f"{bad:,} of {n:,} rows of the attribute '{name}' are zero or not finite.")
        return _cosine(values, shifts)
    if values.ndim != 1 or values.dtype.kind == "f":
        raise EmbprobeError(
            f"The attribute '{name}' is neither labels, nor rows of numbers, nor sets of words. Cut a single number an "
            "image into a few ranges first."
        )
    codes = np.unique(values, return_inverse=True)[1]
    return lambda start, end: np.equal(codes[start:end, None], codes[_partners(start, end, n, shifts)]).astype(
        np.float64
    )


def _cosine(vectors: Vectors, shifts: NDArray[np.int64]) -> _Similarity:
    if vectors.size > _WIDENED:
        return _cosine_of_many(vectors, shifts)
    x = l2_normalize(vectors)
    around = np.concatenate([x, x])  # so that the partners at one shift of consecutive images are a slice, not a copy

    def similarity(start: int, end: int) -> ScoreArray:
        here = x[start:end]
        return np.stack([np.einsum("nd,nd->n", here, around[start + s : end + s]) for s in shifts], axis=1)

    return similarity


def _cosine_of_many(vectors: Vectors, shifts: NDArray[np.int64]) -> _Similarity:
    """Read partners when they are compared, so that no more than the lengths of all rows are held in float64."""
    n = len(vectors)
    norms = np.concatenate([lengths(block) for _, block in blocks_of(vectors)])

    def similarity(start: int, end: int) -> ScoreArray:
        here, cosines = l2_normalize(vectors[start:end], min_rows=1), np.empty((end - start, len(shifts)))
        for column, first in enumerate(((start + shifts) % n).tolist()):
            behind = first + end - start - n  # partners from the front again, if any
            partners = vectors[first : first + end - start]
            if behind > 0:
                partners = np.concatenate([partners, vectors[:behind]])
            cosines[:, column] = np.einsum("nd,nd->n", here, partners, dtype=np.float64)
            cosines[:, column] /= norms[_partners(start, end, n, shifts[column : column + 1])[:, 0]]
        return cosines

    return similarity


def _jaccard(sets: Sequence[frozenset[str]], shifts: NDArray[np.int64]) -> _Similarity:
    code = {word: i for i, word in enumerate(sorted(set().union(*sets)))}
    padding = len(code)  # a word that no image has fills up shorter sets
    size = np.array([len(words) for words in sets])
    words_of = np.full((len(sets), int(size.max())), padding)
    for i, words in enumerate(sets):
        words_of[i, : len(words)] = [code[word] for word in words]

    def similarity(start: int, end: int) -> ScoreArray:
        rows, here = _partners(start, end, len(sets), shifts), np.arange(end - start)[:, None]
        has_word = np.zeros((end - start, padding + 1), bool)
        has_word[here, words_of[start:end]] = True
        has_word[:, padding] = False
        common = np.zeros(rows.shape)
        for k in range(words_of.shape[1]):  # a word at a time, so that no array is larger than rows by partners
            common += has_word[here, words_of[rows, k]]
        union = size[start:end, None] + size[rows] - common
        return np.asarray(np.where(union == 0, 1.0, common / np.maximum(union, 1)))

    return similarity


def _partners(start: int, end: int, n: int, shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of the partners of rows ``start`` to ``end``, ``[rows, partners]``."""
    return np.asarray((np.arange(start, end)[:, None] + shifts) % n)


def _why_all_nan(attribute: str, controls: Sequence[str], embedding_varies: bool, attribute_varies: bool) -> str:
    if not embedding_varies:
        return "All embeddings coincide, so no image is more similar than another. Has the encoder collapsed?"
    if not attribute_varies:
        return (
            f"No two pairs of images differ in how similar they are in '{attribute}', so nothing can go with it. Take "
            "an attribute whose values are neither all equal nor all different."
        )
    held = ", ".join(f"'{name}'" for name in controls)
    return f"For no image anything is left to compare, once {held or 'nothing'} is held constant beside '{attribute}'."
