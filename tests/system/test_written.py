"""A file that accompanies an answer, written or not."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from embprobe.system.written import written


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "f.png"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "f.png"), "Permission denied"),
        (ValueError("Image size of 1x99999999 pixels is too large."), "Image size of 1x99999999 pixels is too large"),
        (MemoryError(), "there is not enough memory"),
        (RuntimeError("\x1b[31m"), r"\x1b[31m"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_failure_is_a_warning_with_its_reason(
    error: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise error

    assert not written("figure", Path("f\n.png"), fail)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == rf"The figure 'f\n.png' could not be written: {reason}."


def test_what_is_written_is_not_spoken_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert written("figure", tmp_path / "f", (tmp_path / "f").touch)
    assert (tmp_path / "f").exists() and not caplog.records


def test_an_interruption_is_no_failure() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written("figure", Path("f"), interrupt)
