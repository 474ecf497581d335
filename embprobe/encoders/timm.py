"""Encoders of timm, by name with its tag, optionally with a local weights file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from embprobe.encoders.base import EncoderSpec, Floats, Pooling, hash_weights, load_failure
from embprobe.errors import UsageError

_POOLINGS: dict[str, Pooling] = {"token": "cls", "avg": "mean", "map": "attention"}


class TimmEncoder:
    """A timm model without its classifier."""

    def __init__(self, model: nn.Module, spec: EncoderSpec, device: str) -> None:
        self.spec = spec
        self._model, self._device = model, device

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Floats:
        features: Tensor = self._model(batch.to(self._device))
        return features.float().cpu().numpy()

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        raise UsageError(f"'{self.spec.name}' has no text side.")


def names() -> list[str]:
    """Every architecture, and with its tag where weights are published, e.g. ``vit_base_patch16_224.dino``."""
    return sorted({*timm.list_models(), *timm.list_models(pretrained=True)})


def load(model: str, weights: str, *, device: str) -> TimmEncoder:
    """``timm/vit_base_patch16_224.dino``, or ``timm/vit_base_patch16_224.dino:FILE``; safe loading only.

    Vision transformers of the DINO family give their CLS token, as their authors use it, whatever timm's default
    (DINOv3's is the mean). All others pool as timm does.
    """
    if weights and not Path(weights).is_file():
        raise UsageError(f"There is no weights file '{weights}'.")
    pooling = {"global_pool": "token"} if model.startswith("vit") and "dino" in model else {}
    try:
        network: Any = _from_file(model, weights, pooling) if weights else _published(model, pooling)
    except Exception as error:  # timm, torch and the hub raise many kinds
        raise load_failure(f"timm/{model}" + (f":{weights}" if weights else ""), weights, error) from None
    network.eval()
    spec = _spec(model, weights, network)
    return TimmEncoder(network.to(device), spec, device)


def _published(model: str, pooling: dict[str, Any]) -> Any:
    return timm.create_model(model, pretrained=True, num_classes=0, **pooling)


def _from_file(model: str, file: str, pooling: dict[str, Any]) -> Any:
    """A file with a classifier, or one without; in both every weight must be there.

    Asked for no classifier, timm would drop the file's, and with it every check that the weights fit.
    """
    try:
        network: Any = timm.create_model(model, pretrained=True, pretrained_cfg_overlay={"file": file}, **pooling)
    except RuntimeError:
        overlay = {"file": file, "num_classes": 0}
        return timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, **pooling)
    network.reset_classifier(0)
    return network


def _spec(model: str, weights: str, network: Any) -> EncoderSpec:
    config = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    _, height, width = config["input_size"]
    if height != width or config["crop_mode"] not in ("center", "squash"):
        raise UsageError(f"'timm/{model}' pads or is not square, which embprobe does not support yet.")
    pool = getattr(network, "global_pool", None)
    pooling = _POOLINGS.get(pool if isinstance(pool, str) else "avg")
    if pooling is None:
        raise UsageError(f"'timm/{model}' pools by '{pool}', which embprobe does not support yet.")
    with torch.inference_mode():
        dimension = network(torch.zeros(1, 3, height, width)).shape[1]
    return EncoderSpec(
        family="timm",
        model=model,
        weights=weights,
        weights_sha256=hash_weights(network),
        pooling=pooling,
        input_size=height,
        resize="shortest" if config["crop_mode"] == "center" else "squash",
        resize_to=math.floor(height / config["crop_pct"]),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        dimension=dimension,
        has_text=False,
    )
