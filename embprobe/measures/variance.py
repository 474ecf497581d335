"""Variance shares: in a crossed design, how much of the embeddings' variance does each attribute explain?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors, l2_normalize
from embprobe.system.threads import matrix_product

REST = "rest"
"""The name of the share that no single factor explains: interactions and noise."""
COLLAPSED = 1e-9
"""Smallest variance of vectors of length 1; what is below it is rounding, and all embeddings coincide."""

_BATCH = 4_000_000  # numbers held at once
_LEAST_P = 1e-9  # of a permutation test: nobody counted farther
_FactorSet = frozenset[int]


def variance_shares(vectors: Vectors, factors: Mapping[str, LabelArray], *, unit: str) -> dict[str, ScoreArray]:
    """Divide the variance of a crossed design among its factors, as one score per level of ``unit``.

    Rows are brought to length 1 first: the geometry is that of the cosine, as everywhere in embprobe. With x and x' two
    rows,

        component of f = E[x.x' | they share f alone] - E[x.x' | they share nothing]
        total          = E|x|^2                       - E[x.x' | they share nothing]

    and a share is component / total. Component and total are unbiased under the crossed random-effects model, and do
    not depend on where the origin lies (Koch 1967, symmetric sums; in a balanced design the same as the estimator of
    the analysis of variance). So a share may come out a little below 0 where the factor explains nothing. "rest" is 1
    minus the shares: interactions and noise.

    A share is a ratio over all rows, not a mean over images. So the scores are its jackknife pseudo-values, C t -
    (C - 1) t_(-c), with t_(-c) the share without level c of ``unit``, of C (Tukey 1958; Efron and Stein 1981). Their
    mean is the estimate, corrected for bias to first order; their spread is that of the estimate over other draws of
    ``unit``, with the levels of the other factors as they are.

    Args:
        vectors: ``[n, d]``, exactly one row for each combination of the factors' levels.
        factors: By name, the level of each row, ``[n]``.
        unit: The factor whose levels are resampled, such as the concept.

    Returns:
        By factor, and for "rest", scores ``[levels of unit]`` in sorted order of the levels; their mean is the share.

    Raises:
        EmbprobeError: If a combination is missing or double, for fewer than 3 levels of ``unit`` or 2 of another
            factor, for vectors without a direction, and if all embeddings coincide.

    Example:
        >>> x = np.repeat(np.eye(3), 2, axis=0)  # an encoder that sees nothing but the concept
        >>> concept, style = np.repeat(["cat", "dog", "emu"], 2), np.tile(["photo", "sketch"], 3)
        >>> shares = variance_shares(x, {"concept": concept, "style": style}, unit="concept")
        >>> {name: (scores.round(6) + 0).tolist() for name, scores in shares.items()}
        {'concept': [1.0, 1.0, 1.0], 'style': [0.0, 0.0, 0.0], 'rest': [0.0, 0.0, 0.0]}
    """
    _check_name(unit, factors)
    table = _crossed(vectors, factors, min_levels={unit: 3})
    names = [unit, *(name for name in factors if name != unit)]
    table = np.moveaxis(table, list(factors).index(unit), 0)
    count = table.shape[0]
    # the first entry of each array is of all rows; then come those without one level of the unit
    levels = [np.array([count] + [count - 1] * count), *(np.full(count + 1, size) for size in table.shape[1:-1])]
    shares = _shares(_squares(table), levels, names)
    return {name: count * shares[name][0] - (count - 1) * shares[name][1:] for name in (*factors, REST)}


def plain_shares(vectors: Vectors, factors: Mapping[str, LabelArray]) -> dict[str, float]:
    """Return the shares of :func:`variance_shares` themselves, over all rows and without the jackknife.

    Example:
        >>> x = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> first, second = np.array(["a", "a", "b", "b"]), np.array(["c", "d", "c", "d"])
        >>> plain_shares(x, {"first": first, "second": second})
        {'first': 1.0, 'second': 0.0, 'rest': 0.0}
    """
    table = _crossed(vectors, factors, min_levels={})
    squares = {shared: square[:1] for shared, square in _squares(table).items()}
    shares = _shares(squares, [np.array([size]) for size in table.shape[:-1]], list(factors))
    return {name: float(share[0]) for name, share in shares.items()}


def permutation_p(
    vectors: Vectors, factors: Mapping[str, LabelArray], factor: str, *, permutations: int = 999, seed: int = 0
) -> float:
    """Test by permutation whether a factor makes a difference to the embeddings.

    Its levels are permuted within every combination of the other factors' levels, so that what these explain stays
    (restricted permutation: Anderson and ter Braak 2003). The statistic is the scatter of the means of its levels.

    Args:
        vectors: ``[n, d]``, in the design of :func:`variance_shares`.
        factors: By name, the level of each row, ``[n]``.
        factor: The name of the factor to test.
        permutations: The number of random permutations.
        seed: The same seed gives the same permutations.

    Returns:
        The p-value of the hypothesis that the factor makes no difference: the share of permutations with at least as
        much scatter, the observed one counted in (Phipson and Smyth 2010). If no permutation has, a bound for all
        permutations takes its place where it is smaller, so that a large effect stays significant however many tests
        it is corrected for. Sums over many cells are close to normal, their scatter to a sum of chi-squares with
        weights λ, those of the covariance of a level's sum and L - 1 degrees of freedom each for L levels; p is at most

            min over t of exp(-t scatter) Π (1 - 2 t λ)^(-(L - 1) / 2)        (Chernoff 1952)

        In the worst case tried, levels of which one is unlike all others in 6 to 240 cells, the bound was 2 to 100
        times the share of permutations, down to 1e-5. It stops at 1e-9.

    Raises:
        EmbprobeError: For fewer than one permutation, and as :func:`variance_shares` does.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.0, 1.0]] * 6)
        >>> image, style = np.repeat(list("abcdef"), 2), np.tile(["photo", "sketch"], 6)
        >>> permutation_p(x, {"image": image, "style": style}, "style") < 0.05  # 2 of 2^6 permutations do as well
        True
    """
    from scipy.sparse import csr_array

    _check_name(factor, factors)
    if permutations < 1:
        raise EmbprobeError(f"A permutation test needs at least one permutation; {permutations} were asked for.")
    table = np.moveaxis(_crossed(vectors, factors, min_levels={}), list(factors).index(factor), -2)
    levels, d = table.shape[-2:]
    cells = table.reshape(-1, levels, d)
    cells = cells - cells.mean(1, keepdims=True)  # permuting within a cell cannot change its mean
    rows = cells.reshape(-1, d)
    observed = float(np.square(cells.sum(0)).sum())
    # differences below 1e-10 of a vector's length are rounding: an encoder that is blind to the factor gets p = 1
    enough = observed * (1 - 1e-9) - levels * (1e-10 * len(cells)) ** 2
    rng = np.random.default_rng(seed)
    batch = max(1, _BATCH // max(len(rows), levels * d))
    extreme = 0
    for start in range(0, permutations, batch):
        size = min(batch, permutations - start)
        order = rng.permuted(np.broadcast_to(np.arange(levels), (size, len(cells), levels)), axis=2)
        taken = (order + levels * np.arange(len(cells))[:, None]).transpose(0, 2, 1)  # [permutation, level, cell]
        bounds = np.arange(0, taken.size + 1, len(cells))
        sums = csr_array((np.ones(taken.size), taken.ravel(), bounds), shape=(size * levels, len(rows))) @ rows
        scatter = np.square(sums).reshape(size, -1).sum(1)
        extreme += int((scatter >= enough).sum())
    p = (1 + extreme) / (1 + permutations)
    return p if extreme else min(p, _bound(observed, rows, levels))


def _bound(scatter: float, rows: ScoreArray, levels: int) -> float:
    """Bound the share of permutations with at least this scatter, from rows ``[n, d]`` about the mean of their cell."""
    products = matrix_product(rows.T, rows) if rows.shape[1] <= len(rows) else matrix_product(rows, rows.T)
    values = np.linalg.eigvalsh(products)
    weights = values[values > 0] / values[-1]  # in units of the largest, as the scatter
    scatter *= (levels - 1) / values[-1]
    low, high = 0.0, 0.5
    for _ in range(60):  # the exponent is convex in t: halve to where its slope is 0
        t = (low + high) / 2
        rising = (levels - 1) * (weights / (1 - 2 * t * weights)).sum() > scatter
        low, high = (low, t) if rising else (t, high)
    exponent = -low * scatter - (levels - 1) / 2 * np.log1p(-2 * low * weights).sum()
    return max(float(np.exp(min(exponent, 0.0))), _LEAST_P)


def _shares(
    squares: Mapping[_FactorSet, ScoreArray], levels: Sequence[ScoreArray], names: Sequence[str]
) -> dict[str, ScoreArray]:
    """Compute the shares from the sums of :func:`_squares` and each factor's number of levels, for each set of rows."""
    every = frozenset(range(len(names)))

    def mean_product(shared: _FactorSet) -> ScoreArray:
        """Compute E[x.x'] over pairs of rows that share these factors and no other: inclusion and exclusion."""
        total = sum((-1) ** len(more - shared) * square for more, square in squares.items() if more >= shared)
        pairs = math.prod(levels) * math.prod(levels[i] - 1 for i in every - shared)
        return np.asarray(total / pairs)

    nothing = mean_product(frozenset())
    total = mean_product(every) - nothing
    if (total < COLLAPSED).any():
        raise EmbprobeError(
            "Without one level of the resampled factor all embeddings coincide, so there is no variance to share out. "
            "Has the encoder collapsed?"
        )
    shares = {name: (mean_product(frozenset([i])) - nothing) / total for i, name in enumerate(names)}
    return {**shares, REST: 1 - np.sum(list(shares.values()), axis=0)}


