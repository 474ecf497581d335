"""Geometry: how embeddings lie in their space, whatever they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from embprobe.images.rows import Images
from embprobe.measures import geometry
from embprobe.measures.blocks import rows_at
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.context import NotApplicable
from embprobe.probing.key import Key
from embprobe.probing.measure import Condition, Measure
from embprobe.probing.scores import Scores

if TYPE_CHECKING:
    from embprobe.embeddings.embedding_set import EmbeddingSet
    from embprobe.probing.context import ProbeContext

_UNITS = {
    "uniformity": "log of a mean potential",
    "effective rank": "dimensions",
    "mean cosine": "cosine",
    "conformity": "cosine with the mean",
    "alignment": "squared distance",
    "modality gap": "distance",
}
_OF_LABELS = ("alignment", "modality gap")


class Geometry(Measure):
    """Statistics of the vectors as a whole."""

    kind: Literal["geometry"]
    statistics: Annotated[
        list[Literal["uniformity", "effective rank", "mean cosine", "conformity", "alignment", "modality gap"]],
        Field(min_length=1),
    ]
    label: str | None = None
    """Whose values say which images belong together, for alignment; its values are the texts of the modality gap."""

    def check(self) -> None:
        """Do nothing: the model finds all that can be wrong."""

    def declared_keys(self) -> Sequence[Key]:
        return [Key(kind=self.kind, target=name) for name in self.statistics]

    def read_labels(self, images: Images) -> Sequence[str]:
        return [*super().read_labels(images), *([self.label] if self.label else [])]

    def conditions(self, context: ProbeContext) -> Iterator[Condition]:
        yield Condition(context.everything)

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield every statistic as scores of images whose mean it is; then raise for those that were not possible."""
        if self.label is not None and not context.images.lacks(self.label):
            context.require(self.label)
        embedded = context.untouched(context.select(self.images))
        impossible = []
        for key in self.declared_keys():
            if need := self._need(key.target, context):
                impossible.append(f"{key.target} needs {need}")
                continue
            values = self._values(key.target, embedded, context)
            groups = context.groups(embedded.rows)
            yield from context.scored(key, values, embedded.keys(), groups, unit=_UNITS[key.target])
        if impossible:
            raise NotApplicable(", and ".join(impossible))

    def _need(self, statistic: str, context: ProbeContext) -> str | None:
        """Return what a statistic needs and does not have."""
        if statistic not in _OF_LABELS:
            return None
        if self.label is None:
            return "a label, which the card does not name"
        if context.images.lacks(self.label):
            return f"the label '{self.label}', which none of the images in '{context.images.name}' has"
        if statistic == "modality gap" and not any(encoder.spec.has_text for encoder in context.encoders):
            return "an encoder with a text side"
        return None

    def _values(self, statistic: str, embedded: EmbeddingSet, context: ProbeContext) -> dict[str, ScoreArray]:
        vectors = embedded.vectors
        if statistic in _OF_LABELS and self.label is not None:
            labels = embedded.label(self.label)
            if statistic == "alignment":
                return {encoder: geometry.alignment(each, labels) for encoder, each in vectors.items()}
            place = {label: i for i, label in enumerate(dict.fromkeys(labels.tolist()))}
            which = [place[label] for label in labels.tolist()]
            texts = {encoder: rows_at(each, which) for encoder, each in context.texts(list(place)).items()}
            return {encoder: geometry.modality_gap(vectors[encoder], each) for encoder, each in texts.items()}
        if statistic == "uniformity":
            return {e: geometry.uniformity(each, seed=context.session.seed) for e, each in vectors.items()}
        functions = {
            "effective rank": geometry.effective_rank,
            "mean cosine": geometry.mean_cosine,
            "conformity": geometry.conformity,
        }
        return {encoder: functions[statistic](each) for encoder, each in vectors.items()}
