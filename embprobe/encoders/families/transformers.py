"""Load image encoders of Hugging Face's transformers from a repository of the hub or a folder of the same files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from torch import Tensor

from embprobe.encoders.checkpoints.fitting import fit
from embprobe.encoders.checkpoints.formats import NotWeights
from embprobe.encoders.checkpoints.mismatch import Mismatch
from embprobe.encoders.checkpoints.reading import INDEX, find_weights, read_weights, shards_of
from embprobe.encoders.families import dino
from embprobe.encoders.hub import PLACES, SOURCES, load_failure
from embprobe.encoders.layers import Trunk
from embprobe.encoders.network import NetworkEncoder, Pooled, network_encoder
from embprobe.encoders.options import join_options, parse_side
from embprobe.encoders.spec import Listing, Pooling
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.hub import cache_if_unreachable
from embprobe.system.text_models import quiet

_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"
_WEIGHTS = ("model.safetensors", INDEX, "pytorch_model.bin")
_INCIDENTAL = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
"""Entries of a configuration that change no vector, and so do not enter the fingerprint."""


@dataclass(frozen=True)
class Feed:
    """How images are resized, cropped and normalised."""

    resize: Literal["shortest", "squash"]
    resize_to: int
    input_size: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of model: transformers' class, its poolings (the first is the default), and how it is fed by default."""

    network: str
    poolings: Mapping[Pooling, Pooled]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    squash: bool = False
    """Whether the whole image is squashed to a square, and not resized by its shortest side and cropped."""
    wider: bool = False
    """Whether images are resized to 256 pixels for a crop of 224, as in DINO's evaluation, and not to the crop."""
    options: tuple[tuple[str, Any], ...] = ()
    """Arguments of ``from_pretrained``."""


def names() -> list[str]:
    """Return the places with the form of an address, a repository (``@REVISION`` may follow) or a folder."""
    return [f"{place}:{address}" for place, address in PLACES.items()]


def describe(name: str) -> Listing:
    """Describe a place; nothing else is known of an encoder before its configuration is read."""
    return Listing(name, SOURCES[name.partition(":")[0]], has_text=False)


def load(
    model: str, weights: str, *, device: str, pooling: str = "", resize: str = "", precision: str = ""
) -> NetworkEncoder:
    """Load ``transformers/hf-hub:facebook/dino-vitb16`` or ``transformers/local-dir:FOLDER``.

    No code in a file is run, and no weight may be missing. Of a model of images and texts the image side is taken.
    Images are fed as ``preprocessor_config.json`` says.

    Args:
        model: ``hf-hub`` or ``local-dir``.
        weights: The repository, with ``@REVISION`` behind it if need be, or the folder.
        device: The torch device to compute on.
        pooling: ``cls``, the class token of ``last_hidden_state``, ``mean`` or ``cls+mean``; CLIP also has ``trunk``,
            its ``pooler_output``, which is the class token after the last norm. SigLIP has ``attention``, its default,
            and ``mean``; the default of all others is ``cls``.
        resize: Pixels to which the shortest side is resized before the crop, if not the encoder's own.
        precision: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        UsageError: The model is of another type, is fed in an unsupported way, or an option does not suit it.
        EmbprobeError: The package transformers is missing, or the weights could not be fetched or read.
    """
    name = f"transformers/{model}:{weights}"
    library = _library()
    local, resize_to = model == "local-dir", parse_side("resize", resize)
    try:
        with cache_if_unreachable(local=local):
            folder = Path(weights) if local else _fetch(weights)
        if local and folder.is_dir() and not (folder / _CONFIG).is_file():
            raise NotWeights(f"'{folder}' has no {_CONFIG}, which describes the network")
        config: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        kind = _kind(config, name)
        network = _network(library, kind, folder)
        feed = _feed(folder / _PREPROCESSOR, kind, network.config.image_size, name)
    except UsageError:
        raise
    except Exception as error:  # transformers, torch and the hub raise many kinds
        raise load_failure(name, "", error, local=local) from None
    if pooling and pooling not in kind.poolings:
        raise UsageError(f"'{name}' has no pooling '{pooling}'; it has {', '.join(kind.poolings)}.")
    chosen, pool = next((name, features) for name, features in kind.poolings.items() if pooling in ("", name))
    if resize_to and feed.resize == "squash":
        raise UsageError(f"'{name}' takes the whole image, squashed to {feed.input_size} x {feed.input_size}.")
    return network_encoder(
        network,
        device=device,
        input_size=feed.input_size,
        mean=feed.mean,
        std=feed.std,
        pooling=chosen,
        resize_to=resize_to or feed.resize_to,
        resize=feed.resize,
        interpolation=feed.interpolation,
        precision=precision,
        image=_forward,
        pool=pool,
        trunk=_trunk(network),
        family="transformers",
        model=model,
        weights=weights,
        options=join_options(pooling=pooling, resize=resize, precision=precision),
        configuration=json.dumps({k: v for k, v in config.items() if k not in _INCIDENTAL}, sort_keys=True),
    )


