"""The local engine: every row to its shard and every shard to its encoders, whoever did the work and in what order."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import embprobe.embeddings.store
from embprobe.embeddings.engines import find_engine, local
from embprobe.embeddings.extract import extract
from embprobe.embeddings.job import Encoded, Job, Shard
from embprobe.embeddings.store import Store
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.network import NetworkEncoder, network_encoder
from embprobe.encoders.spec import Encoder, Floats
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from tests.conftest import CountingEncoder, Reads, channel_means, make_encoder, noise


def job_of(
    images: Images,
    encoders: Sequence[Encoder],
    shards: Sequence[Shard],
    *,
    device: str = "cpu",
    batch_size: int = 3,
    progress: Callable[[int], None] = lambda rows: None,
) -> Job:
    return Job(images, encoders, [encoder.spec for encoder in encoders], shards, device, batch_size, progress)


def shards_of(rows: int, size: int, lacking: tuple[int, ...] = (0,)) -> list[Shard]:
    return [Shard(i, range(start, min(start + size, rows)), lacking) for i, start in enumerate(range(0, rows, size))]


def means(rows: Sequence[int]) -> Floats:
    """What :func:`tests.conftest.channel_means` makes of these rows of :class:`Reads`, seen at 8 x 8 pixels."""
    return np.array([np.asarray(noise(i)).mean((0, 1)) / 255 for i in rows], np.float32).reshape(-1, 3)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads torch may use, which is how many workers there are."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# --- every row to its shard --------------------------------------------------------------------------------------


def test_shards_by_hand(reads: Reads) -> None:
    progress: list[int] = []
    images, encoder = reads(7, unreadable=[1, 4, 5]), make_encoder(side=8)
    done = list(local.run(job_of(images, [encoder], shards_of(7, 4), batch_size=2, progress=progress.append)))
    assert [(found.shard.number, found.good) for found in done] == [(0, [0, 2, 3]), (1, [6])]
    assert [[row.row for row in found.rejected] for found in done] == [[1], [4, 5]]
    assert progress == [2, 2, 2, 1]  # batches of rows 0 1, 2 3, 4 5 and 6
    assert encoder.batches == [1, 2, 1]  # of 4 and 5 nothing was left
    for found in done:
        assert np.abs(found.vectors[0] - means(found.good)).max() < 1e-6


@given(
    data=st.data(),
    rows=st.integers(1, 40),
    size=st.integers(1, 12),
    batch=st.integers(1, 15),
    workers=st.integers(1, 4),
)
@settings(max_examples=60)
def test_every_row_goes_to_its_shard_and_every_shard_to_the_encoders_that_lack_it(
    data: st.DataObject, rows: int, size: int, batch: int, workers: int
) -> None:
    unreadable = data.draw(st.sets(st.integers(0, rows - 1)))
    every = shards_of(rows, size)
    lacking = [data.draw(st.sampled_from([(), (0,), (1,), (0, 1)])) for _ in every]
    shards = [Shard(s.number, s.rows, who) for s, who in zip(every, lacking, strict=True) if who]
    reads, progress = Reads(), Counter[str]()
    images, encoders = (
        reads(rows, unreadable=sorted(unreadable)),
        [make_encoder("a", side=8), make_encoder("b", side=8)],
    )

    def notify(count: int) -> None:
        progress["rows"] += count

    torch.set_num_threads(workers)
    try:
        done = list(local.run(job_of(images, encoders, shards, batch_size=batch, progress=notify)))
        assert torch.get_num_threads() == workers
    finally:
        torch.set_num_threads(1)
    assert [found.shard for found in done] == shards  # in order
    wanted = [row for shard in shards for row in shard.rows]
    assert sorted(reads.keys) == [f"{row:03d}" for row in wanted] and progress["rows"] == len(wanted)
    for found in done:
        inside = found.shard.rows
        assert found.good == [row for row in inside if row not in unreadable]
        assert [row.row for row in found.rejected] == [row for row in inside if row in unreadable]
        assert len(found.vectors) == len(found.shard.lacking)
        for vectors in found.vectors:
            assert vectors.shape == (len(found.good), 3) and vectors.dtype == np.float32
            assert np.abs(vectors - means(found.good)).max(initial=0) < 1e-6
    for i, encoder in enumerate(encoders):
        rows_for_it = [row for found in done if i in found.shard.lacking for row in found.good]
        assert encoder.encoded == len(rows_for_it)


def test_what_is_slow_does_not_change_the_order(reads: Reads, threads: Callable[[int], None]) -> None:
    threads(4)
    encoder = make_encoder(side=8)

    def slower_first(batch: Tensor) -> Tensor:
        time.sleep(max(0.0, 0.03 - 0.004 * len(encoder.batches)))
        return channel_means(batch)

    encoder.function = slower_first
    done = list(local.run(job_of(reads(24), [encoder], shards_of(24, 6), batch_size=2)))
    assert [found.good for found in done] == [list(range(start, start + 6)) for start in (0, 6, 12, 18)]
    assert np.abs(np.concatenate([found.vectors[0] for found in done]) - means(range(24))).max() < 1e-6


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_only_a_few_batches_are_ever_in_memory(reads: Reads, threads: Callable[[int], None], workers: int) -> None:
    threads(workers)
    finished, ahead = 0, []

    def progress(rows: int) -> None:
        nonlocal finished
        time.sleep(0.002)  # time for the others to run ahead
        ahead.append(len(reads.keys) - finished)
        finished += rows

    list(local.run(job_of(reads(200), [make_encoder()], shards_of(200, 50), batch_size=4, progress=progress)))
    assert finished == 200
    assert max(ahead) <= 4 * (2 * workers + 1)  # two wait for each worker, and one is handed over


# --- several GPUs ------------------------------------------------------------------------------------------------


@dataclass
class Traffic:
    """Which device did what, and how many batches were on it at the same time."""

    encoded: Counter[str] = field(default_factory=Counter)
    now: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    copies: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    together: int = 0
    """The most on all devices together."""

    def change(self, device: str, by: int, rows: int = 0) -> None:
        with self.lock:
            self.now[device] += by
            self.encoded[device] += rows
            self.most[device] = max(self.most[device], self.now[device])
            self.together = max(self.together, sum(self.now.values()))


class Means(nn.Module):
    """Red, green and blue, weighted by one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, batch: Tensor) -> Tensor:
        return channel_means(batch) * self.weight


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Traffic]:
    """Makes believe that there are so many GPUs, and sees what is done on which."""
    traffic = Traffic()

    def encode(encoder: NetworkEncoder, batch: Tensor) -> Floats:
        traffic.change(encoder.device, 1, len(batch))
        time.sleep(0.004)
        with torch.inference_mode():
            vectors: Floats = encoder.network(batch).numpy()
        traffic.change(encoder.device, -1)
        return vectors

    def on(encoder: NetworkEncoder, device: str) -> NetworkEncoder:
        traffic.copies.append(device)
        return NetworkEncoder(encoder.spec, encoder.network, device, encoder.image)

    def believe(count: int) -> Traffic:
        monkeypatch.setattr(local, "each_of", lambda device: [f"cuda:{i}" for i in range(count)])
        monkeypatch.setattr(local, "_cores", lambda: 12)
        monkeypatch.setattr(NetworkEncoder, "encode_images", encode)
        monkeypatch.setattr(NetworkEncoder, "on", on)
        return traffic

    return believe


