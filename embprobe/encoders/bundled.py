"""The controlled pair that comes with embprobe, trained by ``embprobe pretrain`` on the bundled images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from embprobe.encoders.base import EncoderSpec, Floats, hash_weights
from embprobe.encoders.towers import IMAGE_SIZE, MEAN, STD, WIDTH, TwoTowers
from embprobe.errors import EmbprobeError, UsageError


def spec_of(towers: TwoTowers, *, family: str, model: str, weights: str) -> EncoderSpec:
    """The spec of an encoder made of these towers."""
    return EncoderSpec(
        family=family,
        model=model,
        weights=weights,
        weights_sha256=hash_weights(towers),
        pooling="projected" if towers.has_text else "cls",
        input_size=IMAGE_SIZE,
        resize="shortest",
        resize_to=IMAGE_SIZE,
        interpolation="bicubic",
        mean=MEAN,
        std=STD,
        dimension=WIDTH,
        has_text=towers.has_text,
    )


class BundledEncoder:
    """A :class:`TwoTowers` behind the encoder protocol."""

    def __init__(self, towers: TwoTowers, *, family: str, model: str, weights: str, device: str) -> None:
        self.spec = spec_of(towers, family=family, model=model, weights=weights)
        self._towers = towers.eval().to(device)
        self._device = device

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Floats:
        return self._towers.encode_images(batch.to(self._device)).float().cpu().numpy()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Floats:
        if not self.spec.has_text:
            raise UsageError(f"'{self.spec.name}' was trained without text and cannot encode any.")
        return self._towers.encode_texts(texts).float().cpu().numpy()


def names() -> list[str]:
    """The encoders whose weights are bundled."""
    folder = files("embprobe.encoders") / "bundled_weights"
    if not folder.is_dir():
        return []
    return sorted(item.name for item in folder.iterdir() if (item / "model.safetensors").is_file())


def load(model: str, weights: str, *, device: str) -> BundledEncoder:
    """``bundled/clip``, ``bundled/dino``; or the ``model.safetensors`` that ``pretrain`` wrote, by its path."""
    if weights:
        return _from_file(Path(weights), model, weights, device)
    with as_file(files("embprobe.encoders") / "bundled_weights" / model / "model.safetensors") as path:
        return _from_file(path, model, weights, device)


def _from_file(path: Path, model: str, weights: str, device: str) -> BundledEncoder:
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
    return BundledEncoder(towers, family="bundled", model=model, weights=weights, device=device)