def _library() -> ModuleType:
    """Import transformers; EmbprobeError if it is not installed."""
    try:
        import transformers
    except ImportError:
        raise EmbprobeError(
            "The encoders of transformers/ need that package: pip install 'embprobe[transformers]'."
        ) from None
    return transformers


def _fetch(address: str) -> Path:
    """Fetch the needed files of ``OWNER/NAME@REVISION`` and return their folder in the hub's cache."""
    repository, _, revision = address.partition("@")
    folder = Path(hf_hub_download(repository, _CONFIG, revision=revision or None)).parent
    _fetch_optional(repository, _PREPROCESSOR, revision or None)
    if not any(_fetch_optional(repository, file, revision or None, certain=file == _WEIGHTS[-1]) for file in _WEIGHTS):
        raise FileNotFoundError(f"the repository has no {' and no '.join(_WEIGHTS)}")
    if not (folder / _WEIGHTS[0]).is_file() and (folder / INDEX).is_file():
        for shard in sorted(set(shards_of(folder / INDEX).values())):
            hf_hub_download(repository, shard, revision=revision or None)
    return folder


def _fetch_optional(repository: str, file: str, revision: str | None, *, certain: bool = True) -> bool:
    """Fetch a file if the repository has it, and return whether it has.

    Without a network, a file that is not in the cache counts as missing; if ``certain``, only where the cache records
    that the repository lacks it, and otherwise the error is raised.
    """
    try:
        hf_hub_download(repository, file, revision=revision)
    except LocalEntryNotFoundError:
        # a path would have been used above, so a value other than None is the cache's mark for a missing file
        known_missing = try_to_load_from_cache(repository, file, revision=revision) is not None
        if certain and not known_missing:
            raise
        return False
    except EntryNotFoundError:
        return False
    return True


def _kind(config: object, name: str) -> Kind:
    """Return the kind of model that a configuration names; UsageError if it is none that embprobe reads."""
    type_ = config.get("model_type") if isinstance(config, dict) else None
    if type_ not in _KINDS:
        raise UsageError(
            f"'{name}' holds a model of type '{type_}'; those that embprobe reads are {', '.join(_KINDS)}."
        )
    return _KINDS[type_]


def _network(library: ModuleType, kind: Kind, folder: Path) -> Any:
    """Load the network in float32.

    Where transformers finds not all of the weights, they may be wrapped as a training run left them, or bear a name of
    another library: then they are read and unwrapped as for all families.

    Raises:
        NotWeights: Weights are missing, do not fit, or are more than the configuration has a place for.
    """
    network_class = getattr(library, kind.network)
    options: dict[str, Any] = {"output_loading_info": True, **dict(kind.options)}
    with quiet(library):
        try:
            network, report = network_class.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **options
            )
            differing = _differing(network, report)
        except Exception:  # its reasons name no file: reading the weights gives a better one, or succeeds
            network, differing = None, None
        if network is None or differing:
            file = find_weights(folder)
            content = read_weights(file)
            config = network_class.config_class.from_pretrained(folder, local_files_only=True)
            with torch.device("meta"):
                names = network_class(config, **dict(kind.options)).state_dict()
            state = fit(content, names.keys(), file=file.name)
            network, report = network_class.from_pretrained(None, config=config, state_dict=state, **options)
            if differing := _differing(network, report):
                lacking = len(differing.missing) + len(differing.shapes)
                start = f"{lacking:,} of its weights are not there or do not fit: " if lacking else ""
                raise NotWeights(start + differing.sentence(names, state, file.name))
    return network.float()


