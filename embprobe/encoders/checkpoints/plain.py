"""Allow checkpoints to hold plain values besides tensors, so that files of training runs load without running code."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager

import numpy as np
import torch


def plain_values() -> AbstractContextManager[None]:
    """Return a context in which ``torch.load(weights_only=True)`` also takes NumPy's numbers and argparse's Namespace.

    Both are values without behaviour. Training code leaves them in optimizer states (a learning rate from NumPy's
    cosine) and beside the weights; NumPy 1 wrote them under another module's name.
    """
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    return torch.serialization.safe_globals(
        [
            argparse.Namespace,
            np.dtype,
            *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)),
            scalar,
            (scalar, "numpy.core.multiarray.scalar"),
        ]
    )
