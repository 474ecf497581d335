from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit

from embprobe.errors import EmbprobeError
from embprobe.measures import logistic
from embprobe.measures.decoding import correct
from embprobe.measures.logistic import C_GRID, Logistic, logistic_path, predict_logistic

Vectors = NDArray[np.floating]
Labels = NDArray[np.str_]

COARSE = C_GRID[4::8]
THREE = (0.001, 0.01, 0.1)


def names(numbers: NDArray[np.integer]) -> Labels:
    return np.array([f"class {i}" for i in numbers])


def own_groups(n: int) -> Labels:
    return np.array([str(i) for i in range(n)])


def common_scale(vectors: Vectors) -> float:
    """The root of the mean variance of the features."""
    return float(np.sqrt(np.asarray(vectors, np.float64).var(0).mean()))


def scaled(vectors: Vectors, like: Vectors | None = None) -> NDArray[np.float64]:
    """Centred and divided by the common scale, of these rows or of others."""
    reference = np.asarray(vectors if like is None else like, np.float64)
    return np.asarray((np.asarray(vectors, np.float64) - reference.mean(0)) / common_scale(reference))


def clouds(n: int, d: int, c: int, apart: float, *, wrong: float = 0.0, seed: int = 0) -> tuple[Vectors, Labels]:
    """Classes as Gaussian clouds with a decaying spectrum, away from 0; a share of the labels is drawn at random."""
    rng = np.random.default_rng(seed)
    spectrum = np.arange(1, d + 1) ** -0.5
    truth = np.concatenate([np.arange(c), rng.integers(0, c, n - c)])
    vectors = (apart * rng.normal(size=(c, d))[truth] + rng.normal(size=(n, d))) * spectrum + 0.3
    given = np.where(rng.random(n) < wrong, rng.integers(0, c, n), truth)
    return vectors, names(given)


# --- by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("c", [1e-3, 0.5, 1.0, 40.0])
def test_two_points_by_hand(c: float) -> None:
    # Rows -1 and 1, labels left and right. With w the difference of the two columns, C n F is
    # 2 C log(1 + exp(-w)) + w^2 / 2, and its derivative is 0 where w = 2 C / (1 + exp(w)): 0.675 for C = 1.
    (fit,) = logistic_path(np.array([[-1.0], [1.0]]), np.array(["left", "right"]), grid=[c], tolerance=1e-10)
    w = brentq(lambda w: w - 2 * c / (1 + np.exp(w)), 0, 2 * c)
    assert fit.weights[0, 1] - fit.weights[0, 0] == pytest.approx(w, rel=1e-4)
    assert fit.bias == pytest.approx(0, abs=1e-9)
    assert fit.objective == pytest.approx(np.log(1 + np.exp(-w)) + w**2 / 4 / c, rel=1e-6)


def test_centre_and_scale_are_folded_in_by_hand() -> None:
    # Rows 3 and 7 have mean 5 and standard deviation 2: w is half of that for rows -1 and 1, the bias -5 w.
    labels = np.array(["left", "right"])
    (plain,) = logistic_path(np.array([[-1.0], [1.0]]), labels, grid=[1.0])
    (moved,) = logistic_path(np.array([[3.0], [7.0]]), labels, grid=[1.0])
    assert moved.weights == pytest.approx(plain.weights / 2)
    assert moved.bias == pytest.approx(-5 * moved.weights[0])
    assert moved.predict(np.array([[4.9], [5.1], [90.0]])).tolist() == ["left", "right", "right"]


def test_under_strong_regularisation_weights_are_c_times_the_gradient() -> None:
    # At W = 0 every row's probabilities are the labels' frequencies f; the first step from there is all there is.
    vectors, labels = clouds(60, 5, 3, 1.0)
    (fit,) = logistic_path(vectors, labels, grid=[1e-6])
    one_hot = (labels[:, None] == fit.classes).astype(float)
    x, scale = scaled(vectors), common_scale(vectors)
    assert fit.weights * scale == pytest.approx(1e-6 * x.T @ (one_hot - one_hot.mean(0)), rel=1e-2, abs=1e-9)


