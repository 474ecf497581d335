"""Shorten encoders' names for tables and figures: paths cut to the parts that differ, and broken into lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from embprobe.system.text import visible

_PATH = re.compile(r"(?P<head>[^:]*:)(?P<path>[^:]*/[^:]*?)(?P<options>(?:,[a-z_]+=[^,=/]*)*)", re.DOTALL)
_USUAL_STEMS = {"model", "weights", "checkpoint", "pytorch_model", "open_clip_model", "open_clip_pytorch_model"}
"""Usual names of weights files without their ending; such a name says nothing, so the folder's is shown instead."""
_ENDINGS = re.compile(r"\.(safetensors|pth?|bin|npz|ckpt)$")
_PIECE = re.compile(r"[^/:,=_-]*[/:,=_-]?")


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return for each full name a short one, in which the path to a weights file is cut to its last parts.

    As many parts are kept as it takes for no two short names to be equal.

    Args:
        names: Full names of encoders; one that stands twice counts once.

    Returns:
        The short names by full name, without control characters, in the order of ``names``.

    Example:
        >>> list(short_names(["bundled/clip:runs/a/model.safetensors", "dino/vit_base:runs/a/last.pth"]).values())
        ['bundled/clip:a', 'dino/vit_base:last']
        >>> list(short_names(["timm/vit:runs/a/model.safetensors", "timm/vit:old/a/model.safetensors"]).values())
        ['timm/vit:runs/a', 'timm/vit:old/a']
    """
    parts_kept = dict.fromkeys(names, 1)
    longest = max((len(_path_parts(name)) for name in parts_kept), default=0)
    for _ in range(longest):
        counts = Counter(_shorten(name, parts) for name, parts in parts_kept.items())
        parts_kept = {name: parts + (counts[_shorten(name, parts)] > 1) for name, parts in parts_kept.items()}
    shortened = {name: _shorten(name, parts) for name, parts in parts_kept.items()}
    counts = Counter(shortened.values())
    return {name: visible(short if counts[short] == 1 else name) for name, short in shortened.items()}


def names_in_lines(names: Iterable[str], width: int) -> dict[str, str]:
    """Return for each full name its :func:`short_names` one, broken into lines of at most ``width`` letters."""
    return {name: fold(short, width) for name, short in short_names(names).items()}


def fold(name: str, width: int, *, most: int = 3) -> str:
    """Break a name into as few lines as its length needs, of lengths as even as possible.

    Lines end behind ``/ : , = _ -`` where they can.

    Args:
        name: The name, on one line.
        width: Letters that a line may have.
        most: Lines that fit; the middle of a longer name is replaced by an ellipsis.

    Returns:
        The name with line breaks in it.

    Example:
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
    """Fill lines of at most ``width`` letters one after the other, broken where :func:`fold` allows."""
    lines = [""]
    for piece in _PIECE.findall(name):
        if lines[-1] and len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return [line[i : i + width] for line in lines for i in range(0, len(line), width)]


def _path_parts(name: str) -> list[str]:
    """Return the parts of the path to a weights file, without a file name that is a usual one; [] without a path."""
    match = _PATH.fullmatch(name)
    if match is None:
        return []
    path = PurePosixPath(match["path"])
    last = _ENDINGS.sub("", path.name)
    parts = [part for part in path.parts[:-1] if part != "/"]
    return parts if last in _USUAL_STEMS and parts else [*parts, last]


def _shorten(name: str, parts: int) -> str:
    """Return a name with the last ``parts`` parts of its path alone; as it is if it holds no path."""
    match = _PATH.fullmatch(name)
    return name if match is None else match["head"] + "/".join(_path_parts(name)[-parts:]) + match["options"]
