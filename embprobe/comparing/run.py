"""Comparing encoders on the same images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from embprobe.comparing.result import (
    Agreement,
    Comparison,
    ComparisonSettings,
    Disagreement,
    DisagreementPair,
    Explanation,
    ImagesSummary,
    rows_by_key,
)
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.session import Session
from embprobe.encoders import load_encoder
from embprobe.encoders.spec import Encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.groups import CONCEPT, IMAGE, MOTIF, Grouping, choose_grouping
from embprobe.images.rows import Images, Row
from embprobe.images.unlabelled import MAX_UNLABELLED, lacking_keys, may_lack, without_unlabelled
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
from embprobe.system.text import printable, visible
from embprobe.system.threads import one_thread, side_by_side

QUERIES = 10_000
"""Of more rows, the neighbours of this many random ones are compared; they are sought among all."""
RANKED = 2_000
"""Of more rows, all pairs of this many random ones are ranked."""
EXPLAINED = 2_000
"""Of more rows, similarity is explained on this many random ones."""
CANDIDATES = 50
"""An image's nearest others by one encoder, among which pairs are sought that are far for another."""
COLOR = "color"
"""The name of colour as an attribute."""
COLORS = "reference/color-histogram"
"""The encoder whose vectors measure colour."""
_MATCHINGS = 200
_RANKING = 24
"""Bytes that ranking all pairs takes a pair."""
_TWO_SIDED = 1.96  # standard deviations to the 97.5th percentile of a normal distribution


def make_settings(
    images: Images,
    *,
    k: int = ComparisonSettings.k,
    by: Sequence[str] | None = None,
    pairs: int = ComparisonSettings.pairs,
    cosines: tuple[float, float] | None = None,
    max_unlabelled: float = MAX_UNLABELLED,
) -> ComparisonSettings:
    """Return the settings of a comparison, after checking that images have the labels that are named in ``by``.

    Without ``by``, labels that more than a share of ``max_unlabelled`` of the images lack are passed over.

    Raises:
        MissingLabel: More images than that lack a label that is named.
    """
    named = [label for label in by or [] if label != COLOR]
    for label in named:
        if images.lacks(label):
            images.label(label)
    without_unlabelled(images, named, most=max_unlabelled)
    return ComparisonSettings(k, tuple(by or ComparisonSettings.by), pairs, cosines)


def choose_compared(images: Images, by: Sequence[str], max_unlabelled: float) -> tuple[Images, tuple[str, ...]]:
    """Return the images that have the labels of a comparison, and notes on the others and on labels passed over.

    The labels are those of ``by``, and the one that images are grouped by. A label is passed over if no image has it,
    or if with it more than a share of ``max_unlabelled`` of the images would be left out.
    """
    wanted: list[str] = []
    notes: list[str] = []
    gone: set[str] = set()
    for label in dict.fromkeys([*by, CONCEPT, MOTIF]):
        lacking = lacking_keys(images, label)
        if label == COLOR or len(lacking) in (0, len(images)):
            continue
        if may_lack(len(gone.union(lacking)), len(images), max_unlabelled):
            gone.update(lacking)
            wanted.append(label)
        elif label in by:
            number = f"{len(lacking):,} of {len(images):,} images"
            notes.append(f"the label '{visible(label)}' is passed over: {number} lack it (--max-unlabelled)")
    kept, left_out = without_unlabelled(images, wanted, most=max_unlabelled)
    return kept, (*notes, *left_out)


