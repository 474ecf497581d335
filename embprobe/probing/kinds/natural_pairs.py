"""What similarity goes with among images nobody changed: what a card's ``natural-pairs`` asks."""

from __future__ import annotations

from collections.abc import Iterator

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.encoders import load_encoder
from embprobe.interventions.words import parts_of
from embprobe.measures.natural_pairs import MIN_PARTNERS, Attribute, natural_pairs
from embprobe.probing.card import NaturalPairs
from embprobe.probing.context import Asked, NotApplicable, scored
from embprobe.probing.results import Scores

_WORDS_OF = "words of "


def ask(measure: NaturalPairs, asked: Asked) -> Iterator[Scores]:
    """For every image the partial rank correlation over its pairs, the other attributes held constant.

    Other attributes that are labels no image has are done without.
    """
    asked.require(*_label(measure.attributes[measure.of]))
    embedded = asked.untouched(asked.select(measure.images))
    attributes: dict[str, Attribute] = {}
    for name, source in measure.attributes.items():
        if name == measure.of or not any(asked.images.lacks(label) for label in _label(source)):
            attributes[name] = _measured(source, embedded, asked)
    needed = MIN_PARTNERS + len(attributes)
    if len(embedded.rows) < needed:
        raise NotApplicable(
            f"similarity by {measure.of} needs at least {needed} images, and of '{asked.images.name}' "
            f"{len(embedded.rows)} can be compared"
        )
    held = [name for name in attributes if name != measure.of]
    constant = [measure.attributes[name] for name in held]  # of an encoder that is one of them nothing would be left
    values = {
        encoder: natural_pairs(vectors, attributes, measure.of, seed=asked.session.seed)
        for encoder, vectors in embedded.vectors.items()
        if encoder not in constant
    }
    if not values:
        raise NotApplicable("every encoder is one of the attributes that are held constant")
    called = f"similarity by {measure.of}" + (f", {' and '.join(held)} held constant" if held else "")
    yield from scored(called, values, embedded.keys(), asked.groups(embedded.rows), unit="partial rank correlation")


def check(measure: NaturalPairs) -> None:
    """Raise :class:`UsageError` if an encoder that measures an attribute does not exist."""
    for source in measure.attributes.values():
        if not _label(source):
            load_encoder(source)


def _label(source: str) -> list[str]:
    """The label a source reads, if it is none of the encoders."""
    if source.startswith(_WORDS_OF):
        return [source.removeprefix(_WORDS_OF)]
    return [] if "/" in source else [source]


def _measured(source: str, embedded: EmbeddingSet, asked: Asked) -> Attribute:
    if source.startswith(_WORDS_OF):
        texts = embedded.rows.label(source.removeprefix(_WORDS_OF))
        return [parts_of(text) for text in texts]
    if "/" not in source:
        return embedded.label(source)
    if source in embedded.vectors:  # it is one of those that are asked
        return embedded.vectors[source]
    encoder = load_encoder(source, device=asked.session.device)
    found = asked.session.embed(asked.images, [encoder], source)
    return found.at(embedded.keys()).vectors[encoder.spec.name]
