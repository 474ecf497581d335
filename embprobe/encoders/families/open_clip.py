"""Load encoders of open_clip: an architecture with a published tag or a local file, a hub repository, or a folder."""

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
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from embprobe.encoders.checkpoints.fitting import HEADS, drop_unused, fit, note_resampling
from embprobe.encoders.checkpoints.formats import NotWeights
from embprobe.encoders.checkpoints.mismatch import Mismatch
from embprobe.encoders.checkpoints.plain import plain_values
from embprobe.encoders.checkpoints.reading import find_weights, read_weights
from embprobe.encoders.families.timm import trunk_of
from embprobe.encoders.hub import PLACES, SOURCES, load_failure
from embprobe.encoders.layers import Trunk
from embprobe.encoders.network import FindCut, NetworkEncoder, TextFeatures, network_encoder
from embprobe.encoders.options import join_options, parse_side
from embprobe.encoders.spec import Listing
from embprobe.encoders.texts import CutText, cut_by, may_be_cut
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.hub import cache_if_unreachable
from embprobe.system.overrides import Override
from embprobe.system.suggestions import did_you_mean


def names() -> list[str]:
    """Return every architecture with each tag of published weights, e.g. ``ViT-B-16:openai``, or alone without one."""
    tagged = open_clip.list_pretrained()
    bare = sorted(set(open_clip.list_models()) - {model for model, _ in tagged})
    return (
        [f"{model}:{tag}" for model, tag in tagged] + bare + [f"{place}:{address}" for place, address in PLACES.items()]
    )


def describe(name: str) -> Listing:
    """Describe an encoder such as ``ViT-B-16:openai`` from the tables in open_clip, without its weights."""
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
    key: str = "",
) -> NetworkEncoder:
    """Load ``open_clip/ViT-B-16:openai``, ``open_clip/ViT-B-16:FILE``, ``open_clip/hf-hub:OWNER/NAME`` or a folder.

    No code in a file is run: only safetensors and files of weights alone are read.

    Args:
        model: The architecture, or ``hf-hub`` or ``local-dir``.
        weights: A published tag or a file of weights; the repository or the folder.
        device: The torch device to compute on.
        pooling: ``projected``, the default, for the features in the space shared with text, not normalised; ``trunk``
            for those before the projection.
        size: Side of the input in pixels, if not the encoder's own.
        resize: Side in pixels to which images are resized before they are cropped, if not that of the input.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        like: The published tag whose preprocessing and activation a file of weights needs. Without it, those which
            all published weights of the architecture share, if they do.
        key: The network of a checkpoint file that holds several, such as ``state_dict`` or ``teacher``.

    Raises:
        UsageError: An option or the weights are unknown, or do not suit this encoder.
        EmbprobeError: The weights could not be fetched or read.
    """
    if pooling not in ("", "projected", "trunk"):
        raise UsageError(f"open_clip's encoders have pooling=projected and pooling=trunk, not '{pooling}'.")
    in_place = model in PLACES  # else an architecture
    library_name, tag = (f"{model}:{weights}", None) if in_place else (model, weights)
    if not in_place:
        _check_weights(model, weights, like)
    elif like:
        raise UsageError(f"'open_clip/{library_name}' has its own configuration: leave out 'like'.")
    side, resize_to = parse_side("size", size), parse_side("resize", resize)
    local = model == "local-dir" or not in_place and weights not in open_clip.list_pretrained_tags_by_model(model)
    if key and not local:
        raise UsageError(f"'key={key}' chooses a network of a checkpoint file; 'open_clip/{model}:{weights}' is none.")
    published = _published(model, like or weights)
    quick_gelu = bool(published.get("quick_gelu")) and not (open_clip.get_model_config(model) or {}).get("quick_gelu")
    options: dict[str, Any] = {
        "force_image_size": side,
        "force_quick_gelu": quick_gelu,  # open_clip would only warn that the activations differ
        "force_preprocess_cfg": _preprocessing(published) if local and not in_place else None,
        "pretrained_text": False,  # the whole model's weights are at hand: fetch no others first
    }
    try:
        with cache_if_unreachable(local=local):
            if local:
                network = _from_file(library_name, Path(weights), options, key, in_place=in_place)
            else:
                network = _published_network(library_name, tag, options)
        configuration = json.dumps(open_clip.get_model_config(library_name), sort_keys=True) if in_place else ""
    except UsageError:
        raise
    except Exception as error:  # open_clip, torch and the hub raise many kinds
        raise load_failure(f"open_clip/{model}:{weights}", weights, error, local=local) from None
    config = open_clip.get_model_preprocess_cfg(network)
    side = config["size"] if isinstance(config["size"], int) else config["size"][0]
    if config["resize_mode"] not in ("shortest", "squash") or config["size"] not in (side, [side] * 2, (side,) * 2):
        raise UsageError(f"'open_clip/{model}' pads or is not square, which embprobe does not support yet.")
    if resize and config["resize_mode"] == "squash":
        raise UsageError(f"'open_clip/{model}' takes the whole image, squashed to {side} x {side}: leave out 'resize'.")
    trunk, tokenizer = pooling == "trunk", _tokenizer(library_name)
    return network_encoder(
        _without_projection(network.visual, model) if trunk else network,
        device=device,
        input_size=side,
        mean=config["mean"],
        std=config["std"],
        pooling="trunk" if trunk else "projected",
        resize_to=resize_to or side,
        resize=config["resize_mode"],
        interpolation=config["interpolation"],
        precision=precision,
        image=_trunk_features if trunk else _projected,
        trunk=None if trunk else _trunk(network.visual),
        text=None if trunk else _text(tokenizer),
        find_cut=None if trunk else _find_cut(tokenizer),
        family="open_clip",
        model=model,
        weights=weights,
        options=join_options(pooling=pooling, size=size, resize=resize, precision=precision, like=like, key=key),
        configuration=configuration or ("quick_gelu" if quick_gelu else ""),
    )


