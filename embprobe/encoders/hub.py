"""Load weights from the Hugging Face hub's cache when the hub cannot be reached, and explain failures to load."""

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
"""Places that hold weights beside their configuration, as open_clip, timm and transformers take them: by the word
that stands where a model's name would, the form of the address behind its colon."""
SOURCES = {"hf-hub": "that repository", "local-dir": "that folder"}
"""By place, where its weights come from, as lists of encoders print it."""

_OFFLINE = Override(lambda: (constants, "HF_HUB_OFFLINE", True))


@contextmanager
def cache_if_unreachable(*, local: bool = False) -> Iterator[None]:
    """Within this context, let huggingface_hub look in its cache only, if the hub's host name cannot be resolved.

    The library would try for a minute otherwise, even for files in the cache. Behind a proxy a name that does not
    resolve proves nothing.

    Args:
        local: The weights are files of this machine: nothing is looked up, and the library is left as it is.
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
    """Return whether the hub's host name resolves; True behind a proxy, which resolves names itself."""
    host = urlsplit(constants.ENDPOINT).hostname
    if host is None or getproxies():
        return True
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def load_failure(
    name: str, weights: str, error: Exception, *, part: str = "weights", local: bool = False
) -> EmbprobeError:
    """Return the error, in the user's terms, for a library's failure to load an encoder.

    Args:
        name: The encoder's name.
        weights: The file or tag of its weights; "" if the user gave none.
        error: The exception that the library raised.
        part: The part that was to be loaded, ``weights`` or ``tokenizer``.
        local: The files are on this machine, so that a missing network cannot be the reason.
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
        hint = f" Without a network, give {instead}." if part == "weights" else ""
        return EmbprobeError(f"The {part} of '{name}' could not be fetched.{hint}")
    reason = text.splitlines()[0] if text else type(error).__name__
    return EmbprobeError(f"Could not load '{name}': {reason}")
