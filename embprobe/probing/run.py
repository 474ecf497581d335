"""Run one probe card over some encoders: from rows to results."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from embprobe.embeddings.job import Wanted
from embprobe.embeddings.session import ignore_note, refuse_tokens
from embprobe.encoders.given import GivenVectors
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images, MissingLabel
from embprobe.interventions.treatments import IMAGE
from embprobe.probing.card import Card
from embprobe.probing.conclusions import Measured, conclude, headline_key
from embprobe.probing.context import NotApplicable, ProbeContext
from embprobe.probing.key import Key
from embprobe.probing.measure import Measure, labelled_for
from embprobe.probing.results import Result, Results
from embprobe.probing.scores import Scores
from embprobe.statistics import Estimate, Resampled, holm, resample
from embprobe.system.threads import one_thread

if TYPE_CHECKING:
    from embprobe.embeddings.session import Session
    from embprobe.encoders.spec import Encoder


@one_thread()
def run_probe(
    card: Card,
    images: Images,
    encoders: Sequence[Encoder],
    references: Sequence[Encoder],
    session: Session,
    *,
    differences: bool = True,
    quick: bool = False,
    prepared: frozenset[str] | None = None,
) -> Results:
    """Measure a card for every encoder, with the paired differences between encoders, and conclude.

    The card is put to these images as to their material (:meth:`embprobe.probing.card.Card.of`). Measures that need a
    label no image has are left out, and the results say so. So are images that lack a label which nearly all have
    (:meth:`embprobe.probing.card.Card.labelled`), and images with a vector of zeros. p-values are corrected (Holm) in
    two families: the differences of the headline, and all the rest of the card.

    Args:
        card: The question, its measures and its headline.
        images: The images it is put to.
        encoders: The subjects, which are compared with each other.
        references: Encoders measured beside them and not compared.
        session: The workspace, the device and the seed.
        differences: Whether the subjects are compared with each other.
        quick: Measure only what the headline and the checks need.
        prepared: What :func:`prepare_probes` returned for this card among others; None: it is called for this one.

    Raises:
        NotApplicable: Nothing of the card can be measured on these images.
        MissingLabel: A share of more than ``session.max_unlabelled`` of the images lack a label that others have.
        EmbprobeError: There are not at least two values to resample.
    """
    if prepared is None:
        asked = Asked(card, encoders, references, quick=quick)
        prepared = prepare_probes([asked], images, session)
    context, unlabelled = _context(card, images, encoders, references, session, quick=quick)
    context = replace(context, prepared=prepared)
    card = context.card
    for note in unlabelled:
        context.announce(note)
    for name in (each.spec.name for each in references if each not in context.references):
        context.note(f"the reference {name}, which reads pictures: '{images.name}' has vectors only")
    if context.grouping.note:
        context.note(context.grouping.note)
    _check_resampled(context)
    scores = _measure(context)
    subjects = [encoder.spec.name for encoder in encoders]
    resampled = {key: _resample(of_key, context) for key, of_key in scores.items()}
    rows = [
        _result(context, each, resampled[key].mean(i), p=each.p)
        for key, of_key in scores.items()
        for i, each in enumerate(of_key)
    ]
    if differences:
        rows += [row for key in scores for row in _differences(context, scores[key], resampled[key], subjects)]
    rows = _corrected(rows, headline_key(card, scores))
    manifest = {
        "card": card.model_dump(by_alias=True),
        "images": {"name": images.name, "fingerprint": images.fingerprint, "count": len(images)},
        "encoders": [{**asdict(e.spec), "fingerprint": e.spec.fingerprint} for e in context.encoders],
        "seed": session.seed,
        "fast_decode": session.fast_decode,
        **({"max_pixels": session.max_pixels} if session.max_pixels is not None else {}),
        "versions": {name: version(name) for name in ("embprobe", "torch", "numpy", "scikit-learn")},
    }
    return Results(
        manifest=manifest,
        rows=rows,
        scores=[each for of_key in scores.values() for each in of_key],
        conclusions=conclude(card, Measured(scores, resampled, rows), subjects if differences else []),
        left_out=context.left_out,
    )


@dataclass(frozen=True)
class Asked:
    """A card with the encoders that it is measured for, as :func:`run_probe` takes them."""

    card: Card
    encoders: Sequence[Encoder]
    references: Sequence[Encoder]
    quick: bool = False


def prepare_probes(asked: Sequence[Asked], images: Images, session: Session) -> frozenset[str]:
    """Encode all that some cards will measure in one pass over the images, each read and decoded once.

    A card or a measure that these images do not allow is passed over: :func:`run_probe` says why.

    Returns:
        The fingerprints of the sets of images that have their vectors now.
    """
    wanted = [each for card in asked for each in _wanted(card, images, session)]
    different = len({each.images.fingerprint for each in wanted})
    titles = asked[0].card.title if len(asked) == 1 else f"{len(asked)} probes"
    session.prepare(wanted, f"{titles}, {different} condition{'' if different == 1 else 's'}")
    return frozenset(each.images.fingerprint for each in wanted)


def run_probes(
    asked: Sequence[Asked], images: Images, session: Session, *, differences: bool = True
) -> Iterator[Results | NotApplicable]:
    """Yield for each card what :func:`run_probe` returns, or why nothing of it can be measured on these images.

    Each image is read once for all cards: :func:`prepare_probes`.
    """
    prepared = prepare_probes(asked, images, session)
    for each in asked:
        try:
            results = run_probe(
                each.card,
                images,
                each.encoders,
                each.references,
                session,
                differences=differences,
                quick=each.quick,
                prepared=prepared,
            )
        except NotApplicable as reason:
            yield reason
        else:
            yield results


def _wanted(asked: Asked, images: Images, session: Session) -> Iterator[Wanted]:
    """Yield the sets of images that a card embeds, with their encoders."""
    quiet = replace(session, note=ignore_note)  # the run itself notes all of it
    try:
        context, _ = _context(asked.card, images, asked.encoders, asked.references, quiet, quick=asked.quick)
        _check_resampled(context)
    except EmbprobeError:
        return
    for measure in context.card.measures:
        with suppress(EmbprobeError):
            own, _ = labelled_for(measure, context.images, max_unlabelled=session.max_unlabelled)
            for condition in measure.conditions(context.on(own)):
                encoders = context.encoders if condition.encoders is None else condition.encoders
                if not condition.images.changed or not _all_given(asked.encoders):
                    yield Wanted(condition.images, encoders)


def _all_given(encoders: Sequence[Encoder]) -> bool:
    """Return whether a user brings the vectors of all encoders: there are none of changed images."""
    return all(isinstance(encoder, GivenVectors) for encoder in encoders)


def _context(
    card: Card,
    images: Images,
    encoders: Sequence[Encoder],
    references: Sequence[Encoder],
    session: Session,
    *,
    quick: bool,
) -> tuple[ProbeContext, tuple[str, ...]]:
    """Return the context of a card that is put to some images, and notes on those that lack a label."""
    labelled, unlabelled = card.labelled(images, max_unlabelled=session.max_unlabelled)
    card = card.of(labelled)
    card = card.quickly() if quick else card
    for measure in card.measures:  # before anything slow
        measure.check()
    if not any(measure.takes_tokens for measure in card.measures):
        refuse_tokens(encoders)
    stored = images if unlabelled else None
    return ProbeContext(card, labelled, encoders, _able(references, images), session, stored=stored), unlabelled


def _corrected(rows: Sequence[Result], headline: Key | None) -> list[Result]:
    """Correct p by Holm's procedure in two families: the differences of the headline, and everything else.

    The headline is the one question that was chosen beforehand; with all of a card in one family, nothing in it could
    be certain for many encoders, however large the effect.
    """
    corrected = list(rows)
    for first in (True, False):
        family = [
            i
            for i, row in enumerate(rows)
            if row.p is not None and (row.key == headline and row.is_difference) == first
        ]
        for i, p in zip(family, holm([rows[i].p or 0.0 for i in family]), strict=True):
            corrected[i] = replace(rows[i], p_adjusted=p)
    return corrected


def _able(references: Sequence[Encoder], images: Images) -> list[Encoder]:
    """Return the references that can embed these rows."""
    return [each for each in references if images.has_pictures or isinstance(each, GivenVectors)]


def _check_resampled(context: ProbeContext) -> None:
    images, unit = context.images, context.resampled
    if len(images) < 2:
        raise EmbprobeError(
            f"A probe needs at least two images; there are {len(images)} in '{images.name}'. Give more."
        )
    values = set(context.groups(images)) if unit != IMAGE else {row.key for row in images.rows}
    if len(values) < 2:
        raise EmbprobeError(
            f"All images of '{images.name}' have the same {unit}, '{next(iter(values))}': an interval needs at "
            f"least two {unit}s. Give more images."
        )


def _measure(context: ProbeContext) -> dict[Key, list[Scores]]:
    """Return every encoder's scores by key; what could not be measured is noted."""
    scores: dict[Key, list[Scores]] = {}
    for measure, own in [(measure, _on_labelled(measure, context)) for measure in context.card.measures]:
        if own is None:
            continue
        new: dict[Key, list[Scores]] = {}
        try:
            for each in measure.scores(own):
                key = replace(each.key, dataset=context.images.name)
                before = new.setdefault(key, [])
                if key in scores or each.encoder in [other.encoder for other in before]:
                    raise UsageError(
                        f"The card '{context.card.title}' asks for '{key}' twice: leave one out, or, of two "
                        "decodings, say 'called' in one of them."
                    )
                before.append(replace(each, key=key))
        except NotApplicable as reason:
            context.note(f"{measure.kind}: {reason}")  # once, where several measures fail alike
        scores |= new
    if not scores:
        raise NotApplicable(
            f"Nothing of the probe '{context.card.title}' can be asked of '{context.images.name}': "
            f"{'; '.join(context.left_out) or 'what is asked is for images of another kind'}."
        )
    return scores


