"""Measure how far encoders agree on the same images, what explains where they do not, and on which pairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from embprobe.comparing.pairs import find_pairs, pair_attributes, share
from embprobe.comparing.result import (
    COLOR,
    COLORS,
    Agreement,
    ComparisonSettings,
    Disagreement,
    DisagreementPair,
    Explanation,
    PairContrast,
    PairSharing,
)
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.images.groups import IMAGE, Grouping
from embprobe.measures.blocks import rows_at
from embprobe.measures.cka import Kernel, chance_cka, cka_of_kernels
from embprobe.measures.disagreement import ContrastingPairs, Pair, count_pairs, draw_samples
from embprobe.measures.knn import Positions
from embprobe.measures.mutual_knn import nearest_others, neighbor_overlap_by_chance, neighbor_overlap_effects
from embprobe.measures.natural_pairs import MIN_PARTNERS, Attribute, every_natural_pair_effect
from embprobe.measures.pair_effects import influence_scores
from embprobe.measures.pairs import pair_cosines, random_pairs
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
    looked_at: int
    """The number of pairs of images among which contrasting ones were sought."""
    contrasts: tuple[PairContrast, ...]


def measure(
    embedded: EmbeddingSet,
    measured: Mapping[str, Vectors],
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
        measured: Vectors ``[n, d]`` that measure colour and the like, by attribute, if the rows have pictures.
        settings: k, the labels, how many pairs.
        grouping: The groups that images are resampled in.
        seed: Decides which rows are drawn.
        device: Where large products are computed.
        notify: Called with each step in a few words as it begins.
    """
    compared = _Compared(embedded, measured, settings, grouping, seed, device)
    disagreements: list[Disagreement] = []
    agreements: list[Agreement] = []
    contrasts: list[PairContrast] = []
    for a, b in itertools.combinations(embedded.vectors, 2):
        notify(f"{a} and {b}")
        agreements += compared.agreements(a, b)
        notify(f"pairs near for only one of {a} and {b}")
        both, contrast = compared.disagreements(a, b)
        disagreements += both
        contrasts += contrast
    notify("what similarity goes with")
    return Measured(
        len(compared.at),
        tuple(agreements),
        tuple(compared.explanations()),
        tuple(disagreements),
        count_pairs(compared.samples),
        tuple(contrasts),
    )


class _Compared:
    """The rows, labels and random choices of rows that all pairs of encoders share; each one's neighbours and ranks."""

    def __init__(
        self,
        embedded: EmbeddingSet,
        measured: Mapping[str, Vectors],
        settings: ComparisonSettings,
        grouping: Grouping,
        seed: int,
        device: str,
    ) -> None:
        self.embedded, self._measured, self._settings, self._seed = embedded, measured, settings, seed
        self._colors = measured.get(COLOR)
        rows, n, rng = embedded.rows, len(embedded.rows), np.random.default_rng(seed)
        self._labels = {name: rows.label(name) for name in settings.by if rows.has(name)}
        self.grouping, self._groups = grouping, grouping.of(rows)
        self.at, self._ranked, self._explained = (_some(n, most, rng) for most in (QUERIES, RANKED, EXPLAINED))
        self.samples = draw_samples(n, settings.sampled, seed=seed)
        random = random_pairs(n, seed=seed)

        def prepared(vectors: Vectors) -> tuple[Positions, ScoreArray, ScoreArray, Kernel]:
            near = nearest_others(vectors, settings.k, at=self.at, device=device)
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

    def disagreements(self, a: str, b: str) -> tuple[list[Disagreement], list[PairContrast]]:
        """Return the pairs near for only one of two encoders, both ways, and how what they share differs."""
        vectors = self.embedded.vectors[a], self.embedded.vectors[b]
        random = self._random[a], self._random[b]
        both = find_pairs(vectors, random, self._settings, self.samples, seed=self._seed)
        attributes = pair_attributes(self.embedded.rows, list(self._labels), self._measured)
        estimates: tuple[list[PairSharing], list[PairSharing]] = ([], [])
        contrasts: list[PairContrast] = []
        for attribute, found in share(both, attributes, self._groups).items():
            distance = attribute in self._measured
            shares, beyond = (resample(each, self._groups, seed=self._seed) for each in (found.shares, found.beyond))
            known = [(way, each) for way, each in enumerate(found.sharing) if each is not None]
            for column, (way, each) in enumerate(known):
                of_pairs = shares.mean(column), each.matched, beyond.against(column, 0)
                estimates[way].append(PairSharing(attribute, distance, *of_pairs))
            if len(known) > 1:
                contrasts.append(PairContrast(attribute, distance, a, b, beyond.difference(0, 1)))
        halves = [
            self._described_half(near, far, pairs, tuple(each))
            for (near, far), pairs, each in zip(((a, b), (b, a)), both, estimates, strict=True)
        ]
        return halves, contrasts

    def _described_half(
        self, near: str, far: str, pairs: ContrastingPairs, sharing: tuple[PairSharing, ...]
    ) -> Disagreement:
        times = np.bincount(pairs.positions.ravel(), minlength=1)
        groups = None if self.grouping.label == IMAGE else self._groups
        return Disagreement(
            near,
            far,
            (pairs.limits.near, pairs.limits.far),
            pairs.found,
            len(pairs.positions),
            int((times > 0).sum()),
            int(times.max()),
            sharing,
            tuple(self._described(pair) for pair in pairs.distinct(self._settings.pairs, groups)),
        )

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
