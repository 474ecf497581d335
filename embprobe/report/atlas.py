"""The interactive map: the same images on every encoder's map, and each one's nearest neighbours by every encoder."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embprobe.embeddings.session import joined
from embprobe.embeddings.store import Store
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Floats
from embprobe.images.rows import Images
from embprobe.measures.knn import Positions
from embprobe.measures.mutual_knn import ranked_others
from embprobe.plots.thumbnails import describe, shorten
from embprobe.report.thumbnails import ACROSS, Sheets
from embprobe.search.maps import saved_maps
from embprobe.search.projection import layouts
from embprobe.system.text import visible

MOST = 10_000
"""Most images on the map; of more a random sample is taken."""
NEIGHBORS = 8
"""Neighbours of each image, at most."""
METHODS = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}
_SAVED = ("umap", "tsne")
_VALUES = 40
"""Most values of a label that can be chosen as the colours of the map."""
_LETTERS = 80
_STEPS = 65_535


@dataclass(frozen=True)
class Atlas:
    """Images with their positions and nearest neighbours by encoder."""

    images: Images
    of: int
    """The number of images with embeddings, of which these are a sample or all."""
    method: str
    layouts: Mapping[str, Floats]
    cosines: Mapping[str, Floats]
    """Cosines of the nearest neighbours, ``[n, k]``, highest first."""
    nearest: Mapping[str, Positions]
    """Positions of the nearest neighbours, ``[n, k]``; k is ``NEIGHBORS``, or all others of fewer images."""
    notes: Sequence[str] = ()
    """Remarks on images that are left out for their vectors, in sentences without a full stop."""

    @property
    def k(self) -> int:
        """The number of neighbours of each image."""
        return min(NEIGHBORS, len(self.images) - 1)


def make_atlas(stores: Sequence[Store], workspace: Workspace, *, seed: int = 0, most: int = MOST) -> Atlas:
    """Make the map of the images that all stores have, from a saved layout if there is one, else by PCA.

    Images without a direction by one of them are left out.

    Raises :class:`EmbprobeError` for too few images, embeddings that all coincide, or of one number each.
    """
    embedded = joined(stores).directed()
    specs = [store.spec for store in stores]
    method, positions = "pca", {}
    for candidate in _SAVED:
        if saved := saved_maps(embedded, specs, workspace, candidate, seed).layouts:
            method, positions = candidate, dict(saved)
            break
    n = len(embedded.rows)
    at = np.arange(n) if n <= most else np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
    drawn = embedded.take(at.tolist())
    positions = {name: layout[at] for name, layout in positions.items()}
    positions = positions or layouts(drawn.vectors, method=method, seed=seed)
    k = min(NEIGHBORS, len(drawn.rows) - 1)
    ranked = {name: ranked_others(vectors, k) for name, vectors in drawn.vectors.items()}
    cosines = {name: cosine for name, (cosine, _) in ranked.items()}
    nearest = {name: position for name, (_, position) in ranked.items()}
    return Atlas(drawn.rows, n, method, positions, cosines, nearest, embedded.notes)


def atlas_json(atlas: Atlas, sheets: Sheets) -> dict[str, Any]:
    """Return the data of the page's script.

    Arrays are little-endian in base64, coordinates in 65,535ths of the map's width, cosines in hundredths, as they are
    shown.
    """
    rows = atlas.images.rows
    labels = sorted({name for row in rows for name in row.labels})
    coded_labels = {name: _coded([row.labels.get(name, "") for row in rows]) for name in labels}
    return {
        "count": len(rows),
        "k": atlas.k,
        "keys": [_short(row.key) for row in rows],
        "names": [_short(", ".join(describe(row))) for row in rows],
        "labels": [{"name": visible(name), **coded} for name, coded in coded_labels.items() if coded],
        "encoders": [
            {
                "name": visible(name),
                "points": _packed(_steps(atlas.layouts[name]), "<u2"),
                "nearest": _packed(atlas.nearest[name], "<u2"),
                "cosines": _packed(np.rint(atlas.cosines[name] * 100), "i1"),
            }
            for name in atlas.layouts
        ],
        "side": sheets.side,
        "across": ACROSS,
        "sheets": list(sheets.sheets),
    }


def _steps(layout: Floats) -> Floats:
    """Scale both coordinates alike to whole steps, y upwards as in a figure."""
    low, high = layout.min(0), layout.max(0)
    width = float((high - low).max()) or 1.0
    middle = (low + high) / 2
    return np.asarray(np.rint(((layout - middle) / width * [1, -1] + 0.5) * _STEPS))


def _coded(values: Sequence[str]) -> dict[str, Any]:
    """Number the values by frequency and code every row; nothing if there is only one value, or more than colours."""
    counts = Counter(values)
    if not 1 < len(counts) <= _VALUES:
        return {}
    order = [value for value, _ in counts.most_common()]
    code_of = {value: i for i, value in enumerate(order)}
    codes = np.array([code_of[value] for value in values])
    return {
        "values": [_short(value) if value else "none" for value in order],
        "counts": [counts[value] for value in order],
        "codes": _packed(codes, "u1"),
    }


def _packed(array: NDArray[Any], kind: str) -> str:
    """Write an array of the NumPy type ``kind`` in base64."""
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode("ascii")


def _short(text: str) -> str:
    return shorten(visible(text), _LETTERS)
