"""The selftest, tested: faults are put into the instrument one at a time, and promises about them must fail.

Every fault is a patch at the place where the product uses what is broken. All of them are noticed, each by the promises
that are listed with it, of which at least one is named here. Not noticed, because no promise is about them, are faults
in what the selftest does not run: pretraining, search, comparisons, claims, figures, pages and exports; in the
statistics of layers and of compressions; and in the bundled encoders themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from embprobe import statistics
from embprobe.embeddings.engines import local, reading
from embprobe.images.rows import Images, Row
from embprobe.interventions import color, nuisance, pose, scenes, style
from embprobe.interventions.base import Planner, matched, pixels
from embprobe.interventions.registry import INTERVENTIONS
from embprobe.measures.blocks import blocks_of
from embprobe.measures.variance import permutation_p
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors
from embprobe.probing import run as probing_run
from embprobe.probing.context import ProbeContext
from embprobe.probing.key import BEYOND_CONTROL, CONTROL
from embprobe.probing.kinds import decoding, displacement, natural_pairs, preference, variance
from embprobe.selftest import known, uncertainty, units
from embprobe.selftest.promise import NO_ANSWER, Verdict
from embprobe.selftest.run import PROMISES, selftest
from embprobe.statistics import Estimate, Resampled, resampling

Patch = pytest.MonkeyPatch
FAST = [promise.name for promise in PROMISES if not promise.name.startswith("planted")]
"""Promises that are checked in ten seconds together; the others put the bundled cards to oracles."""


def used_in(module: ModuleType, name: str) -> Callable[..., Any]:
    """A function as a module uses it."""
    function: Callable[..., Any] = getattr(module, name)
    return function


# --- statistics ------------------------------------------------------------------------------------------------------


def unpaired_differences(patch: Patch) -> None:
    """Resample the second encoder by itself."""
    difference = Resampled.difference

    def unpaired(self: Resampled, i: int, j: int) -> Estimate:
        replicates = self.replicates.copy()
        replicates[:, j] = np.random.default_rng(1).permutation(replicates[:, j])
        return difference(replace(self, replicates=replicates), i, j)

    patch.setattr(Resampled, "difference", unpaired)


def images_resampled_one_by_one(patch: Patch) -> None:
    """Ignore the groups in the bootstrap."""
    resample = statistics.resample

    def by_image(scores: ScoreArray, groups: Sequence[str], **options: Any) -> Resampled:
        return resample(scores, [str(i) for i in range(len(scores))], **options)

    patch.setattr(statistics, "resample", by_image)
    patch.setattr(probing_run, "resample", by_image)


def groups_of_rows_are_rows(patch: Patch) -> None:
    """Let a probe resample each row with itself."""
    patch.setattr(ProbeContext, "groups", lambda self, rows: [row.key for row in rows.rows])


def acceleration_of_the_wrong_sign(patch: Patch) -> None:
    bca = resampling.bca
    patch.setattr(resampling, "bca", lambda estimate, replicates, influence: bca(estimate, replicates, -influence))


def intervals_of_68_percent(patch: Patch) -> None:
    patch.setattr(resampling, "LEVEL", 0.68)


def holm_left_out(patch: Patch) -> None:
    patch.setattr(probing_run, "holm", list)


def holm_without_steps(patch: Patch) -> None:
    """Multiply by the rank, not by the number of tests that are left."""
    patch.setattr(statistics, "holm", lambda p: [min(1.0, each * (1 + i)) for i, each in enumerate(p)])


def one_sided_p(patch: Patch) -> None:
    """Halve p of differences."""
    tested = Resampled._tested

    def halved(self: Resampled, *arguments: Any, **options: Any) -> Estimate:
        estimate = tested(self, *arguments, **options)
        return replace(estimate, p=(estimate.p or 0.0) / 2)

    patch.setattr(Resampled, "_tested", halved)


def permutation_that_permutes_nothing(patch: Patch) -> None:
    """Give every factor the p of one that is there."""
    patch.setattr(variance, "permutation_p", lambda *arguments, **options: 0.001)


# --- measures --------------------------------------------------------------------------------------------------------


def measures(name: str) -> ModuleType:
    """The module of a measure, which the package hides behind the function of the same name."""
    return import_module(f"embprobe.measures.{name}")


def not_normalised(module: str) -> Callable[[Patch], None]:
    def blocks(vectors: Vectors, *, rows: int | None = None, **options: Any) -> Iterator[tuple[slice, Vectors]]:
        return ((slice(start, start + len(block)), block) for start, block in blocks_of(vectors, rows))

    def fault(patch: Patch) -> None:
        """Take vectors with their lengths."""
        if module == "knn":
            patch.setattr(measures(module), "unit_blocks", blocks)
        else:
            patch.setattr(measures(module), "l2_normalize", lambda vectors, min_rows=2: np.asarray(vectors, np.float64))

    fault.__name__ = f"{module}_not_normalised"
    return fault


def half_the_displacement(patch: Patch) -> None:
    """Take the distance to all images, the image itself among them, twice too large."""
    measure = used_in(displacement, "displacement_influence")
    patch.setattr(displacement, "displacement_influence", lambda a, b: np.asarray(measure(a, b) / 2))


def pair_in_the_wrong_order(patch: Patch) -> None:
    """Compute b - a for a - b."""
    difference = Resampled.difference
    patch.setattr(Resampled, "difference", lambda self, i, j: difference(self, j, i))


def control_not_subtracted(patch: Patch) -> None:
    values = displacement.Displacement._by_variant

    def uncontrolled(self: displacement.Displacement, *arguments: Any) -> Any:
        scores = values(self, *arguments)
        return {**scores, **({BEYOND_CONTROL: scores[None]} if CONTROL in scores else {})}

    patch.setattr(displacement.Displacement, "_by_variant", uncontrolled)


def preference_of_the_rival(patch: Patch) -> None:
    """Swap the concept and the cue."""
    measure = used_in(preference, "preference")

    def swapped(vectors: ScoreArray, concept: LabelArray, cue: LabelArray, **options: Any) -> ScoreArray:
        swapped_scores: ScoreArray = measure(vectors, cue, concept, **options)
        return swapped_scores

    patch.setattr(preference, "preference", swapped)


def ties_lost(patch: Patch) -> None:
    """Count ties for the cue."""
    patch.setattr(measures("preference"), "TIE", -1.0)


def natural_pairs_uncontrolled(patch: Patch) -> None:
    measure = used_in(natural_pairs, "natural_pair_effects")

    def uncontrolled(
        vectors: ScoreArray, attributes: dict[str, Any], attribute: str, *more: Any, **options: Any
    ) -> Any:
        return measure(vectors, {attribute: attributes[attribute]}, attribute, *more, **options)

    patch.setattr(natural_pairs, "natural_pair_effects", uncontrolled)


def biased_variance_shares(patch: Patch) -> None:
    """Give every factor a part of the rest."""
    measure = used_in(variance, "variance_shares")

    def biased(*arguments: Any, **options: Any) -> dict[str, ScoreArray]:
        return {name: 0.9 * each + 0.03 for name, each in measure(*arguments, **options).items()}

    patch.setattr(variance, "variance_shares", biased)


def neighbours_of_oneself(patch: Patch) -> None:
    """Let an image be its own nearest neighbour."""
    from embprobe.measures.knn import nearest

    def with_itself(vectors: ScoreArray, k: int, **options: Any) -> Any:
        return nearest(vectors, vectors, k)

    patch.setattr(measures("mutual_knn"), "ranked_others", with_itself)


def images_of_the_test_fitted_on(patch: Patch) -> None:
    """Fit on all images, those of the test among them."""
    folds = decoding.Decoding._folds

    def leaking(self: decoding.Decoding, pool: Images, context: ProbeContext, control: str | None = None) -> Any:
        embedded, (test,) = folds(self, pool, context, control)
        everything = np.arange(len(embedded.rows))
        return embedded, [replace(test, parts=[(everything, rows) for _, rows in test.parts])]

    patch.setattr(decoding.Decoding, "_folds", leaking)


def concepts_in_two_folds(patch: Patch) -> None:
    """Split images into folds, and not concepts."""
    folds = decoding.Decoding._folds

    def by_image(self: decoding.Decoding, pool: Images, context: ProbeContext, control: str | None = None) -> Any:
        embedded, (test,) = folds(self, pool, context, control)
        fold = np.random.default_rng(0).permutation(len(embedded.rows)) % 5
        return embedded, [
            replace(test, parts=[(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(5)])
        ]

    patch.setattr(decoding.Decoding, "_folds", by_image)


def guessing_without_shares(patch: Patch) -> None:
    """Guess every label as often."""
    patch.setattr(decoding, "guess_majority", lambda truth: np.full(len(truth), 1 / len(set(truth.tolist()))))


def guessing_by_the_fitted_folds(patch: Patch) -> None:
    """Guess the majority of the other four folds, which is the rarest label of the fifth."""

    def guess(truth: NDArray[np.str_]) -> NDArray[np.float64]:
        fold, scores = np.arange(len(truth)) % 5, np.zeros(len(truth))
        for i in range(5):
            values, counts = np.unique(truth[fold != i], return_counts=True)
            scores[fold == i] = truth[fold == i] == values[counts.argmax()]
        return scores

    patch.setattr(decoding, "guess_majority", guess)


def control_task_with_true_labels(patch: Patch) -> None:
    patch.setattr(decoding, "control_labels", lambda labels, groups, seed=0: labels)


# --- interventions ---------------------------------------------------------------------------------------------------


def planned(patch: Patch, name: str, planner: Planner, **controls: Planner) -> None:
    """Register another planner, and other controls, for an intervention."""
    before = INTERVENTIONS[name]
    patch.setitem(INTERVENTIONS, name, replace(before, planner=planner, controls={**before.controls, **controls}))


def hue_in_radians(patch: Patch) -> None:
    planner = pixels(lambda image, degrees, rng: color.rotate_hue(image, np.rad2deg(degrees)))
    planned(patch, "hue", planner, lightness=matched(planner, color.match_lightness))


def saturation_as_a_factor(patch: Patch) -> None:
    """Multiply the chroma by the strength, and not by 1 + strength."""
    planned(patch, "saturation", pixels(lambda image, strength, rng: color.saturate(image, abs(strength) - 1)))


def jpeg_of_that_quality(patch: Patch) -> None:
    """Take the strength for the quality."""
    planned(
        patch, "jpeg", pixels(lambda image, strength, rng: nuisance.jpeg(image, (100 - strength) if strength else 0))
    )


def noise_as_a_variance(patch: Patch) -> None:
    planned(patch, "noise", pixels(lambda image, strength, rng: nuisance.noise(image, strength**2, rng)))


def blocks_in_pixels_of_the_longer_side(patch: Patch) -> None:
    """Double the blocks of pixel art."""
    planned(patch, "pixel-art", pixels(lambda image, strength, rng: style.pixel_art(image, min(2 * strength, 0.2))))


def copies_upon_each_other(patch: Patch) -> None:
    """Draw the last of several copies where the first one is."""
    apart = used_in(scenes, "_apart")

    def upon(*arguments: Any) -> Any:
        centres = apart(*arguments)
        return [*centres[:-1], centres[0]]

    patch.setattr(scenes, "_apart", upon)


def turned_against_the_clock(patch: Patch) -> None:
    patch.setattr(pose, "_TRANSPOSED", pose._TRANSPOSED | {"90": Image.Transpose.ROTATE_90})


def lightness_control_that_does_nothing(patch: Patch) -> None:
    still = pixels(lambda image, strength, rng: image.copy())
    for name, intervention in list(INTERVENTIONS.items()):
        if "lightness" in intervention.controls:
            planned(patch, name, intervention.planner, lightness=still)


def lightness_control_that_changes_hue(patch: Patch) -> None:
    """Use the intervention as its own control."""
    planned(patch, "hue", INTERVENTIONS["hue"].planner, lightness=INTERVENTIONS["hue"].planner)


def blur_control_that_does_nothing(patch: Patch) -> None:
    patch.setattr(style, "match_blur", lambda original, changed: original.copy())


def blur_control_that_darkens(patch: Patch) -> None:
    match_blur = style.match_blur
    patch.setattr(style, "match_blur", lambda original, changed: match_blur(original, changed).point(lambda v: v * 0.9))


def ink_control_that_writes_the_word(patch: Patch) -> None:
    patch.setattr("embprobe.interventions.text._in_ink", lambda ink, written, *others: written)


def ink_control_of_half_the_ink(patch: Patch) -> None:
    from embprobe.interventions import text

    draw = text._in_ink

    def half(ink: text.Ink, written: Image.Image, *others: Any) -> Image.Image:
        drawn = draw(ink, written, *others)
        return drawn if ink == "word" else drawn.resize((drawn.width, max(1, drawn.height // 2)))

    patch.setattr(text, "_in_ink", half)


# --- the way of an image ---------------------------------------------------------------------------------------------


def blue_for_red(patch: Patch) -> None:
    cropped = used_in(reading, "cropped")
    patch.setattr(reading, "cropped", lambda image, how: cropped(image, how)[..., ::-1])


def mean_and_std_left_out(patch: Patch) -> None:
    normalized = used_in(local, "normalized")

    def plain(crops: Any, how: Any) -> Any:
        return normalized(crops, replace(how, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))

    patch.setattr(local, "normalized", plain)


def changes_not_made(patch: Patch) -> None:
    """Read images as they are, whatever is done to them."""
    decoded = Row._decoded
    patch.setattr(Row, "_decoded", lambda self, *how: decoded(replace(self, change=None), *how))


def vectors_of_other_rows(patch: Patch) -> None:
    """Give a store's vectors to its rows in reverse order."""
    from embprobe.embeddings.store import Store

    vectors = Store.vectors
    patch.setattr(Store, "vectors", lambda self: vectors(self)[::-1])


