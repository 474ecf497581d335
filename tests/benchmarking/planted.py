"""Data sets whose vectors are planted, so that every score can be worked out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from embprobe.benchmarking.dataset import Dataset, dataset_of
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.given import GivenVectors, given_vectors
from embprobe.images import Images


def clusters(labels: Sequence[str], *, noise: float, seed: int, dimension: int = 6) -> NDArray[np.float32]:
    """Vectors around a direction of each label, ``[n, d]``."""
    names = sorted(set(labels))
    rng = np.random.default_rng(seed)
    centres = np.eye(dimension)[[names.index(label) for label in labels]]
    return (centres + noise * rng.standard_normal(centres.shape)).astype(np.float32)


def flowers(
    per_class: Mapping[str, int], *, test: float = 0.5, name: str = "flowers", **labels: Sequence[str]
) -> Dataset:
    """So many images of each class; of each, every second is a test unless ``test`` is 0."""
    classes = [label for label, count in per_class.items() for _ in range(count)]
    splits = ["test" if test and i % 2 else "train" for count in per_class.values() for i in range(count)]
    columns: dict[str, Sequence[str | None]] = {"category": classes, **({"split": splits} if test else {}), **labels}
    return dataset_of(Images.without_pictures(name, [f"{name}/{i}" for i in range(len(classes))], columns))


def encoder(name: str, dataset: Dataset, *, noise: float, seed: int = 0, dimension: int = 6) -> GivenVectors:
    """Vectors of a data set under a name; the larger the noise, the more of them are mistaken."""
    labels = dataset.images.label(dataset.label)
    vectors = clusters(labels, noise=noise, seed=seed, dimension=dimension)
    return given_vectors(name, vectors, dataset.images.keys)


def session(workspace: Workspace, notes: list[str] | None = None, seed: int = 0) -> Session:
    return Session(workspace, seed=seed, note=(notes if notes is not None else []).append)
