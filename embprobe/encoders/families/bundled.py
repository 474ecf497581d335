"""Load the encoders that come with embprobe, trained by ``embprobe pretrain`` on the bundled images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from embprobe.encoders.options import join_options
from embprobe.encoders.spec import Listing, Pooling
from embprobe.encoders.towers.header import IMAGE_SIZE, read_header
from embprobe.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from embprobe.encoders.network import NetworkEncoder
    from embprobe.encoders.texts import CutText
    from embprobe.encoders.towers.two_towers import TwoTowers


def towers_encoder(
    towers: TwoTowers,
    *,
    family: str,
    model: str,
    weights: str,
    device: str,
    pooling: str = "",
    precision: str = "",
) -> NetworkEncoder:
    """Make an encoder from a pair of towers.

    Args:
        towers: The image tower, its head, and the text side if it has one.
        family: The family in the encoder's name.
        model: The model in the encoder's name.
        weights: The file or seed in the encoder's name.
        device: The torch device to compute on.
        pooling: "" for the head's output, which texts share; ``cls`` for the CLS token before the head.
        precision: ``float32``, ``bfloat16`` or ``float16``; "" is float32.

    Raises:
        UsageError: There is no such pooling.
    """
    from embprobe.encoders.layers import Trunk
    from embprobe.encoders.network import as_it_is, network_encoder
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
        image=_features,
        pool=as_it_is if headless else _projected,
        trunk=Trunk(
            lambda towers: list(towers.vit.blocks),
            lambda towers: towers.vit.norm,
            prefix=1,
            has_class=True,
            project=_projected if towers.has_text and not headless else None,
        ),
        text=_texts if towers.has_text and not headless else None,
        find_cut=_cut_texts,
        family=family,
        model=model,
        weights=weights,
        options=join_options(pooling=pooling, precision=precision),
    )


def _features(towers: TwoTowers, batch: Tensor) -> Tensor:
    """Return the class token before the head."""
    features: Tensor = towers.vit(batch)
    return features


def _projected(towers: TwoTowers, features: Tensor) -> Tensor:
    """Return the class token behind the head."""
    embedding: Tensor = towers.image_projection(features)
    return embedding


def _texts(towers: TwoTowers, texts: Sequence[str], device: str) -> Tensor:
    return towers.encode_texts(texts)


def _cut_texts(towers: TwoTowers, texts: Sequence[str]) -> list[CutText]:
    return [cut for text in texts if (cut := towers.cut_text(text))]


def names() -> list[str]:
    """Return the names of the bundled encoders, without the family."""
    folder = files("embprobe.encoders") / "bundled_weights"
    if not folder.is_dir():
        return []
    return sorted(item.name for item in folder.iterdir() if (item / "model.safetensors").is_file())


def describe(name: str) -> Listing:
    """Describe a bundled encoder from the header of its weights file."""
    with as_file(_bundled(name)) as path:
        dimension, has_text = read_header(path)
    return Listing(name, "with embprobe", dimension, IMAGE_SIZE, has_text)


def load(model: str, weights: str, *, device: str, pooling: str = "", precision: str = "") -> NetworkEncoder:
    """Load a bundled encoder, or one that ``embprobe pretrain`` trained.

    Args:
        model: One of :func:`names`; any word where a file is given.
        weights: The ``model.safetensors`` that ``embprobe pretrain`` wrote, or "" for the bundled weights.
        device: The torch device to compute on.
        pooling: "" for the head's output, which texts share; ``cls`` for the CLS token before the head.
        precision: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        UsageError: There is no such file or pooling.
        EmbprobeError: The file holds something else.
    """
    from embprobe.encoders.towers.weights import load_towers
    from embprobe.system.threads import one_thread

    with as_file(_bundled(model)) if not weights else nullcontext(Path(weights)) as path, one_thread():
        towers = load_towers(path)
    return towers_encoder(
        towers, family="bundled", model=model, weights=weights, device=device, pooling=pooling, precision=precision
    )


def _bundled(model: str) -> Traversable:
    """Return the bundled weights file of an encoder."""
    return files("embprobe.encoders") / "bundled_weights" / model / "model.safetensors"
