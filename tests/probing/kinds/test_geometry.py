"""Geometry: statistics of vectors that are known, and what is said where one cannot be asked."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest

from embprobe.embeddings.workspace import Workspace
from embprobe.probing.context import NotApplicable
from tests.conftest import make_encoder
from tests.probing.conftest import GREEN, RED, estimate, found_by, measures, painted, probe, reader

OF_VECTORS: dict[str, Any] = {
    "kind": "geometry",
    "statistics": ["uniformity", "effective rank", "mean cosine", "conformity"],
}
OF_LABELS: dict[str, Any] = {"kind": "geometry", "statistics": ["alignment", "modality gap"], "label": "name"}
TWO = painted([RED, GREEN], concept=["r", "g"], name=["thing", "thing"])


def test_two_axes_by_hand(workspace: Workspace) -> None:
    results = probe(workspace, TWO, [make_encoder()], OF_VECTORS)
    expected = {
        "uniformity": -4,  # log exp(-2 * 2): the squared distance is 2
        "effective rank": 1,  # two points vary along one line
        "mean cosine": 0,
        "conformity": 1 / sqrt(2),  # 45 degrees from the mean
    }
    assert {row.key.phrase: pytest.approx(row.estimate, abs=1e-6) for row in results.rows} == expected
    (rank,) = found_by(results, "test/means", "effective rank")
    assert (rank.unit, rank.images, rank.groups) == ("dimensions", 2, 2)


def test_labels_and_texts_by_hand(workspace: Workspace) -> None:
    # Both are called 'thing', and a right angle apart: squared distance 2. The text is the third axis: the mean image
    # (0.5, 0.5, 0) is sqrt(0.25 + 0.25 + 1) away from it.
    results = probe(workspace, TWO, [make_encoder(), reader({"thing": (0, 0, 5)})], OF_LABELS)
    assert estimate(results, "test/means", "alignment") == pytest.approx(2, abs=1e-6)
    assert estimate(results, "test/reader", "modality gap") == pytest.approx(sqrt(1.5), abs=1e-6)
    assert found_by(results, "test/means", "modality gap") == []


@pytest.mark.parametrize(
    ("images", "change", "reason"),
    [
        (TWO, {}, "modality gap needs an encoder with a text side"),
        (TWO, {"label": "caption"}, "alignment needs the label 'caption', which none of the images in 'painted' has"),
        (TWO, {"label": None}, "alignment needs a label, which the card does not name"),
    ],
)
def test_what_cannot_be_asked_is_left_out_with_the_reason(
    workspace: Workspace, images: Any, change: dict[str, object], reason: str
) -> None:
    results = probe(
        workspace, images, [make_encoder()], OF_VECTORS | {"statistics": ["mean cosine"]}, OF_LABELS | change
    )
    assert len(results.left_out) == 1 and results.left_out[0].startswith("geometry: ")
    assert reason in results.left_out[0]
    assert measures(results) == {"mean cosine"} | ({"alignment"} if not change else set())


def test_what_can_be_asked_is_though_another_cannot(workspace: Workspace) -> None:
    measure = OF_LABELS | {"statistics": ["modality gap", "alignment"]}
    assert measures(probe(workspace, TWO, [make_encoder()], measure)) == {"alignment"}


def test_if_nothing_can_be_asked_it_is_said_why(workspace: Workspace) -> None:
    with pytest.raises(NotApplicable, match="'Mine' can be asked of 'painted': geometry: alignment needs the label"):
        probe(workspace, painted([RED, GREEN]), [make_encoder()], OF_LABELS)
