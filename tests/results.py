"""Results made by hand: rows whose keys have the words a test gives them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from embprobe.probing.key import Key
from embprobe.probing.results import Result
from embprobe.probing.scores import Role

_OF_KEY = {"measure": "target", "intervention": "condition", "strength": "strength"}


def key_of(measure: str, condition: str | None = None, strength: float | None = None) -> Key:
    """A key whose phrase is this, whatever it is of."""
    return Key(kind="geometry", target=measure, condition=condition, strength=strength)


def role_of(encoder: str) -> Role:
    """The role that names suggest in these tests; in results it is stored."""
    return "baseline" if encoder == "guessing" else "reference" if encoder.startswith("reference/") else "subject"


def result_of(**facts: Any) -> Result:
    """A row; ``measure``, ``intervention`` and ``strength`` make its key."""
    key = facts.pop("key", None) or key_of(
        facts.pop("measure"), facts.pop("intervention", None), facts.pop("strength", None)
    )
    given: dict[str, Any] = {"key": key, "role": role_of(facts["encoder"]), **facts}
    return Result(**given)


def changed(row: Result, **facts: Any) -> Result:
    """The row with other facts; ``measure``, ``intervention`` and ``strength`` change its key."""
    of_key = {_OF_KEY[name]: facts.pop(name) for name in _OF_KEY if name in facts}
    if "encoder" in facts:
        facts.setdefault("role", role_of(facts["encoder"]))
    return replace(row, key=replace(row.key, **of_key), **facts)
