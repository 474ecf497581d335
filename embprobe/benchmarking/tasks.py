"""Tasks: what is read from an encoder's vectors of a data set, each a score from 0 to 1 for every test image."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import UsageError
from embprobe.measures.decoding import correct
from embprobe.measures.few_shot import few_shot
from embprobe.measures.gda import predict_gda, predict_gda_with_text
from embprobe.measures.knn import predict_knn
from embprobe.measures.logistic import predict_logistic
from embprobe.measures.retrieval import recall_at_k
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors
from embprobe.measures.zero_shot import predict_zero_shot
from embprobe.system.suggestions import did_you_mean

Needs = Literal["fit", "names", "captions"]
"""Images to fit on; the names of classes, as texts; captions of images."""


@dataclass(frozen=True)
class Texts:
    """Texts, and their vectors by one encoder."""

    texts: LabelArray
    """``[c]``"""
    vectors: Vectors
    """``[c, d]``"""
    images: NDArray[np.int64] | None = None
    """Of captions, the position of the image that each is of among the images that are tested, ``[c]``."""


@dataclass(frozen=True)
class Part:
    """The vectors of images to fit on and to test by one encoder, and all that a task may need of them."""

    train: Vectors
    labels: LabelArray
    groups: LabelArray
    test: Vectors
    truth: LabelArray
    names: Texts | None = None
    """The names of all classes; None for an encoder without text."""
    captions: Texts | None = None
    """The captions of the test images, one or more of each; None without text or captions."""
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Task:
    """A question to an encoder's vectors."""

    name: str
    title: str
    """As a table shows it."""
    needs: frozenset[Needs]
    score: Callable[[Part], ScoreArray]
    """Returns the score of each test image, ``[m]``, from 0 to 1."""
    unit: str = "accuracy"
    method: int = 1
    """Another number where the same vectors give other scores than in an earlier version."""

    @property
    def classifies(self) -> bool:
        """Whether a score says that an image's class was named rightly, so that chance and classes have a meaning."""
        return "captions" not in self.needs


def _knn(k: int) -> Task:
    def score(part: Part) -> ScoreArray:
        return correct(predict_knn(part.train, part.labels, part.test, k=k, device=part.device), part.truth)

    return Task(f"knn-{k}", f"k-NN ({k})", frozenset({"fit"}), score)


def _linear(part: Part) -> ScoreArray:
    [predicted] = predict_logistic(
        part.train, part.labels, part.groups, [part.test], seed=part.seed, device=part.device
    )
    return correct(predicted, part.truth)


def _gda(part: Part) -> ScoreArray:
    [predicted] = predict_gda(part.train, part.labels, [part.test])
    return correct(predicted, part.truth)


def _few_shot(shots: int) -> Task:
    def score(part: Part) -> ScoreArray:
        [scores] = few_shot(part.train, part.labels, [part.test], [part.truth], shots=shots, seed=part.seed)
        return scores

    images = "image" if shots == 1 else "images"
    return Task(f"few-shot-{shots}", f"few-shot, {shots} {images}", frozenset({"fit"}), score)


def _gda_with_text(part: Part) -> ScoreArray:
    assert part.names is not None
    [predicted] = predict_gda_with_text(
        part.train, part.labels, part.groups, part.names.vectors, part.names.texts, [part.test], seed=part.seed
    )
    return correct(predicted, part.truth)


def _zero_shot(part: Part) -> ScoreArray:
    assert part.names is not None
    return correct(predict_zero_shot(part.test, part.names.vectors, part.names.texts), part.truth)


def _image_to_text(part: Part) -> ScoreArray:
    """Score 1 where the text nearest to an image is one of its captions."""
    assert part.captions is not None and part.captions.images is not None
    own, images = part.captions.images.astype(str), np.arange(len(part.test)).astype(str)
    return recall_at_k(part.test, part.captions.vectors, images, own, k=1, device=part.device)


def _text_to_image(part: Part) -> ScoreArray:
    """Score each image by the share of its captions that it is the nearest image to."""
    assert part.captions is not None and part.captions.images is not None
    own, images = part.captions.images, np.arange(len(part.test)).astype(str)
    found = recall_at_k(part.captions.vectors, part.test, own.astype(str), images, k=1, device=part.device)
    return np.asarray(np.bincount(own, found) / np.bincount(own), np.float64)


_FIXED = (
    Task("linear-probe", "linear probe", frozenset({"fit"}), _linear),
    Task("gda", "GDA", frozenset({"fit"}), _gda),
    Task("zero-shot", "zero-shot", frozenset({"names"}), _zero_shot),
    Task("gda+zero-shot", "GDA + zero-shot", frozenset({"fit", "names"}), _gda_with_text),
    Task("image-to-text", "image to text, R@1", frozenset({"captions"}), _image_to_text, unit="recall@1"),
    Task("text-to-image", "text to image, R@1", frozenset({"captions"}), _text_to_image, unit="recall@1"),
)
_NUMBERED: dict[str, Callable[[int], Task]] = {"knn": _knn, "few-shot": _few_shot}
TASKS = (
    "knn-1",
    "knn-20",
    "linear-probe",
    "few-shot-1",
    "few-shot-4",
    "few-shot-16",
    "gda",
    "zero-shot",
    "gda+zero-shot",
    "image-to-text",
    "text-to-image",
)
"""Those of a benchmark where none is named: every one that data set and encoder allow."""


def find_task(name: str) -> Task:
    """Return a task by its name.

    Args:
        name: ``knn-K`` for k-NN of K neighbours, ``few-shot-N`` for the nearest class mean of N images of each class,
            ``linear-probe``, ``gda``, ``zero-shot``, ``gda+zero-shot``, ``image-to-text`` or ``text-to-image``.

    Raises:
        UsageError: There is no such task.

    Example:
        >>> find_task("knn-5").title
        'k-NN (5)'
    """
    for task in _FIXED:
        if task.name == name:
            return task
    match = re.fullmatch(r"(.+)-([1-9]\d{0,5})", name)
    if match and match[1] in _NUMBERED:
        return _NUMBERED[match[1]](int(match[2]))
    raise UsageError(f"There is no task '{name}'.{did_you_mean(name, TASKS, quoted=True)} Tasks: {', '.join(TASKS)}.")


def able(tasks: Sequence[Task], there: set[Needs]) -> list[Task]:
    """Return the tasks for which all is there that they need."""
    return [task for task in tasks if task.needs <= there]
