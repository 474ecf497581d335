"""The context of a probe: one card, put to some images and encoders, and what a measure may do with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from embprobe.embeddings.embedding_set import zeros_note
from embprobe.embeddings.extract import NoVectors
from embprobe.embeddings.session import no_progress
from embprobe.encoders.given import GivenVectors
from embprobe.encoders.texts import encode_texts
from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.groups import Grouping, choose_grouping
from embprobe.images.rows import Images
from embprobe.images.unlabelled import brief
from embprobe.interventions import intervene
from embprobe.interventions.treatments import IMAGE, Treatment
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.key import Key
from embprobe.probing.scores import Role, Scores
from embprobe.probing.selection import Selection
from embprobe.system.threads import LARGE, threads_for

if TYPE_CHECKING:
    from embprobe.embeddings.embedding_set import EmbeddingSet
    from embprobe.embeddings.session import Session
    from embprobe.embeddings.token_set import TokenSet
    from embprobe.encoders.spec import Encoder, Floats
    from embprobe.probing.card import Card

GUESSING = "guessing"
"""The best constant guess, in the place of an encoder: the most frequent label of the tested images."""


class NotApplicable(EmbprobeError):
    """These images do not have what a measure needs; what it yielded before, and other measures, still count."""


@dataclass(frozen=True)
class ProbeContext:
    """A card, put to images and encoders."""

    card: Card
    images: Images
    subjects: Sequence[Encoder]
    references: Sequence[Encoder]
    session: Session
    left_out: list[str] = field(default_factory=list)
    """What could not be measured on these images, and why; measures add to it."""
    stored: Images | None = None
    """All images, where some of them lack a label and are left out: stores are of all. None otherwise."""
    of_card: Images | None = None
    """The images of the whole card, where a measure takes fewer because some lack a label; None otherwise."""
    undirected: set[tuple[str, str]] = field(default_factory=set)
    """Encoders and keys of images whose vectors of zeros are noted already."""
    prepared: frozenset[str] = frozenset()
    """Fingerprints of the sets of images that were encoded beforehand; their progress was shown then."""

    @property
    def encoders(self) -> list[Encoder]:
        """The subjects, then the references."""
        return [*self.subjects, *self.references]

    def role(self, name: str) -> Role:
        """Return the role of an encoder by its name; a name that is none of theirs is a baseline."""
        if name in [encoder.spec.name for encoder in self.subjects]:
            return "subject"
        return "reference" if name in [encoder.spec.name for encoder in self.references] else "baseline"

    @cached_property
    def grouping(self) -> Grouping:
        """The label whose values are folded and resampled together, for all of the images."""
        return choose_grouping(self._every, self.card.resample)

    @property
    def everything(self) -> Images:
        """All images, with those that lack a label: the stores of images as they are, are of all."""
        return self.images if self.stored is None else self.stored

    @property
    def _every(self) -> Images:
        """All images of the card, whichever measure they are for."""
        return self.images if self.of_card is None else self.of_card

    def on(self, images: Images) -> ProbeContext:
        """Return the context of a measure that takes fewer images; groups, donors and notes stay those of the card."""
        if len(images) == len(self.images):
            return self
        return replace(self, images=images, stored=self.everything, of_card=self._every)

    @property
    def resampled(self) -> str:
        """The label whose values are resampled: motifs, the card's label, the deepest folder, or the image itself."""
        return self.grouping.label

    def note(self, reason: str) -> None:
        """Note something that could not be measured, once."""
        if reason not in self.left_out:
            self.left_out.append(reason)

    def select(self, selection: Selection) -> Images:
        """Return the rows of a selection, without its conditions on labels that none of the images has.

        Values of a label that no image has are no condition either, and that is noted: a user's ``split`` may have
        other names.

        Raises:
            NotApplicable: No image is left.
        """
        known = selection.known_to(self.images)
        for label, values in known.where.items():
            if not len(self.images.where(**{label: values})):
                known = known.model_copy(update={"where": {k: v for k, v in known.where.items() if k != label}})
                self.note(
                    f"the condition {label} = {' or '.join(values)}, which no image in '{self.images.name}' meets"
                )
        if not len(self.images.where(**known.where)):
            raise NotApplicable(f"no image in '{self.images.name}' is what it asks for: {known.condition}")
        return known.of(self.images, seed=self.session.seed)

    def embed(self, images: Images, activity: str) -> EmbeddingSet:
        """Return every encoder's vectors of these rows; ``activity`` names the progress bar.

        Rows with a vector of zeros by one of the encoders are left out, and noted.

        Raises:
            NotApplicable: What is done to the images can be done to none of them, or leaves none with a direction.
        """
        return self._directed(self._embedded(images, self.encoders, activity), activity)

    def tokens(self, images: Images, encoder: Encoder, activity: str) -> TokenSet:
        """Return an encoder's tokens of those rows that can be read; ``activity`` names the progress bar.

        Raises:
            NotApplicable: What is done to the images can be done to none of them.
        """
        quiet = images.fingerprint in self.prepared
        session = replace(self.session, progress=no_progress) if quiet else self.session
        try:
            return session.tokens(images, encoder, activity)
        except NoVectors as error:
            raise NotApplicable(_failure_of_all(images) or str(error).removesuffix(".")) from None

    def _embedded(self, images: Images, encoders: Sequence[Encoder], activity: str) -> EmbeddingSet:
        if images.changed:
            if not images.has_pictures:
                raise NotApplicable(f"it changes images, and '{self.images.name}' has vectors and no pictures")
            encoders = self._able_to_embed()
        quiet = images.fingerprint in self.prepared
        session = replace(self.session, progress=no_progress) if quiet else self.session
        try:
            return session.embed(images, encoders, activity)
        except EmbprobeError as error:
            reason = _failure_of_all(images)
            if reason is None and isinstance(error, NoVectors) and images.changed:
                raise NotApplicable(str(error).removesuffix(".")) from None
            if reason is None:
                raise
            raise NotApplicable(
                f"what it does to images can be done to none of '{self.images.name}': {reason}"
            ) from None

    def _able_to_embed(self) -> list[Encoder]:
        """Return the encoders that can embed changed images; vectors that a user brings do not change with them."""
        able = [encoder for encoder in self.encoders if not isinstance(encoder, GivenVectors)]
        given = [encoder.spec.name for encoder in self.encoders if isinstance(encoder, GivenVectors)]
        if not any(encoder in able for encoder in self.subjects):
            raise NotApplicable(f"it changes images, and there are no vectors of changed ones in {', '.join(given)}")
        if given:
            self.note(f"what changes images, of {', '.join(given)}: there are no vectors of changed ones")
        return able

    def _directed(self, embedded: EmbeddingSet, activity: str) -> EmbeddingSet:
        """Return the rows whose vectors all have a direction; each of the others is noted once for an encoder."""
        changed = embedded.rows.changed
        under = f" under {activity}" if changed else ""
        for encoder, positions in embedded.without_direction().items():
            rows = [embedded.rows.rows[i] for i in positions]
            new = [row.key for row in rows if (encoder, row.labels.get(IMAGE, row.key)) not in self.undirected]
            self.undirected.update((encoder, row.labels.get(IMAGE, row.key)) for row in rows)
            if new:
                count = len(embedded) if changed else len(self.stored or self.images)
                self.announce(zeros_note(encoder, new, count, under))
        try:
            return embedded.directed()
        except EmbprobeError as reason:
            if changed:
                raise NotApplicable(str(reason).removesuffix(".")) from None
            raise

    def announce(self, reason: str, measure: str = "") -> None:
        """Note images that are left out, of one ``measure`` or all, here and at once where the session shows it."""
        self.note(f"of {measure}, {brief(reason)}" if measure else brief(reason))
        self.session.note(reason)

    def untouched(self, images: Images, encoders: Sequence[Encoder] | None = None) -> EmbeddingSet:
        """Return vectors of some of the images as they are, from the stores of all of them.

        ``encoders`` are others than those that are probed. Rows are left out as :meth:`embed` does.
        """
        embedded = self._embedded(self.everything, self.encoders if encoders is None else encoders, "all images")
        return self._directed(embedded.at(row.key for row in images.rows), "")

    def treated(self, images: Images, treatment: str) -> Images:
        """Return the images under a treatment, as a card writes it."""
        parsed = Treatment.parse(treatment)
        if parsed.intervention is None:
            return images
        return self.intervene(images, parsed.intervention, parsed.strength)

    def intervene(self, images: Images, name: str, strength: float) -> Images:
        """Return the images under an intervention of this strength, with the probe's seed and donors."""
        return intervene(images, name, strength, seed=self.session.seed, donors=self._every)

    def texts(self, texts: Sequence[str]) -> dict[str, Floats]:
        """Return by the name of each encoder with text its vectors of the texts ``[n, d]``; each is read once."""
        different = list(dict.fromkeys(texts))
        place = {text: i for i, text in enumerate(different)}
        order = [place[text] for text in texts]
        with threads_for(LARGE):  # a text tower's products are, but for the smallest
            return {
                encoder.spec.name: encode_texts(encoder, different)[order]
                for encoder in self.encoders
                if encoder.spec.has_text
            }

    def groups(self, rows: Images) -> list[str]:
        """Return the value that each row is resampled with."""
        return self.grouping.of(rows)

    def require(self, *labels: str) -> None:
        """Check that every image has these labels.

        Raises:
            NotApplicable: No image has one of them.
            EmbprobeError: Some images lack one of them.
        """
        for label in labels:
            if self.images.lacks(label):
                raise NotApplicable(
                    f"it needs the label '{label}', which none of the images in '{self.images.name}' has"
                )
            self.images.label(label)

    def scored(
        self,
        key: Key,
        values: Mapping[str, ScoreArray],
        keys: Sequence[str],
        groups: Sequence[str],
        *,
        unit: str,
        floor: float | None = None,
        p: Mapping[str, float] | None = None,
    ) -> Iterator[Scores]:
        """Yield the :class:`Scores` of each encoder; rows without a score (NaN) by one of them are left out for all.

        ``floor`` is the estimate of an encoder that is blind to what is measured, if it is known.

        Raises:
            NotApplicable: No row has a score by every encoder.
        """
        finite = np.isfinite(np.array(list(values.values()))).all(axis=0)
        if not finite.any():
            raise NotApplicable(f"no image has a score of {key.phrase} for every encoder")
        kept = np.flatnonzero(finite).tolist()
        for encoder, scores in values.items():
            yield Scores(
                key=key,
                encoder=encoder,
                role=self.role(encoder),
                unit=unit,
                keys=[keys[i] for i in kept],
                groups=[groups[i] for i in kept],
                values=np.asarray(scores[kept], np.float64),
                floor=floor,
                p=(p or {}).get(encoder),
            )


def _failure_of_all(images: Images) -> str | None:
    """Return why a change failed on the first of the images, if it fails on all of them."""
    first = None
    for row in images.rows:
        if row.change is None:
            return None
        try:
            row.load()
        except UnreadableImage as error:
            first = first or f"'{row.key}': {error}"
        else:
            return None
    return first
