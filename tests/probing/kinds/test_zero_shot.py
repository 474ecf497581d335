"""Zero-shot: which name an encoder with text gives a picture, with texts of which the vectors are known."""

from __future__ import annotations

from typing import Any

import pytest

from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from embprobe.probing.context import GUESSING, NotApplicable
from tests.conftest import make_encoder
from tests.probing.conftest import (
    BLUE,
    GREEN,
    RED,
    Reader,
    card_of,
    estimate,
    found_by,
    measures,
    painted,
    probe,
    reader,
    values,
)

NAMED = {"kind": "zero-shot", "label": "name"}
AXES = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


def three() -> Reader:
    return reader(AXES)


def pictures() -> Images:
    """Six, of which the last is called blue and is red."""
    return painted(
        [RED, RED, GREEN, GREEN, BLUE, RED],
        name=["red", "red", "green", "green", "blue", "blue"],
        concept=["r", "r", "g", "g", "b", "b"],
    )


def test_the_nearest_name_by_hand(workspace: Workspace) -> None:
    results = probe(workspace, pictures(), [three()], NAMED | {"k": [1, 2]})
    assert values(results, "test/reader", "zero-shot name") == {f"{i:03d}": float(i < 5) for i in range(6)}
    (row,) = found_by(results, "test/reader", "zero-shot name")
    assert row.estimate == pytest.approx(5 / 6) and (row.images, row.groups, row.unit) == (6, 3, "accuracy")
    assert estimate(results, GUESSING, "zero-shot name") == pytest.approx(1 / 3)
    # The nearest name is the image's own for 5 of 6. Each name's nearest picture has that colour; with equal ones the
    # first in order, which is called so, too. Of two names, the red one called blue may meet its own, at cosine 0.
    assert estimate(results, "test/reader", "recall@1 of names by images") == pytest.approx(5 / 6)
    assert estimate(results, "test/reader", "recall@1 of images by names") == 1
    (by_names,) = found_by(results, "test/reader", "recall@1 of images by names")
    assert (by_names.images, by_names.groups, by_names.unit) == (3, 3, "share of names")
    assert set(values(results, "test/reader", "recall@1 of images by names")) == {"red", "green", "blue"}


def test_as_many_as_there_are_says_nothing_and_is_not_asked(workspace: Workspace) -> None:
    results = probe(workspace, pictures(), [three()], NAMED | {"k": [1, 2, 3, 5]})
    assert measures(results) == {
        "zero-shot name",
        *(f"recall@{k} of {what}" for k in (1, 2) for what in ("names by images", "images by names")),
    }


def test_templates_are_averaged_by_hand(workspace: Workspace) -> None:
    # 'a red' and 'no red' lie to both sides of red; their mean is red. 'a green' alone would be nearer to blue.
    known = {
        **{"a red": (2, 1, 0), "no red": (2, -1, 0)},
        **{"a green": (0, 1, 1.5), "no green": (0, 1, -1.5)},
        **{"a blue": (0, 0, 3), "no blue": (0, 0, 1)},
    }
    encoder = reader(known)
    results = probe(workspace, pictures(), [encoder], NAMED | {"templates": ["a {}", "no {}"]})
    assert estimate(results, "test/reader", "zero-shot name") == pytest.approx(5 / 6)
    assert encoder.texts == [6]


def test_under_a_treatment_by_hand(workspace: Workspace) -> None:
    # In grey all names are as near: the first in the alphabet is taken, blue, which is right for 2 of 6. Retrieval is
    # asked of images as they are alone.
    results = probe(workspace, pictures(), [three()], NAMED | {"treatments": ["none", "greyscale 1"], "k": [1]})
    found = {
        (row.key.condition, row.key.strength): row.estimate
        for row in found_by(results, "test/reader")
        if row.unit == "accuracy"
    }
    assert found == {(None, None): pytest.approx(5 / 6), ("greyscale", 1): pytest.approx(1 / 3)}
    assert {row.key.condition for row in results.rows if row.key.phrase.startswith("recall")} == {None}


def test_who_has_no_text_is_not_asked(workspace: Workspace) -> None:
    results = probe(workspace, pictures(), [make_encoder(), three()], NAMED)
    assert {row.encoder for row in results.rows} == {"test/reader", GUESSING}
    assert not any(row.is_difference for row in results.rows)


def test_two_with_text_are_compared(workspace: Workspace) -> None:
    wrong = reader({"red": (0, 1, 0), "green": (0, 0, 1), "blue": (1, 0, 0)}, "wrong")
    results = probe(workspace, pictures(), [three(), wrong], NAMED)
    (difference,) = [row for row in results.rows if row.is_difference and row.key.phrase == "zero-shot name"]
    assert difference.estimate == pytest.approx(5 / 6 - 1 / 6)  # the other calls red blue, and that is right once


def test_without_text_or_names_it_is_left_out_with_the_reason(workspace: Workspace) -> None:
    grey: dict[str, Any] = {"kind": "displacement", "intervention": "greyscale", "strengths": [1]}
    results = probe(workspace, pictures(), [make_encoder()], grey, NAMED)
    assert results.left_out == ["zero-shot: none of the encoders has a text side"]
    with pytest.raises(NotApplicable, match="zero-shot: it needs the label 'name', which none of the images"):
        probe(workspace, painted([RED, GREEN], concept=["r", "g"]), [three()], NAMED)


def test_a_single_name_is_an_error(workspace: Workspace) -> None:
    images = painted([RED, GREEN], name=["red", "red"], concept=["r", "g"])
    with pytest.raises(EmbprobeError, match="at least two different values of the class: all are 'red'"):
        probe(workspace, images, [three()], NAMED)


def test_a_treatment_that_does_not_exist_is_refused_first(workspace: Workspace) -> None:
    encoder = three()
    with pytest.raises(UsageError, match="no intervention 'hew'"):
        probe(workspace, pictures(), [encoder], NAMED, NAMED | {"treatments": ["hew 1"]})
    assert encoder.encoded == 0 and encoder.texts == []


def test_unless_told_otherwise_the_name_itself_is_the_text() -> None:
    (measure,) = card_of(NAMED).measures
    assert measure.model_dump()["templates"] == ["{}"]


@pytest.mark.parametrize(("limit", "encoded"), [({}, 6), ({"limit": 3}, 3)])
def test_unchanged_images_are_not_encoded_for_it_alone_unless_they_are_few(
    workspace: Workspace, limit: dict[str, int], encoded: int
) -> None:
    named = three()
    probe(workspace, pictures(), [named], NAMED | {"images": limit})
    assert named.encoded == encoded
    probe(workspace, pictures(), [named], NAMED | {"images": limit}, {"kind": "geometry", "statistics": ["uniformity"]})
    assert named.encoded == (6 if not limit else 3 + 6)