def _published_network(name: str, tag: str | None, options: Mapping[str, Any]) -> Any:
    """Return a model with the weights that open_clip itself finds."""
    with plain_values():
        return open_clip.create_model(name, pretrained=tag, require_pretrained=True, weights_only=True, **options)


def _from_file(name: str, place: Path, options: Mapping[str, Any], key: str, *, in_place: bool) -> Any:
    """Return a model with weights from a file or folder, whichever wrappers they were trained in.

    open_clip reads and converts the weights itself, in the order that it needs; only its reader of files is replaced.
    """
    file = find_weights(place)
    if file.suffix == ".npz":
        return _published_network(name, None if in_place else str(file), options)
    names = _weight_names(name, options)
    state = fit(read_weights(file), names.keys(), key=key, file=file.name)
    state = drop_unused(state, names, file.name)
    state = {name: value for name, value in state.items() if name in names or name.partition(".")[0] not in HEADS}
    if options["force_image_size"] is None:
        note_resampling(state, names, file.name)
    library = open_clip.factory
    original, awaited = library.load_state_dict, place if in_place else file

    def read(path: str, *arguments: Any, **more: Any) -> Any:
        ours = awaited in (Path(path), Path(path).parent)
        return dict(state) if ours else original(path, *arguments, **more)

    try:
        with Override(lambda: (library, "load_state_dict", read)):
            return _published_network(name, None if in_place else str(file), options)
    except RuntimeError as error:
        if differing := Mismatch.read(error):
            raise NotWeights(differing.sentence(names, state, file.name)) from None
        raise


