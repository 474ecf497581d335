"""A run may be killed at any moment: what was finished stays, byte for byte, and is never encoded again."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
import torch
from torch import Tensor

import embprobe.embeddings.store
import embprobe.system.files
from embprobe.embeddings.engines import find_engine
from embprobe.embeddings.extract import extract
from embprobe.embeddings.manifest import read_manifest
from embprobe.embeddings.store import metadata_file, vectors_file
from embprobe.embeddings.verify import verify_stores
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from embprobe.images import Images, Row
from tests.conftest import CountingEncoder, channel_means, encoded, make_encoder, solid

ROWS, SHARD, BATCH = 60, 10, 5
UNREADABLE = (7, *range(40, 50))  # one alone, and the whole of shard 4
ENCODERS = ("a", "b")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


# --- the server: a process that has imported everything, and forks a child for every run -------------------------


@dataclass(frozen=True)
class Order:
    """What a child is to do, and when it dies."""

    space: str
    log: str
    rows: int = ROWS
    reverse: bool = False
    """The encoders in the other order."""
    kill_after: float | None = None
    """Seconds until it is killed."""
    die_at: int | None = None
    """It kills itself when it is about to do the n-th thing to a file."""
    in_place: bool = False
    """Files are written where they lie, slowly, instead of beside it and moved."""


class Ended(NamedTuple):
    killed: bool
    error: str
    """What the child said if it failed."""
    seconds: float


class Child(NamedTuple):
    process: int
    errors: int
    """The end of a pipe where it writes what went wrong."""


def serve() -> None:
    """Read orders from standard input, as many a line as are to run at the same time; answer how they ended."""
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # or every child's first collection would copy the pages of everything imported
    pa.array(["x"], pa.string())  # what is imported or looked up late, once and not in every child: pandas,
    find_engine("local")
    known = {name: version(name) for name in embprobe.embeddings.store._VERSIONS}
    vars(embprobe.embeddings.store)["version"] = known.__getitem__
    vars(os)["fsync"] = lambda file: None  # slow; a kill, unlike a power cut, takes nothing that the system was given
    for line in sys.stdin:
        assert threading.active_count() == 1  # a child of a process with threads may hang
        orders = [Order(**order) for order in json.loads(line)]
        sys.stdout.write(json.dumps(_run(orders)) + "\n")
        sys.stdout.flush()


def _run(orders: Sequence[Order]) -> list[Ended]:
    began = time.perf_counter()
    children = [_fork(order) for order in orders]
    kills = [(order.kill_after, child) for order, child in zip(orders, children, strict=True)]
    for after, child in sorted((after, child) for after, child in kills if after is not None):
        time.sleep(max(0.0, began + after - time.perf_counter()))
        os.kill(child.process, signal.SIGKILL)
    ended = []
    for child in children:
        _, status = os.waitpid(child.process, 0)
        with os.fdopen(child.errors, "rb") as pipe:
            ended.append(Ended(os.WIFSIGNALED(status), pipe.read().decode(), time.perf_counter() - began))
    return ended


def _fork(order: Order) -> Child:
    read, write = os.pipe()
    if process := os.fork():
        os.close(write)
        return Child(process, read)
    try:
        _extract(order)
    except EmbprobeError as error:
        os.write(write, str(error).encode())
    except BaseException:
        os.write(write, traceback.format_exc().encode()[-4000:])
    os._exit(0)


def _extract(order: Order) -> None:
    embprobe.embeddings.store.SHARD_ROWS = SHARD
    if order.in_place:
        for module in (embprobe.system.files, embprobe.embeddings.store):
            vars(module)["replacing"] = in_place
    if order.die_at is not None:
        die_at(order.die_at, order.space)
    names = reversed(ENCODERS) if order.reverse else ENCODERS
    encoders = [logged_encoder(name, Path(order.log)) for name in names]
    extract(grey_images(order.rows), encoders, Workspace.open(Path(order.space)), batch_size=BATCH)


def grey_images(count: int) -> Images:
    """Image i is a PNG of the grey i, so that an encoder can tell which it was given."""

    def row(i: int) -> Row:
        content = b"" if i in UNREADABLE else encoded(solid((i, i, i)), "PNG")
        return Row(f"{i:03d}", {"grey": str(i)}, str(i), lambda: content)

    return Images("greys", tuple(map(row, range(count))))


def logged_encoder(name: str, log: Path) -> CountingEncoder:
    """It writes down, before anything else, which images it was given."""

    def function(batch: Tensor) -> Tensor:
        with log.open("a") as lines:
            lines.write(json.dumps([name, (batch[:, 0, 0, 0] * 255).round().int().tolist()]) + "\n")
        return channel_means(batch)

    return make_encoder(name, function, side=2 if name == "b" else 4)


def die_at(number: int, below: str) -> None:
    """Kill this process when it is about to make, or to move into place, its n-th file below a folder."""
    left = number

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event == "os.rename") and str(arguments[0]).startswith(below):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


@contextmanager
def in_place(path: Path) -> Iterator[Path]:
    """What :func:`embprobe.system.files.replacing` must not be: for two milliseconds half of the file is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    yield temporary
    content = temporary.read_bytes()
    temporary.unlink()
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(0.002)
        file.write(content[len(content) // 2 :])


Start = Callable[..., list[Ended]]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Runs orders at the same time, each in a process of its own."""
    command = [sys.executable, "-c", "from tests.embeddings.test_kills import serve; serve()"]
    here, one_thread = Path(__file__).parents[2], os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=here, env=one_thread) as server:
        assert server.stdin and server.stdout
        asks, answers = server.stdin, server.stdout

        def start(*orders: Order) -> list[Ended]:
            asks.write(json.dumps([asdict(order) for order in orders]) + "\n")
            asks.flush()
            line = answers.readline()
            assert line, "the server has ended"
            return [Ended(*each) for each in json.loads(line)]

        yield start
        server.kill()  # it holds nothing


# --- what must hold after every kill -----------------------------------------------------------------------------


@dataclass
class Watch:
    """A workspace, and what was finished in it whenever :meth:`look` was called."""

    root: Path
    finished: dict[tuple[str, int], list[tuple[bytes, int, int]]] = field(default_factory=dict)
    """By encoder and shard: bytes, inode and time of its two files."""
    read: int = 0
    """Lines of the log that were looked at."""
    kills_left: int = 0
    """How often it is to be killed before it may finish."""

    @property
    def log(self) -> Path:
        return self.root.with_suffix(".log")

    def order(self, rows: int = ROWS, **how: Any) -> Order:
        return Order(str(self.root), str(self.log), rows, **how)

    def encoded(self) -> list[tuple[str, int]]:
        """Which encoder was given which image, since this was last asked."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        new, self.read = lines[self.read :], len(lines)
        return [(name, row) for name, rows in map(json.loads, new) for row in rows]

    def look(self) -> None:
        """Nothing finished was lost, changed, written or encoded again; what counts is whole."""
        assert not {(name, row // SHARD) for name, row in self.encoded()} & set(self.finished), "encoded again"
        space = Workspace(self.root)
        assert [problem for store in verify_stores(space) for problem in store.problems] == []
        found = {}
        for folder in space.stores():
            manifest = read_manifest(folder)
            for shard in manifest.shards:
                files = (vectors_file(folder, shard), metadata_file(folder, shard))
                facts = [(path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) for path in files]
                found[str(manifest.encoder["model"]), shard] = facts
        assert {shard: found.get(shard) for shard in self.finished} == self.finished
        self.finished = found


def essence(root: Path) -> dict[str, Any]:
    """Every file of a workspace; what may differ from run to run is left out: seconds, and a killed run's lock.

    A workspace whose making was killed keeps twenty bytes beside its mark: nobody has a lock under which to sweep them.
    """
    paths = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    hidden = {name for name in paths if name.startswith(".") and (".tmp" not in name or name.startswith(".embprobe."))}
    kept = {name: path for name, path in paths.items() if name not in hidden}
    files: dict[str, Any] = {name: path.read_bytes() for name, path in kept.items()}
    for name in files:
        if name.endswith("manifest.json"):
            files[name] = json.loads(files[name])
            for facts in files[name]["shards"].values():
                assert set(facts.pop("seconds")) <= {"read", "decode", "encode", "write"}
    return files


def unlike(root: Path, expected: dict[str, Any]) -> list[str]:
    """The names of files that are missing, too many, or of another content."""
    found = essence(root)
    return [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]


@pytest.fixture
def whole(start: Start, tmp_path: Path) -> Callable[[int], dict[str, Any]]:
    """What an uninterrupted run leaves behind."""

    def run(rows: int) -> dict[str, Any]:
        assert start(Watch(tmp_path / "whole").order(rows))[0].error == ""
        return essence(tmp_path / "whole")

    return run


def test_an_uninterrupted_run_does_each_image_once_for_each_encoder(start: Start, tmp_path: Path) -> None:
    watch = Watch(tmp_path / "space")
    (ended,) = start(watch.order())
    assert not ended.killed and ended.error == ""
    readable = [row for row in range(ROWS) if row not in UNREADABLE]
    assert sorted(watch.encoded()) == [(name, row) for name in ENCODERS for row in readable]
    for folder in Workspace.open(watch.root).stores():
        assert sorted(read_manifest(folder).shards) == list(range(6))  # 60 rows in shards of 10
        rejected = (folder / "rejected.jsonl").read_text().splitlines()
        assert [json.loads(line)["row"] for line in rejected] == list(UNREADABLE)


def test_two_hundred_kills_at_random_moments_lose_nothing(
    start: Start, whole: Callable[[int], dict[str, Any]], tmp_path: Path
) -> None:
    expected = whole(ROWS)
    timed = [start(*(Watch(tmp_path / f"timed{i}{side}").order() for side in "ab")) for i in range(2)]
    longest = 1.2 * min(ended.seconds for both in timed for ended in both)
    chance, kills, wrong = random.Random(0), 0, {}
    fresh = (Watch(tmp_path / f"space{i}", kills_left=chance.randint(1, 5)) for i in range(400))
    running = [next(fresh), next(fresh)]  # for two cores
    while running:
        after = [chance.uniform(0, longest) if watch.kills_left else None for watch in running]
        orders = [watch.order(kill_after=seconds) for watch, seconds in zip(running, after, strict=True)]
        for watch, ended in zip(list(running), start(*orders), strict=True):
            assert ended.error == ""
            watch.look()
            kills, watch.kills_left = kills + ended.killed, watch.kills_left - ended.killed
            if not ended.killed:
                assert len(watch.finished) == 12
                if names := unlike(watch.root, expected):
                    wrong[watch.root.name] = names
                running.remove(watch)
                running += [next(fresh)] if kills < 200 else []
    assert wrong == {}
    assert kills >= 200


def test_a_kill_between_any_two_steps_loses_nothing(
    start: Start, whole: Callable[[int], dict[str, Any]], tmp_path: Path
) -> None:
    rows = SHARD + 1  # two shards, the second of one row
    expected = whole(rows)
    wrong: dict[int, object] = {}
    for step in range(1000):
        watch = Watch(tmp_path / f"space{step}")
        (ended,) = start(watch.order(rows, die_at=step))
        assert ended.error == ""
        watch.look()
        if not ended.killed:
            break
        (again,) = start(watch.order(rows))
        watch.look()
        if problem := again.error or unlike(watch.root, expected):
            wrong[step] = problem
    assert wrong == {}
    assert step >= 2 * (1 + 2 * 2 * 3)  # each made and moved: the mark, and for two encoders and two shards three files


def test_a_store_that_wrote_in_place_would_be_caught(start: Start, tmp_path: Path) -> None:
    longest = start(Watch(tmp_path / "timed").order(in_place=True))[0].seconds
    chance = random.Random(0)
    with pytest.raises((AssertionError, EmbprobeError)):
        for i in range(40):
            watch = Watch(tmp_path / f"space{i}")
            start(watch.order(in_place=True, kill_after=chance.uniform(0.2 * longest, longest)))
            watch.look()


def test_two_runs_at_the_same_time_never_wait_for_each_other(start: Start, tmp_path: Path) -> None:
    done = 0
    for i in range(8):
        watch = Watch(tmp_path / f"space{i}")
        Workspace.open(watch.root)
        ended = start(watch.order(), watch.order(reverse=True))
        refused = [each.error for each in ended if each.error]
        assert all("is being written by" in error for error in refused), refused
        done += 2 - len(refused)
        assert start(watch.order())[0].error == ""  # whoever was refused leaves no lock
        given = watch.encoded()
        assert len(given) == len(set(given)) == 2 * (ROWS - len(UNREADABLE))  # by one of them alone
        watch.look()
    assert done >= 8  # one of two at least
