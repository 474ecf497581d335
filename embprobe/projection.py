"""A store's embeddings laid out in the plane."""

from __future__ import annotations

import warnings

import numpy as np

from embprobe.encoders.base import Floats
from embprobe.errors import EmbprobeError
from embprobe.index import normalize

NEIGHBORS = 15


def umap_layout(vectors: Floats, *, seed: int) -> Floats:
    """UMAP with the cosine metric: ``[n, d] -> [n, 2]``, the same for the same seed.

    Loading UMAP takes about 15 seconds and its first use in a process compiles for 10 to 30 more. Raises
    :class:`EmbprobeError` for fewer points than it needs.
    """
    if len(vectors) <= NEIGHBORS:
        raise EmbprobeError(f"A map needs more than {NEIGHBORS} images; there are {len(vectors)}.")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")  # a fixed seed means one thread; that is wanted
        from umap import UMAP

        layout = UMAP(n_neighbors=NEIGHBORS, metric="cosine", random_state=seed).fit_transform(normalize(vectors))
    return np.asarray(layout, np.float32)
