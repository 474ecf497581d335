"""Measure how far encoders agree on the same images, what explains where they do not, and on which pairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from embprobe.comparing.result import (
    COLOR,
    COLORS,
    Agreement,
    ComparisonSettings,
    Disagreement,
    DisagreementPair,
    Explanation,
)
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.images.groups import IMAGE, Grouping
from embprobe.measures.blocks import rows_at
from embprobe.measures.cka import Kernel, chance_cka, cka_of_kernels
from embprobe.measures.disagreement import Pair, disagreement_pairs, pair_cosines, random_pairs
from embprobe.measures.knn import Positions
from embprobe.measures.mutual_knn import nearest_others, neighbor_overlap_by_chance, neighbor_overlap_effects
from embprobe.measures.natural_pairs import MIN_PARTNERS, Attribute, every_natural_pair_effect
from embprobe.measures.pair_effects import influence_scores
from embprobe.measures.rank_correlation import correlation_by_chance, cosine_ranks, rank_correlation_effects
from embprobe.measures.vectors import ScoreArray, Vectors
from embprobe.statistics import resample
from embprobe.system.text import printable
from embprobe.system.threads import side_by_side

QUERIES = 10_000
"""Of more rows, the neighbours of this many random ones are compared; they are sought among all."""
RANKED = 2_000
"""Of more rows, all pairs of this many random ones are ranked."""
EXPLAINED = 2_000
"""Of more rows, similarity is explained on this many random ones."""
CANDIDATES = 50
"""An image's nearest others by one encoder, among which pairs are sought that are far for another."""
_MATCHINGS = 200
_RANKING = 24
"""Bytes that ranking all pairs takes a pair."""
_TWO_SIDED = 1.96  # standard deviations to the 97.5th percentile of a normal distribution


@dataclass(frozen=True)
class Measured:
    """What was measured of every two encoders."""

    queries: int
    """The number of images whose neighbours were compared."""
    agreements: tuple[Agreement, ...]
    explanations: tuple[Explanation, ...]
    disagreements: tuple[Disagreement, ...]


def measure(
    embedded: EmbeddingSet,
    colors: Vectors | None,
    settings: ComparisonSettings,
    grouping: Grouping,
    *,
    seed: int,
    device: str,
    notify: Callable[[str], None],
) -> Measured:
    """Compare every two encoders.

    Args:
        embedded: Rows with a vector by each of them.
        colors: The colours of the rows ``[n, d]``, if they have pictures.
        settings: k, the labels, how many pairs.
        grouping: The groups that images are resampled in.
        seed: Decides which rows are drawn.
        device: Where large products are computed.
        notify: Called with each step in a few words as it begins.
    """
    compared = _Compared(embedded, colors, settings, grouping, seed, device)
    disagreements: list[Disagreement] = []
    agreements: list[Agreement] = []
    for a, b in itertools.combinations(embedded.vectors, 2):
        notify(f"{a} and {b}")
        agreements += compared.agreements(a, b)
        disagreements += [compared.disagreement(a, b), compared.disagreement(b, a)]
    notify("what similarity goes with")
    return Measured(len(compared.at), tuple(agreements), tuple(compared.explanations()), tuple(disagreements))


