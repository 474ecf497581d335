"""Promises on the results of whole probes, from vectors and labels to estimates, differences and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.given import given_vectors
from embprobe.errors import UsageError
from embprobe.images.rows import Images
from embprobe.measures.vectors import LabelArray, ScoreArray
from embprobe.probing.card import Card
from embprobe.probing.context import GUESSING
from embprobe.probing.results import Result, Results
from embprobe.probing.run import run_probe
from embprobe.selftest.promise import Settings, Verdict, holds, near, over

_DECODED = "category"
_FOLDS = {"fit": {"where": {"split": ["train"]}}, "tests": {"unseen": {"where": {"split": ["test"]}}}}
"""Selections of a card on images without the label ``split``: they are decoded in folds."""


def differences(settings: Settings) -> Iterator[Verdict]:
    """Check the differences of a probe against its scores per image: sign, pairs, groups and correction.

    The category of 60 concepts with six images each is decoded. Two encoders see it, both blurred by the same offset of
    each concept, so they fail at the same concepts; a third sees noise.
    """
    rng = np.random.default_rng(settings.seed)
    concept, category = _concepts(60, 6)
    code = _codes(category)[:, None]
    direction, offsets = rng.standard_normal((2, 1, 8)), rng.standard_normal((60, 8)).repeat(6, 0)
    seen = (code == 0) * direction[0] + (code == 1) * direction[1] + 1.2 * offsets
    vectors = {
        "sees": seen + 0.4 * rng.standard_normal(seen.shape),
        "twin": seen + 0.4 * rng.standard_normal(seen.shape),
        "noise": rng.standard_normal(seen.shape),
    }
    card = _card(
        {"kind": "decoding", "label": _DECODED, "classifier": "knn", "k": 5, **_FOLDS},
        {"kind": "decoding", "label": _DECODED, "classifier": "gda", **_FOLDS},
        headline={"kind": "decoding", "target": _DECODED, "variant": "k-NN", "says": "tells categories apart"},
    )
    results = _probe(card, vectors, {"concept": concept, "category": category}, settings)
    k_nn = [row for row in results.rows if row.key.variant == "k-NN"]
    scores = {each.encoder: each.values for each in results.scores if each.key.variant == "k-NN"}
    order = [(row.encoder, str(row.against)) for row in k_nn if row.is_difference]
    yield holds(
        "pairs of encoders, in the order in which they are given",
        "sees - twin, sees - noise, twin - noise",
        ", ".join(f"{a} - {b}" for a, b in order),
        order == [("sees", "twin"), ("sees", "noise"), ("twin", "noise")],
    )
    difference = _row(k_nn, "sees", "noise")
    expected = float(scores["sees"].mean() - scores["noise"].mean())
    yield near(
        "difference of the better encoder from noise, over that of the scores",
        over(difference.estimate, expected),
        1,
        1e-9,
    )
    first = results.conclusions.sentences[1].split()[0]
    yield holds("the encoder that is ahead in the sentence about these two", "sees", first, first == "sees")
    for a, b in (("sees", "noise"), ("sees", "twin")):
        row = _row(k_nn, a, b)
        width = _width_by_groups(scores[a] - scores[b], concept)
        about = f"width of the interval of {a} - {b}, over the closed form of 60 concepts' differences"
        yield near(about, over(row.high - row.low, width), 1, 0.3)
    mean = _row(k_nn, "sees", None)
    about = "width of the interval of an accuracy, over the closed form of 60 concepts"
    yield near(about, over(mean.high - mean.low, _width_by_groups(scores["sees"], concept)), 1, 0.2)
    yield near("groups behind it", mean.groups, 60, 0)
    rest = [row for row in results.rows if row.p is not None and row.key.variant == "GDA"]
    p_values = [row.p or 0.0 for row in rest]
    corrected = [row.p_adjusted or 0.0 for row in rest]
    yield holds(
        f"p of three differences, {', '.join(f'{p:.3g}' for p in p_values)}, corrected",
        ", ".join(f"{p:.3g}" for p in _holm(p_values)),
        ", ".join(f"{p:.3g}" for p in corrected),
        bool(np.allclose(corrected, _holm(p_values))),
    )


def unseen(settings: Settings) -> Iterator[Verdict]:
    """Check that decoding tests on concepts it has not seen: vectors that know images or concepts alone must guess."""
    rng = np.random.default_rng(settings.seed)
    concept, _ = _concepts(100, 3)
    category = np.where(concept.astype(int) % 3 == 0, "animal", "plant")
    of_concept = rng.standard_normal((100, 16)).repeat(3, 0)
    vectors = {
        "image": rng.standard_normal((300, 16)),
        "concept": of_concept + 0.01 * rng.standard_normal((300, 16)),
        "category": rng.standard_normal((2, 16))[_codes(category)] + rng.standard_normal((300, 16)),
    }
    classifiers = ("knn", "gda", "logistic")
    card = _card(
        *({"kind": "decoding", "label": _DECODED, "classifier": name, "k": 1, **_FOLDS} for name in classifiers)
    )
    results = _probe(card, vectors, {"concept": concept, "category": category}, settings)
    for row in (row for row in results.rows if not row.is_difference and row.role == "subject"):
        knows = f"{row.key.variant} on unseen concepts, of vectors that know the {row.encoder} alone"
        if row.encoder == "category":
            yield holds(knows, "above 0.85", f"{row.estimate:.3f}", row.estimate > 0.85)
        else:  # guessing is right on 0.66; its standard deviation over 100 concepts is 0.05
            yield holds(knows, "at most guessing, 0.66, and 0.16", f"{row.estimate:.3f}", row.estimate <= 0.82)
    split = np.where(np.arange(300) % 3 < 2, "train", "test")
    overlapping = {"fit": {"where": {"split": ["train", "test"]}}, "tests": {"seen": {"where": {"split": ["test"]}}}}
    refused = ""
    try:
        leaking = _card({"kind": "decoding", "label": _DECODED, "classifier": "knn", **overlapping})
        _probe(leaking, vectors, {"concept": concept, "category": category, "split": split}, settings)
    except UsageError as error:
        refused = str(error)
    yield holds(
        "a card that tests images it is fitted on", "refused", "refused" if refused else "run", "fitted on" in refused
    )


def memorised(settings: Settings) -> Iterator[Verdict]:
    """Check that a control task is learned by an encoder that knows concepts, and not by one that knows categories."""
    rng = np.random.default_rng(settings.seed)
    concept, category = _concepts(60, 4)
    vectors = {
        "concept": rng.standard_normal((60, 32)).repeat(4, 0) + 0.01 * rng.standard_normal((240, 32)),
        "category": rng.standard_normal((2, 32))[_codes(category)] + 0.1 * rng.standard_normal((240, 32)),
    }
    split = np.where(np.arange(240) % 4 < 3, "train", "test")
    card = _card(
        {
            "kind": "decoding",
            "label": _DECODED,
            "classifier": "knn",
            "k": 3,
            "control_task": True,
            "fit": {"where": {"split": ["train"]}},
            "tests": {"unseen drawings": {"where": {"split": ["test"]}}},
        }
    )
    results = _probe(card, vectors, {"concept": concept, "category": category, "split": split}, settings)
    for encoder, condition, expected, tolerance in (
        ("concept", None, 1, 0.02),
        ("concept", "shuffled labels", 1, 0.02),
        ("category", None, 1, 0.02),
        ("category", "shuffled labels", 0.5, 0.2),
    ):
        row = next(r for r in results.rows if (r.encoder, r.key.condition, r.against) == (encoder, condition, None))
        about = f"{condition or 'labels'} of known concepts, decoded from vectors that know the {encoder} alone"
        yield near(about, row.estimate, expected, tolerance)


def guessed(settings: Settings) -> Iterator[Verdict]:
    """Check that guessing is the best constant guess: three of four, and one of seven in folds that are not even."""
    rng = np.random.default_rng(settings.seed)
    concept = np.repeat(np.arange(40).astype(str), 3)
    category = np.where(concept.astype(int) % 4 == 0, "rare", "common")
    vectors = {"noise": rng.standard_normal((120, 8))}
    card = _card({"kind": "decoding", "label": _DECODED, "classifier": "knn", **_FOLDS})
    results = _probe(card, vectors, {"concept": concept, "category": category}, settings)
    guess = _row(results.rows, GUESSING, None)
    yield near("guessing where three of four images have one label", guess.estimate, 0.75, 1e-9)
    noise = _row(results.rows, "noise", None)
    yield near("the floor of an encoder's accuracy there", noise.floor or 0.0, 0.75, 1e-9)
    yield holds("noise there", "at most guessing", f"{noise.estimate:.3f}", noise.estimate <= 0.75 + 0.02)
    sevenths = {"concept": np.arange(56).astype(str), "category": (np.arange(56) % 7).astype(str)}
    even = _probe(card, {"noise": rng.standard_normal((56, 8))}, sevenths, settings)  # eight a label, in five folds
    guess = _row(even.rows, GUESSING, None)
    yield near("guessing among seven labels of equal size, in uneven folds", guess.estimate, 1 / 7, 1e-9)


def cues(settings: Settings) -> Iterator[Verdict]:
    """Check the preference of a whole probe: the concept alone has 1, the style alone 0, noise 0.5."""
    rng = np.random.default_rng(settings.seed)
    concept = np.repeat(np.arange(30).astype(str), 4)
    style = np.tile(list("abcd"), 30)
    vectors = {
        "concept": rng.standard_normal((30, 32)).repeat(4, 0),
        "style": np.tile(rng.standard_normal((4, 32)), (30, 1)),
        "noise": rng.standard_normal((120, 32)),
    }
    card = _card({"kind": "preference", "concept": "concept", "cue": "style"})
    results = _probe(card, vectors, {"concept": concept, "style": style}, settings)
    for name, expected, tolerance in (("concept", 1, 1e-9), ("style", 0, 1e-9), ("noise", 0.5, 0.05)):
        row = _row(results.rows, name, None)
        yield near(f"preference of concept to style by vectors of {name} alone", row.estimate, expected, tolerance)


def shares(settings: Settings) -> Iterator[Verdict]:
    """Check variance shares of vectors that are sqrt(0.6) times a concept and sqrt(0.4) times a style."""
    concept = np.repeat(np.arange(12).astype(str), 3)
    style = np.tile(list("abc"), 12)
    axes = np.hstack([np.sqrt(0.6) * np.eye(12).repeat(3, 0), np.sqrt(0.4) * np.tile(np.eye(3), (12, 1))])
    noise = np.random.default_rng(settings.seed).standard_normal((36, 64))
    vectors = {"planted": axes, "concept": axes[:, :12], "noise": noise}
    factors = {"concept": "concept", "style": "style"}
    card = _card({"kind": "variance", "unit": "concept", "of": ["concept", "style", "rest"], "factors": factors})
    results = _probe(card, vectors, {"concept": concept, "style": style}, settings)
    for encoder, by_factor, tolerance in (
        ("planted", {"concept": 0.6, "style": 0.4, "rest": 0.0}, 1e-6),
        ("concept", {"concept": 1.0, "style": 0.0, "rest": 0.0}, 1e-6),
        ("noise", {"concept": 0.0, "style": 0.0, "rest": 1.0}, 0.05),
    ):
        for factor, share in by_factor.items():
            row = next(r for r in results.rows if (r.encoder, r.key.target, r.against) == (encoder, factor, None))
            yield near(f"share of {factor} in vectors with {encoder} alone", row.estimate, share, tolerance)
            if factor == "style":
                p, there = row.p or 0.0, share > 0
                expected = "p of at most 0.01" if there else "p above 0.01"
                yield holds(
                    f"test of style in vectors with {encoder} alone", expected, f"{p:.3f}", (p <= 0.01) == there
                )


def confounded(settings: Settings) -> Iterator[Verdict]:
    """Check that natural pairs hold constant what an attribute goes with.

    Four of five images have the colour of their category. An encoder that sees the category alone has nothing of the
    colour once the category is held constant, and seems to have it otherwise; one that sees the colour keeps it.
    """
    rng = np.random.default_rng(settings.seed)
    n = 240
    category = np.array(list("abcd"))[np.arange(n) % 4]
    color = np.where(rng.random(n) < 0.8, category, rng.choice(list("abcd"), n))
    axes = {"category": np.eye(4)[_codes(category)], "color": np.eye(4)[_codes(color)]}
    vectors = {f"sees {name}": np.hstack([each, 0.3 * rng.standard_normal((n, 16))]) for name, each in axes.items()}
    labels = {"concept": np.arange(n).astype(str), "category": category, "color": color}
    for held, expected in ((["category"], "0"), ([], "not 0")):
        measure = {"kind": "natural-pairs", "of": "color", "attributes": {name: name for name in ("color", *held)}}
        rows = _probe(_card(measure), vectors, labels, settings).rows
        confounder, seeing = (_row(rows, f"sees {name}", None).estimate for name in axes)
        about = f"similarity by colour, {'category' if held else 'nothing'} held constant, of vectors with the"
        blind = abs(confounder) <= 0.05
        yield holds(f"{about} category alone", f"{expected}, by 0.05", f"{confounder:.3f}", blind == bool(held))
        yield holds(f"{about} colour alone", "above 0.2", f"{seeing:.3f}", seeing > 0.2)


def _probe(
    card: Card, vectors: Mapping[str, ScoreArray], labels: Mapping[str, LabelArray], settings: Settings
) -> Results:
    n = len(next(iter(vectors.values())))
    keys = [f"{i:04d}" for i in range(n)]
    images = Images.without_pictures("planted", keys, {name: values.tolist() for name, values in labels.items()})
    encoders = [given_vectors(name, each, keys) for name, each in vectors.items()]
    return run_probe(card, images, encoders, [], Session(Workspace(Path()), seed=settings.seed))


def _card(*measures: Mapping[str, Any], headline: Mapping[str, Any] | None = None) -> Card:
    return Card.model_validate(
        {
            "schema": 1,
            "attribute": "planted",
            "title": "Planted",
            "question": "What was planted?",
            "resample": "concept",
            "headline": headline,
            "measures": list(measures),
        }
    )


def _concepts(n: int, images: int) -> tuple[LabelArray, LabelArray]:
    """Return the concept and the category of ``n`` concepts' images; every other concept is an animal."""
    concept = np.repeat(np.arange(n), images)
    return concept.astype(str), np.where(concept % 2 == 0, "animal", "plant")


def _codes(labels: LabelArray) -> Any:
    return np.unique(labels, return_inverse=True)[1]


def _row(rows: Sequence[Result], encoder: str, against: str | None) -> Result:
    return next(row for row in rows if (row.encoder, row.against) == (encoder, against))


def _width_by_groups(values: ScoreArray, groups: LabelArray) -> float:
    """Return the width of the interval of a mean over images, by Student's t on the groups' sums.

    Groups have equally many images.
    """
    from scipy import stats

    means = np.array([values[groups == group].mean() for group in np.unique(groups)])
    return float(2 * stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))


def _holm(p_values: Sequence[float]) -> list[float]:
    """Correct three p-values by Holm, written out."""
    smallest, middle, largest = sorted(p_values)
    first = min(1.0, 3 * smallest)
    second = max(first, min(1.0, 2 * middle))
    corrected = {smallest: first, middle: second, largest: max(second, largest)}
    return [corrected[p] for p in p_values]
