"""The base of every kind of measure: a table of a card that checks itself, names its keys and yields scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, FiniteFloat

from embprobe.images.rows import Images
from embprobe.images.unlabelled import MAX_UNLABELLED, without_unlabelled
from embprobe.interventions.treatments import Levels, Treatment
from embprobe.probing.key import Key
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.scores import Scores
from embprobe.probing.selection import Selection
from embprobe.system.models import Strict

if TYPE_CHECKING:
    from embprobe.encoders.spec import Encoder
    from embprobe.probing.context import ProbeContext

Treatments = dict[str, Annotated[list[str], Field(min_length=1)]]
"""By the value of a label, what is done to an image that gets it: ``hue 120``, ``word=thus 0.9``, ``none``."""
Labels = Annotated[list[str], Field(min_length=1)]
Strengths = Annotated[list[FiniteFloat], Field(min_length=1)]


@dataclass(frozen=True)
class Condition:
    """Images that a measure will embed: as they are, or changed in one way."""

    images: Images
    encoders: Sequence[Encoder] | None = None
    """None: those of the card."""


class Measure(Strict, ABC):
    """One ``[[measures]]`` table of a probe card.

    A kind of measure is a subclass with a literal field ``kind``. Other packages add theirs through the entry-point
    group ``embprobe.measures``.
    """

    takes_tokens: ClassVar[bool] = False
    """Whether it asks the tokens of encoders that give an image several vectors."""
    kind: str
    quick: bool = False
    """Whether it is asked even if there is little time: what the headline and the checks need."""
    on: list[str] = []
    """The card's materials that it is asked of; all of them if none is named."""
    images: Selection = Selection()
    """The rows it is asked of."""

    @abstractmethod
    def check(self) -> None:
        """Raise :class:`UsageError` for what the model cannot see, such as an unknown intervention."""

    @abstractmethod
    def declared_keys(self) -> Sequence[Key]:
        """Return the keys of everything it may measure, without data set; some images may not allow all of them."""

    @abstractmethod
    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield the scores of every encoder for every key.

        Raises:
            NotApplicable: These images lack what the measure needs; what was yielded before counts.
        """

    def conditions(self, context: ProbeContext) -> Iterator[Condition]:
        """Yield the images that :meth:`scores` will embed, so that each is read once for all conditions of all cards.

        Without it, or where it leaves images out, they are read when they are embedded. Nothing is embedded here.

        Raises:
            NotApplicable: These images lack what the measure needs; what was yielded before counts.
        """
        yield from ()

    def needed_labels(self, images: Images) -> Sequence[str]:
        """Return the labels that all images must have; where one is missing nothing is measured."""
        return []

    def read_labels(self, images: Images) -> Sequence[str]:
        """Return the labels that it reads of every image it takes, where images have them.

        Images that lack one of these, if they are few, are left out of the measure.
        """
        return [*self.needed_labels(images), *self.images.labels]

    def test_names(self, images: Images) -> Sequence[str]:
        """Return the names of the tests that these images allow; empty for a kind without tests."""
        return []

    def brief(self, needed: Sequence[KeyPattern]) -> Self:
        """Return it without what is not needed for these numbers: the headline and its checks."""
        return self


def labelled_for(
    measure: Measure, images: Images, *, max_unlabelled: float = MAX_UNLABELLED
) -> tuple[Images, tuple[str, ...]]:
    """Return the images that have the labels a measure reads, and notes on the others.

    Raises:
        MissingLabel: More than a share of ``max_unlabelled`` of the images lack one that others have.
    """
    return without_unlabelled(images, measure.read_labels(images), most=max_unlabelled)


def levels(treatments: Mapping[str, Sequence[str]]) -> Levels:
    """Parse treatments as a card writes them; raises :class:`UsageError` for one that does not exist."""
    return {value: [Treatment.parse(text) for text in texts] for value, texts in treatments.items()}