def test_the_grid_is_dinov2s() -> None:
    assert len(C_GRID) == 45
    assert (C_GRID[0], C_GRID[-1]) == pytest.approx((1e-6, 1e5))
    assert np.diff(np.log10(C_GRID)) == pytest.approx(11 / 44)


# --- beside scikit-learn -----------------------------------------------------------------------------------------


def logits_and_weights(model: LogisticRegression, x: Vectors) -> tuple[Vectors, Vectors]:
    """Two columns also where scikit-learn gives one: then the penalty is on their difference."""
    logits, weights = model.decision_function(x), model.coef_
    return (np.stack([0 * logits, logits], 1) if logits.ndim == 1 else logits), weights


def objective(logits: Vectors, weights: Vectors, labels: Labels, c: float) -> float:
    """The definition. ``[n, c], [c or 1, d]``."""
    coded = np.unique(labels, return_inverse=True)[1]
    loss = -log_softmax(logits, axis=1)[np.arange(len(coded)), coded].mean()
    return float(loss + (weights**2).sum() / (2 * c * len(coded)))


def ours(fit: Logistic, vectors: Vectors, labels: Labels) -> float:
    weights = fit.weights * common_scale(vectors)
    penalised = weights[:, 1:] - weights[:, :1] if len(fit.classes) == 2 else weights
    return objective(vectors @ fit.weights + fit.bias, penalised.T, labels, fit.c)


CASES = {
    "noisy": (300, 12, 4, 0.7, 0.2),
    "nearly separable": (200, 15, 5, 2.0, 0.0),
    "two classes": (200, 10, 2, 0.7, 0.1),
    "more dimensions than rows": (40, 60, 3, 1.0, 0.0),
}


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("case", CASES)
def test_every_fit_is_as_good_as_sklearns(case: str, kind: Any) -> None:
    n, d, c, apart, wrong = CASES[case]
    vectors, labels = clouds(n, d, c, apart, wrong=wrong)
    test = np.random.default_rng(1).normal(0.3, 1, (500, d)) * np.arange(1, d + 1) ** -0.5
    vectors = vectors.astype(kind)
    x = scaled(vectors)
    worse, differ = [], []
    for fit in logistic_path(vectors, labels, grid=COARSE):
        model = LogisticRegression(C=fit.c, tol=1e-8, max_iter=5000).fit(x, labels)
        reference = objective(*logits_and_weights(model, x), labels, fit.c)
        own_objective = ours(fit, np.asarray(vectors, np.float64), labels)
        assert fit.objective == pytest.approx(own_objective, rel=1e-3)
        worse.append(own_objective / reference - 1)
        differ.append((fit.predict(test) != model.predict(scaled(test, like=vectors))).mean())
    assert max(worse) < 1e-3
    assert np.mean(differ) < 0.01 and max(differ) < 0.03


def test_the_path_is_the_fits_one_by_one() -> None:
    # Warm starts and carried curvature may not show: strictly convex in the weights, so there is one solution.
    vectors, labels = clouds(150, 8, 3, 1.0, wrong=0.1)
    path = logistic_path(vectors, labels, grid=COARSE, tolerance=1e-10)
    assert [fit.c for fit in path] == list(COARSE)
    for fit in path[::3]:
        (alone,) = logistic_path(vectors, labels, grid=[fit.c], tolerance=1e-10)
        assert fit.weights == pytest.approx(alone.weights, rel=1e-2, abs=1e-3 * np.abs(alone.weights).max())
        assert fit.objective == pytest.approx(alone.objective, rel=1e-6)


def test_the_grid_may_be_in_any_order_and_repeat_itself() -> None:
    vectors, labels = clouds(60, 4, 3, 1.0)
    path = logistic_path(vectors, labels, grid=[1.0, 0.01, 1.0])
    assert [fit.c for fit in path] == [0.01, 1.0, 1.0]
    assert path[1].objective == pytest.approx(path[2].objective, rel=1e-4)