def _differing(network: Any, report: Mapping[str, Any]) -> Mismatch:
    """Return the weights that are missing or of another shape, and those of layers that the network has not.

    Other weights that the network has no place for, of a text side or a head, are of no use to it.
    """

    def place(key: str) -> str:
        """Return a weight's name with its layers not told apart."""
        return re.sub(r"\d+", "#", key.removeprefix(f"{network.base_model_prefix}."))

    own = {place(key) for key in network.state_dict()}
    shapes = {key: (tuple(given), tuple(needed)) for key, given, needed in report["mismatched_keys"]}
    unexpected = [key for key in report["unexpected_keys"] if place(key) in own]
    return Mismatch(sorted(report["missing_keys"]), sorted(unexpected), shapes)


def _feed(file: Path, kind: Kind, side: int, name: str) -> Feed:
    """Return the feed that a preprocessor's configuration describes; without one, that of the kind's authors."""
    if not file.is_file():
        resize_to = side * dino.RESIZE_TO // dino.SIDE if kind.wider else side
        return Feed("squash" if kind.squash else "shortest", resize_to, side, "bicubic", kind.mean, kind.std)
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    crops = config.get("do_center_crop", False)
    size, crop = config.get("size", side), config.get("crop_size", side)
    shortest = size.get("shortest_edge") if isinstance(size, dict) else size if crops else None
    square = None if shortest else _square(size)
    cropped = _square(crop) if crops else square
    interpolation = {2: "bilinear", 3: "bicubic"}.get(config.get("resample", 3))
    if not config.get("do_resize", True) or interpolation is None or not cropped or (square and square != cropped):
        raise UsageError(f"'{name}' is fed images in a way that embprobe does not support yet.")
    plain = not config.get("do_normalize", True)
    return Feed(
        "shortest" if shortest else "squash",
        shortest or cropped,
        cropped,
        interpolation,  # type: ignore[arg-type]
        (0.0,) * 3 if plain else _three(config.get("image_mean", kind.mean)),
        (1.0,) * 3 if plain else _three(config.get("image_std", kind.std)),
    )


def _square(size: Any) -> int | None:
    """Return the side of a square written as one number or as height and width; None if it is no square."""
    if isinstance(size, dict):
        return size.get("height") if size.get("height") == size.get("width") else None
    return size if isinstance(size, int) else None


def _three(values: Any) -> tuple[float, ...]:
    """Return the numbers of three channels; ValueError if there are not three."""
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _trunk(network: Any) -> Trunk:
    """Return where the layers are: the modules of the encoder's one list, before the norm behind it."""
    lists = [name for name, module in network.named_modules() if isinstance(module, torch.nn.ModuleList)]
    blocks = next(name for name in lists if name.rpartition(".")[2] in ("layer", "layers"))
    ends = ("post_layernorm", "layernorm")
    norms = [name for name, _ in network.named_modules() if name.rpartition(".")[2] in ends and "head" not in name]
    has_class = network.config.model_type not in ("siglip", "siglip_vision_model")
    return Trunk(
        lambda outer: list(outer.get_submodule(blocks)),
        lambda outer: outer.get_submodule(norms[-1]),
        prefix=int(has_class),
        has_class=has_class,
    )


def _forward(network: Any, batch: Tensor) -> Any:
    """Return the output of a network: its ``last_hidden_state`` and its ``pooler_output``."""
    return network(pixel_values=batch)


def _cls(network: Any, output: Any) -> Tensor:
    features: Tensor = output.last_hidden_state[:, 0]
    return features


def _mean(network: Any, output: Any) -> Tensor:
    features: Tensor = output.last_hidden_state[:, 1:].mean(1)
    return features


def _cls_and_mean(network: Any, output: Any) -> Tensor:
    return torch.cat([_cls(network, output), _mean(network, output)], 1)


def _mean_of_all(network: Any, output: Any) -> Tensor:
    features: Tensor = output.last_hidden_state.mean(1)
    return features


def _pooler(network: Any, output: Any) -> Tensor:
    features: Tensor = output.pooler_output
    return features


_TOKENS: dict[Pooling, Pooled] = {"cls": _cls, "mean": _mean, "cls+mean": _cls_and_mean}
_CLIP = Kind(
    "CLIPVisionModel",
    {**_TOKENS, "trunk": _pooler},
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
_SIGLIP = Kind("SiglipVisionModel", {"attention": _pooler, "mean": _mean_of_all}, (0.5,) * 3, (0.5,) * 3, squash=True)
_KINDS = {
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "vit": Kind("ViTModel", _TOKENS, dino.MEAN, dino.STD, wider=True, options=(("add_pooling_layer", False),)),
    "dinov2": Kind("Dinov2Model", _TOKENS, dino.MEAN, dino.STD, wider=True),
}
