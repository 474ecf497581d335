"""Read a file, an index of shards or a folder of weights into nested dictionaries, without running code in it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from embprobe.encoders.checkpoints.formats import NotWeights, recognise
from embprobe.encoders.checkpoints.plain import plain_values
from embprobe.system.text import visible

INDEX = "model.safetensors.index.json"
USUAL = (
    "model.safetensors",
    INDEX,
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model.pth",
    "model.pth",
)
"""Usual names of a folder's weights, the first that is there counts."""
_ENDINGS = ("*.safetensors", "*.pth", "*.pt", "*.bin", "*.ckpt", "*.pth.tar")
_MAX_INDEX = 50_000_000
"""Bytes of an index; that of a model of a trillion numbers has a few million."""


def find_weights(place: Path) -> Path:
    """Return the file or index of weights at a place, which may be a folder that holds a single one.

    Raises:
        NotWeights: The folder holds none, or several of which none has a usual name.
        OSError: There is no such place, or it is a pipe, a socket or a device.
    """
    if place.is_file():
        return place
    if not place.is_dir():
        raise FileNotFoundError(f"there is no file or folder '{place}'")
    for name in USUAL:
        if (place / name).is_file():
            return place / name
    files = sorted({file for ending in _ENDINGS for file in place.glob(ending) if file.is_file()})
    if len(files) == 1:
        return files[0]
    if (place / "adapter_config.json").is_file():
        raise NotWeights(f"'{place.name}' is a folder of {ADAPTER}")
    if (place / ".metadata").is_file():
        raise NotWeights(
            f"'{place.name}' is a sharded checkpoint of torch.distributed: join it with 'python -m "
            f"torch.distributed.checkpoint.format_utils dcp_to_torch {place.name} weights.pt'"
        )
    if (place / "zero_to_fp32.py").is_file() or (place / "latest").is_file():
        raise NotWeights(f"'{place.name}' is a checkpoint of DeepSpeed: join it with its own zero_to_fp32.py")
    names = ", ".join(f"'{visible(file.name)}'" for file in files[:3])
    found = f"{len(files):,} files of weights, first {names}: name one of them" if files else "no file of weights"
    raise NotWeights(f"'{place.name}' is a folder with {found}")


ADAPTER = (
    "an adapter (LoRA, PEFT), which changes another model's weights: merge it first, "
    "model.merge_and_unload().save_pretrained('merged') in peft, and name the merged weights"
)


def read_weights(path: Path) -> Mapping[str, Any]:
    """Return the values of a file of weights by name; networks may be nested in it.

    An index (``model.safetensors.index.json``) is read with its shards.

    Raises:
        NotWeights: It holds something else, more than weights, or is damaged; the message names the file.
        OSError: It cannot be read.
    """
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    format_ = recognise(path)
    try:
        if format_ == "safetensors":
            return load_file(path)
        content: Any = _read_npz(path) if format_ == "npz" else _read_torch(path)
    except NotWeights:
        raise
    except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        reason = visible(str(error).partition("\n")[0].rstrip("."))
        raise NotWeights(f"'{path.name}' is damaged or cut off: {reason}") from None
    if not isinstance(content, Mapping):
        raise NotWeights(f"'{path.name}' holds a {type(content).__name__} and no named weights")
    return content


def _read_torch(path: Path) -> Any:
    """Return the content of a file that torch.save wrote, if it is plain values and tensors."""
    with plain_values(), path.open("rb") as file:  # given a path, torch would go by the ending
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise NotWeights(_more_than_weights(path)) from None


def _more_than_weights(path: Path) -> str:
    """Say which Python objects a file holds beside weights, and how its owner can write the weights alone."""
    try:
        with plain_values():
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # a hostile file can fail in any way; files of old versions of torch are not looked into
        names = []
    listed = ", ".join(visible(name) for name in names[:3]) + (f" and {len(names) - 3:,} more" if names[3:] else "")
    objects = f"Python objects of {listed}" if names else "Python objects, or it is damaged"
    saved, key = "torch.load(FILE, weights_only=False)", "['state_dict']"
    if any(name.startswith("torch.nn.modules.") for name in names):
        objects, key = f"a whole module, {objects}", ".state_dict()"
    return (
        f"'{path.name}' holds more than weights ({objects}; loading them would run code); refused. If you trust it, "
        f"write the weights alone where it was made: torch.save({saved}{key}, 'weights.pt')"
    )


def _read_npz(path: Path) -> dict[str, Tensor]:
    """Return the arrays of an ``.npz`` file; objects in it are refused."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def shards_of(index: Path) -> dict[str, str]:
    """Return by weight the name of the file that holds it, from an index of shards.

    Raises:
        NotWeights: It is no such index, or names files elsewhere than beside it.
    """
    if index.stat().st_size > _MAX_INDEX:
        raise NotWeights(f"'{index.name}' is too large for an index of shards")
    try:
        files: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not files or not all(isinstance(name, str) and name == Path(name).name for name in files.values()):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NotWeights(
            f"'{index.name}' is no index of shards: it has no 'weight_map' from names to files beside it"
        ) from None
    return files


def _read_shards(index: Path) -> dict[str, Any]:
    """Return the tensors of all shards that an index names."""
    files = shards_of(index)
    names = sorted(set(files.values()))
    absent = [name for name in names if not (index.parent / name).is_file()]
    if absent:
        raise NotWeights(
            f"{len(absent):,} of the {len(names):,} shards of '{index.name}' are not beside it, first "
            f"'{visible(absent[0])}'"
        )
    state: dict[str, Any] = {}
    for name in names:
        if name.endswith(".index.json"):
            raise NotWeights(f"'{index.name}' names an index among its shards")
        state |= read_weights(index.parent / name)
    lacking = sorted(set(files) - set(state))
    if lacking:
        raise NotWeights(f"the shards of '{index.name}' lack {len(lacking):,} weights, first '{visible(lacking[0])}'")
    return state
