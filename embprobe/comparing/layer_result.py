"""The result of a comparison of layers: how far every layer of a network agrees with every one of another.

It is data alone: :meth:`LayerComparison.save` writes it, :func:`load_layers` reads it back.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import StrictBool, TypeAdapter

from embprobe.comparing.result import ImagesSummary
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError, UsageError
from embprobe.measures.vectors import ScoreArray
from embprobe.statistics import Estimate
from embprobe.system.files import write_json
from embprobe.system.models import Count, DamagedFile, Number, check_json, read_json

VERSION = 1
FILE = "layers.json"
CKA = "debiased CKA"
"""The measure that sentences are about."""
Matrix = tuple[tuple[Number, ...], ...]


@dataclass(frozen=True)
class ComparedLayers:
    """The layers of an encoder that were compared."""

    depth: Count
    """The number of layers that the network has."""
    layers: tuple[Count, ...]
    """Those that were compared, counted from 1."""
    names: tuple[str, ...]
    """The names of their encoders."""
    fingerprints: tuple[str, ...]
    """The fingerprints of their specs."""
    untrained: StrictBool
    """Whether it is the untrained network that stands beside the others."""


@dataclass(frozen=True)
class LayerSimilarity:
    """How far each layer of ``a`` agrees with each layer of ``b``, by one measure: a row for each layer of ``a``."""

    measure: str
    """``debiased CKA`` or ``mutual 10-NN``; each is 1 where layers agree in everything."""
    a: str
    b: str
    values: Matrix
    low: Matrix
    """The lower ends of 95 % bootstrap intervals, of each value alone."""
    high: Matrix
    chance: Number
    """The mean of the measure over all matchings of the rows of one layer with those of another."""
    chance_spread: Number | None
    """Its standard deviation over them; None of mutual k-NN."""


@dataclass(frozen=True)
class BestPair:
    """The two layers of two encoders that agree most by one measure."""

    measure: str
    a: str
    b: str
    layers: tuple[Count, Count]
    value: Estimate
    share: Number
    """The share of the resamples in which this pair is the best."""
    untrained: Number | None
    """The most that either of the two layers agrees with a layer of the untrained network."""


@dataclass(frozen=True)
class NearestLayers:
    """For each layer of ``a`` the layer of ``b`` that agrees most with it, by one measure."""

    measure: str
    a: str
    b: str
    layers: tuple[Count, ...]
    """Those of ``a``."""
    nearest: tuple[Count, ...]
    low: tuple[Count, ...]
    """The intervals of the nearest: they hold those of 95 % of the resamples."""
    high: tuple[Count, ...]
    values: tuple[Number, ...]
    """How far each layer agrees with its nearest."""
    values_low: tuple[Number, ...]
    values_high: tuple[Number, ...]
    deeper: Number
    """By how much the nearest layers of ``b`` lie deeper than those of ``a`` on average, in relative depth: layer /
    number of layers."""
    deeper_low: Number
    deeper_high: Number


@dataclass(frozen=True)
class LayerChange:
    """The two neighbouring ones of the compared layers of an encoder that agree least, by one measure."""

    measure: str
    encoder: str
    layers: tuple[Count, Count]
    value: Estimate
    ends: Estimate
    """How far the first and the last of its compared layers agree."""


@dataclass(frozen=True, kw_only=True)
class LayerComparison:
    """How far the layers of encoders agree on the same images: every two encoders, and each with itself."""

    images: ImagesSummary
    """All images that were given."""
    compared: Count
    """The number of them that were compared: at most 10,000, drawn at random."""
    encoders: Mapping[str, ComparedLayers]
    """By name; the untrained network, if it is none of those that were asked for, is the last."""
    k: Count
    """Neighbours of an image that mutual k-NN compares, among the compared images."""
    resampled: str
    """The unit of the bootstrap: ``concept`` or ``image``."""
    seed: Count
    similarities: tuple[LayerSimilarity, ...]
    """Both measures of every two encoders and of each with itself."""
    best: tuple[BestPair, ...]
    """Both measures of every two encoders that were asked for."""
    nearest: tuple[NearestLayers, ...]
    """Both measures of every two encoders that were asked for, both ways."""
    changes: tuple[LayerChange, ...]
    """Both measures of every encoder of which several layers were compared."""
    made_from: str
    """A hash of the rows that were compared and of the labels that group them."""

    @property
    def subjects(self) -> list[str]:
        """The encoders that were asked for."""
        return [name for name, each in self.encoders.items() if not each.untrained]

    @property
    def measures(self) -> list[str]:
        """The names of the measures."""
        return list(dict.fromkeys(each.measure for each in self.similarities))

    def between(self) -> list[tuple[str, str]]:
        """Every two of the encoders that were asked for."""
        return list(itertools.combinations(self.subjects, 2))

    def similarity(self, a: str, b: str, measure: str = CKA) -> ScoreArray:
        """Return how far each layer of ``a`` agrees with each layer of ``b``, ``[L_a, L_b]``.

        Raises:
            UsageError: There are no such encoders or no such measure.
        """
        for each in self.similarities:
            if each.measure == measure and {each.a, each.b} == {a, b}:
                values: ScoreArray = np.array(each.values)
                return values if each.a == a else values.T
        raise UsageError(
            f"There is no {measure} of '{a}' and '{b}': the encoders are {', '.join(self.encoders)}, "
            f"the measures {', '.join(self.measures)}."
        )

    def sentences(self) -> list[str]:
        """Say by CKA which layers of two encoders agree, and where the layers of one change most."""
        between = [sentence for a, b in self.between() for sentence in self._between(a, b)]
        changes = [each for each in self.changes if each.measure == CKA]
        return between + [self._within(each) for each in changes]

    def _between(self, a: str, b: str) -> Iterator[str]:
        best = next(each for each in self.best if (each.measure, each.a, each.b) == (CKA, a, b))
        e = best.value
        untrained = ""
        if best.untrained is not None and best.untrained < e.estimate:
            untrained = f"; neither agrees with any layer of the untrained network by more than {best.untrained:.3f}"
        elif best.untrained is not None:
            untrained = f"; but one of them agrees with a layer of the untrained network by {best.untrained:.3f}"
        yield (
            f"Layer {best.layers[0]} of {a} and layer {best.layers[1]} of {b} agree most of all: {CKA} "
            f"{e.estimate:.3f} ({e.low:.3f} to {e.high:.3f}), 0 by chance{untrained}."
        )
        for each in (each for each in self.nearest if each.measure == CKA and {each.a, each.b} == {a, b}):
            layers, nearest = (", ".join(map(str, numbers)) for numbers in (each.layers, each.nearest))
            yield f"To layers {layers} of {each.a} the nearest of {each.b} are {nearest}: {_deeper(each)}."

    def _within(self, change: LayerChange) -> str:
        facts, e, ends = self.encoders[change.encoder], change.value, change.ends
        name = f"The untrained network, {change.encoder}," if facts.untrained else change.encoder
        some = "" if len(facts.layers) == facts.depth else " of the compared ones"
        said = (
            f"{name} changes most from layer {change.layers[0]} to layer {change.layers[1]}{some}: {CKA} "
            f"{e.estimate:.3f} ({e.low:.3f} to {e.high:.3f})"
        )
        if len(facts.layers) == 2:
            return f"{said}."
        first, last = facts.layers[0], facts.layers[-1]
        return f"{said}; layers {first} and {last} agree by {ends.estimate:.3f} ({ends.low:.3f} to {ends.high:.3f})."

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that change with the images, the layers, the seed and k."""
        layers = {name: each.fingerprints for name, each in self.encoders.items()}
        inputs = [self.images.fingerprint, layers, self.seed, self.k]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:8]

    def path(self, workspace: Workspace) -> Path:
        """Return where the workspace keeps this comparison."""
        return workspace.results(f"compare-layers-{self.fingerprint}") / FILE

    def save(self, workspace: Workspace) -> Path:
        """Write ``layers.json`` into a folder of the workspace's results and return its path."""
        path = self.path(workspace)
        write_json(path, self.as_json())
        return path

    def plot(self, a: str = "", b: str = "") -> Any:
        """Draw how far the layers of two encoders agree, of the first two by default, as a matplotlib figure.

        Args:
            a: An encoder; its layers are the rows.
            b: Another, or the same; its layers are the columns.
        """
        from embprobe.plots.layers import draw_layers  # as a result draws itself

        first = a or self.subjects[0]
        return draw_layers(self, [(first, b or next((each for each in self.subjects if each != first), first))])

    def as_json(self) -> dict[str, Any]:
        """The whole comparison, for ``--json`` and for the file."""
        return {"version": VERSION, **_LAYERS.dump_python(self)}


