"""Cards are TOML files that anyone may write: checked against a model, with errors that name the file and the key."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from embprobe.errors import EmbprobeError, UsageError


class Strict(BaseModel):
    """A part of a card: no unknown keys, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tags: ClassVar[frozenset[str]] = frozenset()
    """What tables of this card may say of their kind; pydantic puts it into the path of an error, the file does not."""


_EXPECTED = {
    "extra_forbidden": "there is no such key here",
    "missing": "this key is missing",
}
"""In our words, by pydantic's type of error; the others are clear as they are."""
AnyCard = TypeVar("AnyCard", bound=Strict)


def names_of(package: str) -> list[str]:
    """The names of the cards that come as resources of a package."""
    names = (item.name for item in files(package).iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def read_card_file(kind: type[AnyCard], path: Path) -> AnyCard:
    """A card from a file; raises :class:`EmbprobeError` with the file, the key and what was expected."""
    try:
        return parse_card(kind, path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"The card '{path}' cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise EmbprobeError(f"The card '{path}' is not a text file.") from None


def parse_card(kind: type[AnyCard], text: str, name: str) -> AnyCard:
    """A card from its text; ``name`` is what errors call it."""
    try:
        return kind.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise EmbprobeError(f"The card '{name}' is not valid TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part not in kind.tags) or "the top"
        expected = _EXPECTED.get(first["type"], first["msg"].removeprefix("Value error, "))
        if first["type"].startswith("union_tag"):
            expected = f"kind must be one of {', '.join(sorted(kind.tags))}"
        raise EmbprobeError(f"The card '{name}' is not right at '{key}': {expected}.") from None
