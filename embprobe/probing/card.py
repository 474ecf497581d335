"""Probe cards: TOML files that say what is asked of which images."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import numpy as np
from pydantic import BeforeValidator, Field, FiniteFloat, TypeAdapter, model_validator

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.system.models import Strict, names_of, parse_card, read_card_file
from embprobe.system.suggestions import did_you_mean

Treatments = dict[str, Annotated[list[str], Field(min_length=1)]]
"""By the value of a label, what is done to an image that gets it: ``hue 120``, ``word=thus 0.9``, ``none``."""
Labels = Annotated[list[str], Field(min_length=1)]
_LEVELS = TypeAdapter[Treatments](Annotated[Treatments, Field(min_length=2)])
Factor = Annotated[
    str | Treatments,
    BeforeValidator(lambda value: value if isinstance(value, str) else _LEVELS.validate_python(value)),
]
"""A label, or treatments by level."""
Strengths = Annotated[list[FiniteFloat], Field(min_length=1)]


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

    def known_to(self, images: Images) -> Selection:
        """Without what it asks of labels that none of the images has: a question may be put to unlabelled images."""
        where = {label: values for label, values in self.where.items() if not images.lacks(label)}
        one_per = None if self.one_per is None or images.lacks(self.one_per) else self.one_per
        return Selection(where=where, one_per=one_per, limit=self.limit)


class _Measure(Strict):
    """What every kind of measure has."""

    quick: bool = False
    """Whether it is asked even if there is little time: what the headline and the checks need."""


class Displacement(_Measure):
    """How far embeddings move under an intervention, for each of its strengths, and under its control."""

    kind: Literal["displacement"]
    intervention: str
    strengths: Strengths
    control: str | None = None
    """Of the intervention's controls, the one whose displacement is subtracted image by image."""
    images: Selection = Selection()


class Decoding(_Measure):
    """How well a label is decoded from embeddings of images that the classifier has not seen.

    The label is one the images have, or one that they get by what is done to them (``treatments``).
    """

    kind: Literal["decoding"]
    label: str
    called: str | None = None
    """What the label is called in results, if not by its name."""
    classifier: Literal["knn", "logistic", "gda"]
    k: Annotated[int, Field(ge=1)] = 20
    """Neighbours of the k-NN classifier."""
    images: Selection = Selection()
    fit: Selection
    tests: Annotated[dict[str, Selection], Field(min_length=1)]
    treatments: Treatments = {}
    """What is done to images, by the label's value; as many images get each."""
    under: str = "none"
    """What is done to all images first, so that it cannot help: ``recolor 1``."""
    held_out: Treatments = {}
    """Other treatments of the same values, for tests of a classifier that has never seen them."""
    control_task: bool = False
    """Whether the classifier is also fitted to shuffled labels."""
    shots: list[Annotated[int, Field(ge=1)]] = []
    """Images of each value that the classifier is fitted on, instead of all of them."""
    transforms: list[str] = []
    """How vectors are truncated or quantised, beside as they are: ``pca:32``, ``int8``."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if set(self.held_out) - set(self.treatments):
            raise ValueError("held_out may only have values that treatments has")
        if len(self.treatments) == 1:
            raise ValueError("treatments must have at least two values")
        if self.shots and self.classifier == "logistic":
            raise ValueError("with shots the classifier is gda or knn: so few images leave none to choose C on")
        return self


class ZeroShot(_Measure):
    """Which name an encoder with text gives an image, and which image it finds for a name."""

    kind: Literal["zero-shot"]
    label: str
    images: Selection = Selection()
    templates: Labels = ["{}"]
    k: list[Annotated[int, Field(ge=1)]] = [1, 5]
    """For recall@k of names by images and of images by names."""
    treatments: Labels = ["none"]
    """What is done to the images."""


class Preference(_Measure):
    """Which of two cues in conflict is nearer: the same concept, or the same word, colour or style."""

    kind: Literal["preference"]
    concept: str
    cue: str
    within: list[str] = []
    """Labels that all three images of a triplet share."""
    apart: list[str] = []
    """Labels in which both candidates differ from the anchor."""
    images: Selection = Selection()
    treatments: Treatments = {}
    """What is done to images, by the value of the cue; as many images get each."""
    crossed: bool = False
    """Whether instead every image gets every treatment."""
    conflict: str | None = None
    """A treatment that draws another concept's word into the anchor; the candidates are unchanged drawings of both."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.conflict and self.treatments:
            raise ValueError("a preference has either treatments or a conflict")
        if len(self.treatments) == 1:
            raise ValueError("treatments must have at least two values")
        return self


