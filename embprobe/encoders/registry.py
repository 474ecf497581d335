"""List, describe and load encoders by name: ``family/model[:weights][,option=value]``. A family is a module."""

from __future__ import annotations

import fnmatch
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from embprobe.encoders.options import ALL, VIEW_OPTIONS
from embprobe.encoders.spec import COLON, Encoder, Family, Listing
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.suggestions import did_you_mean

ENTRY_POINTS = "embprobe.encoders"
"""The entry-point group in which other packages name their families."""
_OWN = {
    "bundled": "embprobe.encoders.families.bundled",
    "reference": "embprobe.encoders.families.reference",
    "open_clip": "embprobe.encoders.families.open_clip",
    "timm": "embprobe.encoders.families.timm",
    "dino": "embprobe.encoders.families.dino",
    "transformers": "embprobe.encoders.families.transformers",
    "study": "embprobe.encoders.families.study",
    "python": "embprobe.encoders.families.python",
    "vectors": "embprobe.encoders.families.vectors",
}
_COLON = tuple(f"{family}:" for family in COLON)
_OPTIONS = re.compile(r"((?:,[a-z_]+=[^,=/\\]*)*)$")
"""Options at the end of a name. A value has no slash, or folders of a path could be taken for options."""
_COLON_OPTIONS = re.compile(r"((?:,[a-z_]+=[^,=]*)*)$")
"""Options of families whose names go on behind a colon; their values may be paths."""


@dataclass(frozen=True)
class Name:
    """The parts of an encoder's name. ``weights`` and ``options`` may be empty."""

    family: str
    model: str
    weights: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Name:
        """Split a name into its parts; whether there is such an encoder is not checked.

        Args:
            text: A full name, as the user types it.

        Example:
            >>> Name.parse("timm/vit_tiny:last.pth,pooling=mean")
            Name(family='timm', model='vit_tiny', weights='last.pth', options={'pooling': 'mean'})
        """
        match = (_COLON_OPTIONS if text.startswith(_COLON) else _OPTIONS).search(text)
        options = match.group(1) if match else ""
        body = text[: len(text) - len(options)]
        family, _, rest = body.replace(":", "/", 1).partition("/") if body.startswith(_COLON) else body.partition("/")
        model, _, weights = rest.partition(":")
        return cls(family, model, weights, dict(option.split("=") for option in options.split(",")[1:]))


def list_families() -> list[str]:
    """Return the names of embprobe's families, then of those that other installed packages add."""
    return [*_OWN, *sorted({point.name for point in entry_points(group=ENTRY_POINTS)} - set(_OWN))]


def list_encoders(pattern: str = "*") -> list[str]:
    """Return the full names of encoders that match a pattern.

    Args:
        pattern: ``*dino*``; without a wildcard it matches anywhere in the name. One that begins with a family's name
            and a slash is sought in that family alone, and no other is imported.

    Example:
        >>> list_encoders("bundled/*")[:2]
        ['bundled/clip', 'bundled/clip-lm']
    """
    glob = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    families, first = list_families(), pattern.lower().partition("/")[0]
    searched = [first] if "/" in pattern and first in families else families
    names = (_full_name(family, name) for family in searched for name in _family(family).names())
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), glob.lower())]


def describe_encoder(name: str) -> Listing:
    """Return the facts about a listed encoder that are known before its weights are loaded.

    Args:
        name: A full name that :func:`list_encoders` returns.
    """
    parts = Name.parse(name)
    describe = getattr(_family(parts.family), "describe", None)
    if describe is None:
        return Listing(name, f"the package of {_entry_point(parts.family).value}")
    listing: Listing = describe(parts.model + (f":{parts.weights}" if parts.weights else ""))
    return replace(listing, name=name)


def load_encoder(name: str, *, device: str = "cpu", **defaults: str) -> Encoder:
    """Load the encoder with this name.

    Args:
        name: ``family/model[:weights][,option=value]``. Beside a family's own options, ``layer=8`` is the output of
            the eighth block, ``layer=0`` what enters the first, ``layer=-1`` the last; ``norm=last`` sends it through
            the network's last norm; ``pooling=tokens`` gives all tokens, ``stored=float16`` in half the space.
        device: The torch device to compute on, such as ``cpu`` or ``cuda:0``.
        **defaults: Options that the encoder gets if its family has them and the name does not set them.

    Raises:
        UsageError: There is no such encoder or option; the message suggests the nearest names.
        EmbprobeError: Its weights cannot be read, or its family cannot be imported.

    Example:
        >>> load_encoder("reference/pixels").spec.dimension
        432
    """
    whole, view = _split_view(name)
    encoder = _load(whole, device, defaults)
    if not view:
        return encoder
    if view.get("layer") == ALL:
        raise UsageError(f"'{name}' stands for several encoders, one a layer; here one is meant: say layer=8.")
    (viewed,) = _views(encoder, view, name)
    return viewed


