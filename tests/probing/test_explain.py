"""What each bundled card says it asks of each kind of material, before anything runs and when it has run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.images import Images
from embprobe.probing.card import attributes, bundled_card
from embprobe.probing.explain import explain
from embprobe.probing.run import run_probe
from tests.conftest import real_images
from tests.probing.conftest import painted

COLOUR, BACKGROUND = "tells red from blue", "owes its variance to the background"
WORD = "tells anagrams written into an image apart"
OIL = "is moved by strokes of oil, beyond a blur of that size,"
STYLE = "draws images of one style together"
CATEGORY = "surpasses trivial encoders at the category of"
DRAWN = "is drawn to what the word names, beside a third concept and beyond shuffled ink,"
FINE = "surpasses trivial encoders at telling concepts of one category apart"
HOUSE = f"{CATEGORY} unseen concepts by a house that was not fitted on"
DOMAIN = f"{CATEGORY} unseen images in a style that was not fitted on"
AMONG, CHANGED = "tells the category of unseen images", "tells the category of changed images"
RANK = "spreads over directions"
COUNTS = "counts drawings of unseen concepts"
PATCHES = "tells object and background apart by patches"
UPRIGHT = "tells the way up of unseen images"
EXPECTED: dict[str, dict[str, str | None]] = {
    "emoji": {
        "background": BACKGROUND, "category": f"{CATEGORY} unseen concepts", "color": COLOUR, "geometry": RANK,
        "style": STYLE, "text": WORD, "typographic": DRAWN, "fine-grained": FINE, "robustness": HOUSE,
        "vision": COUNTS, "dense": PATCHES,
    },
    "pacs-half.parquet": {
        "background": BACKGROUND, "category": f"{CATEGORY} unseen images", "color": COLOUR, "geometry": RANK,
        "style": STYLE, "text": WORD, "typographic": DRAWN, "fine-grained": AMONG, "robustness": DOMAIN,
        "vision": UPRIGHT, "dense": PATCHES,
    },
    "cifar-10.parquet": {
        "background": BACKGROUND, "category": f"{CATEGORY} unseen images", "color": COLOUR, "geometry": RANK,
        "style": OIL, "text": WORD, "typographic": DRAWN, "fine-grained": AMONG, "robustness": CHANGED,
        "vision": UPRIGHT, "dense": PATCHES,
    },
    "imagenet-one-each.parquet": {
        "background": BACKGROUND, "category": f"{CATEGORY} unseen images", "color": COLOUR, "geometry": RANK,
        "style": OIL, "text": WORD, "typographic": DRAWN, "fine-grained": AMONG, "robustness": CHANGED,
        "vision": UPRIGHT, "dense": PATCHES,
    },
    "without labels": {
        "background": BACKGROUND, "category": None, "color": COLOUR, "geometry": RANK,
        "style": OIL, "text": WORD, "typographic": None, "fine-grained": None, "robustness": None,
        "vision": UPRIGHT, "dense": PATCHES,
    },
}  # fmt: skip
"""By material and card what an encoder does, as the headline's sentence will say it; None where it cannot be asked."""


@pytest.fixture(params=EXPECTED)
def material(request: pytest.FixtureRequest) -> tuple[str, Images]:
    name: str = request.param
    if name == "emoji":
        return name, request.getfixturevalue("emoji")
    if name == "without labels":
        return name, painted([(10 * i, 250 - 10 * i, 90) for i in range(12)])
    return name, real_images(name)


def test_a_card_says_what_its_headline_will_say(material: tuple[str, Images]) -> None:
    name, images = material
    assert EXPECTED[name].keys() == set(attributes())
    for attribute, says in EXPECTED[name].items():
        explanation = explain(bundled_card(attribute), images)
        if says is None:
            assert explanation.headline is None, attribute
        else:
            assert explanation.headline is not None and explanation.headline.startswith(f"ENCODER {says} ("), attribute
        if not images.lacks("concept"):
            continue
        promised = (explanation.question, explanation.headline or "", *explanation.checks)
        assert not any("unseen concept" in sentence for sentence in promised), attribute


