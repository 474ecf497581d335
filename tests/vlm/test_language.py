"""Causal language models from folders: a tiny Llama in the real format, and folders that hold none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertLMHeadModel, CLIPConfig, CLIPModel, LlamaForCausalLM

from embprobe.errors import EmbprobeError, UsageError
from embprobe.vlm.language import load_language, save_language
from tests.conftest import Malicious
from tests.encoders.tiny_bert import tiny_bert
from tests.vlm.tiny_llama import tiny_llama


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("language") / "tiny-llama")


def test_logits_are_those_of_transformers(llama: Path) -> None:
    language = load_language(llama)
    assert (language.name, language.context) == ("tiny-llama", 512)
    ids = language.tokenizer("a cat and a dog", return_tensors="pt")["input_ids"]
    assert ids[0, 0] == language.tokenizer.bos_token_id
    with torch.no_grad():
        expected = LlamaForCausalLM.from_pretrained(llama)(ids).logits
        assert torch.equal(language.model(ids).logits, expected)


def test_it_can_be_trained_saved_and_loaded_again(llama: Path, tmp_path: Path) -> None:
    language = load_language(llama)
    ids = torch.tensor([[1, 5, 6, 7]])
    language.model(ids, labels=ids).loss.backward()
    with torch.no_grad():
        for weight in language.model.parameters():
            weight -= weight.grad
    save_language(language, tmp_path / "tuned")
    again = load_language(tmp_path / "tuned")
    with torch.no_grad():
        assert torch.equal(again.model(ids).logits, language.model(ids).logits)
        assert not torch.equal(again.model(ids).logits, load_language(llama).model(ids).logits)
    assert again.tokenizer("a cat")["input_ids"] == language.tokenizer("a cat")["input_ids"]
    with pytest.raises(EmbprobeError, match="could not be written"):
        save_language(language, tmp_path / "tuned")


def test_precision_is_that_of_the_weights(llama: Path) -> None:
    assert load_language(llama, precision="bfloat16").model.dtype == torch.bfloat16
    assert load_language(llama).model.dtype == torch.float32
    with pytest.raises(UsageError, match="no precision 'int8'; there are float32"):
        load_language(llama, precision="int8")


def test_the_context_is_the_smaller_of_the_models_and_the_tokenizers(llama: Path, tmp_path: Path) -> None:
    for limit, expected in ((7, 7), (int(1e30), 512)):
        folder = shutil.copytree(llama, tmp_path / str(limit))
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": limit}))
        assert load_language(folder).context == expected


# --- folders that hold no causal language model --------------------------------------------------------------------


@pytest.fixture
def copy(llama: Path, tmp_path: Path) -> Path:
    return shutil.copytree(llama, tmp_path / "copy")


def change_config(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def refused(folder: Path) -> str:
    """Check that a folder is refused in one line, and return the reason."""
    with pytest.raises(EmbprobeError, match="copy' could not be read as a language model: ") as error:
        load_language(folder)
    message = str(error.value)
    assert "\n" not in message and len(message) < 600
    return message.partition("language model: ")[2]


def test_a_missing_or_empty_folder_is_a_sentence(tmp_path: Path) -> None:
    for folder in (tmp_path / "gone", tmp_path):
        with pytest.raises(UsageError, match="is no language model: it has no config.json"):
            load_language(folder)


def test_a_pickle_is_never_read(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert "it has no weights" in refused(copy)
    torch.save({"weights": Malicious(tmp_path / "mark")}, copy / "pytorch_model.bin")
    assert "pickled" in refused(copy) and "safetensors" in refused(copy)
    assert not (tmp_path / "mark").exists()


def test_no_code_of_the_folder_is_run(copy: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (copy / "mine.py").write_text(f"open({str(mark)!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    own = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
    change_config(copy, auto_map=own)  # transformers has a class of its own for a Llama
    load_language(copy)
    change_config(copy, model_type="mine", architectures=["Model"])
    assert refused(copy) == "its type 'mine' needs code of its own, which embprobe does not run."
    assert not mark.exists()


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("*token*"):
        file.unlink()


def without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def torn(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def with_few_embeddings(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        weights[name] = weights[name][:300].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    change_config(folder, vocab_size=300)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without_tokenizer, "tokenizer"),
        (without_a_weight, "its weights lack 'lm_head.weight'"),
        (torn, "HeaderTooLarge|incomplete|MetadataIncompleteBuffer"),
        (with_few_embeddings, "tokens up to number 376, and the model embeddings of 300"),
    ],
)
def test_incomplete_or_damaged_files_are_a_sentence(damage: Callable[[Path], None], reason: str, copy: Path) -> None:
    damage(copy)
    with pytest.raises(EmbprobeError, match=reason):
        load_language(copy)
    refused(copy)


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"model_type": ["a"]}', '{"architectures": 7}', "[" * 9999])
def test_a_config_that_cannot_be_read_is_a_sentence(content: str, copy: Path) -> None:
    (copy / "config.json").write_text(content)
    refused(copy)


def test_an_encoder_of_texts_is_a_sentence(tmp_path: Path) -> None:
    assert "'BertModel', which is no causal" in refused(tiny_bert(tmp_path / "copy"))


def test_a_head_on_a_model_that_sees_later_tokens_is_a_sentence(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "copy")
    config = BertConfig.from_pretrained(folder)
    BertLMHeadModel(config).save_pretrained(folder)
    assert "its outputs depend on later tokens" in refused(folder)
    config.is_decoder = True
    BertLMHeadModel(config).save_pretrained(folder)
    load_language(folder)


def test_a_model_of_images_and_texts_is_a_sentence(copy: Path) -> None:
    part = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    images = {"image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=part, vision_config=part | images, projection_dim=8)).save_pretrained(copy)
    assert "'CLIPModel', which is no causal" in refused(copy)


# --- the hub, which tests never reach ------------------------------------------------------------------------------


def cached(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[list[str]]:
    """Let the hub's library give a folder for every repository, and return the patterns that it is called with."""
    called: list[list[str]] = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert (repository, revision) == ("someone/small", "v1")
        called.append(allow_patterns)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # nothing is looked up
    return called


def test_a_repository_is_fetched_without_pickles_or_code(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = cached(monkeypatch, llama)
    assert load_language("someone/small", revision="v1").name == "someone/small"
    assert all(pattern.endswith((".json", ".safetensors", ".jinja", ".model", ".txt")) for pattern in called[1])
    with pytest.raises(UsageError, match="only a repository of the hub has revisions"):
        load_language(llama, revision="v1")


def test_another_kind_of_model_is_refused_before_its_weights_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = cached(monkeypatch, tiny_bert(tmp_path / "bert"))
    with pytest.raises(EmbprobeError, match="'BertModel', which is no causal"):
        load_language("someone/small", revision="v1")
    assert len(called) == 1 and "*.safetensors" not in called[0]


def test_a_hub_that_cannot_be_reached_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EmbprobeError, match="The language model 'no-one/nothing' could not be fetched: ") as error:
        load_language("no-one/nothing")
    assert "\n" not in str(error.value)
