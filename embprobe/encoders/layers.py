"""Take vectors and tokens from inside a network: all layers that are asked for, out of one forward pass.

Layers are counted as blocks from 1: ``layer=8`` is the output of the eighth block, ``layer=0`` the tokens that enter
the first, ``layer=-1`` the last. Of a network of convolutions, a stage is a layer.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from embprobe.encoders.options import ALL
from embprobe.encoders.spec import Norm, Pooling, Stored, TokenGrid
from embprobe.errors import UsageError

_POOLINGS = ("cls", "mean", "cls+mean", "tokens", "patches@mask")
_MARK = "_embprobe_layers"
"""The attribute of a network whose blocks are listened to."""


@dataclass(frozen=True)
class Trunk:
    """Where the layers of a network are. It holds no module, so that a copy of the network has one, too."""

    blocks: Callable[[Any], Sequence[nn.Module]]
    """Returns the modules whose outputs are the layers, in order."""
    norm: Callable[[Any], nn.Module | None] = lambda network: None
    """Returns the network's last norm, or None if it has none that tokens go through."""
    prefix: int = 0
    """Tokens before those of patches: the class token, then registers."""
    has_class: bool = False
    """Whether the first token is a class token."""
    maps: Literal["", "NCHW", "NHWC"] = ""
    """The order of feature maps' dimensions; "" where a block gives tokens ``[n, t, d]``, or the usual ``NCHW``."""
    project: Callable[[Any, Tensor], Tensor] | None = None
    """Sends tokens of the last layer, behind the last norm, to the space shared with text; None: there is no way."""


@dataclass(frozen=True)
class View:
    """What is taken from a forward pass: a layer's tokens, normalised or not, pooled or not."""

    layer: int
    """From 0, the tokens that enter the first block, to the number of blocks."""
    norm: Norm = "none"
    pooling: Pooling = "cls"
    stored: Stored = "float32"

    def of(self, caught: dict[int, Tensor], network: Any, trunk: Trunk) -> Tensor:
        """Return vectors ``[n, d]``, or tokens ``[n, t, d]``, of a pass whose layers were caught.

        Where they are to be pooled by masks, which the pass has not, they are all of the tokens.
        """
        tokens = as_tokens(caught[self.layer], trunk)
        if self.norm == "last":
            norm = trunk.norm(network)
            tokens = tokens if norm is None else norm(tokens)
        if self.pooling in ("tokens", "patches@mask"):
            return tokens
        if self.pooling == "cls":
            return tokens[:, 0]
        mean = tokens[:, trunk.prefix :].mean(1)
        return mean if self.pooling == "mean" else torch.cat([tokens[:, 0], mean], 1)


def as_tokens(output: Tensor, trunk: Trunk) -> Tensor:
    """Return a layer's output as tokens, ``[n, t, d]``: a feature map row by row."""
    if trunk.maps == "NCHW":
        return output.flatten(2).transpose(1, 2)
    return output.flatten(1, 2) if trunk.maps == "NHWC" else output


def grid_of(output: Tensor, trunk: Trunk, name: str) -> TokenGrid:
    """Return how the tokens of a layer's output stand; UsageError if they are no square grid."""
    if trunk.maps:
        rows, columns = output.shape[2:] if trunk.maps == "NCHW" else output.shape[1:3]
        return TokenGrid(prefix=0, rows=rows, columns=columns)
    patches = output.shape[1] - trunk.prefix
    if not _is_square(patches):
        raise UsageError(f"The {patches} tokens of '{name}' are no square grid of patches.")
    return TokenGrid(prefix=trunk.prefix, rows=math.isqrt(patches), columns=math.isqrt(patches))


def settled(trunk: Trunk, output: Tensor) -> Trunk:
    """Return the trunk as the last layer's output shows it to be: of maps or of tokens, with a prefix or without.

    Some networks add their class token only behind the blocks.
    """
    if output.ndim == 4:
        return replace(trunk, prefix=0, has_class=False, maps=trunk.maps or "NCHW")
    count, trunk = output.shape[1], replace(trunk, maps="")
    if _is_square(count) and not _is_square(count - trunk.prefix):
        return replace(trunk, prefix=0, has_class=False)
    return trunk


def _is_square(count: int) -> bool:
    return count >= 0 and math.isqrt(count) ** 2 == count


