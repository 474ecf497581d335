"""Load encoders from the checkpoints that DINO's training code writes and the backbones that its authors released.

A training checkpoint (``checkpoint.pth``) holds the student and the teacher, each with a projection head for the loss;
keys carry the prefixes of the wrappers they were trained in. A released backbone is the bare network. The embedding is
the backbone's; by default the teacher's, because DINO's authors evaluate the teacher (arXiv 2104.14294).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from embprobe.encoders.checkpoints.fitting import HEADS, drop_unused, fit
from embprobe.encoders.checkpoints.formats import NotWeights
from embprobe.encoders.checkpoints.mismatch import Mismatch, load_strictly, look_like
from embprobe.encoders.checkpoints.reading import find_weights, read_weights
from embprobe.encoders.families.timm import choose_pooling, trunk_of
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
    if not weights or not Path(weights).exists():
        missing = f"there is no '{weights}'" if weights else f"'dino/{model}:FILE'"
        raise UsageError(f"'dino/{model}' needs a weights file: {missing}.")
    side, resize_to = parse_side("size", size) or SIDE, parse_side("resize", resize)
    try:
        file = find_weights(Path(weights))
        network = _network(model, _backbone(model, file, key), side, file.name)
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
        trunk=trunk_of(network),
        family="dino",
        model=model,
        weights=weights,
        options=join_options(key=key, pooling=pooling, size=size, resize=resize, precision=precision),
    )


def _backbone(model: str, file: Path, key: str) -> dict[str, Tensor]:
    """Return the backbone's weights in float32, under the names that timm gives them."""
    with torch.device("meta"):
        names = timm.create_model(model if model == "resnet50" else f"{model}_patch16_224", num_classes=0).state_dict()
    state = fit(read_weights(file), names.keys(), key=key, file=file.name)
    state = drop_unused(state, names, file.name)
    state = {name: value for name, value in state.items() if name in names or name.partition(".")[0] not in HEADS}
    for name, value in state.items():
        if name in names and value.ndim != names[name].ndim:
            raise NotWeights(
                Mismatch(shapes={name: (tuple(value.shape), tuple(names[name].shape))}).sentence(
                    names, state, file.name
                )
            )
    return {name: value.float() if name in names else value for name, value in state.items()}


def _network(model: str, state: dict[str, Tensor], side: int, file: str) -> Any:
    """Return timm's network of the same layers with these weights, for images ``side`` pixels wide."""
    if model == "resnet50":
        network: Any = timm.create_model(model, num_classes=0)
        load_strictly(network, state, file)
        return network
    patches = state.get("patch_embed.proj.weight")
    positions = state.get("pos_embed")
    if patches is None or positions is None:
        guess = look_like(state)
        raise NotWeights(
            f"'{file}' holds not the weights of a vision transformer as DINO names them"
            + (f". They look like {guess}" if guess else "")
        )
    patch = patches.shape[-1]
    if side % patch:
        raise UsageError(f"These weights see patches of {patch} pixels: give a size that is a multiple, not {side}.")
    network = timm.create_model(f"{model}_patch16_224", num_classes=0, patch_size=patch, img_size=side)
    load_strictly(network, state | {"pos_embed": _resampled(positions, side // patch)}, file)
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