def _on_labelled(measure: Measure, context: ProbeContext) -> ProbeContext | None:
    """Return the context with the images that have the labels a measure reads; None, and a note, if too few have."""
    try:
        kept, notes = labelled_for(measure, context.images, max_unlabelled=context.session.max_unlabelled)
    except MissingLabel as reason:
        context.note(f"{measure.kind}: {str(reason).removesuffix('.')}")
        return None
    for note in notes:
        context.announce(note, measure.kind)
    return context.on(kept)


def _resample(scores: Sequence[Scores], context: ProbeContext) -> Resampled:
    first = scores[0]
    if any(list(each.keys) != list(first.keys) for each in scores):
        raise EmbprobeError(f"The encoders were not measured on the same images for '{first.key.phrase}'.")
    matrix = np.stack([each.values for each in scores], axis=1)
    return resample(matrix, first.groups, seed=context.session.seed, unit=context.resampled)


def _differences(
    context: ProbeContext, scores: Sequence[Scores], resampled: Resampled, subjects: Sequence[str]
) -> Iterator[Result]:
    column: Mapping[str, int] = {each.encoder: i for i, each in enumerate(scores)}
    for a, b in itertools.combinations([name for name in subjects if name in column], 2):
        estimate = resampled.difference(column[a], column[b])
        yield _result(context, scores[column[a]], estimate, against=b, p=estimate.p)


def _result(
    context: ProbeContext, scores: Scores, estimate: Estimate, *, against: str | None = None, p: float | None = None
) -> Result:
    return Result(
        attribute=context.card.attribute,
        key=scores.key,
        encoder=scores.encoder,
        role=scores.role,
        against=against,
        resampled=context.resampled,
        groups=estimate.groups,
        images=estimate.images,
        estimate=estimate.estimate,
        low=estimate.low,
        high=estimate.high,
        p=p,
        unit=scores.unit,
        floor=scores.floor,
    )
