"""Exact k nearest neighbours by cosine, and the weighted k-NN classifier."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.blocks import rows_at
from embprobe.measures.vectors import LabelArray, Vectors, check_directions, check_labels, unit_blocks
from embprobe.system.threads import side_by_side, threads_for

Similarities = NDArray[np.float32]
Positions = NDArray[np.int64]

_CELLS = 2**28
"""Similarities held on a GPU at once: 1 GiB."""
_MOST = 65_536
"""Queries of a product on a GPU, at most."""
_BLOCK = 2**28
"""Bytes of directions held at once: of queries, and of the keys that are searched together."""
_VOTES = 2**24
"""Sums of votes held at once: 128 MiB."""
_QUERIES = 1_024
"""Least queries of a search on one thread, if there are as many."""
_QUERY_CELLS = 2**18
"""Least numbers of a search's queries: BLAS computes matrices that are much smaller in another order of sums."""


def nearest(queries: Vectors, keys: Vectors, k: int, *, device: str = "cpu") -> tuple[Similarities, Positions]:
    """Find the ``k`` nearest keys of every query by cosine, exactly.

    FAISS searches on the CPU, torch on any other ``device``; no m × n array is held. Directions are divided by their
    length in float64, and products are of float32. Beside the result two blocks of directions are held, 512 MB, however
    many vectors there are, and on another device the directions of all keys.

    Args:
        queries: ``[m, d]``.
        keys: ``[n, d]``.
        k: The number of keys to find for each query.
        device: "cpu", or a device of torch.

    Returns:
        Cosines ``[m, k]``, highest first, and the keys' positions ``[m, k]``. Cosines are float32, so those less than
        about 1e-6 apart may change places; equal ones come in the order of their positions.

    Raises:
        EmbprobeError: Unless 1 <= k <= n and both have the same d, and for zero or non-finite vectors.

    Example:
        >>> keys = np.array([[0.0, 2.0], [3.0, 4.0], [5.0, 0.0]])  # cosines with (1, 0): 0, 0.6 and 1
        >>> nearest(np.array([[1.0, 0.0]]), keys, 2)
        (array([[1. , 0.6]], dtype=float32), array([[2, 1]]))
    """
    if not 1 <= k <= len(keys):
        raise EmbprobeError(f"{k} nearest neighbours were asked for, among {len(keys)} embeddings.")
    if queries.shape[1] != keys.shape[1]:
        raise EmbprobeError(
            f"Embeddings of {queries.shape[1]} and {keys.shape[1]} dimensions cannot be compared: "
            "they must come from the same encoder."
        )
    if device != "cpu":
        similarity, position = _by_torch(queries, keys, k, device)
    elif max(len(queries), len(keys)) <= _rows_of(keys):
        similarity, position = _by_faiss(_directions(queries), _directions(keys), k)
    else:
        similarity, position = _by_blocks(queries, keys, k)
    return _nearest_first(similarity, position)


