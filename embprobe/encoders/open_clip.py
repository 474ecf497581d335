"""Encoders of open_clip, by architecture and tag, or architecture and a local weights file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from embprobe.encoders.base import EncoderSpec, Floats, hash_weights, load_failure
from embprobe.errors import UsageError


class OpenClipEncoder:
    """An open_clip model; vectors are its projected features."""

    def __init__(self, model: Any, tokenizer: Any, spec: EncoderSpec, device: str) -> None:
        self.spec = spec
        self._model, self._tokenizer, self._device = model, tokenizer, device

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Floats:
        features: Tensor = self._model.encode_image(batch.to(self._device))
        return features.float().cpu().numpy()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Floats:
        features: Tensor = self._model.encode_text(self._tokenizer(list(texts)).to(self._device))
        return features.float().cpu().numpy()


def names() -> list[str]:
    """Every architecture with each of its published weights, e.g. ``ViT-B-16:openai``; bare where there are none."""
    tagged = open_clip.list_pretrained()
    return [f"{model}:{tag}" for model, tag in tagged] + sorted(set(open_clip.list_models()) - {m for m, _ in tagged})


def load(model: str, weights: str, *, device: str) -> OpenClipEncoder:
    """``open_clip/ViT-B-16:openai``, or a file instead of the tag; safe loading only (safetensors, or weights only)."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    if weights not in tags and not Path(weights).is_file():
        known = f"one of {', '.join(tags)}" if tags else "it has none published"
        raise UsageError(f"'open_clip/{model}' needs weights: a file that exists, or a tag ({known}); not '{weights}'.")
    try:
        network = open_clip.create_model(model, pretrained=weights, device="cpu", weights_only=True).eval()
        tokenizer = open_clip.get_tokenizer(model)
    except Exception as error:  # open_clip, torch and the hub raise many kinds
        raise load_failure(f"open_clip/{model}:{weights}", weights, error) from None
    spec = _spec(model, weights, network)
    return OpenClipEncoder(network.to(device), tokenizer, spec, device)


def _spec(model: str, weights: str, network: Any) -> EncoderSpec:
    config = open_clip.get_model_preprocess_cfg(network)
    size = config["size"]
    side = size if isinstance(size, int) else size[0]
    if config["resize_mode"] not in ("shortest", "squash") or not isinstance(size, int) and size[0] != size[-1]:
        raise UsageError(f"'open_clip/{model}' pads or is not square, which embprobe does not support yet.")
    with torch.inference_mode():
        dimension = network.encode_image(torch.zeros(1, 3, side, side)).shape[1]
    return EncoderSpec(
        family="open_clip",
        model=model,
        weights=weights,
        weights_sha256=hash_weights(network),
        pooling="projected",
        input_size=side,
        resize=config["resize_mode"],
        resize_to=side,
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        dimension=dimension,
        has_text=True,
    )