class _Compared:
    """The rows, labels and random choices of rows that all pairs of encoders share; each one's neighbours and ranks."""

    def __init__(
        self,
        embedded: EmbeddingSet,
        colors: Vectors | None,
        settings: ComparisonSettings,
        grouping: Grouping,
        seed: int,
        device: str,
    ) -> None:
        self.embedded, self._colors, self._settings, self._seed = embedded, colors, settings, seed
        rows, n, rng = embedded.rows, len(embedded.rows), np.random.default_rng(seed)
        self._labels = {name: rows.label(name) for name in settings.by if rows.has(name)}
        self.grouping, self._groups = grouping, grouping.of(rows)
        self.at, self._ranked, self._explained = (_some(n, most, rng) for most in (QUERIES, RANKED, EXPLAINED))
        candidates = min(max(settings.k, CANDIDATES), n - 2)
        random = random_pairs(n, seed=seed)

        def prepared(vectors: Vectors) -> tuple[Positions, ScoreArray, ScoreArray, Kernel]:
            near = nearest_others(vectors, candidates, at=self.at, device=device)
            return near, cosine_ranks(rows_at(vectors, self._ranked)), pair_cosines(vectors, random), Kernel.of(vectors)

        most = max(vectors.nbytes for vectors in embedded.vectors.values()) + _RANKING * len(self._ranked) ** 2
        each = side_by_side(prepared, embedded.vectors.values(), memory=most, device=device)
        self._near, self._ranks, self._random, self._kernels = (
            dict(zip(embedded.vectors, of_all, strict=True)) for of_all in zip(*each, strict=True)
        )

    def agreements(self, a: str, b: str) -> list[Agreement]:
        n, k, seed = len(self.embedded.rows), self._settings.k, self._seed
        lists = self._near[a][:, :k], self._near[b][:, :k]
        orders = self._ranks[a], self._ranks[b]
        sharing = neighbor_overlap_by_chance(*lists, n=n, at=self.at, matchings=_MATCHINGS, seed=seed)
        ranking = correlation_by_chance(*orders, matchings=_MATCHINGS, seed=seed)
        chance = [(0.0, _TWO_SIDED * chance_cka(n)), _ends(sharing), _ends(ranking)]
        near = neighbor_overlap_effects(self._near[a], self._near[b], self._groups, k=k, at=self.at)
        ranked = rank_correlation_effects(*orders, self._groups_at(self._ranked))
        measured = {
            "debiased CKA": (cka_of_kernels(self._kernels[a], self._kernels[b])[:, None], np.arange(n)),
            f"mutual {k}-NN": (influence_scores([near], self._groups_at(self.at)), self.at),
            "rank correlation": (influence_scores([ranked], self._groups_at(self._ranked)), self._ranked),
        }
        return [
            Agreement(measure, a, b, resample(scores, self._groups_at(at), seed=seed).mean(0), *ends)
            for (measure, (scores, at)), ends in zip(measured.items(), chance, strict=True)
        ]

    def disagreement(self, near: str, far: str) -> Disagreement:
        pairs = disagreement_pairs(
            self.embedded.vectors[near],
            self.embedded.vectors[far],
            self._near[near],
            at=self.at,
            most=self._settings.pairs,
            groups=None if self.grouping.label == IMAGE else self._groups,
            cosines=self._settings.cosines,
            among=(self._random[near], self._random[far]),
        )
        return Disagreement(near, far, tuple(self._described(pair) for pair in pairs))

    def explanations(self) -> list[Explanation]:
        at, seed = self._explained, self._seed
        attributes: dict[str, Attribute] = {
            name: np.array(values, np.str_)[at]
            for name, values in self._labels.items()
            if 1 < len({values[i] for i in at}) <= len(at) // 4  # a value that few images have is rarely met
        }
        if self._colors is not None:
            attributes[COLOR] = rows_at(self._colors, at)
        explained = {name: rows_at(vectors, at) for name, vectors in self.embedded.vectors.items() if name != COLORS}
        if len(at) <= MIN_PARTNERS + len(attributes) or len(explained) < 2:
            return []
        explanations, groups = [], self._groups_at(at)
        effects = every_natural_pair_effect(explained, attributes, list(attributes), groups, seed=seed)
        for attribute in attributes:
            scores = influence_scores([effects[attribute, name] for name in explained], groups)
            kept = np.isfinite(scores).all(1)
            drawn = resample(scores[kept], self._groups_at(at[kept]), seed=seed)
            for (i, a), (j, b) in itertools.combinations(enumerate(explained), 2):
                estimates = drawn.mean(i), drawn.mean(j), drawn.difference(i, j)
                explanations.append(Explanation(attribute, a, b, *estimates))
        return explanations

    def _groups_at(self, at: Positions) -> list[str]:
        return [self._groups[i] for i in at]

    def _described(self, pair: Pair) -> DisagreementPair:
        rows = self.embedded.rows.rows
        keys = printable(rows[pair.first].key), printable(rows[pair.second].key)
        same = {name: values[pair.first] == values[pair.second] for name, values in self._labels.items()}
        at = np.array([[pair.first, pair.second]])
        color = None if self._colors is None else float(pair_cosines(self._colors, at)[0])
        return DisagreementPair(keys, pair.cosines, pair.percentiles, same, color)


def _ends(by_chance: ScoreArray) -> tuple[float, float]:
    return float(by_chance.mean()), float(np.quantile(by_chance, 0.975))


def _some(n: int, most: int, rng: np.random.Generator) -> Positions:
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))
