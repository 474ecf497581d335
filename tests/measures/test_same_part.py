"""Parts that correspond by their place in an object's box, by hand and under a shift."""

from __future__ import annotations

import numpy as np
import pytest

from embprobe.errors import EmbprobeError
from embprobe.measures.same_part import object_box, same_part

WHOLE = np.array([0.0, 0.0, 1.0, 1.0])


def test_a_box_goes_around_what_is_covered_by_half() -> None:
    seen = np.full((10, 20), 0.4)
    seen[2, 3] = seen[4, 15] = 0.9
    assert object_box(seen).tolist() == [0.2, 0.15, 0.5, 0.8]
    assert np.isnan(object_box(np.zeros((4, 4)))).all()


def test_a_shifted_object_has_the_same_parts() -> None:
    """An object of 2 x 2 parts, of which each has a token of its own, in two places of a 4 x 4 grid."""
    parts, patches, covered = np.eye(5)[:4].reshape(2, 2, 5), np.zeros((2, 4, 4, 5)), np.zeros((2, 4, 4), bool)
    patches[..., 4] = 1  # the background
    for i, (top, left) in enumerate([(0, 1), (2, 2)]):
        patches[i, top : top + 2, left : left + 2] = parts
        covered[i, top : top + 2, left : left + 2] = True
    boxes = np.array([[0, 0.25, 0.5, 0.75], [0.5, 0.5, 1, 1]])
    found, chance = same_part(patches, covered, boxes, np.array([1, 0]))
    assert found.tolist() == [1, 1] and chance.tolist() == [0.25, 0.25]
    turned = patches.copy()
    turned[1, 2:, 2:] = parts[::-1, ::-1]  # every part is at the opposite place
    assert same_part(turned, covered, boxes, np.array([1, 0]))[0].tolist() == [0, 0]


def test_tokens_that_are_all_alike_find_parts_by_chance() -> None:
    covered = np.array([[[True, True, False]], [[True, True, True]]])
    found, chance = same_part(np.ones((2, 1, 3, 4)), covered, np.stack([WHOLE, WHOLE]), np.array([1, 0]))
    # of the second one's patches, the third has no counterpart that is covered
    assert found.tolist() == chance.tolist() == [pytest.approx(1 / 3), 0.5]


def test_images_without_a_partner_or_parts_have_no_score() -> None:
    covered = np.array([[[True, True]], [[True, False]], [[False, False]]])
    boxes = np.stack([WHOLE, WHOLE, np.full(4, np.nan)])
    found, chance = same_part(np.ones((3, 1, 2, 2)), covered, boxes, np.array([1, -1, 0]))
    assert np.isnan(found).all() and np.isnan(chance).all()  # one candidate alone; no partner; no object


def test_a_token_without_a_direction_is_refused() -> None:
    covered = np.ones((2, 1, 2), bool)
    with pytest.raises(EmbprobeError, match="no direction"):
        same_part(np.zeros((2, 1, 2, 2)), covered, np.stack([WHOLE, WHOLE]), np.array([1, 0]))