def network(name: str = "means", *, device: str = "cpu") -> NetworkEncoder:
    made = network_encoder(Means(), device="cpu", input_size=8, mean=(0,) * 3, std=(1,) * 3, pooling="none", model=name)
    made.device = device
    return made


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_gpu_is_used_and_none_has_more_than_two_batches(
    gpus: Callable[[int], Traffic], reads: Reads, count: int
) -> None:
    images, shards = reads(120, unreadable=[7]), shards_of(120, 30)
    expected = list(local.run(job_of(images, [network()], shards)))
    traffic = gpus(count)
    found = list(local.run(job_of(images, [network(device="cuda:0")], shards, device="cuda")))
    names = [f"cuda:{i}" for i in range(count)]
    assert sorted(traffic.encoded) == names and sum(traffic.encoded.values()) == 119
    assert all(traffic.encoded[name] >= 0.5 * 119 / count for name in names)  # they share it about equally
    assert max(traffic.most.values()) <= 2 < traffic.together + (count == 1)
    assert traffic.copies == names[1:]  # one copy of the weights on each, however many batches
    for a, b in zip(expected, found, strict=True):
        assert (a.shard, a.good, a.rejected) == (b.shard, b.good, b.rejected)
        assert np.array_equal(a.vectors[0], b.vectors[0])


def test_an_encoder_that_is_no_network_of_ours_serves_every_gpu(gpus: Callable[[int], Traffic], reads: Reads) -> None:
    gpus(2)
    encoder = make_encoder(side=8)
    done = list(
        local.run(job_of(reads(30), [encoder, network(device="cuda:0")], shards_of(30, 30, (0, 1)), device="cuda"))
    )
    assert encoder.encoded == 30
    assert np.abs(done[0].vectors[0] - done[0].vectors[1]).max() < 1e-6


# --- what fails --------------------------------------------------------------------------------------------------


class Broken(Exception):
    """What an encoder may raise."""


