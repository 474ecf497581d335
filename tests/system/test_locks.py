"""One process writes a store at a time; the next is told who does, at once, and nobody has to clean up after a kill."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embprobe.cli.app
from embprobe.embeddings.extract import extract
from embprobe.embeddings.store import Store
from embprobe.embeddings.verify import verify_stores
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError
from embprobe.images import load_images
from embprobe.system.locks import held
from tests.conftest import Reads, make_encoder, snapshot

HOLDER = """
import sys
from pathlib import Path
from embprobe.system.locks import held

with held(Path(sys.argv[1]), "It"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a lock until its standard input is closed, or until it is killed."""
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def note_of(lock: Path) -> Path:
    return lock.with_suffix(".json")


# --- who is refused ----------------------------------------------------------------------------------------------


def test_the_second_is_told_the_process_the_host_and_the_time(workspace: Workspace, reads: Reads) -> None:
    images, encoder = reads(3), make_encoder()
    lock = workspace.lock(workspace.store(images, encoder.spec))
    with other_process(lock) as process, pytest.raises(EmbprobeError) as refused:
        began = time.perf_counter()
        extract(images, [encoder], workspace)
    assert time.perf_counter() - began < 10 and encoder.encoded == 0 and snapshot(workspace.root / "stores") is None
    found = re.fullmatch(
        r"The store of 'test/means' for 'noise' is being written by process (\d+) on (\S+) since "
        r"(\d\d:\d\d:\d\d on \d{4}-\d\d-\d\d)\. Run this again when that is done\.",
        str(refused.value),
    )
    assert found and found.group(1, 2) == (str(process.pid), socket.gethostname())
    since = datetime.strptime(found.group(3), "%H:%M:%S on %Y-%m-%d").astimezone()
    assert abs((datetime.now(UTC) - since).total_seconds()) < 60


def test_the_command_line_prints_it_and_exits_with_one(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images, spec, space = (
        load_images(str(photos)),
        load_encoder("reference/pixels").spec,
        Workspace.open(tmp_path / "w"),
    )
    arguments = ["embprobe", "extract", str(photos), "-e", "reference/pixels", "--workspace", str(space.root)]
    monkeypatch.setattr(sys, "argv", arguments)
    with other_process(space.lock(space.store(images, spec))) as process, pytest.raises(SystemExit) as ended:
        embprobe.cli.app.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 1 and out == "" and "Traceback" not in err
    last = err.rstrip("\n").splitlines()[-1]
    assert last.startswith("embprobe: The store of 'reference/pixels' for 'photos' is being written by")
    assert f"process {process.pid} on {socket.gethostname()} since" in last


def test_who_repairs_waits_for_nobody_either(workspace: Workspace, reads: Reads) -> None:
    (store,) = extract(reads(3), [make_encoder()], workspace)
    (path,) = (store.folder / "img_emb").iterdir()
    path.write_bytes(b"0")
    with other_process(workspace.lock(store.folder)):
        (checked,) = verify_stores(workspace)
        assert checked.damaged == (0,)
        with pytest.raises(EmbprobeError, match="is being written by process"):
            list(verify_stores(workspace, repair=True))


def test_one_process_refuses_itself_too(tmp_path: Path) -> None:
    with held(tmp_path / "a.lock", "It"):
        ours = rf"^It is being written by process {os.getpid()} on"
        with pytest.raises(EmbprobeError, match=ours), held(tmp_path / "a.lock", "It"):
            raise AssertionError
        with held(tmp_path / "b.lock", "Another"):
            pass


@pytest.mark.parametrize("begun", [False, True])
def test_the_same_encoder_under_two_names_does_not_refuse_itself(
    workspace: Workspace, reads: Reads, begun: bool
) -> None:
    images, one, two = reads(5), make_encoder(weights_sha256="0" * 64), make_encoder(weights_sha256="0" * 64)
    two.spec = replace(two.spec, options="precision=float32")
    assert one.spec.name != two.spec.name and one.spec.fingerprint == two.spec.fingerprint
    if begun:
        store = Store(workspace.store(images, one.spec), one.spec, images, "cpu", shard_rows=3)
        store.write_shard(1, np.zeros((2, 3), np.float32), store.rows_of(1), [])
    first, second = extract(images, [one, two], workspace)
    assert first.folder == second.folder and first.vectors().tolist() == second.vectors().tolist()
    assert one.encoded + two.encoded == (3 if begun else 5)


# --- who is not --------------------------------------------------------------------------------------------------


def test_a_complete_store_is_read_while_another_process_holds_it(workspace: Workspace, reads: Reads) -> None:
    images, encoder = reads(3), make_encoder()
    (whole,) = extract(images, [encoder], workspace)
    with other_process(workspace.lock(whole.folder)):
        (store,) = extract(images, [encoder], workspace)
        assert store.vectors().tolist() == whole.vectors().tolist() and encoder.encoded == 3
        other = make_encoder("other")
        (done,) = extract(images, [other], workspace)  # nobody holds this one
        assert done.complete


def test_what_is_complete_needs_no_lock_while_another_encoder_is_added(workspace: Workspace, reads: Reads) -> None:
    images, old, new = reads(3), make_encoder("old"), make_encoder("new")
    (whole,) = extract(images, [old], workspace)
    with other_process(workspace.lock(whole.folder)):
        stores = extract(images, [old, new], workspace)
    assert [store.complete for store in stores] == [True, True] and (old.encoded, new.encoded) == (3, 3)


def test_a_complete_store_is_read_where_nothing_can_be_written(
    workspace: Workspace, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, encoder = reads(3), make_encoder()
    (whole,) = extract(images, [encoder], workspace)

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("mkdir", "replace", "rename", "unlink", "fsync"):
        monkeypatch.setattr(os, name, refuse)
    (store,) = extract(images, [encoder], workspace)
    assert store.vectors().tolist() == whole.vectors().tolist()


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize("held_one", ["a", "b"])
def test_who_is_refused_one_store_lets_go_of_the_other(
    workspace: Workspace, reads: Reads, order: str, held_one: str
) -> None:
    images = reads(3)
    locks = {name: workspace.lock(workspace.store(images, make_encoder(name).spec)) for name in "ab"}
    with other_process(locks[held_one]), pytest.raises(EmbprobeError, match=f"'test/{held_one}' .* is being written"):
        extract(images, [make_encoder(name) for name in order], workspace)
    for lock in locks.values():
        with held(lock, "It"):
            pass


# --- what is left behind -----------------------------------------------------------------------------------------


def test_a_holder_that_was_killed_leaves_no_lock(workspace: Workspace, reads: Reads) -> None:
    images, encoder = reads(3), make_encoder()
    lock = workspace.lock(workspace.store(images, encoder.spec))
    with other_process(lock) as process:
        process.kill()
        process.wait()
        assert note_of(lock).exists()  # nobody is left who could have removed it
        (store,) = extract(images, [encoder], workspace)
    assert store.complete
    assert not note_of(lock).exists()


def end_by_return() -> None:
    pass


def end_by_error() -> None:
    raise ZeroDivisionError


def end_by_interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("end", [end_by_return, end_by_error, end_by_interrupt])
def test_a_lock_is_free_however_its_block_ends(tmp_path: Path, end: Callable[[], None]) -> None:
    for _ in range(3):
        try:
            with held(tmp_path / "a.lock", "It"):
                assert int(json.loads((tmp_path / "a.json").read_text())["pid"]) == os.getpid()
                end()
        except (ZeroDivisionError, KeyboardInterrupt):
            pass
    assert list(tmp_path.glob("*.json")) == []


def test_a_lock_is_free_if_its_note_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises((OSError, EmbprobeError), match="No space left"):
        patch.setattr("embprobe.system.locks.write_json", full)
        with held(tmp_path / "a.lock", "It"):
            raise AssertionError
    with held(tmp_path / "a.lock", "It"):
        pass


def test_a_workspace_is_as_it_was_after_an_extraction_that_had_nothing_to_do(
    workspace: Workspace, reads: Reads
) -> None:
    extract(reads(3), [make_encoder()], workspace)
    left = {path.name for path in workspace.root.iterdir()}
    assert left == {"embprobe.json", "stores"}


# --- a damaged note ----------------------------------------------------------------------------------------------

NOTES = {
    "gone": None,
    "empty": b"",
    "half": b'{"pid": 12, "ho',
    "another thing": b"[]",
    "no text": b"\xff\xfe",
    "without a time": b'{"pid": 12, "host": "a"}',
    "no number": b'{"pid": "x", "host": "a", "since": "2026-01-01T00:00:00+00:00"}',
    "no time": b'{"pid": 12, "host": "a", "since": "yesterday"}',
    "an endless number": b'{"pid": 1e999, "host": "a", "since": "2026-01-01T00:00:00+00:00"}',
    "the first day": b'{"pid": 12, "host": "a", "since": "0001-01-01T00:00:00+14:00"}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", NOTES)
def test_a_damaged_note_is_another_process(tmp_path: Path, damage: str) -> None:
    lock, content = tmp_path / "a.lock", NOTES[damage]
    with held(lock, "It"):
        note_of(lock).unlink()
        if content is not None:
            note_of(lock).write_bytes(content)
        somebody = r"^It is being written by another process\. Run this again"
        with pytest.raises(EmbprobeError, match=somebody), held(lock, "It"):
            raise AssertionError


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text()
    | st.datetimes().map(lambda when: when.isoformat()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional={"pid": VALUES, "host": VALUES, "since": VALUES}))
def test_no_note_is_anything_but_a_refusal(note: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "a.lock"
        with held(lock, "It"):
            note_of(lock).write_text(json.dumps(note))
            somebody = r"(?s)^It is being written by .*process"
            with pytest.raises(EmbprobeError, match=somebody), held(lock, "It"):
                raise AssertionError