def _weight_names(name: str, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a model's weights without values, by name."""
    try:
        with torch.device("meta"):  # nothing is drawn and no memory taken
            network = open_clip.create_model(name, load_weights=False, device="meta", **options)
    except (RuntimeError, NotImplementedError):  # some layers compute with values while they are made
        network = open_clip.create_model(name, load_weights=False, device="meta", **options)
    weights: dict[str, Tensor] = network.state_dict()
    return weights


def _published(model: str, tag: str) -> dict[str, Any]:
    """Return open_clip's settings of the weights published under a tag.

    For other weights, the preprocessing that all published weights of the architecture share; {} if they differ.
    """
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag in tags:
        return dict(open_clip.get_pretrained_cfg(model, tag))
    first, *others = [_preprocessing(open_clip.get_pretrained_cfg(model, known)) for known in tags] or [{}]
    return first if all(other == first for other in others) else {}


def _preprocessing(published: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide how images are fed."""
    return {name: published[name] for name in ("mean", "std", "interpolation", "resize_mode") if published.get(name)}


def _check_weights(model: str, weights: str, like: str) -> None:
    """Raise UsageError unless the weights are a tag of the architecture or a file, and ``like`` a tag beside a file."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    if like and (like not in tags or weights in tags):
        reason = "it is for files" if weights in tags else f"there are {', '.join(tags) or 'none'}"
        raise UsageError(f"'like={like}' names a tag of 'open_clip/{model}' whose weights a file is fed as; {reason}.")
    if weights in tags or weights and Path(weights).exists():
        return
    known = f"one of {', '.join(tags)}" if tags else "it has none published"
    hint = did_you_mean(weights, tags, quoted=True)
    raise UsageError(
        f"'open_clip/{model}' needs weights: a file that exists, or a tag ({known}); not '{weights}'.{hint}"
    )


def _projected(network: Any, batch: Tensor) -> Tensor:
    """Return the image features in the space shared with text, ``[n, d]``, not normalised."""
    features: Tensor = network.encode_image(batch, normalize=False)  # CoCa would normalise
    return features


def _trunk_features(visual: nn.Module, batch: Tensor) -> Tensor:
    """Return the output of an image side without its projection, ``[n, d]``."""
    output: Tensor | tuple[Tensor, ...] = visual(batch)
    return output[0] if isinstance(output, tuple) else output  # CoCa's returns its tokens, too


def _trunk(visual: Any) -> Trunk | None:
    """Return where the layers of an image side are; None if that is not known."""
    if isinstance(visual, TimmModel):
        return trunk_of(visual.trunk, lambda network: network.visual.trunk)
    if isinstance(visual, ModifiedResNet):
        return Trunk(lambda network: [getattr(network.visual, f"layer{i}") for i in range(1, 5)])
    if not isinstance(visual, VisionTransformer):
        return None
    # behind a learned pooling, the last norm is for what is pooled
    return Trunk(
        lambda network: list(network.visual.transformer.resblocks),
        lambda network: network.visual.ln_post if network.visual.attn_pool is None else None,
        prefix=1,
        has_class=True,
        project=_projected_tokens if visual.attn_pool is None and visual.proj is not None else None,
    )


def _projected_tokens(network: Any, tokens: Tensor) -> Tensor:
    """Send tokens behind the last norm to the space shared with text, as the class token is: ``[m, d] -> [m, e]``."""
    projected: Tensor = tokens @ network.visual.proj
    return projected


def _without_projection(visual: Any, model: str) -> Any:
    """Remove the projection from an image side; raise UsageError where it is one layer with the pooling."""
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


def _tokenizer(model: str) -> Callable[[], Any]:
    """Return a function that returns the model's own tokenizer, which is only fetched when a text is encoded."""
    local = model.startswith("local-dir:")

    @cache
    def tokenizer() -> Any:
        try:
            with cache_if_unreachable(local=local):
                return open_clip.get_tokenizer(model)
        except ImportError:
            raise EmbprobeError(
                f"The tokenizer of 'open_clip/{model}' needs the package transformers: "
                "pip install 'embprobe[transformers]'."
            ) from None
        except Exception as error:  # the hub raises many kinds
            raise load_failure(f"open_clip/{model}", "", error, part="tokenizer", local=local) from None

    return tokenizer


def _text(tokenizer: Callable[[], Any]) -> TextFeatures:
    """Return the text side with a tokenizer."""

    def features(network: Any, texts: Sequence[str], device: str) -> Tensor:
        tokens = tokenizer()(list(texts)).to(torch.device(device))
        encoded: Tensor = network.encode_text(tokens, normalize=False)
        return encoded

    return features


def _find_cut(tokenizer: Callable[[], Any]) -> FindCut:
    """Return the function that finds the texts which a tokenizer of open_clip cuts."""

    def cut(network: Any, texts: Sequence[str]) -> list[CutText]:
        own = tokenizer()
        limit = own.context_length
        if isinstance(own, open_clip.SimpleTokenizer):
            found = [_cut_simply(own, text, limit) for text in texts if may_be_cut(text, limit)]
        else:
            found = [cut_by(own.tokenizer, own.clean_fn(text), limit) for text in texts]
        return [text for text in found if text]

    return cut


def _cut_simply(tokenizer: Any, text: str, limit: int) -> CutText | None:
    """Return a text that OpenAI's tokenizer cuts; None if it reads the whole, with a token before and one behind."""
    tokens = tokenizer.encode(text)
    if len(tokens) + 2 <= limit:
        return None
    return CutText(text, len(tokens) + 2, limit, tokenizer.decode(tokens[limit - 2 :]))
