"""Load encoders of timm: a name with its tag, optionally with a local file; a repository of the hub, or a folder."""

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

from embprobe.encoders.hub import PLACES, SOURCES, load_failure
from embprobe.encoders.network import ImageFeatures, NetworkEncoder, call, network_encoder
from embprobe.encoders.options import join_options, parse_side
from embprobe.encoders.spec import Listing, Pooling
from embprobe.errors import UsageError
from embprobe.system.hub import cache_if_unreachable

_POOLINGS: dict[str, Pooling] = {"token": "cls", "avg": "mean", "map": "attention"}
"""By timm's name of a pooling, embprobe's."""


def names() -> list[str]:
    """Return every architecture, and those with a tag of published weights, e.g. ``vit_base_patch16_224.dino``."""
    known = sorted({*timm.list_models(), *timm.list_models(pretrained=True)})
    return known + [f"{place}:{address}" for place, address in PLACES.items()]


def describe(name: str) -> Listing:
    """Describe a model of timm, which is built without weights for it in about a fifth of a second."""
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
    """Load ``timm/vit_base_patch16_224.dino``, ``timm/MODEL:FILE``, ``timm/hf-hub:OWNER/NAME`` or a folder.

    No code in a file is run, and no weight may be missing.

    Args:
        model: timm's name of the model with its tag, or ``hf-hub`` or ``local-dir``.
        weights: "" for the published weights, or a file of weights; the repository or the folder.
        device: The torch device to compute on.
        pooling: ``cls``, ``mean`` or ``cls+mean``. By default timm's own, but the CLS token for vision transformers
            of the DINO family, whose authors use it (timm's default for DINOv3 is the mean).
        size: Side of the input in pixels, if not the encoder's own.
        resize: Side in pixels to which images are resized before the crop, if not the encoder's own.
        precision: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        UsageError: There is no such file, or an option does not suit this encoder.
        EmbprobeError: The weights could not be fetched or read.
    """
    side, resize_to = parse_side("size", size), parse_side("resize", resize)
    in_place = model in PLACES  # else a model's name
    if weights and not in_place and not Path(weights).is_file():
        raise UsageError(f"There is no weights file '{weights}'.")
    local = model == "local-dir" or bool(weights) and not in_place
    name = f"timm/{model}" + (f":{weights}" if weights else "")
    try:
        with cache_if_unreachable(local=local):
            network = _with_size(f"{model}:{weights}", "", side) if in_place else _with_size(model, weights, side)
            configuration = _configuration(model, weights) if in_place else ""
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
    timm_name = (
        f"{network.pretrained_cfg.get('architecture')}.{network.pretrained_cfg.get('tag')}" if in_place else model
    )
    dino = timm_name.startswith("vit") and "dino" in timm_name
    default_pooling = "cls" if dino and has_class_token(network) else ""
    kind, image = choose_pooling(network, pooling or default_pooling, f"timm/{model}")
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
        options=join_options(pooling=pooling, size=size, resize=resize, precision=precision),
        configuration=configuration,
    )


def has_class_token(network: Any) -> bool:
    """Return whether a timm network puts a class token before its patch tokens."""
    return getattr(network, "cls_token", None) is not None and getattr(network, "num_prefix_tokens", 0) > 0


def choose_pooling(network: Any, pooling: str, name: str) -> tuple[Pooling, ImageFeatures]:
    """Return a pooling's name for the spec and the function that computes it.

    Args:
        network: A timm network without a classifier.
        pooling: ``cls``, ``mean``, ``cls+mean``, or "" for the network's own.
        name: The encoder's name, for messages.

    Raises:
        UsageError: The network has no such pooling.
    """
    own = getattr(network, "global_pool", None)
    default = _POOLINGS.get(own if isinstance(own, str) else "avg")
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
    available = sorted({*known, *([default] if default else [])})
    raise UsageError(f"'{name}' has no pooling '{pooling}'; it has {', '.join(available) or 'none to choose'}.")


def _cls(network: Any, batch: Tensor) -> Tensor:
    """Return the class token, ``[n, d]``."""
    features: Tensor = network.fc_norm(network.forward_features(batch)[:, 0])
    return features


def _mean(network: Any, batch: Tensor) -> Tensor:
    """Return the mean of the patch tokens, ``[n, d]``, without the class token and registers."""
    features: Tensor = network.fc_norm(network.forward_features(batch)[:, network.num_prefix_tokens :].mean(1))
    return features


def _cls_and_mean(network: Any, batch: Tensor) -> Tensor:
    """Return the class token followed by the mean of the patch tokens, ``[n, 2 d]``."""
    tokens = network.forward_features(batch)
    parts = (tokens[:, 0], tokens[:, network.num_prefix_tokens :].mean(1))
    return torch.cat([network.fc_norm(part) for part in parts], 1)


def _configuration(place: str, address: str) -> str:
    """Return, as JSON, the architecture and its arguments from the ``config.json`` beside the weights."""
    repository, _, revision = address.partition("@")
    file = (
        hf_hub_download(repository, "config.json", revision=revision or None)
        if place == "hf-hub"
        else Path(address, "config.json")
    )
    config = json.loads(Path(file).read_text(encoding="utf-8"))
    return json.dumps([config["architecture"], config.get("model_args")], sort_keys=True)


def _with_size(model: str, file: str, side: int | None) -> Any:
    """Return the network, made for images ``side`` pixels wide where its position embeddings depend on the size."""
    if side:
        try:
            return _create(model, file, {"img_size": side})
        except TypeError:
            pass  # it takes any size
    return _create(model, file, {})


def _create(model: str, file: str, options: dict[str, Any]) -> Any:
    """Return the network without a classifier, from weights that may have one; none of them may be missing.

    If timm were to make the network without a classifier at once, it would drop the weights' own, and with it every
    check that the weights fit.
    """
    overlay: dict[str, Any] = {"file": file} if file else {}
    try:
        network: Any = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except RuntimeError:
        bare = {**overlay, "num_classes": 0}
        return timm.create_model(model, pretrained=True, pretrained_cfg_overlay=bare, num_classes=0, **options)
    network.reset_classifier(0)
    return network
