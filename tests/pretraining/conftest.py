"""What the tests of pretraining share: a few drawings in memory, views of noise, runs that do not tarry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from embprobe.encoders.towers import vit
from embprobe.encoders.towers.transformer import VisionTransformer
from embprobe.images import Images, Row
from embprobe.pretraining import trainer
from embprobe.pretraining.objectives import build_objective
from embprobe.pretraining.objectives.base import Objective

CAPTIONS = ["cat, animals", "dog, animals", "car, travel", "pear, food", "key, objects", 'flag, flags, "hat"']
THINGS = ("apple", "bread", "chair", "daisy", "eagle", "flute", "grape", "horse")


def drawing(thing: int, number: int) -> Row:
    """Eight by eight squares of noise; those of a thing are alike, its drawings differ by another tenth of noise."""
    of_thing, own = (np.random.default_rng(seed).uniform(size=(8, 8, 3)) for seed in ([thing], [thing, number]))
    pixels = np.round(255 * (0.9 * of_thing + 0.1 * own)).astype(np.uint8)
    picture = Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST)
    labels = {"concept": f"c{thing}", "name": THINGS[thing], "category": "Things", "keywords": "noise, square"}
    return Row(key=f"{thing}/{number}", labels=labels, content=f"{thing}/{number}", source=lambda: picture)


def drawings(numbers: range = range(2), name: str = "drawings") -> Images:
    """These drawings of every thing."""
    return Images(name, tuple(drawing(thing, number) for thing in range(len(THINGS)) for number in numbers))


def built(name: str, seed: int = 0) -> Objective:
    return build_objective(name, seed=seed, captions=CAPTIONS)


def views_of(objective: Objective, n: int = len(CAPTIONS)) -> list[Tensor]:
    """As many views of noise as the objective wants."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(n, 3, view.size, view.size, generator=generator) * 2 - 1 for view in objective.views]


def at(*degrees: float) -> Tensor:
    """Points of the unit circle, ``[n, 2]``."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


@contextmanager
def quickly() -> Iterator[None]:
    """Two looks in a run, a ViT of one layer, and no curve: drawing one takes longer than a few steps."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vit, "VisionTransformer", lambda **how: VisionTransformer(**how | {"depth": 1}))
        patch.setattr(trainer, "LOOKS", 2)
        patch.setattr("embprobe.plots.training.plot_losses", lambda losses, out: out.touch())
        yield


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Runs that do not tarry."""
    with quickly():
        yield


@pytest.fixture(scope="session")
def apart() -> Iterator[Callable[..., list[Any]]]:
    """Runs :class:`tests.pretraining.apart.Order` in processes of their own, all that are given at the same time."""
    from tests.pretraining.apart import Server

    server = Server()
    yield server.run
    server.close()
