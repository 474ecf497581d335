"""The dense card and encoders of which it is known what their patches hold: the mask, their place, or the part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embprobe.embeddings.job import Wanted
from embprobe.embeddings.session import Session
from embprobe.embeddings.token_set import TokenSet
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Encoder, TokenGrid
from embprobe.images import Images
from embprobe.interventions import intervene
from embprobe.measures.dense import patch_places
from embprobe.probing.card import Card, bundled_card
from embprobe.probing.dense_scenes import Truth, read_truths
from embprobe.probing.results import Results
from embprobe.probing.run import run_probe
from tests.conftest import make_encoder

SIDE = 6
GRID = TokenGrid(prefix=1, rows=SIDE, columns=SIDE)
Holds = Callable[[Truth], NDArray[np.float64]]


def mask(truth: Truth) -> NDArray[np.float64]:
    """Whether half of a patch is covered."""
    return np.where(truth.covered, 1.0, -1.0)[..., None]


def place(truth: Truth) -> NDArray[np.float64]:
    """The patch's place and nothing else."""
    return np.broadcast_to(np.eye(SIDE**2).reshape(SIDE, SIDE, -1), (len(truth.boxes), SIDE, SIDE, SIDE**2))


def part(truth: Truth) -> NDArray[np.float64]:
    """The patch's place in the object's box, as a point on a sphere, wherever the object stands."""
    box = truth.boxes[:, None, None]
    within = (patch_places(SIDE, SIDE) - box[..., :2]) / (box[..., 2:] - box[..., :2]) - 0.5
    return np.concatenate([within, np.ones((*within.shape[:3], 1))], -1)


ORACLES: dict[str, Holds] = {"mask": mask, "place": place, "part": part}


@dataclass(frozen=True)
class Knowing(Session):
    """Tokens from the truth about the scenes of some images, by the encoder's model."""

    images: Images = field(default_factory=lambda: Images("none", ()))

    def prepare(self, wanted: Sequence[Wanted], activity: str) -> None:
        """Do nothing: no scene is read."""

    def tokens(self, images: Images, encoder: Encoder, activity: str) -> TokenSet:
        by_key = {key: i for i, key in enumerate(self.images.keys)}
        originals = self.images.take([by_key[key] for key in images.keys])
        truth = read_truths(intervene(originals, "plant/mask", 1, seed=self.seed), {"": encoder.spec})[""]
        held = ORACLES[encoder.spec.model](truth).reshape(len(images), SIDE**2, -1)
        held = np.concatenate([np.zeros_like(held[:, :1]), held], 1)
        noise = 0.01 * np.random.default_rng(0).normal(size=held.shape)
        return TokenSet(images, np.asarray(held + noise, np.float32), GRID, encoder.spec.name)


def oracle(name: str) -> Encoder:
    encoder = make_encoder(name, side=48)
    encoder.spec = replace(encoder.spec, tokens=GRID)
    return encoder


def asked(*questions: str) -> Card:
    """The bundled card with these questions only, of all images."""
    card = bundled_card("dense")
    (measure,) = card.measures
    changed = type(measure).model_validate({"kind": "dense", "ask": list(questions)})
    return card.model_copy(update={"measures": [changed], "must_fail": []})


@pytest.fixture(scope="module")
def found(emoji: Images) -> Results:
    concepts = sorted(set(emoji.where(split="unseen-concept").label("concept")))[::8]
    images = emoji.where(concept=concepts, style=["noto", "twemoji", "openmoji"])
    session = Knowing(Workspace(Path()), images=images)
    card = asked("object", "patch place", "same part")
    return run_probe(card, images, [oracle(name) for name in ORACLES], [], session, differences=False)


def estimate(found: Results, name: str, target: str, condition: str | None = None) -> float:
    """The first number of a target, by an oracle or by guessing."""
    wanted = (name if name == "guessing" else f"test/{name}", target, condition)
    return next(row.estimate for row in found.rows if (row.encoder, row.key.target, row.key.condition) == wanted)


OBJECT, PATCH, PART = "object or background", "place of a patch", "same part in another drawing"


def test_who_holds_the_mask_finds_all_of_it(found: Results) -> None:
    assert estimate(found, "mask", OBJECT) == 1


def test_who_holds_the_place_finds_it_and_no_mask(found: Results) -> None:
    assert estimate(found, "place", PATCH) > 0.99
    assert estimate(found, "place", OBJECT) <= estimate(found, "guessing", OBJECT) + 0.03
    assert estimate(found, "mask", PATCH) < 0.05


def test_who_holds_the_part_finds_it_in_another_drawing(found: Results) -> None:
    assert estimate(found, "part", PART) > 0.85
    assert abs(estimate(found, "mask", PART)) < 0.1  # all patches of the object are alike but for noise


@pytest.mark.parametrize("name", ORACLES)
def test_shuffled_patches_are_at_what_a_blind_encoder_has(found: Results, name: str) -> None:
    shuffled = "shuffled patches"
    assert abs(estimate(found, name, PATCH, shuffled)) < 0.03
    assert estimate(found, name, OBJECT, shuffled) <= estimate(found, "guessing", OBJECT) + 0.03
    assert abs(estimate(found, name, PART, shuffled)) < 0.1
