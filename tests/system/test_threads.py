"""Products use one thread where that is wanted, and calls side by side give what calls one after another give."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]

import embprobe.system.threads
from embprobe.measures.logistic import predict_logistic
from embprobe.system.threads import CALL, LARGE, TOGETHER, allowed_threads, one_thread, side_by_side, threads_for


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(embprobe.system.threads, "cores", lambda: 4)
    with threadpool_limits(3):
        torch.set_num_threads(3)
        yield
    torch.set_num_threads(1)


def threads() -> set[int]:
    """The numbers of threads of torch and of every library that NumPy, SciPy and FAISS use."""
    return {torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())}


def test_the_settings_of_all_libraries_are_one_inside_and_restored_outside() -> None:
    assert threads() == {3}
    with one_thread():
        assert threads() == {1} and allowed_threads() == 3
        with one_thread():
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == {3}


def test_libraries_that_any_module_brings_later_are_set_too() -> None:
    program = """
import numpy, torch
from threadpoolctl import threadpool_info
from embprobe.system.threads import one_thread
threads = lambda: {library["filepath"]: library["num_threads"] for library in threadpool_info()}
before = threads()
with one_thread():
    import numba.np.ufunc.omppool  # UMAP's, imported at its first loop: the system's own OpenMP beside torch's
    import faiss
    with one_thread():
        assert len(threads()) > len(before) and set(threads().values()) == {1}, threads()
assert before.items() <= threads().items(), (before, threads())
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_settings_are_restored_after_an_error() -> None:
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert threads() == {3}


def test_large_products_use_all_threads_and_small_ones_one() -> None:
    with threads_for(LARGE):
        assert threads() == {3}
    with threads_for(LARGE - 1):
        assert threads() == {1}
    with one_thread():
        with threads_for(LARGE):
            assert threads() == {3}
        assert threads() == {1}
    assert threads() == {3}


def test_the_last_thread_that_wanted_one_restores_the_settings() -> None:
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with one_thread():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=wait)
    with one_thread():
        other.start()
        inside.wait(10)
    shared = {library["num_threads"] for library in threadpool_info() if library.get("threading_layer") == "pthreads"}
    assert shared == {1}  # the other one still wants it
    leave.set()
    other.join()
    assert threads() == {3}


def test_many_threads_that_come_and_go_leave_the_settings_as_they_were() -> None:
    def turn() -> None:
        for _ in range(20):
            with one_thread(), threads_for(LARGE):
                pass

    others = [threading.Thread(target=turn) for _ in range(8)]
    for each in others:
        each.start()
    for each in others:
        each.join()
    assert threads() == {3}


def test_answers_come_in_the_order_of_items_whatever_takes_long() -> None:
    def slower_first(i: int) -> int:
        time.sleep(0.02 * (5 - i))
        return 10 * i

    assert side_by_side(slower_first, range(6)) == [0, 10, 20, 30, 40, 50]


def test_calls_run_at_the_same_time_as_many_as_are_allowed_each_on_one_thread() -> None:
    together = threading.Barrier(3)  # breaks unless three calls meet

    def meet(_: int) -> set[int]:
        together.wait(10)
        return threads()

    assert side_by_side(meet, range(6)) == [{1}] * 6
    assert threads() == {3}


@pytest.mark.parametrize(("memory", "at_once"), [(0, 3), (CALL, 3), (CALL + 1, 1)])
def test_calls_that_hold_much_come_one_after_another(memory: int, at_once: int) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def count(_: int) -> set[int]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1
        with threads_for(LARGE):
            return threads()

    assert side_by_side(count, range(6), memory=memory) == [{1} if at_once > 1 else {3}] * 6
    assert most == at_once


def test_calls_together_stay_below_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embprobe.system.threads, "TOGETHER", CALL)
    here = threading.get_ident()
    assert TOGETHER > CALL
    assert side_by_side(lambda _: threading.get_ident(), range(3), memory=CALL) == [here] * 3


def test_calls_on_a_gpu_come_one_after_another() -> None:
    here = threading.get_ident()
    assert side_by_side(lambda _: threading.get_ident(), range(3), device="cuda") == [here] * 3


def test_calls_inside_of_calls_come_one_after_another_in_the_same_thread() -> None:
    def inner(_: int) -> int:
        return threading.get_ident()

    for outer in side_by_side(lambda _: (threading.get_ident(), side_by_side(inner, range(3))), range(4)):
        assert outer[1] == [outer[0]] * 3


def test_the_error_of_the_first_item_is_raised_and_calls_not_begun_are_left_out() -> None:
    called: list[int] = []

    def fail(i: int) -> None:
        called.append(i)
        time.sleep(0.05 if i == 0 else 0)
        if i < 2:
            raise ValueError(f"item {i}")
        time.sleep(0.1)

    with pytest.raises(ValueError, match="item 0"):
        side_by_side(fail, range(100))
    assert len(called) < 50 and threads() == {3}


def test_a_call_that_fails_stops_those_beside_it() -> None:
    stopped, ended = threading.Event(), list[bool]()

    def call(i: int) -> None:
        if not i:
            raise KeyboardInterrupt
        ended.append(stopped.wait(60))  # as a long training looks at each step whether it is to end

    with pytest.raises(KeyboardInterrupt):
        side_by_side(call, range(3), stop=stopped.set)
    assert all(ended)
    assert side_by_side(lambda i: i, range(3), stop=stopped.clear) == [0, 1, 2] and stopped.is_set()


def test_calls_have_the_context_of_their_caller() -> None:
    with np.errstate(divide="raise"):
        assert side_by_side(lambda _: np.geterr()["divide"], range(3)) == ["raise"] * 3


def test_predictions_are_the_same_bit_by_bit_however_many_fits_run_at_once() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((300, 40)).astype(np.float32), np.array(["a", "b", "c"] * 100)
    x[:, 0] += (labels == "a") + 2 * (labels == "b")
    groups = np.arange(300).astype(str)

    def fit(seed: int) -> list[str]:
        [predicted] = predict_logistic(x[:250], labels[:250], groups[:250], [x[250:]], seed=seed)
        return list(predicted)

    beside = side_by_side(fit, range(5))
    torch.set_num_threads(1)
    assert allowed_threads() == 1
    assert beside == side_by_side(fit, range(5)) == [fit(seed) for seed in range(5)]


def test_without_torch_the_environment_says_how_many_threads_there_may_be() -> None:
    program = "import sys; from embprobe.system.threads import allowed_threads, cores, side_by_side\n"
    program += "side_by_side(abs, [1, 2]); assert 'torch' not in sys.modules; print(allowed_threads(), cores())"
    for said, wanted in (("1", 1), ("7", 7), ("3,2", 3), ("", None), ("many", None)):
        environment = {**os.environ, "OMP_NUM_THREADS": said}
        ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        allowed, cores = map(int, ran.stdout.split())
        assert allowed == (cores if wanted is None else wanted)
