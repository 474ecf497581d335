"""Attraction as a measure of a card: which labels count, its control, and what it refuses with a sentence."""

from __future__ import annotations

import pytest

from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from embprobe.probing.context import NotApplicable
from tests.conftest import make_encoder
from tests.probing.conftest import GREEN, RED, crossed, estimate, measures, painted, probe, sees_concept, sees_cue

BY_CUE = {"kind": "attraction", "attribute": ["cue"], "among": ["concept"]}
NEARER = "same cue nearer, another concept"


def test_who_sees_the_attribute_has_1_and_who_sees_the_content_alone_one_half(workspace: Workspace) -> None:
    results = probe(workspace, crossed(), [sees_concept(), sees_cue()], BY_CUE)
    assert estimate(results, "test/cue", NEARER) == 1
    assert estimate(results, "test/concept", NEARER) == 0.5
    assert {(row.images, row.groups, row.unit) for row in results.rows} == {(4, 2, "share of triplets")}


def test_the_first_labels_that_images_have_count(workspace: Workspace) -> None:
    measure = {"kind": "attraction", "attribute": ["family", "cue"], "among": ["thing", "concept"]}
    assert measures(probe(workspace, crossed(), [sees_cue()], measure)) == {NEARER}


def test_shuffled_values_are_measured_beside_the_true_ones(workspace: Workspace) -> None:
    images = painted([RED, GREEN] * 20, concept=[f"c{i // 2}" for i in range(40)], cue=["q0", "q1"] * 20)
    results = probe(workspace, images, [make_encoder()], BY_CUE | {"control_task": True})
    # All of a cue have one colour, so the cue decides. Shuffled, m of 20 concepts have them the other way round: the
    # share is that of pairs of concepts that agree, 0.47 for m = 10 and 0.61 for m = 5
    assert estimate(results, "test/means", NEARER) == 1
    shuffled = estimate(results, "test/means", "same cue nearer by shuffled labels, another concept")
    assert shuffled == pytest.approx(0.54, abs=0.07)


def test_treatments_make_the_attribute(workspace: Workspace) -> None:
    images = painted([RED, GREEN], concept=["r", "g"])
    # Every image as it is and in grey. A red square's candidates are green and grey: green lies at cosine 0 of red,
    # grey at 1 / sqrt(3), so 0; a grey one's are grey (1) and green (1 / sqrt(3)), so 1. The mean is one half.
    treatments = {"colour": ["none"], "grey": ["greyscale 1"]}
    measure = {"kind": "attraction", "attribute": ["filter"], "among": ["concept"], "treatments": treatments}
    results = probe(workspace, images, [make_encoder()], measure)
    assert estimate(results, "test/means", "same filter nearer, another concept") == 0.5


# --- what is missing ---------------------------------------------------------------------------------------------


def test_images_without_the_attribute_are_named(workspace: Workspace) -> None:
    with pytest.raises(NotApplicable, match="attraction: it needs the label 'cue', which none of the images"):
        probe(workspace, painted([RED, GREEN], concept=["a", "b"]), [make_encoder()], BY_CUE)


def test_one_style_and_nothing_to_compare_it_with(workspace: Workspace) -> None:
    images = painted([RED, GREEN], concept=["a", "b"], cue=["x", "x"])
    with pytest.raises(NotApplicable, match="all images have the cue 'x', and there is no other to compare with"):
        probe(workspace, images, [make_encoder()], BY_CUE)


def test_a_style_that_goes_with_a_category_cannot_be_told_apart(workspace: Workspace) -> None:
    images = painted([RED, RED, GREEN, GREEN], concept=["a", "a", "b", "b"], cue=["x", "x", "y", "y"])
    with pytest.raises(NotApplicable, match="so cue and concept cannot be told apart"):
        probe(workspace, images, [make_encoder()], BY_CUE)


def test_an_image_that_lacks_the_attribute_is_an_error(workspace: Workspace) -> None:
    rows = crossed().rows
    images = painted([RED] * 4, concept=[row.labels["concept"] for row in rows], cue=["x", "y", "x", "y"])
    lacking = images.labelled(lambda row: {k: v for k, v in row.labels.items() if k != "cue" or row.key != "000"})
    with pytest.raises(EmbprobeError, match="cue"):
        probe(workspace, lacking, [make_encoder()], BY_CUE)
