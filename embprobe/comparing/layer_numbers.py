"""Read a comparison of layers from scores: values with intervals, best pairs, nearest layers, unlike neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embprobe.comparing.layer_result import BestPair, ComparedLayers, LayerChange, LayerSimilarity, NearestLayers
from embprobe.measures.vectors import ScoreArray
from embprobe.statistics import Estimate, Resampled, resample
from embprobe.statistics.estimate import LEVEL


@dataclass(frozen=True, eq=False)
class LayerScores:
    """A measure of every layer of ``a`` with every layer of ``b``, bootstrapped over groups of images.

    One set of resamples serves all pairs of layers, so which pair is the best is known of each resample.
    """

    measure: str
    a: str
    b: str
    of_a: ComparedLayers
    of_b: ComparedLayers
    drawn: Resampled
    estimates: tuple[Estimate, ...]
    """Of every pair of layers, row by row."""

    @classmethod
    def of(
        cls,
        measure: str,
        names: tuple[str, str],
        layers: tuple[ComparedLayers, ComparedLayers],
        scores: ScoreArray,
        groups: Sequence[str],
        *,
        seed: int,
        unit: str,
    ) -> LayerScores:
        """Bootstrap scores ``[n, L_a, L_b]`` over the ``groups`` of images, ``[n]``."""
        drawn = resample(scores.reshape(len(scores), -1), groups, seed=seed, unit=unit)
        estimates = tuple(drawn.mean(i) for i in range(drawn.sums.shape[1]))
        return cls(measure, *names, *layers, drawn, estimates)

    @property
    def values(self) -> ScoreArray:
        """The measure of every pair of layers, ``[L_a, L_b]``."""
        return self._matrix(np.array([each.estimate for each in self.estimates]))

    def similarity(self, chance: float, spread: float | None) -> LayerSimilarity:
        """Return the values of all pairs with their intervals, beside what chance gives."""
        ends = np.array([(each.estimate, each.low, each.high) for each in self.estimates]).T
        values, low, high = (tuple(map(tuple, self._matrix(each).tolist())) for each in ends)
        return LayerSimilarity(self.measure, self.a, self.b, values, low, high, chance, spread)

    def best(self, untrained: ScoreArray | None) -> BestPair:
        """Return the two layers that agree most.

        Args:
            untrained: The most that each layer of ``a`` and each of ``b`` agrees with one of an untrained network,
                ``[L_a + L_b]``.
        """
        at = int(np.argmax([each.estimate for each in self.estimates]))
        i, j = divmod(at, len(self.of_b.layers))
        most = None if untrained is None else float(max(untrained[i], untrained[len(self.of_a.layers) + j]))
        share = float((self.drawn.replicates.argmax(1) == at).mean())
        layers = self.of_a.layers[i], self.of_b.layers[j]
        return BestPair(self.measure, self.a, self.b, layers, self.estimates[at], share, most)

    def nearest(self) -> tuple[NearestLayers, NearestLayers]:
        """Return the nearest layer of ``b`` to each of ``a``, and of ``a`` to each of ``b``.

        Intervals are quantiles over the resamples, each of which has nearest layers of its own.
        """
        ends = np.array([(each.estimate, each.low, each.high) for each in self.estimates]).T
        ends = ends.reshape(3, *self.values.shape)
        replicates = self.drawn.replicates.reshape(-1, *self.values.shape)
        return (
            _nearest(self.measure, (self.a, self.b), (self.of_a, self.of_b), ends, replicates),
            _nearest(
                self.measure, (self.b, self.a), (self.of_b, self.of_a), ends.swapaxes(1, 2), replicates.swapaxes(1, 2)
            ),
        )

    def change(self) -> LayerChange | None:
        """Return the neighbouring layers of an encoder, ``a`` and ``b``, that agree least; None of a single layer."""
        layers = self.of_a.layers
        if len(layers) < 2:
            return None
        neighbors = [self.estimates[i * len(layers) + i + 1] for i in range(len(layers) - 1)]
        at = int(np.argmin([each.estimate for each in neighbors]))
        ends = self.estimates[len(layers) - 1]
        return LayerChange(self.measure, self.a, (layers[at], layers[at + 1]), neighbors[at], ends)

    def _matrix(self, values: ScoreArray) -> ScoreArray:
        return values.reshape(len(self.of_a.layers), len(self.of_b.layers))


def _nearest(
    measure: str,
    names: tuple[str, str],
    both: tuple[ComparedLayers, ComparedLayers],
    ends: ScoreArray,
    replicates: ScoreArray,
) -> NearestLayers:
    """Find the nearest layer of the second encoder to each of the first.

    ``ends`` has estimates and the ends of their intervals, ``[3, L_a, L_b]``; replicates are ``[b, L_a, L_b]``.
    """
    of_a, of_b = both
    layers, quantiles = np.array(of_b.layers), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    at = ends[0].argmax(1)
    own, drawn = layers[at], layers[replicates.argmax(2)]
    low, high = np.quantile(drawn, quantiles, axis=0, method="inverted_cdf").astype(int).tolist()

    def deeper(nearest: NDArray[np.int64]) -> ScoreArray:
        return np.asarray((nearest / of_b.depth - np.array(of_a.layers) / of_a.depth).mean(-1))

    by_low, by_high = np.quantile(deeper(drawn), quantiles).tolist()
    values, values_low, values_high = map(tuple, ends[:, np.arange(len(at)), at].tolist())
    return NearestLayers(
        measure,
        *names,
        layers=of_a.layers,
        nearest=tuple(own.tolist()),
        low=tuple(low),
        high=tuple(high),
        values=values,
        values_low=values_low,
        values_high=values_high,
        deeper=float(deeper(own)),
        deeper_low=by_low,
        deeper_high=by_high,
    )
