"""Choose the torch devices to compute on."""

from __future__ import annotations

import re
from pathlib import Path

from embprobe.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")


def resolve_device(name: str) -> str:
    """Turn the name that a user typed into a device that torch can use on this machine.

    Args:
        name: ``auto`` takes the GPUs if there are any; ``cuda`` is all of them, ``cuda:1`` one.

    Raises:
        UsageError: There is no such device here.

    Example:
        >>> resolve_device("cpu")
        'cpu'
    """
    import torch

    if name != "auto" and not re.fullmatch(r"[a-z]+|cuda:(0|[1-9][0-9]*)", name):
        raise UsageError(f"There is no device '{name}'. There are: {', '.join(DEVICES)}.")
    kind, _, number = name.partition(":")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if available[device])
    if kind not in available:
        raise UsageError(f"There is no device '{name}'. There are: {', '.join(DEVICES)}.")
    if not available[kind]:
        raise UsageError(f"torch finds no {kind} device here. Use --device auto, or --device cpu.")
    if number and int(number) >= torch.cuda.device_count():
        raise UsageError(f"There is no '{name}': torch finds {torch.cuda.device_count()} here, counted from 0.")
    return name


def each_of(device: str) -> list[str]:
    """List the single devices behind a resolved name: every GPU for ``cuda``, else the device itself."""
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] if device == "cuda" else [device]


def unused_gpu(device: str) -> str:
    """Write a remark about GPUs of this machine that ``device`` leaves unused; "" if there are none."""
    import torch

    if torch.cuda.is_available():
        count, used = torch.cuda.device_count(), len(each_of(device)) if device.startswith("cuda") else 0
        if used < count:
            return f"{count - used} of {count} GPUs ({torch.cuda.get_device_name(0)}) will not be used: --device auto"
    elif device == "cpu" and Path("/proc/driver/nvidia/version").exists():
        return f"There is an NVIDIA GPU, but this torch ({torch.__version__}) cannot use it: see pytorch.org"
    elif device == "cpu" and torch.backends.mps.is_available():
        return "The GPU of this Mac will not be used: --device auto"
    return ""
