"""Make views of a batch: random crops on random backgrounds, with colour jitter where an objective has it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor

from embprobe.encoders.towers.vit import IMAGE_SIZE
from embprobe.errors import UsageError
from embprobe.interventions.color import black_body_srgb

WHITE_RATE = 0.3
"""Share of the views on plain white, the background on which drawings are measured."""

AUGMENTATIONS = {
    "published": "each objective's own",
    "dino": "every full-size view cropped and jittered as DINO's",
    "no-jitter": "each objective's own, without colour jitter",
    "planckian": "each objective's own, with another light in the place of colour jitter",
}
Jitter = Literal["none", "color", "planckian"]
"""A random change of colours: none, of hue and saturation, or of the light; the last two with brightness, contrast."""
KELVIN = (3000.0, 15000.0)
"""The temperatures of the lights of ``planckian``, those of the paper's black bodies."""
_KELVIN_STEP = 25.0
"""Lights this far apart are told from each other; one step changes no channel by a 256th."""


@dataclass(frozen=True)
class View:
    """A square crop of a share ``scale`` (low, high) of the image's area, resized to ``size`` pixels."""

    size: int
    scale: tuple[float, float]
    jitter: Jitter = "none"


DINO_GLOBAL = View(size=IMAGE_SIZE, scale=(0.5, 1.0), jitter="color")


def augmented(views: Sequence[View], augmentation: str) -> list[View]:
    """Change an objective's views as one of ``AUGMENTATIONS`` wants it.

    Raises:
        UsageError: There is no augmentation of this name.
    """
    if augmentation not in AUGMENTATIONS:
        raise UsageError(f"There is no augmentation '{augmentation}'. There are: {', '.join(AUGMENTATIONS)}.")
    if augmentation == "dino":
        return [DINO_GLOBAL if view.size == IMAGE_SIZE else view for view in views]
    instead: dict[str, Jitter] = {"published": "color", "no-jitter": "none", "planckian": "planckian"}
    return [view if view.jitter == "none" else replace(view, jitter=instead[augmentation]) for view in views]


def make_view(images: Tensor, view: View, *, backgrounds: bool, generator: Generator) -> Tensor:
    """Make one view of every image in a batch.

    Args:
        images: uint8 RGBA ``[n, 4, s, s]``.
        view: The size and scale of the crop, and whether colours are jittered.
        backgrounds: Give every view a random background of its own; two views of a drawing that share one would let an
            objective match the background instead of the drawing. If False, all are white.
        generator: A generator of the CPU, so that any device makes the same views.

    Returns:
        Float ``[n, 3, size, size]`` in -1..1, on the device of the images.
    """
    dice = _Dice(len(images), images.device, generator)
    pixels = images.float() / 255
    alpha = pixels[:, 3:]
    cropped = _crop(torch.cat([pixels[:, :3] * alpha, alpha], dim=1), view, dice)
    color, alpha = cropped[:, :3], cropped[:, 3:]
    shown = color + (1 - alpha) * (_backgrounds(view.size, dice) if backgrounds else 1)
    if view.jitter != "none":
        shown = _jitter(shown, dice) if view.jitter == "color" else _planckian_jitter(shown, dice)
    return shown.clamp(0, 1) * 2 - 1


class _Dice:
    """Random numbers, one for each of ``n`` images at a time."""

    def __init__(self, n: int, device: torch.device, generator: Generator) -> None:
        self.n, self.device, self._generator = n, device, generator

    def uniform(self, low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(self.n, generator=self._generator)).to(self.device)

    def happens(self, probability: float) -> Tensor:
        return self.uniform(0, 1) < probability


def _crop(images: Tensor, view: View, dice: _Dice) -> Tensor:
    """Crop at an area uniform in ``view.scale``, an aspect of 4/5 to 5/4, and a uniform place inside the image."""
    side = dice.uniform(*view.scale).sqrt()
    aspect = torch.exp(dice.uniform(math.log(0.8), math.log(1.25)) / 2)
    width, height = (side * aspect).clamp(max=1), (side / aspect).clamp(max=1)
    x, y = ((1 - extent) * dice.uniform(-1, 1) for extent in (width, height))
    zero = torch.zeros_like(x)
    transform = torch.stack([torch.stack([width, zero, x], 1), torch.stack([zero, height, y], 1)], 1)
    grid = torch.nn.functional.affine_grid(transform, [len(images), 4, view.size, view.size], align_corners=False)
    cropped: Tensor = torch.nn.functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
    return cropped