def parse_view(
    name: str, options: dict[str, str], *, depth: int, trunk: Trunk, own: Pooling, norm_there: bool
) -> list[View]:
    """Return the views that options behind a name ask for: one, or one a block for ``layer=*``.

    Args:
        name: The encoder's name, for messages.
        options: ``layer``, ``norm``, ``pooling`` and ``stored`` as typed; any may be missing.
        depth: The number of blocks.
        trunk: Where the layers are.
        own: The pooling that the encoder has without options: the default, where it is one of tokens.
        norm_there: Whether the network has a last norm.

    Raises:
        UsageError: There is no such layer, norm or pooling.
    """
    pooling = options.get("pooling") or (own if own in _POOLINGS[:3] else "cls" if trunk.has_class else "mean")
    if pooling not in _POOLINGS:
        raise UsageError(f"A layer has pooling=cls, mean, cls+mean, tokens or patches@mask, not '{pooling}'.")
    if pooling.startswith("cls") and not trunk.has_class:
        what = "a network of feature maps" if trunk.maps else "a network"
        raise UsageError(f"'{name}' is {what} without a class token: say pooling=mean or pooling=tokens.")
    typed = options.get("layer")
    norm = options.get("norm") or ("last" if typed is None and norm_there else "none")  # the network's own tokens
    if norm not in get_args(Norm):
        raise UsageError(f"'norm={norm}': there are norm=none and norm=last.")
    if norm == "last" and not norm_there:
        raise UsageError(f"'{name}' has no last norm that tokens go through: leave out norm=last.")
    stored = options.get("stored") or "float32"
    if stored not in get_args(Stored):
        raise UsageError(f"'stored={stored}': vectors are stored as float32 or float16.")
    layers = range(1, depth + 1) if typed == ALL else [_layer(name, str(depth) if typed is None else typed, depth)]
    if 0 in layers and pooling == "cls":
        raise UsageError(
            f"'{name},layer=0': the class token is the same for every image before the first block; say pooling=mean."
        )
    return [View(layer, norm, pooling, stored) for layer in layers]  # type: ignore[arg-type]  # checked above


def choose_layers(asked: str, depth: int, name: str) -> list[int]:
    """Return the layers of a network that are asked for, in order.

    Args:
        asked: ``all``; ``every 2``, counted back from the last; or numbers, ``8,10,-1``.
        depth: The number of layers that the network has.
        name: The encoder's name, for messages.

    Raises:
        UsageError: It is none of these, or there is no such layer.

    Example:
        >>> choose_layers("all", 4, "tiny"), choose_layers("every 2", 7, "tiny"), choose_layers("-1,2", 12, "tiny")
        ([1, 2, 3, 4], [1, 3, 5, 7], [2, 12])
    """
    if asked == "all":
        return list(range(1, depth + 1))
    first, _, step = asked.partition(" ")
    if first == "every" and step.isdecimal() and 0 < int(step[:6]) <= depth:
        return sorted(range(depth, 0, -int(step)))
    parts = [part.strip() for part in asked.split(",")]
    if not all(part.removeprefix("-").isdecimal() for part in parts):
        raise UsageError(f"'{asked}' names no layers: write all, 'every 2', or numbers such as 4,8,12 or -1.")
    layers = sorted({_layer(name, part, depth) for part in parts})
    if 0 in layers:
        raise UsageError("Layer 0, the patch embedding, is none of the layers of a profile: they count from 1.")
    return layers


@contextmanager
def catching(layers: Collection[int]) -> Iterator[dict[int, Tensor]]:
    """Within this context, keep the outputs of these layers of a network that passes in this thread, by layer."""
    caught: dict[int, Tensor] = {}
    _PASS.layers, _PASS.caught = frozenset(layers), caught
    try:
        yield caught
    finally:
        _PASS.layers, _PASS.caught = frozenset(), None


def listen(network: nn.Module, trunk: Trunk) -> int:
    """Let a network's blocks report their outputs to :func:`catching`; return how many there are.

    What is registered holds numbers alone, so a copy of the network reports as well, and threads that share one network
    do not hear each other.
    """
    blocks = trunk.blocks(network)
    if not hasattr(network, _MARK):
        blocks[0].register_forward_pre_hook(_enter, with_kwargs=True)
        for number, block in enumerate(blocks, 1):
            block.register_forward_hook(_Leave(number))
        setattr(network, _MARK, True)
    return len(blocks)


class _Pass(threading.local):
    """The layers that the pass of this thread keeps."""

    layers: frozenset[int] = frozenset()
    caught: dict[int, Tensor] | None = None


_PASS = _Pass()


def _enter(module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Keep the first block's input as layer 0."""
    if 0 in _PASS.layers and _PASS.caught is not None:
        _PASS.caught[0] = positional[0] if positional else next(iter(named.values()))


@dataclass(frozen=True)
class _Leave:
    """A hook that keeps the output of a block."""

    number: int

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self.number in _PASS.layers and _PASS.caught is not None:
            _PASS.caught[self.number] = output[0] if isinstance(output, tuple) else output


def _layer(name: str, typed: str, depth: int) -> int:
    """Return a layer's number, from 0 to the number of blocks."""
    digits = typed.removeprefix("-")
    number = int(typed) if digits.isdecimal() and len(digits) < 6 else None
    if number is None or not -depth <= number <= depth or typed == "-0":
        raise UsageError(
            f"'{name}' has {depth} layers: say layer=1 to layer={depth}, layer=0 for the patch embedding, layer=-1 for "
            f"the last, or layer=* for all; not '{typed}'."
        )
    return number if number >= 0 else depth + 1 + number
