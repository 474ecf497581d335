"""Encoders by name: ``family/model`` or ``family/model:weights``. A family is a module."""

from __future__ import annotations

import difflib
import fnmatch
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from embprobe.encoders.base import Encoder, Family
from embprobe.errors import EmbprobeError, UsageError

ENTRY_POINTS = "embprobe.encoders"
_OWN = {
    "bundled": "embprobe.encoders.bundled",
    "reference": "embprobe.encoders.reference",
    "open_clip": "embprobe.encoders.open_clip",
    "timm": "embprobe.encoders.timm",
}


def families() -> list[str]:
    """Our own families, and those that other installed packages add."""
    return [*_OWN, *sorted({point.name for point in entry_points(group=ENTRY_POINTS)} - set(_OWN))]


def list_encoders(pattern: str = "*") -> list[str]:
    """Full names that match a pattern (``*dino*``); a pattern without a wildcard matches anywhere in the name."""
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    names = (f"{family}/{name}" for family in families() for name in _family(family).names())
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), wanted.lower())]


def load_encoder(name: str, *, device: str = "cpu") -> Encoder:
    """The encoder with this name on a torch device.

    Raises :class:`UsageError` with the nearest names if there is no such encoder, :class:`EmbprobeError` if its
    weights cannot be read.
    """
    family, _, rest = name.partition("/")
    model, _, weights = rest.partition(":")
    if family not in families():
        raise UsageError(_unknown(name, list_encoders("bundled/*") + list_encoders("reference/*")))
    known = _family(family).names()
    if model not in {known_name.partition(":")[0] for known_name in known}:
        raise UsageError(_unknown(name, [f"{family}/{known_name}" for known_name in known]))
    return _family(family).load(model, weights, device=device)


def _family(name: str) -> Family:
    if name in _OWN:
        return cast(Family, import_module(_OWN[name]))
    point = next(iter(entry_points(group=ENTRY_POINTS, name=name)))
    try:
        return cast(Family, point.load())
    except Exception as error:  # a stranger's module can fail in any way
        raise EmbprobeError(f"The encoder family '{name}' ({point.value}) cannot be imported: {error}") from None


def _unknown(name: str, candidates: list[str]) -> str:
    near = difflib.get_close_matches(name, candidates, n=3, cutoff=0.4)
    hint = f" Did you mean {' or '.join(near)}?" if near else f" Families are {', '.join(families())}."
    return f"There is no encoder '{name}'.{hint} 'embprobe encoders' lists them."
