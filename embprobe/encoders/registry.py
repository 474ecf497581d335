"""Encoders by name: ``family/model[:weights][,option=value]``. A family is a module."""

from __future__ import annotations

import fnmatch
import inspect
import re
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from embprobe.encoders.spec import COLON, Encoder, Family, Listing
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.suggestions import did_you_mean

ENTRY_POINTS = "embprobe.encoders"
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
"""No slash in a value, or folders of a path could be taken for options; but a function may be given a path."""
_COLON_OPTIONS = re.compile(r"((?:,[a-z_]+=[^,=]*)*)$")


@dataclass(frozen=True)
class Name:
    """The parts of an encoder's name. ``weights`` and ``options`` may be empty."""

    family: str
    model: str
    weights: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Name:
        """Take a name apart, whatever it says; options are what stands at the end in the form ``,option=value``."""
        found = (_COLON_OPTIONS if text.startswith(_COLON) else _OPTIONS).search(text)
        options = found.group(1) if found else ""
        body = text[: len(text) - len(options)]
        family, _, rest = body.replace(":", "/", 1).partition("/") if body.startswith(_COLON) else body.partition("/")
        model, _, weights = rest.partition(":")
        return cls(family, model, weights, dict(option.split("=") for option in options.split(",")[1:]))


def list_families() -> list[str]:
    """Our own families, and those that other installed packages add."""
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
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    families, first = list_families(), pattern.lower().partition("/")[0]
    searched = [first] if "/" in pattern and first in families else families
    names = (_spelled(family, name) for family in searched for name in _family(family).names())
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), wanted.lower())]


def describe_encoder(name: str) -> Listing:
    """What is known of a listed encoder before its weights are loaded."""
    parts = Name.parse(name)
    describe = getattr(_family(parts.family), "describe", None)
    if describe is None:
        return Listing(name, f"the package of {_entry_point(parts.family).value}")
    found: Listing = describe(parts.model + (f":{parts.weights}" if parts.weights else ""))
    return replace(found, name=name)


def load_encoder(name: str, *, device: str = "cpu", **defaults: str) -> Encoder:
    """The encoder with this name on a torch device; ``defaults`` are options it gets if its family has them.

    Raises :class:`UsageError` with the nearest names if there is no such encoder or option, :class:`EmbprobeError` if
    its weights cannot be read.
    """
    parts = Name.parse(name)
    if parts.family not in list_families():
        raise UsageError(_unknown(name, list_encoders("bundled/*") + list_encoders("reference/*")))
    family = _family(parts.family)
    of_ones_own = parts.family == "bundled" and parts.model and parts.weights  # by any name: the file says what it is
    if parts.family not in COLON and not of_ones_own:
        known = family.names()
        if parts.model not in {known_name.partition(":")[0] for known_name in known}:
            raise UsageError(_unknown(name, [_spelled(parts.family, known_name) for known_name in known]))
    taken, any_taken = _options(family)
    for option in parts.options:
        if option == "device" and any_taken:
            raise UsageError(f"'device' is no option of '{name}': say --device.")
        if option not in taken and not any_taken:
            there = f"it has {', '.join(taken)}" if taken else "it has none"
            hint = did_you_mean(option, taken, quoted=True)
            raise UsageError(f"'{parts.family}' has no option '{option}'; {there}.{hint}")
    wanted = {option: value for option, value in defaults.items() if option in taken} | parts.options
    return family.load(parts.model, parts.weights, device=device, **wanted)


def _options(family: Family) -> tuple[list[str], bool]:
    """The options a family's ``load`` names, and whether it takes any other."""
    parameters = inspect.signature(family.load).parameters.values()
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "device"]
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _spelled(family: str, name: str) -> str:
    return f"{family}:{name}" if family in COLON else f"{family}/{name}"


def _family(name: str) -> Family:
    if name in _OWN:
        return cast(Family, import_module(_OWN[name]))
    point = _entry_point(name)
    try:
        return cast(Family, point.load())
    except Exception as error:  # a stranger's module can fail in any way
        raise EmbprobeError(f"The encoder family '{name}' ({point.value}) cannot be imported: {error}") from None


def _entry_point(name: str) -> EntryPoint:
    found: Any = next(iter(entry_points(group=ENTRY_POINTS, name=name)))
    return cast(EntryPoint, found)


def _unknown(name: str, candidates: list[str]) -> str:
    hint = did_you_mean(name, candidates, n=3, cutoff=0.4) or f" Families are {', '.join(list_families())}."
    return f"There is no encoder '{name}'.{hint} 'embprobe encoders' lists them."
