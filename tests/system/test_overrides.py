"""An override lasts as long as its last user, whatever the order in which they come and go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import SimpleNamespace

import pytest

from embprobe.system.overrides import Override


def test_the_old_value_returns_after_an_error() -> None:
    settings = SimpleNamespace(fast=True)
    with pytest.raises(KeyError), Override(lambda: (settings, "fast", False)):
        assert settings.fast is False
        raise KeyError
    assert settings.fast is True


def test_the_first_to_leave_takes_nothing_from_those_inside() -> None:
    settings = SimpleNamespace(fast=True)
    first = second = Override(lambda: (settings, "fast", False))
    first.__enter__()
    second.__enter__()
    first.__exit__()
    assert settings.fast is False
    second.__exit__()
    assert settings.fast is True


def test_many_threads_leave_the_value_as_it_was() -> None:
    settings = SimpleNamespace(fast=True)
    override, start = Override(lambda: (settings, "fast", False)), Barrier(8)

    def values_inside(_: int) -> set[bool]:
        start.wait()
        seen = set()
        for _ in range(300):
            with override:
                seen.add(settings.fast)
        return seen

    with ThreadPoolExecutor(8) as pool:
        assert set().union(*pool.map(values_inside, range(8))) == {False}
    assert settings.fast is True


def test_the_value_to_restore_is_read_anew_each_time() -> None:
    settings = SimpleNamespace(fast=True)
    override = Override(lambda: (settings, "fast", False))
    with override:
        pass
    settings.fast = False
    with override:
        pass
    assert settings.fast is False