# --- tests -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    plant: Callable[[Patch], None]
    noticed_by: tuple[str, ...]
    """Promises, each of which must fail."""


FAULTS = [
    Fault(unpaired_differences, ("pairing", "differences")),
    Fault(images_resampled_one_by_one, ("groups", "differences")),
    Fault(groups_of_rows_are_rows, ("differences",)),
    Fault(acceleration_of_the_wrong_sign, ("skewness",)),
    Fault(intervals_of_68_percent, ("coverage", "groups")),
    Fault(holm_left_out, ("differences",)),
    Fault(holm_without_steps, ("correction",)),
    Fault(one_sided_p, ("coverage",)),
    Fault(permutation_that_permutes_nothing, ("variance shares",)),
    *(Fault(not_normalised(name), ("lengths",)) for name in ("displacement", "knn", "preference", "natural_pairs")),
    *(Fault(not_normalised(name), ("lengths",)) for name in ("variance", "zero_shot")),
    Fault(half_the_displacement, ("readers of pixels",)),
    Fault(pair_in_the_wrong_order, ("differences",)),
    Fault(control_not_subtracted, ("readers of pixels",)),
    Fault(preference_of_the_rival, ("cue conflict",)),
    Fault(ties_lost, ("preference",)),
    Fault(natural_pairs_uncontrolled, ("natural pairs",)),
    Fault(biased_variance_shares, ("variance shares",)),
    Fault(neighbours_of_oneself, ("neighbours",)),
    Fault(images_of_the_test_fitted_on, ("unseen concepts",)),
    Fault(concepts_in_two_folds, ("unseen concepts",)),
    Fault(guessing_without_shares, ("guessing",)),
    Fault(guessing_by_the_fitted_folds, ("guessing",)),
    Fault(control_task_with_true_labels, ("control task",)),
    Fault(hue_in_radians, ("units",)),
    Fault(saturation_as_a_factor, ("units",)),
    Fault(jpeg_of_that_quality, ("units",)),
    Fault(noise_as_a_variance, ("units",)),
    Fault(blocks_in_pixels_of_the_longer_side, ("units",)),
    Fault(lightness_control_that_does_nothing, ("lightness control", "readers of pixels")),
    Fault(copies_upon_each_other, ("units",)),
    Fault(turned_against_the_clock, ("units",)),
    Fault(lightness_control_that_changes_hue, ("lightness control", "readers of pixels")),
    Fault(blur_control_that_does_nothing, ("blur control",)),
    Fault(blur_control_that_darkens, ("blur control",)),
    Fault(ink_control_that_writes_the_word, ("ink controls",)),
    Fault(ink_control_of_half_the_ink, ("ink controls",)),
    Fault(blue_for_red, ("image path",)),
    Fault(mean_and_std_left_out, ("image path",)),
    Fault(changes_not_made, ("image path", "units")),
    Fault(vectors_of_other_rows, ("image path",)),
]


