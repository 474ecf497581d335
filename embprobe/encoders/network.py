"""Make an encoder from a torch network: device, precision and memory layout are handled here for every family."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from embprobe.encoders.cover import Shares, patch_cover
from embprobe.encoders.layers import Trunk, View, catching, choose_layers, grid_of, listen, parse_view, settled
from embprobe.encoders.options import ALL, VIEW_OPTIONS, join_options
from embprobe.encoders.spec import (
    Encoder,
    EncoderSpec,
    Floats,
    ImageInput,
    Interpolation,
    Pooling,
    Precision,
    Resize,
    TokenGrid,
    hash_weights,
)
from embprobe.encoders.texts import CutText, note_cut
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.overrides import Override, Setting
from embprobe.system.threads import threads_for

ImageFeatures = Callable[[Any, Tensor], Tensor]
"""Computes features ``[n, d]`` from the network and a batch ``[n, 3, s, s]``."""
Forward = Callable[[Any, Tensor], Any]
"""Passes a batch ``[n, 3, s, s]`` through the network and returns its output."""
Pooled = Callable[[Any, Any], Tensor]
"""Computes features ``[n, d]`` from the network and the output of a pass."""
TextFeatures = Callable[[Any, Sequence[str], str], Tensor]
"""Computes features ``[n, d]`` from the network, ``n`` texts and the device."""
FindCut = Callable[[Any, Sequence[str]], Sequence[CutText]]
"""Finds the texts that are longer than the context, from the network and ``n`` texts."""
_TEXTS = 256
"""Texts that are encoded together."""


def call(network: nn.Module, batch: Tensor) -> Tensor:
    """Return the network's own output for a batch."""
    features: Tensor = network(batch)
    return features


def as_it_is(network: nn.Module, output: Any) -> Tensor:
    """Return the output of a pass, which is the features already."""
    features: Tensor = output
    return features


def _tf32_of_convolutions() -> Setting:
    """Return torch's setting that turns TF32 off in convolutions, which use it for float32 on a GPU by default."""
    cudnn: Any = torch.backends.cudnn
    try:
        _ = cudnn.allow_tf32
    except RuntimeError:  # the process set it for convolutions alone, which this older switch cannot express
        return cudnn.conv, "fp32_precision", "ieee"
    return cudnn, "allow_tf32", False


_EXACT_CONVOLUTIONS = Override(_tf32_of_convolutions)


