"""What libraries print is hushed, but never the last words of a process; and the process is left as it was."""

from __future__ import annotations

import faulthandler
import logging
import signal
import subprocess
import sys
import warnings

import pytest

from tests.conftest import Run

CRASH = """
import ctypes, faulthandler, os, sys
from embprobe.cli import app

@app.app.command("crash")
def crash():
    {statement}

sys.argv = ["embprobe", "crash"]
app.main()
"""
ABORT = """ctypes.CDLL(None).write(2, b"CUDA error: device-side assert triggered\\n", 41); os.abort()"""


@pytest.mark.parametrize(
    ("statement", "ends", "printed"),
    [
        ("os.abort()", signal.SIGABRT, "Fatal Python error: Aborted"),
        ("faulthandler._sigsegv()", signal.SIGSEGV, "Fatal Python error: Segmentation fault"),
        (ABORT, signal.SIGABRT, "CUDA error: device-side assert triggered"),
    ],
    ids=["abort", "segmentation fault", "words of native code"],
)
def test_native_code_that_crashes_is_heard(statement: str, ends: int, printed: str) -> None:
    command = [sys.executable, "-c", CRASH.format(statement=statement)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == -ends
    assert printed in ended.stderr and "in crash" in ended.stderr  # the message, and where in Python it happened


def test_a_command_leaves_the_process_as_it_was(run: Run) -> None:
    root, hub = logging.getLogger(), logging.getLogger("huggingface_hub")

    def state() -> tuple[object, ...]:
        return (warnings.filters[:], root.handlers[:], hub.level, sys.stderr, faulthandler.is_enabled())

    before = state()
    assert run("encoders", "reference/").code == 0
    assert state() == before
    assert run("encoders", "no-such-encoder/").code != 0
    assert state() == before
