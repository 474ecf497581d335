"""Encoders of open_clip: an architecture with a published tag or a local file, a repository of the hub, or a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import ModifiedResNet
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

from embprobe.encoders.checkpoints import plain_values
from embprobe.encoders.hub import PLACES, SOURCES, cache_if_unreachable, load_failure
from embprobe.encoders.network import NetworkEncoder, TextFeatures, network_encoder
from embprobe.encoders.options import pixels, spelled
from embprobe.encoders.spec import Listing
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.suggestions import did_you_mean


def names() -> list[str]:
    """Every architecture with each of its published weights, e.g. ``ViT-B-16:openai``; bare where there are none."""
    tagged = open_clip.list_pretrained()
    bare = sorted(set(open_clip.list_models()) - {model for model, _ in tagged})
    return [f"{model}:{tag}" for model, tag in tagged] + bare + [f"{place}:{what}" for place, what in PLACES.items()]


def describe(name: str) -> Listing:
    """What open_clip's own tables say of ``ViT-B-16:openai``."""
    model, _, tag = name.partition(":")
    if model in PLACES:
        return Listing(name, SOURCES[model], has_text=True)
    config = open_clip.get_model_config(model)
    published = open_clip.get_pretrained_cfg(model, tag) or {} if tag else {}
    hub = (published.get("hf_hub") or "").strip("/")
    source = f"Hugging Face hub, {hub}" if hub else published.get("url") or f"a file: open_clip/{model}:FILE"
    return Listing(name, source, config["embed_dim"], config["vision_cfg"].get("image_size"), True)


def load(
    model: str,
    weights: str,
    *,
    device: str,
    pooling: str = "",
    size: str = "",
    resize: str = "",
    precision: str = "",
    like: str = "",
) -> NetworkEncoder:
    """``open_clip/ViT-B-16:openai``, or a file instead of the tag; safe loading only (safetensors, or weights only).

    Vectors are the projected features, not normalised; with ``pooling=trunk``, the features before the projection. A
    file is fed as the published weights of its architecture are, if these agree, or as those of the tag ``like``.
    """
    if pooling not in ("", "projected", "trunk"):
        raise UsageError(f"open_clip's encoders have pooling=projected and pooling=trunk, not '{pooling}'.")
    placed = model in PLACES
    named, tag = (f"{model}:{weights}", None) if placed else (model, weights)
    if not placed:
        _check_weights(model, weights, like)
    elif like:
        raise UsageError(f"'open_clip/{named}' has its own configuration: leave out 'like'.")
    side, resize_to = pixels("size", size), pixels("resize", resize)
    local = model == "local-dir" or not placed and Path(weights).is_file()
    fed = _published(model, like or weights)
    forced = bool(fed.get("quick_gelu")) and not (open_clip.get_model_config(model) or {}).get("quick_gelu")
    try:
        with cache_if_unreachable(local=local), plain_values():
            network = open_clip.create_model(
                named,
                pretrained=tag,
                force_image_size=side,
                force_quick_gelu=forced,  # open_clip itself would warn of the other, and go on
                force_preprocess_cfg=_preprocessing(fed) if local and not placed else None,
                pretrained_text=False,  # the whole model's weights are at hand: fetch no others first
                require_pretrained=True,
                weights_only=True,
            )
        configuration = json.dumps(open_clip.get_model_config(named), sort_keys=True) if placed else ""
    except Exception as error:  # open_clip, torch and the hub raise many kinds
        raise load_failure(f"open_clip/{model}:{weights}", weights, error, local=local) from None
    config = open_clip.get_model_preprocess_cfg(network)
    side = config["size"] if isinstance(config["size"], int) else config["size"][0]
    if config["resize_mode"] not in ("shortest", "squash") or config["size"] not in (side, [side] * 2, (side,) * 2):
        raise UsageError(f"'open_clip/{model}' pads or is not square, which embprobe does not support yet.")
    if resize and config["resize_mode"] == "squash":
        raise UsageError(f"'open_clip/{model}' takes the whole image, squashed to {side} x {side}: leave out 'resize'.")
    trunk = pooling == "trunk"
    return network_encoder(
        _trunk(network.visual, model) if trunk else network,
        device=device,
        input_size=side,
        mean=config["mean"],
        std=config["std"],
        pooling="trunk" if trunk else "projected",
        resize_to=resize_to or side,
        resize=config["resize_mode"],
        interpolation=config["interpolation"],
        precision=precision,
        image=_of_trunk if trunk else _projected,
        text=None if trunk else _text(named),
        family="open_clip",
        model=model,
        weights=weights,
        options=spelled(pooling=pooling, size=size, resize=resize, precision=precision, like=like),
        configuration=configuration or ("quick_gelu" if forced else ""),
    )


