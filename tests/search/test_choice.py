"""The choice of an index: as much of the vectors as the memory holds, and a sentence where it holds none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.errors import UsageError
from embprobe.search import choice as module
from embprobe.search.choice import DEFAULT_MOST, choose_index, memory_limit
from embprobe.system.memory import available_memory, format_memory, parse_memory

MILLION = 1_000_000


def test_less_memory_means_shorter_codes() -> None:
    # of 1,000,000 x 768: vectors 3.1 GB, codes of 96 bytes with the rows' numbers 0.10 GB, each with a fourth of slack
    keys = [choose_index(MILLION, 768, memory).key for memory in (5 * 10**9, 3 * 10**9, 2 * 10**8, 10**8)]
    assert keys == ["IVF1000,Flat", "IVF1000,PQ96x8", "IVF1000,PQ96x8", "IVF1000,PQ24x8"]


def test_the_memory_by_hand() -> None:
    choice = choose_index(10_000, 64, 10**6)
    # codes of 32 bytes and 8 for the number, a fourth more; 100 centres of 64 float32, twice
    assert (choice.key, choice.memory) == ("IVF100,PQ32x8", 10_000 * 40 * 5 // 4 + 2 * 100 * 64 * 4)
    assert choice.least_memory == choice.memory + 16 * 100 * 64 * 4
    assert choice.trained_rows(10**9) == 6_400 and choice.trained_rows(10**6) == (10**6 - choice.memory) // 256
    assert choice.trained_rows(choice.least_memory) == 1_600 and choice.trained_rows(0) == 1_600


@given(st.integers(1, 10**9), st.integers(1, 5_000), st.integers(1, 10**12))
def test_the_choice_fits_and_the_least_that_is_named_works(rows: int, dimension: int, memory: int) -> None:
    try:
        choice = choose_index(rows, dimension, memory)
    except UsageError as error:
        match = re.search(r"The least that works is --index-memory (\S+);", str(error))
        assert match and parse_memory(match[1]) > memory
        choice = choose_index(rows, dimension, parse_memory(match[1]))
        assert parse_memory(match[1]) < 1.2 * choice.least_memory + 2  # so it is little more than the least
    else:
        assert choice.least_memory <= memory
    assert choice.width >= dimension and choice.width % max(1, choice.code) == 0
    assert 1 <= choice.cells <= max(1, rows)


@pytest.mark.parametrize("size", ["", "2", "GB", "-1GB", "0GB", "two GB", "1e9B", "2 gigabytes", "2GBs", "nan GB"])
def test_nonsense_is_a_sentence(size: str) -> None:
    with pytest.raises(UsageError, match="is no size of memory. Write a number and a unit: 800MB, 2GB or 1.5GiB"):
        memory_limit(size)


def test_sizes() -> None:
    assert [memory_limit(size) for size in ("1B", "2kb", "1.5GB", "3 MiB", 77)] == [
        1,
        2_000,
        15 * 10**8,
        3 * 2**20,
        77,
    ]
    with pytest.raises(UsageError, match="above 0 bytes"):
        memory_limit(0)


def test_a_fourth_of_what_is_left_if_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < available_memory() < 2**50
    monkeypatch.setattr(module, "available_memory", lambda: 4 * 10**9)
    assert memory_limit(None) == 10**9
    monkeypatch.setattr(module, "available_memory", lambda: 10**12)
    assert memory_limit(None) == DEFAULT_MOST


@given(st.integers(1, 10**15))
def test_a_size_is_written_no_smaller_than_it_is(size: int) -> None:
    assert size <= parse_memory(format_memory(size)) <= 1.1 * size + 1
