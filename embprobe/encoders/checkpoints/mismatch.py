"""Explain why weights do not fit a network: the first names that differ, and the network that they look like."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from embprobe.encoders.checkpoints.formats import NotWeights
from embprobe.system.text import visible

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Mismatch:
    """The names in which weights and a network differ; empty if they fit."""

    missing: Sequence[str] = ()
    """Names that the network has and the weights do not."""
    unexpected: Sequence[str] = ()
    """Names that the weights have and the network does not."""
    shapes: Mapping[str, tuple[Shape, Shape]] = field(default_factory=dict)
    """By name, the shape in the file and the shape in the network, where they differ."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)

    @classmethod
    def read(cls, error: BaseException) -> Mismatch:
        """Return the mismatch that ``load_state_dict`` reports in an error; an empty one of any other error.

        Example:
            >>> import torch
            >>> from torch import nn
            >>> try:
            ...     nn.Linear(2, 3).load_state_dict({"weight": torch.zeros(3, 4), "scale": torch.zeros(3)})
            ... except RuntimeError as error:
            ...     Mismatch.read(error)
            Mismatch(missing=['bias'], unexpected=['scale'], shapes={'weight': ((3, 4), (3, 2))})
        """
        text = str(error)
        if "state_dict" not in text:
            return cls()
        names = {kind: re.search(kind + r" key\(s\) in state_dict: (.*?)\. *(?:\n|$)", text) for kind in _KINDS}
        missing, unexpected = (re.findall(r'"([^"]*)"', found[1]) if found else [] for found in names.values())
        shapes = {name: (_shape(given), _shape(own)) for name, given, own in _SIZES.findall(text)}
        return cls(missing, unexpected, shapes)

    def sentence(self, names: Collection[str], state: Mapping[str, Tensor], file: str) -> str:
        """Return the differences as one sentence, and where most are missing, the network that the weights look like.

        Args:
            names: The names of the network's weights.
            state: The weights by name.
            file: The name of the file.
        """
        clauses = []
        if self.missing:
            clauses.append(f"{len(self.missing):,} of {len(names):,} weights are missing, first '{self.missing[0]}'")
        if self.unexpected:
            clauses.append(
                f"{len(self.unexpected):,} have no place in the network, first '{visible(self.unexpected[0])}'"
            )
        if self.shapes:
            name, (given, own) = next(iter(self.shapes.items()))
            clauses.append(
                f"{len(self.shapes):,} are of another shape, first '{visible(name)}': {_times(given)} in the file, "
                f"{_times(own)} in the network"
            )
        guess = look_like(state) if 2 * len(self.missing) > len(names) else ""  # else it is nearly this network
        return f"'{file}' does not fit: {'; '.join(clauses)}" + (f". They look like {guess}" if guess else "")


_KINDS = ("Missing", "Unexpected")
_SIZES = re.compile(
    r"size mismatch for (\S+): copying a param with shape torch\.Size\((.*?)\) from checkpoint, "
    r"the shape in current model is torch\.Size\((.*?)\)"
)


