"""The weights file of a pair of towers is read as it was written; a damaged or foreign one is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from embprobe.encoders.towers.two_towers import Head, TextTower, TwoTowers
from embprobe.encoders.towers.vit import IMAGE_SIZE
from embprobe.encoders.towers.weights import load_towers, save_towers
from embprobe.errors import EmbprobeError, UsageError
from tests.conftest import Malicious
from tests.encoders.conftest import untrained

WORDS = ["cat", "dog", "piñata", 'quo"te', "z" * 5000]


def build_towers(head: Head, words: list[str] | None) -> TwoTowers:
    """Return untrained towers, with a text tower that knows these words unless they are None."""
    text = None if words is None else TextTower(seed=1, vocabulary=words)
    towers: TwoTowers = untrained(TwoTowers(seed=1, text=text, head=head))
    return towers


@pytest.mark.parametrize("head", get_args(Head))
@pytest.mark.parametrize("words", [None, ["cat"], WORDS], ids=["no text", "a word", "words"])
@torch.no_grad()
def test_towers_are_read_as_they_were_written(head: Head, words: list[str] | None, tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.safetensors"
    towers = build_towers(head, words)
    save_towers(towers, path)
    loaded = load_towers(path).eval()
    assert (loaded.head, loaded.has_text, loaded.dimension) == (head, words is not None, towers.dimension)
    expected = {name: value.half().float() for name, value in towers.state_dict().items()}
    state = loaded.state_dict()
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in expected)
    images = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded.encode_images(images), towers.encode_images(images), atol=0.05, rtol=0.05)
    if words is not None:
        assert loaded.text is not None and loaded.text.tokenizer.words == tuple(sorted(words))
        texts = ["cat piñata", '"DOG"', "unknown"]
        torch.testing.assert_close(loaded.encode_texts(texts), towers.encode_texts(texts), atol=0.05, rtol=0.05)


def test_the_file_is_float16_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    towers = build_towers("linear", WORDS)
    files = [tmp_path / f"{i}.safetensors" for i in range(5)]
    for path in files:
        save_towers(towers, path)
    assert len({path.read_bytes() for path in files}) == 1
    assert {value.dtype for value in load_file(files[0]).values()} == {torch.float16}
    assert files[0].stat().st_size < 2 * sum(value.numel() for value in towers.state_dict().values()) + 40_000


def test_a_text_tower_that_knows_no_word_is_one_all_the_same(tmp_path: Path) -> None:
    save_towers(build_towers("linear", ["a"]), tmp_path / "model.safetensors")  # a letter is no word of its own
    assert load_towers(tmp_path / "model.safetensors").encode_texts(["a cat"]).shape == (1, 128)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.safetensors", tmp_path):
        with pytest.raises(UsageError, match="There is no weights file"):
            load_towers(path)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_towers(build_towers("linear", ["cat"]), path)
    return path


def with_metadata(path: Path, **changed: str) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata=metadata | changed)


def with_tensors(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    change(state)
    save_file(state, path, metadata=metadata)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1000]), "cut off"),
    "cut in its header": (lambda path: path.write_bytes(path.read_bytes()[:100]), "cut off.*header"),
    "a header as long as the sea": (lambda path: path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:]), "header"),
    "another format": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)), "zip archive"),
    "a pickle": (lambda path: torch.save(Malicious(path.with_name("mark")), path), "no safetensors file"),
    "another model's": (
        lambda path: save_file({"layer.weight": torch.zeros(2, 2)}, path),
        "are missing.*'layer.weight'",
    ),
    "no tensors": (lambda path: save_file({}, path), "are missing"),
    "one tensor less": (
        lambda path: with_tensors(path, lambda state: state.pop("vit.cls_token")),
        "1 of .*missing, first 'vit.cls_token'",
    ),
    "one tensor more": (
        lambda path: with_tensors(path, lambda state: state.update(x=torch.ones(1))),
        "1 have no place in the network, first 'x'",
    ),
    "another shape": (
        lambda path: with_tensors(path, lambda state: state.update({"vit.cls_token": torch.ones(1, 1, 7)})),
        "'vit.cls_token': 1 x 1 x 7 in the file, 1 x 1 x 128 in the network",
    ),
    "a head there is not": (lambda path: with_metadata(path, head="attention"), "there is no head 'attention'"),
    "another head": (lambda path: with_metadata(path, head="clusters"), "image_projection"),
    "a head less": (lambda path: with_metadata(path, head="none"), "no place.*image_projection"),
    "no words at all": (lambda path: with_metadata(path, vocabulary="[]"), "another shape, first 'text"),
    "words too many": (lambda path: with_metadata(path, vocabulary='["cat", "dog"]'), "another shape, first 'text"),
    "a vocabulary of one text": (lambda path: with_metadata(path, vocabulary='"cat"'), "no list of words"),
    "a vocabulary of numbers": (lambda path: with_metadata(path, vocabulary="[1]"), "no list of words"),
    "a vocabulary of lists": (lambda path: with_metadata(path, vocabulary='[["cat"]]'), "no list of words"),
    "a vocabulary that is a map": (lambda path: with_metadata(path, vocabulary='{"cat": 1}'), "no list of words"),
    "a vocabulary that is nothing": (lambda path: with_metadata(path, vocabulary="null"), "no list of words"),
    "a vocabulary that is no JSON": (lambda path: with_metadata(path, vocabulary="cat"), "Expecting value"),
    "a vocabulary without end": (lambda path: with_metadata(path, vocabulary=99_999 * "["), "recursion"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_holds_something_else_is_a_sentence(kind: str, good: Path) -> None:
    spoil, reason = HOSTILE[kind]
    spoil(good)
    with pytest.raises(
        EmbprobeError, match=r"model\.safetensors' is not a weights file of embprobe's own ViT: "
    ) as refused:
        load_towers(good)
    message = str(refused.value)
    assert re.search(reason, message.partition("ViT: ")[2], re.IGNORECASE)
    assert message.endswith(".") and "\n" not in message and len(message) < 500 + len(str(good))
    assert not good.with_name("mark").exists()


def test_files_from_before_heads_are_read_without_one(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    towers = build_towers("none", None)
    save_file({name: value.half() for name, value in towers.state_dict().items()}, path, metadata={"vocabulary": "[]"})
    assert load_towers(path).head == "none"
    save_file({name: value.half() for name, value in towers.state_dict().items()}, path)
    assert not load_towers(path).has_text


def test_metadata_are_plain(good: Path) -> None:
    with safe_open(good, framework="pt") as file:
        metadata = file.metadata()
    assert metadata == {"vocabulary": json.dumps(["cat"]), "head": "linear", "language_model": ""}
