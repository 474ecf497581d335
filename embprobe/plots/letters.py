"""Draw names in any script: in an installed font that has their letters, or else as escapes, as on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from embprobe.system.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PLACEHOLDERS = ("last resort", "lastresort", "adobe blank")
"""Fonts that have a box, or nothing, for every letter."""
_REGULAR = (400, "normal", "regular", "book")


def draw_every_letter(canvas: Figure) -> None:
    """Give every text of a figure the fonts that it needs beside the usual one.

    A letter that no font has becomes an escape, and so does one that would steer a terminal: boxes in place of letters
    would make all names look alike. Calling it again changes nothing.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import FixedLocator

    for axis in [axis for axes in canvas.axes for axis in (axes.xaxis, axes.yaxis)]:
        if isinstance(axis.get_major_locator(), FixedLocator):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if needed := _needs(labels):
                axis.set_ticklabels([drawable(label) for label in labels], fontfamily=[*_usual(), *needed])
            elif labels != [drawable(label) for label in labels]:
                axis.set_ticklabels([drawable(label) for label in labels])
    for text in canvas.findobj(Text):
        assert isinstance(text, Text)
        content = text.get_text()
        if content.isascii() and content.replace("\n", "").isprintable():
            continue
        if needed := _needs([content]):
            text.set_fontfamily([*_usual(), *needed])
        text.set_text(drawable(content))


def drawable(text: str) -> str:
    """Return text with escapes for letters that no font has; it keeps its lines.

    >>> drawable("a\\x1bb")
    'a\\\\x1bb'
    """
    lines = "\n".join(visible(line) for line in text.split("\n"))
    return "".join(c if c == "\n" or c.isascii() or _font_of(c) is not None else _escape(c) for c in lines)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def _usual() -> list[str]:
    """Return the families of the usual font."""
    import matplotlib

    return list(matplotlib.rcParams["font.family"])


def _needs(texts: Iterable[str]) -> list[str]:
    """Return the families beside the usual one that these texts need, in the order in which their letters come."""
    families = (_font_of(c) for text in texts for c in text if not c.isascii())
    return list(dict.fromkeys(family for family in families if family))


@cache
def _font_of(letter: str) -> str | None:
    """Return the family of an installed font that has a letter, "" for the usual font, None if there is none."""
    code = ord(letter)
    if code in _usual_letters():
        return ""
    return next((family for family, path in _installed() if _has(path, code)), None)


@cache
def _usual_letters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties())).get_charmap())


@cache
def _installed() -> Sequence[tuple[str, str]]:
    """List families of upright fonts of regular weight and their files, those without serifs first."""
    from matplotlib.font_manager import fontManager

    upright = [
        font
        for font in fontManager.ttflist
        if font.style == "normal"
        and font.weight in _REGULAR
        and not font.name.casefold().startswith(_PLACEHOLDERS)
        and not getattr(font, "index", 0)  # a collection's first font
    ]
    by_family = {font.name: font.fname for font in sorted(upright, key=lambda font: font.fname)}
    return sorted(by_family.items(), key=lambda item: (not _is_plain(item[0]), item[0]))


def _is_plain(family: str) -> bool:
    return any(word in family for word in ("Sans", "Gothic", "Hei", "Arial", "UI")) and "Mono" not in family


@cache
def _opened(path: str) -> Any:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except Exception:  # a damaged file, or a format that FreeType does not know
        return None
    return font if font.scalable else None  # pictures of letters have sizes of their own


def _has(path: str, code: int) -> bool:
    font = _opened(path)
    return font is not None and bool(font.get_char_index(code))
