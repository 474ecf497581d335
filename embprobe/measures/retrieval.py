"""Retrieval: is one of a query's own among what is found nearest to it?"""

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
    """1 for a query with at least one key of its label among its ``k`` nearest, else 0. ``[m, d], [n, d] -> [m]``.

    This is what image-text papers call recall@k, as in CLIP_benchmark: not the share of a query's keys that were found.
    Queries and keys may be images and texts, texts and images, or images and images; for queries that are keys too,
    ``exclude`` holds the position ``[m]`` of each among the keys, and no query finds itself.

    Raises :class:`EmbprobeError` if a query's label has no (other) key, if k is not below the number of keys to choose
    from (then every score would be 1), and as :func:`embprobe.measures.knn.nearest` does.

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
    wanted, offered = coded[: len(queries)], coded[len(queries) :]
    there = np.bincount(offered, minlength=len(names))[wanted]
    choices = len(keys)
    if exclude is not None:
        _check_positions(exclude, len(queries), len(keys))
        there -= offered[exclude] == wanted
        choices -= 1
    if (there == 0).any():
        lonely = names[np.unique(wanted[there == 0])]
        more = f" and {len(lonely) - 1} more labels" if len(lonely) > 1 else ""
        raise EmbprobeError(
            f"{(there == 0).sum()} of {len(queries)} queries have nothing to find: no other image or text is labelled "
            f"'{lonely[0]}'{more}."
        )
    if not 1 <= k < choices:
        raise EmbprobeError(
            f"Recall at {k} among {choices} to choose from says nothing: k must be from 1 to {choices - 1}."
        )
    _, position = nearest(queries, keys, k if exclude is None else k + 1, device=device)
    found = offered[position] == wanted[:, None]
    if exclude is not None:
        itself = position == exclude[:, None]
        # of k + 1, the query itself is dropped; where it is not among them, the last
        found[np.arange(len(found)), np.where(itself.any(1), itself.argmax(1), k)] = False
    return np.asarray(found.any(1), np.float64)


def _check_positions(exclude: NDArray[np.integer], m: int, n: int) -> None:
    if exclude.shape != (m,) or (exclude < 0).any() or (exclude >= n).any():
        raise EmbprobeError(f"Each of {m} queries needs its own position among the {n} keys, from 0 to {n - 1}.")
