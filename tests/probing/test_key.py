"""The sentence of a key, by hand, for every kind of measure; and what a key tells apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from embprobe.probing.key import SHOTS, SHUFFLED, Key
from tests.probing.conftest import card_of

HUE = Key(kind="displacement", target="hue", strength=60.0)
DECODED = Key(kind="decoding", target="category", variant="linear probe", test="new")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (HUE, "hue 60: displacement"),
        (replace(HUE, strength=0.0), "hue 0: displacement"),
        (Key(kind="displacement", target="oil", strength=0.02), "oil 0.02: displacement"),
        (replace(HUE, variant="percentile"), "hue 60: displacement percentile"),
        (replace(HUE, variant="control"), "hue 60: displacement by the control"),
        (replace(HUE, variant="beyond control"), "hue 60: displacement beyond the control"),
        (replace(HUE, strength=None), "hue: displacement"),  # as the heading of a panel with all strengths
        (DECODED, "category decoding, new"),
        (replace(DECODED, variant="k-NN"), "category k-NN, new"),
        (replace(DECODED, variant="GDA", test="unseen, rare"), "category GDA, unseen, rare"),
        (replace(DECODED, condition=SHUFFLED), "category decoding of shuffled labels, new"),
        (replace(DECODED, variant="GDA", condition=SHOTS, strength=16.0), "shots 16: category GDA from few, new"),
        (replace(DECODED, variant="k-NN", condition="pca:32"), "pca:32: category k-NN, new"),
        (Key(kind="zero-shot", target="name", variant="accuracy"), "zero-shot name"),
        (
            Key(kind="zero-shot", target="name", variant="accuracy", condition="word-conflicts", strength=0.8),
            "word-conflicts 0.8: zero-shot name",
        ),
        (Key(kind="zero-shot", target="name", variant="recall@5 of names by images"), "recall@5 of names by images"),
        (Key(kind="preference", target="concept", variant="hue"), "concept preferred to hue"),
        (Key(kind="preference", target="word", variant="a third concept"), "word preferred to a third concept"),
        (Key(kind="variance", target="style"), "variance share of style"),
        (Key(kind="natural-pairs", target="colour"), "similarity by colour"),
        (
            Key(kind="natural-pairs", target="colour", variant="style and text held constant"),
            "similarity by colour, style and text held constant",
        ),
        (Key(kind="geometry", target="effective rank"), "effective rank"),
        (Key(kind="of another package", target="sharpness"), "sharpness"),
        (
            Key(kind="of another package", target="x", variant="v", test="t", condition="blur", strength=2),
            "blur 2: x v, t",
        ),
        (Key(kind="displacement", target="hue", variant="sideways", strength=9), "hue 9: displacement, sideways"),
    ],
    ids=str,
)
def test_a_key_in_words(key: Key, text: str) -> None:
    assert str(key) == text
    assert key.phrase == text.rpartition(": ")[2]
    assert key.prefix == text.rpartition(": ")[0]


def test_images_and_layers_tell_keys_apart_and_sentences_do_not() -> None:
    keys = [HUE, replace(HUE, dataset="photos"), replace(HUE, layer=3), replace(HUE, dataset="photos", layer=3)]
    assert len(set(keys)) == 4 and len({str(key) for key in keys}) == 1


FIT: dict[str, Any] = {"fit": {"where": {"split": ["a"]}}, "tests": {"new": {"where": {"split": ["b"]}}}}
HUES = {"red": ["tint=30 1"], "blue": ["tint=260 1"]}


@pytest.mark.parametrize(
    ("measure", "sentences"),
    [
        (
            {"kind": "displacement", "intervention": "hue", "strengths": [60, 120], "control": "lightness"},
            [
                f"hue {strength}: displacement{what}"
                for what in (" beyond the control", "", " by the control", " percentile")
                for strength in (60, 120)
            ],
        ),
        (
            {"kind": "displacement", "intervention": "oil", "strengths": [0.02]},
            ["oil 0.02: displacement", "oil 0.02: displacement percentile"],
        ),
        (
            {
                "kind": "decoding",
                "label": "hue",
                "called": "its hue",
                "classifier": "gda",
                "treatments": HUES,
                "held_out": {"red": ["tint=40 1"]},
                "control_task": True,
                "shots": [4],
                "transforms": ["int8"],
                **FIT,
            },
            [
                f"{prefix}its hue GDA{how}, {test}"
                for prefix, how in (("", ""), ("", " of shuffled labels"), ("int8: ", ""), ("shots 4: ", " from few"))
                for test in ("new", "new, unseen kinds")
            ],
        ),
        (
            {"kind": "zero-shot", "label": "name", "k": [1], "treatments": ["none", "hue 120"]},
            [
                "zero-shot name",
                "recall@1 of names by images",
                "recall@1 of images by names",
                "hue 120: zero-shot name",
            ],
        ),
        ({"kind": "preference", "concept": "concept", "cue": "style"}, ["concept preferred to style"]),
        (
            {"kind": "preference", "concept": "concept", "cue": "word", "conflict": "word-conflicts 0.8"},
            ["word preferred to a third concept", "word preferred to the concept"],
        ),
        (
            {
                "kind": "variance",
                "unit": "concept",
                "factors": {"concept": "concept", "style": "style"},
                "of": ["style", "rest"],
            },
            ["variance share of style", "variance share of rest"],
        ),
        (
            {"kind": "natural-pairs", "of": "colour", "attributes": {"colour": "reference/pixels", "style": "style"}},
            ["similarity by colour, style held constant"],
        ),
        ({"kind": "geometry", "statistics": ["uniformity", "alignment"]}, ["uniformity", "alignment"]),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_what_a_measure_declares_by_hand(measure: dict[str, Any], sentences: list[str]) -> None:
    (made,) = card_of(measure).measures
    keys = made.declared_keys()
    assert [str(key) for key in keys] == sentences
    assert len(set(keys)) == len(keys) and {key.kind for key in keys} == {measure["kind"]}
    assert {key.dataset for key in keys} == {None}
