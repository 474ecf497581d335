"""Compare encoders on the same images, or find that the same was compared before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from embprobe.comparing.result import (
    COLOR,
    MEASURED,
    SETTINGS,
    Comparison,
    ComparisonSettings,
    Disagreement,
    ImagesSummary,
    load_comparison,
    rows_by_key,
)
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.session import Session
from embprobe.encoders import load_encoder
from embprobe.encoders.spec import Encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.groups import CATEGORY, CONCEPT, FOLDER, IMAGE, MOTIF, Grouping, choose_grouping
from embprobe.images.rows import Images, Row
from embprobe.images.unlabelled import MAX_UNLABELLED, may_lack, without_unlabelled
from embprobe.system.suggestions import did_you_mean
from embprobe.system.text import visible
from embprobe.system.threads import one_thread

_METHOD = 2
"""Another number where the same images and encoders give other numbers than before."""


def make_settings(
    images: Images,
    *,
    k: int = ComparisonSettings.k,
    by: Sequence[str] | None = None,
    pairs: int = ComparisonSettings.pairs,
    thresholds: str = "",
    near_far: tuple[float, float] | None = None,
    far_near: tuple[float, float] | None = None,
    percentiles: tuple[float, float] = ComparisonSettings.percentiles,
    sampled: int = ComparisonSettings.sampled,
    most_per_image: int | None = None,
    max_unlabelled: float = MAX_UNLABELLED,
) -> ComparisonSettings:
    """Return the settings of a comparison, after checking that images have the labels that are named in ``by``.

    Without ``by``, labels that more than a share of ``max_unlabelled`` of the images lack are passed over.
    ``thresholds`` is one of ``SETTINGS``, whose limits ``near_far`` and ``far_near`` overrule.

    Raises:
        UsageError: ``thresholds`` has another name, or a limit is no cosine or percentile.
        MissingLabel: More images than that lack a label that is named.
    """
    if thresholds and thresholds not in SETTINGS:
        hint = did_you_mean(thresholds, list(SETTINGS))
        raise UsageError(f"There are no thresholds '{thresholds}'.{hint} There are: {', '.join(SETTINGS)}.")
    named_near_far, named_far_near = SETTINGS[thresholds] if thresholds else (None, None)
    near_far, far_near = near_far or named_near_far, far_near or named_far_near
    for limit in (*(near_far or ()), *(far_near or ())):
        if not -1 <= limit <= 1:
            raise UsageError(f"{limit:g} is no cosine: limits are from -1 to 1.")
    if not all(0 <= percentile <= 1 for percentile in percentiles):
        raise UsageError(f"Percentiles are from 0 to 1, not {percentiles[0]:g} and {percentiles[1]:g}.")
    named = [label for label in by or [] if label != COLOR]
    for label in named:
        if images.lacks(label):
            images.label(label)
    without_unlabelled(images, named, most=max_unlabelled)
    labels = tuple(by or ComparisonSettings.by)
    return ComparisonSettings(k, labels, pairs, near_far, far_near, percentiles, sampled, most_per_image)


def choose_compared(images: Images, by: Sequence[str], max_unlabelled: float) -> tuple[Images, tuple[str, ...]]:
    """Return the images that have the labels of a comparison, and notes on the others and on labels passed over.

    The labels are those of ``by``, and the one that images are grouped by. A label is passed over if no image has it,
    or if with it more than a share of ``max_unlabelled`` of the images would be left out.
    """
    wanted: list[str] = []
    notes: list[str] = []
    gone: set[int] = set()
    for label in dict.fromkeys([*by, CONCEPT, MOTIF]):
        lacking = images.lacking(label)
        if label == COLOR or len(lacking) in (0, len(images)):
            continue
        if may_lack(len(gone.union(lacking)), len(images), max_unlabelled):
            gone.update(lacking)
            wanted.append(label)
        elif label in by:
            number = f"{len(lacking):,} of {len(images):,} images"
            notes.append(f"the label '{visible(label)}' is passed over: {number} lack it (--max-unlabelled)")
    kept, left_out = without_unlabelled(images, wanted, most=max_unlabelled)
    return kept, (*notes, *left_out)


@one_thread()
def compare(
    images: Images,
    encoders: Sequence[Encoder],
    session: Session,
    settings: ComparisonSettings,
    *,
    notify: Callable[[str], None] = lambda now: None,
) -> Comparison:
    """Compare every two of the encoders, in their order, and find the pairs on which they disagree most.

    Images that lack one of the labels are left out (:func:`choose_compared`), and so are those with a vector of zeros
    by one of the encoders; ``session.note`` gets a sentence on both. Images are resampled in the groups of
    :func:`embprobe.images.groups.choose_grouping`, and each group is in at most one pair of each direction.

    Where the workspace holds the comparison of the same rows, labels, encoders, seed and settings, that is returned.

    Args:
        images: the rows to compare the encoders on.
        encoders: at least two.
        session: gives the vectors, the device and the seed.
        settings: k, the labels, how many pairs.
        notify: is called with each step in a few words as it begins.

    Raises:
        UsageError: fewer than two encoders.
        EmbprobeError: fewer than k + 2 images have a vector by all of them.
    """
    if len(encoders) < 2:
        raise UsageError("A comparison needs at least two encoders: say -e twice or more.")
    names = [encoder.spec.name for encoder in encoders]
    measuring = [
        load_encoder(name, device=session.device)
        for name in (MEASURED.values() if images.has_pictures else ())
        if name not in names
    ]
    compared_images, notes = choose_compared(images, settings.by, session.max_unlabelled)
    for note in notes:  # before anything slow
        session.note(note)
    with_measured = session.embed(images, [*encoders, *measuring], "extracting")
    if len(compared_images) < len(images):
        with_measured = with_measured.at(compared_images.keys)
    with_measured = session.directed(with_measured)
    embedded = EmbeddingSet(with_measured.rows, {name: with_measured.vectors[name] for name in names})
    if len(embedded.rows) < settings.k + 2:
        needed = f"Comparing the {settings.k} nearest needs at least {settings.k + 2} images"
        raise EmbprobeError(f"{needed}; there are {len(embedded.rows)}.")
    grouping = choose_groups(embedded.rows)
    if grouping.note:
        session.note(grouping.note)
    asked = Comparison(
        images=ImagesSummary.of(images),
        compared=len(embedded.rows),
        encoders={encoder.spec.name: encoder.spec.fingerprint for encoder in encoders},
        settings=settings,
        queries=0,
        resampled=grouping.label,
        seed=session.seed,
        agreements=(),
        explanations=(),
        disagreements=(),
        looked_at=0,
        contrasts=(),
        made_from=made_from(embedded.rows, settings.by, session),
    )
    before = _saved(asked, session)
    if before is not None:
        notify(f"{before.path(session.workspace)} has the same comparison, made before")
        return replace(before, rows=_rows_of(before.disagreements, embedded.rows))
    from embprobe.comparing.measured import measure  # what it imports takes a second

    measured = {name: with_measured.vectors[of] for name, of in MEASURED.items() if of in with_measured.vectors}
    found = measure(embedded, measured, settings, grouping, seed=session.seed, device=session.device, notify=notify)
    return replace(
        asked,
        queries=found.queries,
        agreements=found.agreements,
        explanations=found.explanations,
        disagreements=found.disagreements,
        looked_at=found.looked_at,
        contrasts=found.contrasts,
        rows=_rows_of(found.disagreements, embedded.rows),
    )


def choose_groups(rows: Images) -> Grouping:
    """Return the groups that images are resampled in; single images if none of them has a concept."""
    known = rows.has(CONCEPT) or rows.lacks(CONCEPT)
    return choose_grouping(rows) if known else Grouping(IMAGE)


def made_from(rows: Images, by: Sequence[str], session: Session) -> str:
    """Return a hash of what a comparison depends on and its fingerprint does not say: labels, and what was left out."""
    labels = dict.fromkeys([*by, CONCEPT, MOTIF, CATEGORY, FOLDER, IMAGE])
    digest = hashlib.sha256(json.dumps([_METHOD, rows.fingerprint, session.fast_decode, session.max_pixels]).encode())
    for label in labels:
        digest.update(json.dumps([label, rows.values(label)]).encode())
    return digest.hexdigest()[:16]


def _saved(asked: Comparison, session: Session) -> Comparison | None:
    """Return the comparison of the workspace that asked the same of the same rows; None if there is none."""
    try:
        saved = load_comparison(asked.path(session.workspace).parent)
    except EmbprobeError:
        return None  # none yet, or damaged: it can always be made again
    facts = ("images", "compared", "encoders", "settings", "resampled", "seed", "made_from")
    return saved if all(getattr(saved, fact) == getattr(asked, fact) for fact in facts) else None


def _rows_of(disagreements: Sequence[Disagreement], images: Images) -> dict[str, Row]:
    """Return the rows of all disagreement pairs by key."""
    shown = {key for half in disagreements for pair in half.pairs for key in pair.keys}
    return {key: row for key, row in rows_by_key(images).items() if key in shown}