def _load(name: str, device: str, defaults: Mapping[str, str]) -> Encoder:
    """Load the encoder with this name, which asks for no layer."""
    parts = Name.parse(name)
    if parts.family not in list_families():
        raise UsageError(_unknown(name, list_encoders("bundled/*") + list_encoders("reference/*")))
    family = _family(parts.family)
    # a file of bundled/ may be loaded under any model's name, because its header describes the network
    users_file = parts.family == "bundled" and parts.model and parts.weights
    if parts.family not in COLON and not users_file:
        known = family.names()
        if parts.model not in {known_name.partition(":")[0] for known_name in known}:
            raise UsageError(_unknown(name, [_full_name(parts.family, known_name) for known_name in known]))
    option_names, takes_any = _options(family)
    for option in parts.options:
        if option == "device" and takes_any:
            raise UsageError(f"'device' is no option of '{name}': say --device.")
        if option not in option_names and not takes_any:
            known_options = f"it has {', '.join(option_names)}" if option_names else "it has none"
            hint = did_you_mean(option, option_names, quoted=True)
            raise UsageError(f"'{parts.family}' has no option '{option}'; {known_options}.{hint}")
    options = {option: value for option, value in defaults.items() if option in option_names} | parts.options
    return family.load(parts.model, parts.weights, device=device, **options)


def load_encoders(names: Sequence[str], *, device: str = "cpu", **defaults: str) -> list[Encoder]:
    """Load the encoders with these names, each once, and every network once for all of its layers.

    Args:
        names: As for :func:`load_encoder`; ``,layer=*`` stands for an encoder of every block.
        device: The torch device to compute on.
        **defaults: Options that encoders get if their family has them and the name does not set them.

    Raises:
        UsageError: There is no such encoder, option or layer.
        EmbprobeError: Weights cannot be read, or a family cannot be imported.

    Example:
        >>> [encoder.spec.name for encoder in load_encoders(["reference/pixels", "reference/random-vit,layer=-1"])]
        ['reference/pixels', 'reference/random-vit,layer=6']
    """
    networks: dict[str, Encoder] = {}
    loaded: list[Encoder] = []
    for name in dict.fromkeys(names):
        whole, view = _split_view(name)
        if whole not in networks:
            networks[whole] = _load(whole, device, defaults)
        loaded += _views(networks[whole], view, name) if view else [networks[whole]]
    return list({encoder.spec.name: encoder for encoder in loaded}.values())


def layers_of(name: str, layers: str = ALL) -> str:
    """Return an encoder's name with another layer, for :func:`load_encoders`.

    Example:
        >>> layers_of("timm/resnet18,pooling=mean", "2")
        'timm/resnet18,pooling=mean,layer=2'
    """
    body, *options = name.split(",")
    return ",".join([body, *(each for each in options if not each.startswith("layer=")), f"layer={layers}"])


def _split_view(name: str) -> tuple[str, dict[str, str]]:
    """Return a name without the options that choose what is taken from inside the network, and these options.

    A pooling is one of them beside a layer, and where it is none of the network's own.
    """
    parts = Name.parse(name)
    if parts.family in COLON:
        return name, {}  # options are for the user's function
    inside = parts.options.get("pooling") in ("tokens", "patches@mask") or any(
        option in parts.options for option in VIEW_OPTIONS
    )
    if not inside:
        return name, {}
    view = {option: value for option, value in parts.options.items() if option in (*VIEW_OPTIONS, "pooling")}
    others = [f"{option}={value}" for option, value in parts.options.items() if option not in view]
    body = f"{parts.family}/{parts.model}" + (f":{parts.weights}" if parts.weights else "")
    return ",".join([body, *others]), view


def _views(encoder: Encoder, view: dict[str, str], name: str) -> Sequence[Encoder]:
    """Return encoders of layers or tokens of an encoder's network."""
    views = getattr(encoder, "views", None)
    if views is None:
        typed = ",".join(f"{option}={value}" for option, value in view.items())
        raise UsageError(f"'{encoder.spec.name}' has no layers and no tokens: leave out '{typed}'.")
    viewed: Sequence[Encoder] = views(view)
    return viewed


def _options(family: Family) -> tuple[list[str], bool]:
    """Return the names of the options of a family's ``load``, and whether it takes options of any name."""
    parameters = inspect.signature(family.load).parameters.values()
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "device"]
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _full_name(family: str, name: str) -> str:
    """Join a family and one of its :meth:`Family.names`."""
    return f"{family}:{name}" if family in COLON else f"{family}/{name}"


def _family(name: str) -> Family:
    """Import a family's module.

    Raises:
        EmbprobeError: Another package's family cannot be imported.
    """
    if name in _OWN:
        return cast(Family, import_module(_OWN[name]))
    point = _entry_point(name)
    try:
        return cast(Family, point.load())
    except Exception as error:  # a stranger's module can fail in any way
        raise EmbprobeError(f"The encoder family '{name}' ({point.value}) cannot be imported: {error}") from None


def _entry_point(name: str) -> EntryPoint:
    point: Any = next(iter(entry_points(group=ENTRY_POINTS, name=name)))
    return cast(EntryPoint, point)


def _unknown(name: str, candidates: list[str]) -> str:
    """Return the message that there is no such encoder, with the nearest candidates or else all families."""
    hint = did_you_mean(name, candidates, n=3, cutoff=0.4) or f" Families are {', '.join(list_families())}."
    return f"There is no encoder '{name}'.{hint} 'embprobe encoders' lists them."
