"""Encoders' names for people: paths cut to what tells them apart, and in lines that fit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from embprobe.system.text import visible

_PATH = re.compile(r"(?P<head>[^:]*:)(?P<path>[^:]*/[^:]*?)(?P<options>(?:,[a-z_]+=[^,=/]*)*)", re.DOTALL)
_USUAL = {"model", "weights", "checkpoint", "pytorch_model", "open_clip_model", "open_clip_pytorch_model"}
"""What weights are called wherever they lie, so that the folder says which they are."""
_ENDINGS = re.compile(r"\.(safetensors|pth?|bin|npz|ckpt)$")
_PIECE = re.compile(r"[^/:,=_-]*[/:,=_-]?")


def short_names(names: Iterable[str]) -> dict[str, str]:
    """By full name a short one: of weights in a file as many parts of the path as no two of the names share.

    >>> list(short_names(["bundled/clip:runs/a/model.safetensors", "dino/vit_base:runs/a/last.pth"]).values())
    ['bundled/clip:a', 'dino/vit_base:last']
    >>> list(short_names(["bundled/clip:runs/a/model.safetensors", "bundled/clip:old/a/model.safetensors"]).values())
    ['bundled/clip:runs/a', 'bundled/clip:old/a']
    """
    wanted = dict.fromkeys(names, 1)
    longest = max((len(_parts(name)) for name in wanted), default=0)
    for _ in range(longest):
        met = Counter(_short(name, parts) for name, parts in wanted.items())
        wanted = {name: parts + (met[_short(name, parts)] > 1) for name, parts in wanted.items()}
    found = {name: _short(name, parts) for name, parts in wanted.items()}
    met = Counter(found.values())
    return {name: visible(short if met[short] == 1 else name) for name, short in found.items()}


def names_in_lines(names: Iterable[str], width: int) -> dict[str, str]:
    """By full name the short one, in lines of at most ``width`` letters."""
    return {name: fold(short, width) for name, short in short_names(names).items()}


def fold(name: str, width: int, *, most: int = 3) -> str:
    """A name in as few lines of at most ``width`` letters as it takes, broken behind ``/ : , = _ -``, and these as even
    as can be; of a name longer than ``most`` lines the middle is left out.

    >>> print(fold("reference/random-vit", 17))
    reference/
    random-vit
    """
    room = width * most
    if len(name) > room:
        name = f"{name[: room // 2]}…{name[len(name) - room // 2 + 1 :]}"
    lines = _lines(name, width)
    return "\n".join(next(even for i in range(1, width + 1) if len(even := _lines(name, i)) == len(lines)))


def _lines(name: str, width: int) -> list[str]:
    lines = [""]
    for piece in _PIECE.findall(name):
        if lines[-1] and len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return [line[i : i + width] for line in lines for i in range(0, len(line), width)]


def _parts(name: str) -> list[str]:
    """The parts of the path to a file of weights, the usual name of such a file left out; none if there is no path."""
    found = _PATH.fullmatch(name)
    if found is None:
        return []
    path = PurePosixPath(found["path"])
    last = _ENDINGS.sub("", path.name)
    parts = [part for part in path.parts[:-1] if part != "/"]
    return parts if last in _USUAL and parts else [*parts, last]


def _short(name: str, parts: int) -> str:
    found = _PATH.fullmatch(name)
    return name if found is None else found["head"] + "/".join(_parts(name)[-parts:]) + found["options"]
