"""Read probe cards: TOML files that name the measures of a probe and its images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from importlib.resources import files
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from embprobe.errors import UsageError
from embprobe.probing.kinds import kinds
from embprobe.probing.kinds.decoding import UNSEEN
from embprobe.probing.measure import Measure
from embprobe.probing.pattern import KeyPattern
from embprobe.system.models import Strict, names_of, parse_card, read_card_file
from embprobe.system.suggestions import did_you_mean

if TYPE_CHECKING:
    Tables = list[Measure]
else:
    Tables = list[Annotated[reduce(or_, kinds().values()), Field(discriminator="kind")]]


class Headline(KeyPattern):
    """The one number per encoder that the card is about, and how two of them are compared in a sentence."""

    says: str
    """What an encoder does, after its name: ``notices hue``."""
    much: str = "as much"
    """Between a ratio and the other's name: ``as much``, ``as often``."""


class MustFail(KeyPattern):
    """A reference encoder that does not have what is asked for: if it succeeds, the probe measures something else."""

    encoder: str
    at_most: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """A multiple of the rate of guessing (the most frequent label, without looking)."""
    below: FiniteFloat | None = None
    """An estimate not above this."""
    no_better_than: str | None = None
    """Another reference: its difference from it must not be above zero beyond its interval."""
    because: str

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if [self.at_most, self.below, self.no_better_than].count(None) != 2:
            raise ValueError("say one of at_most, below and no_better_than")
        return self


class Card(Strict):
    """One question, and how it is asked."""

    tags = frozenset(kinds())
    schema_: Literal[1] = Field(alias="schema")
    attribute: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    title: str
    question: str
    about: str = ""
    """What to know when reading it: where it may mislead."""
    sources: list[str] = []
    resample: str
    """The label whose values are resampled for intervals; images without it are resampled one by one."""
    references: list[str] = []
    """Encoders shown beside the subjects."""
    headline: Headline | None = None
    must_fail: list[MustFail] = []
    measures: Annotated[Tables, Field(min_length=1)]

    def quickly(self) -> Card:
        """Return the card with only the measures that are quick (all, if none is), each as brief as may be."""
        return self.briefly([measure for measure in self.measures if measure.quick] or self.measures)

    def briefly(self, measures: Sequence[Measure]) -> Card:
        """Return the card with some of its measures, each without what is more than the headline needs."""
        strength = self.headline.strength if self.headline else None
        return self.model_copy(update={"measures": [measure.brief(strength) for measure in measures]})

    def only(self, patterns: Sequence[KeyPattern]) -> Card:
        """Return the card with only the measures that give these numbers, each as brief as may be.

        Raises:
            UsageError: No measure gives one of the numbers, or only one that is left out of a brief measure.
        """
        matching = [m for m in self.measures if any(p.find(m.declared_keys(), folds=UNSEEN) for p in patterns)]
        brief = self.briefly(matching)
        keys = [key for measure in brief.measures for key in measure.declared_keys()]
        for pattern in patterns:
            if pattern.find(keys, folds=UNSEEN) is None:
                raise UsageError(f"No measure of the card '{self.attribute}' gives {pattern.describe()}.")
        return brief

    @model_validator(mode="after")
    def _references(self) -> Self:
        needed = {name for check in self.must_fail for name in (check.encoder, check.no_better_than) if name}
        if lacking := needed - set(self.references):
            raise ValueError(f"must_fail names {', '.join(sorted(lacking))}, which references has not")
        return self


def attributes() -> list[str]:
    """Return the attributes that have a bundled card."""
    return names_of("embprobe.probes")


def bundled_card(attribute: str) -> Card:
    """Return the bundled card of an attribute.

    Raises:
        UsageError: There is none; the message has the nearest name.

    Example:
        >>> bundled_card("color").question
        'How much does an embedding notice the colours of an image?'
    """
    known = attributes()
    if attribute not in known:
        hint = did_you_mean(attribute, known)
        raise UsageError(f"There is no probe of '{attribute}'.{hint} There are: {', '.join(known)}.")
    name = f"{attribute}.toml"
    return parse_card(Card, (files("embprobe.probes") / name).read_text(encoding="utf-8"), name)


def read_card(path: Path) -> Card:
    """Return a card of one's own; raises :class:`EmbprobeError` with the file, the key and what was expected."""
    return read_card_file(Card, path)
