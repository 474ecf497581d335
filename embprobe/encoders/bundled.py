"""The controlled pair that comes with embprobe, trained by ``embprobe pretrain`` on the bundled images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from embprobe.encoders.base import Listing
from embprobe.encoders.network import NetworkEncoder, network_encoder
from embprobe.encoders.options import spelled
from embprobe.encoders.towers import IMAGE_SIZE, MEAN, STD, WIDTH, TwoTowers
from embprobe.errors import EmbprobeError, UsageError


def encoder_of(
    towers: TwoTowers, *, family: str, model: str, weights: str, device: str, precision: str = ""
) -> NetworkEncoder:
    """These towers as an encoder."""
    return network_encoder(
        towers,
        device=device,
        input_size=IMAGE_SIZE,
        mean=MEAN,
        std=STD,
        pooling="projected" if towers.has_text else "cls",
        precision=precision,
        image=_images,
        text=_texts if towers.has_text else None,
        family=family,
        model=model,
        weights=weights,
        options=spelled(precision=precision),
    )


def _images(towers: TwoTowers, batch: Tensor) -> Tensor:
    return towers.encode_images(batch)


def _texts(towers: TwoTowers, texts: Sequence[str], device: str) -> Tensor:
    return towers.encode_texts(texts)


def names() -> list[str]:
    """The encoders whose weights are bundled."""
    folder = files("embprobe.encoders") / "bundled_weights"
    if not folder.is_dir():
        return []
    return sorted(item.name for item in folder.iterdir() if (item / "model.safetensors").is_file())


def describe(name: str) -> Listing:
    """Of one of them; whether it has text is in its file."""
    with as_file(_bundled(name)) as path:
        towers = _towers(path)
    return Listing(name, "with embprobe", WIDTH, IMAGE_SIZE, towers.has_text)


def load(model: str, weights: str, *, device: str, precision: str = "") -> NetworkEncoder:
    """``bundled/clip``, ``bundled/dino``; or the ``model.safetensors`` that ``pretrain`` wrote, by its path."""
    if weights:
        towers = _towers(Path(weights))
    else:
        with as_file(_bundled(model)) as path:
            towers = _towers(path)
    return encoder_of(towers, family="bundled", model=model, weights=weights, device=device, precision=precision)


def _bundled(model: str) -> Traversable:
    return files("embprobe.encoders") / "bundled_weights" / model / "model.safetensors"


def _towers(path: Path) -> TwoTowers:
    if not path.is_file():
        raise UsageError(f"There is no weights file '{path}'.")
    try:
        with safe_open(path, framework="pt") as file:
            vocabulary = json.loads((file.metadata() or {}).get("vocabulary", "[]"))
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
        towers = TwoTowers(seed=0, vocabulary=vocabulary)
        towers.load_state_dict(state)
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise EmbprobeError(f"'{path}' is not a weights file of embprobe's own ViT: {reason}") from None
    return towers
