"""Natural pairs: what similarity goes with among images that nobody changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from embprobe.images.rows import Images
from embprobe.interventions.vocabulary import parts_of
from embprobe.measures.natural_pairs import MIN_PARTNERS, Attribute, natural_pair_effects
from embprobe.measures.pair_effects import influence_scores
from embprobe.probing.context import NotApplicable
from embprobe.probing.key import Key
from embprobe.probing.measure import Condition, Measure
from embprobe.probing.scores import Scores

if TYPE_CHECKING:
    from embprobe.embeddings.embedding_set import EmbeddingSet
    from embprobe.probing.context import ProbeContext

_WORDS_OF = "words of "


class NaturalPairs(Measure):
    """How similarity of embeddings goes with similarity of a measured attribute, others held constant."""

    kind: Literal["natural-pairs"]
    of: str
    attributes: Annotated[dict[str, str], Field(min_length=1)]
    """By name: a label (equal or not), ``words of LABEL`` (share in common), or an encoder that measures it."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.of not in self.attributes:
            raise ValueError("of must be one of the attributes")
        return self

    def check(self) -> None:
        from embprobe.encoders import load_encoder

        for source in self.attributes.values():
            if not _labels(source):
                load_encoder(source)

    def needed_labels(self, images: Images) -> Sequence[str]:
        return _labels(self.attributes[self.of])

    def read_labels(self, images: Images) -> Sequence[str]:
        of_attributes = [label for source in self.attributes.values() for label in _labels(source)]
        return [*super().read_labels(images), *of_attributes]

    def declared_keys(self) -> Sequence[Key]:
        """Return the key with all other attributes held constant; those whose label no image has are done without."""
        return [self._key([name for name in self.attributes if name != self.of])]

    def conditions(self, context: ProbeContext) -> Iterator[Condition]:
        from embprobe.encoders import load_encoder

        context.require(*_labels(self.attributes[self.of]))
        yield Condition(context.everything)
        known = [encoder.spec.name for encoder in context.encoders]
        for source in self.attributes.values():
            if not _labels(source) and source not in known and context.images.has_pictures:
                yield Condition(context.everything, [load_encoder(source, device=context.session.device)])

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield for every image an influence score; their mean is that of the images' partial rank correlations."""
        context.require(*_labels(self.attributes[self.of]))
        if not _has(context, self.attributes[self.of]):
            raise NotApplicable(f"{self.attributes[self.of]} reads pictures, and '{context.images.name}' has none")
        embedded = context.untouched(context.select(self.images))
        sources = {name: s for name, s in self.attributes.items() if name == self.of or _has(context, s)}
        measured = {s: _by_encoder(s, embedded, context) for s in sources.values() if not _labels(s)}
        embedded = embedded.restricted_to(*measured.values()) if measured else embedded
        attributes = {
            name: measured[source].at(embedded.keys()).vectors[source]
            if source in measured
            else _by_label(source, embedded)
            for name, source in sources.items()
        }
        needed = MIN_PARTNERS + len(attributes)
        if len(embedded.rows) < needed:
            raise NotApplicable(
                f"similarity by {self.of} needs at least {needed} images, and of '{context.images.name}' "
                f"{len(embedded.rows)} can be compared"
            )
        held = [name for name in attributes if name != self.of]
        constant = [self.attributes[name] for name in held]  # of an encoder that is one of them nothing would be left
        groups = context.groups(embedded.rows)
        effects = {
            encoder: natural_pair_effects(vectors, attributes, self.of, groups, seed=context.session.seed)
            for encoder, vectors in embedded.vectors.items()
            if encoder not in constant
        }
        if not effects:
            raise NotApplicable("every encoder is one of the attributes that are held constant")
        values = dict(zip(effects, influence_scores(list(effects.values()), groups).T, strict=True))
        key, keys = self._key(held), embedded.keys()
        yield from context.scored(key, values, keys, groups, unit="partial rank correlation", floor=0.0)

    def _key(self, held: Sequence[str]) -> Key:
        return Key(kind=self.kind, target=self.of, variant=f"{' and '.join(held)} held constant" if held else None)


def _labels(source: str) -> list[str]:
    """Return the label that a source reads, in a list; none if the source is an encoder."""
    if source.startswith(_WORDS_OF):
        return [source.removeprefix(_WORDS_OF)]
    return [] if "/" in source else [source]


def _has(context: ProbeContext, source: str) -> bool:
    """Return whether the images have the label that a source reads, or pictures where it is an encoder."""
    labels = _labels(source)
    return not any(context.images.lacks(label) for label in labels) if labels else context.images.has_pictures


def _by_label(source: str, embedded: EmbeddingSet) -> Attribute:
    if source.startswith(_WORDS_OF):
        return [parts_of(text) for text in embedded.rows.label(source.removeprefix(_WORDS_OF))]
    return embedded.label(source)


def _by_encoder(source: str, embedded: EmbeddingSet, context: ProbeContext) -> EmbeddingSet:
    """Return the vectors, under its name in the card, of an encoder that measures an attribute."""
    from embprobe.encoders import load_encoder

    if source in embedded.vectors:  # it is one of the encoders that are probed
        return replace(embedded, vectors={source: embedded.vectors[source]})
    encoder = load_encoder(source, device=context.session.device)
    measured = context.untouched(embedded.rows, [encoder])
    return replace(measured, vectors={source: measured.vectors[encoder.spec.name]})
