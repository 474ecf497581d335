"""Kinds of measure: one file each, with the table a card writes, its check, its keys and its scores."""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points
from inspect import isabstract
from typing import get_args

from embprobe.probing.kinds.attraction import Attraction
from embprobe.probing.kinds.blind_pairs import BlindPairs
from embprobe.probing.kinds.decoding import Decoding
from embprobe.probing.kinds.dense import Dense
from embprobe.probing.kinds.displacement import Displacement
from embprobe.probing.kinds.geometry import Geometry
from embprobe.probing.kinds.natural_pairs import NaturalPairs
from embprobe.probing.kinds.preference import Preference
from embprobe.probing.kinds.variance import Variance
from embprobe.probing.kinds.zero_shot import ZeroShot
from embprobe.probing.measure import Measure

_log = logging.getLogger(__name__)

ENTRY_POINTS = "embprobe.measures"
"""The group of entry points under which other packages add kinds: the kind's name = its subclass of Measure."""
_OWN = (Displacement, Decoding, ZeroShot, Preference, Variance, NaturalPairs, Geometry, Attraction, BlindPairs, Dense)


@cache
def kinds() -> dict[str, type[Measure]]:
    """Return every kind of measure by its name: our own, and those that other installed packages add.

    What another package adds does not take the place of one of ours. One that cannot be imported, or is no measure of
    its name, is left out, and a warning says so.
    """
    known: dict[str, type[Measure]] = {name_of(kind): kind for kind in _OWN}
    own = set(known)
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in own:
            continue
        try:
            kind = point.load()
            if not _is_measure(kind, point.name):
                _log.warning("'%s' is no measure whose kind is '%s'.", point.value, point.name)
                continue
        except Exception as error:  # a stranger's module can fail in any way
            reason = str(error).partition("\n")[0]
            _log.warning("The measure '%s' (%s) cannot be imported: %s", point.name, point.value, reason)
            continue
        known[point.name] = kind
    return known


def _is_measure(kind: object, name: str) -> bool:
    """Return whether something is a whole class of this kind; raises what pydantic does for types that are unknown."""
    if not isinstance(kind, type) or not issubclass(kind, Measure) or isabstract(kind):
        return False
    kind.model_rebuild()
    return name_of(kind) == name


def name_of(kind: type[Measure]) -> str:
    """Return the name that cards write for a kind; empty if the class declares none.

    >>> name_of(NaturalPairs)
    'natural-pairs'
    """
    field = kind.model_fields.get("kind")
    names = get_args(field.annotation) if field else ()
    return str(names[0]) if len(names) == 1 else ""
