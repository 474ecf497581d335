"""Depth profiles: the headline of a card by every layer of an encoder, and what follows from the curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from embprobe.errors import UsageError
from embprobe.probing.card import Card
from embprobe.probing.context import NotApplicable
from embprobe.probing.results import Conclusions, Result, Results, format_p
from embprobe.probing.run import Asked, run_probes
from embprobe.probing.scores import Scores
from embprobe.statistics import Resampled, best_elsewhere, half_rise, resample, sure_from

if TYPE_CHECKING:
    from embprobe.embeddings.session import Session
    from embprobe.encoders.spec import Encoder
    from embprobe.images.rows import Images

Row = TypeVar("Row", Result, Scores)
LAYERS = "layers"
"""The entry of a manifest that says which layers of which encoder were measured."""


@dataclass(frozen=True)
class Profiled:
    """An encoder and those of its layers that are profiled."""

    encoder: Encoder
    layers: Sequence[Encoder]
    depth: int
    """The number of layers that the network has."""

    @classmethod
    def of(cls, encoder: Encoder, asked: str = "all") -> Profiled:
        """Return an encoder with the layers that are asked for: ``all``, ``every 2`` or numbers, ``8,10,12``.

        Raises:
            UsageError: It has no layers, or not these.
        """
        layers = getattr(encoder, "layers", None)
        if layers is None:
            raise UsageError(f"'{encoder.spec.name}' has no layers to profile: leave it out, or leave out --layers.")
        return cls(encoder, layers(asked), len(layers()))

    @property
    def name(self) -> str:
        """The encoder's name."""
        return self.encoder.spec.name


def run_profiles(
    cards: Sequence[tuple[Card, Sequence[Encoder]]],
    images: Images,
    profiled: Sequence[Profiled],
    twins: Sequence[Profiled],
    session: Session,
) -> Iterator[Results | NotApplicable]:
    """Yield for each card its headline by every layer, or why it cannot be measured on these images.

    One pass of each network fills the stores of all its layers.

    Args:
        cards: Each with its references, which are measured once, beside the curves.
        images: The images they are put to.
        profiled: The subjects.
        twins: Untrained networks, whose curves are shown beside the subjects'.
        session: The workspace, the device and the seed.

    Yields:
        Results whose rows have a layer in their keys, and without one the encoder's own vector.
    """
    every = [*profiled, *twins]
    encoders = [each for one in profiled for each in (one.encoder, *one.layers)]
    encoders += [each for one in twins for each in one.layers]
    put: list[Asked | NotApplicable] = [
        _asked(card, references, images, encoders, session) for card, references in cards
    ]
    results = run_probes([each for each in put if isinstance(each, Asked)], images, session, differences=False)
    for each in put:
        measured = each if isinstance(each, NotApplicable) else next(results)
        yield measured if isinstance(measured, NotApplicable) else _profile(measured, every, twins)


def _asked(
    card: Card, references: Sequence[Encoder], images: Images, encoders: Sequence[Encoder], session: Session
) -> Asked | NotApplicable:
    """Return a card with only what its headline needs on these images."""
    of_images = card.of(images, max_unlabelled=session.max_unlabelled)
    if of_images.headline is None:
        return NotApplicable(f"The probe '{card.title}' has no headline on '{images.name}', so it has no profile.")
    return Asked(of_images.only([of_images.headline]), encoders, references)


def _profile(results: Results, every: Sequence[Profiled], twins: Sequence[Profiled]) -> Results | NotApplicable:
    """Return the results of the headline with layers in their keys, and what follows from the curves."""
    headline = results.conclusions.key
    if headline is None:
        return NotApplicable(f"The headline could not be measured: {'; '.join(results.left_out)}.")
    of_layer = {each.spec.name: (one.name, each.spec.layer) for one in every for each in one.layers}
    references = {one.name for one in twins}

    def placed(row: Row) -> Row:
        """Return a result or scores with the encoder of its layer, and the layer in its key."""
        encoder, layer = of_layer.get(row.encoder, (row.encoder, None))
        role = "reference" if encoder in references else row.role
        return replace(row, encoder=encoder, key=replace(row.key, layer=layer), role=role)

    rows = [placed(row) for row in results.rows if row.key == headline]
    scores = [placed(each) for each in results.scores if each.key == headline]
    curves = {one.name: _curve(one, scores) for one in every if one.name not in references}
    says = Card.model_validate(results.manifest["card"]).headline
    seed, unit = int(results.manifest["seed"]), rows[0].resampled
    sentences = [
        sentence
        for one in every
        if one.name in curves and says is not None
        for sentence in _sentences(one, curves[one.name], says=says.sentence(headline), seed=seed, unit=unit)
    ]
    layers = {one.name: {"depth": one.depth, "measured": [each.spec.layer for each in one.layers]} for one in every}
    numbers = {row.encoder: row.estimate for row in rows if row.key.layer is None and row.role == "subject"}
    return replace(
        results,
        manifest={**results.manifest, LAYERS: layers},
        rows=rows,
        scores=scores,
        conclusions=Conclusions(key=headline, numbers=numbers, sentences=sentences, checks=results.conclusions.checks),
    )


def _curve(one: Profiled, scores: Sequence[Scores]) -> list[Scores]:
    """Return the scores of an encoder's layers in order."""
    of_layers = [each for each in scores if each.encoder == one.name and each.key.layer is not None]
    return sorted(of_layers, key=lambda each: each.key.layer or 0)


def _sentences(one: Profiled, curve: Sequence[Scores], *, says: str, seed: int, unit: str) -> Iterator[str]:
    """Yield from which layer on an encoder does what the card asks, and which of its layers does it most."""
    layers = [each.key.layer or 0 for each in curve]
    matrix, groups = np.stack([each.values for each in curve], axis=1), curve[0].groups
    drawn, floor = resample(matrix, groups, seed=seed, unit=unit), curve[0].floor
    if floor is not None:
        yield _onset(one, layers, drawn, floor=floor, says=says, unit=unit)
    best = best_elsewhere(matrix, groups, seed=seed, unit=unit) if len(layers) > 1 else None
    if best is None:
        return
    at, beyond = best.estimate, best.beyond_last
    where = f"is layer {layers[best.position]} of {one.depth}"
    number = f"{at.estimate:.3f} ({at.low:.3f} to {at.high:.3f}) on the other half"
    more = ""
    if best.position < len(layers) - 1:
        p = "" if beyond.p is None else f", {format_p(beyond.p)}"
        more = f", {beyond.estimate:+.3f} ({beyond.low:+.3f} to {beyond.high:+.3f}{p}) beyond layer {layers[-1]} there"
    yield f"Highest in {one.name}, as chosen on half of the {unit}s, {where}: {number}{more}."


def _onset(one: Profiled, layers: Sequence[int], drawn: Resampled, *, floor: float, says: str, unit: str) -> str:
    """Say from which layer on a curve is surely above its floor, and where it has half of its height."""
    first, rise = sure_from(drawn, floor=floor), half_rise(drawn, floor=floor)
    if first is None or rise is None:
        sure = [str(layer) for i, layer in enumerate(layers) if drawn.mean(i).low > floor]
        if not sure:
            return f"No layer of {one.name} surely {says}."
        return f"Not every layer of {one.name} up to the last surely {says}: only {', '.join(sure)} of {one.depth}."
    where = "at every layer" if first == 0 else f"from layer {layers[first]} of {one.depth} on"
    interval = f"{layers[rise.low]} to {layers[rise.high]}, {len(drawn.counts):,} {unit}s"
    return f"{one.name} {says} {where}; half of its height is reached at layer {layers[rise.position]} ({interval})."
