"""Probe cards: TOML files that say what is asked of which images."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, FiniteFloat

from embprobe.card_files import Strict, names_of, parse_card, read_card_file
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images


class Selection(Strict):
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


class Displacement(Strict):
    """How far embeddings move under an intervention, for each of its strengths."""

    kind: Literal["displacement"]
    intervention: str
    strengths: Annotated[list[FiniteFloat], Field(min_length=1)]
    images: Selection = Selection()


class Decoding(Strict):
    """How well a label is decoded from embeddings of images that the classifier has not seen."""

    kind: Literal["decoding"]
    label: str
    classifier: Literal["knn", "logistic"]
    k: Annotated[int, Field(ge=1)] = 20
    """Neighbours of the k-NN classifier."""
    fit: Selection
    tests: Annotated[dict[str, Selection], Field(min_length=1)]


Measure = Annotated[Displacement | Decoding, Field(discriminator="kind")]


class Card(Strict):
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


def attributes() -> list[str]:
    """The attributes that have a bundled card."""
    return names_of("embprobe.probes")


def bundled_card(attribute: str) -> Card:
    """The bundled card of an attribute; raises :class:`UsageError` with the nearest names if there is none."""
    known = attributes()
    if attribute not in known:
        near = difflib.get_close_matches(attribute, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"There is no probe of '{attribute}'.{hint} There are: {', '.join(known)}.")
    name = f"{attribute}.toml"
    return parse_card(Card, (files("embprobe.probes") / name).read_text(encoding="utf-8"), name)


def read_card(path: Path) -> Card:
    """A card of one's own; raises :class:`EmbprobeError` with the file, the key and what was expected."""
    return read_card_file(Card, path)
