"""Questions to the patches of one encoder: from tokens and the truth about their scenes to scores per image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embprobe.measures.dense import (
    Mask,
    explained,
    mean_iou,
    patch_accuracy,
    patch_places,
    ranked_above,
    shuffle_patches,
)
from embprobe.measures.patch_probes import guess_objects, predict_objects, predict_ridge
from embprobe.measures.same_part import same_part
from embprobe.measures.vectors import LabelArray, ScoreArray, l2_normalize
from embprobe.probing.dense_scenes import Truth

Question = Literal["object", "patch place", "same part", "name", "object place"]
Number = tuple[str, str]
"""The target and the variant of a key."""
Answers = dict[Number, ScoreArray]

OBJECT, PATCH_PLACE, PART = "object or background", "place of a patch", "same part in another drawing"
NAME, OBJECT_PLACE = "patches of the object nearer to", "place of the object"
IOU, ACCURACY, R2, RECALL = "mIoU", "accuracy", "R²", "recall@1 beyond chance"
ITS_NAME, ANOTHER = "its name", "another name"
CLASS, MEAN, ALL = "from the class token", "from the mean of patches", "from all patches"
BEYOND = "from all patches beyond the class token"
NUMBERS: Mapping[Question, Sequence[Number]] = {
    "object": [(OBJECT, IOU), (OBJECT, ACCURACY)],
    "patch place": [(PATCH_PLACE, R2)],
    "same part": [(PART, RECALL)],
    "name": [(NAME, ITS_NAME), (NAME, ANOTHER)],
    "object place": [(OBJECT_PLACE, CLASS), (OBJECT_PLACE, MEAN), (OBJECT_PLACE, ALL), (OBJECT_PLACE, BEYOND)],
}
"""The numbers that answer a question."""
UNITS: Mapping[Number, str] = {
    (OBJECT, IOU): "mIoU",
    (OBJECT, ACCURACY): "accuracy",
    (PATCH_PLACE, R2): "R²",
    (PART, RECALL): "share of what chance leaves",
    (NAME, ITS_NAME): "AUC",
    (NAME, ANOTHER): "AUC",
    (OBJECT_PLACE, BEYOND): "R² beyond the class token",
} | {(OBJECT_PLACE, variant): "R²" for variant in (CLASS, MEAN, ALL)}
SHUFFLED: Mapping[Question, Sequence[Number]] = {
    "object": [(OBJECT, IOU)],
    "patch place": [(PATCH_PLACE, R2)],
    "same part": [(PART, RECALL)],
    "object place": [(OBJECT_PLACE, ALL)],
}
"""Those that are measured on shuffled patches, too."""


EVEN = 0.5
"""The area under the ROC curve of values that do not tell."""


@dataclass(frozen=True, eq=False)
class Named:
    """Patches in the space that an encoder shares with text, beside the texts of their objects."""

    patches: NDArray[np.float32]
    """``[n, h, w, e]``."""
    its: NDArray[np.float32]
    """The text of each scene's object, ``[n, e]``."""
    another: NDArray[np.float32]
    """That of another object."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Scenes as one encoder sees them."""

    patches: NDArray[np.float32]
    """``[n, h, w, d]``."""
    class_token: NDArray[np.float32] | None
    """``[n, d]``; None if the encoder has none."""
    truth: Truth
    groups: LabelArray
    """The group of each scene, ``[n]``."""
    partner: NDArray[np.int64]
    """The position of another picture of the same thing, ``[n]``; -1 for none."""
    named: Named | None
    """None where patches and texts share no space."""
    seed: int
    device: str

    def shuffled(self) -> Seen:
        """Return the scenes with the patches of each image permuted."""
        return replace(self, patches=shuffle_patches(self.patches, seed=self.seed), named=None)


