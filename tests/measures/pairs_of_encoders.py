from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def at(*degrees: float) -> Array:
    """Unit vectors in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def related(seed: int, n: int = 30, d: int = 5, e: int = 8) -> tuple[Array, Array]:
    """Two encoders that agree in part, about points that are not the origin."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, d))
    return a + 1, a @ rng.normal(size=(d, e)) + rng.normal(size=(n, e)) - 2


def rotation(seed: int, d: int) -> Array:
    return np.asarray(np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0])
