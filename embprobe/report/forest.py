"""The forest plot: for every attribute the encoders' headline numbers with their intervals, as one scale in per cent.

Positions are percentages of the plot's width, so it fits any screen, and its markers keep their shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from embprobe.plots.style import MARKERS
from embprobe.report.findings import Probe

_SHAPES = {
    "o": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    "s": "M-4.5-4.5h9v9h-9z",
    "^": "M0-6L5.5 4.5h-11z",
    "D": "M0-6L6 0L0 6L-6 0z",
    "v": "M0 6L5.5-4.5h-11z",
    "P": "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
    "X": "M-5-2L-2-5L0-3L2-5L5-2L3 0L5 2L2 5L0 3L-2 5L-5 2L-3 0z",
}
"""The markers of figures as paths around 0."""
_OTHER = "M-4 0h8M0-4v8"
_TICKS = 4
_NARROW = 1e-9
"""A scale no wider than this shows nothing."""


@dataclass(frozen=True)
class Line:
    """One encoder: where its interval begins and ends and where its estimate is, in per cent of the width."""

    encoder: str
    look: str
    """A class of the style sheet: ``look-0`` and on for encoders in their order, ``reference`` for others."""
    path: str
    low: float
    at: float
    high: float
    told: str
    """The numbers as text."""


@dataclass(frozen=True)
class Panel:
    """One attribute: its question, what the numbers are in, the lines, and the scale that they share."""

    title: str
    question: str
    unit: str
    lines: Sequence[Line]
    ticks: Sequence[tuple[float, str]]
    """Positions in per cent, and the numbers there."""


def forest(probes: Sequence[Probe]) -> list[Panel | None]:
    """A panel a probe; an encoder has the same shape and colour in all of them. A study has
    many questions and a profile many layers: they have none, but figures of their own."""
    every = [
        row.encoder
        for probe in probes
        if not (probe.is_study or probe.is_profile)
        for row in probe.headline
        if probe.is_subject(row.encoder)
    ]
    order = list(dict.fromkeys(every))
    return [None if probe.is_study or probe.is_profile else _panel(probe, order) for probe in probes]


def look(encoder: str, order: Sequence[str]) -> tuple[str, str]:
    """The class and the marker's path of an encoder: of the figures' colours and markers, in the order given."""
    if encoder not in order:
        return "reference", _OTHER
    i = order.index(encoder) % len(MARKERS)
    return f"look-{i}", _SHAPES[MARKERS[i]]


def _panel(probe: Probe, order: Sequence[str]) -> Panel:
    rows = probe.headline
    ticks = nice_ticks(min(0.0, *(row.low for row in rows)), max(0.0, *(row.high for row in rows)))
    low, high = ticks[0], ticks[-1]

    def place(value: float) -> float:
        return round(2 + 96 * (value - low) / (high - low), 2)

    lines = [
        Line(
            row.encoder,
            *look(row.encoder, order),
            place(row.low),
            place(row.estimate),
            place(row.high),
            f"{row.estimate:.3f} ({row.low:.3f} to {row.high:.3f})",
        )
        for row in rows
    ]
    title, unit = str(probe.card.get("title") or probe.rows[0].attribute), rows[0].unit
    return Panel(title, str(probe.key), unit, lines, [(place(t), f"{t:g}") for t in ticks])


def nice_ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``, a step of 1, 2 or 5 times a power of ten apart.

    >>> nice_ticks(0, 0.37)
    [0.0, 0.1, 0.2, 0.3, 0.4]
    >>> nice_ticks(-0.6, 1.2)
    [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5]
    """
    width = high - low if high - low > _NARROW else 1.0
    power = 10.0 ** math.floor(math.log10(width / _TICKS))
    step = next(s * power for s in (1, 2, 5, 10) if s * power * (_TICKS + 0.5) >= width)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, max(last, first + 1) + 1)]
