"""Engines: who does the shards of an extraction. The local one by default; Ray's for a cluster."""

from __future__ import annotations

from importlib import import_module

from embprobe.embeddings.job import Engine
from embprobe.errors import UsageError

ENGINES = ("local", "ray")


def find_engine(name: str) -> Engine:
    """An engine by its name; raises :class:`UsageError` if there is none, or what it needs is not installed."""
    if name not in ENGINES:
        raise UsageError(f"There is no engine '{name}'; there are {' and '.join(ENGINES)}.")
    try:
        engine: Engine = import_module(f"embprobe.embeddings.engines.{name}").run
    except ImportError:
        raise UsageError(
            f"The engine '{name}' needs a package that is not installed: pip install 'embprobe[{name}]'."
        ) from None
    return engine
