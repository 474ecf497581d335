"""Encoders of timm: a name with its tag, optionally with a local file; a repository of the hub, or a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from timm.data.config import resolve_model_data_config
from torch import Tensor

from embprobe.encoders.hub import PLACES, SOURCES, cache_if_unreachable, load_failure
from embprobe.encoders.network import ImageFeatures, NetworkEncoder, call, network_encoder
from embprobe.encoders.options import pixels, spelled
from embprobe.encoders.spec import Listing, Pooling
from embprobe.errors import UsageError

_THEIRS: dict[str, Pooling] = {"token": "cls", "avg": "mean", "map": "attention"}
"""Ours for timm's names of poolings."""


def names() -> list[str]:
    """Every architecture, and with its tag where weights are published, e.g. ``vit_base_patch16_224.dino``."""
    known = sorted({*timm.list_models(), *timm.list_models(pretrained=True)})
    return known + [f"{place}:{what}" for place, what in PLACES.items()]


def describe(name: str) -> Listing:
    """What timm says of a model, which is built without weights for it: a fifth of a second."""
    if (place := name.partition(":")[0]) in PLACES:
        return Listing(name, SOURCES[place], has_text=False)
    with torch.device("meta"):
        network: Any = timm.create_model(name, num_classes=0)
    config = network.pretrained_cfg
    hub = config.get("hf_hub_id")
    source = f"Hugging Face hub, {hub}" if hub else config.get("url") or f"a file: timm/{name}:FILE"
    return Listing(name, source, network.head_hidden_size, config["input_size"][-1], False)


def load(
    model: str, weights: str, *, device: str, pooling: str = "", size: str = "", resize: str = "", precision: str = ""
) -> NetworkEncoder:
    """``timm/vit_base_patch16_224.dino``, or ``timm/vit_base_patch16_224.dino:FILE``; safe loading only.

    Vision transformers of the DINO family give their CLS token, as their authors use it, whatever timm's default
    (DINOv3's is the mean). All others pool as timm does. ``pooling=`` ``cls``, ``mean`` or ``cls+mean`` asks otherwise.
    """
    side, resize_to = pixels("size", size), pixels("resize", resize)
    placed = model in PLACES
    if weights and not placed and not Path(weights).is_file():
        raise UsageError(f"There is no weights file '{weights}'.")
    local = model == "local-dir" or bool(weights) and not placed
    name = f"timm/{model}" + (f":{weights}" if weights else "")
    try:
        with cache_if_unreachable(local=local):
            network = _sized(f"{model}:{weights}", "", side) if placed else _sized(model, weights, side)
            configuration = _configuration(model, weights) if placed else ""
    except Exception as error:  # timm, torch and the hub raise many kinds
        raise load_failure(name, weights, error, local=local) from None
    config = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    _, height, width = config["input_size"]
    if height != width or config["crop_mode"] not in ("center", "squash"):
        raise UsageError(f"'timm/{model}' pads or is not square, which embprobe does not support yet.")
    side = side or height
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    if isinstance(patch, tuple) and side != height and side % patch[0]:
        raise UsageError(f"'{name}' sees patches of {patch[0]} pixels: give a size that is a multiple, not {side}.")
    own = f"{network.pretrained_cfg.get('architecture')}.{network.pretrained_cfg.get('tag')}" if placed else model
    dino = own.startswith("vit") and "dino" in own
    kind, image = pooled(network, pooling or ("cls" if dino and has_class_token(network) else ""), f"timm/{model}")
    return network_encoder(
        network,
        device=device,
        input_size=side,
        mean=config["mean"],
        std=config["std"],
        pooling=kind,
        resize_to=resize_to or math.floor(side / config["crop_pct"]),
        resize="shortest" if config["crop_mode"] == "center" else "squash",
        interpolation=config["interpolation"],
        precision=precision,
        image=image,
        family="timm",
        model=model,
        weights=weights,
        options=spelled(pooling=pooling, size=size, resize=resize, precision=precision),
        configuration=configuration,
    )


def has_class_token(network: Any) -> bool:
    """Whether a timm network puts a class token before its patch tokens."""
    return getattr(network, "cls_token", None) is not None and getattr(network, "num_prefix_tokens", 0) > 0


def pooled(network: Any, pooling: str, name: str) -> tuple[Pooling, ImageFeatures]:
    """What to call a pooling of a timm network without a classifier, and how to compute it; "" is the network's own.

    Raises :class:`UsageError` if the network has no such pooling.
    """
    own = getattr(network, "global_pool", None)
    default = _THEIRS.get(own if isinstance(own, str) else "avg")
    if pooling in ("", default):
        if default is None:
            raise UsageError(f"'{name}' pools by '{own}', which embprobe does not support yet: say ',pooling=mean'.")
        return default, call
    tokens = hasattr(network, "num_prefix_tokens") and hasattr(network, "fc_norm")
    if pooling == "mean" and tokens:
        return "mean", _mean
    if pooling == "cls" and tokens and has_class_token(network):
        return "cls", _cls
    if pooling == "cls+mean" and tokens and has_class_token(network):
        return "cls+mean", _cls_and_mean
    known = ["cls", "mean", "cls+mean"] if has_class_token(network) else ["mean"] if tokens else []
    there = sorted({*known, *([default] if default else [])})
    raise UsageError(f"'{name}' has no pooling '{pooling}'; it has {', '.join(there) or 'none to choose'}.")


def _cls(network: Any, batch: Tensor) -> Tensor:
    features: Tensor = network.fc_norm(network.forward_features(batch)[:, 0])
    return features


def _mean(network: Any, batch: Tensor) -> Tensor:
    """Over the patch tokens: neither the class token nor registers count."""
    features: Tensor = network.fc_norm(network.forward_features(batch)[:, network.num_prefix_tokens :].mean(1))
    return features


def _cls_and_mean(network: Any, batch: Tensor) -> Tensor:
    tokens = network.forward_features(batch)
    parts = (tokens[:, 0], tokens[:, network.num_prefix_tokens :].mean(1))
    return torch.cat([network.fc_norm(part) for part in parts], 1)


def _configuration(place: str, where: str) -> str:
    """What the ``config.json`` beside the weights says of the network: its architecture and arguments."""
    repository, _, revision = where.partition("@")
    file = (
        hf_hub_download(repository, "config.json", revision=revision or None)
        if place == "hf-hub"
        else Path(where, "config.json")
    )
    found = json.loads(Path(file).read_text(encoding="utf-8"))
    return json.dumps([found["architecture"], found.get("model_args")], sort_keys=True)


def _sized(model: str, file: str, side: int | None) -> Any:
    """The network, made for images of another size where its position embeddings depend on it."""
    if side:
        try:
            return _whole(model, file, {"img_size": side})
        except TypeError:
            pass  # it takes any size
    return _whole(model, file, {})


def _whole(model: str, file: str, options: dict[str, Any]) -> Any:
    """Weights with a classifier, or without one; in both every weight must be there.

    Asked for no classifier, timm would drop theirs, and with it every check that the weights fit.
    """
    overlay: dict[str, Any] = {"file": file} if file else {}
    try:
        network: Any = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except RuntimeError:
        bare = {**overlay, "num_classes": 0}
        return timm.create_model(model, pretrained=True, pretrained_cfg_overlay=bare, num_classes=0, **options)
    network.reset_classifier(0)
    return network
