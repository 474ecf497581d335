"""Whether an encoder has learned something: without that, nothing else about it says anything of its objective."""

from __future__ import annotations

from dataclasses import dataclass

from embprobe.probing.results import Result

LEAST_RANK = 16.0
"""An encoder that spreads over fewer directions is near collapse, and its distances say little."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How well an encoder recognises the concept of a new drawing, beside its untrained twin and raw pixels."""

    role: str
    own: Result
    twin: Result
    difference: Result
    """Of the two. Not corrected: it is measured of every encoder by itself."""
    pixels: float | None
    rank: Result | None
    """Its effective rank, where that could be measured."""

    @property
    def lacking(self) -> str:
        """What it lacks to count as an encoder that has learned; empty if nothing."""
        row = self.difference
        if row.low <= 0:
            return (
                f"{self.role} does not beat its untrained twin at '{row.key}' "
                f"({row.estimate:+.3f}, {row.low:+.3f} to {row.high:+.3f})"
            )
        if self.rank is None:
            return f"the effective rank of {self.role} could not be asked"
        if self.rank.estimate <= LEAST_RANK:
            return f"the effective rank of {self.role} is {self.rank.estimate:.1f}, not above {LEAST_RANK:g}"
        return ""

    @property
    def sentence(self) -> str:
        """Whether it is better or worse than the twin, or undecided, with the numbers."""
        row = self.difference
        how = "better than" if row.low > 0 else "worse than" if row.high < 0 else "not surely better or worse than"
        beside = "" if self.pixels is None else f"; raw pixels {self.pixels:.3f}"
        beside += "" if self.rank is None else f"; effective rank {self.rank.estimate:.1f}"
        return (
            f"{self.role} is {how} its untrained twin at '{row.key}': {self.own.estimate:.3f} against "
            f"{self.twin.estimate:.3f}, {row.estimate:+.3f} ({row.low:+.3f} to {row.high:+.3f}){beside}."
        )
