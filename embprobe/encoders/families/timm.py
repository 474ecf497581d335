"""Load encoders of timm: a name with its tag, optionally with a local file; a repository of the hub, or a folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from embprobe.encoders.checkpoints.fitting import drop_unused, fit, note_resampling, without_heads
from embprobe.encoders.checkpoints.formats import NotWeights
from embprobe.encoders.checkpoints.mismatch import Mismatch
from embprobe.encoders.checkpoints.reading import find_weights, read_weights
from embprobe.encoders.hub import PLACES, SOURCES, load_failure
from embprobe.encoders.layers import Trunk
from embprobe.encoders.network import ImageFeatures, NetworkEncoder, call, network_encoder
from embprobe.encoders.options import join_options, parse_side
from embprobe.encoders.spec import Listing, Pooling
from embprobe.errors import UsageError
from embprobe.system.hub import cache_if_unreachable

_POOLINGS: dict[str, Pooling] = {"token": "cls", "avg": "mean", "map": "attention"}
"""By timm's name of a pooling, embprobe's."""
_STEMS = ("act1", "stem", "conv_stem", "bn1", "features.norm0")
"""Names of what comes before the first stage in the tables of timm's networks."""
_CLASSIFIERS = ("head", "head.fc", "fc", "classifier", "last_linear")
"""Names of classifiers in timm's networks and in those that it translates."""


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
    model: str,
    weights: str,
    *,
    device: str,
    pooling: str = "",
    size: str = "",
    resize: str = "",
    precision: str = "",
    key: str = "",
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
        key: The network of a checkpoint file that holds several, such as ``state_dict`` or ``state_dict_ema``.

    Raises:
        UsageError: There is no such file, or an option does not suit this encoder.
        EmbprobeError: The weights could not be fetched or read.
    """
    side, resize_to = parse_side("size", size), parse_side("resize", resize)
    in_place = model in PLACES  # else a model's name
    if weights and not in_place and not Path(weights).exists():
        raise UsageError(f"There is no weights file '{weights}'.")
    local = model == "local-dir" or bool(weights) and not in_place
    if key and not local:
        raise UsageError(f"'key={key}' chooses a network of a checkpoint file; 'timm/{model}' is none.")
    name = f"timm/{model}" + (f":{weights}" if weights else "")
    try:
        with cache_if_unreachable(local=local):
            timm_name = f"{model}:{weights}" if in_place else model
            network = _from_file(timm_name, Path(weights), side, key) if local else _published(timm_name, side)
            configuration = _configuration(model, weights) if in_place else ""
    except UsageError:
        raise
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
    variant = f"{network.pretrained_cfg.get('architecture')}.{network.pretrained_cfg.get('tag')}" if in_place else model
    dino = variant.startswith("vit") and "dino" in variant
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
        trunk=trunk_of(network),
        family="timm",
        model=model,
        weights=weights,
        options=join_options(pooling=pooling, size=size, resize=resize, precision=precision, key=key),
        configuration=configuration,
    )


def trunk_of(network: Any, within: Callable[[Any], Any] = lambda network: network) -> Trunk | None:
    """Return where the layers of a timm network are; None if that is not known.

    They are a vision transformer's blocks; of other networks the stages that timm's ``feature_info`` names, of which a
    stem is none.

    Args:
        network: The network of timm.
        within: Returns it from the network that holds it.
    """
    norm = _last_norm(network)
    if hasattr(network, "num_prefix_tokens") and isinstance(network.blocks, nn.Sequential | nn.ModuleList):
        return Trunk(
            lambda outer: list(within(outer).blocks),
            lambda outer: getattr(within(outer), norm) if norm else None,
            prefix=network.num_prefix_tokens,
            has_class=has_class_token(network),
        )
    stages = [each["module"] for each in getattr(network, "feature_info", None) or []]
    stages = [stage for stage in stages if not stage.startswith(_STEMS)]
    if not stages:
        return None
    return Trunk(
        lambda outer: [within(outer).get_submodule(stage) for stage in stages],
        lambda outer: getattr(within(outer), norm) if norm else None,
        maps="NHWC" if getattr(network, "output_fmt", None) == "NHWC" else "",
    )


def _last_norm(network: Any) -> str:
    """Return the name of the norm that a network's tokens go through at the end; "" if they go through none."""
    norms = (name for name in ("norm", "fc_norm") if isinstance(getattr(network, name, None), nn.Module))
    return next((name for name in norms if not isinstance(getattr(network, name), nn.Identity)), "")


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


def _published(model: str, side: int | None) -> Any:
    """Return timm's network without a classifier, with the weights that timm itself finds; none may be missing.

    If timm were to make the network without a classifier at once, it would drop the weights' own, and with it every
    check that the weights fit.
    """
    try:
        network = _create(model, side, pretrained=True)
    except RuntimeError:
        bare = {"num_classes": 0}
        return _create(model, side, pretrained=True, pretrained_cfg_overlay=bare, num_classes=0)
    network.reset_classifier(0)
    return network


def _from_file(model: str, place: Path, side: int | None, key: str) -> Any:
    """Return timm's network without a classifier, with weights from a file that may have any classifier or none."""
    file = find_weights(place)
    content = read_weights(file)
    names = _create(model, None, num_classes=0, device="meta").state_dict()
    if file.suffix == ".npz" and not any(name in content for name in names):
        npz = {"file": str(file), "custom_load": True, "num_classes": 0, "source": ""}
        return _create(model, side, pretrained=True, pretrained_cfg_overlay=npz, num_classes=0)
    state = fit(content, names.keys(), key=key, file=file.name)
    if not side:
        note_resampling(state, names, file.name)
    state = drop_unused(state, names, file.name)
    classes = next((len(state[f"{head}.weight"]) for head in _CLASSIFIERS if f"{head}.weight" in state), 0)
    try:
        return _with_weights(model, side, state, classes)
    except RuntimeError as error:
        differing = Mismatch.read(error)
        if not differing:
            raise
        beside = not differing.missing and not differing.shapes
        trunk = without_heads(state, differing.unexpected) if beside else None
        if trunk is None:
            raise NotWeights(differing.sentence(names, state, file.name)) from None
    return _with_weights(model, side, trunk, 0)


def _with_weights(model: str, side: int | None, state: Mapping[str, Tensor], classes: int) -> Any:
    """Return timm's network without a classifier, with weights that have one of so many classes.

    timm translates the names and resamples position embeddings; all must fit, as the number of classes is that of its
    own settings.
    """
    overlay = {"state_dict": state, "num_classes": classes, "source": "", "label_offset": 0}
    network = _create(model, side, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes)
    network.reset_classifier(0)
    network.pretrained_cfg.pop("state_dict", None)
    return network


def _create(model: str, side: int | None, *, device: str = "cpu", **options: Any) -> Any:
    """Return timm's network, made for images ``side`` pixels wide where its position embeddings depend on the size."""
    with torch.device(device):
        if side:
            try:
                return timm.create_model(model, img_size=side, **options)
            except TypeError:
                pass  # it takes any size
        return timm.create_model(model, **options)
