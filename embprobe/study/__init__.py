"""One card x some encoders -> results. One file a kind of measure: what it takes from rows and asks of vectors."""

from embprobe.study.asking import GUESS, NotApplicable
from embprobe.study.probe import run_probe
from embprobe.study.session import Embedded, Session

__all__ = ["GUESS", "Embedded", "NotApplicable", "Session", "run_probe"]
