"""Which torch device to compute on."""

from __future__ import annotations

from embprobe.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str) -> str:
    """A device torch can use: ``auto`` takes a GPU if there is one. Raises :class:`UsageError` if it is not there."""
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if available[device])
    if name not in available:
        raise UsageError(f"There is no device '{name}'. There are: {', '.join(DEVICES)}.")
    if not available[name]:
        raise UsageError(f"torch finds no {name} device here. Use --device auto, or --device cpu.")
    return name