def answer(question: Question, seen: Seen, *, only: Sequence[Number] = ()) -> Answers:
    """Return the numbers that answer a question, each with scores ``[n]``, NaN where it is not asked of an image.

    ``only`` names those that are needed; all are if none is named.
    """
    answers = _ANSWERS[question](seen, [variant for _, variant in only])
    return {number: scores for number, scores in answers.items() if not only or number in only}


def blind(question: Question, truth: Truth, groups: LabelArray, *, seed: int) -> Answers:
    """Return the scores that guessing has of a question's numbers, where they are not the same for every image."""
    if question == "object":
        guessed = guess_objects(truth.covered, groups, seed=seed)
        return _masks(guessed, truth.covered)
    return {}


def _object(seen: Seen, only: Sequence[str]) -> Answers:
    covered = seen.truth.covered
    predicted = predict_objects(
        seen.patches,
        covered,
        seen.groups,
        seed=seen.seed,
        device=seen.device,
    )
    return _masks(predicted, covered)


def _masks(predicted: Mask, covered: Mask) -> Answers:
    """Score predicted masks; images of which no patch shows the object have nothing to be found, and no score."""
    nothing = np.where(covered.any((1, 2)), 0.0, np.nan)
    return {
        (OBJECT, IOU): mean_iou(predicted, covered) + nothing,
        (OBJECT, ACCURACY): patch_accuracy(predicted, covered) + nothing,
    }


def _patch_place(seen: Seen, only: Sequence[str]) -> Answers:
    n, h, w, d = seen.patches.shape
    places = np.broadcast_to(patch_places(h, w), (n, h, w, 2))
    of_patch = np.repeat(seen.groups, h * w)
    predicted = predict_ridge(seen.patches.reshape(-1, d), places.reshape(-1, 2), of_patch, seed=seen.seed)
    return {(PATCH_PLACE, R2): explained(predicted.reshape(n, h, w, 2), places)}


def _same_part(seen: Seen, only: Sequence[str]) -> Answers:
    """Score what is found beyond chance, of what chance leaves: so 0 is blind, however many patches an object has."""
    found, chance = same_part(seen.patches, seen.truth.covered, seen.truth.boxes, seen.partner)
    return {(PART, RECALL): (found - chance) / (1 - chance)}


def _name(seen: Seen, only: Sequence[str]) -> Answers:
    if seen.named is None:
        return {}
    patches, texts = seen.named.patches, (seen.named.its, seen.named.another)
    unit = l2_normalize(patches.reshape(-1, patches.shape[-1]), min_rows=1).reshape(patches.shape)
    nearness = [np.einsum("nhwe,ne->nhw", unit, l2_normalize(each, min_rows=1)) for each in texts]
    its, another = (ranked_above(each, seen.truth.covered) for each in nearness)
    return {(NAME, ITS_NAME): its, (NAME, ANOTHER): another}


def _object_place(seen: Seen, only: Sequence[str]) -> Answers:
    n, d = len(seen.patches), seen.patches.shape[-1]
    sources = {MEAN: seen.patches.reshape(n, -1, d).mean(1), ALL: seen.patches.reshape(n, -1)}
    if seen.class_token is not None:
        sources = {CLASS: seen.class_token, **sources}
    answers: Answers = {}
    for variant, vectors in sources.items():
        if only and variant not in only:
            continue
        predicted = predict_ridge(vectors, seen.truth.centers, seen.groups, seed=seen.seed)
        answers[OBJECT_PLACE, variant] = explained(predicted, seen.truth.centers)
    if {(OBJECT_PLACE, CLASS), (OBJECT_PLACE, ALL)} <= answers.keys():
        answers[OBJECT_PLACE, BEYOND] = answers[OBJECT_PLACE, ALL] - answers[OBJECT_PLACE, CLASS]
    return answers


_ANSWERS: Mapping[Question, Callable[[Seen, Sequence[str]], Answers]] = {
    "object": _object,
    "patch place": _patch_place,
    "same part": _same_part,
    "name": _name,
    "object place": _object_place,
}