def breaks_at(batch: int, error: Exception) -> CountingEncoder:
    """An encoder whose n-th batch, counted from 0, fails, and every later one."""
    encoder = make_encoder(side=8)

    def function(pixels: Tensor) -> Tensor:
        if len(encoder.batches) > batch:
            raise error
        return channel_means(pixels)

    encoder.function = function
    return encoder


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_stops_the_run_promptly_and_what_is_finished_was_handed_over(
    reads: Reads, threads: Callable[[int], None], workers: int
) -> None:
    threads(workers)
    encoder, done = breaks_at(20, Broken()), []
    before = threading.active_count()
    with pytest.raises(Broken):
        for found in local.run(job_of(reads(1000), [encoder], shards_of(1000, 10), batch_size=5)):
            done.append(found.shard.number)
    assert done == list(range(len(done)))
    assert 20 - (2 * workers + 1) < 2 * (len(done) + 1) <= 20 + 2  # two batches a shard; some may have come too late
    assert len(encoder.batches) <= 20 + 3 * workers + 1  # of 200
    assert threading.active_count() == before and torch.get_num_threads() == workers


def test_finished_shards_stay_and_the_next_run_does_the_rest(
    workspace: Workspace, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embprobe.embeddings.store, "SHARD_ROWS", 10)
    images, encoder = reads(100), breaks_at(9, Broken())
    with pytest.raises(Broken):
        extract(images, [encoder], workspace, batch_size=5)
    again = make_encoder(side=8)
    (store,) = extract(images, [again], workspace, batch_size=5)
    assert again.encoded == 100 - 40  # eight batches were four shards; the ninth was half of one
    assert np.abs(store.vectors() - means(range(100))).max() < 1e-6


@pytest.mark.parametrize(("batch_size", "advice"), [(64, "use --batch-size 32."), (3, "use --batch-size 1.")])
def test_a_gpu_without_memory_is_a_sentence(
    gpus: Callable[[int], Traffic], reads: Reads, batch_size: int, advice: str
) -> None:
    gpus(1)
    encoder = breaks_at(0, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"))
    with pytest.raises(EmbprobeError, match=rf"not enough memory for batches of {batch_size} images: {advice}$"):
        list(local.run(job_of(reads(200), [encoder], shards_of(200, 100), device="cuda", batch_size=batch_size)))


def test_a_gpu_without_memory_for_one_image_is_not_told_to_take_one(
    gpus: Callable[[int], Traffic], reads: Reads
) -> None:
    gpus(1)
    encoder = breaks_at(0, torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(EmbprobeError, match="not enough memory") as refused:
        list(local.run(job_of(reads(3), [encoder], shards_of(3, 3), device="cuda", batch_size=1)))
    assert "--batch-size" not in str(refused.value)


def test_a_seat_is_given_back_after_an_error(gpus: Callable[[int], Traffic], reads: Reads) -> None:
    """If it were not, those who wait for a GPU would wait for ever, and with them the end of the run."""
    gpus(1)
    encoder = breaks_at(0, Broken())
    with pytest.raises(Broken):
        list(local.run(job_of(reads(60), [encoder], shards_of(60, 60), device="cuda", batch_size=1)))


def test_a_disk_that_refuses_stops_the_workers_at_once(
    workspace: Workspace, reads: Reads, threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(store: Store, *arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embprobe.embeddings.store, "SHARD_ROWS", 10)
    monkeypatch.setattr(Store, "write_shard", full)
    threads(2)
    before, encoder = threading.active_count(), make_encoder()
    with pytest.raises(EmbprobeError, match="No space left on device") as kept:
        extract(reads(300), [encoder], workspace, batch_size=5)
    assert threading.active_count() == before and torch.get_num_threads() == 2
    assert encoder.encoded <= 5 * (2 + 5 + 2)  # two batches of the first shard, and what was under way
    assert kept.value.__traceback__  # whoever keeps the error keeps no threads


def test_who_stops_listening_stops_the_workers(reads: Reads, threads: Callable[[int], None]) -> None:
    threads(2)
    before, encoder = threading.active_count(), make_encoder()
    done: Iterator[Encoded] = local.run(job_of(reads(300), [encoder], shards_of(300, 10), batch_size=5))
    assert next(done).shard.number == 0
    done.close()  # type: ignore[attr-defined]  # a generator, as a caller may find
    assert threading.active_count() == before and torch.get_num_threads() == 2
    assert encoder.encoded <= 5 * (2 + 5 + 2)


def test_engines_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_engine("local") is local.run
    for name in ("", "Local", "spark", "../local"):
        with pytest.raises(UsageError, match=rf"There is no engine '{name}'; there are local and ray\."):
            find_engine(name)

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("embprobe.embeddings.engines.import_module", missing)
    with pytest.raises(UsageError, match=r"pip install 'embprobe\[ray\]'"):
        find_engine("ray")


def test_a_job_of_no_shards_is_done(tmp_path: Path, reads: Reads) -> None:
    assert list(local.run(job_of(reads(3), [make_encoder()], []))) == []
