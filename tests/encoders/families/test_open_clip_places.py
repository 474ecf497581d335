"""open_clip's models from a folder, a repository of the hub, or under a published tag; and their tokenizers."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants

from embprobe.embeddings.extract import encode
from embprobe.encoders import describe_encoder, load_encoder
from embprobe.errors import EmbprobeError, UsageError
from tests.conftest import Malicious
from tests.encoders.conftest import CONFIGS, PICTURES, PREPROCESSING, Put, worst

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path, clips: dict[str, Path]) -> Path:
    """Return a copy of the ViT's folder, to be damaged."""
    return shutil.copytree(clips["vit"], tmp_path / "folder")


@pytest.mark.parametrize("kind", ["vit", "siglip"])
def test_the_hub_and_a_folder_give_the_same(kind: str, clips: dict[str, Path], hub: Put) -> None:
    hub(f"owner/{kind}", clips[kind])
    from_hub, from_folder = (
        load_encoder(f"open_clip/hf-hub:owner/{kind}"),
        load_encoder(f"open_clip/local-dir:{clips[kind]}"),
    )
    assert from_hub.spec.name == f"open_clip/hf-hub:owner/{kind}"
    mean = from_folder.spec.require_image_input().mean
    assert from_hub.spec.require_image_input().mean == mean == tuple(PREPROCESSING.get(kind, {}).get("mean", mean))
    assert np.array_equal(encode(from_hub, PICTURES), encode(from_folder, PICTURES))
    assert from_hub.spec.weights_sha256 == from_folder.spec.weights_sha256


def test_text_of_the_hub_is_tokenized_as_the_hub_says(clips: dict[str, Path], hub: Put) -> None:
    pytest.importorskip("transformers")
    hub("owner/siglip", clips["siglip"])
    texts = ["Cat, dog!", "a cat"]
    # commas and the like go, case goes; no word but cat (2) and dog (3) is known; padding (0) up to the twelve
    tokens = torch.tensor([[2, 3] + 10 * [0], [1, 2] + 10 * [0]])
    assert open_clip.get_tokenizer("hf-hub:owner/siglip")(texts).tolist() == tokens.tolist()
    model = open_clip.create_model("hf-hub:owner/siglip").eval()
    vectors = load_encoder("open_clip/hf-hub:owner/siglip").encode_texts(texts)
    with torch.inference_mode():
        assert worst(vectors, model.encode_text(tokens)) < 1e-5


