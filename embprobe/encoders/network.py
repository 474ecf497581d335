"""A torch network as an encoder: device, precision and memory layout, once for every family."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor, nn

from embprobe.encoders.spec import (
    EncoderSpec,
    Floats,
    ImageInput,
    Interpolation,
    Pooling,
    Precision,
    Resize,
    hash_weights,
)
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.overrides import Override, Setting

ImageFeatures = Callable[[Any, Tensor], Tensor]
"""From the network and a batch ``[n, 3, s, s]`` to ``[n, d]``."""
TextFeatures = Callable[[Any, Sequence[str], str], Tensor]
"""From the network, texts and the device to ``[n, d]``."""


def call(network: nn.Module, batch: Tensor) -> Tensor:
    """What the network itself makes of a batch."""
    features: Tensor = network(batch)
    return features


def _tf32_of_convolutions() -> Setting:
    """Find the switch of TF32, in which torch convolves float32 on a GPU unless it is off."""
    cudnn: Any = torch.backends.cudnn
    try:
        _ = cudnn.allow_tf32
    except RuntimeError:  # the process set it for convolutions alone, which this older switch cannot express
        return cudnn.conv, "fp32_precision", "ieee"
    return cudnn, "allow_tf32", False


_EXACT_CONVOLUTIONS = Override(_tf32_of_convolutions)


@dataclass
class NetworkEncoder:
    """A network behind the encoder protocol. :func:`network_encoder` makes one and finds out what its spec must say."""

    spec: EncoderSpec
    network: nn.Module
    device: str
    image: ImageFeatures = call
    text: TextFeatures | None = None

    def encode_images(self, batch: Tensor) -> Floats:
        if self.device.startswith("cuda"):
            batch = batch.pin_memory()
        with torch.inference_mode(), self._precision(), self._exact_convolutions():
            features = self.image(self.network, batch.to(self.device, non_blocking=True))
        return features.float().cpu().numpy()

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        if self.text is None:
            raise UsageError(f"'{self.spec.name}' has no text side.")
        with torch.inference_mode(), self._precision(), self._exact_convolutions():
            features = self.text(self.network, texts, self.device)
        return features.float().cpu().numpy()

    def on(self, device: str) -> NetworkEncoder:
        """The same encoder on another device of this machine, with a copy of the weights."""
        return replace(self, network=deepcopy(self.network).to(device), device=device)

    def compiled(self) -> NetworkEncoder:
        """The same encoder through ``torch.compile``: rounded differently, faster where the compiler finds a way."""
        image: Any = torch.compile(self.image)
        return replace(self, image=image)

    def _precision(self) -> AbstractContextManager[object]:
        if self.spec.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.partition(":")[0], getattr(torch, self.spec.precision))

    def _exact_convolutions(self) -> AbstractContextManager[object]:
        return _EXACT_CONVOLUTIONS if self.device.startswith("cuda") else nullcontext()


def network_encoder(
    network: nn.Module,
    *,
    device: str,
    input_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    pooling: Pooling,
    resize_to: int | None = None,
    resize: Resize = "shortest",
    interpolation: Interpolation = "bicubic",
    precision: str = "",
    image: ImageFeatures = call,
    text: TextFeatures | None = None,
    family: str = "python",
    model: str = "",
    weights: str = "",
    options: str = "",
    configuration: str = "",
) -> NetworkEncoder:
    """An encoder from a network and what its authors feed it; its dimension and the hash of its weights are found here.

    ``resize_to`` is ``input_size`` unless given, ``precision`` float32. A network of convolutions gets the
    ``channels_last`` layout. ``configuration`` is what else decides its vectors and no other argument says. Raises
    :class:`UsageError` if the precision is none or ``resize_to`` too small, :class:`EmbprobeError` if the network takes
    no such images or does not give one vector for each.
    """
    if precision not in ("", *get_args(Precision)):
        raise UsageError(f"There is no precision '{precision}'; there are {', '.join(get_args(Precision))}.")
    if resize_to is not None and resize == "shortest" and resize_to < input_size:
        raise UsageError(
            f"'resize={resize_to}' leaves less than the {input_size} x {input_size} pixels that the network sees."
        )
    network = network.eval().requires_grad_(False)
    digest = hash_weights(network)
    if configuration:
        digest = hashlib.sha256(f"{digest}{configuration}".encode()).hexdigest()
    convolutional = sum(isinstance(module, nn.Conv2d) for module in network.modules()) > 1
    network.to(device)
    if convolutional:
        network.to(memory_format=torch.channels_last)
    try:
        with torch.inference_mode():
            found: Any = image(network, torch.zeros(1, 3, input_size, input_size, device=device))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise EmbprobeError(
            f"'{family}/{model}' takes no images of {input_size} x {input_size} pixels: {reason}"
        ) from None
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 1:
        shape = f"the shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise EmbprobeError(f"'{family}/{model}' must give one vector [n, d] for each image; for one it gave {shape}.")
    dimension = found.shape[1]
    spec = EncoderSpec(
        family=family,
        model=model,
        weights=weights,
        weights_sha256=digest,
        pooling=pooling,
        dimension=dimension,
        has_text=text is not None,
        precision=precision or "float32",  # type: ignore[arg-type]  # checked above
        options=options,
        image_input=ImageInput(
            input_size=input_size,
            resize=resize,
            resize_to=resize_to or input_size,
            interpolation=interpolation,
            mean=tuple(mean),
            std=tuple(std),
        ),
    )
    return NetworkEncoder(spec, network, device, image, text)
