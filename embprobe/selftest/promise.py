"""A promise of the instrument: its name, how it is checked, and the verdicts that the check gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

NO_ANSWER = "no answer"
"""The measured value, before the reason, of a promise whose check failed with an error."""


@dataclass(frozen=True)
class Verdict:
    """An answer that is known beforehand, beside the one that the instrument measured."""

    about: str
    expected: str
    measured: str
    passed: bool
    promise: str = ""
    """The name of the promise that it belongs to."""


@dataclass(frozen=True)
class Settings:
    """The settings of a selftest."""

    seed: int = 0
    """Of the oracles and the simulations."""
    studies: int = 200
    """Number of studies that are simulated for false alarms and coverage."""


Check = Callable[[Settings], Iterator[Verdict]]


@dataclass(frozen=True)
class Promise:
    """One property that every result of the instrument relies on."""

    name: str
    says: str
    """The property in a sentence."""
    check: Check


def near(about: str, measured: float, expected: float, tolerance: float) -> Verdict:
    """Return the verdict on a number that must be ``expected`` within ``tolerance``.

    Example:
        >>> near("share", 0.31, 0.3, 0.02)
        Verdict(about='share', expected='0.3 within 0.02', measured='0.310', passed=True, promise='')
    """
    passed = bool(abs(measured - expected) <= tolerance)
    return Verdict(about, f"{expected:.4g} within {tolerance:g}", f"{measured:.3f}", passed)


def between(about: str, measured: float, low: float, high: float) -> Verdict:
    """Return the verdict on a number that must lie between two others.

    Example:
        >>> between("share", 0.5, 0.6, 1).passed
        False
    """
    return Verdict(about, f"{low:.4g} to {high:.4g}", f"{measured:.3f}", bool(low <= measured <= high))


def rises(about: str, measured: list[float]) -> Verdict:
    """Return the verdict on numbers, at least two, each of which must be above the one before.

    Example:
        >>> rises("share", [0.1, 0.3, 0.3]).passed
        False
    """
    steps = [later > earlier for earlier, later in zip(measured, measured[1:], strict=False)]
    return Verdict(about, "rises", ", ".join(f"{value:.3f}" for value in measured), bool(steps) and all(steps))


def holds(about: str, expected: str, measured: object, passed: bool) -> Verdict:
    """Return the verdict on an answer that is no single number."""
    return Verdict(about, expected, str(measured), bool(passed))


def over(a: float, b: float) -> float:
    """Return ``a / b``, not a number where ``b`` is 0: a broken instrument may measure anything.

    Example:
        >>> over(1, 4), over(1, 0)
        (0.25, nan)
    """
    return float(a) / float(b) if b else float("nan")
