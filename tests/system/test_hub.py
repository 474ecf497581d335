"""Without a hub a load fails within seconds, and not after the minute of retries that the hub's library takes."""

from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from huggingface_hub import constants, utils

from embprobe.system.hub import cache_if_unreachable, unreachable_reason


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the library be online, with a connection of its own and without a proxy."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    _forget_connections()
    yield
    _forget_connections()


def _forget_connections() -> None:
    forget: Any = getattr(utils, "close_session", None) or utils.reset_sessions
    forget()


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of hosts looked up, none of which exists."""
    hosts: list[str] = []

    def lookup(host: str, port: Any) -> None:
        hosts.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example:8443")
    return hosts


@contextmanager
def server(status: int) -> Iterator[str]:
    """Run a server that answers every request, also one for a tunnel, with this status; yield its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_CONNECT = do_HEAD

        def log_message(self, *arguments: Any) -> None:
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def reason(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> str:
    """Return the reason why the hub at an address is not asked; "" if it is."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    try:
        with cache_if_unreachable():
            raise LookupError(str(constants.HF_HUB_OFFLINE))
    except LookupError as error:
        assert (str(error) == "True") == bool(unreachable_reason(error))
        return unreachable_reason(error)


def test_a_hub_without_an_address_is_not_queried(looked_up: list[str]) -> None:
    with cache_if_unreachable():
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is False and looked_up == ["hub.example"]


def test_a_library_that_was_offline_before_stays_so(looked_up: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with cache_if_unreachable():
        pass
    assert constants.HF_HUB_OFFLINE is True and looked_up == []


def test_sessions_that_were_begun_offline_are_not_kept(looked_up: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the library's versions before 1.0, which have such a function."""
    offline: list[bool] = []
    monkeypatch.setattr(utils, "reset_sessions", lambda: offline.append(constants.HF_HUB_OFFLINE), raising=False)
    with cache_if_unreachable():
        pass
    assert offline == [False]


def test_nothing_is_looked_up_for_local_weights(looked_up: list[str]) -> None:
    with cache_if_unreachable(local=True):
        assert constants.HF_HUB_OFFLINE is False
    assert looked_up == []


def test_any_answer_of_the_hub_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for status in (200, 401, 404, 429):
        with server(status) as endpoint:
            assert reason(monkeypatch, endpoint) == ""


def test_a_gateway_that_refuses_is_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(503) as endpoint:
        assert reason(monkeypatch, endpoint) == "127.0.0.1 does not answer (HTTP status 503)"


def test_a_closed_port_is_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(monkeypatch, "http://127.0.0.1:9").startswith("127.0.0.1 does not answer (")


def test_a_silent_hub_is_given_up_after_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embprobe.system.hub.PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert "does not answer" in reason(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert time.monotonic() - began < 2


def test_behind_a_dead_proxy_the_proxy_is_named_without_its_password(
    looked_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the proxy's name is looked up
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@127.0.0.1:9")
    assert reason(monkeypatch, "https://hub.example").startswith(
        "hub.example does not answer through the proxy 127.0.0.1:9 ("
    )


def test_a_proxy_that_reaches_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(502) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        assert "hub.example does not answer through the proxy" in reason(monkeypatch, "https://hub.example")


def test_a_proxy_looks_names_up_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(200) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        assert reason(monkeypatch, "http://hub.example") == ""


def test_the_command_line_keeps_the_librarys_tries_off_the_screen() -> None:
    """Though the library, imported after the screen was cleared, sets its own level."""
    program = (
        "import logging\n"
        "from embprobe.cli.app import _hushed_libraries\n"
        "with _hushed_libraries():\n"
        "    from huggingface_hub import hf_hub_download\n"
        "    logging.getLogger('huggingface_hub.utils._http').warning('Retrying in 8s [Retry 5/5].')\n"
        "import os; assert 'HF_HUB_VERBOSITY' not in os.environ\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")
