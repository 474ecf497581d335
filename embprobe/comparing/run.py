"""Comparing encoders on the same images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from embprobe.comparing.result import Agreement, Comparison, Disagreement, Explanation, Shown, Terms
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.session import Session
from embprobe.encoders import load_encoder
from embprobe.encoders.spec import Encoder, Floats
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.measures.cka import Kernel, chance_cka, cka_of_kernels
from embprobe.measures.disagreement import Pair, disagreement_pairs, pair_cosines, random_pairs
from embprobe.measures.knn import Positions
from embprobe.measures.mutual_knn import nearest_others, neighbor_overlap, neighbor_overlap_by_chance
from embprobe.measures.natural_pairs import MIN_PARTNERS, Attribute, natural_pairs
from embprobe.measures.rank_correlation import correlation_by_chance, cosine_ranks
from embprobe.measures.vectors import ScoreArray
from embprobe.statistics import resample

QUERIES = 10_000
"""Of more rows, the neighbours of so many random ones are compared; they are sought among all."""
RANKED = 2_000
"""Of more rows, so many random ones have all their pairs ranked."""
EXPLAINED = 2_000
"""Of more rows, so many random ones are asked what similarity goes with."""
CANDIDATES = 50
"""Nearest others of an image by one encoder, of which some may be far for another."""
COLOR = "color"
COLORS = "reference/color-histogram"
"""The encoder that measures it."""
_CONCEPT = "concept"
_MATCHINGS = 200
_TWO_SIDED = 1.96


def make_terms(
    images: Images,
    *,
    k: int = Terms.k,
    by: Sequence[str] | None = None,
    pairs: int = Terms.pairs,
    cosines: tuple[float, float] | None = None,
) -> Terms:
    """Return the terms of a comparison, after checking that every image has the labels that are named in ``by``.

    Without ``by``, labels that an image lacks are passed over. Raises as :meth:`Images.label` does.
    """
    for label in by or []:
        if label != COLOR:
            images.label(label)
    return Terms(k, tuple(by or Terms.by), pairs, cosines)


def compare(
    images: Images,
    encoders: Sequence[Encoder],
    session: Session,
    terms: Terms,
    *,
    notify: Callable[[str], None] = lambda now: None,
) -> Comparison:
    """Every two of the encoders, in their order, and the pairs on which they disagree most, in both directions.

    What no image has a label for is not asked; with labels ``concept``, these are resampled, and none is shown twice.
    ``tell`` is called with what is being done. Raises :class:`UsageError` for fewer than two encoders,
    :class:`EmbprobeError` for fewer than k + 2 images that all of them have a vector for.
    """
    if len(encoders) < 2:
        raise UsageError("A comparison needs at least two encoders: say -e twice or more.")
    names = [encoder.spec.name for encoder in encoders]
    known = COLORS in names or not images.has_pictures
    measuring = [] if known else [load_encoder(COLORS, device=session.device)]
    found = session.embed(images, [*encoders, *measuring], "extracting")
    embedded = EmbeddingSet(found.rows, {name: found.vectors[name] for name in names})
    if len(embedded.rows) < terms.k + 2:
        needed = f"Comparing the {terms.k} nearest needs at least {terms.k + 2} images"
        raise EmbprobeError(f"{needed}; there are {len(embedded.rows)}.")
    compared = _Compared(embedded, found.vectors.get(COLORS), terms, session)
    disagreements: list[Disagreement] = []
    agreements: list[Agreement] = []
    for a, b in itertools.combinations(embedded.vectors, 2):
        notify(f"{a} and {b}")
        agreements += compared.agreements(a, b)
        disagreements += [compared.disagreement(a, b), compared.disagreement(b, a)]
    notify("what similarity goes with")
    return Comparison(
        images,
        len(embedded.rows),
        {encoder.spec.name: encoder.spec.fingerprint for encoder in encoders},
        len(compared.at),
        _CONCEPT if compared.concepts else "image",
        session.seed,
        terms,
        agreements,
        compared.explanations(),
        disagreements,
    )


class _Compared:
    """What every two encoders share: rows, labels, which rows are drawn; and the neighbours and ranks of each."""

    def __init__(self, embedded: EmbeddingSet, colors: Floats | None, terms: Terms, session: Session) -> None:
        self.embedded, self._colors, self._terms, self._seed = embedded, colors, terms, session.seed
        rows, n, rng = embedded.rows, len(embedded.rows), np.random.default_rng(session.seed)
        self._labels = {name: rows.label(name) for name in terms.by if not rows.lacks(name)}
        self.concepts = rows.label(_CONCEPT) if rows.has(_CONCEPT) else None
        self._groups = self.concepts or embedded.keys()
        self.at, self._ranked, self._explained = (_some(n, most, rng) for most in (QUERIES, RANKED, EXPLAINED))
        candidates = min(max(terms.k, CANDIDATES), n - 2)
        random = random_pairs(n, seed=session.seed)
        self._near, self._ranks, self._random, self._kernels = {}, {}, {}, {}
        for name, vectors in embedded.vectors.items():
            self._near[name] = nearest_others(vectors, candidates, at=self.at, device=session.device)
            self._ranks[name] = cosine_ranks(vectors[self._ranked])
            self._random[name] = pair_cosines(vectors, random)
            self._kernels[name] = Kernel.of(vectors)

    def agreements(self, a: str, b: str) -> list[Agreement]:
        n, k, seed, everywhere = len(self.embedded.rows), self._terms.k, self._seed, np.arange(len(self.embedded.rows))
        lists = self._near[a][:, :k], self._near[b][:, :k]
        orders = self._ranks[a], self._ranks[b]
        sharing = neighbor_overlap_by_chance(*lists, n=n, at=self.at, matchings=_MATCHINGS, seed=seed)
        ranking = correlation_by_chance(*orders, matchings=_MATCHINGS, seed=seed)
        chance = [(0.0, _TWO_SIDED * chance_cka(n)), _ends(sharing), _ends(ranking)]
        found = {
            "debiased CKA": (cka_of_kernels(self._kernels[a], self._kernels[b]), everywhere),
            f"mutual {k}-NN": (neighbor_overlap(*lists), self.at),
            "rank correlation": (np.asarray((orders[0] * orders[1]).sum(1)), self._ranked),
        }
        return [
            Agreement(measure, a, b, resample(scores[:, None], self._groups_at(at), seed=seed).mean(0), *ends)
            for (measure, (scores, at)), ends in zip(found.items(), chance, strict=True)
        ]

    def disagreement(self, near: str, far: str) -> Disagreement:
        pairs = disagreement_pairs(
            self.embedded.vectors[near],
            self.embedded.vectors[far],
            self._near[near],
            at=self.at,
            most=self._terms.pairs,
            groups=self.concepts,
            cosines=self._terms.cosines,
            among=(self._random[near], self._random[far]),
        )
        return Disagreement(near, far, [self._shown(pair) for pair in pairs])

    def explanations(self) -> list[Explanation]:
        at, seed = self._explained, self._seed
        attributes: dict[str, Attribute] = {
            name: np.array(values, np.str_)[at]
            for name, values in self._labels.items()
            if 1 < len({values[i] for i in at}) <= len(at) // 4  # a value that few images have is rarely met
        }
        if self._colors is not None:
            attributes[COLOR] = self._colors[at]
        asked = {name: vectors[at] for name, vectors in self.embedded.vectors.items() if name != COLORS}
        if len(at) <= MIN_PARTNERS + len(attributes) or len(asked) < 2:
            return []
        found = []
        for of in attributes:
            scores = np.stack([natural_pairs(vectors, attributes, of, seed=seed) for vectors in asked.values()], axis=1)
            kept = np.isfinite(scores).all(1)
            drawn = resample(scores[kept], self._groups_at(at[kept]), seed=seed)
            for (i, a), (j, b) in itertools.combinations(enumerate(asked), 2):
                found.append(Explanation(of, a, b, drawn.mean(i), drawn.mean(j), drawn.difference(i, j)))
        return found

    def _groups_at(self, at: Positions) -> list[str]:
        return [self._groups[i] for i in at]

    def _shown(self, pair: Pair) -> Shown:
        rows = self.embedded.rows.rows
        same = {name: values[pair.first] == values[pair.second] for name, values in self._labels.items()}
        at = np.array([[pair.first, pair.second]])
        color = None if self._colors is None else float(pair_cosines(self._colors, at)[0])
        return Shown(rows[pair.first], rows[pair.second], pair, same, color)


def _ends(by_chance: ScoreArray) -> tuple[float, float]:
    return float(by_chance.mean()), float(np.quantile(by_chance, 0.975))


def _some(n: int, most: int, rng: np.random.Generator) -> Positions:
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))
