"""Promises on measures of vectors: values that are known by hand, and changes that must make no difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from embprobe.measures.cka import chance_cka, cka
from embprobe.measures.control_task import control_labels
from embprobe.measures.displacement import displacement, displacement_percentile
from embprobe.measures.knn import predict_knn
from embprobe.measures.mutual_knn import mutual_knn
from embprobe.measures.natural_pairs import natural_pairs
from embprobe.measures.preference import preference
from embprobe.measures.retrieval import recall_at_k
from embprobe.measures.variance import variance_shares
from embprobe.measures.vectors import LabelArray, ScoreArray
from embprobe.measures.zero_shot import class_vectors, predict_zero_shot
from embprobe.selftest.promise import Settings, Verdict, holds, near


def rotated(settings: Settings) -> Iterator[Verdict]:
    """Check displacement on vectors that are turned by a known angle.

    Eight images are the axes of a space, so any two are 1 - cos 90° = 1 apart; each is turned towards an axis of its
    own.
    """
    axes, others = np.eye(16)[:8], np.eye(16)[8:]
    for degrees, expected in ((0, 0.0), (60, 0.5), (90, 1.0), (180, 2.0)):
        angle = np.deg2rad(degrees)
        turned = np.cos(angle) * axes + np.sin(angle) * others
        scores = displacement(axes, turned)
        yield near(f"displacement of vectors turned by {degrees}°", float(scores.mean()), expected, 1e-9)
    # two images 60° apart, one changed into the other: as far as an unrelated image
    pair = np.array([[1.0, 0.0], [0.5, 0.75**0.5]])
    yield near("displacement of an image that becomes another one", displacement(pair, pair[::-1])[0], 1, 1e-9)
    percentile = displacement_percentile(axes, 0.6 * axes + 0.8 * others)
    yield near("share of unrelated images nearer than one turned by 53°", float(percentile.mean()), 0, 1e-9)


def scaled(settings: Settings) -> Iterator[Verdict]:
    """Check that measures by cosine do not depend on the lengths of vectors."""
    rng = np.random.default_rng(settings.seed)
    x, y = rng.standard_normal((2, 60, 8))
    x, y = x / np.linalg.norm(x, axis=1, keepdims=True), y / np.linalg.norm(y, axis=1, keepdims=True)
    other = rng.uniform(0.1, 1, (2, 60, 1))
    classes, category = _classes(60)
    concept, cue = np.repeat(np.arange(15).astype(str), 4), np.tile(list("abcd"), 15)
    factors = {"concept": concept, "cue": cue}
    texts = rng.standard_normal((3, 5, 8))

    def zero_shot_of(images: ScoreArray, lengths: ScoreArray) -> LabelArray:
        return predict_zero_shot(images, class_vectors(texts * lengths), classes)

    by_cosine: dict[str, Callable[[ScoreArray, ScoreArray], object]] = {
        "displacement": displacement,
        "displacement percentile": displacement_percentile,
        "k-NN": lambda a, b: predict_knn(a, category, b, k=5),
        "preference": lambda a, b: preference(a, concept, cue),
        "variance shares": lambda a, b: variance_shares(a, factors, unit="concept")["cue"],
        "natural pairs": lambda a, b: natural_pairs(a, {"category": category, "cue": cue}, "category"),
        "recall": lambda a, b: recall_at_k(b, a, category, category, k=1),
    }
    for name, measure in by_cosine.items():
        same = _same(measure(x, y), measure(other[0] * x, other[1] * y))
        yield holds(f"{name} of vectors of other lengths", "the same", "the same" if same else "another", same)
    lengths = rng.uniform(0.1, 10, (3, 5, 1))
    same = _same(zero_shot_of(x, np.ones_like(lengths)), zero_shot_of(other[0] * x, lengths))
    yield holds("zero-shot of vectors and texts of other lengths", "the same", "the same" if same else "another", same)
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    yield near(
        "CKA of vectors and the same ones turned, 7 times as long and shifted", _cka(x, 7 * x @ turn + 5), 1, 1e-6
    )
    yield near("CKA of vectors and unrelated ones", _cka(x, y), 0, 4 * chance_cka(60))


def itself(settings: Settings) -> Iterator[Verdict]:
    """Check that an image is never among its own neighbours."""
    angles = np.deg2rad([0, 10, 90, 100, 180, 190])  # the nearest other one is the other of its pair
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels, position = np.array(list("abcabc"), np.str_), np.arange(6)
    recall = recall_at_k(x, x, labels, labels, k=1, exclude=position)
    yield near("recall@1 among others, where the nearest other has another label", float(recall.mean()), 0, 1e-9)
    paired = np.array(list("aabbcc"), np.str_)
    recall = recall_at_k(x, x, paired, paired, k=1, exclude=position)
    yield near("recall@1 among others, where the nearest other has the same label", float(recall.mean()), 1, 1e-9)
    overlap = mutual_knn(x, x[[0, 2, 4, 1, 3, 5]], k=1)  # for the other encoder 3, 4, 5, 0, 1, 2
    yield near("neighbours in common of two encoders with other pairs", float(overlap.mean()), 0, 1e-9)
    rng = np.random.default_rng(settings.seed)
    noise = mutual_knn(*rng.standard_normal((2, 201, 8)), k=10)
    yield near("mutual k-NN of unrelated encoders: 10 / 200", float(noise.mean()), 0.05, 0.015)


def two_cues(settings: Settings) -> Iterator[Verdict]:
    """Check preference on noise (0.5), on vectors that are the concept (1), that are the cue (0), and on ties."""
    rng = np.random.default_rng(settings.seed)
    concept, cue = np.repeat(np.arange(25).astype(str), 4), np.tile(list("abcd"), 25)
    of_concept, of_cue = rng.standard_normal((25, 32)).repeat(4, 0), np.tile(rng.standard_normal((4, 32)), (25, 1))
    for name, vectors, expected, tolerance in (
        ("noise", rng.standard_normal((100, 32)), 0.5, 0.05),
        ("the concept alone", of_concept, 1.0, 1e-9),
        ("the cue alone", of_cue, 0.0, 1e-9),
        # cosines of both with an anchor are equal: (1 + 0) / 2
        ("concept and cue in equal parts", np.hstack([_one_hot(concept), _one_hot(cue)]), 0.5, 1e-9),
    ):
        share = float(np.nanmean(preference(vectors, concept, cue, seed=settings.seed)))
        yield near(f"preference of concept to cue by {name}", share, expected, tolerance)


def shuffled(settings: Settings) -> Iterator[Verdict]:
    """Check that a control task deals labels anew, but one to each concept and each as often as before."""
    concepts = np.repeat(np.arange(60).astype(str), 3)
    labels = np.where(concepts.astype(int) % 3 == 0, "rare", "common")
    dealt = control_labels(labels, concepts, seed=settings.seed)
    of_concept = {concept: set(dealt[concepts == concept].tolist()) for concept in np.unique(concepts)}
    yield near("labels of a concept in a control task", max(len(each) for each in of_concept.values()), 1, 0)
    yield near("share of the rare label in it", float((dealt == "rare").mean()), 1 / 3, 1e-9)
    # by chance the same: 1/3 * 1/3 + 2/3 * 2/3 = 0.56, with a standard deviation over 60 concepts of 0.06
    yield near("share of images that keep their label", float((dealt == labels).mean()), 5 / 9, 0.22)


def _one_hot(labels: LabelArray) -> ScoreArray:
    values, coded = np.unique(labels, return_inverse=True)
    return np.asarray(np.eye(len(values))[coded])


def _classes(n: int) -> tuple[LabelArray, LabelArray]:
    """Return three classes, and ``n`` labels that take each of them in turn."""
    classes = np.array(["cat", "dog", "emu"])
    return classes, classes[np.arange(n) % 3]


def _cka(a: ScoreArray, b: ScoreArray) -> float:
    return float(cka(a, b).mean())


def _same(a: object, b: object) -> bool:
    first, second = np.asarray(a), np.asarray(b)
    if first.dtype.kind == "f":
        return bool(np.allclose(first, second, atol=1e-6, equal_nan=True))
    return bool((first == second).all())