class Variance(_Measure):
    """How much of the variance each factor of a balanced design explains."""

    kind: Literal["variance"]
    unit: str
    """The factor whose values are resampled."""
    factors: Annotated[dict[str, Factor], Field(min_length=2)]
    of: Labels
    """The factors whose shares are shown, ``rest`` among them."""
    images: Selection = Selection()
    limit: Annotated[int, Field(gt=2)] | None = None
    """So many values of the unit, at random."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.unit not in self.factors:
            raise ValueError("unit must be one of the factors")
        if unknown := set(self.of) - {*self.factors, "rest"}:
            raise ValueError(f"of may only have factors and 'rest', not {', '.join(sorted(unknown))}")
        return self


class NaturalPairs(_Measure):
    """How similarity of embeddings goes with similarity of a measured attribute, among unchanged images."""

    kind: Literal["natural-pairs"]
    of: str
    attributes: Annotated[dict[str, str], Field(min_length=1)]
    """By name: a label (equal or not), ``words of LABEL`` (share in common), or an encoder that measures it."""
    images: Selection = Selection()

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.of not in self.attributes:
            raise ValueError("of must be one of the attributes")
        return self


class Geometry(_Measure):
    """How embeddings lie in their space, whatever they show."""

    kind: Literal["geometry"]
    statistics: Annotated[
        list[Literal["uniformity", "effective rank", "mean cosine", "conformity", "alignment", "modality gap"]],
        Field(min_length=1),
    ]
    label: str | None = None
    """Whose values say which images belong together, for alignment; its values are the texts of the modality gap."""
    images: Selection = Selection()


AnyMeasure = Displacement | Decoding | ZeroShot | Preference | Variance | NaturalPairs | Geometry
Measure = Annotated[AnyMeasure, Field(discriminator="kind")]
KINDS = frozenset(get_args(each.model_fields["kind"].annotation)[0] for each in get_args(AnyMeasure))


class Headline(Strict):
    """The one number per encoder that the card is about, and how two of them are compared in a sentence."""

    measure: str
    intervention: str | None = None
    strength: FiniteFloat | None = None
    says: str
    """What an encoder does, after its name: ``notices hue``."""
    much: str = "as much"
    """Between a ratio and the other's name: ``as much``, ``as often``."""


class MustFail(Strict):
    """A reference encoder that does not have what is asked for: if it succeeds, the probe measures something else."""

    encoder: str
    measure: str
    intervention: str | None = None
    strength: FiniteFloat | None = None
    at_most: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """So many times the rate of guessing (the most frequent label, without looking)."""
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

    tags = KINDS
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
    """Encoders shown beside the ones asked about."""
    headline: Headline | None = None
    must_fail: list[MustFail] = []
    measures: Annotated[list[Measure], Field(min_length=1)]

    def quickly(self) -> Card:
        """Only the measures that are quick (all, if none is), without what is more than the headline needs."""
        return self.briefly([measure for measure in self.measures if measure.quick] or self.measures)

    def briefly(self, measures: Sequence[AnyMeasure]) -> Card:
        """Some of its measures, each without what is more than the headline needs."""
        return self.model_copy(update={"measures": [self._briefly(measure) for measure in measures]})

    def _briefly(self, measure: AnyMeasure) -> AnyMeasure:
        if isinstance(measure, Decoding):
            return measure.model_copy(update={"control_task": False, "shots": [], "transforms": []})
        if isinstance(measure, Displacement) and self.headline and self.headline.strength in measure.strengths:
            return measure.model_copy(update={"strengths": [self.headline.strength]})
        return measure

    @model_validator(mode="after")
    def _references(self) -> Self:
        needed = {name for check in self.must_fail for name in (check.encoder, check.no_better_than) if name}
        if lacking := needed - set(self.references):
            raise ValueError(f"must_fail names {', '.join(sorted(lacking))}, which references has not")
        return self


def attributes() -> list[str]:
    """The attributes that have a bundled card."""
    return names_of("embprobe.probes")


def bundled_card(attribute: str) -> Card:
    """The bundled card of an attribute; raises :class:`UsageError` with the nearest names if there is none."""
    known = attributes()
    if attribute not in known:
        hint = did_you_mean(attribute, known)
        raise UsageError(f"There is no probe of '{attribute}'.{hint} There are: {', '.join(known)}.")
    name = f"{attribute}.toml"
    return parse_card(Card, (files("embprobe.probes") / name).read_text(encoding="utf-8"), name)


def read_card(path: Path) -> Card:
    """A card of one's own; raises :class:`EmbprobeError` with the file, the key and what was expected."""
    return read_card_file(Card, path)
