"""Views of a batch: random crop, random background, optional colour jitter. The same for every objective."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

WHITE_RATE = 0.3
"""Share of the views on plain white, as the drawings are shown when they are measured."""


@dataclass(frozen=True)
class View:
    """A square crop of a share ``scale`` (low, high) of the image's area, resized to ``size`` pixels."""

    size: int
    scale: tuple[float, float]


def make_view(images: Tensor, view: View, *, color_jitter: bool, generator: Generator) -> Tensor:
    """Float ``[n, 3, size, size]`` in -1..1 from uint8 RGBA ``[n, 4, s, s]``.

    Every view has a background of its own: two views of a drawing that share one would let an objective match the
    background instead of the drawing.
    """
    pixels = images.float() / 255
    alpha = pixels[:, 3:]
    cropped = _crop(torch.cat([pixels[:, :3] * alpha, alpha], dim=1), view, generator)
    color, alpha = cropped[:, :3], cropped[:, 3:]
    shown = color + (1 - alpha) * _backgrounds(len(images), view.size, generator)
    if color_jitter:
        shown = _jitter(shown, generator)
    return shown.clamp(0, 1) * 2 - 1


def _crop(images: Tensor, view: View, generator: Generator) -> Tensor:
    """Crops with an area uniform in ``view.scale``, an aspect of 4/5 to 5/4, and a uniform place inside the image."""
    n = len(images)
    side = _uniform(n, *view.scale, generator).sqrt()
    aspect = torch.exp(_uniform(n, math.log(0.8), math.log(1.25), generator) / 2)
    width, height = (side * aspect).clamp(max=1), (side / aspect).clamp(max=1)
    x, y = ((1 - extent) * _uniform(n, -1, 1, generator) for extent in (width, height))
    zero = torch.zeros(n)
    transform = torch.stack([torch.stack([width, zero, x], 1), torch.stack([zero, height, y], 1)], 1)
    grid = torch.nn.functional.affine_grid(transform, [n, 4, view.size, view.size], align_corners=False)
    cropped: Tensor = torch.nn.functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
    return cropped


def _backgrounds(n: int, size: int, generator: Generator) -> Tensor:
    """Plain white, one colour, or a gradient between two colours in a random direction: ``[n, 3, size, size]``."""
    first, second = torch.rand(2, n, 3, 1, 1, generator=generator)
    second = torch.where(torch.rand(n, 1, 1, 1, generator=generator) < 0.5, first, second)
    angle = _uniform(n, 0, 2 * math.pi, generator).view(n, 1, 1)
    ramp = torch.linspace(-0.5, 0.5, size)
    position = (ramp * angle.cos() + ramp.view(-1, 1) * angle.sin()).unsqueeze(1) / math.sqrt(2) + 0.5
    white = torch.rand(n, 1, 1, 1, generator=generator) < WHITE_RATE
    return torch.where(white, torch.ones(()), first + (second - first) * position)


def _jitter(images: Tensor, generator: Generator) -> Tensor:
    """Brightness and contrast within 40 %, saturation 20 %, hue 36 degrees on 80 % of the images; 20 % in grey.

    The strengths of DINO (Caron et al. 2021, appendix). Saturation and hue act as one linear map in YIQ.
    """
    n = len(images)
    on = (torch.rand(n, generator=generator) < 0.8).float()
    brightness, contrast = (1 + on * _uniform(n, -0.4, 0.4, generator) for _ in range(2))
    saturation = 1 + on * _uniform(n, -0.2, 0.2, generator)
    saturation = torch.where(torch.rand(n, generator=generator) < 0.2, torch.zeros(()), saturation)
    hue = on * _uniform(n, -0.2 * math.pi, 0.2 * math.pi, generator)
    cos, sin, zero, one = saturation * hue.cos(), saturation * hue.sin(), torch.zeros(n), torch.ones(n)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(n, 3, 3)
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    linear = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    flat = (linear @ images.flatten(2)) * brightness.view(n, 1, 1)
    mean = flat.mean((1, 2), keepdim=True)
    jittered: Tensor = (mean + (flat - mean) * contrast.view(n, 1, 1)).view_as(images)
    return jittered


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)