# --- what may not matter -----------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_a_rotation_and_a_scale_do_not_matter(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    vectors, labels = clouds(80, 6, 3, 1.0, wrong=0.1, seed=seed)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    for fit, moved in zip(
        logistic_path(vectors, labels, grid=THREE, tolerance=1e-12),
        logistic_path(vectors @ rotation * scale, labels, grid=THREE, tolerance=1e-12),
        strict=True,
    ):
        largest = np.abs(fit.weights).max()
        assert rotation @ moved.weights * scale == pytest.approx(fit.weights, abs=1e-5 * largest)
        assert moved.objective == pytest.approx(fit.objective, rel=1e-9)


def test_a_constant_dimension_has_no_weight() -> None:
    vectors, labels = clouds(80, 6, 3, 1.0)
    vectors[:, 2] = 0.1  # its mean over 80 rows is not exactly 0.1
    for fit in logistic_path(vectors, labels, grid=COARSE):
        assert np.abs(fit.weights[2]).max() < 1e-12 * np.abs(fit.weights).max()
        assert fit.predict(vectors + [0, 0, 1e6, 0, 0, 0]).tolist() == fit.predict(vectors).tolist()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_vectors_that_say_nothing_give_the_majority(kind: Any) -> None:
    labels = np.array(["a"] * 3 + ["b"] * 5 + ["c"] * 2)
    for fit in logistic_path(np.full((10, 4), 0.1, kind), labels, grid=COARSE):
        assert (fit.weights == 0).all()
        assert set(fit.predict(np.random.default_rng(0).normal(size=(20, 4)))) == {"b"}
        # frequencies 3, 5 and 2 in 10: -(0.3 log 0.3 + 0.5 log 0.5 + 0.2 log 0.2) = 1.0297
        assert fit.objective == pytest.approx(1.0297, abs=1e-4)


def test_rows_in_pieces_are_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels = clouds(100, 6, 3, 1.0)
    (whole,) = logistic_path(vectors, labels, grid=[0.1])
    monkeypatch.setattr("embprobe.measures.logistic.ROWS", 7)
    (pieces,) = logistic_path(vectors, labels, grid=[0.1])
    assert pieces.weights == pytest.approx(whole.weights, rel=1e-9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    vectors, labels = clouds(2_000, 64, 20, 0.7, wrong=0.1)
    on_cpu = logistic_path(vectors.astype(np.float32), labels)
    on_gpu = logistic_path(vectors.astype(np.float32), labels, device="cuda")
    for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
        assert gpu.objective == pytest.approx(cpu.objective, rel=1e-3)
        assert (gpu.predict(vectors) == cpu.predict(vectors)).mean() > 0.99


# --- the choice of C ---------------------------------------------------------------------------------------------


def test_what_is_separable_is_decoded() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    vectors = 4 * np.eye(3)[truth] + 0.3 * rng.normal(size=(300, 3))  # classes 4 apart, 13 standard deviations
    (predicted,) = predict_logistic(vectors[:200], names(truth[:200]), own_groups(200), [vectors[200:]])
    assert predicted.tolist() == names(truth[200:]).tolist()


def test_shuffled_labels_are_decoded_at_chance() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 1400)
    vectors = 4 * np.eye(2)[truth] + 0.3 * rng.normal(size=(1400, 2))
    shuffled = rng.permutation(truth)
    (predicted,) = predict_logistic(vectors[:1000], names(shuffled[:1000]), own_groups(1000), [vectors[1000:]])
    # binomial with n = 400 and p = 1/2: standard deviation sqrt(0.25 / 400) = 0.025, four of them 0.1
    assert correct(predicted, names(shuffled[1000:])).mean() == pytest.approx(0.5, abs=0.1)


def concepts_and_classes(seed: int) -> tuple[Vectors, Labels, Labels, Vectors]:
    """A weak trace of the class, a strong one of the concept: images, labels, groups, and images of new concepts."""
    rng = np.random.default_rng(seed)
    concept = np.repeat(np.arange(60), 4)
    label = rng.integers(0, 2, 60)[concept]
    signature = rng.normal(size=(60, 40))[concept]
    vectors = signature + 0.2 * rng.normal(size=(240, 40))
    vectors[:, 0] += 0.8 * label
    return vectors[:160], names(label[:160]), names(concept[:160]), vectors[160:]


