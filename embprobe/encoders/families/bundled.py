"""The controlled encoders that come with embprobe, trained by ``embprobe pretrain`` on the bundled images."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from embprobe.encoders.options import spelled
from embprobe.encoders.spec import Listing, Pooling
from embprobe.encoders.towers.header import IMAGE_SIZE, read_header
from embprobe.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from embprobe.encoders.network import NetworkEncoder
    from embprobe.encoders.towers.two_towers import TwoTowers


def encoder_of(
    towers: TwoTowers,
    *,
    family: str,
    model: str,
    weights: str,
    device: str,
    pooling: str = "",
    precision: str = "",
) -> NetworkEncoder:
    """These towers as an encoder of what their head gives, or with ``pooling="cls"`` of the CLS token before it.

    Raises :class:`UsageError` if there is no such pooling.
    """
    from embprobe.encoders.network import network_encoder
    from embprobe.encoders.towers.two_towers import MEAN, STD

    own: Pooling = "cls" if towers.head == "none" else "projected"
    if pooling not in ("", "cls", own):
        raise UsageError(f"'{family}/{model}' has no pooling '{pooling}'; it has {' and '.join(sorted({'cls', own}))}.")
    headless = pooling == "cls"
    return network_encoder(
        towers,
        device=device,
        input_size=IMAGE_SIZE,
        mean=MEAN,
        std=STD,
        pooling="cls" if headless else own,
        precision=precision,
        image=_tokens if headless else _images,
        text=_texts if towers.has_text and not headless else None,
        family=family,
        model=model,
        weights=weights,
        options=spelled(pooling=pooling, precision=precision),
    )


def _images(towers: TwoTowers, batch: Tensor) -> Tensor:
    return towers.encode_images(batch)


def _tokens(towers: TwoTowers, batch: Tensor) -> Tensor:
    features: Tensor = towers.vit(batch)
    return features


def _texts(towers: TwoTowers, texts: Sequence[str], device: str) -> Tensor:
    return towers.encode_texts(texts)


def names() -> list[str]:
    """The encoders whose weights are bundled."""
    folder = files("embprobe.encoders") / "bundled_weights"
    if not folder.is_dir():
        return []
    return sorted(item.name for item in folder.iterdir() if (item / "model.safetensors").is_file())


def describe(name: str) -> Listing:
    """Of one of them; what it looks like is in its file."""
    with as_file(_bundled(name)) as path:
        dimension, has_text = read_header(path)
    return Listing(name, "with embprobe", dimension, IMAGE_SIZE, has_text)


def load(model: str, weights: str, *, device: str, pooling: str = "", precision: str = "") -> NetworkEncoder:
    """``bundled/clip``, ``bundled/dino``, ...; or the ``model.safetensors`` that ``pretrain`` wrote, by its path."""
    from embprobe.encoders.towers.weights import load_towers

    if weights:
        towers = load_towers(Path(weights))
    else:
        with as_file(_bundled(model)) as path:
            towers = load_towers(path)
    return encoder_of(
        towers, family="bundled", model=model, weights=weights, device=device, pooling=pooling, precision=precision
    )


def _bundled(model: str) -> Traversable:
    return files("embprobe.encoders") / "bundled_weights" / model / "model.safetensors"
