"""Embeddings laid out in the plane, those of several encoders so that they can be compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np

from embprobe.encoders.spec import Floats
from embprobe.errors import EmbprobeError, UsageError
from embprobe.measures.vectors import lack_direction
from embprobe.search.directions import l2_normalize
from embprobe.system.compiled import import_compiled

NEIGHBORS = 15
"""UMAP's neighbours of a point, its default. t-SNE's perplexity is 30, its default."""
_AXES = 2
"""Two points lie on one axis, so PCA of them is no map."""
_SPREAD = 10.0
"""Half the width of the square in which UMAP starts; t-SNE starts a hundred-thousandth as wide."""
_COINCIDE = 1e-6
"""A standard deviation of directions that rounding alone can leave."""
_Method = Callable[[Floats, Floats | None, int], Floats]


def layouts(
    vectors: Mapping[str, Floats],
    *,
    method: str = "umap",
    seed: int = 0,
    notify: Callable[[str], None] = lambda now: None,
) -> dict[str, Floats]:
    """Lay the same rows out in the plane for each encoder: ``[n, d] -> [n, 2]``, by cosine, the same for the same seed.

    ``method`` is ``umap``, ``tsne`` or ``pca``. So that maps can be compared, the first encoder's starts at its
    principal components and every other at the first one's map, and is then turned, mirrored, moved and scaled to lie
    on it as closely as possible (:func:`aligned`). A point in another place therefore has other neighbours; but which
    groups lie far apart depends on the start, in every UMAP and t-SNE (Kobak and Linderman 2021, "Initialization is
    critical for preserving global data structure in both t-SNE and UMAP"). Each map's standard deviation is 1.

    Loading UMAP takes about 15 seconds and its first use in a process compiles for 10 to 30 more. Raises
    :class:`UsageError` for no such method, :class:`EmbprobeError` for too few points, ones that all coincide, and
    vectors of one number or of zeros.
    """
    check_method(method)
    maps: dict[str, Floats] = {}
    first: Floats | None = None
    for name, each in vectors.items():
        least = _AXES if method == "pca" else NEIGHBORS
        if len(each) <= least:
            raise EmbprobeError(f"A map by {method} needs more than {least} images; there are {len(each)}.")
        check_dimension(name, each.shape[1])
        if bad := int(lack_direction(each).sum()):
            raise EmbprobeError(f"{bad:,} of {len(each):,} embeddings by {name} are zero or not finite: without a map.")
        notify(f"{method}: {name}")
        directions = l2_normalize(each)
        if float(directions.std(0).max()) < _COINCIDE:
            raise EmbprobeError("All embeddings coincide, so there is no map of them.")
        start = _scaled(_pca(directions, None, seed)) if first is None else first
        maps[name] = aligned(METHODS[method](directions, start, seed), first)
        first = maps[name] if first is None else first
    return maps


def aligned(layout: Floats, target: Floats | None) -> Floats:
    """Centre a layout ``[n, 2]``, scale it to a standard deviation of 1, and turn or mirror it towards ``target``.

    It is turned by the orthogonal matrix that brings it nearest in least squares (Schönemann 1966); without a target it
    is not turned.

    >>> corner = np.array([[0, 0], [1, 0], [0, 2]], np.float32)
    >>> turned = corner[:, ::-1] * [-3, 3] + 7  # by 90 degrees, larger and elsewhere
    >>> bool(np.allclose(aligned(turned, corner), aligned(corner, None), atol=1e-6))
    True
    """
    scaled = _scaled(layout)
    if target is None:
        return scaled
    left, _, right = np.linalg.svd(scaled.T @ _scaled(target))
    return np.asarray(scaled @ (left @ right), np.float32)


def _scaled(layout: Floats) -> Floats:
    about = layout - layout.mean(0)
    return np.asarray(about / np.sqrt(np.square(about).mean()), np.float32)


def _pca(directions: Floats, start: Floats | None, seed: int) -> Floats:
    """Return the first two principal components, from the eigenvectors of the covariance: ``[n, d] -> [n, 2]``.

    scikit-learn's arithmetic, without the second that its import takes. Each axis points where its largest entry is
    positive.
    """
    n, mean = len(directions), directions.mean(0)
    covariance = (directions.T @ directions - n * mean[:, None] * mean) / (n - 1)
    axes = np.ascontiguousarray(np.linalg.eigh(covariance).eigenvectors[:, :-3:-1].T)  # [2, d], the longer one first
    axes *= np.sign(axes[[0, 1], np.abs(axes).argmax(1)])[:, None]
    return np.asarray(directions @ axes.T - mean @ axes.T, np.float32)


def _umap(directions: Floats, start: Floats | None, seed: int) -> Floats:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")  # a fixed seed means one thread; that is wanted
        umap = import_compiled("umap")
        begin = "spectral" if start is None else _SPREAD * start / np.abs(start).max()
        reducer = umap.UMAP(n_neighbors=NEIGHBORS, metric="cosine", init=begin, random_state=seed)
        layout = reducer.fit_transform(directions)
    return np.asarray(layout, np.float32)


def _tsne(directions: Floats, start: Floats | None, seed: int) -> Floats:
    from sklearn.manifold import TSNE

    begin = "pca" if start is None else 1e-4 * start / start[:, 0].std()
    perplexity = min(30.0, (len(directions) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init=begin, random_state=seed).fit_transform(directions)
    return np.asarray(layout, np.float32)


METHODS: dict[str, _Method] = {"umap": _umap, "tsne": _tsne, "pca": _pca}


def check_dimension(name: str, dimension: int) -> None:
    """Raise :class:`EmbprobeError` if an encoder's embeddings have too few numbers for a map."""
    if dimension < _AXES:
        raise EmbprobeError(
            f"The embeddings by {name} are of one number each, so by cosine any two are the same or opposite, and "
            "there is no map of them: leave this encoder out."
        )


def check_method(name: str, *others: str) -> str:
    """Return the name if it is a method's or one of ``others``; raises :class:`UsageError` that lists all of them."""
    if name not in (*METHODS, *others):
        raise UsageError(f"There is no method '{name}' for maps. There are: {', '.join([*METHODS, *others])}.")
    return name
