"""Encoders from the checkpoints that DINO's own training code writes, and the backbones its authors released.

A training checkpoint (``checkpoint.pth``) holds the student and the teacher, each with a projection head for the loss;
keys carry the prefixes of the wrappers they were trained in. A released backbone is the bare network. The embedding is
the backbone's, the teacher's unless asked otherwise: the teacher is what DINO's authors evaluate (arXiv 2104.14294).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from embprobe.encoders.checkpoints import plain_values
from embprobe.encoders.families.timm import pooled
from embprobe.encoders.hub import load_failure
from embprobe.encoders.network import NetworkEncoder, network_encoder
from embprobe.encoders.options import pixels, spelled
from embprobe.encoders.spec import Listing
from embprobe.errors import UsageError

_ARCHITECTURES = {"vit_tiny": 192, "vit_small": 384, "vit_base": 768, "resnet50": 2048}
"""As DINO's code calls them, with their dimension."""
SIDE, RESIZE_TO = 224, 256
"""As its evaluation feeds images: shorter side 256, bicubic, the central 224 x 224."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_WRAPPERS = re.compile(r"^(?:module\.|backbone\.|_orig_mod\.)+")
_HEADS = ("head.", "fc.")


def names() -> list[str]:
    """The architectures; what follows the colon is a file."""
    return list(_ARCHITECTURES)


def describe(name: str) -> Listing:
    """Of an architecture."""
    return Listing(name, f"a file: dino/{name}:FILE", _ARCHITECTURES[name], SIDE, False)


def load(
    model: str,
    weights: str,
    *,
    device: str,
    key: str = "",
    pooling: str = "",
    size: str = "",
    resize: str = "",
    precision: str = "",
) -> NetworkEncoder:
    """``dino/vit_base:checkpoint.pth``; safe loading only, and every weight must be there.

    ``key=student`` takes the student; ``pooling=`` ``mean`` or ``cls+mean`` another vector than the CLS token.
    """
    if not weights or not Path(weights).is_file():
        missing = f"there is no '{weights}'" if weights else f"'dino/{model}:FILE'"
        raise UsageError(f"'dino/{model}' needs a weights file: {missing}.")
    side, resize_to = pixels("size", size) or SIDE, pixels("resize", resize)
    try:
        state = _backbone(_read(weights), key, weights)
        network = _network(model, state, side)
    except UsageError:
        raise
    except Exception as error:  # torch raises many kinds
        raise load_failure(f"dino/{model}:{weights}", weights, error, local=True) from None
    kind, image = pooled(network, pooling, f"dino/{model}")
    return network_encoder(
        network,
        device=device,
        input_size=side,
        mean=MEAN,
        std=STD,
        pooling=kind,
        resize_to=resize_to or side * RESIZE_TO // SIDE,
        precision=precision,
        image=image,
        family="dino",
        model=model,
        weights=weights,
        options=spelled(key=key, pooling=pooling, size=size, resize=resize, precision=precision),
    )


def _read(file: str) -> Mapping[str, Any]:
    """What a file holds."""
    if file.endswith(".safetensors"):
        return load_file(file)
    with plain_values():
        found = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(found, Mapping):
        raise ValueError("it holds no named weights")
    return found


def _backbone(found: Mapping[str, Any], key: str, file: str) -> dict[str, Tensor]:
    """The backbone's weights under their own names."""
    networks = [name for name in ("teacher", "student", "state_dict", "model") if isinstance(found.get(name), Mapping)]
    if key and key not in networks:
        there = f"it has {' and '.join(networks)}" if networks else "it holds one network only: leave out 'key'"
        raise UsageError(f"'{file}' has no '{key}'; {there}.")
    inside = found[key or networks[0]] if networks else found
    named = {_WRAPPERS.sub("", name): value for name, value in inside.items() if isinstance(value, Tensor)}
    return {name: value.float() for name, value in named.items() if not name.startswith(_HEADS)}


def _network(model: str, state: dict[str, Tensor], side: int) -> Any:
    """timm's network of the same layers with these weights."""
    if model == "resnet50":
        network: Any = timm.create_model(model, num_classes=0)
        network.load_state_dict(state)
        return network
    patches = state.get("patch_embed.proj.weight")
    positions = state.get("pos_embed")
    if patches is None or positions is None or patches.ndim != 4 or positions.ndim != 3:
        raise ValueError("these are not the weights of a vision transformer as DINO names them")
    patch = patches.shape[-1]
    if side % patch:
        raise UsageError(f"These weights see patches of {patch} pixels: give a size that is a multiple, not {side}.")
    network = timm.create_model(f"{model}_patch16_224", num_classes=0, patch_size=patch, img_size=side)
    network.load_state_dict(state | {"pos_embed": _resampled(positions, side // patch)})
    return network


def _resampled(positions: Tensor, side: int) -> Tensor:
    """Position embeddings ``[1, 1 + s s, d]`` for a grid of another side, as DINO's ``interpolate_pos_encoding``.

    Bicubic, without antialiasing, by a factor that is a tenth of a patch too large.
    """
    trained = math.isqrt(positions.shape[1] - 1)
    if side == trained:
        return positions
    grid = positions[:, 1:].reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(side + 0.1) / trained, mode="bicubic")
    return torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)
