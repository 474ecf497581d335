"""Load encoders from the checkpoints that DINO's training code writes and the backbones that its authors released.

A training checkpoint (``checkpoint.pth``) holds the student and the teacher, each with a projection head for the loss;
keys carry the prefixes of the wrappers they were trained in. A released backbone is the bare network. The embedding is
the backbone's; by default the teacher's, because DINO's authors evaluate the teacher (arXiv 2104.14294).
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
from embprobe.encoders.families.timm import choose_pooling
from embprobe.encoders.hub import load_failure
from embprobe.encoders.network import NetworkEncoder, network_encoder
from embprobe.encoders.options import join_options, parse_side
from embprobe.encoders.spec import Listing
from embprobe.errors import UsageError

_ARCHITECTURES = {"vit_tiny": 192, "vit_small": 384, "vit_base": 768, "resnet50": 2048}
"""Dimension of the embedding by architecture, under the names in DINO's code."""
SIDE, RESIZE_TO = 224, 256
"""Pixels, as DINO's evaluation feeds images: shorter side resized to 256, bicubic, the central 224 x 224 cut out."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_WRAPPERS = re.compile(r"^(?:module\.|backbone\.|_orig_mod\.)+")
"""Prefixes of keys from the wrappers that a network was trained in."""
_HEADS = ("head.", "fc.")
"""Prefixes of the weights of projection heads and classifiers, which are left out."""


def names() -> list[str]:
    """Return the architectures; a name goes on with a colon and a weights file."""
    return list(_ARCHITECTURES)


def describe(name: str) -> Listing:
    """Describe an architecture."""
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
    """Load ``dino/vit_base:checkpoint.pth``. No code in the file is run, and no weight may be missing.

    Args:
        model: One of :func:`names`.
        weights: The checkpoint or released backbone, a file.
        device: The torch device to compute on.
        key: ``student`` or ``teacher``, the default, or another network in the checkpoint.
        pooling: ``cls``, the default, ``mean`` or ``cls+mean``; ResNets have ``mean`` alone.
        size: Side of the input in pixels, 224 by default.
        resize: Pixels to which the shorter side is resized before the crop, by default 256/224 of ``size``.
        precision: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        UsageError: There is no such file, or an option does not suit it.
        EmbprobeError: The file is damaged, would run code, or holds other weights.
    """
    if not weights or not Path(weights).is_file():
        missing = f"there is no '{weights}'" if weights else f"'dino/{model}:FILE'"
        raise UsageError(f"'dino/{model}' needs a weights file: {missing}.")
    side, resize_to = parse_side("size", size) or SIDE, parse_side("resize", resize)
    try:
        state = _backbone(_read(weights), key, weights)
        network = _network(model, state, side)
    except UsageError:
        raise
    except Exception as error:  # torch raises many kinds
        raise load_failure(f"dino/{model}:{weights}", weights, error, local=True) from None
    kind, image = choose_pooling(network, pooling, f"dino/{model}")
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
        options=join_options(key=key, pooling=pooling, size=size, resize=resize, precision=precision),
    )


def _read(file: str) -> Mapping[str, Any]:
    """Return the values in a checkpoint by name, without running code in it."""
    if file.endswith(".safetensors"):
        return load_file(file)
    with plain_values():
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, Mapping):
        raise ValueError("it holds no named weights")
    return checkpoint


def _backbone(checkpoint: Mapping[str, Any], key: str, file: str) -> dict[str, Tensor]:
    """Return the backbone's weights in float32, under their names without prefixes of wrappers."""
    networks = [
        name for name in ("teacher", "student", "state_dict", "model") if isinstance(checkpoint.get(name), Mapping)
    ]
    if key and key not in networks:
        known = f"it has {' and '.join(networks)}" if networks else "it holds one network only: leave out 'key'"
        raise UsageError(f"'{file}' has no '{key}'; {known}.")
    weights = checkpoint[key or networks[0]] if networks else checkpoint
    named = {_WRAPPERS.sub("", name): value for name, value in weights.items() if isinstance(value, Tensor)}
    return {name: value.float() for name, value in named.items() if not name.startswith(_HEADS)}


def _network(model: str, state: dict[str, Tensor], side: int) -> Any:
    """Return timm's network of the same layers with these weights, for images ``side`` pixels wide."""
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
    """Resample position embeddings ``[1, 1 + t t, d]`` to a grid of ``side`` patches, ``[1, 1 + side side, d]``.

    As DINO's ``interpolate_pos_encoding``: bicubic, without antialiasing, by a factor that is a tenth of a patch too
    large.
    """
    trained = math.isqrt(positions.shape[1] - 1)
    if side == trained:
        return positions
    grid = positions[:, 1:].reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(side + 0.1) / trained, mode="bicubic")
    return torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)