_LAYERS = TypeAdapter(LayerComparison)


def load_layers(folder: Path) -> LayerComparison:
    """Read back the comparison that :meth:`LayerComparison.save` wrote into a folder.

    Raises :class:`EmbprobeError` if the file is damaged, of another version or cannot be read.
    """
    path = folder / FILE
    try:
        content = read_json(path)
        version = content.get("version")
        if version != VERSION:
            raise EmbprobeError(
                f"'{path}' is a comparison of layers of version {version}; this embprobe reads version {VERSION}. "
                "Remove it, and run 'embprobe compare --layers' again."
            )
        loaded = check_json(LayerComparison, content, path)
        if not all(_is_whole(each, loaded.encoders) for each in loaded.similarities):
            raise EmbprobeError(
                f"'{path}' is damaged: it has not every layer with every other. Remove it, and run "
                "'embprobe compare --layers' again."
            )
        return loaded
    except OSError as error:
        raise EmbprobeError(f"'{path}' cannot be read: {error.strerror}.") from None
    except DamagedFile as damage:
        raise EmbprobeError(f"'{path}' is damaged. Remove it, and run 'embprobe compare --layers' again.") from damage


def _is_whole(similarity: LayerSimilarity, encoders: Mapping[str, ComparedLayers]) -> bool:
    """Return whether the matrices have a number for each layer of ``a`` with each of ``b``."""
    if not {similarity.a, similarity.b} <= encoders.keys():
        return False
    rows, columns = (len(encoders[name].layers) for name in (similarity.a, similarity.b))
    return all(
        len(matrix) == rows and {len(row) for row in matrix} == {columns}
        for matrix in (similarity.values, similarity.low, similarity.high)
    )


def _deeper(nearest: NearestLayers) -> str:
    """Say whether the nearest layers lie deeper in their network, on average."""
    by, low, high = nearest.deeper, nearest.deeper_low, nearest.deeper_high
    if low <= 0 <= high:
        return f"on average not surely deeper or less deep ({by:+.2f} of the depth, {low:+.2f} to {high:+.2f})"
    word = "deeper" if by > 0 else "less deep"
    ends = sorted((abs(low), abs(high)))
    return f"on average {word}, by {abs(by):.2f} of the depth ({ends[0]:.2f} to {ends[1]:.2f})"
