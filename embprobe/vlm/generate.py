"""Generate multiple-choice questions with known answers over scenes of cut-outs.

Language alone stays at chance: the options of a question are drawn such that every one is as probably the right one,
and their order at random. What is true of a scene is drawn before all else, each fact apart from the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from embprobe.errors import UsageError
from embprobe.images.columns import labels_of, texts_of
from embprobe.images.rows import Images
from embprobe.interventions.text import is_drawable
from embprobe.system.text import visible
from embprobe.vlm.drafting import Asked, Draft
from embprobe.vlm.question import Question, QuestionSet
from embprobe.vlm.scene_kinds import kinds_of_scenes
from embprobe.vlm.scenes import Composing, Scene
from embprobe.vlm.stock import take_stock

SIDE = 128
"""Side of a scene in pixels, that of the bundled drawings."""
WORDS = (
    *("arrow", "ball", "bird", "body", "cat", "clock", "cloud", "drink", "eye", "eyes", "face", "food", "game"),
    *("hair", "hand", "heart", "love", "man", "mark", "moon", "mouth", "not", "open", "right", "sign", "smile"),
    *("sport", "time", "tool", "water", "with", "woman"),
)
"""The words that the bundled encoders saw written: those of three to five letters most frequent in their captions."""
_VERSION = 1
"""Counts up when the same facts are drawn otherwise, so that stored vectors do not count."""


@dataclass(frozen=True)
class Generated:
    """Questions over scenes, and a caption of each scene."""

    questions: QuestionSet
    captions: Sequence[str]
    """A true sentence about each image, in their order."""


def generate(
    images: Images,
    *,
    scenes: int,
    seed: int,
    name: str = "",
    names: Collection[str] | None = None,
    words: Sequence[str] = WORDS,
    side: int = SIDE,
) -> Generated:
    """Generate scenes of cut-outs, with several questions about each, all with four options.

    A scene depends on the seed, its number and the images alone. It is planned now and drawn when its row is read.

    Args:
        images: Cut-outs with labels: ``concept`` and ``name``, ``category``, ``style``. A group of questions that needs
            a label which images lack is left out, with a note.
        scenes: The number of scenes.
        seed: Decides everything that is random.
        name: That of the set of questions; by default made of the images' and the seed.
        names: The names of things that may be asked or offered, ``()`` for none; by default all of one word.
        words: The words that are written, at least four, in lower case; they are drawn in capitals.
        side: That of a scene in pixels.

    Raises:
        UsageError: There are fewer than four words, or one that cannot be drawn; or a number is out of range.
        EmbprobeError: An image has no transparent background.

    Example:
        >>> from embprobe.images import load_images
        >>> made = generate(load_images("bundled/emoji:train"), scenes=20, seed=0)
        >>> made.questions.images.rows[0].read().size, {len(each.options) for each in made.questions.questions}
        ((128, 128), {4})
    """
    if seed < 0 or scenes < 1:
        raise UsageError(f"The seed must be 0 or more and the number of scenes 1 or more, not {seed} and {scenes}.")
    if len(set(words)) < 4:
        raise UsageError(f"Questions about words need at least 4 different words, not {len(set(words))}.")
    if strange := next((word for word in words if not is_drawable(word.upper())), None):
        raise UsageError(f"The word '{visible(strange)}' has letters that the fonts lack; choose another.")
    stock = take_stock(images, names)
    kinds = kinds_of_scenes(stock)
    drafts: dict[str, Draft] = {}
    for number in range(scenes):
        rng = np.random.default_rng([seed, number])
        draft = kinds[number % len(kinds)](stock, words, rng)
        drafts[f"{draft.kind}-{number:06d}"] = draft
    questions = [
        _question(f"{key}/{asked.kind}", key, draft, asked) for key, draft in drafts.items() for asked in draft.asked
    ]
    called = name or f"{images.name}+questions@{seed}"
    pictures = _pictures(images, drafts, called, side)
    return Generated(
        QuestionSet(called, questions, pictures, stock.notes), [draft.caption for draft in drafts.values()]
    )


def _question(key: str, image: str, draft: Draft, asked: Asked) -> Question:
    return Question(
        key=key,
        image=image,
        text=asked.text,
        options=asked.options,
        answer=asked.answer,
        group=asked.group,
        kind=asked.kind,
        concept=draft.concept,
    )


def _pictures(images: Images, drafts: dict[str, Draft], name: str, side: int) -> Images:
    """Make a row of each scene, which is drawn when it is read."""
    own = [draft.scene.things[0].row if draft.scene.things else draft.spare for draft in drafts.values()]
    columns = replace(
        images.columns.take(np.array(own)),
        keys=texts_of(drafts),
        labels=labels_of({"scene": draft.kind, **draft.labels} for draft in drafts.values()),
    )
    planned = {key: (row, draft.scene) for row, (key, draft) in zip(own, drafts.items(), strict=True)}
    identities = list(map(bytes, images.columns.identities()))
    marks = [_mark(draft.scene, identities, side) for draft in drafts.values()]
    rows = Images(name, columns, place=images.place)
    ours = images.columns.changed_by_us
    return replace(rows.changed_by("scenes", marks, Composing(images, planned, side), ours=ours), name=name)


def _mark(scene: Scene, identities: Sequence[bytes], side: int) -> str:
    digest = hashlib.sha256(repr((_VERSION, side, scene)).encode())
    for thing in scene.things:
        digest.update(identities[thing.row])
    return f"scene={digest.hexdigest()[:16]}"