def regression(c: float, train: Vectors, labels: Labels, test: Vectors) -> Labels:
    model = LogisticRegression(C=c, max_iter=1000, tol=1e-7).fit(scaled(train), labels)
    predicted: Labels = model.predict(scaled(test, like=train))
    return predicted


def chosen_c(split: Any, vectors: Vectors, labels: Labels, groups: Labels | None) -> float:
    fit, held_out = next(split.split(vectors, labels, groups))
    accuracy = [(regression(c, vectors[fit], labels[fit], vectors[held_out]) == labels[held_out]).mean() for c in THREE]
    return THREE[int(np.argmax(accuracy))]


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embprobe.measures.logistic.C_GRID", THREE)


@pytest.mark.usefixtures("three")
def test_predictions_are_sklearns_at_the_c_chosen_on_held_out_groups() -> None:
    chosen = set()
    for seed in range(4):
        vectors, labels, groups, test = concepts_and_classes(seed)
        c = chosen_c(GroupShuffleSplit(1, test_size=0.2, random_state=seed), vectors, labels, groups)
        (predictions,) = predict_logistic(vectors, labels, groups, [test], seed=seed)
        at_c = {c: regression(c, vectors, labels, test) for c in THREE}
        differ = {other: int((predictions != predicted).sum()) for other, predicted in at_c.items()}
        assert differ[c] == 0 < min(count for other, count in differ.items() if other != c)
        chosen.add(c)
    assert len(chosen) > 1  # the choice was one


@pytest.mark.usefixtures("three")
def test_c_is_chosen_on_concepts_that_were_not_fitted() -> None:
    # chosen on images of known concepts, C would be larger: remembering the concept pays there
    vectors, labels, groups, test = concepts_and_classes(0)
    by_group = chosen_c(GroupShuffleSplit(1, test_size=0.2, random_state=0), vectors, labels, groups)
    by_image = chosen_c(ShuffleSplit(1, test_size=0.2, random_state=0), vectors, labels, None)
    assert by_group < by_image
    (predicted,) = predict_logistic(vectors, labels, groups, [test], seed=0)
    assert predicted.tolist() == regression(by_group, vectors, labels, test).tolist()


def test_ties_go_to_the_stronger_regularisation() -> None:
    # Embeddings that say nothing are as accurate at every C; then only the first C is fitted on all rows.
    walk = logistic._walk
    grids: list[tuple[float, ...]] = []

    def spy(train: Vectors, labels: Labels, grid: tuple[float, ...], *rest: Any) -> Iterator[Logistic]:
        grids.append(grid)
        return walk(train, labels, grid, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("embprobe.measures.logistic._walk", spy)
        predict_logistic(np.ones((20, 3)), np.array(["a", "b"] * 10), own_groups(20), [np.ones((2, 3))])
    assert grids == [C_GRID, C_GRID[:1]]


def test_what_is_predicted_for_one_test_set_does_not_depend_on_the_others() -> None:
    vectors, labels, groups, test = concepts_and_classes(0)
    strange = 100 + 50 * np.random.default_rng(1).normal(size=(500, 40))
    (alone,) = predict_logistic(vectors, labels, groups, [test])
    beside = predict_logistic(vectors, labels, groups, [strange, test, *(test[[i]] for i in range(len(test)))])
    assert [len(part) for part in beside] == [500, len(test)] + [1] * len(test)
    assert alone.tolist() == beside[1].tolist() == np.concatenate(beside[2:]).tolist()


def test_offset_and_scale_of_a_dimension_do_not_change_predictions() -> None:
    vectors, labels, groups, test = concepts_and_classes(0)
    scale, offset = 10 ** np.linspace(-3, 3, 40), np.linspace(-5, 5, 40)
    (predicted,) = predict_logistic(vectors, labels, groups, [test])
    (moved,) = predict_logistic(vectors * scale + offset, labels, groups, [test * scale + offset])
    assert predicted.tolist() == moved.tolist()


def test_the_same_seed_gives_the_same_predictions() -> None:
    vectors, labels, groups, test = concepts_and_classes(1)
    first, again = (predict_logistic(vectors, labels, groups, [test], seed=3)[0].tolist() for _ in range(2))
    assert first == again


# --- bad input ---------------------------------------------------------------------------------------------------


def test_one_label_cannot_be_decoded() -> None:
    vectors, labels = np.eye(4), np.array(["a"] * 4)
    with pytest.raises(EmbprobeError, match="at least two different"):
        predict_logistic(vectors, labels, own_groups(4), [vectors])
    with pytest.raises(EmbprobeError, match="at least two different"):
        logistic_path(vectors, labels)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["train", "test"])
