"""Build an approximate index from vectors on the disk, block by block, and measure how well it searches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from embprobe.encoders.spec import Floats
from embprobe.search.choice import Choice
from embprobe.search.directions import l2_normalize
from embprobe.search.exact import Positions, search_exactly
from embprobe.search.gpu import failure, gpu_of, to_cpu, to_gpu
from embprobe.search.mapped import MappedVectors
from embprobe.system.threads import side_by_side, threads_for

RECALL = 0.95
"""The share of the ten nearest that an index must find; it searches as many cells and candidates as that takes."""
NEAREST = 10
"""Neighbours that recall is measured on."""
_SAMPLE = 200
"""Rows that recall is measured on."""
_CANDIDATES = (1, 2, 5, 10, 20, 50, 100)
"""Candidates for each neighbour that may be ordered by their vectors, where an index holds codes."""
_CODE_TRAINED, _CODE_ROUNDS = 40, 10
"""Rows for each of the 256 values of a byte, and rounds of k-means: twice the rows and 25 rounds
took up to four times as long and changed recall by less than 0.01 on 100,000 clustered random vectors."""


@dataclass(frozen=True)
class Effort:
    """How far an index searches, and how well that does."""

    cells: int
    """How many cells are searched."""
    candidates: int
    """How many candidates for each neighbour are ordered by their vectors."""
    recall: float
    """The share of the ten nearest others that is found, measured on 200 rows of the store against exact search."""


def build(vectors: MappedVectors, choice: Choice, memory: int, *, device: str, notify: Callable[[str], None]) -> Any:
    """Build the index, on the GPU if the device is one, and return it for the CPU.

    Args:
        vectors: What it is of.
        choice: Which index.
        memory: Bytes that it and the rows that it is trained on may take.
        device: "cpu" or a CUDA device of torch.
        notify: Called with a line if the GPU fails and the CPU builds it instead.
    """
    gpu = gpu_of(device)
    if gpu is not None:
        try:
            return _built(vectors, choice, memory, gpu)
        except RuntimeError as error:
            notify(f"the GPU {failure(error)} in the middle of building an index, and the CPU builds it")
    return _built(vectors, choice, memory, None)


def measure_effort(
    index: Any, vectors: MappedVectors, choice: Choice, *, device: str, notify: Callable[[str], None]
) -> Effort:
    """Double the number of cells until recall is :data:`RECALL`, and take as few candidates as keep it.

    Where no number of cells reaches it, the effort is the least that comes within 0.005 of the best.
    """
    rng = np.random.default_rng(1)
    sample = np.sort(rng.choice(len(vectors), min(len(vectors), _SAMPLE), replace=False))
    directions = l2_normalize(vectors.at(sample))
    k = min(NEAREST + 1, len(vectors))
    _, nearest = search_exactly(vectors, directions, k, device=device, notify=notify)
    wanted = _CANDIDATES if choice.code else _CANDIDATES[:1]
    efforts = list[Effort]()
    cells = 1
    while True:
        proposed = propose(index, directions, min(k * wanted[-1], len(vectors)), cells)
        efforts += [Effort(cells, each, _recall(sample, nearest, proposed[:, : k * each])) for each in wanted]
        if max(effort.recall for effort in efforts) >= RECALL or cells >= choice.cells:
            break
        cells = min(2 * cells, choice.cells)
    enough = min(RECALL, max(effort.recall for effort in efforts) - 0.005)
    return next(effort for effort in efforts if effort.recall >= enough)


def propose(index: Any, directions: Floats, count: int, cells: int, *, among: Positions | None = None) -> Positions:
    """Return the positions ``[m, count]`` of an index's candidates, -1 where it finds fewer in so many cells."""
    import faiss

    options: dict[str, Any] = (
        {"nprobe": cells} if among is None else {"nprobe": cells, "sel": faiss.IDSelectorBatch(among)}
    )
    parameters = faiss.SearchParametersIVF(**options)
    with threads_for(len(directions) * index.ntotal * index.d * cells / index.nlist):
        _, positions = index.search(widened(directions, index.d), count, params=parameters)
    return np.asarray(positions, np.int64)


def widened(directions: Floats, width: int) -> Floats:
    """Add zeros to the end of each row, which change no cosine. ``[n, d] -> [n, width]``."""
    lacking = width - directions.shape[1]
    return np.pad(directions, ((0, 0), (0, lacking))) if lacking else np.ascontiguousarray(directions)


def _built(vectors: MappedVectors, choice: Choice, memory: int, gpu: int | None) -> Any:
    """Train an index on some rows and add all, on a GPU if its number is given."""
    import faiss

    index = faiss.index_factory(choice.width, choice.key, faiss.METRIC_INNER_PRODUCT)
    rows = np.sort(np.random.default_rng(0).choice(len(vectors), choice.trained_rows(memory), replace=False))
    sample = widened(l2_normalize(vectors.at(rows)), choice.width)
    _train_centres(index, sample, gpu)
    if choice.code:
        _train_codes(index, sample)
    index.is_trained = True
    del sample
    filled = index if gpu is None else to_gpu(index, gpu)
    for block in vectors:
        with threads_for(block.size * choice.cells):
            filled.add(widened(l2_normalize(block), choice.width))
    return filled if gpu is None else to_cpu(filled)


def _train_centres(index: Any, sample: Floats, gpu: int | None) -> None:
    """Place the cells by spherical k-means of directions."""
    import faiss

    index.cp.min_points_per_centroid = 1  # with fewer than 39, FAISS prints a warning
    clustering = faiss.Clustering(index.d, index.nlist, index.cp)
    assigner = faiss.IndexFlatIP(index.d)
    with threads_for(sample.size * index.nlist):
        clustering.train(sample, assigner if gpu is None else to_gpu(assigner, gpu))
    index.quantizer.add(faiss.vector_to_array(clustering.centroids).reshape(index.nlist, index.d))


def _train_codes(index: Any, sample: Floats) -> None:
    """Choose the 256 values of each byte by k-means of what is left beside the centres, of some dimensions each.

    FAISS would do one byte after another on all threads; each is so little that these wait for each other.
    """
    import faiss

    some = np.sort(np.random.default_rng(0).permutation(len(sample))[: 256 * _CODE_TRAINED])
    with threads_for(len(some) * index.d * index.nlist):
        _, cells = index.quantizer.search(sample[some], 1)
    left = sample[some] - index.quantizer.reconstruct_batch(cells[:, 0])
    parts = np.split(left, index.pq.M, axis=1)
    least = {"min_points_per_centroid": 1, "max_points_per_centroid": _CODE_TRAINED}

    def train(part: Floats) -> Floats:
        means = faiss.Kmeans(part.shape[1], min(256, len(part)), niter=_CODE_ROUNDS, **least)
        means.train(np.ascontiguousarray(part))
        values = np.zeros((256, part.shape[1]), np.float32)  # of fewer rows than values, the others stay
        values[: means.k] = means.centroids
        return values

    faiss.copy_array_to_vector(np.concatenate(side_by_side(train, parts)).ravel(), index.pq.centroids)


def _recall(sample: Positions, nearest: Positions, proposed: Positions) -> float:
    """Return the mean share of each row's nearest others that are among the proposed rows."""
    shares = [
        len((set(found) & set(others)) - {row}) / max(1, len(set(others) - {row}))
        for row, found, others in zip(sample.tolist(), proposed.tolist(), nearest.tolist(), strict=True)
    ]
    return float(np.mean(shares))
