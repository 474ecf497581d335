"""Which number is meant by a pattern, and which measures of a card give it: by the keys that results really have."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import UsageError
from embprobe.images import Images
from embprobe.probing.key import Key
from embprobe.probing.kinds.decoding import UNSEEN, Decoding
from embprobe.probing.kinds.displacement import Displacement
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.run import run_probe
from tests.conftest import noise, row_of
from tests.probing.conftest import card_of, reader

HUE: dict[str, Any] = {"kind": "displacement", "intervention": "hue", "strengths": [60, 120], "control": "lightness"}
GREY: dict[str, Any] = {"kind": "displacement", "intervention": "greyscale", "strengths": [1]}
FIT: dict[str, Any] = {
    "label": "category",
    "fit": {"where": {"split": ["train"]}},
    "tests": {"new ones": {"where": {"split": ["test"]}}},
}
NEAREST: dict[str, Any] = {"kind": "decoding", "classifier": "knn", "k": 1} | FIT
CALLED: dict[str, Any] = {"kind": "decoding", "classifier": "gda", "called": "kind:"} | FIT
NAMED: dict[str, Any] = {"kind": "zero-shot", "label": "name", "k": [1]}
SPREAD: dict[str, Any] = {"kind": "geometry", "statistics": ["effective rank", "mean cosine"]}
EVERY = [HUE, GREY, NEAREST, CALLED, NAMED, SPREAD]
RANK = {"kind": "geometry", "target": "effective rank"}


def pattern_of(**fields: Any) -> KeyPattern:
    return KeyPattern.model_validate(fields)


def fields_of(key: Key) -> dict[str, Any]:
    """The fields of a key that a pattern may name, without those that say nothing."""
    return {
        name: value for name, value in asdict(key).items() if value is not None and name not in ("dataset", "layer")
    }


def spelled_earlier(key: Key) -> dict[str, Any]:
    """The same number as cards used to name it: by its phrase, its intervention and its strength."""
    done = key.target if key.kind == "displacement" else key.condition
    fields = {"measure": key.phrase, "intervention": done, "strength": key.strength}
    return {name: value for name, value in fields.items() if value is not None}


def many() -> Images:
    """Twelve noisy pictures of as many concepts, half of them for training."""
    rows = [
        row_of(
            f"{i:02d}", noise(i), concept=f"c{i}", name=f"n{i}", category="ab"[i % 2], split=["train", "test"][i // 6]
        )
        for i in range(12)
    ]
    return Images("many", tuple(rows))


# --- which measures of a card give it ----------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", [fields_of, spelled_earlier])
def test_a_number_that_was_measured_names_its_measure_and_no_other(workspace: Workspace, spelling: Any) -> None:
    encoder = reader({f"n{i}": (i, 1, 12 - i) for i in range(12)})
    whole = card_of(*EVERY)
    for measure in EVERY:
        results = run_probe(card_of(measure), many(), [encoder], [], Session(workspace))
        keys = {row.key for row in results.rows}
        assert keys
        for key in keys:
            if key.strength == 60:
                continue  # the next test
            pattern = pattern_of(**spelling(key))
            (kept,) = whole.only([pattern]).measures
            assert kept == card_of(measure).measures[0].brief([pattern])


def test_other_strengths_than_the_wanted_are_not_measured() -> None:
    headline = {"kind": "displacement", "target": "hue", "strength": 120, "says": "moves"}
    card = card_of(*EVERY, headline=headline)
    for strength in (60, 120):
        (kept,) = card.only([pattern_of(kind="displacement", target="hue", strength=strength)]).measures
        assert isinstance(kept, Displacement) and kept.strengths == [strength]
    message = "No measure of the card 'mine' gives kind 'displacement', target 'hue', strength 61."
    with pytest.raises(UsageError) as refused:
        card.only([pattern_of(kind="displacement", target="hue", strength=61)])
    assert str(refused.value) == message


def test_what_costs_more_is_left_out() -> None:
    card = card_of(CALLED | {"control_task": True, "shots": [1], "transforms": ["int8"]}, NEAREST)
    (kept,) = card.only([pattern_of(kind="decoding", target="kind:", variant="GDA", test="new ones")]).measures
    assert isinstance(kept, Decoding) and not (kept.control_task or kept.shots or kept.transforms)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "decoding", "target": "category", "variant": "k-NN", "test": "new one"},
        {"kind": "decoding", "target": "category", "variant": "knn", "test": "new ones"},
        {"kind": "decoding", "target": "kind:", "variant": "k-NN", "test": "new ones"},
        {"kind": "decoding", "target": "category", "variant": "k-NN", "test": "new ones", "condition": "int8"},
        {"kind": "zero-shot", "target": "names"},
        {"kind": "geometry", "target": "effective ranks"},
        {"kind": "displacement", "target": "hue", "strength": 90},
        {"kind": "displacement", "target": "tint", "strength": 120},
        {"kind": "displacement", "target": "greyscale", "variant": "beyond control"},  # it has none
        {"kind": "displacements"},
        {"measure": "category k-NN, new one"},
        {"measure": "category k-NN, new ones", "intervention": "int8"},
        {"measure": "displacement beyond the control", "intervention": "greyscale", "strength": 1},
        {"measure": "displacement", "intervention": "hue", "strength": 90},
        {"measure": ""},
    ],
    ids=str,
)
def test_a_misspelt_number_is_given_by_nothing(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="No measure of the card 'mine' gives "):
        card_of(*EVERY).only([pattern_of(**RANK), pattern_of(**fields)])


# --- which key is meant ------------------------------------------------------------------------------------------


def test_the_first_that_is_meant_is_found() -> None:
    keys = [
        Key(kind="displacement", target="hue", strength=60),
        Key(kind="displacement", target="hue", strength=120),
        Key(kind="displacement", target="tint", strength=60),
        Key(kind="decoding", target="x", variant="k-NN", test="unseen images"),
    ]

    def found(**fields: Any) -> Key | None:
        return pattern_of(**fields).find(keys, folds=UNSEEN)

    assert found(kind="displacement") == found(measure="displacement") == keys[0]
    assert found(kind="displacement", target="tint") == keys[2]
    assert found(measure="displacement", intervention="tint") == keys[2]
    assert found(kind="displacement", strength=120) == found(measure="displacement", strength=120) == keys[1]
    in_folds = {"kind": "decoding", "target": "x", "variant": "k-NN", "test": "unseen concepts"}
    assert found(**in_folds) == found(measure="x k-NN, unseen concepts") == keys[3]
    assert found(kind="geometry") is found(measure="n") is None


def test_meant_is_the_key_with_the_fewest_other_fields() -> None:
    plain = Key(kind="decoding", target="category", variant="k-NN", test="new")
    few = replace(plain, condition="shots", strength=4)
    shuffled = replace(plain, condition="shuffled labels")
    beyond, percentile, alone = (
        Key(kind="displacement", target="hue", variant=variant, strength=60)
        for variant in ("beyond control", "percentile", None)
    )
    keys = [few, shuffled, plain, beyond, percentile, alone]
    assert pattern_of(kind="decoding").find(keys, folds=UNSEEN) == plain
    assert pattern_of(kind="decoding", target="category", test="new").find(keys, folds=UNSEEN) == plain
    assert pattern_of(kind="decoding", condition="shots").find(keys, folds=UNSEEN) == few
    assert pattern_of(kind="decoding", condition="shuffled labels").find(keys, folds=UNSEEN) == shuffled
    assert pattern_of(kind="displacement", target="hue").find(keys, folds=UNSEEN) == alone
    assert pattern_of(kind="displacement", variant="percentile").find(keys, folds=UNSEEN) == percentile


def test_the_images_and_the_layer_are_not_part_of_a_pattern() -> None:
    key = Key(kind="geometry", target="uniformity", dataset="photos", layer=3)
    assert pattern_of(kind="geometry", target="uniformity").find([key], folds=UNSEEN) == key


# A test may have any name: it was once sought behind the last comma of the sentence.
ODD = "unseen, rare"


@pytest.mark.parametrize("pattern", [
    {"kind": "decoding", "target": "category", "variant": "k-NN", "test": ODD},
    {"measure": f"category k-NN, {ODD}"},
])  # fmt: skip
@pytest.mark.parametrize("condition", [None, "shuffled labels", "int8"])
def test_a_test_with_a_comma_in_its_name_is_a_headline(pattern: dict[str, Any], condition: str | None) -> None:
    exact = Key(kind="decoding", target="category", variant="k-NN", test=ODD, condition=condition)
    other, in_folds = replace(exact, test="rare"), replace(exact, test=UNSEEN)
    if condition == "shuffled labels" and "measure" in pattern:
        pattern = {"measure": f"category k-NN of shuffled labels, {ODD}"}
    elif condition:
        pattern = pattern | ({"intervention" if "measure" in pattern else "condition": condition})
    meant = pattern_of(**pattern)
    assert meant.find([other, in_folds, exact], folds=UNSEEN) == exact
    assert meant.find([other, in_folds], folds=UNSEEN) == in_folds  # images without the card's splits
    assert meant.find([other], folds=UNSEEN) is None


@pytest.mark.parametrize("spelling", [
    {"kind": "decoding", "target": "category", "variant": "k-NN", "test": ODD},
    {"measure": f"category k-NN, {ODD}"},
])  # fmt: skip
@pytest.mark.parametrize("split", [True, False])
def test_the_headline_of_such_a_test_is_concluded(workspace: Workspace, spelling: dict[str, str], split: bool) -> None:
    measure = NEAREST | {"tests": {ODD: {"where": {"split": ["test"]}}}}
    images = (
        many()
        if split
        else many().labelled(lambda row: {"concept": row.labels["concept"], "category": row.labels["category"]})
    )
    card = card_of(measure, headline=spelling | {"says": "tells categories"})
    assert len(card.only([card.headline]).measures) == 1  # type: ignore[list-item]
    encoder = reader({})
    results = run_probe(card, images, [encoder], [], Session(workspace))
    assert results.conclusions.key is not None
    assert str(results.conclusions.key) == f"category k-NN, {ODD if split else UNSEEN}"


def test_a_kind_of_another_package_has_folds_too() -> None:
    key = Key(kind="mine", target="sharpness", variant="v", test=UNSEEN)
    for pattern in ({"kind": "mine", "test": "new"}, {"measure": "sharpness v, new"}):
        assert pattern_of(**pattern).find([key], folds=UNSEEN) == key
    assert pattern_of(measure="sharpness, new").find([key], folds=UNSEEN) is None


NAMES = st.text("ab,: ", min_size=1, max_size=6)
KEYS = st.builds(
    Key,
    kind=st.sampled_from(["displacement", "decoding", "zero-shot", "preference", "variance", "geometry", "mine"]),
    target=NAMES,
    test=st.none() | NAMES,
    variant=st.none() | NAMES,
    condition=st.none() | NAMES,
    strength=st.none() | st.sampled_from([0.0, 0.5, 120.0]),
)


@given(st.lists(KEYS, min_size=1, max_size=6, unique=True), st.integers(0, 5))
def test_all_the_fields_of_a_key_mean_that_key(keys: list[Key], i: int) -> None:
    key = keys[i % len(keys)]
    pattern = pattern_of(**fields_of(key))
    assert pattern.matches(key) and pattern.find(keys, folds=UNSEEN) == key
    earlier = pattern_of(**spelled_earlier(key))
    found = earlier.find(keys, folds=UNSEEN)
    assert earlier.matches(key) and found is not None
    assert (found.phrase, found.strength) == (key.phrase, key.strength) or key.strength is None


# --- what is no pattern ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "say which number is meant"),
        ({"target": "hue"}, "say which number is meant"),
        ({"kind": "displacement", "measure": "displacement"}, "say which number is meant"),
        ({"measure": "displacement", "target": "hue"}, "another spelling of"),
        ({"measure": "displacement", "test": "new"}, "another spelling of"),
        ({"kind": "displacement", "intervention": "hue"}, "an intervention is the target or the condition"),
        ({"kind": "displacement", "strength": float("nan")}, "finite"),
        ({"kind": "displacement", "dataset": "photos"}, "not permitted"),
        ({"kind": 3}, "string"),
    ],
    ids=str,
)
def test_what_is_no_pattern_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        pattern_of(**fields)


def test_a_pattern_in_words() -> None:
    fields = {"kind": "decoding", "target": "category", "variant": "GDA", "test": "new", "strength": 4}
    assert pattern_of(**fields).describe() == (
        "kind 'decoding', target 'category', test 'new', variant 'GDA', strength 4"
    )
    assert pattern_of(measure="displacement", intervention="hue").describe() == (
        "measure 'displacement', intervention 'hue'"
    )