def load_strictly(network: Any, state: Mapping[str, Tensor], file: str) -> None:
    """Load weights that must fit exactly into a network; NotWeights says how they differ."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        if differing := Mismatch.read(error):
            raise NotWeights(differing.sentence(network.state_dict(), state, file)) from None
        raise


def _shape(text: str) -> Shape:
    """Return the numbers of a shape as torch prints it."""
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _times(shape: Shape) -> str:
    """Write a shape for people."""
    return " x ".join(f"{side:,}" for side in shape) or "one number"


def look_like(state: Mapping[str, Tensor]) -> str:
    """Return the network that weights look like by their names, and where it can be loaded; "" if none is known.

    Example:
        >>> import torch
        >>> look_like({"conv1.weight": torch.zeros(64, 3, 7, 7), "layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3)})
        "a ResNet as torchvision and timm name it: try 'timm/resnet…:FILE'"
    """
    names = list(state)

    def has(pattern: str) -> bool:
        return any(re.search(pattern, name) for name in names)

    for patterns, guess in _LOOKS:
        if all(has(pattern) for pattern in patterns):
            named: str = guess(state) if callable(guess) else guess
            return named
    return ""


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """Return one more than the largest number that a group of the pattern finds among the names."""
    return 1 + max((int(found[1]) for name in state if (found := re.search(pattern, name))), default=-1)


def _resnet(state: Mapping[str, Tensor]) -> str:
    """Name a ResNet by the number of blocks in its third stage."""
    bottlenecks = any("layer1.0.conv3." in name for name in state)
    blocks = _count(state, r"layer3\.(\d+)\.")
    depth = {(True, 6): "50", (True, 23): "101", (True, 36): "152", (False, 2): "18", (False, 6): "34"}
    size = depth.get((bottlenecks, blocks), "…")
    return f"a ResNet{f'-{size}' if size != '…' else ''} as torchvision and timm name it: try 'timm/resnet{size}:FILE'"


def _vit(state: Mapping[str, Tensor]) -> str:
    """Name a vision transformer by its width, depth and patches."""
    patches = next((value for name, value in state.items() if name.endswith("patch_embed.proj.weight")), None)
    depth = _count(state, r"(?:^|\.)blocks\.(?:\d+\.)?(\d+)\.")
    if patches is None or patches.ndim != 4:
        return "a vision transformer as timm names it"
    width, side = patches.shape[0], patches.shape[-1]
    size = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1536: "giant"}.get(width, "…")
    scaled = any(re.search(r"blocks\.\d+\.ls1\.gamma", name) for name in state)
    name = f"vit_{size}_patch{side}_{'dinov2' if scaled and side == 14 else '…'}"
    return (
        f"a vision transformer as timm and DINO name it, {depth} blocks of width {width:,} on patches of {side} "
        f"pixels: try 'timm/{name}:FILE'"
    )


_LOOKS: tuple[tuple[tuple[str, ...], Any], ...] = (
    ((r"(?:^|\.)vit\.patch_embed\.backbone\.",), "an encoder that 'embprobe pretrain' wrote: try 'bundled/NAME:FILE'"),
    ((r"diffusion_model\.|^down_blocks\.\d+\.resnets\.",), "a diffusion model, whose parts are no image encoder here"),
    (
        (r"vision_model\.encoder\.layers\.",),
        "transformers' CLIP or SigLIP: try 'transformers/local-dir:FOLDER', with its config.json beside the weights",
    ),
    (
        (r"embeddings\.patch_embeddings\.projection\.", r"encoder\.layer\.\d+\.|layers?\.\d+\.attention"),
        "transformers' ViT, DINOv2 or a kin: try 'transformers/local-dir:FOLDER', with its config.json beside the "
        "weights",
    ),
    (
        (r"(?:^|\.)visual\.", r"(?:^|\.)(?:text\.)?transformer\.resblocks\.|(?:^|\.)token_embedding\."),
        "a CLIP as open_clip and OpenAI name it: try 'open_clip/ARCHITECTURE:FILE'",
    ),
    (
        (r"(?:^|\.)visual\.(?:conv1|transformer|trunk)\.",),
        "the image side of an open_clip model alone: give the whole model, or its timm equivalent",
    ),
    (
        (r"token_embedding\.", r"transformer\.resblocks\."),
        "the text side of an open_clip model alone, which encodes no images",
    ),
    ((r"\.self_attn\.(?:q|qkv)_proj\.", r"embed_tokens|lm_head"), "a language model, which encodes no images"),
    ((r"word_embeddings\.", r"encoder\.layer\."), "a BERT, which encodes no images"),
    ((r"(?:^|\.)conv1\.weight", r"(?:^|\.)layer1\.0\.conv1\."), _resnet),
    (
        (r"patch_embed\.proj\.", r"relative_position_bias_table", r"layers\.\d+\.blocks\."),
        "a Swin transformer: try 'timm/swin_…:FILE'",
    ),
    ((r"(?:^|\.)blocks\.(?:\d+\.)+attn\.", r"patch_embed\.proj\."), _vit),
    ((r"downsample_layers\.|stages\.\d+\.blocks\.\d+\.conv_dw\.",), "a ConvNeXt: try 'timm/convnext_…:FILE'"),
    (
        (r"conv_stem\.", r"blocks\.\d+\.\d+\.conv_(?:pw|dw)\."),
        "an EfficientNet or MobileNet: try 'timm/efficientnet_…:FILE'",
    ),
    ((r"features\.denseblock\d",), "a DenseNet as torchvision names it: try 'timm/densenet121:FILE'"),
    ((r"^features\.\d+\.(?:weight|0\.)",), "a network of torchvision with 'features', such as a VGG"),
)
"""Patterns that must all be found among the names, and the network that has such names; the first that fits counts."""
