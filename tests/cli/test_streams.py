"""Standard output and error that cannot take every letter, are closed, or are full."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.cli.app import main
from embprobe.cli.console import any_letters, print_json
from tests.conftest import noise

PROGRAM = "from embprobe.cli.app import main; main()"
NAMES = {"日本/é😀.png": 0, 'Ä"ö—…/b.png': 1, os.fsdecode(b"a/\xe9\xff.png"): 2, "a/plain.png": 3}
NARROW = ["ascii", "latin-1", "cp437", "cp1252"]


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """Images with names in other scripts, with an emoji, and with bytes that are no UTF-8."""
    folder = tmp_path / "named"
    for name, seed in NAMES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise(seed).save(folder / name)
    return folder


def embprobe(*arguments: str | Path, redirect: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a process of its own, its streams redirected by a shell."""
    command = ["sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-c", PROGRAM, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, env={**os.environ, **environment})
    assert b"Traceback" not in ran.stderr
    return ran


def printed_in(encoding: str, monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> str:
    """Run the command line in this process with a standard output of this encoding, and return the text on it."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    monkeypatch.setattr(sys, "argv", ["embprobe", *map(str, arguments)])
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def test_names_that_a_terminal_cannot_show_become_escapes(
    named: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # or rich would break names into lines
    query = ("neighbors", "日本/é😀.png", "-i", named, "-e", "reference/pixels", "--workspace", space)
    for encoding in NARROW:
        printed = printed_in(encoding, monkeypatch, *query)
        for name in NAMES:
            if "\udce9" not in name:
                assert name.encode(encoding, "backslashreplace").decode(encoding) in printed
        assert r"a/\xe9\xff.png" in printed
        document = json.loads(printed_in(encoding, monkeypatch, *query, "--json"))
        assert document["query"] == "日本/é😀.png"
        keys = {near["key"] for near in document["neighbors"]["reference/pixels"]}
        assert keys == {'Ä"ö—…/b.png', r"a/\xe9\xff.png", "a/plain.png"}


def test_in_the_c_locale_every_letter_is_printed() -> None:
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = embprobe("datasets", "cifar-10", **environment)
    assert ran.returncode == 0 and rb"deer, \u2026" in ran.stdout
    assert embprobe("--help", **environment).returncode == 0


@pytest.mark.parametrize("arguments", [["--help"], ["probe", "--help"], ["datasets"], ["datasets", "wikiart"]])
def test_what_is_known_is_printed_on_every_terminal(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed_in("ascii", monkeypatch, *arguments).isascii()


@given(st.text(), st.sampled_from([*NARROW, "utf-8", "utf-16", "euc-jp", "koi8-r"]))
@settings(max_examples=60)
def test_json_holds_what_was_printed_in_every_encoding(text: str, encoding: str) -> None:
    buffer = io.BytesIO()
    stream, before = io.TextIOWrapper(buffer, encoding=encoding, newline="\n"), sys.stdout
    sys.stdout = stream
    try:
        with any_letters():
            print_json({"key": text})
            stream.flush()
    finally:
        sys.stdout = before
    assert json.loads(buffer.getvalue().decode(encoding)) == {"key": text}


@given(st.text(st.characters()), st.sampled_from(["utf-8", *NARROW]))
@settings(max_examples=60)
def test_every_text_can_be_printed_while_a_command_runs_and_the_stream_is_left_as_it_was(
    text: str, encoding: str
) -> None:
    stream, before = io.TextIOWrapper(io.BytesIO(), encoding=encoding), sys.stdout
    sys.stdout = stream
    try:
        with any_letters():
            stream.write(text)
            stream.flush()
        assert stream.errors == "strict"
    finally:
        sys.stdout = before


def test_the_choice_of_who_runs_it_is_kept() -> None:
    stream, before = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace"), sys.stdout
    sys.stdout = stream
    try:
        with any_letters():
            assert stream.errors == "replace"
    finally:
        sys.stdout = before


@pytest.mark.skipif(os.name == "nt", reason="redirects of a POSIX shell")
class TestClosedStreams:
    @pytest.mark.parametrize("arguments", [["datasets", "wikiart"], ["datasets", "--json"], ["--version"]])
    def test_an_answer_that_goes_nowhere_is_an_error_in_a_sentence(self, arguments: list[str]) -> None:
        ran = embprobe(*arguments, redirect=">&-")
        assert ran.returncode == 1
        assert ran.stderr == b"embprobe: The system says of 'standard output': Bad file descriptor.\n"

    def test_a_command_that_prints_no_answer_needs_no_streams(self, photos: Path, space: Path) -> None:
        extract = ("extract", photos, "-e", "reference/pixels", "--workspace", space)
        assert embprobe(*extract, redirect="<&- >&- 2>&-").returncode == 0
        assert len(list(space.glob("stores/*/*/manifest.json"))) == 1
        written = embprobe("datasets", "wikiart", redirect="2>&-")
        assert written.returncode == 0 and b"wikiart" in written.stdout
        assert embprobe("datasets", "no-such", redirect="2>&- >&-").returncode == 2

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
    @pytest.mark.parametrize("arguments", [["datasets", "wikiart"], ["datasets", "wikiart", "--json"], ["--help"]])
    def test_a_full_disk_is_said_in_a_sentence(self, arguments: list[str]) -> None:
        ran = embprobe(*arguments, redirect="> /dev/full")
        assert ran.returncode == 1
        assert ran.stderr.endswith(b"embprobe: The system says of a file: No space left on device.\n")

    def test_a_reader_that_stops_reading_is_no_traceback(self) -> None:
        ran = embprobe("datasets", "--json", redirect="| head -1")
        assert ran.stdout == b"[\n"