@dataclass
class NetworkEncoder:
    """A network behind the :class:`Encoder` protocol. :func:`network_encoder` makes one and fills in its spec."""

    spec: EncoderSpec
    network: nn.Module
    device: str
    image: Forward = call
    """Passes a batch through the network. Encoders that share a network and this function share a pass."""
    text: TextFeatures | None = None
    find_cut: FindCut | None = None
    pool: Pooled = as_it_is
    """Computes the features from the output of ``image``."""
    trunk: Trunk | None = None
    """Where the network's layers are, if that is known."""
    grid: TokenGrid | None = None
    """How the tokens stand that ``view`` takes."""
    view: View | None = None
    """What is taken from inside the network; None: what ``pool`` computes."""
    _noted: set[str] = field(default_factory=set)
    """Texts that were looked at: a warning that one is cut comes once."""

    def encode_images(self, batch: Tensor) -> Floats:
        """Return vectors ``[n, d]``, or tokens ``[n, t, d]``, not normalised, of preprocessed images ``[n, 3, s, s]``.

        They are float32, but tokens are float16 where that is the type in which they are stored.

        Raises:
            UsageError: Patches are to be pooled by masks, which a batch has not: :meth:`pooled_by_mask` takes them.
        """
        if self.spec.masked:
            raise UsageError(
                f"'{self.spec.name}' pools patches by an image's mask, which is at hand where images are extracted. "
                "Of a query there is none: say pooling=mean."
            )
        return self.encode_views([self], batch)[0]

    def pooled_by_mask(self, tokens: Floats, masks: Sequence[Shares]) -> Floats:
        """Return the mean of each image's patches, weighted by the share of each that its mask covers.

        Args:
            tokens: ``[n, t, d]``, as :meth:`encode_views` gives them.
            masks: For each image the share of each pixel that the object covers, ``[s, s]``, some above 0.

        Returns:
            ``[n, d]``.

        Raises:
            ValueError: The encoder does not pool by masks.
        """
        if self.grid is None:
            raise ValueError(f"'{self.spec.name}' does not pool by masks")
        covers = np.stack([patch_cover(mask, self.grid) for mask in masks]).reshape(len(masks), -1)
        weights = covers / covers.sum(1, keepdims=True)
        patches = np.asarray(tokens[:, self.grid.prefix :], np.float64)
        return np.asarray(np.einsum("nt,ntd->nd", weights, patches), tokens.dtype)

    def encode_views(self, encoders: Sequence[NetworkEncoder], batch: Tensor) -> list[Floats]:
        """Return what encoders of this network, which share a pass with this one, give a batch."""
        if self.device.startswith("cuda"):
            batch = batch.pin_memory()
        layers = {each.view.layer for each in encoders if each.view is not None}
        with torch.inference_mode(), self._precision(), self._exact_convolutions(), catching(layers) as caught:
            output = self.image(self.network, batch.to(self.device, non_blocking=True))
            features = [each._pooled(output, caught) for each in encoders]
        return [
            (each.half() if encoder.spec.stored == "float16" else each.float()).cpu().numpy()
            for encoder, each in zip(encoders, features, strict=True)
        ]

    def _pooled(self, output: Any, caught: dict[int, Tensor]) -> Tensor:
        if self.view is None or self.trunk is None:
            return self.pool(self.network, output)
        return self.view.of(caught, self.network, self.trunk)

    @property
    def pass_key(self) -> Hashable:
        """What encoders have in common that share a pass: the network, how it is called, and its precision."""
        return id(self.network), self.image, self.spec.precision, self.device

    def views(self, options: dict[str, str]) -> list[NetworkEncoder]:
        """Return encoders of layers or tokens of the same network.

        Args:
            options: ``layer``, ``norm``, ``pooling`` and ``stored`` as they are typed behind a name.

        Raises:
            UsageError: The network's layers are not known, or there is no such layer, norm or pooling.
        """
        name = self.spec.name
        if self.trunk is None:
            raise UsageError(f"The layers of '{name}' are not known to embprobe: leave out {_typed(options)}.")
        depth = listen(self.network, self.trunk)
        side = self.spec.require_image_input().input_size
        black = torch.zeros(1, 3, side, side, device=self.device)
        with torch.inference_mode(), catching(range(depth + 1)) as caught:
            with threads_for(_multiplications(self.network, side)):
                self.image(self.network, black)
            if missing := sorted(set(range(depth + 1)) - set(caught)):
                raise UsageError(f"Layer {missing[0]} of '{name}' is not computed where it is looked for.")
            trunk = settled(self.trunk, caught[depth])
            norm_there = trunk.norm(self.network) is not None
            views = parse_view(name, options, depth=depth, trunk=trunk, own=self.spec.pooling, norm_there=norm_there)
            made = []
            for view in views:
                typed = options | ({"layer": str(view.layer)} if "layer" in options else {})
                example = view.of(caught, self.network, trunk)
                made.append(self._viewed(view, trunk, typed, example, caught[view.layer]))
            return made

    def layers(self, asked: str = "all") -> list[NetworkEncoder]:
        """Return an encoder for each layer that is asked for, with the pooling and the norm of this one.

        Args:
            asked: ``all``, ``every 2`` or numbers, ``8,10,12``.

        Raises:
            UsageError: The network's layers are not known, or there is no such layer.
        """
        own = {} if self.view is None else {"norm": self.view.norm, "pooling": self.view.pooling}
        every = self.views(own | {"layer": ALL})
        chosen = choose_layers(asked, len(every), self.spec.name)
        return [every[number - 1] for number in chosen]

    def _viewed(
        self, view: View, trunk: Trunk, options: dict[str, str], example: Tensor, output: Tensor
    ) -> NetworkEncoder:
        """Return the encoder of a view, by what it takes of a black image and the output of its layer."""
        own = [each for each in self.spec.options.split(",") if each]
        if self.view is not None:  # of a view of this one
            own = [each for each in own if each.partition("=")[0] not in (*VIEW_OPTIONS, "pooling")]
        typed = ",".join([*own, *filter(None, [join_options(**options)])])
        grid = grid_of(output, trunk, self.spec.name) if view.pooling in ("tokens", "patches@mask") else None
        spec = replace(
            self.spec,
            pooling=view.pooling,
            dimension=example.shape[-1],
            has_text=False,
            options=typed,
            layer=view.layer,
            norm=view.norm,
            tokens=grid if view.pooling == "tokens" else None,
            stored=view.stored,
        )
        return replace(self, spec=spec, text=None, find_cut=None, trunk=trunk, grid=grid, view=view)

    def project_tokens(self, tokens: Floats) -> Floats | None:
        """Send tokens of the last layer, behind the last norm, to the space that images share with text.

        Args:
            tokens: ``[m, d]``.

        Returns:
            float32 ``[m, e]``, as the class token is sent there; None where tokens have no way there.
        """
        if self.trunk is None or self.trunk.project is None:
            return None
        with torch.inference_mode():
            projected = self.trunk.project(self.network, torch.from_numpy(tokens).to(self.device))
        return projected.float().cpu().numpy()

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Return float32 vectors ``[n, d]``, not normalised, of ``n`` texts.

        Texts that are longer than the encoder's context are cut; one warning counts those that were not looked at
        before.

        Raises:
            UsageError: The encoder has no text side.
        """
        if self.text is None:
            raise UsageError(f"'{self.spec.name}' has no text side.")
        if self.find_cut and (new := [text for text in dict.fromkeys(texts) if text not in self._noted]):
            self._noted.update(new)
            note_cut(self.spec.name, self.find_cut(self.network, new), len(new))
        parts = [texts[start : start + _TEXTS] for start in range(0, len(texts), _TEXTS)] or [texts]
        with torch.inference_mode(), self._precision(), self._exact_convolutions():
            features = torch.cat([self.text(self.network, part, self.device).float().cpu() for part in parts])
        return features.numpy()

    def on(self, device: str) -> NetworkEncoder:
        """Return the same encoder on another device of this machine, with a copy of the weights."""
        return replace(self, network=deepcopy(self.network).to(device), device=device)

    def with_network_of(self, other: NetworkEncoder) -> NetworkEncoder:
        """Return the same encoder with the network of another one of equal weights, on its device."""
        return replace(self, network=other.network, device=other.device)

    def compiled(self) -> NetworkEncoder:
        """Return the encoder run through ``torch.compile``: often faster, with vectors that are rounded differently.

        One that takes layers or tokens stays as it is: what listens to blocks is not compiled.
        """
        if self.view is not None:
            return self
        image: Any = torch.compile(self.image)
        return replace(self, image=image)

    def _precision(self) -> AbstractContextManager[object]:
        """Return the context in which the network computes in the spec's precision."""
        if self.spec.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.partition(":")[0], getattr(torch, self.spec.precision))

    def _exact_convolutions(self) -> AbstractContextManager[object]:
        """Return the context in which float32 convolutions do not use TF32."""
        return _EXACT_CONVOLUTIONS if self.device.startswith("cuda") else nullcontext()