def _squares(table: ScoreArray) -> dict[_FactorSet, ScoreArray]:
    """Sum x.x' over all pairs of rows that share at least these factors, for every set of factors: ``[1 + C]`` each.

    A pair's products add up to the squared length of a marginal sum of rows, so no pair is ever formed. The first
    entry is of all rows, the others without one of the C levels of the first factor: with s the marginal sum of all
    rows and s_c that of level c, |s - s_c|^2 = |s|^2 - 2 s.s_c + |s_c|^2.
    """
    squares: dict[_FactorSet, ScoreArray] = {}
    others = range(1, table.ndim - 1)
    for shared in (set(some) for k in range(len(others) + 1) for some in combinations(others, k)):
        by_level = table.sum(axis=tuple(set(others) - shared)).reshape(len(table), -1)
        overall = by_level.sum(0)
        own = np.square(by_level).sum(1)
        square = overall @ overall
        squares[frozenset(shared)] = np.concatenate([[square], square - 2 * by_level @ overall + own])
        squares[frozenset({0, *shared})] = np.concatenate([[own.sum()], own.sum() - own])
    return squares


def _crossed(vectors: Vectors, factors: Mapping[str, LabelArray], *, min_levels: Mapping[str, int]) -> ScoreArray:
    """Arrange unit rows, less their mean, in a table with an axis for each factor: ``[levels, ..., levels, d]``."""
    x = l2_normalize(vectors)
    if len(factors) < 2:
        raise EmbprobeError(f"Variance is shared out among two factors or more; there are {len(factors)}.")
    if REST in factors:
        raise EmbprobeError(f"No factor may be called '{REST}': it names what no factor explains.")
    columns = {name: np.asarray(labels) for name, labels in factors.items()}
    for name, labels in columns.items():
        if labels.shape != (len(x),):
            raise EmbprobeError(f"There are {len(x):,} embeddings, but {len(labels):,} values of '{name}'.")
        needed, values = min_levels.get(name, 2), len(np.unique(labels))
        if values < needed:
            raise EmbprobeError(f"The factor '{name}' needs at least {needed} different values; it has {values}.")
    levels, coded = zip(*(np.unique(labels, return_inverse=True) for labels in columns.values()), strict=True)
    _check_combinations(columns, levels)
    # Centred, because a mean, however large, changes no share and costs digits.
    x = x - x.mean(0)
    if float(np.square(x).sum()) / len(x) < COLLAPSED:
        raise EmbprobeError("All embeddings coincide, so there is no variance to share out. Has the encoder collapsed?")
    order = np.lexsort(coded[::-1])
    return np.asarray(x[order].reshape(*(len(values) for values in levels), -1))


