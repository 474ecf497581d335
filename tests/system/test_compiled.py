"""Compiled functions where numba has nowhere to keep them; each case in a process of its own, for numba reads once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
import numba

@numba.njit("int64(int64)", cache=True)
def twice(number):
    return 2 * number
"""
SCRIPT = """
import os, sys
from embprobe.system.compiled import import_compiled
print(import_compiled("doubling").twice(21))
print(os.environ.get("NUMBA_CACHE_DIR", ""))
"""


def imported(folder: Path, **environment: str | None) -> tuple[int, str, Path | None]:
    """Import the module in a process; its output, and the folder that numba was given."""
    (folder / "doubling.py").write_text(MODULE)
    known = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), **environment}
    given = {name: value for name, value in known.items() if value is not None}
    ran = subprocess.run([sys.executable, "-c", SCRIPT], env=given, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    answer, kept = ran.stdout.splitlines()
    return int(answer), ran.stderr, Path(kept) if kept else None


def test_where_numba_may_write_nothing_is_changed(tmp_path: Path) -> None:
    answer, printed, kept = imported(tmp_path, NUMBA_CACHE_DIR=None)
    assert (answer, printed, kept) == (42, "", None)
    assert list((tmp_path / "__pycache__").glob("*.nbi"))


@pytest.mark.parametrize("chosen", [None, "a file"])
def test_where_numba_may_write_nowhere_a_temporary_folder_is_used_and_removed(
    tmp_path: Path, chosen: str | None
) -> None:
    (tmp_path / "a file").touch()
    directory = None if chosen is None else str(tmp_path / chosen)
    # of numba's places only the one that NUMBA_CACHE_DIR names: as if the installation and the home were read-only
    answer, printed, kept = imported(
        tmp_path, NUMBA_CACHE_DIR=directory, NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator"
    )
    assert (answer, printed) == (42, "")
    assert kept is not None and kept.name.startswith("embprobe-numba-") and not kept.exists()
