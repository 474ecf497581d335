"""TOML and JSON files read into models: anyone may have written them, so every key is checked and errors name it.

Cards are TOML, written by people: the errors of :func:`read_card_file` say how to mend them. JSON files are written by
embprobe: :func:`read_json_file` raises :class:`DamagedFile`, and its caller says how to go on without the file.
"""

from __future__ import annotations

import json
import math
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from embprobe.errors import EmbprobeError, UsageError

Count = Annotated[int, Field(strict=True, ge=0)]
"""A whole number from 0, and neither ``true`` nor ``"1"``."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number."""


class Strict(BaseModel):
    """A part of a card: no unknown keys, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tags: ClassVar[frozenset[str]] = frozenset()
    """The kinds that a table of this card may have; pydantic puts it into the path of an error, the file does not."""


class Record(BaseModel):
    """A JSON object that embprobe wrote: no changes; unknown keys are passed over, for a file has a schema number."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class DamagedFile(EmbprobeError):
    """A file does not hold the JSON that it should; the message names the file, the key and the reason."""


_EXPECTED = {
    "extra_forbidden": "there is no such key here",
    "missing": "this key is missing",
}
"""In our words, by pydantic's type of error; the others are clear as they are."""
AnyCard = TypeVar("AnyCard", bound=Strict)
AnyModel = TypeVar("AnyModel")


# --- cards ---------------------------------------------------------------------------------------------------------


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
        key, expected = _first_error(error, kind.tags)
        raise EmbprobeError(f"The card '{name}' is not right at '{key}': {expected}.") from None


# --- JSON ----------------------------------------------------------------------------------------------------------


def read_json_file(kind: type[AnyModel], path: Path) -> AnyModel:
    """Read a file into a pydantic model or a dataclass; raises as :func:`read_json` and :func:`check_json` do."""
    return check_json(kind, read_json(path), path)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        DamagedFile: it is no object in JSON of UTF-8, holds NaN, an infinity or a number of more digits than Python
            reads, or is nested some 250 levels deep.
        OSError: it cannot be read.
    """
    return parse_json(path.read_bytes(), path)


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """Return the object that a part of a file holds; raises :class:`DamagedFile` as :func:`read_json` does."""
    try:
        return _OBJECT.validate_python(json.loads(content.decode("utf-8"), parse_constant=_finite, parse_float=_finite))
    except ValidationError as error:
        raise DamagedFile(f"'{path}' is damaged: {_first_error(error)[1]}.") from None
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"'{path}' is damaged: {error}.") from None


def check_json(kind: type[AnyModel], content: dict[str, Any], path: Path) -> AnyModel:
    """Return the content of a file as a pydantic model or a dataclass.

    Raises :class:`DamagedFile` with the file, the key and the reason. Text may hold halves of surrogate pairs, as names
    of files do.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        key, expected = _first_error(error)
        raise DamagedFile(f"'{path}' is damaged at '{key}': {expected}.") from None


_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, JsonValue])


def _finite(number: str) -> float:
    """JSON has no NaN and no infinity, so embprobe did not write them: the file is damaged."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is no number of JSON")
    return value


def _first_error(error: ValidationError, tags: frozenset[str] = frozenset()) -> tuple[str, str]:
    """The key of the first error, and what was expected there."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if part not in tags) or "the top"
    expected = _EXPECTED.get(first["type"], first["msg"].removeprefix("Value error, "))
    if first["type"].startswith("union_tag"):
        expected = f"kind must be one of {', '.join(sorted(tags))}"
    return key, expected