def _check_combinations(columns: Mapping[str, LabelArray], levels: Sequence[LabelArray]) -> None:
    """Raise unless each combination of levels occurs exactly once."""
    occurrences = Counter(zip(*(labels.tolist() for labels in columns.values()), strict=True))
    expected = math.prod(len(values) for values in levels)
    if len(occurrences) < expected:
        combinations_of_levels = product(*(values.tolist() for values in levels))
        first = next(combination for combination in combinations_of_levels if combination not in occurrences)
        raise EmbprobeError(
            f"{expected - len(occurrences):,} of {expected:,} combinations have no image, e.g. "
            f"{_in_words(columns, first)}. "
            "Variance shares need every combination once: take the values that occur with all others."
        )
    combination, count = occurrences.most_common(1)[0]
    if count > 1:
        raise EmbprobeError(
            f"There are {count} images with {_in_words(columns, combination)}. Variance shares need every combination "
            "once: keep one of them, or add a factor that tells them apart."
        )


def _in_words(columns: Mapping[str, LabelArray], combination: Sequence[object]) -> str:
    """Write a combination of levels for a message."""
    return ", ".join(f"{name} '{value}'" for name, value in zip(columns, combination, strict=True))


def _check_name(name: str, factors: Mapping[str, LabelArray]) -> None:
    if name not in factors:
        raise EmbprobeError(f"There is no factor '{name}'; there are {', '.join(map(repr, factors)) or 'none'}.")
