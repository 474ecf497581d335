"""Numbers of questions: how often a small vision-language model that reads an encoder's tokens answers rightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embprobe.claims.numbers import RunNumbers
from embprobe.encoders.spec import Encoder
from embprobe.images.rows import Images
from embprobe.probing.key import Key
from embprobe.probing.results import Result
from embprobe.probing.scores import Role, Scores
from embprobe.statistics import resample
from embprobe.system.processes import Machine
from embprobe.system.threads import cores
from embprobe.vlm.answers import Answers
from embprobe.vlm.controlled import SEEN, run_controlled
from embprobe.vlm.trained import BLIND

if TYPE_CHECKING:
    from embprobe.embeddings.session import Session

CARD = "vlm"
"""The attribute of these results, in the place of a card's."""
ALL = "all"
"""The group that every question belongs to."""
LACKING = "it needs a vision-language model trained on each encoder's tokens: say --vlm"
"""Why a claim about questions was not asked."""


@dataclass(frozen=True)
class Answered:
    """The answers of every encoder's model, as results."""

    rows: Sequence[Result]
    scores: Sequence[Scores]

    def numbers(self, group: str, a: Sequence[str], b: Sequence[str]) -> RunNumbers | str:
        """Return the numbers of two recipes by the names of their encoders, or why there are none."""
        rows = {row.encoder: row for row in self.rows if (row.key.target, row.key.test) == (group, SEEN)}
        scores = {each.encoder: each for each in self.scores if (each.key.target, each.key.test) == (group, SEEN)}
        if not rows:
            return f"there are no questions about {group} of these images"
        if missing := [name for name in [*a, *b] if name not in rows]:
            return f"{missing[0]} gives no tokens that a language model could read"
        return RunNumbers(
            ([rows[name] for name in a], [rows[name] for name in b]),
            ([scores[name] for name in a], [scores[name] for name in b]),
        )


def measure_questions(
    encoders: Sequence[Encoder],
    references: Sequence[Encoder],
    images: Images,
    session: Session,
) -> Answered:
    """Train the small model on each encoder's tokens, and put questions to it; stored runs are read.

    Args:
        encoders: The encoders that claims are about.
        references: Those shown beside them; a blind model is added.
        images: Cut-outs, as :func:`~embprobe.vlm.controlled.make_material` needs them.
        session: The workspace, the device and the seed.

    Raises:
        UsageError: The images have no splits, or an encoder has no tokens.
        EmbprobeError: No questions can be made of the images.
    """
    machine = Machine(device=session.device, threads=cores() if session.device == "cpu" else None)
    found = run_controlled([*encoders, *references], images, session, machine=machine)
    roles: dict[str, Role] = dict.fromkeys((each.spec.name for each in references), "reference")
    roles.update(dict.fromkeys((each.spec.name for each in encoders), "subject"), **{BLIND: "baseline"})
    return as_results(found, images.name, roles, seed=session.seed)


def as_results(
    found: Mapping[str, Mapping[str, Answers]], dataset: str, roles: Mapping[str, Role], *, seed: int
) -> Answered:
    """Return the accuracy of every model in every group of every test, with the scores behind it.

    Args:
        found: By the name of an encoder and the name of a test its answers.
        dataset: The name of the images.
        roles: By the name of an encoder its role.
        seed: Of the resamples.
    """
    rows, scores = list[Result](), list[Scores]()
    for name, tests in found.items():
        for test, answers in tests.items():
            for group in [ALL, *dict.fromkeys(each.group for each in answers.rows)]:
                chosen = [each for each in answers.rows if group in (ALL, each.group)]
                values = np.array([each.score for each in chosen])
                groups = [each.concept or each.key for each in chosen]
                floor = float(np.mean([1 / each.options for each in chosen]))
                key = Key(kind="questions", target=group, test=test, dataset=dataset)
                mean = resample(values[:, None], groups, seed=seed, unit="concept").mean(0)
                rows.append(
                    Result(
                        attribute=CARD,
                        key=key,
                        encoder=name,
                        role=roles[name],
                        resampled="concept",
                        groups=mean.groups,
                        images=mean.images,
                        estimate=mean.estimate,
                        low=mean.low,
                        high=mean.high,
                        unit="accuracy",
                        floor=floor,
                    )
                )
                scores.append(
                    Scores(
                        key=key,
                        encoder=name,
                        role=roles[name],
                        unit="accuracy",
                        keys=[each.key for each in chosen],
                        groups=groups,
                        values=values,
                        floor=floor,
                    )
                )
    return Answered(rows, scores)
