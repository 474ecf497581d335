"""Displacement: what a card asks for, with numbers that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from embprobe.embeddings.workspace import Workspace
from embprobe.errors import UsageError
from embprobe.images import Images
from embprobe.interventions.color import srgb_to_oklab
from tests.conftest import Reads, make_encoder, noise, row_of
from tests.probing.conftest import BLUE, GREEN, RED, estimate, found_by, measures, painted, probe, values

GREY = {"kind": "displacement", "intervention": "greyscale", "strengths": [1]}
COLORS = painted([RED, GREEN, BLUE], concept=["r", "g", "b"])


def test_colours_made_grey_by_hand(workspace: Workspace) -> None:
    # The mean channels are three axes, so unrelated images are at cosine 0, distance 1. Grey is (g, g, g), whatever g:
    # its cosine with an axis is 1 / sqrt(3). It is nearer than any other image, so the percentile is 0.
    results = probe(workspace, COLORS, [make_encoder()], GREY)
    moved = found_by(results, "test/means", "displacement")[0]
    assert moved.estimate == pytest.approx(1 - 1 / sqrt(3), abs=1e-6)
    assert (moved.key.target, moved.key.strength) == ("greyscale", 1)
    assert (moved.images, moved.groups, moved.unit) == (3, 3, "distance to an unrelated image")
    assert estimate(results, "test/means", "displacement percentile") == 0
    assert measures(results) == {"displacement", "displacement percentile"}


def test_a_color_blind_encoder_does_not_move(workspace: Workspace) -> None:
    """What is grey after that has the lightness it had before (Oklab's), to a step of 1/255."""

    def lightness(batch: Tensor) -> Tensor:
        found = torch.from_numpy(srgb_to_oklab(batch.permute(0, 2, 3, 1).double().numpy())[..., :1]).mean((1, 2))
        return torch.cat([found, 1 - found], 1)

    results = probe(workspace, COLORS, [make_encoder("color-blind", lightness, dimension=2), make_encoder()], GREY)
    assert 0 <= estimate(results, "test/color-blind", "displacement") < 0.001
    assert estimate(results, "test/means", "displacement") > 0.4


def test_with_a_control_what_is_beyond_it_is_the_difference_image_by_image(workspace: Workspace) -> None:
    images = Images("noise", tuple(row_of(f"{i}", noise(i), concept=f"c{i}") for i in range(6)))
    hue = {"kind": "displacement", "intervention": "hue", "strengths": [20], "control": "lightness"}
    results = probe(workspace, images, [make_encoder(side=8)], hue)
    moved, control, beyond = (
        np.array(list(values(results, "test/means", f"displacement{what}").values()))
        for what in ("", " by the control", " beyond the control")
    )
    # influence scores: their means are displacements, a single one has the unit's sampling variation, too
    assert np.allclose(beyond, moved - control, atol=1e-12) and moved.mean() > control.mean() > 0
    order = list(dict.fromkeys(row.key.phrase for row in results.rows))
    assert order[0] == "displacement beyond the control"  # it is what a reader should see first
    assert {row.key.target for row in results.rows} == {"hue"}


def test_images_that_no_control_leaves_recognisable_are_left_out(workspace: Workspace) -> None:
    images = Images("noise", tuple(row_of(f"{i}", noise(i), concept=f"c{i}") for i in range(4)))
    hue = {"kind": "displacement", "intervention": "hue", "strengths": [180], "control": "lightness"}
    results = probe(workspace, images, [make_encoder(side=8)], hue, GREY)
    (reason,) = results.left_out
    assert "fewer than two images of 'noise' can be changed" in reason or "could not be recognised" in reason
    assert {row.key.target for row in results.rows} == {"greyscale"}


def test_a_control_may_be_a_nuisance_with_a_strength_of_its_own(workspace: Workspace) -> None:
    images = Images("noise", tuple(row_of(f"{i}", noise(i), concept=f"c{i}") for i in range(6)))
    hue = {"kind": "displacement", "intervention": "hue", "strengths": [60, 120], "control": "noise 0.05"}
    alone = {"kind": "displacement", "intervention": "noise", "strengths": [0.05]}
    results = probe(workspace, images, [make_encoder(side=8)], hue, alone)
    (noisy,) = found_by(results, "test/means", "displacement", target="noise")
    for strength in (60, 120):
        (moved,) = found_by(results, "test/means", "displacement", target="hue", strength=strength)
        (control,) = found_by(results, "test/means", variant="under noise 0.05", strength=strength)
        (beyond,) = found_by(results, "test/means", variant="beyond noise 0.05", strength=strength)
        assert control.estimate == pytest.approx(noisy.estimate) and control.estimate > 0
        assert beyond.estimate == pytest.approx(moved.estimate - noisy.estimate)
        assert str(replace(beyond.key, dataset=None)) == f"hue {strength}: displacement, beyond noise 0.05"


def test_strengths_of_a_measure_stand_together_in_their_order(workspace: Workspace) -> None:
    results = probe(workspace, COLORS, [make_encoder()], GREY | {"strengths": [0.5, 1, 0.25]})
    assert [(row.key.phrase, row.key.strength) for row in results.rows] == [
        *(("displacement", strength) for strength in (0.5, 1, 0.25)),
        *(("displacement percentile", strength) for strength in (0.5, 1, 0.25)),
    ]


def test_what_can_be_done_to_none_of_the_images_is_left_out_with_the_reason(workspace: Workspace) -> None:
    house = {"kind": "displacement", "intervention": "house", "strengths": [1]}
    results = probe(workspace, COLORS, [make_encoder()], GREY, house)
    (reason,) = results.left_out
    assert reason == (
        "displacement: what it does to images can be done to none of 'painted': '000': there is no other drawing of "
        "the same concept in another style"
    )
    assert {row.key.target for row in results.rows} == {"greyscale"}


def test_what_can_be_done_to_some_is_measured_on_those(workspace: Workspace) -> None:
    images = painted(
        [RED, GREEN, BLUE, RED], concept=["a", "a", "b", "b"], style=["x", "y", "x", "y"], split=["t", "t", "t", "u"]
    )
    alone = painted([(9, 200, 9)], concept=["c"], style=["x"], split=["t"]).rows[0]
    mixed = Images("mixed", (*images.rows, row_of("alone", alone.load(), **alone.labels)))
    house = {"kind": "displacement", "intervention": "house", "strengths": [1], "images": {"where": {"split": ["t"]}}}
    # red becomes green and green red (1 away, cosine 0); blue becomes the other drawing of b, red: 1 away, too. Among
    # red, green and blue all are 1 apart. What has no other drawing is left out.
    results = probe(workspace, mixed, [make_encoder()], house)
    assert values(results, "test/means", "displacement") == pytest.approx({"000": 1, "001": 1, "002": 1}, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"intervention": "hew"}, "no intervention 'hew'. Did you mean hue"),
        ({"control": "darkness"}, "'greyscale' has no control 'darkness'"),
        ({"control": "noize 0.1"}, "There is no intervention 'noize'. Did you mean noise"),
        ({"control": "noise 2"}, "'noise' goes from 0 to 0.5 .*, not 2"),
        ({"strengths": [1, 2]}, "'greyscale' goes from 0 to 1 .*, not 2"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_is_extracted(
    workspace: Workspace, reads: Reads, change: dict[str, object], named: str
) -> None:
    encoder = make_encoder()
    with pytest.raises(UsageError, match=named):
        probe(workspace, reads(4), [encoder], GREY, GREY | change)
    assert encoder.encoded == 0 and not (workspace.root / "stores").exists()