def predict_knn(
    train: Vectors, labels: LabelArray, test: Vectors, *, k: int = 20, temperature: float = 0.07, device: str = "cpu"
) -> LabelArray:
    """Predict labels with the weighted k-NN classifier of DINO.

    score(c) = sum of exp(s / temperature) over those of the k nearest training vectors that have label c, with s the
    cosine (Wu et al. 2018; Caron et al. 2021, section 4.1).

    Args:
        train: Training vectors, ``[n, d]``.
        labels: Their labels, ``[n]``.
        test: Vectors to predict for, ``[m, d]``.
        k: The number of neighbours that vote; all training vectors, if there are fewer.
        temperature: Above 0; the lower, the more the nearest ones count.
        device: Where to search: "cpu", or a device of torch.

    Returns:
        The predicted label of each test vector, ``[m]``. Ties go to the first label in the alphabet.

    Raises:
        EmbprobeError: As :func:`nearest` does, for fewer than two labels, for another number of labels than training
            vectors, and for a temperature that is not above 0.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> predict_knn(x, np.array(["east", "north"]), np.array([[2.0, 1.0]]), k=1).tolist()
        ['east']
    """
    if len(labels) != len(train):
        raise EmbprobeError(f"There are {len(train)} embeddings to fit on, but {len(labels)} labels for them.")
    if not temperature > 0:
        raise EmbprobeError(f"The temperature of k-NN must be above 0, not {temperature}.")
    check_labels(labels)
    classes, coded = np.unique(labels, return_inverse=True)
    similarity, position = nearest(test, train, min(k, len(train)), device=device)
    # relative to the nearest: the same ranking, and at no temperature do weights overflow or all become zero
    weight = np.exp((similarity - similarity[:, :1]).astype(np.float64) / temperature)
    step = max(1, _VOTES // len(classes))
    winners = [
        _votes(weight[i : i + step], coded[position[i : i + step]], len(classes)).argmax(1)
        for i in range(0, len(test), step)
    ]
    predicted: LabelArray = classes[np.concatenate(winners)]
    return predicted


def _rows_of(vectors: Vectors) -> int:
    """Return how many of the rows are held at once: a multiple of 1,024, the keys of each of FAISS's products."""
    return max(1, _BLOCK // (4 * 1024 * int(vectors.shape[1]))) * 1024


def _directions(vectors: Vectors) -> Similarities:
    """Divide rows by their length, in float32; a block at a time, because a million rows in float64 are 6 GB."""
    directions = np.empty(vectors.shape, np.float32)
    for rows, block in unit_blocks(vectors, min_rows=1, dtype=np.float32):
        directions[rows] = block
    return directions


def _nearest_first(similarity: Similarities, position: Positions) -> tuple[Similarities, Positions]:
    """Sort each row by cosine, highest first, and equal ones by position."""
    order = np.lexsort((position, -similarity), axis=1)
    return np.take_along_axis(similarity, order, 1), np.take_along_axis(position, order, 1)


def _by_blocks(queries: Vectors, keys: Vectors, k: int) -> tuple[Similarities, Positions]:
    """Search for some queries among some keys at a time, and keep the nearest that were found so far."""
    check_directions(queries)
    check_directions(keys)
    similarity, position = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    step = _rows_of(keys)
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        some = _directions(rows_at(queries, rows))
        near, at = np.empty((len(some), 0), np.float32), np.empty((len(some), 0), np.int64)
        for first in range(0, len(keys), step):
            block = _directions(rows_at(keys, np.arange(first, min(first + step, len(keys)))))
            new, new_at = _by_faiss(some, block, min(k, len(block)))
            near, at = _nearest_first(np.concatenate([near, new], 1), np.concatenate([at, new_at + first], 1))
            near, at = near[:, :k].copy(), at[:, :k].copy()
        similarity[rows], position[rows] = near, at
    return similarity, position


def _votes(weight: NDArray[np.float64], label: Positions, count: int) -> NDArray[np.float64]:
    """Sum the weights of each row by label. ``[m, k], [m, k] -> [m, count]``."""
    cell = np.arange(len(label))[:, None] * count + label
    sums = np.asarray(np.bincount(cell.ravel(), weight.ravel(), len(label) * count), np.float64)
    return sums.reshape(len(label), count)


def _by_faiss(queries: Similarities, keys: Similarities, k: int) -> tuple[Similarities, Positions]:
    """Search for blocks of queries side by side; blocks depend on sizes only, so that cosines do, too."""
    import faiss

    blocks = np.array_split(queries, -(-len(queries) // max(_QUERIES, _QUERY_CELLS // queries.shape[1])) or 1)

    def search(block: Similarities) -> tuple[Similarities, Positions]:
        similarity, position = faiss.knn(block, keys, k, metric=faiss.METRIC_INNER_PRODUCT)
        return similarity, position

    with threads_for(queries.size * len(keys)):
        found = side_by_side(search, blocks)
    return np.concatenate([each for each, _ in found]), np.concatenate([each for _, each in found])


def _by_torch(queries: Vectors, keys: Vectors, k: int, device: str) -> tuple[Similarities, Positions]:
    import torch

    every, step = torch.empty(keys.shape, dtype=torch.float32, device=device), min(max(1, _CELLS // len(keys)), _MOST)
    for place, block in unit_blocks(keys, min_rows=1, dtype=np.float32):
        every[place] = torch.from_numpy(block).to(device)
    columns = every.T
    similarity, position = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    for rows, block in unit_blocks(queries, min_rows=1, rows=step, dtype=np.float32):
        top = (torch.from_numpy(block).to(device) @ columns).topk(k, dim=1)
        similarity[rows], position[rows] = top.values.cpu().numpy(), top.indices.cpu().numpy()
    return similarity, position
