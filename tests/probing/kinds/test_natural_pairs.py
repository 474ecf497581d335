"""Natural pairs: what decides who is alike among images nobody changed, where that is known."""

from __future__ import annotations

from typing import Any

import pytest

from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from embprobe.probing.context import NotApplicable
from tests.conftest import CountingEncoder, make_encoder
from tests.probing.conftest import (
    estimate,
    found_by,
    measures,
    painted,
    probe,
    sees_concept,
    sees_cue,
)

PAIRS: dict[str, Any] = {"kind": "natural-pairs", "of": "category", "attributes": {"category": "category"}}
BY_CATEGORY = "similarity by category"


def twelve(**more: list[str]) -> Images:
    """Two categories (red or green) in two styles (blue or not), three images of each."""
    each = [(i % 2, i // 2 % 2) for i in range(12)]
    return painted(
        [((250, 0, 255 * style), (0, 250, 255 * style))[category] for category, style in each],
        category=["ab"[category] for category, _ in each],
        style=["xy"[style] for _, style in each],
        concept=[f"c{i}" for i in range(12)],
        **more,
    )


def test_where_the_label_decides_and_where_another_does(workspace: Workspace) -> None:
    # Who sees the category has cosine 1 within it and 0 across: it is the label. For who sees the style: an image has
    # 11 partners, 5 of its category (2 of them of its style) and 6 others (3 of its style). Of two such yes-or-no
    # variables the correlation is (2 * 3 - 3 * 3) / sqrt(5 * 6 * 5 * 6) = -0.1.
    results = probe(workspace, twelve(), [sees_concept(), sees_cue()], PAIRS)
    assert estimate(results, "test/concept", BY_CATEGORY) == pytest.approx(1)
    assert estimate(results, "test/cue", BY_CATEGORY) == pytest.approx(-0.1)
    (row,) = found_by(results, "test/cue", BY_CATEGORY)
    assert (row.images, row.groups, row.unit) == (12, 12, "partial rank correlation")


def test_what_is_held_constant_by_hand(workspace: Workspace) -> None:
    # The category decides, whatever is held constant beside it; and beside the category nothing goes with the style.
    both = {"category": "category", "style": "style"}
    results = probe(
        workspace,
        twelve(),
        [make_encoder()],
        PAIRS | {"attributes": both},
        PAIRS | {"attributes": both, "of": "style"},
    )
    assert measures(results) == {
        "similarity by category, style held constant",
        "similarity by style, category held constant",
    }
    # Red and green at right angles, and blue adds to both: each attribute raises the cosine where the other is equal.
    assert all(row.estimate > 0.3 for row in results.rows)


def test_words_and_encoders_may_be_attributes(workspace: Workspace) -> None:
    captions = ["a red thing" if i % 2 == 0 else "some green stuff" for i in range(12)]
    of_words = PAIRS | {"of": "text", "attributes": {"text": "words of caption"}}
    of_colour = PAIRS | {"of": "colour", "attributes": {"colour": "reference/pixels"}}
    results = probe(workspace, twelve(caption=captions), [sees_concept()], of_words, of_colour)
    assert estimate(results, "test/concept", "similarity by text") == pytest.approx(1)  # as the category
    assert estimate(results, "test/concept", "similarity by colour") > 0.5


def test_an_encoder_is_not_asked_with_itself_held_constant(workspace: Workspace) -> None:
    attributes = {"category": "category", "colour": "reference/pixels"}
    pixels = load_encoder("reference/pixels")
    results = probe(workspace, twelve(), [pixels, make_encoder()], PAIRS | {"attributes": attributes})
    assert {row.encoder for row in results.rows} == {"test/means"}
    with pytest.raises(NotApplicable, match="every encoder is one of the attributes that are held constant"):
        probe(workspace, twelve(), [pixels], PAIRS | {"attributes": attributes})


# --- what is missing ---------------------------------------------------------------------------------------------


def test_what_is_asked_for_must_be_there_and_the_rest_is_done_without(workspace: Workspace) -> None:
    attributes = {"category": "category", "style": "manner", "text": "words of caption"}
    results = probe(workspace, twelve(), [sees_concept()], PAIRS | {"attributes": attributes})
    assert measures(results) == {BY_CATEGORY}
    with pytest.raises(NotApplicable, match="natural-pairs: it needs the label 'caption', which none of the images"):
        probe(workspace, twelve(), [sees_concept()], PAIRS | {"attributes": attributes, "of": "text"})


def test_too_few_images_are_left_out_with_the_reason(workspace: Workspace) -> None:
    with pytest.raises(NotApplicable, match=r"category needs at least 10 images, and of 'painted' 9 can be compared"):
        probe(workspace, twelve().take(range(9)), [sees_concept()], PAIRS)
    assert probe(workspace, twelve().take(range(10)), [sees_concept()], PAIRS).rows


def test_a_label_that_is_always_the_same_is_an_error(workspace: Workspace) -> None:
    images = twelve().labelled(lambda row: {**row.labels, "category": "thing"})
    with pytest.raises(EmbprobeError, match="No two pairs of images differ in how similar they are in 'category'"):
        probe(workspace, images, [sees_concept()], PAIRS)


def test_an_encoder_that_does_not_exist_is_refused_first(workspace: Workspace) -> None:
    encoder: CountingEncoder = sees_concept()
    wrong = PAIRS | {"attributes": {"category": "category", "colour": "reference/colours"}}
    with pytest.raises(UsageError, match="reference/colours"):
        probe(workspace, twelve(), [encoder], PAIRS, wrong)
    assert encoder.encoded == 0
