"""Cards: TOML files. A probe card says what is asked of which images, a data set card what a set of images holds."""

from __future__ import annotations

import difflib
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Selection(_Strict):
    """Which rows: those with these labels, one random row per value of a label, at most so many."""

    where: dict[str, list[str]] = {}
    one_per: str | None = None
    limit: Annotated[int, Field(gt=1)] | None = None

    def of(self, images: Images, *, seed: int) -> Images:
        """The selected rows, in their order; raises :class:`EmbprobeError` if a label is missing or no row is left."""
        for label in self.where:
            images.label(label)
        found = images.where(**self.where)
        if not len(found):
            asked = " and ".join(f"{label} = {' or '.join(values)}" for label, values in self.where.items())
            raise EmbprobeError(f"No image in '{images.name}' is what this probe asks for: {asked}.")
        order = np.random.default_rng(seed).permutation(len(found))
        if self.one_per:
            values = found.label(self.one_per)
            order = np.array(list({values[i]: i for i in order}.values()))
        return found.take(sorted(order[: self.limit].tolist()))

    def without_labels(self) -> Selection:
        """Only the limit: for images that nobody labelled, where the question needs no label."""
        return Selection(limit=self.limit)


class Displacement(_Strict):
    """How far embeddings move under an intervention, for each of its strengths."""

    kind: Literal["displacement"]
    intervention: str
    strengths: Annotated[list[FiniteFloat], Field(min_length=1)]
    images: Selection = Selection()


class Decoding(_Strict):
    """How well a label is decoded from embeddings of images that the classifier has not seen."""

    kind: Literal["decoding"]
    label: str
    classifier: Literal["knn", "logistic"]
    k: Annotated[int, Field(ge=1)] = 20
    """Neighbours of the k-NN classifier."""
    fit: Selection
    tests: Annotated[dict[str, Selection], Field(min_length=1)]


Measure = Annotated[Displacement | Decoding, Field(discriminator="kind")]


class Card(_Strict):
    """One question, and how it is asked."""

    schema_: Literal[1] = Field(alias="schema")
    attribute: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    title: str
    question: str
    sources: list[str] = []
    resample: str
    """The label whose values are resampled for intervals; images without it are resampled one by one."""
    references: list[str] = []
    """Encoders shown beside the ones asked about."""
    measures: Annotated[list[Measure], Field(min_length=1)]


class DatasetCard(_Strict):
    """A set of images: what it holds, what it may be used for, and what is needed to have it."""

    schema_: Literal[1] = Field(alias="schema")
    name: str
    title: str
    description: str
    licence: str
    needs: str
    labels: list[str]
    splits: dict[str, str] = {}


_EXPECTED = {
    "extra_forbidden": "there is no such key here",
    "missing": "this key is missing",
    "union_tag_invalid": "kind must be 'displacement' or 'decoding'",
    "union_tag_not_found": "a measure needs a kind, 'displacement' or 'decoding'",
}
"""In our words, by pydantic's type of error; the others are clear as they are."""
AnyCard = TypeVar("AnyCard", Card, DatasetCard)


def attributes() -> list[str]:
    """The attributes that have a bundled card."""
    return _names("embprobe.probes")


def dataset_cards() -> list[DatasetCard]:
    """The bundled data set cards."""
    folder = files("embprobe.datasets")
    return [
        _parse(DatasetCard, (folder / f"{n}.toml").read_text(encoding="utf-8"), n) for n in _names("embprobe.datasets")
    ]


def bundled_card(attribute: str) -> Card:
    """The bundled card of an attribute; raises :class:`UsageError` with the nearest names if there is none."""
    known = attributes()
    if attribute not in known:
        near = difflib.get_close_matches(attribute, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"There is no probe of '{attribute}'.{hint} There are: {', '.join(known)}.")
    name = f"{attribute}.toml"
    return _parse(Card, (files("embprobe.probes") / name).read_text(encoding="utf-8"), name)


def read_card(path: Path) -> Card:
    """A card of one's own; raises :class:`EmbprobeError` with the file, the key and what was expected."""
    try:
        return _parse(Card, path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"The card '{path}' cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise EmbprobeError(f"The card '{path}' is not a text file.") from None


def _names(package: str) -> list[str]:
    names = (item.name for item in files(package).iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def _parse(kind: type[AnyCard], text: str, name: str) -> AnyCard:
    try:
        return kind.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise EmbprobeError(f"The card '{name}' is not valid TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        kinds = {"displacement", "decoding"}  # pydantic puts the kind of a measure into the path; the file does not
        key = ".".join(str(part) for part in first["loc"] if part not in kinds)
        expected = _EXPECTED.get(first["type"], first["msg"])
        raise EmbprobeError(f"The card '{name}' is not right at '{key}': {expected}.") from None
