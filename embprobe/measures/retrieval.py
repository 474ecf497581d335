"""Retrieval: is a key of the query's own label among the keys nearest to it?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.knn import nearest
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors


def recall_at_k(
    queries: Vectors,
    keys: Vectors,
    query_labels: LabelArray,
    key_labels: LabelArray,
    *,
    k: int,
    exclude: NDArray[np.integer] | None = None,
    device: str = "cpu",
) -> ScoreArray:
    """Score each query 1 if at least one of its ``k`` nearest keys has its label, else 0.

    This is what image-text papers call recall@k, as in CLIP_benchmark: not the share of a query's keys that are
    retrieved. Queries and keys may be images and texts, texts and images, or images and images.

    Args:
        queries: ``[m, d]``.
        keys: ``[n, d]``.
        query_labels: ``[m]``.
        key_labels: ``[n]``.
        k: The number of nearest keys to look at.
        exclude: For queries that are keys too, the position of each among the keys, ``[m]``: no query retrieves itself.
        device: Where to search: "cpu", or a device of torch.

    Returns:
        Scores ``[m]``, each 0 or 1; their mean is recall@k.

    Raises:
        EmbprobeError: If a query's label has no (other) key, if k is not below the number of keys to choose from (then
            every score would be 1), and as :func:`embprobe.measures.knn.nearest` does.

    Example:
        >>> keys = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> recall_at_k(keys[:2] + 0.1, keys, np.array(["a", "a"]), np.array(["a", "b", "b"]), k=1)
        array([1., 0.])
    """
    if (len(query_labels), len(key_labels)) != (len(queries), len(keys)):
        raise EmbprobeError(
            f"There are {len(queries)} queries with {len(query_labels)} labels, "
            f"and {len(keys)} keys with {len(key_labels)}: each needs one."
        )
    names, coded = np.unique(np.concatenate([query_labels, key_labels]), return_inverse=True)
    query_codes, key_codes = coded[: len(queries)], coded[len(queries) :]
    matching_keys = np.bincount(key_codes, minlength=len(names))[query_codes]
    choices = len(keys)
    if exclude is not None:
        _check_positions(exclude, len(queries), len(keys))
        matching_keys -= key_codes[exclude] == query_codes
        choices -= 1
    if (matching_keys == 0).any():
        lonely = names[np.unique(query_codes[matching_keys == 0])]
        more = f" and {len(lonely) - 1} more labels" if len(lonely) > 1 else ""
        raise EmbprobeError(
            f"{(matching_keys == 0).sum()} of {len(queries)} queries have nothing to find: no other image or text is "
            f"labelled '{lonely[0]}'{more}."
        )
    if not 1 <= k < choices:
        raise EmbprobeError(
            f"Recall at {k} among {choices} to choose from says nothing: k must be from 1 to {choices - 1}."
        )
    _, position = nearest(queries, keys, k if exclude is None else k + 1, device=device)
    hits = key_codes[position] == query_codes[:, None]
    if exclude is not None:
        itself = position == exclude[:, None]
        # of k + 1, the query itself is dropped; where it is not among them, the last
        hits[np.arange(len(hits)), np.where(itself.any(1), itself.argmax(1), k)] = False
    return np.asarray(hits.any(1), np.float64)


def _check_positions(exclude: NDArray[np.integer], m: int, n: int) -> None:
    if exclude.shape != (m,) or (exclude < 0).any() or (exclude >= n).any():
        raise EmbprobeError(f"Each of {m} queries needs its own position among the {n} keys, from 0 to {n - 1}.")