def test_embeddings_that_are_not_finite_are_an_error(bad: float, where: str) -> None:
    vectors = {"train": np.random.default_rng(0).normal(size=(20, 3)), "test": np.ones((2, 3))}
    vectors[where][1, 2] = bad
    with pytest.raises(EmbprobeError, match="not finite"):
        predict_logistic(vectors["train"], np.array(["a", "b"] * 10), own_groups(20), [vectors["test"]])


def test_too_few_groups_to_hold_any_out_is_an_error_in_words() -> None:
    vectors, labels = np.random.default_rng(0).normal(size=(8, 3)), np.array(["a", "b"] * 4)
    for groups in (np.array(["one"] * 8), labels):  # nothing left to fit on; one label left to fit on
        with pytest.raises(EmbprobeError, match="too few remain"):
            predict_logistic(vectors, labels, groups, [vectors])


@pytest.mark.parametrize("grid", [[], [0.0], [1.0, -1.0], [np.nan], [np.inf]])
def test_a_grid_of_anything_but_positive_numbers_is_an_error(grid: list[float]) -> None:
    with pytest.raises(EmbprobeError, match="positive numbers"):
        logistic_path(np.eye(4), np.array(["a", "b"] * 2), grid=grid)


def test_a_fit_that_does_not_converge_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embprobe.measures.logistic.MAX_STEPS", 1)
    with pytest.raises(EmbprobeError, match="did not converge at C = 100000"):
        logistic_path(*clouds(100, 6, 3, 1.0), grid=[1e5])


def test_the_search_ends_three_decades_after_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    # Clouds that overlap: a weaker regularisation soon tells them apart no better, and 12 steps later the search ends.
    fitted: list[float] = []
    walk = logistic._walk

    def spy(train: Vectors, labels: Labels, grid: tuple[float, ...], *rest: Any) -> Iterator[Logistic]:
        for fit in walk(train, labels, grid, *rest):
            fitted.append(fit.c)
            yield fit

    monkeypatch.setattr("embprobe.measures.logistic._walk", spy)
    vectors, labels = clouds(200, 3, 3, 1.0)
    predict_logistic(vectors, labels, own_groups(200), [vectors[:3]])
    chosen = fitted[-1]
    searched = fitted[: fitted.index(max(fitted)) + 1]
    assert len(searched) == C_GRID.index(chosen) + 1 + 12 < len(C_GRID)


def test_the_search_goes_no_further_than_a_fit_that_does_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = logistic._Path.fit

    def failing(self: Any, c: float, *rest: Any) -> Any:
        if c > 1:
            raise logistic.NotConverged(c)
        return fit(self, c, *rest)

    x, labels = clouds(60, 4, 3, 2.0)
    expected = predict_logistic(x, labels, own_groups(60), [x])
    monkeypatch.setattr(logistic._Path, "fit", failing)
    monkeypatch.setattr(logistic, "PATIENCE", 99)
    unconverged: list[float] = []
    [predicted] = predict_logistic(x, labels, own_groups(60), [x], on_unconverged=unconverged.append)
    assert len(unconverged) == 1 and 1 < unconverged[0] < 2  # the next of four values a decade
    assert (predicted == expected[0]).mean() > 0.9
    monkeypatch.setattr(logistic._Path, "fit", lambda self, c, *rest: failing(self, 1e9))
    with pytest.raises(logistic.NotConverged, match="did not converge at C = 1e"):
        predict_logistic(x, labels, own_groups(60), [x])
