"""Apply an intervention to a set of images: every row's change is planned at once and made when the row is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image

from embprobe.errors import UsageError
from embprobe.images.columns import Label
from embprobe.images.decoding import UnreadableImage
from embprobe.images.row import Change
from embprobe.images.rows import Images, Row
from embprobe.interventions.base import Edit, Intervention, Rng, SameEdit, SamePlan
from embprobe.interventions.registry import find_intervention


def intervene(images: Images, name: str, strength: float, *, seed: int, donors: Images | None = None) -> Images:
    """Change one attribute of every image when it is read; keys and labels stay.

    Deterministic: a row's change depends on its key, the seed and the donors alone, not on the other rows. A row that
    cannot be changed becomes unreadable, with the reason. The word drawn into an image becomes its label ``word``.

    Args:
        images: The rows to change.
        name: An intervention (``hue``), with its argument where it takes one (``word=thus``), or one of its controls
            (``hue/lightness``).
        strength: How far to change the attribute, in the intervention's unit; 0 changes nothing.
        seed: Decides all that is random in the change.
        donors: The rows that words, palettes and other drawings are taken from; by default ``images``.

    Raises:
        UsageError: The name is not known, or the strength is outside the intervention's range.

    Example:
        >>> from embprobe.images import load_images
        >>> emoji = load_images("bundled/emoji").where(concept="1f431")
        >>> intervene(emoji, "hue", 120, seed=0).name
        'bundled/emoji+hue=120@0'
    """
    intervention = find_intervention(name)
    plan = plan_of(intervention, strength, donors or images, seed=seed)
    front = f"{name}={float(strength)!r}@{seed}" + (f"|{intervention.origin}" if intervention.origin else "")

    def change(row: Row) -> Change:
        edit = plan(row)
        source = (row.content, row.change and row.key)  # how a picture was changed before may depend on its key
        return lambda image: edit.make(
            image, _rng(row, seed), source=source, name=name, strength=float(strength), drawn=(seed, row.key)
        )

    suffix = f"{name}={strength:g}@{seed}"
    if isinstance(plan, SameEdit):
        changed = images.changed_by(suffix, _mark(front, plan.edit), change, ours=not intervention.origin)
        words = Label.of([plan.edit.word or None] * len(images)) if plan.edit.word else None
    else:
        marks, drawn = list[str](), list[str | None]()
        for edit in map(plan, images.rows):  # edits are planned again when they are made, and none is kept
            marks.append(_mark(front, edit))
            drawn.append(edit.word or None)
        changed = images.changed_by(suffix, marks, change, ours=not intervention.origin)
        words = Label.of(drawn) if any(drawn) else None
    if words is None:
        return changed
    labels = changed.columns.labels
    return changed.relabelled({**labels, "word": words.or_else(labels.get("word"))})


def _mark(front: str, edit: Edit) -> str:
    return f"{front}|{edit.mark}" if edit.mark else front


def plan_of(intervention: Intervention, strength: float, donors: Images, *, seed: int) -> Callable[[Row], Edit]:
    """Return a function that plans a row's edit; an edit that cannot be made raises the reason when it is applied.

    Raises:
        UsageError: The strength is outside the intervention's range.
    """
    check_strength(intervention, strength)
    plan = intervention.planner(donors)
    if isinstance(plan, SamePlan):
        return SameEdit(replace(plan.edit(strength), same=True))

    def planned(row: Row) -> Edit:
        try:
            return plan(row, strength, _rng(row, seed, "plan"))
        except UnreadableImage as error:
            reason = str(error)

        def refuse(image: Image.Image, rng: Rng) -> Image.Image:
            raise UnreadableImage(reason)

        return Edit(refuse, reason)

    return planned


def check_strength(intervention: Intervention, strength: float) -> None:
    """Raise :class:`UsageError` for a strength outside the intervention's range."""
    low, high = intervention.range
    if not low <= strength <= high or (intervention.whole and strength not in (0, 1)):
        allowed = "is 0 or 1" if intervention.whole else f"goes from {low:g} to {high:g}"
        raise UsageError(f"The strength of '{intervention.name}' {allowed} ({intervention.unit}), not {strength:g}.")


def _rng(row: Row, seed: int, purpose: str = "") -> Rng:
    """Return a row's random generator.

    Planning has one of its own: the word chosen for a row must not go together with where and how it is drawn.
    """
    digest = hashlib.sha256(f"{seed}:{row.key}{purpose and chr(0) + purpose}".encode("utf-8", "surrogatepass")).digest()
    # one number of 32 bits a byte is how numpy reads a list of the bytes, which takes it three times as long
    return np.random.default_rng(np.frombuffer(digest, np.uint8).astype(np.uint32))