def encode_together(encoders: Sequence[Encoder], batches: Sequence[Tensor]) -> list[Floats]:
    """Return what each encoder gives its batch; those that share a network and a batch share one forward pass.

    Of one that pools by masks they are the tokens to be pooled.

    Args:
        encoders: The encoders.
        batches: For each encoder its preprocessed images ``[n, 3, s, s]``.
    """
    passes: dict[Hashable, list[int]] = {}
    for i, (encoder, batch) in enumerate(zip(encoders, batches, strict=True)):
        key = (encoder.pass_key, id(batch)) if isinstance(encoder, NetworkEncoder) else i
        passes.setdefault(key, []).append(i)
    vectors: dict[int, Floats] = {}
    for of_pass in passes.values():
        first, members = encoders[of_pass[0]], [encoders[i] for i in of_pass]
        if isinstance(first, NetworkEncoder) and (len(members) > 1 or first.spec.masked):
            networks = [each for each in members if isinstance(each, NetworkEncoder)]
            vectors |= dict(zip(of_pass, first.encode_views(networks, batches[of_pass[0]]), strict=True))
        else:
            vectors[of_pass[0]] = first.encode_images(batches[of_pass[0]])
    return [vectors[i] for i in range(len(encoders))]


def on_device(encoders: Sequence[Encoder], device: str) -> list[Encoder]:
    """Return the encoders on another device; those that share a network share its copy, too.

    One that is no :class:`NetworkEncoder` stays where it is.
    """
    copies: dict[int, NetworkEncoder] = {}
    moved: list[Encoder] = []
    for encoder in encoders:
        if isinstance(encoder, NetworkEncoder):
            first = copies.get(id(encoder.network))
            moved.append(encoder.on(device) if first is None else encoder.with_network_of(first))
            copies.setdefault(id(encoder.network), moved[-1])  # type: ignore[arg-type]
        else:
            moved.append(encoder)
    return moved


