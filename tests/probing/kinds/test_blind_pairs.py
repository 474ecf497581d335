"""Blind pairs: what a card asks for, on pictures of which it is known what each encoder sees."""

from __future__ import annotations

import pytest
import torch

from embprobe.embeddings.workspace import Workspace
from embprobe.errors import UsageError
from embprobe.images import Images
from tests.conftest import Reads, make_encoder, noise, row_of
from tests.probing.conftest import BLUE, GREEN, RED, estimate, found_by, measures, painted, probe

TURNED = {"kind": "blind-pairs", "pattern": "orientation", "after": "turn=180 1", "nuisances": ["noise 0.05"]}
COLORED = {"kind": "blind-pairs", "pattern": "colour", "after": "greyscale 1", "nuisances": ["noise 0.05"]}
IMAGES = Images("noise", tuple(row_of(f"{i}", noise(i), concept=f"c{i}") for i in range(6)))


def test_mean_colours_are_blind_to_turning_and_see_colour(workspace: Workspace) -> None:
    # turning changes no mean colour, noise a little: blind in all; pure colours made grey are at a cosine of 0.58
    results = probe(workspace, IMAGES, [make_encoder(side=8)], TURNED)
    assert estimate(results, "test/means", "blind pairs of orientation") == 1
    assert estimate(results, "test/means", "blind pairs of orientation, cosine above 0.95") == 1
    colors = painted([RED, GREEN, BLUE], concept=["r", "g", "b"])
    results = probe(workspace, colors, [make_encoder()], COLORED)
    assert estimate(results, "test/means", "blind pairs of colour") == 0
    assert estimate(results, "test/means", "blind pairs of colour, cosine above 0.95") == 0
    assert measures(results) == {"blind pairs of colour", "blind pairs of colour, cosine above 0.95"}


def test_pixels_see_that_a_picture_is_turned(workspace: Workspace) -> None:
    pixels = make_encoder("pixels", lambda batch: (batch - 0.5).flatten(1), side=8, dimension=192)
    results = probe(workspace, IMAGES, [pixels], TURNED)
    assert estimate(results, "test/pixels", "blind pairs of orientation") == 0


def test_nuisances_are_done_to_the_first_of_a_pair(workspace: Workspace) -> None:
    """An encoder that sees light alone: the pair differs by nothing, and the nuisance acts on what is grey already."""
    light = make_encoder(
        "red", lambda batch: torch.cat([batch.mean((2, 3)), torch.ones(len(batch), 1)], 1), dimension=4
    )
    both = COLORED | {"before": "greyscale 1", "nuisances": ["noise 0.3", "greyscale 1"], "cosine": 0.9}
    results = probe(workspace, painted([RED, GREEN, BLUE], concept=["r", "g", "b"]), [light], both)
    # as near as the picture itself: nearer than under noise (1), and a tie with grey made grey again (0.5)
    assert estimate(results, "test/red", "blind pairs of colour") == 0.75
    (alike,) = found_by(results, "test/red", "blind pairs of colour, cosine above 0.9")
    assert alike.estimate == 1 and alike.unit == "share of pairs"


def test_what_can_be_changed_in_no_image_is_left_out_with_the_reason(workspace: Workspace) -> None:
    counted = TURNED | {"pattern": "quantity", "before": "count=2 1", "after": "count=4 1"}
    results = probe(workspace, IMAGES, [make_encoder(side=8)], TURNED, counted)
    (reason,) = results.left_out
    assert reason.startswith("blind-pairs: ") and "cannot be put into a scene" in reason


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"after": "trun=180 1"}, "There is no intervention 'trun'. Did you mean turn"),
        ({"before": "turn=180"}, "'turn=180' is no treatment"),
        ({"nuisances": ["noise 2"]}, "'noise' goes from 0 to 0.5"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_is_extracted(
    workspace: Workspace, reads: Reads, change: dict[str, object], named: str
) -> None:
    encoder = make_encoder()
    with pytest.raises(UsageError, match=named):
        probe(workspace, reads(4), [encoder], TURNED, TURNED | change)
    assert encoder.encoded == 0