def _backgrounds(size: int, dice: _Dice) -> Tensor:
    """Draw backgrounds ``[n, 3, size, size]``: white, one colour, or a gradient of two in a random direction."""
    first, second = (torch.stack([dice.uniform(0, 1) for _ in "rgb"], 1).view(-1, 3, 1, 1) for _ in range(2))
    second = torch.where(dice.happens(0.5).view(-1, 1, 1, 1), first, second)
    angle = dice.uniform(0, 2 * math.pi).view(-1, 1, 1)
    ramp = torch.linspace(-0.5, 0.5, size, device=dice.device)
    position = (ramp * angle.cos() + ramp.view(-1, 1) * angle.sin()).unsqueeze(1) / math.sqrt(2) + 0.5
    white = dice.happens(WHITE_RATE).view(-1, 1, 1, 1)
    return torch.where(white, torch.ones_like(position), first + (second - first) * position)


def _jitter(images: Tensor, dice: _Dice) -> Tensor:
    """Jitter colours: brightness and contrast by 40 %, saturation 20 %, hue 36 degrees on 80 % of images; 20 % in grey.

    The strengths of DINO (Caron et al. 2021, appendix). Saturation and hue act as one linear map in YIQ.
    """
    n = len(images)
    on = dice.happens(0.8).float()
    brightness, contrast = (1 + on * dice.uniform(-0.4, 0.4) for _ in range(2))
    saturation = 1 + on * dice.uniform(-0.2, 0.2)
    saturation = torch.where(dice.happens(0.2), torch.zeros_like(saturation), saturation)
    hue = on * dice.uniform(-0.2 * math.pi, 0.2 * math.pi)
    cos, sin = saturation * hue.cos(), saturation * hue.sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(n, 3, 3)
    to_yiq = images.new_tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    linear = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    flat = (linear @ images.flatten(2)) * brightness.view(n, 1, 1)
    return _contrasted(flat, contrast).view_as(images)


def _planckian_jitter(images: Tensor, dice: _Dice) -> Tensor:
    """Show 80 % of the images under the light of a black body of 3,000 to 15,000 K, brightness and contrast jittered.

    Zini et al. 2022, "Planckian Jitter": it varies colours as light does, where a turned hue makes features blind to
    them. As there, the light's sRGB multiplies the image's (von Kries). A factor of the linear values is nearly a
    factor of the encoded ones, because sRGB's curve is nearly a power. Ours are the share of 80 % and the strengths,
    40 %, which are those of :func:`_jitter`, a light's exposure, at which white is not clipped, and that no image is
    made grey.
    """
    on = dice.happens(0.8).float().view(-1, 1, 1)
    brightness, contrast = (1 + on.flatten() * dice.uniform(-0.4, 0.4) for _ in range(2))
    kelvin = dice.uniform(*KELVIN)
    light = _lights().to(images.device)[((kelvin - KELVIN[0]) / _KELVIN_STEP).round().long()].unsqueeze(2)
    lit = images.flatten(2) * ((1 + on * (light - 1)) * brightness.view(-1, 1, 1))
    return _contrasted(lit, contrast).view_as(images)


def _contrasted(flat: Tensor, contrast: Tensor) -> Tensor:
    """Stretch the values ``[n, 3, pixels]`` of each image around their mean by its ``contrast``, ``[n]``."""
    mean = flat.mean((1, 2), keepdim=True)
    return mean + (flat - mean) * contrast.view(-1, 1, 1)


@cache
def _lights() -> Tensor:
    """Return the sRGB of black bodies from ``KELVIN[0]`` to ``KELVIN[1]`` in steps of ``_KELVIN_STEP``, ``[m, 3]``."""
    temperatures = np.arange(KELVIN[0], KELVIN[1] + _KELVIN_STEP / 2, _KELVIN_STEP)
    return torch.from_numpy(np.stack([black_body_srgb(kelvin) for kelvin in temperatures])).float()