def test_without_transformers_only_text_fails(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    encoder = load_encoder(f"open_clip/local-dir:{clips['siglip']}")
    assert encode(encoder, PICTURES).shape == (6, 96)
    with pytest.raises(EmbprobeError) as failed:
        encoder.encode_texts(["a cat"])
    assert str(failed.value) == (
        f"The tokenizer of 'open_clip/local-dir:{clips['siglip']}' needs the package transformers: "
        "pip install 'embprobe[transformers]'."
    )


def test_without_a_network_only_text_fails(clips: dict[str, Path], hub: Put, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = shutil.copytree(clips["siglip"], tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer*"))
    hub("owner/bare", folder)  # its configuration names owner/siglip for the tokenizer
    encoder = load_encoder("open_clip/hf-hub:owner/bare")
    assert encode(encoder, PICTURES).shape == (6, 96)
    with pytest.raises(EmbprobeError) as failed:
        encoder.encode_texts(["a cat"])
    assert str(failed.value) == "The tokenizer of 'open_clip/hf-hub:owner/bare' could not be fetched."


@pytest.mark.parametrize("lacking", [CONFIG, WEIGHTS])
def test_a_folder_without_configuration_or_weights_is_refused(folder: Path, lacking: str) -> None:
    (folder / lacking).unlink()
    with pytest.raises(EmbprobeError, match=f"Could not load 'open_clip/local-dir:{folder}'"):
        load_encoder(f"open_clip/local-dir:{folder}")


@pytest.mark.parametrize("lacking", [CONFIG, WEIGHTS])
def test_a_repository_without_configuration_or_weights_is_refused(folder: Path, lacking: str, hub: Put) -> None:
    (folder / lacking).unlink()
    hub("owner/model", folder)
    with pytest.raises(EmbprobeError, match="open_clip/hf-hub:owner/model"):
        load_encoder("open_clip/hf-hub:owner/model")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"model_cfg": {}}', '{"model_cfg": null}', '{"model_cfg": {"embed_dim": 8}}'],
)
def test_a_broken_configuration_is_a_sentence(folder: Path, content: str) -> None:
    (folder / CONFIG).write_text(content)
    with pytest.raises(EmbprobeError, match="open_clip/local-dir:") as refused:
        load_encoder(f"open_clip/local-dir:{folder}")
    assert "\n" not in str(refused.value)


def test_a_folder_with_malicious_weights_is_refused_and_they_do_not_run(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (folder / WEIGHTS).unlink()
    torch.save({"state_dict": Malicious(mark)}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(EmbprobeError, match="holds more than weights .*refused"):
        load_encoder(f"open_clip/local-dir:{folder}")
    assert not mark.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    for name in ("nowhere", "offline", "connectome"):  # names that look like reasons of network errors too
        with pytest.raises(EmbprobeError, match=f"Could not load .*{name}") as failed:
            load_encoder(f"open_clip/local-dir:{tmp_path / name}")
        assert "network" not in str(failed.value)


LOOKUP = "embprobe.system.hub._obstacle"


def test_a_folder_asks_nothing_of_the_network(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOOKUP, lambda: pytest.fail("the hub was looked up"))
    encoder = load_encoder(f"open_clip/local-dir:{clips['siglip']}")
    with suppress(EmbprobeError):  # without the package transformers
        encoder.encode_texts(["a cat"])


def test_the_hub_is_looked_up_before_a_tokenizer_is_fetched(
    published: None, clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a file of weights and no network, the hub's library would try for a minute otherwise."""
    encoder = load_encoder(f"open_clip/tiny-siglip:{clips['siglip'] / WEIGHTS}")
    lookups: list[str] = []

    def obstacle() -> str:
        lookups.append("hub")
        return "it does not answer"

    monkeypatch.setattr(LOOKUP, obstacle)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with suppress(EmbprobeError):
        encoder.encode_texts(["a cat"])
    assert lookups == ["hub"] and constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize("place", ["hf-hub", "local-dir"])
def test_a_place_that_is_not_named_is_a_sentence(place: str) -> None:
    with pytest.raises((EmbprobeError, UsageError), match=f"open_clip/{place}"):
        load_encoder(f"open_clip/{place}")


def test_a_repository_that_cannot_be_fetched_is_a_sentence_with_a_way_out(offline: None) -> None:
    with pytest.raises(EmbprobeError) as failed:
        load_encoder("open_clip/hf-hub:owner/model")
    assert str(failed.value) == (
        "The weights of 'open_clip/hf-hub:owner/model' could not be fetched. "
        "Without a network, give a folder: 'open_clip/local-dir:FOLDER'."
    )


def test_the_same_weights_in_another_architecture_are_another_encoder(clips: dict[str, Path], folder: Path) -> None:
    """The configuration beside the weights changes vectors too: here, through the activation."""
    before = load_encoder(f"open_clip/local-dir:{folder}")
    quick = json.loads((clips["openai"] / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(quick))
    after = load_encoder(f"open_clip/local-dir:{folder}")
    assert worst(encode(before, PICTURES), encode(after, PICTURES)) > 1e-3
    assert before.spec.fingerprint != after.spec.fingerprint


# --- published tags ----------------------------------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, clips: dict[str, Path], hub: Put) -> None:
    """Put small models into open_clip's tables, under the tag ``web``, with weights that were fetched before."""
    for kind, config in CONFIGS.items():
        hub(f"owner/{kind}", clips[kind])
        tag = {"hf_hub": f"owner/{kind}/", "quick_gelu": "quick_gelu" in config, **PREPROCESSING.get(kind, {})}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, f"tiny-{kind}", config)
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, f"tiny-{kind}", {"web": tag})
    tag = {"hf_hub": "owner/openai/", "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-vit", {"web": {"hf_hub": "owner/vit/"}, "openai": tag})


def open_clip_vectors(name: str, pretrained: str, **options: Any) -> torch.Tensor:
    """Return the vectors of open_clip's own model, through its own preprocessing."""
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained, **options)
    with torch.inference_mode():
        batch = torch.stack([preprocess(picture) for picture in PICTURES])
        vectors: torch.Tensor = model.eval().encode_image(batch, normalize=False)
    return vectors


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_published_tag_gives_open_clips_own_vectors(kind: str, published: None) -> None:
    encoder = load_encoder(f"open_clip/tiny-{kind}:web")
    assert worst(encode(encoder, PICTURES), open_clip_vectors(f"tiny-{kind}", "web")) < 1e-5
    listing = describe_encoder(f"open_clip/tiny-{kind}:web")
    assert (listing.dimension, listing.has_text) == (encoder.spec.dimension, encoder.spec.has_text)
    assert listing.input_size == encoder.spec.require_image_input().input_size
    assert listing.weights == f"Hugging Face hub, owner/{kind}"


def test_weights_trained_with_quickgelu_are_run_with_it(published: None) -> None:
    """OpenAI's CLIP is one of many tags where open_clip would use the other activation, and only warn."""
    encoder = load_encoder("open_clip/tiny-vit:openai")
    assert worst(encode(encoder, PICTURES), open_clip_vectors("tiny-openai", "web")) < 1e-5


def test_a_file_is_fed_as_the_published_weights_of_its_architecture(published: None, clips: dict[str, Path]) -> None:
    """A copy of SigLIP's weights takes squashed images with mean 0.5, wherever it lies; open_clip forgets that."""
    published_way = load_encoder("open_clip/tiny-siglip:web")
    from_file = load_encoder(f"open_clip/tiny-siglip:{clips['siglip'] / WEIGHTS}")
    assert worst(encode(from_file, PICTURES), encode(published_way, PICTURES)) < 1e-5


def test_weights_under_their_tag_and_from_a_file_are_one_encoder(published: None, clips: dict[str, Path]) -> None:
    for kind in ("vit", "siglip", "openai"):
        under_tag = load_encoder(f"open_clip/tiny-{kind}:web").spec
        from_file = load_encoder(f"open_clip/tiny-{kind}:{clips[kind] / WEIGHTS}").spec
        assert under_tag.fingerprint == from_file.fingerprint


def test_a_file_is_run_and_fed_like_a_tag_that_is_named(published: None, clips: dict[str, Path]) -> None:
    """Tags of an architecture may differ in the activation, as here, or in preprocessing."""
    name = f"open_clip/tiny-vit:{clips['vit'] / WEIGHTS}"
    like = {tag: load_encoder(f"{name},like={tag}") for tag in ("web", "openai")}
    for tag, encoder in like.items():
        assert encoder.spec.name == f"{name},like={tag}"
        expected = load_encoder(f"open_clip/tiny-vit:{tag}")
        assert np.array_equal(encode(encoder, PICTURES), encode(expected, PICTURES))
        assert encoder.spec.fingerprint == expected.spec.fingerprint
    assert worst(*(encode(encoder, PICTURES) for encoder in like.values())) > 1e-3
    assert load_encoder(name).spec.fingerprint == like["web"].spec.fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny-vit:FILE,like=wob", "'like=wob' names a tag .*; there are web, openai"),
        ("tiny-vit:web,like=openai", "it is for files"),
        ("local-dir:FILE,like=web", "has its own configuration: leave out 'like'"),
        ("ViT-S-32-alt:FILE,like=web", "there are none"),
    ],
)
def test_likeness_to_a_missing_tag_is_a_sentence(
    name: str, message: str, published: None, clips: dict[str, Path]
) -> None:
    with pytest.raises(UsageError, match=message):
        load_encoder("open_clip/" + name.replace("FILE", str(clips["vit"] / WEIGHTS)))


def test_an_unknown_tag_names_the_nearest(published: None) -> None:
    with pytest.raises(UsageError, match=r"tag \(one of web\); not 'wob'\. Did you mean 'web'"):
        load_encoder("open_clip/tiny-siglip:wob")
