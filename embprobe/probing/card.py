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
from embprobe.images.groups import CONCEPT, MOTIF
from embprobe.images.rows import Images, MissingLabel
from embprobe.images.unlabelled import MAX_UNLABELLED, lacking_keys, may_lack, without_unlabelled
from embprobe.probing.key import Key
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
    """What an encoder does, after its name: ``is moved by hue``; ``{test}`` is the test of this run, as in
    ``tells the category of {test}``."""
    much: str = "as much"
    """Between a ratio and the other's name: ``as much``, ``as often``."""

    def sentence(self, key: Key) -> str:
        """Return what an encoder does, with the test of the number that was measured."""
        return self.says.replace("{test}", key.test or "")


class MustFail(KeyPattern):
    """A reference encoder that does not have what is asked for: if it succeeds, the probe measures something else."""

    encoder: str | None = None
    """Its name; without one, every encoder must fail, as at a control task."""
    within: Annotated[FiniteFloat, Field(ge=0)] | None = None
    """Its estimate is above what a blind encoder has by no more than this, or not above it beyond its interval."""
    at_most: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """A multiple of the rate of guessing (the most frequent label, without looking)."""
    below: FiniteFloat | None = None
    """An estimate not above this."""
    no_better_than: str | None = None
    """Another reference: its difference from it must not be above zero beyond its interval."""
    because: str

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if [self.within, self.at_most, self.below, self.no_better_than].count(None) != 3:
            raise ValueError("say one of within, at_most, below and no_better_than")
        if self.no_better_than is not None and self.encoder is None:
            raise ValueError("no_better_than needs an encoder")
        return self


class CardMaterial(Strict):
    """A kind of images, and how the card asks its question of them."""

    name: str
    """In words: ``drawings of concepts in several styles``."""
    needs: dict[str, list[str]] = {}
    """Labels that all images have, with at least two values; where values are listed, with these among them. Images
    that lack one, if they are few, are left out."""
    pictures: bool | None = None
    """Whether they have pictures, or are keys and labels of vectors; either if it is left out."""
    question: str | None = None
    """Where it is another than the card's."""
    headline: Headline | None = None
    must_fail: list[MustFail] = []

    def labelled(self, images: Images, max_unlabelled: float) -> Images:
        """Return the images without those that lack a needed label, if no more than this share of them lack one."""
        try:
            return without_unlabelled(images, self.needs, most=max_unlabelled)[0]
        except MissingLabel:
            return images

    def fits(self, images: Images) -> bool:
        """Return whether the images have these labels and values, and pictures or none."""
        if self.pictures is not None and images.has_pictures != self.pictures:
            return False
        for label, values in self.needs.items():
            if not images.has(label):
                return False
            present = set(images.label(label))
            if len(present) < 2 or not present.issuperset(values):
                return False
        return True


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
    by_name_only: bool = False
    """Whether ``--attribute all`` passes it over, because it takes long."""
    resample: str
    """The label whose values are resampled for intervals; images without it are resampled one by one."""
    references: list[str] = []
    """Encoders shown beside the subjects."""
    headline: Headline | None = None
    must_fail: list[MustFail] = []
    materials: list[CardMaterial] = []
    """Kinds of images, the first that fits counts; if none does, the card's own headline and checks do."""
    measures: Annotated[Tables, Field(min_length=1)]

    def of(self, images: Images, *, max_unlabelled: float = MAX_UNLABELLED) -> Card:
        """Return the card as it is put to these images: question, headline, checks and measures of their material."""
        material = self.material(images, max_unlabelled=max_unlabelled)
        if material is None:
            return self.model_copy(update={"materials": [], "measures": self._on(None)})
        return self.model_copy(
            update={
                "question": material.question or self.question,
                "headline": material.headline,
                "must_fail": material.must_fail,
                "materials": [],
                "measures": self._on(material.name),
            }
        )

    def material(self, images: Images, *, max_unlabelled: float = MAX_UNLABELLED) -> CardMaterial | None:
        """Return the first kind of images that these are, without up to a share of them that lack a needed label."""
        fitting = (each for each in self.materials if each.fits(each.labelled(images, max_unlabelled)))
        return next(fitting, None)

    def labelled(self, images: Images, *, max_unlabelled: float = MAX_UNLABELLED) -> tuple[Images, tuple[str, ...]]:
        """Return the images that the card is put to, and notes on those left out because they lack a label.

        The labels are those that the material needs, that the headline's measure reads and that is resampled.

        Raises:
            MissingLabel: More than a share of ``max_unlabelled`` of the images lack one that others have.
        """
        material = self.material(images, max_unlabelled=max_unlabelled)
        put = self.of(images, max_unlabelled=max_unlabelled)
        needed = list(material.needs) if material else []
        if put.headline is not None:
            for measure in put.measures:
                if put.headline.find(measure.declared_keys(), folds=UNSEEN):
                    needed += measure.read_labels(images)
        needed.append(self.resample)
        if self.resample == CONCEPT and may_lack(len(lacking_keys(images, MOTIF)), len(images), max_unlabelled):
            needed.append(MOTIF)
        return without_unlabelled(images, needed, most=max_unlabelled)

    def _on(self, material: str | None) -> list[Measure]:
        """Return the measures that are asked of a material; they name it no longer, so the card may be put again."""
        asked = [measure for measure in self.measures if not measure.on or material in measure.on]
        return [measure.model_copy(update={"on": []}) for measure in asked]

    def quickly(self) -> Card:
        """Return the card with only what is quick and what its headlines and checks need (all, if that is nothing)."""
        needed = self._needed
        kept = [
            measure
            for measure in self.measures
            if measure.quick or any(pattern.find(measure.declared_keys(), folds=UNSEEN) for pattern in needed)
        ]
        return self._with(kept or self.measures, needed)

    def only(self, patterns: Sequence[KeyPattern]) -> Card:
        """Return the card with only the measures that give these numbers, each as brief as may be.

        Raises:
            UsageError: No measure gives one of the numbers.
        """
        wanted = [m for m in self.measures if any(p.find(m.declared_keys(), folds=UNSEEN) for p in patterns)]
        brief = self._with(wanted, patterns)
        keys = [key for measure in brief.measures for key in measure.declared_keys()]
        for pattern in patterns:
            if pattern.find(keys, folds=UNSEEN) is None:
                raise UsageError(f"No measure of the card '{self.attribute}' gives {pattern.describe()}.")
        return brief

    @property
    def _needed(self) -> list[KeyPattern]:
        """The numbers of all headlines and checks."""
        headlines = [self.headline, *(material.headline for material in self.materials)]
        return [*(headline for headline in headlines if headline is not None), *self._checks]

    @property
    def _checks(self) -> list[MustFail]:
        """The checks of all materials."""
        return [*self.must_fail, *(check for material in self.materials for check in material.must_fail)]

    def _with(self, measures: Sequence[Measure], needed: Sequence[KeyPattern]) -> Card:
        return self.model_copy(update={"measures": [measure.brief(needed) for measure in measures]})

    @model_validator(mode="after")
    def _named(self) -> Self:
        needed = {name for check in self._checks for name in (check.encoder, check.no_better_than) if name}
        if lacking := needed - set(self.references):
            raise ValueError(f"must_fail names {', '.join(sorted(lacking))}, which references has not")
        if unknown := {name for measure in self.measures for name in measure.on} - {m.name for m in self.materials}:
            raise ValueError(f"measures are on {', '.join(sorted(unknown))}, which materials has not")
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
