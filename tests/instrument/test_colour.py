"""The colour headline picks no winner among encoders that see no hue, and orders those with planted amounts of it.

The oracles read pixels. Blind ones see luminance alone, each by another formula; graded ones add the mean hue of nine
fields. The pictures are bundled drawings, and photographs and paintings of PACS where the environment variable
``EMBPROBE_TEST_DATA`` names the folder that holds ``pacs-half.parquet``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.images import Images
from embprobe.interventions.color import srgb_to_oklab
from embprobe.probing.card import Card, bundled_card
from embprobe.probing.results import Results
from embprobe.probing.run import run_probe
from tests.conftest import CountingEncoder, make_encoder, real_images

SIDE = 12
PLANTED = (5.0, 10.0, 20.0, 40.0)
"""Factors of the features of hue: a and b are small numbers beside luminance, and few pixels are vivid."""
PICTURES = 96
"""In a design: twelve concepts in four styles, or 48 photographs, each in red and in blue."""


# --- encoders ------------------------------------------------------------------------------------------------------


def weighted(red: float, green: float, blue: float) -> Callable[[Tensor], Tensor]:
    """Return a function of pixels to their weighted sum: ``[n, 3, s, s] -> [n, s, s]``."""
    weights = torch.tensor([red, green, blue])
    return lambda batch: torch.einsum("nchw,c->nhw", batch, weights)


luma = weighted(0.299, 0.587, 0.114)


def linear(batch: Tensor) -> Tensor:
    """Return relative luminance: the weighted sum of linear light (ITU-R BT.709)."""
    light = torch.where(batch <= 0.04045, batch / 12.92, ((batch + 0.055) / 1.055) ** 2.4)
    return weighted(0.2126, 0.7152, 0.0722)(light)


def edges(batch: Tensor) -> Tensor:
    """Return how much lighter each pixel is than its neighbours to the left and above: ``[n, 2 s (s - 1)]``."""
    light = luma(batch)
    return torch.cat([light.diff(dim=1).flatten(1), light.diff(dim=2).flatten(1)], 1)


BLIND: Mapping[str, Callable[[Tensor], Tensor]] = {
    "luma": lambda batch: (luma(batch) - 0.5).flatten(1),
    "more contrast": lambda batch: (2.5 * (luma(batch) - 0.5)).clamp(-0.5, 0.5).flatten(1),
    "gamma": lambda batch: (luma(batch).clamp(min=0) ** 2.2 - 0.3).flatten(1),
    "linear light": lambda batch: (linear(batch.clamp(0, 1)) - 0.4).flatten(1),
    "mean of the channels": lambda batch: (batch.mean(1) - 0.5).flatten(1),
    "edges": edges,
}


def hue_of_fields(batch: Tensor) -> Tensor:
    """Return the mean of Oklab's a and b in each of nine fields: ``[n, 18]``."""
    oklab = torch.from_numpy(srgb_to_oklab(batch.permute(0, 2, 3, 1).double().numpy())).float()
    return torch.nn.functional.adaptive_avg_pool2d(oklab[..., 1:].permute(0, 3, 1, 2), 3).flatten(1)


def graded(planted: float, companion: str) -> CountingEncoder:
    """Make an encoder with a blind one's features beside ``planted`` times those of hue."""

    def features(batch: Tensor) -> Tensor:
        return torch.cat([BLIND[companion](batch), planted * hue_of_fields(batch)], 1)

    dimension = 18 + (2 * SIDE * (SIDE - 1) if companion == "edges" else SIDE**2)
    return make_encoder(f"{companion} and {planted:g} of hue", features, side=SIDE, dimension=dimension)


def blind(name: str) -> CountingEncoder:
    dimension = 2 * SIDE * (SIDE - 1) if name == "edges" else SIDE**2
    return make_encoder(name, BLIND[name], side=SIDE, dimension=dimension)


# --- pictures ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["emoji", "PACS"])
def pictures(request: pytest.FixtureRequest, emoji: Images) -> Images:
    if request.param == "emoji":
        return emoji
    return real_images("pacs-half.parquet")


@pytest.fixture(scope="module")
def results(pictures: Images, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The headline's measure, on few pictures, of every oracle and of the reference that must fail."""
    encoders = [blind(name) for name in BLIND]
    encoders += [graded(planted, name) for name in ("luma", "gamma") for planted in PLANTED]
    session = Session(Workspace.open(tmp_path_factory.mktemp("colour")))
    return run_probe(small_card(), pictures, encoders, [load_encoder("reference/grey-pixels")], session)


def small_card() -> Card:
    card = bundled_card("color")
    (measure,) = [measure for measure in card.measures if measure.kind == "variance"]
    small = measure.model_copy(update={"most": PICTURES})
    return card.model_copy(update={"measures": [small], "references": ["reference/grey-pixels"]})


def shares(results: Results) -> dict[str, float]:
    """Return the colour share by the encoder's name, without its family."""
    return {row.encoder.partition("/")[2]: row.estimate for row in results.rows if not row.is_difference}


# --- the headline --------------------------------------------------------------------------------------------------


def test_the_headline_is_the_share_of_the_tint(results: Results) -> None:
    key = results.conclusions.key
    assert key is not None and (key.kind, key.target) == ("variance", "color")


def test_encoders_that_see_no_hue_have_no_share(results: Results) -> None:
    measured = shares(results)
    assert {name: measured[name] for name in BLIND} == dict.fromkeys(BLIND, 0)
    assert measured["grey-pixels"] == 0
    (check,) = [check for check in results.conclusions.checks if check.encoder == "reference/grey-pixels"]
    assert check.passed


def test_no_winner_is_picked_among_encoders_that_see_no_hue(results: Results) -> None:
    names = {f"test/{name}" for name in BLIND}
    differences = [row for row in results.rows if row.encoder in names and row.against in names]
    assert len(differences) == len(BLIND) * (len(BLIND) - 1) / 2
    assert all(row.low <= 0 <= row.high for row in differences)
    undecided = " ".join(each for each in results.conclusions.sentences if each.startswith("Undecided"))
    for first, second in itertools.combinations([f"test/{name}" for name in BLIND], 2):
        assert f"whether {first} or {second} " in undecided


@pytest.mark.parametrize("companion", ["luma", "gamma"])
def test_a_larger_planted_amount_of_hue_has_a_larger_share(results: Results, companion: str) -> None:
    measured = shares(results)
    series = [measured[f"{companion} and {planted:g} of hue"] for planted in PLANTED]
    assert all(larger > smaller for smaller, larger in itertools.pairwise([0.0, *series])), series


def test_a_tint_that_changes_lightness_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch, emoji: Images, tmp_path: Path
) -> None:
    """The reference that must fail does not pass whatever happens: plant a red that is darker than the blue."""
    from PIL import Image

    from embprobe.interventions import registry

    def darker(image: Image.Image, hue: float, share: float) -> Image.Image:
        if hue > 180:
            return image.copy()
        values = np.asarray(image).astype(float)
        values[..., :3] *= 0.7
        return Image.fromarray(values.astype(np.uint8))

    planted = registry.INTERVENTIONS["tint"]
    fault = registry._hued("tint", planted.unit, darker)
    monkeypatch.setitem(registry.INTERVENTIONS, "tint", fault)
    results = run_probe(
        small_card(), emoji, [blind("luma")], [load_encoder("reference/grey-pixels")], Session(Workspace.open(tmp_path))
    )
    (check,) = results.conclusions.checks
    assert not check.passed
