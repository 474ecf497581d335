"""Look in the Hugging Face hub's cache at once when the hub cannot be reached, and remember the reason."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import huggingface_hub
from huggingface_hub import constants, utils

from embprobe.system.overrides import Override

PATIENCE = 5.0
"""Seconds that the hub may take to accept a connection, and again to answer its first request."""
_REFUSED = (502, 503, 504)
"""Status codes by which a gateway says that nothing behind it answers; the library would try such a request again."""
_OFFLINE = Override(lambda: (constants, "HF_HUB_OFFLINE", True))


@contextmanager
def cache_if_unreachable(*, local: bool = False) -> Iterator[None]:
    """Within this context, let huggingface_hub look in its cache only, if the hub does not answer.

    The library would try for a minute otherwise, even for files in the cache. An error that leaves the context carries
    the reason why the hub could not be reached, which :func:`unreachable_reason` reads.

    Args:
        local: The files are on this machine: nothing is looked up, and the library is left as it is.
    """
    reason = None if local or constants.HF_HUB_OFFLINE else _obstacle()
    if reason is None:
        yield
        return
    try:
        with _OFFLINE:
            yield
    except Exception as error:
        error.add_note(f"{_MARK}{reason}")
        raise
    finally:  # versions before 1.0 keep their sessions, and one that was begun offline stays offline
        getattr(utils, "reset_sessions", lambda: None)()


_MARK = "The hub was not reached: "


def unreachable_reason(error: BaseException) -> str:
    """Return why the hub was not reached when an error was raised; "" if it was, or nobody looked."""
    marks = (note for note in getattr(error, "__notes__", ()) if note.startswith(_MARK))
    return next(marks, "").removeprefix(_MARK)


def _obstacle() -> str | None:
    """Return why the hub cannot be reached, in a clause without a full stop; None if it answers.

    One request is made as the library makes them: through the same proxy, with the same certificates. Any answer but a
    gateway's refusal will do.
    """
    host = urlsplit(constants.ENDPOINT).hostname or ""
    proxy = _proxy(host)
    if not proxy:
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            return f"the name {host} cannot be resolved"
    try:
        answer: Any = huggingface_hub.get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception as error:  # the HTTP library has changed between versions of the hub's
        reason = str(error).partition("\n")[0] or type(error).__name__
    else:
        if answer.status_code not in _REFUSED:
            return None
        reason = f"HTTP status {answer.status_code}"
    way = f" through the proxy {proxy}" if proxy else ""
    return f"{host} does not answer{way} ({reason})"


def _proxy(host: str) -> str:
    """Return the address of the proxy that requests to the hub go through, without a password; "" for none."""
    proxies = getproxies()
    address = proxies.get(urlsplit(constants.ENDPOINT).scheme) or proxies.get("all") or ""
    if not address or proxy_bypass(host):
        return ""
    parts = urlsplit(address if "//" in address else f"//{address}")
    return (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
