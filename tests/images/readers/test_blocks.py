"""Blocks: read once for all threads that use them, and let go of."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from embprobe.images.readers.blocks import Blocks

SOON = 10.0
"""Seconds after which a thread that waits has been forgotten."""


class Content:
    """What a block holds; unlike bytes, one can watch it go."""

    def __init__(self, number: int) -> None:
        self.number = number


@dataclass
class Loads:
    """Makes contents; remembers which were asked for, and how many earlier ones were alive each time."""

    numbers: list[int] = field(default_factory=list)
    alive_before: list[int] = field(default_factory=list)
    made: list[weakref.ref[Content]] = field(default_factory=list)

    def __call__(self, number: int) -> Content:
        self.numbers.append(number)
        self.alive_before.append(sum(made() is not None for made in self.made))
        content = Content(number)
        self.made.append(weakref.ref(content))
        return content

    def alive(self) -> int:
        gc.collect()
        return sum(made() is not None for made in self.made)


def in_threads(*work: Callable[[], object]) -> list[object]:
    """What each piece of work gives, or the error it raises, each on a thread of its own."""

    def caught(each: Callable[[], object]) -> object:
        try:
            return each()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(work)) as pool:
        return [each.result(SOON) for each in [pool.submit(caught, each) for each in work]]


def test_a_block_is_loaded_when_it_is_asked_for_and_kept_by_the_thread_that_did() -> None:
    loads = Loads()
    blocks = Blocks(loads)
    assert loads.numbers == []
    assert [blocks[number].number for number in (3, 3, 3, 1, 1)] == [3, 3, 3, 1, 1]
    assert loads.numbers == [3, 1]


def test_a_block_that_was_let_go_of_is_loaded_anew() -> None:
    loads = Loads()
    blocks = Blocks(loads)
    assert [blocks[number].number for number in (0, 1, 0)] == [0, 1, 0]
    assert loads.numbers == [0, 1, 0]


def test_the_old_block_is_let_go_of_before_the_new_one_is_loaded() -> None:
    loads = Loads()
    blocks = Blocks(loads)
    for number in range(4):
        _ = blocks[number].number
    assert loads.alive_before == [0, 0, 0, 0]  # else memory holds two blocks a thread
    assert loads.alive() == 1


def test_blocks_of_bytes_can_be_shared() -> None:
    blocks = Blocks(lambda number: bytes([number]) * 3)
    assert [blocks[number] for number in (1, 2)] == [b"\1\1\1", b"\2\2\2"]


def test_threads_that_ask_for_one_block_at_once_load_it_once() -> None:
    loading, go_on = threading.Event(), threading.Event()
    loads = Loads()

    def load(number: int) -> Content:
        loading.set()
        assert go_on.wait(SOON)
        return loads(number)

    blocks = Blocks(load)
    asking = threading.Barrier(4)

    def ask() -> int:
        asking.wait(SOON)
        found = id(blocks[7])
        asking.wait(SOON)  # nobody lets go of it before all have it
        return found

    def let_go() -> None:
        assert loading.wait(SOON)
        go_on.set()

    *found, _ = in_threads(ask, ask, ask, ask, let_go)
    assert len(set(found)) == 1 and isinstance(found[0], int)
    assert loads.numbers == [7]


def test_different_blocks_are_loaded_side_by_side() -> None:
    both = threading.Barrier(2)  # it would break if one waited for the other to be loaded

    def load(number: int) -> int:
        both.wait(SOON)
        return number

    blocks = Blocks(load)
    assert in_threads(lambda: blocks[0], lambda: blocks[1]) == [0, 1]


def test_no_more_blocks_are_alive_than_there_are_threads() -> None:
    loads = Loads()
    blocks = Blocks(loads)
    together = threading.Barrier(3)

    def go_through(first: int) -> Callable[[], object]:
        def work() -> None:
            for number in range(first, 12, 3):
                assert blocks[number].number == number
                together.wait(SOON)  # everybody holds one, nobody is loading
                if first == 0:
                    held.append(loads.alive())
                together.wait(SOON)

        return work

    held: list[int] = []
    assert in_threads(*(go_through(first) for first in range(3))) == [None, None, None]
    assert held == [3, 3, 3, 3]
    assert loads.alive() == 0  # the threads are gone, and what they held


def test_an_error_reaches_every_caller_and_the_next_call_tries_again() -> None:
    tried: list[int] = []
    lock, asking = threading.Lock(), threading.Barrier(3)

    def load(number: int) -> str:
        with lock:
            tried.append(number)
            if len(tried) <= 3:
                raise OSError(f"no luck at try {len(tried)}")
        return "at last"

    blocks = Blocks(load)

    def ask() -> object:
        asking.wait(SOON)
        return blocks[5]

    errors = in_threads(ask, ask, ask)
    assert sorted(map(str, errors)) == ["no luck at try 1", "no luck at try 2", "no luck at try 3"]
    assert blocks[5] == "at last"
    assert tried == [5, 5, 5, 5]


def test_an_error_lets_go_of_the_block_before_and_does_not_spoil_it() -> None:
    loads = Loads()

    def load(number: int) -> Content:
        if number == 1:
            raise OSError("torn")
        return loads(number)

    blocks = Blocks(load)
    assert blocks[0].number == 0
    with pytest.raises(OSError, match="torn"):
        _ = blocks[1]
    assert loads.alive() == 0
    assert blocks[0].number == 0


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_that_take_turns_through_the_rows_load_no_block_twice(threads: int) -> None:
    """Rows 0..95 in batches of 4, dealt out in turn, as extraction does; 6 rows a block, so batches straddle blocks.

    Each thread takes one row after the others have taken theirs; whoever needs a block next finds it with another.
    """
    loads = Loads()
    blocks = Blocks(loads)
    lap = threading.Barrier(threads)

    def work(mine: int) -> Callable[[], object]:
        def go() -> None:
            for batch in range(mine, 24, threads):
                for row in range(4 * batch, 4 * batch + 4):
                    for turn in range(threads):  # one row each, in order
                        if turn == mine:
                            assert blocks[row // 6].number == row // 6
                        lap.wait(SOON)

        return go

    assert in_threads(*(work(mine) for mine in range(threads))) == [None] * threads
    assert max(loads.numbers) == 15 and loads.numbers == sorted(set(loads.numbers))
