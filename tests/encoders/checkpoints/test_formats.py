"""A file that holds no weights is named for what it is; no code in it runs, and no header takes memory."""

from __future__ import annotations

import collections
import io
import json
import os
import pathlib
import pickle
import tarfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import nn

from embprobe.encoders.checkpoints.formats import NotWeights, recognise
from embprobe.encoders.checkpoints.reading import INDEX, find_weights, read_weights
from tests.conftest import Malicious

STATE = {"norm.weight": torch.arange(3.0), "norm.bias": torch.ones(3)}
SAFE = save(STATE)


def torch_bytes(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def zip_bytes(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def tar_bytes() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"))
    return buffer.getvalue()


def script_bytes() -> bytes:
    buffer = io.BytesIO()
    traced = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))  # type: ignore[no-untyped-call]
    torch.jit.save(traced, buffer)
    return buffer.getvalue()


OTHERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", r"is empty \(0 bytes\)"),
    "git-lfs": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 346\n",
        "git-LFS pointer.*git lfs pull",
    ),
    "html": (lambda: b"\n<!DOCTYPE html><html><title>Sign in</title>", "a web page.*'resolve'"),
    "xml": (lambda: b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "XML text.*AccessDenied|XML text"),
    "json": (lambda: b'{\n  "error": "gated"}', "JSON text that begins"),
    "text": (lambda: "größer als gedacht\n".encode() * 300, "a text file that begins 'größer"),
    "cut safetensors": (lambda: SAFE[:-4], "cut off: a safetensors file of [0-9]+ bytes by its header"),
    "cut header": (lambda: SAFE[:40], "cut off: it begins like safetensors"),
    "long header": (lambda: (2**62).to_bytes(8, "little") + b'{"a": 1}', "a header too long for one"),
    "broken header": (lambda: (20).to_bytes(8, "little") + b'{"a": {"dtype": 1}}   ', "damaged header"),
    "deep header": (lambda: (90_001).to_bytes(8, "little") + b"{" + b"[" * 90_000, "damaged header"),
    "cut zip": (lambda: torch_bytes(STATE)[:500], "cut off or damaged: a zip archive"),
    "other zip": (lambda: zip_bytes("cat.jpg", "dog.jpg"), "zip archive of 2 files, first 'cat.jpg', 'dog.jpg'"),
    "empty zip": (lambda: zip_bytes("x")[:0] + b"PK\x03\x04" + bytes(30), "cut off or damaged"),
    "keras": (lambda: zip_bytes("config.json", "model.weights.h5"), "a model of Keras"),
    "torchscript": (script_bytes, "TorchScript archive"),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    "gguf": (lambda: b"GGUF\x03\0\0\0", "GGUF"),
    "onnx": (lambda: b"\x08\x07\x12\x07pytorch", "ONNX"),
    "tflite": (lambda: b"\x1c\0\0\0TFL3" + bytes(99), "TensorFlow Lite"),
    "tar": (tar_bytes, "a tar archive"),
    "gzip": (lambda: b"\x1f\x8b\x08" + bytes(99), "gzip"),
    "png": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(99), "PNG image"),
    "noise": (lambda: bytes(range(200, 256)), "no format of weights that is known.*c8 c9 ca"),
    "pickle": (lambda: pickle.dumps({"a": 1}, 4), "holds more than weights .*pickle.*refused"),
    "path": (
        lambda: torch_bytes({"state_dict": STATE, "root": pathlib.PurePosixPath("/data")}),
        r"holds more than weights \(Python objects of pathlib.*refused.*\['state_dict'\]",
    ),
    "namespace": (
        lambda: torch_bytes({"a": types.SimpleNamespace(lr=1), "b": collections.UserDict(), "c": STATE}),
        "objects of collections.UserDict, types.SimpleNamespace",
    ),
    "module": (lambda: torch_bytes(nn.Linear(2, 2)), r"a whole module.*\.state_dict\(\), 'weights.pt'"),
    "old torch": (
        lambda: torch_bytes({"x": pathlib.PurePosixPath("a")}, _use_new_zipfile_serialization=False),
        "holds more than weights .*refused",
    ),
    "list": (lambda: torch_bytes([1, 2]), "holds a list and no named weights"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_what_is_no_file_of_weights_is_named(kind: str, ending: str, tmp_path: Path) -> None:
    content, reason = OTHERS[kind]
    file = tmp_path / f"weights.{ending}"
    file.write_bytes(content())
    with pytest.raises(NotWeights, match=reason) as refused:
        read_weights(file)
    message = str(refused.value)
    assert message.startswith(f"'{file.name}' ") and "\n" not in message and not message.endswith(".")


def test_nothing_runs(tmp_path: Path) -> None:
    mark, file = tmp_path / "ran", tmp_path / "weights.pt"
    torch.save({"state_dict": STATE, "hyper_parameters": Malicious(mark)}, file)
    with pytest.raises(NotWeights, match="Python objects of"):
        read_weights(file)
    np.savez(tmp_path / "x.npz", weights=np.array([Malicious(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(NotWeights):
        read_weights(tmp_path / "x.npz")
    assert not mark.exists()


@settings(deadline=None, max_examples=80)
@given(content=st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(lambda end: SAFE[:40] + end)))
def test_any_bytes_are_weights_or_a_sentence(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.pt"
    file.write_bytes(content)
    try:
        read_weights(file)
    except NotWeights as error:
        assert str(error).startswith("'any.pt' ") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("content", "format_"),
    [
        (SAFE, "safetensors"),
        (torch_bytes(STATE), "torch"),
        (torch_bytes(STATE, _use_new_zipfile_serialization=False), "torch"),
        (zip_bytes("a.npy"), "npz"),
    ],
)
def test_a_format_is_known_by_its_content_and_not_its_name(content: bytes, format_: str, tmp_path: Path) -> None:
    for ending in ("pth", "safetensors", "ckpt", "pth.tar", "bin", "npz"):
        file = tmp_path / f"weights.{ending}"
        file.write_bytes(content)
        assert recognise(file) == format_
        if format_ != "npz":
            assert torch.equal(read_weights(file)["norm.weight"], STATE["norm.weight"])


# --- folders and shards ----------------------------------------------------------------------------------------------


def write_shards(folder: Path, **changes: str) -> Path:
    """Write the state in two shards with their index, and return the folder."""
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for file, (name, value) in zip(names, STATE.items(), strict=True):
        save_file({name: value}, folder / file)
    index = {"metadata": {"total_size": 24}, "weight_map": dict(zip(STATE, names, strict=True)) | changes}
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def test_shards_are_read_by_their_index_or_their_folder(tmp_path: Path) -> None:
    for place in (write_shards(tmp_path), tmp_path / INDEX):
        state = read_weights(find_weights(place))
        assert state.keys() == STATE.keys() and all(torch.equal(state[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"norm.bias": "../secret.safetensors"}, "no index of shards"),
        ({"norm.bias": "/etc/passwd"}, "no index of shards"),
        ({"norm.bias": "gone.safetensors"}, "1 of the 2 shards .* are not beside it, first 'gone.safetensors'"),
        ({"norm.scale": "model-00001-of-00002.safetensors"}, "lack 1 weights, first 'norm.scale'"),
        ({"norm.bias": INDEX}, "names an index among its shards"),
    ],
)
def test_a_wrong_index_is_a_sentence(changes: dict[str, str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(NotWeights, match=reason):
        read_weights(write_shards(tmp_path, **changes) / INDEX)


def test_a_folder_is_its_only_file_of_weights_or_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotWeights, match="is a folder with no file of weights"):
        find_weights(tmp_path)
    for name in ("b.pth", "a.ckpt"):
        (tmp_path / name).touch()
        if name == "b.pth":
            assert find_weights(tmp_path).name == "b.pth"
    with pytest.raises(NotWeights, match="2 files of weights, first 'a.ckpt', 'b.pth': name one"):
        find_weights(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert find_weights(tmp_path).name == "model.safetensors"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("adapter_config.json", "an adapter"), (".metadata", "torch.distributed"), ("zero_to_fp32.py", "DeepSpeed")],
)
def test_folders_of_other_programs_are_named(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(NotWeights, match=reason):
        find_weights(tmp_path)


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        find_weights(tmp_path / "pipe")
