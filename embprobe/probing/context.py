"""What a measure of a card is asked of, and what it answers: one set of scores per question and encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.session import Session
from embprobe.encoders.spec import Encoder, Floats
from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images
from embprobe.interventions import intervene
from embprobe.interventions.treatments import IMAGE, Levels, Treatment
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.card import Card, Selection
from embprobe.probing.results import Scores

GUESS = "guessing"
"""Stands in the encoder column for the most frequent label, without looking."""


_TEXTS = 256
"""That go through a text tower at once."""


class NotApplicable(EmbprobeError):
    """These images do not have what the measure asks for; what it answered before, and other measures, still count."""


@dataclass(frozen=True)
class Asked:
    """A card, put to images and encoders."""

    card: Card
    images: Images
    encoders: Sequence[Encoder]
    """The subjects, then the references."""
    session: Session
    left_out: list[str] = field(default_factory=list)
    """What could not be asked of these images, and why; added to on the way."""

    @property
    def resampled(self) -> str:
        """The label whose values are resampled: the card's, or where no image has it, each image by itself."""
        return IMAGE if self.images.lacks(self.card.resample) else self.card.resample

    def select(self, selection: Selection) -> Images:
        """The rows of a selection, without what it asks of labels that none of the images has.

        Values of a label that no image has are not asked for either, and that is noted: somebody else's ``split`` has
        other names. Raises :class:`NotApplicable` if no image is left.
        """
        known = selection.known_to(self.images)
        for label, values in known.where.items():
            if not len(self.images.where(**{label: values})):
                known = known.model_copy(update={"where": {k: v for k, v in known.where.items() if k != label}})
                note = f"the condition {label} = {' or '.join(values)}, which no image in '{self.images.name}' meets"
                if note not in self.left_out:
                    self.left_out.append(note)
        if not len(self.images.where(**known.where)):
            asked = " and ".join(f"{label} = {' or '.join(values)}" for label, values in known.where.items())
            raise NotApplicable(f"no image in '{self.images.name}' is what it asks for: {asked}")
        return known.of(self.images, seed=self.session.seed)

    def embed(self, images: Images, what: str) -> EmbeddingSet:
        """Every encoder's vectors for these rows; :class:`NotApplicable` if what is done to them works on none."""
        try:
            return self.session.embed(images, self.encoders, what)
        except EmbprobeError:
            reason = _undone(images)
            if reason is None:
                raise
            raise NotApplicable(
                f"what it does to images can be done to none of '{self.images.name}': {reason}"
            ) from None

    def untouched(self, images: Images) -> EmbeddingSet:
        """Some of the images as they are, from the stores of all of them."""
        return self.embed(self.images, "all images").at(row.key for row in images.rows)

    def treated(self, images: Images, treatment: str) -> Images:
        """The images under a treatment, as a card writes it."""
        parsed = Treatment.parse(treatment)
        if parsed.intervention is None:
            return images
        return intervene(images, parsed.intervention, parsed.strength, seed=self.session.seed, donors=self.images)

    def texts(self, texts: Sequence[str]) -> dict[str, Floats]:
        """By the name of each encoder that has text, its vectors of these texts ``[n, d]``; each text is read once."""
        different = list(dict.fromkeys(texts))
        place = {text: i for i, text in enumerate(different)}
        order = [place[text] for text in texts]
        return {
            encoder.spec.name: np.concatenate(
                [encoder.encode_texts(different[i : i + _TEXTS]) for i in range(0, len(different), _TEXTS)]
            )[order]
            for encoder in self.encoders
            if encoder.spec.has_text
        }

    def groups(self, rows: Images) -> list[str]:
        """The value that each row is resampled with."""
        if self.resampled != IMAGE:
            return rows.label(self.resampled)
        return [row.labels.get(IMAGE, row.key) for row in rows.rows]

    def require(self, *labels: str) -> None:
        """Raise :class:`NotApplicable` if no image has one of these labels, or if some lack it."""
        for label in labels:
            if self.images.lacks(label):
                raise NotApplicable(
                    f"it needs the label '{label}', which none of the images in '{self.images.name}' has"
                )
            self.images.label(label)


def scored(
    measure: str,
    values: Mapping[str, ScoreArray],
    keys: Sequence[str],
    groups: Sequence[str],
    *,
    unit: str,
    intervention: str | None = None,
    strength: float | None = None,
    p: Mapping[str, float] | None = None,
) -> Iterator[Scores]:
    """One :class:`Scores` per encoder; rows that have no score (NaN) for one of the encoders are left out for all."""
    there = np.isfinite(np.array(list(values.values()))).all(axis=0)
    if not there.any():
        raise NotApplicable(f"no image has a score of {measure} for every encoder")
    kept = np.flatnonzero(there).tolist()
    for encoder, each in values.items():
        yield Scores(
            measure=measure,
            intervention=intervention,
            strength=strength,
            encoder=encoder,
            unit=unit,
            keys=[keys[i] for i in kept],
            groups=[groups[i] for i in kept],
            values=each[kept].tolist(),
            p=(p or {}).get(encoder),
        )


def _undone(images: Images) -> str | None:
    """Why it cannot be done to the first of the images, if it can be done to none."""
    reason = None
    for row in images.rows:
        if row.change is None:
            return None
        try:
            row.load()
        except UnreadableImage as error:
            reason = reason or f"'{row.key}': {error}"
        else:
            return None
    return reason


def levels(treatments: Mapping[str, Sequence[str]]) -> Levels:
    """Treatments as a card writes them."""
    return {value: [Treatment.parse(text) for text in texts] for value, texts in treatments.items()}
