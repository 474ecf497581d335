"""Effective robustness: accuracy under a shift beyond that which accuracy without it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.statistics.estimate import Scores

FEWEST_ENCODERS = 3
"""Encoders from which on a line is fitted: two always lie on one."""


@dataclass(frozen=True, eq=False)
class Robustness:
    """The line of accuracy under a shift on accuracy without it, both in logits, and each encoder's distance from it.

    Attributes:
        slope: The slope of the line, in logits per logit.
        intercept: The logit under the shift at an accuracy of 0.5 without it.
        r2: The share of the variance of the logits under the shift that the line explains, over the encoders that it
            was fitted on; None if their logits are all equal.
        effective: The effective robustness of each encoder ``[m]``: its accuracy under the shift less that on the line,
            in accuracy, from -1 to 1.
    """

    slope: float
    intercept: float
    r2: float | None
    effective: Scores

    def expected(self, accuracies: Scores | Sequence[float]) -> Scores:
        """Return the accuracy under the shift that the line predicts at accuracies between 0 and 1 without it."""
        from scipy.special import expit, logit

        return np.asarray(expit(self.intercept + self.slope * logit(np.asarray(accuracies, np.float64))))


def effective_robustness(
    inside: Sequence[float] | Scores,
    shifted: Sequence[float] | Scores,
    *,
    baselines: Sequence[int] | None = None,
    images: tuple[int, int] | None = None,
) -> Robustness:
    """Fit the line of accuracy under a shift on accuracy without it, and measure how far above it each encoder lies.

    Over many networks trained alike the logits of the two accuracies lie near one line, so that a better network is
    better under the shift, too, without being more robust. Effective robustness is what an encoder has beyond that:
    accuracy under the shift - expit(intercept + slope * logit(accuracy without it)) (Taori et al. 2020, "Measuring
    Robustness to Natural Distribution Shifts in Image Classification", section 3). The line is of least squares. An
    encoder that the line was fitted on draws it towards itself, the more so the fewer there are.

    Args:
        inside: The accuracy of each encoder on test images of the distribution it was fitted on, ``[m]``.
        shifted: Its accuracy under the shift, ``[m]``.
        baselines: The places of the encoders that the line is fitted on, such as those without language; all by
            default.
        images: The number of test images of each kind. With it, accuracies of 0 and 1, which have no logit, are taken
            as half an image more and less.

    Raises:
        EmbprobeError: If the line would be fitted on fewer than 3 encoders or on equal accuracies, and if an accuracy
            has no logit.
        ValueError: If the arrays differ in length, an accuracy is not from 0 to 1, or a baseline is there twice or not
            among the encoders.

    Example:
        >>> inside, shifted = [0.5, 0.8, 0.9, 0.8], [0.2, 0.5, 9 / 13, 0.6]  # odds 1, 4, 9 become 1/4, 1, 9/4
        >>> found = effective_robustness(inside, shifted, baselines=[0, 1, 2])
        >>> round(found.slope, 6), [round(float(value), 6) for value in found.effective[2:]]
        (1.0, [0.0, 0.1])
    """
    from scipy.special import logit

    accuracies = np.stack([np.asarray(inside, np.float64), np.asarray(shifted, np.float64)])  # [2, m]
    if accuracies.ndim != 2 or not ((accuracies >= 0) & (accuracies <= 1)).all():
        raise ValueError("accuracies must be two equally long lists of numbers from 0 to 1")
    fitted = list(range(accuracies.shape[1]) if baselines is None else baselines)
    if len(set(fitted)) != len(fitted) or not set(fitted) <= set(range(accuracies.shape[1])):
        raise ValueError(f"baselines must be different places from 0 to {accuracies.shape[1] - 1}, not {fitted}")
    if len(fitted) < FEWEST_ENCODERS:
        raise EmbprobeError(
            f"A line through the accuracies of {len(fitted)} encoders says nothing about them: "
            f"effective robustness needs at least {FEWEST_ENCODERS} to fit it on."
        )
    if images is not None:
        accuracies = np.clip(accuracies.T, [0.5 / n for n in images], [1 - 0.5 / n for n in images]).T
    if not ((accuracies > 0) & (accuracies < 1)).all():
        raise EmbprobeError(
            "An accuracy of 0 or 1 has no logit: give the numbers of test images, or leave that encoder out."
        )
    x, y = logit(accuracies)
    spread, along = x[fitted] - x[fitted].mean(), y[fitted] - y[fitted].mean()
    if np.ptp(accuracies[0, fitted]) == 0:
        raise EmbprobeError(
            "The encoders all have the same accuracy without the shift, so there is no line: "
            "add some that are better or worse."
        )
    slope = float(spread @ along / (spread @ spread))
    intercept = float(y[fitted].mean() - slope * x[fitted].mean())
    left = float(np.square(along - slope * spread).sum())
    r2 = 1 - left / float(along @ along) if np.ptp(accuracies[1, fitted]) > 0 else None
    line = Robustness(slope, intercept, r2, np.zeros(0))
    return replace(line, effective=accuracies[1] - line.expected(accuracies[0]))
