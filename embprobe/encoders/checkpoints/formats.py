"""Recognise the format of a weights file by its content, and say of any other file which kind it is."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Literal

from embprobe.system.text import visible

Format = Literal["safetensors", "torch", "npz"]
_HEAD = 4096
"""Bytes that are read to recognise a format."""
_MAX_HEADER = 100_000_000
"""Bytes that the header of a safetensors file may have, by its specification."""
_MAX_PARSED = 10_000_000
"""Bytes of a header that is parsed here; of a longer one, many times that of a large model, the library judges."""
_TORCH_PICKLE = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""The number that torch wrote behind the first two bytes of a file before it wrote zip archives."""
_BY_START: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs",
        "a git-LFS pointer, a few lines in the place of the weights: run 'git lfs pull' there",
    ),
    (b"GGUF", "a GGUF file of llama.cpp, whose weights are quantised: get the original weights"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras and TensorFlow write it: get the weights for PyTorch"),
    (b"\x1f\x8b", "compressed with gzip: unpack it and name the file inside"),
    (b"BZh", "compressed with bzip2: unpack it and name the file inside"),
    (b"\xfd7zXZ", "compressed with xz: unpack it and name the file inside"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it and name the file inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it and name the file inside"),
    (b"Rar!", "a RAR archive: unpack it and name the file inside"),
    (b"\x93NUMPY", "a single array of NumPy; vectors of your own are read as 'vectors:FILE'"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"PAR1", "a parquet table"),
)
_BY_ENDING = {
    ".onnx": "an ONNX model, a graph and not weights by name: get the PyTorch weights that it was exported from",
    ".pb": "a TensorFlow graph: get the weights for PyTorch",
    ".tflite": "a TensorFlow Lite model: get the weights for PyTorch",
    ".msgpack": "a Flax checkpoint: get the weights for PyTorch",
    ".engine": "a TensorRT engine: get the weights that it was built from",
    ".mlmodel": "a Core ML model: get the weights that it was converted from",
}


class NotWeights(ValueError):
    """A file does not hold the weights that it should; the message is a sentence without a full stop."""


def recognise(path: Path) -> Format:
    """Return the format of a file by its content, whatever its name ends in; no more than its head is read.

    Raises:
        NotWeights: It is no file of weights that can be read, or is cut off; the message says which kind of file it is.
        OSError: It cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not size:
        raise NotWeights(f"'{path.name}' is empty (0 bytes): copy or download it again")
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(path, size)
    if head[:1] == b"\x80" and head[1:2] in b"\x01\x02\x03\x04\x05":
        if _TORCH_PICKLE in head[:32]:
            return "torch"
        raise NotWeights(
            f"'{path.name}' holds more than weights (it is a Python pickle, which would run code to load); refused. "
            "If you trust it, load it where it was made and write the weights alone with torch.save"
        )
    if head[8:9] == b"{" and path.suffix != ".json":
        return _check_safetensors(path, size, head)
    raise NotWeights(f"'{path.name}' is {_kind(path, head)}")


def _check_safetensors(path: Path, size: int, head: bytes) -> Format:
    """Return ``safetensors`` if the header and the size of the file agree."""
    length = int.from_bytes(head[:8], "little")
    if length > _MAX_HEADER or 8 + length > size:
        expected = "too long for one" if length > _MAX_HEADER else f"of {length:,} bytes"
        raise NotWeights(
            f"'{path.name}' is damaged or cut off: it begins like safetensors, with a header {expected}, and has "
            f"{size:,} bytes"
        )
    if length > _MAX_PARSED:
        return "safetensors"
    with path.open("rb") as file:
        file.seek(8)
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            whole = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            raise NotWeights(f"'{path.name}' is a safetensors file with a damaged header") from None
    if size < whole:
        raise NotWeights(
            f"'{path.name}' is cut off: a safetensors file of {whole:,} bytes by its header, it has {size:,}; copy or "
            "download it again"
        )
    return "safetensors"


def _zip_format(path: Path, size: int) -> Format:
    """Return the format of a zip archive by the names of its members."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, UnicodeDecodeError):
        raise NotWeights(
            f"'{path.name}' is cut off or damaged: a zip archive, as torch.save writes it, without an end "
            f"({size:,} bytes); copy or download it again"
        ) from None
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise NotWeights(
            f"'{path.name}' is a TorchScript archive, a program and not weights alone. If you trust it, save these: "
            f"torch.save(torch.jit.load('{path.name}').state_dict(), 'weights.pt')"
        )
    if "data.pkl" in inner:
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    if "model.weights.h5" in names:
        raise NotWeights(f"'{path.name}' is a model of Keras: get the weights for PyTorch")
    first = ", ".join(f"'{visible(name)}'" for name in names[:3])
    raise NotWeights(
        f"'{path.name}' is a zip archive of {len(names):,} files{f', first {first}' if names else ''}, and no weights: "
        "unpack it and name the file inside"
    )


def _kind(path: Path, head: bytes) -> str:
    """Say which kind of file begins like this, for a sentence behind "is"."""
    for start, kind in _BY_START:
        if head.startswith(start):
            return kind
    if head[4:8] == b"TFL3":
        return _BY_ENDING[".tflite"]
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it and name the file inside"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if re.match(rb"<(!doctype html|html|head|body|!--)", text, re.IGNORECASE):
        return (
            "a web page, not the file: download the file itself (on the Hugging Face hub its link has 'resolve' where "
            "the page has 'blob')"
        )
    if text.startswith(b"<"):
        return f"XML text, often a server's refusal, that begins {_beginning(text)}: download the file again"
    if path.suffix in _BY_ENDING:
        return _BY_ENDING[path.suffix]
    if re.match(rb"\x08[\x01-\x20][\x12\x1a]", head):
        return _BY_ENDING[".onnx"]
    if text.startswith((b"{", b"[")):
        return f"JSON text that begins {_beginning(text)}: name the file of weights"
    if _is_text(head):
        return f"a text file that begins {_beginning(text)}"
    return f"in no format of weights that is known (it begins with the bytes {head[:8].hex(' ')})"


def _is_text(head: bytes) -> bool:
    """Return whether bytes are printable text in UTF-8, which may be cut within a letter."""
    if re.search(rb"[\x00-\x08\x0e-\x1f]", head):
        return False
    try:
        head[:-4].decode()
    except UnicodeDecodeError:
        return False
    return True


def _beginning(text: bytes) -> str:
    """Return the first letters of a text, in quotes, on one line."""
    line = text[:200].decode("utf-8", "replace").strip().partition("\n")[0].strip()
    return f"'{visible(line[:40])}{'…' if len(line) > 40 else ''}'"