def test_what_cannot_be_measured_is_listed_with_its_reason() -> None:
    explanation = explain(bundled_card("category"), painted([(10 * i, 250 - 10 * i, 90) for i in range(12)]))
    reasons = {measure.left_out for measure in explanation.measures if measure.left_out}
    assert "it needs the label 'category'" in reasons and "it needs the label 'name'" in reasons
    assert "12 images" in explanation.facts


def test_the_material_decides_the_question(emoji: Images) -> None:
    card = bundled_card("style")
    drawings, photographs = explain(card, emoji), explain(card, painted([(9 * i, 0, 0) for i in range(6)]))
    assert (drawings.material, photographs.material) == ("concepts in several styles", "any images")
    assert drawings.question != photographs.question
    assert any("shuffled" in check for check in drawings.checks)
    assert any("strokes" in check for check in photographs.checks)


REFERENCES = ("reference/color-histogram", "reference/random-vit")
RUN = {
    "pacs-half.parquet": ("category", "color", "fine-grained", "geometry", "robustness", "style", "typographic"),
    "cifar-10.parquet": ("category", "color", "fine-grained", "geometry", "robustness", "style"),
}
"""The cards that are run on a part of each data set, by two encoders that are there at once."""


@pytest.mark.parametrize(("name", "attribute"), [(name, card) for name, cards in RUN.items() for card in cards])
def test_the_sentence_of_a_run_is_the_one_that_was_explained(name: str, attribute: str, workspace: Workspace) -> None:
    images = real_images(name)
    images = images.take(range(0, len(images), len(images) // 120))
    first, second = (load_encoder(reference) for reference in REFERENCES)
    card = bundled_card(attribute).of(images).quickly()
    results = run_probe(card, images, [first, second], [load_encoder("reference/pixels")], Session(workspace))
    (sentence,) = results.conclusions.sentences
    says = str(EXPECTED[name][attribute])
    undecided = f"Undecided whether {REFERENCES[0]} or {REFERENCES[1]} {says} more: the difference is "
    assert sentence.startswith((undecided, *(f"{reference} {says} " for reference in REFERENCES))), sentence
    assert "concept" not in sentence.replace("a third concept", "") and " images)" in sentence
    assert not any(check.passed is False for check in results.conclusions.checks)


def test_tests_under_treatments_never_seen_are_listed_too(emoji: Images) -> None:
    numbers = [number for measure in explain(bundled_card("style"), emoji).measures for number in measure.numbers]
    assert "transformation decoding, unseen concepts" in numbers
    assert "transformation decoding, unseen concepts, unseen kinds" in numbers


@pytest.mark.parametrize("attribute", attributes())
def test_a_stray_image_without_labels_changes_no_question(attribute: str) -> None:
    images = real_images("pacs-half.parquet")
    images = images.take(range(0, len(images), 40))
    stray = Images("stray", (images.rows[0], replace(images.rows[1], key="stray", labels={}), *images.rows[2:]))
    card = bundled_card(attribute)
    plain, found = explain(card, images), explain(card, stray)
    assert (found.material, found.question, found.headline) == (plain.material, plain.question, plain.headline)
    assert found.checks == plain.checks
    assert [(m.kind, m.numbers, m.left_out) for m in found.measures] == [
        (m.kind, m.numbers, m.left_out) for m in plain.measures
    ]
    assert all("'stray'" in note for note in found.left_out) and not plain.left_out


def test_what_is_explained_of_a_stray_image_is_what_the_run_leaves_out(workspace: Workspace) -> None:
    images = real_images("pacs-half.parquet")
    images = images.take(range(0, len(images), len(images) // 60))
    stray = Images("stray", (*images.rows[:-1], replace(images.rows[-1], labels={})))
    card = bundled_card("category")
    encoders = [load_encoder(reference) for reference in REFERENCES]
    session = Session(workspace)
    results = run_probe(card, stray, encoders, [load_encoder("reference/pixels")], session, quick=True)
    assert set(explain(card, stray).left_out) & set(results.left_out) == {
        f"1 of {len(stray)} images lack the label 'category': '{stray.rows[-1].key}' (--max-unlabelled 0.2)"
    }
    assert results.conclusions.key is not None
    assert {row.images for row in results.rows if row.key == results.conclusions.key} == {len(stray) - 1}
