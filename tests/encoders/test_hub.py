"""A failure to load says why the weights could not be fetched, and which way remains without a network."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import constants

from embprobe.encoders import load_encoder
from embprobe.encoders.hub import load_failure
from embprobe.errors import EmbprobeError


def test_the_library_is_online_again_after_a_load_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embprobe.system.hub._obstacle", lambda: "hub.example does not answer (refused)")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(EmbprobeError) as failed:
        load_encoder("timm/hf-hub:owner/model")
    assert constants.HF_HUB_OFFLINE is False
    assert str(failed.value) == (
        "The weights of 'timm/hf-hub:owner/model' could not be fetched: hub.example does not answer (refused). "
        "Without a network, give a folder: 'timm/local-dir:FOLDER'."
    )


@pytest.mark.parametrize(
    "name", ["open_clip/hf-hub:owner/model", "open_clip/ViT-B-32:laion2b_s34b_b79k", "transformers/hf-hub:owner/model"]
)
def test_every_family_asks_whether_the_hub_answers(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr("embprobe.system.hub._obstacle", lambda: "hub.example does not answer (refused)")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EmbprobeError, match=r"could not be fetched: hub\.example does not answer \(refused\)\."):
        load_encoder(name)


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
