"""Score trained encoders by numbers of probe cards, image by image, so that any two of them can be paired."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images
from embprobe.probing.card import bundled_card
from embprobe.probing.context import NotApplicable
from embprobe.probing.kinds.decoding import UNSEEN
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.results import Results
from embprobe.probing.run import Asked, run_probes
from embprobe.statistics import Estimate, resample
from embprobe.system.files import replacing

if TYPE_CHECKING:
    from embprobe.embeddings.session import Session
    from embprobe.encoders.spec import Encoder


@dataclass(frozen=True)
class Question:
    """One number of a bundled probe card, under a name of its own."""

    name: str
    card: str
    number: KeyPattern


@dataclass(frozen=True, eq=False)
class Table:
    """The scores of some encoders at one question, on the same images.

    Attributes:
        question: The question.
        scores: By encoder ``[n]``, baselines such as guessing among them; encoders that the question cannot be put to,
            such as those without text, are absent.
        groups: The value that each image is resampled with, ``[n]``.
        resampled: The name of those values, such as ``concept``.
        unit: The unit of the scores.
        floor: The estimate of a blind encoder, such as guessing; None if there is none.
    """

    question: Question
    scores: Mapping[str, NDArray[np.float64]]
    groups: Sequence[str]
    resampled: str
    unit: str
    floor: float | None


def score_encoders(
    questions: Sequence[Question],
    encoders: Sequence[Encoder],
    images: Images,
    session: Session,
    *,
    references: Sequence[Encoder] = (),
) -> list[Table]:
    """Put questions to encoders; each card is run once for all its questions.

    Args:
        questions: The questions, with names that differ.
        encoders: The encoders, with names that differ.
        images: The images that the cards are put to.
        session: The workspace, the device and the seed.
        references: Encoders that the cards' checks name.

    Returns:
        A table a question, in their order.

    Raises:
        EmbprobeError: A question cannot be put to these images, or no encoder answers it.
    """
    cards = list(dict.fromkeys(question.card for question in questions))
    asked = [
        Asked(bundled_card(card).only([q.number for q in questions if q.card == card]), encoders, references)
        for card in cards
    ]
    found: dict[str, Results] = {}
    for card, results in zip(cards, run_probes(asked, images, session, differences=False), strict=True):
        if isinstance(results, NotApplicable):
            raise EmbprobeError(f"The card '{card}' cannot be put to '{images.name}': {results}")
        found[card] = results
    return [_table(question, found[question.card]) for question in questions]


def paired_difference(table: Table, values: NDArray[np.float64], *, seed: int) -> Estimate:
    """Estimate the mean of differences of scores on the same images, and test that it is zero.

    Args:
        table: The table of the scores, for its groups.
        values: A difference an image, ``[n]``.
        seed: The same seed gives the same numbers.
    """
    return resample(values[:, None], table.groups, seed=seed, unit=table.resampled).against(0, 0.0)


def write_record(path: Path, head: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a JSON record as ``docs/records`` has them: the fields of ``head``, then ``rows``, one a line."""
    start = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
    lines = ",\n".join("  " + json.dumps(each, ensure_ascii=False) for each in rows)
    with replacing(path) as temporary:
        temporary.write_text(f'{start},\n "rows": [\n{lines}\n ]\n}}\n', encoding="utf-8")


def _table(question: Question, results: Results) -> Table:
    key = question.number.find((each.key for each in results.scores), folds=UNSEEN)
    found = [each for each in results.scores if each.key == key]
    if not found:
        raise EmbprobeError(f"No encoder answers '{question.name}' ({question.number.describe()}).")
    first = found[0]
    if any(list(each.keys) != list(first.keys) for each in found):
        raise EmbprobeError(f"The encoders answer '{question.name}' on different images, so they cannot be paired.")
    values = {each.encoder: each.values for each in found}
    return Table(question, values, first.groups, results.rows[0].resampled, first.unit, first.floor)
