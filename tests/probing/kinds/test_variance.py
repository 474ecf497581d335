"""Variance: in a balanced design where one factor moves the vector, its share is 1 and that of the others 0."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from embprobe.images.decoding import UnreadableImage
from embprobe.probing.context import NotApplicable
from embprobe.probing.kinds.variance import beyond_negligible
from tests.conftest import make_encoder
from tests.probing.conftest import (
    crossed,
    estimate,
    found_by,
    measures,
    painted,
    probe,
    sees_concept,
    sees_cue,
    values,
)

FACTORS = {"concept": "concept", "cue": "cue"}
DESIGN: dict[str, Any] = {
    "kind": "variance",
    "unit": "concept",
    "factors": FACTORS,
    "of": ["concept", "cue", "rest"],
}


def test_the_factor_that_moves_the_vector_has_all_of_it(workspace: Workspace) -> None:
    results = probe(workspace, crossed(4, 3), [sees_concept(), sees_cue()], DESIGN)
    expected = {"test/concept": {"concept": 1, "cue": 0, "rest": 0}, "test/cue": {"concept": 0, "cue": 1, "rest": 0}}
    for encoder, shares in expected.items():
        for factor, share in shares.items():
            (row,) = found_by(results, encoder, f"variance share of {factor}")
            assert row.estimate == pytest.approx(share, abs=1e-5)
            assert (row.images, row.groups, row.unit) == (4, 4, "share of the variance")  # a score for each concept
    assert set(values(results, "test/cue", "variance share of cue")) == {"c0", "c1", "c2", "c3"}


def test_who_is_blind_to_a_factor_has_p_of_one(workspace: Workspace) -> None:
    results = probe(workspace, crossed(6, 3), [sees_concept(), sees_cue()], DESIGN)
    (blind,) = found_by(results, "test/concept", "variance share of cue")
    (sees,) = found_by(results, "test/cue", "variance share of cue")
    assert blind.p == 1
    # Of 3! orders in each of 6 concepts, only those that are the same in all are as good: 6 of 6^6.
    assert sees.p is not None and sees.p <= 0.01
    assert found_by(results, "test/cue", "variance share of rest")[0].p is None  # nothing is claimed of the rest


def test_treatments_may_be_a_factor_by_hand(workspace: Workspace) -> None:
    # Grey pictures stay grey, so the treatment does nothing, and what differs is the concept.
    images = painted([(k, k, k) for k in (40, 90, 140, 190)], concept=list("abcd"))
    light = make_encoder("light", lambda batch: torch.tanh(batch.mean((2, 3)) * torch.tensor([1.0, 2.0, 9.0])))
    color = {"as it is": ["none"], "grey": ["greyscale 1"]}
    measure = DESIGN | {"factors": {"concept": "concept", "colour": color}, "of": ["colour", "concept"]}
    results = probe(workspace, images, [light], measure)
    assert estimate(results, "test/light", "variance share of colour") == pytest.approx(0, abs=1e-5)
    assert estimate(results, "test/light", "variance share of concept") == pytest.approx(1, abs=1e-5)
    assert light.encoded == 8  # every image in every colour


def test_the_limit_is_of_the_unit(workspace: Workspace) -> None:
    results = probe(workspace, crossed(6, 2), [sees_cue()], DESIGN | {"limit": 3})
    assert {row.groups for row in results.rows} == {3}


def test_a_concept_that_lacks_a_combination_is_left_out(workspace: Workspace) -> None:
    whole = crossed(5, 2)
    results = probe(workspace, whole.take(range(len(whole) - 1)), [sees_cue()], DESIGN)
    assert set(values(results, "test/cue", "variance share of cue")) == {"c0", "c1", "c2", "c3"}


def test_a_concept_of_which_an_image_cannot_be_read_is_left_out(workspace: Workspace) -> None:
    def torn() -> Image.Image:
        raise UnreadableImage("torn in two")

    rows = list(crossed(5, 2).rows)
    rows[3] = replace(rows[3], source=torn, content="torn")
    results = probe(workspace, Images("torn", tuple(rows)), [sees_cue()], DESIGN)
    assert set(values(results, "test/cue", "variance share of cue")) == {"c0", "c2", "c3", "c4"}


# --- labels that are not there -----------------------------------------------------------------------------------


def test_a_factor_that_no_image_has_is_done_without(workspace: Workspace) -> None:
    measure = DESIGN | {"factors": {**FACTORS, "light": "light"}, "of": ["cue"]}
    results = probe(workspace, crossed(4, 2), [sees_cue()], measure)
    assert estimate(results, "test/cue", "variance share of cue") == pytest.approx(1, abs=1e-5)


def test_but_not_if_its_share_is_asked_for(workspace: Workspace) -> None:
    measure = DESIGN | {"factors": {**FACTORS, "light": "light"}, "of": ["light"]}
    with pytest.raises(NotApplicable, match="it needs the label 'light', which none of the images in 'painted' has"):
        probe(workspace, crossed(4, 2), [sees_cue()], measure)


def test_without_concepts_every_image_is_a_unit(workspace: Workspace) -> None:
    images = painted([(250, 0, 0), (250, 40, 0), (250, 0, 40), (250, 60, 30)])  # in grey they coincide, far from here
    color = {"as it is": ["none"], "grey": ["greyscale 1"]}
    measure = DESIGN | {"factors": {"concept": "concept", "colour": color}, "of": ["colour"]}
    results = probe(workspace, images, [make_encoder()], measure)
    (row,) = found_by(results, "test/means", "variance share of colour")
    assert (row.groups, row.resampled) == (4, "image") and row.estimate > 0.9
    assert set(values(results, "test/means", "variance share of colour")) == {"000", "001", "002", "003"}


def test_too_few_concepts_are_left_out_with_the_reason(workspace: Workspace) -> None:
    with pytest.raises(NotApplicable, match="variance: fewer than three values of 'concept' have an image for every"):
        probe(workspace, crossed(2, 2), [sees_cue()], DESIGN)


def test_a_concept_with_an_image_that_lacks_the_label_is_left_out(workspace: Workspace) -> None:
    rows = list(crossed(4, 2).rows)
    rows[2] = replace(rows[2], labels={"concept": "c1"})
    results = probe(workspace, Images("part", tuple(rows)), [sees_cue()], DESIGN)
    (reason,) = results.left_out
    assert reason.startswith("of variance, 1 of 8 images lack the label 'cue': '002'")
    assert {row.groups for row in results.rows} == {3}


def test_a_factor_of_one_value_is_an_error(workspace: Workspace) -> None:
    images = painted([(250, 0, 0), (0, 250, 0), (0, 0, 250)], concept=list("abc"), cue=["x"] * 3)
    with pytest.raises(EmbprobeError, match="all images have the cue 'x'"):
        probe(workspace, images, [make_encoder()], DESIGN)


def test_a_treatment_that_does_not_exist_is_refused_first(workspace: Workspace) -> None:
    encoder = sees_cue()
    wrong = DESIGN | {"factors": {**FACTORS, "color": {"a": ["none"], "b": ["greyscale 7"]}}}
    with pytest.raises(UsageError, match="greyscale"):
        probe(workspace, crossed(4, 2), [encoder], DESIGN, wrong)
    assert encoder.encoded == 0


def test_all_shares_are_asked_by_name(workspace: Workspace) -> None:
    results = probe(workspace, crossed(4, 2), [sees_cue()], DESIGN | {"of": ["rest"]})
    assert measures(results) == {"variance share of rest"}


# --- designs on any images, and shares that are negligible ---------------------------------------------------------

GREYS: dict[str, Any] = {"as it is": ["none"], "grey": ["greyscale 1"]}


def test_where_no_image_has_the_units_label_images_are_crossed_with_the_treatments(workspace: Workspace) -> None:
    # paintings and photographs of cats and dogs: no image is there in two styles, so style is done without
    reds = [(250, 0, 0), (250, 40, 0), (250, 0, 40), (250, 60, 30)]
    images = painted(reds, style=["photo", "photo", "art", "art"], category=["cat", "dog"] * 2)
    measure = DESIGN | {"factors": {"concept": "concept", "style": "style", "colour": GREYS}, "of": ["colour"]}
    results = probe(workspace, images, [make_encoder()], measure)
    (row,) = found_by(results, "test/means", "variance share of colour")
    assert (row.groups, row.resampled) == (4, "image") and row.estimate > 0.9
    assert results.left_out == ["the factor style of the variance shares: each image has one style"]


def test_concepts_without_every_style_are_resampled_with_their_images(workspace: Workspace) -> None:
    reds = [(250, 0, 0), (250, 40, 0), (250, 0, 40), (250, 60, 30)]
    images = painted(reds, style=["photo", "photo", "art", "art"], concept=["cat", "cat", "dog", "emu"])
    measure = DESIGN | {"factors": {"concept": "concept", "style": "style", "colour": GREYS}, "of": ["colour"]}
    (row,) = found_by(probe(workspace, images, [make_encoder()], measure), "test/means", "variance share of colour")
    assert (row.images, row.groups, row.resampled) == (4, 3, "concept")


def test_most_is_of_pictures_and_leaves_three_units_at_least(workspace: Workspace) -> None:
    measure = DESIGN | {"factors": {**FACTORS, "colour": GREYS}, "of": ["cue"]}
    for most, concepts in ((17, 4), (16, 4), (15, 3), (3, 3)):  # two cues in two colours: four pictures a concept
        results = probe(workspace, crossed(6, 2), [sees_cue()], measure | {"most": most})
        assert {row.groups for row in results.rows} == {concepts}


@pytest.mark.parametrize(
    ("share", "counted"), [(0.0, 0), (0.004, 0), (0.01, 0), (0.012, 0.004), (0.015, 0.01), (0.02, 0.02), (0.3, 0.3)]
)
def test_a_negligible_share_counts_as_none_and_a_large_one_as_it_is(share: float, counted: float) -> None:
    alike = np.full(5, share)  # without any one unit the share is the same
    assert beyond_negligible(alike, share, 0.01) == pytest.approx(np.full(5, counted))


def test_an_encoder_with_a_negligible_share_has_p_of_one(workspace: Workspace) -> None:
    weak = make_encoder("weak", lambda batch: batch.mean((2, 3)) * torch.tensor([1.0, 1.0, 0.03]))
    exact, counted = (
        found_by(probe(workspace, crossed(6, 3), [weak], DESIGN | more), "test/weak", "variance share of cue")[0]
        for more in ({}, {"negligible": 0.01})
    )
    assert 0 < exact.estimate < 0.01 and exact.p is not None and exact.p < 0.05
    assert (counted.estimate, counted.p) == (0, 1)