def _published(model: str, tag: str) -> dict[str, Any]:
    """What open_clip knows of weights published under a tag; of others, what all of the architecture agree on."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag in tags:
        return dict(open_clip.get_pretrained_cfg(model, tag))
    first, *others = [_preprocessing(open_clip.get_pretrained_cfg(model, each)) for each in tags] or [{}]
    return first if all(each == first for each in others) else {}


def _preprocessing(published: Mapping[str, Any]) -> dict[str, Any]:
    return {name: published[name] for name in ("mean", "std", "interpolation", "resize_mode") if published.get(name)}


def _check_weights(model: str, weights: str, like: str) -> None:
    tags = open_clip.list_pretrained_tags_by_model(model)
    if like and (like not in tags or weights in tags):
        why = "it is for files" if weights in tags else f"there are {', '.join(tags) or 'none'}"
        raise UsageError(f"'like={like}' names a tag of 'open_clip/{model}' whose weights a file is fed as; {why}.")
    if weights in tags or Path(weights).is_file():
        return
    known = f"one of {', '.join(tags)}" if tags else "it has none published"
    hint = did_you_mean(weights, tags, quoted=True)
    raise UsageError(
        f"'open_clip/{model}' needs weights: a file that exists, or a tag ({known}); not '{weights}'.{hint}"
    )


def _projected(network: Any, batch: Tensor) -> Tensor:
    features: Tensor = network.encode_image(batch, normalize=False)  # CoCa would normalise
    return features


def _of_trunk(visual: nn.Module, batch: Tensor) -> Tensor:
    found: Tensor | tuple[Tensor, ...] = visual(batch)
    return found[0] if isinstance(found, tuple) else found  # CoCa's gives its tokens, too


def _trunk(visual: Any, model: str) -> Any:
    """The image side without its projection."""
    if isinstance(visual, TimmModel):
        if "pool" not in dict(visual.head.named_children()):  # else one layer pools and projects
            if not len(visual.head):
                visual.trunk.reset_classifier(0)  # where timm's classifier is the projection
            visual.head = nn.Identity()
            return visual
    elif not isinstance(visual, ModifiedResNet):
        visual.proj = None
        return visual
    raise UsageError(f"'open_clip/{model}' pools and projects in one layer: it has no features before the projection.")


def _text(model: str) -> TextFeatures:
    """The text side with the model's own tokenizer, which is only fetched when a text is to be encoded."""
    local = model.startswith("local-dir:")

    @cache
    def tokenizer() -> Callable[[Sequence[str]], Tensor]:
        try:
            with cache_if_unreachable(local=local):
                found: Callable[[Sequence[str]], Tensor] = open_clip.get_tokenizer(model)
        except ImportError:
            raise EmbprobeError(
                f"The tokenizer of 'open_clip/{model}' needs the package transformers: "
                "pip install 'embprobe[transformers]'."
            ) from None
        except Exception as error:  # the hub raises many kinds
            raise load_failure(f"open_clip/{model}", "", error, what="tokenizer", local=local) from None
        return found

    def features(network: Any, texts: Sequence[str], device: str) -> Tensor:
        tokens = tokenizer()(list(texts)).to(torch.device(device))
        found: Tensor = network.encode_text(tokens, normalize=False)
        return found

    return features
