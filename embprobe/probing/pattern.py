"""A pattern of keys, as a card or a claim writes it: it names one number among those that were measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Self

from pydantic import FiniteFloat, model_validator

from embprobe.probing.key import Key
from embprobe.system.models import Strict

_TEST = "a test"
_FIELDS = ("kind", "target", "test", "variant", "condition", "strength")


class KeyPattern(Strict):
    """The fields of a key that matter. Meant is the key that has these and no others, or else the first that has these.

    The spelling of earlier cards, ``measure`` (the sentence of the key) with ``intervention`` and ``strength``, is
    accepted, too.
    """

    kind: str | None = None
    target: str | None = None
    test: str | None = None
    variant: str | None = None
    condition: str | None = None
    strength: FiniteFloat | None = None
    measure: str | None = None
    intervention: str | None = None

    @model_validator(mode="after")
    def _one_spelling(self) -> Self:
        if (self.kind is None) == (self.measure is None):
            raise ValueError("say which number is meant: kind, target and so on, or measure")
        if self.measure is not None and any(getattr(self, name) for name in _FIELDS[1:5]):
            raise ValueError(
                "measure is another spelling of kind, target, test, variant and condition: say one of them"
            )
        if self.kind is not None and self.intervention is not None:
            raise ValueError("with kind an intervention is the target or the condition")
        return self

    def matches(self, key: Key) -> bool:
        """Return whether a key has the fields that are given."""
        if self.measure is None:
            fields = asdict(key)
            return all(getattr(self, name) in (None, fields[name]) for name in _FIELDS)
        done = key.target if key.kind == "displacement" else key.condition
        return (
            self.measure == key.phrase and self.intervention in (None, done) and self.strength in (None, key.strength)
        )

    def find(self, keys: Iterable[Key], *, folds: str) -> Key | None:
        """Return the first key that matches; failing that, the same number of the test named ``folds``.

        Images without the card's splits are tested in folds under that name: then that number is meant.
        """
        candidates = list(keys)
        matches = [key for key in candidates if self.matches(key)]
        matches = matches or [key for key in candidates if key.test == folds and self._matches_but_test(key)]
        return min(matches, key=self._surplus, default=None)

    def _surplus(self, key: Key) -> int:
        """Return how many fields a key has that the pattern does not name."""
        fields = asdict(key)
        return sum(fields[name] is not None and getattr(self, name) is None for name in _FIELDS)

    def _matches_but_test(self, key: Key) -> bool:
        if self.measure is None:
            return self.matches(replace(key, test=self.test))
        before = replace(key, test=_TEST).phrase.removesuffix(_TEST)
        return self.measure.startswith(before) and self.matches(replace(key, test=self.measure.removeprefix(before)))

    def describe(self) -> str:
        """Return the pattern in words, for messages."""
        fields = {name: getattr(self, name) for name in (*_FIELDS, "measure", "intervention")}
        quoted = {
            name: f"'{value}'" if isinstance(value, str) else f"{value:g}"
            for name, value in fields.items()
            if value is not None
        }
        return ", ".join(f"{name} {value}" for name, value in quoted.items())
