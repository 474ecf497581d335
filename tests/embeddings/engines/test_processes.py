"""Pictures that processes read give the same vectors, and a process that dies takes nothing with it."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

import embprobe.embeddings.store
from embprobe.embeddings.engines import processes, reading
from embprobe.embeddings.engines.schedule import Pictures
from embprobe.embeddings.extract import extract, extract_together
from embprobe.embeddings.job import Job, Wanted
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Encoder
from embprobe.errors import EmbprobeError
from embprobe.images import Images, load_images
from embprobe.interventions import intervene
from tests.conftest import make_encoder, noise

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are used on Linux only")


@pytest.fixture(autouse=True)
def _two_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(embprobe.embeddings.store, "SHARD_ROWS", 8)
    monkeypatch.setattr(processes, "FEW", 1)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """Return a folder of twenty images, the third of which is torn."""
    (tmp_path / "images").mkdir()
    for i in range(20):
        noise(i, (24, 16)).save(tmp_path / "images" / f"{i:02d}.png")
    (tmp_path / "images" / "02.png").write_bytes((tmp_path / "images" / "02.png").read_bytes()[:200])
    return load_images(str(tmp_path / "images"))


@pytest.fixture
def readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[int]]:
    """Return a function that names the processes that have read pictures since it was called last."""
    told, read_rows = tmp_path / "readers", reading.read_rows

    def telling(job: Job, pictures: Pictures) -> list[reading.ReadRow]:
        with told.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.01)  # time for the other one
        return read_rows(job, pictures)

    def who() -> set[int]:
        lines = set(map(int, told.read_text().split())) if told.exists() else set()
        told.unlink(missing_ok=True)
        return lines

    monkeypatch.setattr(processes, "read_rows", telling)
    return who


def changed(images: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    """Return the images changed by a function that forks may call."""
    return images.changed_by("changed", "change", lambda row: change, ours=True)


def files(workspace: Path) -> dict[str, bytes]:
    return {str(path.relative_to(workspace)): path.read_bytes() for path in sorted(workspace.rglob("*.npy"))}


def test_vectors_are_the_same_byte_for_byte(images: Images, tmp_path: Path, readers: Callable[[], set[int]]) -> None:
    encoders = [make_encoder("a", side=8), make_encoder("b", side=6)]
    sets = [images, *(intervene(images, "hue", strength, seed=0) for strength in (60, 120))]
    sets += [intervene(images, "hue/lightness", 60, seed=0), intervene(images, "word=thus", 0.5, seed=1)]
    wanted = [Wanted(each, encoders) for each in sets]
    left_out: list[list[list[str]]] = []
    for workers, folder in ((2, "processes"), (1, "one")):
        torch.set_num_threads(workers)
        workspace = Workspace.open(tmp_path / folder)
        extract_together(wanted, workspace)
        pids = readers()
        assert pids == {os.getpid()} if workers == 1 else len(pids) == 2 and os.getpid() not in pids
        stores = [store for each in sets for store in extract(each, encoders, workspace)]
        assert all(store.complete and not store.written for store in stores)
        left_out.append([[f"{row.key}: {row.reason}" for row in store.rejected] for store in stores])
    assert left_out[0] == left_out[1] and all("02.png" in " ".join(each) for each in left_out[0])
    assert files(tmp_path / "processes") == files(tmp_path / "one") != {}


def test_connections_and_code_of_others_stay_in_the_process(
    images: Images, tmp_path: Path, readers: Callable[[], set[int]]
) -> None:
    hue = intervene(images, "hue", 60, seed=0)
    assert hue.forkable and intervene(hue, "word=thus", 0.5, seed=1).forkable
    both = Images.joined("both", [images, hue])
    assert both.forkable and replace(both, rows=list(both.rows)).forkable
    elsewhere = replace(images, place="https://example.org/images.tar")
    memory = Images("memory", list(images.rows))
    theirs = images.map("theirs", lambda row: ("theirs", ImageOps.invert))
    for each in (elsewhere, memory, theirs, intervene(theirs, "hue", 60, seed=0)):
        assert not each.forkable and not Images.joined("both", [each, hue]).forkable
    extract_together([Wanted(each, [make_encoder()]) for each in (theirs, hue)], Workspace.open(tmp_path / "space"))
    assert readers() == {os.getpid()}


def test_a_process_that_is_killed_is_an_error_and_what_was_finished_stays(images: Images, tmp_path: Path) -> None:
    mark = tmp_path / "killed"

    def once(image: Image.Image) -> Image.Image:
        if len(list(tmp_path.glob("seen*"))) > 12 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (tmp_path / f"seen-{os.getpid()}-{time.monotonic_ns()}").touch()
        return ImageOps.invert(image)

    workspace, encoder = Workspace.open(tmp_path / "space"), make_encoder(side=8)
    negatives = changed(images, once)
    with pytest.raises(EmbprobeError, match="A process that reads images was killed, perhaps because the memory"):
        extract(negatives, [encoder], workspace, batch_size=2)
    before = files(tmp_path / "space")
    assert before  # of three shards
    (store,) = extract(negatives, [encoder], workspace, batch_size=2)
    assert store.complete and before.items() <= files(tmp_path / "space").items()
    other = Workspace.open(tmp_path / "other")
    (alone,) = extract(changed(images, ImageOps.invert), [make_encoder(side=8)], other)
    assert alone.vectors().tobytes() == store.vectors().tobytes()


def test_a_process_that_is_killed_while_it_sends_is_an_error_too(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(pipe: Connection, answer: object) -> None:
        os.write(pipe.fileno(), struct.pack("!i", 2**20) + b"the first bytes of a mebibyte")
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(processes, "_send", half)
    with pytest.raises(EmbprobeError, match="A process that reads images was killed"):
        extract(changed(images, ImageOps.invert), [make_encoder()], Workspace.open(tmp_path / "space"))


class Unsendable(Exception):
    """An error that cannot be made again of its text alone."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def test_an_error_that_cannot_be_sent_is_told_in_words(images: Images, tmp_path: Path) -> None:
    def fails(image: Image.Image) -> Image.Image:
        raise Unsendable(1, 2)

    with pytest.raises(EmbprobeError, match="An image could not be read: Unsendable"):
        extract(changed(images, fails), [make_encoder()], Workspace.open(tmp_path / "space"))


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), ValueError("a fault")])
def test_an_error_in_a_process_is_that_of_the_run(images: Images, tmp_path: Path, error: Exception) -> None:
    def fails(image: Image.Image) -> Image.Image:
        raise error

    with pytest.raises(type(error), match=str(error.args[-1])):
        extract(changed(images, fails), [make_encoder()], Workspace.open(tmp_path / "space"))


PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from pathlib import Path
import torch
from embprobe.embeddings.engines import processes, reading
from embprobe.embeddings.extract import extract
from embprobe.embeddings.workspace import Workspace
from embprobe.images import load_images
from tests.conftest import make_encoder
processes.FEW = 1
torch.set_num_threads(2)
folder = Path(sys.argv[1])
def waits(image):
    (folder / f"waits-{time.monotonic_ns()}").touch()
    time.sleep(60)
    return image
images = load_images(str(folder / "images")).changed_by("waits", "waits", lambda row: waits, ours=True)
try:
    extract(images, [make_encoder()], Workspace.open(folder / "space"))
except KeyboardInterrupt:
    print("interrupted")
"""


def running(pids: set[int]) -> set[int]:
    """Return those of some processes that live, and are not just waiting to be counted."""
    states = {}
    for pid in pids:
        try:
            states[pid] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
    return {pid for pid, state in states.items() if state != "Z"}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_made_them(images: Images, tmp_path: Path, how: signal.Signals) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while len(list(tmp_path.glob("waits*"))) < 2:
            assert run.poll() is None, run.communicate()
            time.sleep(0.05)
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        readers = running(set(map(int, children)))
        assert len(readers) >= 2
        if how is signal.SIGKILL:
            run.kill()
        else:
            os.killpg(run.pid, how)  # as a terminal does
        out, errors = run.communicate(timeout=20)
        end = time.monotonic() + 5
        while running(readers) and time.monotonic() < end:
            time.sleep(0.02)
        assert not running(readers)
        assert out == ("" if how is signal.SIGKILL else "interrupted\n") and not errors
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    encoder: Encoder = make_encoder()
    free = extract(changed(images, ImageOps.invert), [encoder], Workspace.open(tmp_path / "space"))
    assert free[0].complete
