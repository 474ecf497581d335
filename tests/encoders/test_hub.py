"""Without a network a load fails at once, and not after the minute of retries that the hub's library takes."""

from __future__ import annotations

import socket
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from embprobe.encoders import load_encoder
from embprobe.encoders.hub import cache_if_unreachable, load_failure
from embprobe.errors import EmbprobeError


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of hosts looked up, none of which exists. There is no proxy, and the library is online."""
    hosts: list[str] = []

    def lookup(host: str, port: Any) -> None:
        hosts.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr("embprobe.encoders.hub.getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example:8443")
    return hosts


def test_a_hub_without_an_address_is_not_queried(looked_up: list[str]) -> None:
    with cache_if_unreachable():
        assert constants.HF_HUB_OFFLINE is True
    assert looked_up == ["hub.example"]


def test_the_library_is_online_again_after_a_load_that_failed(looked_up: list[str]) -> None:
    with pytest.raises(EmbprobeError, match="could not be fetched"):
        load_encoder("timm/hf-hub:owner/model")
    assert constants.HF_HUB_OFFLINE is False and looked_up == ["hub.example"]


def test_a_library_that_was_offline_before_stays_so(looked_up: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with cache_if_unreachable():
        pass
    assert constants.HF_HUB_OFFLINE is True


def test_sessions_that_were_begun_offline_are_not_kept(looked_up: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the library's versions before 1.0, which have such a function."""
    offline: list[bool] = []
    monkeypatch.setattr(
        huggingface_hub.utils, "reset_sessions", lambda: offline.append(constants.HF_HUB_OFFLINE), raising=False
    )
    with cache_if_unreachable():
        pass
    assert offline == [False]


def test_nothing_is_looked_up_for_local_weights(looked_up: list[str]) -> None:
    with cache_if_unreachable(local=True):
        assert constants.HF_HUB_OFFLINE is False
    assert looked_up == []


def test_a_hub_with_an_address_is_queried(looked_up: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port: [])
    with cache_if_unreachable():
        assert constants.HF_HUB_OFFLINE is False


def test_behind_a_proxy_names_need_no_address_here(looked_up: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embprobe.encoders.hub.getproxies", lambda: {"https": "http://proxy:3128"})
    with cache_if_unreachable():
        assert constants.HF_HUB_OFFLINE is False and looked_up == []


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("open_clip/ViT-B-16:openai", "give a file: 'open_clip/ViT-B-16:FILE'."),
        ("timm/hf-hub:owner/name", "give a folder: 'timm/local-dir:FOLDER'."),
    ],
)
def test_the_message_names_a_way_without_a_network(name: str, instead: str) -> None:
    message = str(load_failure(name, "", OSError("we are offline")))
    assert message == f"The weights of '{name}' could not be fetched. Without a network, {instead}"
