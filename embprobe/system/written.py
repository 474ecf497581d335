"""Write what accompanies an answer so that the answer is given even where nothing can be written."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from embprobe.system.text import visible

_log = logging.getLogger(__name__)


def written(name: str, path: Path, write: Callable[[], object]) -> bool:
    """Write a file by calling ``write`` and return whether that succeeded; a failure is logged as a warning.

    Numbers took minutes or hours to compute and are worth more than their figure, so every error but an interruption
    counts: a full disk, a folder without permission, a figure that matplotlib cannot draw.

    Args:
        name: The kind of file for the warning, such as "figure".
        path: The file.
        write: Writes it.

    Example:
        >>> written("figure", Path("figure.png"), lambda: None)
        True
    """
    try:
        write()
    except Exception as error:
        _log.warning(
            "The %s '%s' could not be written: %s.", name, visible(str(path)), _reason(error), extra={"error": error}
        )
        return False
    return True


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return visible(text.strip().rstrip(".")) or type(error).__name__
