"""The parts of an intervention: a name, a strength with a unit, and a planner that makes an edit for every row."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from embprobe.images.rows import Images, Row
from embprobe.interventions.sharing import changing, is_remembered, recall, remember

Rng = np.random.Generator
Change = Callable[[Image.Image, float, Rng], Image.Image]
"""``change(image, strength, rng)`` returns an image of the same size and mode; strength 0 changes nothing."""


@dataclass(frozen=True)
class Edit:
    """The change planned for one row's image."""

    apply: Callable[[Image.Image, Rng], Image.Image]
    """Changes the image; raises :class:`~embprobe.images.UnreadableImage` with the reason if it cannot."""
    mark: str = ""
    """Identifies all that the result depends on beside the row, the strength and the seed: a word, a donor row."""
    word: str = ""
    """The word drawn into the image, or the word that a control resembles; it becomes the row's label ``word``."""
    same: bool = False
    """Whether all rows have this edit (:class:`SamePlan`)."""
    matches: Edit | None = None
    """The intervention's own edit, where this is that of a control which is matched to it."""
    match: Callable[[Image.Image, Image.Image, Rng], Image.Image] | None = None
    """``match(original, changed, rng)``: makes that control of what the intervention makes."""

    def make(
        self, image: Image.Image, rng: Rng, *, source: Hashable, name: str, strength: float, drawn: Hashable
    ) -> Image.Image:
        """Change the image; in a pass over one picture, what the intervention has made of it before is taken.

        Args:
            image: The picture to change.
            rng: Decides all that is random in the change.
            source: Identifies the picture: two with the same one, in one pass, have the same pixels.
            name: That of the intervention, or of its control (``hue/lightness``).
            strength: Its strength.
            drawn: Identifies the random generator.

        Raises:
            UnreadableImage: The image cannot be changed.
        """
        with changing(image, source):
            if self.matches is None or self.match is None:
                return self._made(image, rng, name, strength, drawn)
            own, _, _ = name.partition("/")
            changed = self.matches._made(image, copy.deepcopy(rng), own, strength, drawn)
            return self.match(image, changed, rng)

    def _made(self, image: Image.Image, rng: Rng, name: str, strength: float, drawn: Hashable) -> Image.Image:
        """Change the image, or return a copy of the picture that the same change has made of it before.

        An edit that all rows have is shared by those whose random generators differ, if it has drawn nothing.
        """
        if not is_remembered(image):
            return self.apply(image, rng)
        still, own = (name, strength, self.mark), (name, strength, self.mark, drawn)
        for key in (still, own) if self.same else (own,):
            before = recall(image, key)
            if isinstance(before, Image.Image):
                return before.copy()  # who gets it may draw into it
        state = rng.bit_generator.state
        made = self.apply(image, rng)
        remember(image, still if self.same and rng.bit_generator.state == state else own, made.copy())
        return made


Plan = Callable[[Row, float, Rng], Edit]
"""``plan(row, strength, rng)`` returns the row's edit; raises ``UnreadableImage`` if the row cannot be changed.

It is called for every row beforehand, and again, in several threads, when a row is read; it must return the same.
"""
Planner = Callable[[Images], Plan]
"""``planner(donors)`` returns a plan that takes words, palettes and drawings from these rows."""


@dataclass(frozen=True)
class Intervention:
    """A change of one attribute of an image, by a strength with a unit.

    ``controls`` change something else by the same amount: an embedding has noticed the attribute itself as far as it
    moves more under the intervention than under its control. A control is named ``hue/lightness``.
    """

    name: str
    attribute: str
    """The attribute that it changes: color, text, style, category or nuisance, or one of a package's own."""
    unit: str
    range: tuple[float, float]
    """The lowest and highest strength that it takes."""
    preview: tuple[float, ...]
    """Strengths to show on a preview sheet, growing."""
    planner: Planner
    controls: Mapping[str, Planner] = field(default_factory=dict)
    whole: bool = False
    """True if the strength is 1 (done) or 0 (not done), and nothing between."""
    given: Callable[[str], Intervention] | None = None
    """Returns the intervention for an argument, as in ``word=thus``; raises :class:`UsageError` for a wrong one.

    None if it takes no argument.
    """
    arguments: tuple[str, ...] = ()
    """Its arguments, where they are few: a preview sheet shows each of them."""
    origin: str = ""
    """The package and version of an intervention that is not ours: its images are made anew for another version."""


@dataclass(frozen=True)
class SamePlan:
    """A plan that makes one edit for all rows, so that it is made once and draws nothing at random."""

    edit: Callable[[float], Edit]
    """Returns the edit for a strength."""

    def __call__(self, row: Row, strength: float, rng: Rng) -> Edit:
        """Return the edit, whatever the row."""
        return self.edit(strength)


@dataclass(frozen=True)
class SameEdit:
    """The edit that a :class:`SamePlan` makes for all rows at one strength."""

    edit: Edit

    def __call__(self, row: Row) -> Edit:
        """Return the edit, whatever the row."""
        return self.edit


def pixels(change: Change) -> Planner:
    """Make a planner for a change that needs nothing but the image."""
    plan = SamePlan(lambda strength: Edit(lambda image, rng: change(image, strength, rng)))
    return lambda donors: plan


def changes_nothing(strength: float, most: float) -> bool:
    """Return whether a strength is 0; raise ``ValueError`` if it is not between 0 and ``most``."""
    if not 0 <= strength <= most:
        raise ValueError(f"strength must be between 0 and {most:g}, not {strength:g}")
    return strength == 0


def matched(
    planner: Planner, match: Callable[[Image.Image, Image.Image, Rng], Image.Image], *, mark: str = ""
) -> Planner:
    """Make a planner for a control: ``match(original, changed, rng)`` changes something else by the same amount.

    ``planner`` is that of the intervention, which makes ``changed``. ``mark`` is added to the edit's: another one where
    ``match`` makes other pictures than an earlier version did, so that their stored vectors do not count.
    """

    def bind(donors: Images) -> Plan:
        plan = planner(donors)

        def control(edit: Edit) -> Edit:
            def apply(image: Image.Image, rng: Rng) -> Image.Image:
                return match(image, edit.apply(image, copy.deepcopy(rng)), rng)

            return Edit(apply, edit.mark + mark, matches=edit, match=match)

        if isinstance(plan, SamePlan):
            return SamePlan(lambda strength: control(replace(plan.edit(strength), same=True)))
        return lambda row, strength, rng: control(plan(row, strength, rng))

    return bind
