"""Engines encode the shards of an extraction: the local one by default, Ray's on a cluster."""

from __future__ import annotations

from importlib import import_module

from embprobe.embeddings.job import Engine
from embprobe.errors import UsageError

ENGINES = ("local", "ray")


def find_engine(name: str) -> Engine:
    """Return an engine by its name; raises :class:`UsageError` for an unknown one or if its package is missing."""
    if name not in ENGINES:
        raise UsageError(f"There is no engine '{name}'; there are {' and '.join(ENGINES)}.")
    try:
        engine: Engine = import_module(f"embprobe.embeddings.engines.{name}").run
    except ImportError:
        raise UsageError(
            f"The engine '{name}' needs a package that is not installed: pip install 'embprobe[{name}]'."
        ) from None
    return engine