def share_networks(encoders: Sequence[Encoder]) -> list[Encoder]:
    """Return the encoders, those with equal weights with one network, so that they share its passes.

    Networks are the same where their family, model, hash of weights and configuration, the function that calls them and
    the device are: equal weights alone may be those of two networks that do other things with them.
    """
    known: dict[Hashable, NetworkEncoder] = {}
    for encoder in encoders:
        if isinstance(encoder, NetworkEncoder) and (_same(encoder) not in known or encoder.view is not None):
            known[_same(encoder)] = encoder  # rather one whose layers are listened to
    return [
        replace(encoder, network=known[_same(encoder)].network) if isinstance(encoder, NetworkEncoder) else encoder
        for encoder in encoders
    ]


def _same(encoder: NetworkEncoder) -> Hashable:
    spec = encoder.spec
    return spec.family, spec.model, spec.weights_sha256, encoder.image, encoder.device


def _typed(options: Mapping[str, str]) -> str:
    """Return options as they are typed."""
    return ",".join(f"{name}={value}" for name, value in options.items())


def _multiplications(network: nn.Module, input_size: int) -> float:
    """Estimate the multiplications of one image: each weight once for a patch of 16 x 16 pixels."""
    return sum(weight.numel() for weight in network.parameters()) * (input_size / 16) ** 2


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
    image: Forward = call,
    text: TextFeatures | None = None,
    find_cut: FindCut | None = None,
    pool: Pooled = as_it_is,
    trunk: Trunk | None = None,
    family: str = "python",
    model: str = "",
    weights: str = "",
    options: str = "",
    configuration: str = "",
) -> NetworkEncoder:
    """Make an encoder from a torch network and a description of the images it is fed.

    The dimension is measured with a black image, and the hash of the weights is computed. The network is put into
    evaluation mode on the device, in the ``channels_last`` layout if it is one of convolutions.

    Args:
        network: The network, with its weights.
        device: The torch device to compute on, such as ``cpu`` or ``cuda:0``.
        input_size: Side of the square that the network sees, in pixels.
        mean: Subtracted from each channel, which is in 0..1 before.
        std: Each channel is divided by it afterwards.
        pooling: The name of the part of the network's output that ``image`` returns.
        resize_to: Side to which an image is resized before ``input_size`` pixels are cut out; ``input_size`` unless
            given.
        resize: ``shortest`` resizes the shortest side to ``resize_to`` pixels, ``squash`` both sides.
        interpolation: ``bicubic`` or ``bilinear``.
        precision: ``float32``, ``bfloat16`` or ``float16``; "" is float32. Vectors are float32 always.
        image: Passes a batch ``[n, 3, s, s]`` through the network; by default the network is called.
        text: Computes ``[n, d]`` from the network, texts and the device; None if there is no text side.
        find_cut: Finds the texts that are longer than the context, so that a warning names them.
        pool: Computes ``[n, d]`` from the network and the output of ``image``; by default that is ``[n, d]`` already.
        trunk: Where the layers are, so that ``layer=8`` and ``pooling=tokens`` may stand behind the name.
        family: The family in the encoder's name.
        model: The model in the encoder's name.
        weights: The tag, revision or file in the encoder's name.
        options: The options in the encoder's name, as they are typed.
        configuration: Settings that change the vectors and are in no other argument; hashed with the weights.

    Raises:
        UsageError: The precision is unknown, or ``resize_to`` is smaller than ``input_size``.
        EmbprobeError: The network does not take images of this size, or does not return one vector for each.
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
        with torch.inference_mode(), threads_for(_multiplications(network, input_size)):
            features: Any = pool(network, image(network, torch.zeros(1, 3, input_size, input_size, device=device)))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise EmbprobeError(
            f"'{family}/{model}' takes no images of {input_size} x {input_size} pixels: {reason}"
        ) from None
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 1:
        shape = f"the shape {tuple(features.shape)}" if isinstance(features, Tensor) else f"a {type(features).__name__}"
        raise EmbprobeError(f"'{family}/{model}' must give one vector [n, d] for each image; for one it gave {shape}.")
    dimension = features.shape[1]
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
    return NetworkEncoder(spec, network, device, image, text, find_cut, pool, trunk)
