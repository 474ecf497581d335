"""Keys: their fields and their words, and the patterns by which cards and claims name them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from embprobe.probing.key import Key
from embprobe.probing.pattern import KeyPattern

LINEAR = Key(kind="decoding", target="category", variant="linear probe", test="unseen concepts")


def key(kind: str, target: str, **more: object) -> Key:
    return Key(kind=kind, target=target, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "text"),
    [
        (key("displacement", "hue", strength=60.0), "hue 60: displacement"),
        (key("displacement", "oil", strength=0.02, variant="percentile"), "oil 0.02: displacement percentile"),
        (key("displacement", "hue", strength=0.0, variant="control"), "hue 0: displacement by the control"),
        (
            key("displacement", "hue", strength=9.5, variant="beyond control"),
            "hue 9.5: displacement beyond the control",
        ),
        (LINEAR, "category decoding, unseen concepts"),
        (key("decoding", "a, b", variant="k-NN", test="c, d"), "a, b k-NN, c, d"),
        (key("decoding", "x", variant="GDA", test="t", condition="pca:32"), "pca:32: x GDA, t"),
        (key("decoding", "x", variant="GDA", test="t", condition="shots", strength=4.0), "shots 4: x GDA from few, t"),
        (
            key("decoding", "x", variant="linear probe", test="t", condition="shuffled labels"),
            "x decoding of shuffled labels, t",
        ),
        (key("zero-shot", "name", variant="accuracy"), "zero-shot name"),
        (
            key("zero-shot", "name", variant="accuracy", condition="word-agrees", strength=0.8),
            "word-agrees 0.8: zero-shot name",
        ),
        (key("zero-shot", "name", variant="recall@5 of names by images"), "recall@5 of names by images"),
        (key("preference", "concept", variant="hue"), "concept preferred to hue"),
        (key("variance", "text"), "variance share of text"),
        (key("natural-pairs", "colour"), "similarity by colour"),
        (key("natural-pairs", "colour", variant="style held constant"), "similarity by colour, style held constant"),
        (key("geometry", "effective rank"), "effective rank"),
        (key("somebody-elses", "depth", variant="error", test="indoors"), "depth error, indoors"),
    ],
)
def test_a_key_in_words(what: Key, text: str) -> None:
    assert str(what) == text


def test_the_data_set_and_the_layer_are_not_in_the_sentence_but_tell_keys_apart() -> None:
    other = key("geometry", "effective rank", dataset="photos", layer=3)
    assert str(other) == "effective rank" and other != key("geometry", "effective rank")


# --- patterns ----------------------------------------------------------------------------------------------------


def test_a_pattern_means_the_key_with_the_fewest_other_fields() -> None:
    moved = [key("displacement", "hue", strength=60.0, variant=v) for v in ("beyond control", None, "control")]
    pattern = KeyPattern(kind="displacement", target="hue", strength=60)
    assert pattern.find(moved, folds="unseen images") == moved[1]
    assert pattern.find(moved[:1], folds="unseen images") == moved[0]
    assert pattern.find([], folds="unseen images") is None


SPELLINGS = [
    KeyPattern(kind="decoding", target="category", variant="linear probe", test="unseen, rare"),
    KeyPattern(measure="category decoding, unseen, rare"),
]


@pytest.mark.parametrize("pattern", SPELLINGS)
def test_a_test_may_have_any_name_in_both_spellings(pattern: KeyPattern) -> None:
    rare = key("decoding", "category", variant="linear probe", test="unseen, rare")
    folds = key("decoding", "category", variant="linear probe", test="unseen images")
    assert pattern.find([folds, rare], folds="unseen images") == rare
    assert pattern.find([folds], folds="unseen images") == folds  # the images could not be split into it
    assert pattern.find([LINEAR], folds="unseen images") is None


def test_the_earlier_spelling_has_an_intervention_and_a_strength() -> None:
    keys = [key("displacement", "hue", strength=s, variant=v) for s in (60.0, 120.0) for v in ("control", None)]
    pattern = KeyPattern(measure="displacement", intervention="hue", strength=120)
    assert pattern.find(keys, folds="") == keys[3]
    assert KeyPattern(measure="displacement", intervention="oil").find(keys, folds="") is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "say which number is meant"),
        ({"kind": "geometry", "measure": "uniformity"}, "say which number is meant"),
        ({"measure": "uniformity", "target": "uniformity"}, "another spelling"),
        ({"kind": "displacement", "intervention": "hue"}, "an intervention is the target or the condition"),
        ({"kind": "geometry", "colour": "red"}, "Extra inputs"),
    ],
)
def test_a_pattern_of_two_minds_is_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        KeyPattern.model_validate(fields)


def test_a_pattern_is_described_by_what_it_names() -> None:
    assert KeyPattern(kind="variance", target="text").describe() == "kind 'variance', target 'text'"