@one_thread()
def compare(
    images: Images,
    encoders: Sequence[Encoder],
    session: Session,
    settings: ComparisonSettings,
    *,
    notify: Callable[[str], None] = lambda now: None,
) -> Comparison:
    """Compare every two of the encoders, in their order, and find the pairs on which they disagree most.

    Images that lack one of the labels are left out (:func:`choose_compared`), and so are those with a vector of zeros
    by one of the encoders; ``session.note`` gets a sentence on both. Images are resampled in the groups of
    :func:`embprobe.images.groups.choose_grouping`, and each group is in at most one pair of each direction.

    Args:
        images: the rows to compare the encoders on.
        encoders: at least two.
        session: gives the vectors, the device and the seed.
        settings: k, the labels, how many pairs.
        notify: is called with each step in a few words as it begins.

    Raises:
        UsageError: fewer than two encoders.
        EmbprobeError: fewer than k + 2 images have a vector by all of them.
    """
    if len(encoders) < 2:
        raise UsageError("A comparison needs at least two encoders: say -e twice or more.")
    names = [encoder.spec.name for encoder in encoders]
    known = COLORS in names or not images.has_pictures
    measuring = [] if known else [load_encoder(COLORS, device=session.device)]
    compared_images, notes = choose_compared(images, settings.by, session.max_unlabelled)
    for note in notes:  # before anything slow
        session.note(note)
    with_colors = session.embed(images, [*encoders, *measuring], "extracting")
    if len(compared_images) < len(images):
        with_colors = with_colors.at(row.key for row in compared_images.rows)
    with_colors = session.directed(with_colors)
    embedded = EmbeddingSet(with_colors.rows, {name: with_colors.vectors[name] for name in names})
    if len(embedded.rows) < settings.k + 2:
        needed = f"Comparing the {settings.k} nearest needs at least {settings.k + 2} images"
        raise EmbprobeError(f"{needed}; there are {len(embedded.rows)}.")
    compared = _Compared(embedded, with_colors.vectors.get(COLORS), settings, session)
    disagreements: list[Disagreement] = []
    agreements: list[Agreement] = []
    for a, b in itertools.combinations(embedded.vectors, 2):
        notify(f"{a} and {b}")
        agreements += compared.agreements(a, b)
        disagreements += [compared.disagreement(a, b), compared.disagreement(b, a)]
    notify("what similarity goes with")
    return Comparison(
        images=ImagesSummary.of(images),
        compared=len(embedded.rows),
        encoders={encoder.spec.name: encoder.spec.fingerprint for encoder in encoders},
        settings=settings,
        queries=len(compared.at),
        resampled=compared.grouping.label,
        seed=session.seed,
        agreements=tuple(agreements),
        explanations=tuple(compared.explanations()),
        disagreements=tuple(disagreements),
        rows=_rows_of(disagreements, embedded.rows),
    )


class _Compared:
    """The rows, labels and random choices of rows that all pairs of encoders share; each one's neighbours and ranks."""

    def __init__(
        self, embedded: EmbeddingSet, colors: Vectors | None, settings: ComparisonSettings, session: Session
    ) -> None:
        self.embedded, self._colors, self._settings, self._seed = embedded, colors, settings, session.seed
        rows, n, rng = embedded.rows, len(embedded.rows), np.random.default_rng(session.seed)
        self._labels = {name: rows.label(name) for name in settings.by if rows.has(name)}
        known = rows.has(CONCEPT) or rows.lacks(CONCEPT)
        self.grouping = choose_grouping(rows) if known else Grouping(IMAGE)
        self._groups = self.grouping.of(rows)
        if self.grouping.note:
            session.note(self.grouping.note)
        self.at, self._ranked, self._explained = (_some(n, most, rng) for most in (QUERIES, RANKED, EXPLAINED))
        candidates = min(max(settings.k, CANDIDATES), n - 2)
        random = random_pairs(n, seed=session.seed)

        def prepared(vectors: Vectors) -> tuple[Positions, ScoreArray, ScoreArray, Kernel]:
            near = nearest_others(vectors, candidates, at=self.at, device=session.device)
            return near, cosine_ranks(rows_at(vectors, self._ranked)), pair_cosines(vectors, random), Kernel.of(vectors)

        most = max(vectors.nbytes for vectors in embedded.vectors.values()) + _RANKING * len(self._ranked) ** 2
        each = side_by_side(prepared, embedded.vectors.values(), memory=most, device=session.device)
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


def _rows_of(disagreements: Sequence[Disagreement], images: Images) -> dict[str, Row]:
    """Return the rows of all disagreement pairs by key."""
    shown = {key for half in disagreements for pair in half.pairs for key in pair.keys}
    return {key: row for key, row in rows_by_key(images).items() if key in shown}


def _ends(by_chance: ScoreArray) -> tuple[float, float]:
    return float(by_chance.mean()), float(np.quantile(by_chance, 0.975))


def _some(n: int, most: int, rng: np.random.Generator) -> Positions:
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))
