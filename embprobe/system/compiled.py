"""Import modules whose functions numba compiles, wherever numba may or may not keep what it compiled."""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from embprobe.errors import EmbprobeError

_NOWHERE = "no locator available"
"""Part of numba's message where it can write neither beside a module nor below the user's home."""


def import_compiled(name: str) -> ModuleType:
    """Import a module that has numba keep compiled functions on disk, in a temporary folder if no other can be written.

    numba refuses the import where the installation is read-only and there is no home, as in a container with another
    user's number. The temporary folder is this process's alone, for numba unpickles what it reads there.

    Raises:
        EmbprobeError: A folder that the user chose for numba cannot be written.
    """
    if not _home_is_known() and not os.environ.get("NUMBA_CACHE_DIR"):
        _keep_in_temporary_folder()  # numba would make a folder named ~ here
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if _NOWHERE not in str(error):
            raise
    _keep_in_temporary_folder()
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        raise EmbprobeError(
            f"'{name}' cannot be imported: {error}. Set NUMBA_CACHE_DIR to a folder that can be written to."
        ) from error


def _home_is_known() -> bool:
    try:
        Path.home()
    except RuntimeError:  # no HOME, and a user number without an entry
        return False
    return True


def _keep_in_temporary_folder() -> None:
    import numba

    config: Any = numba.config
    folder = tempfile.mkdtemp(prefix="embprobe-numba-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = folder  # for processes that this one starts, and where numba reads it again
    config.CACHE_DIR = folder
