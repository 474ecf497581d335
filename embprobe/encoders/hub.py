"""Weights that lie on the Hugging Face hub: what to do, and to say, when it cannot be reached."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

import huggingface_hub
from huggingface_hub import constants

from embprobe.errors import EmbprobeError
from embprobe.system.overrides import Override

PLACES = {"hf-hub": "OWNER/NAME", "local-dir": "FOLDER"}
"""What open_clip and timm take instead of a model's name: places that hold weights beside their configuration."""
SOURCES = {"hf-hub": "that repository", "local-dir": "that folder"}
"""Where the weights of a place come from, in a list."""


_OFFLINE = Override(lambda: (constants, "HF_HUB_OFFLINE", True))


@contextmanager
def cache_if_unreachable(*, local: bool = False) -> Iterator[None]:
    """While it lasts, let the hub's library look in its cache only, if the hub's host has no address here.

    It would try for a minute otherwise, even for files in the cache. Behind a proxy a missing address proves nothing.
    Nothing is looked up for ``local`` weights.
    """
    if local or _reachable():
        yield
        return
    try:
        with _OFFLINE:
            yield
    finally:  # versions before 1.0 keep their sessions, and one that was begun offline stays offline
        getattr(huggingface_hub.utils, "reset_sessions", lambda: None)()


def _reachable() -> bool:
    host = urlsplit(constants.ENDPOINT).hostname
    if host is None or getproxies():
        return True
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def load_failure(
    name: str, weights: str, error: Exception, *, what: str = "weights", local: bool = False
) -> EmbprobeError:
    """What to tell the user when a library could not load ``name`` (with ``weights``, if a file or a tag was given).

    What is ``local`` cannot have failed for want of a network.
    """
    text = str(error)
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in text or "Unpickl" in text:
        return EmbprobeError(
            f"'{weights or name}' holds more than weights (it would run code), or is damaged; refused."
        )
    if not local and any(
        sign in text for sign in ("offline", "resolve", "onnect", "LocalEntryNotFound", "cached snapshot")
    ):
        model = name.partition(":")[0]
        family, _, place = model.partition("/")
        instead = f"a folder: '{family}/local-dir:FOLDER'" if place in PLACES else f"a file: '{model}:FILE'"
        hint = f" Without a network, give {instead}." if what == "weights" else ""
        return EmbprobeError(f"The {what} of '{name}' could not be fetched.{hint}")
    reason = text.splitlines()[0] if text else type(error).__name__
    return EmbprobeError(f"Could not load '{name}': {reason}")