def name_of(fault: Fault) -> str:
    return fault.plant.__name__


def failed(names: Sequence[str]) -> dict[str, list[Verdict]]:
    """By promise, the verdicts that failed."""
    verdicts = [verdict for verdict in selftest(names) if not verdict.passed]
    return {name: [verdict for verdict in verdicts if verdict.promise == name] for name in names}


SIXTEEN = [
    *(not_normalised("displacement"), pair_in_the_wrong_order, unpaired_differences, images_resampled_one_by_one),
    *(holm_left_out, acceleration_of_the_wrong_sign, one_sided_p, images_of_the_test_fitted_on),
    *(guessing_without_shares, natural_pairs_uncontrolled, preference_of_the_rival, biased_variance_shares),
    *(hue_in_radians, lightness_control_that_does_nothing, changes_not_made, vectors_of_other_rows),
]
"""One of every kind."""


@pytest.mark.parametrize("plant", SIXTEEN, ids=lambda plant: plant.__name__)
def test_the_whole_selftest_fails_on_a_fault_of_any_kind(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    assert any(not verdict.passed for verdict in selftest(FAST))  # it stops at the first one


def test_without_a_fault_every_promise_holds() -> None:
    verdicts = list(selftest(FAST))
    assert [verdict for verdict in verdicts if not verdict.passed] == []
    assert list(dict.fromkeys(verdict.promise for verdict in verdicts)) == FAST


@pytest.mark.parametrize("fault", FAULTS, ids=name_of)
def test_a_fault_is_noticed_by_the_promises_about_it(fault: Fault, monkeypatch: Patch) -> None:
    fault.plant(monkeypatch)
    verdicts = failed(fault.noticed_by)
    assert [name for name, lines in verdicts.items() if not lines] == []
    # a wrong number was measured: the promise did not merely break
    assert [line for lines in verdicts.values() for line in lines if NO_ANSWER in line.measured] == []


def test_every_promise_about_the_instrument_notices_a_fault() -> None:
    noticing = {name for fault in FAULTS for name in fault.noticed_by}
    assert set(FAST) - noticing == LATER


LATER = {"permutations", "rotation", "shuffled labels", "colour space", "strength 0", "controls"}
"""Promises that are put to the test below."""


def uniform_p_too_small(patch: Patch) -> None:
    patch.setattr(uncertainty, "permutation_p", lambda *a, **o: permutation_p(*a, **o) ** 2)


def angles_for_cosines(patch: Patch) -> None:
    """Take the angle for 1 - cos."""
    patch.setattr(known, "displacement", lambda a, b: np.arccos(np.clip((a * b).sum(1), -1, 1)))


def labels_dealt_to_images(patch: Patch) -> None:
    patch.setattr(known, "control_labels", lambda labels, groups, seed: np.random.default_rng(seed).permutation(labels))


def another_color_space(patch: Patch) -> None:
    """Take the linear light for sRGB."""
    srgb_to_oklab = color.srgb_to_oklab
    patch.setattr(units, "srgb_to_oklab", lambda rgb: srgb_to_oklab(rgb**2.2 * 0.9))


def noise_at_strength_0(patch: Patch) -> None:
    planned(patch, "shift", pixels(lambda image, strength, rng: nuisance.shift(image, strength or 0.1, rng)))


def no_control(patch: Patch) -> None:
    patch.setitem(INTERVENTIONS, "oil", replace(INTERVENTIONS["oil"], controls={}))


@pytest.mark.parametrize(
    ("plant", "promise"),
    [
        (uniform_p_too_small, "permutations"),
        (angles_for_cosines, "rotation"),
        (labels_dealt_to_images, "shuffled labels"),
        (another_color_space, "colour space"),
        (noise_at_strength_0, "strength 0"),
        (no_control, "controls"),
    ],
)
def test_promises_about_one_function_notice_another_one(
    plant: Callable[[Patch], None], promise: str, monkeypatch: Patch
) -> None:
    plant(monkeypatch)
    assert failed([promise])[promise]


def test_every_registered_intervention_has_a_check_of_its_unit() -> None:
    assert set(units.UNITS) == set(INTERVENTIONS)


def test_a_promise_that_breaks_has_failed_and_the_others_still_count(monkeypatch: Patch) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("out of order")

    monkeypatch.setattr(known, "displacement", broken)
    verdicts = list(selftest(["rotation", "neighbours"]))
    assert [verdict.passed for verdict in verdicts if verdict.promise == "rotation"] == [False]
    assert verdicts[0].measured == "no answer: out of order"
    assert all(verdict.passed for verdict in verdicts if verdict.promise == "neighbours")
