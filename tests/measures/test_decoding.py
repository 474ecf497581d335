from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from embprobe.errors import EmbprobeError
from embprobe.measures.decoding import C_GRID, correct, predict_knn, predict_logistic, predict_majority

Vectors = NDArray[np.float64]
Labels = NDArray[np.str_]


def at(*degrees: float) -> Vectors:
    """Unit vectors in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def names(numbers: NDArray[np.integer]) -> Labels:
    return np.array([f"class {i}" for i in numbers])


def own_groups(n: int) -> Labels:
    return np.array([str(i) for i in range(n)])


def regression(c: float) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300, tol=1e-3))


def test_correct_is_one_score_per_image() -> None:
    assert correct(np.array(["a", "b", "c"]), np.array(["a", "c", "c"])).tolist() == [1.0, 0.0, 1.0]


def test_majority_is_the_most_frequent_label_and_the_first_of_a_tie() -> None:
    assert predict_majority(np.array(["c", "b", "c", "a"]), n=3).tolist() == ["c", "c", "c"]
    assert predict_majority(np.array(["c", "b", "b", "c", "a"]), n=1).tolist() == ["b"]


def test_knn_weighs_near_neighbours_more_than_many() -> None:
    # cosines to the test vector at 0 degrees: 1 (near), cos 20 = 0.940 twice (far); opposite: -1
    # temperature 0.07: far 2 * exp(-0.0603 / 0.07) = 0.845 < 1 = near; temperature 0.1: 2 * exp(-0.603) = 1.094 > 1
    train, labels = at(0, 20, -20, 180), np.array(["near", "far", "far", "opposite"])
    assert predict_knn(train, labels, at(0), k=3).tolist() == ["near"]
    assert predict_knn(train, labels, at(0), k=3, temperature=0.1).tolist() == ["far"]


def test_knn_listens_to_k_neighbours_only() -> None:
    # from 0: east (cos 5 = 0.996) is nearest; north has 3 at cos 10 = 0.985, exp(-0.011 / 0.07) = 0.85 each
    train, labels = at(5, 10, -10, 10), np.array(["east", "north", "north", "north"])
    assert predict_knn(train, labels, at(0), k=1).tolist() == ["east"]
    assert predict_knn(train, labels, at(0), k=3).tolist() == ["north"]
    assert predict_knn(train, labels, at(0), k=1_000).tolist() == ["north"]  # cut to 4


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([0.05, 0.07, 0.5]))
def test_knn_agrees_with_sklearn(seed: int, k: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    train, test = rng.normal(size=(120, 6)), rng.normal(size=(80, 6))
    labels = names(rng.integers(0, 4, 120))
    reference = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / temperature)
    ).fit(train, labels)
    score = np.sort(reference.predict_proba(test), axis=1)
    clear = score[:, -1] - score[:, -2] > 1e-4  # float32 may settle the others either way
    found = predict_knn(train, labels, test, k=k, temperature=temperature)
    assert clear.mean() > 0.9
    assert found[clear].tolist() == reference.predict(test)[clear].tolist()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_knn_does_not_see_the_lengths_of_vectors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    train, test = rng.normal(size=(50, 6)), rng.normal(size=(30, 6))
    labels = names(rng.integers(0, 3, 50))
    longer, shorter = 10 ** rng.uniform(0, 6, (50, 1)), 10 ** rng.uniform(-6, 0, (30, 1))
    scaled = predict_knn(train * longer, labels, test * shorter, k=5)
    assert scaled.tolist() == predict_knn(train, labels, test, k=5).tolist()


def test_knn_survives_the_smallest_temperature() -> None:
    # exp(1 / 0.001) overflows even float64; the nearest neighbour must win all the same
    found = predict_knn(at(0, 30, 31), np.array(["near", "far", "far"]), at(2), k=3, temperature=0.001)
    assert found.tolist() == ["near"]


def test_logistic_regression_decodes_what_is_separable() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    vectors = 4 * np.eye(3)[truth] + 0.3 * rng.normal(size=(300, 3))  # classes 4 apart, 13 standard deviations
    (found,) = predict_logistic(vectors[:200], names(truth[:200]), own_groups(200), [vectors[200:]])
    assert found.tolist() == names(truth[200:]).tolist()


def test_logistic_regression_on_shuffled_labels_is_at_chance() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 1400)
    vectors = 4 * np.eye(2)[truth] + 0.3 * rng.normal(size=(1400, 2))
    shuffled = rng.permutation(truth)
    (found,) = predict_logistic(vectors[:1000], names(shuffled[:1000]), own_groups(1000), [vectors[1000:]])
    # binomial with n = 400 and p = 1/2: standard deviation sqrt(0.25 / 400) = 0.025, four of them 0.1
    assert correct(found, names(shuffled[1000:])).mean() == pytest.approx(0.5, abs=0.1)


def concepts_and_classes(seed: int) -> tuple[Vectors, Labels, Labels, Vectors]:
    """A weak trace of the class, a strong one of the concept: images, labels, groups, and images of new concepts."""
    rng = np.random.default_rng(seed)
    concept = np.repeat(np.arange(60), 4)
    label = rng.integers(0, 2, 60)[concept]
    signature = rng.normal(size=(60, 40))[concept]
    vectors = signature + 0.2 * rng.normal(size=(240, 40))
    vectors[:, 0] += 0.8 * label
    return vectors[:160], names(label[:160]), names(concept[:160]), vectors[160:]


def chosen_c(split: Any, vectors: Vectors, labels: Labels, groups: Labels | None) -> float:
    fit, held_out = next(split.split(vectors, labels, groups))
    accuracy = [regression(c).fit(vectors[fit], labels[fit]).score(vectors[held_out], labels[held_out]) for c in C_GRID]
    return C_GRID[int(np.argmax(accuracy))]


def test_logistic_regression_is_sklearns_at_the_c_chosen_on_held_out_groups() -> None:
    chosen = set()
    for seed in range(4):
        vectors, labels, groups, test = concepts_and_classes(seed)
        c = chosen_c(GroupShuffleSplit(1, test_size=0.2, random_state=seed), vectors, labels, groups)
        (found,) = predict_logistic(vectors, labels, groups, [test], seed=seed)
        at_c = {c: regression(c).fit(vectors, labels).predict(test).tolist() for c in C_GRID}
        assert len({tuple(predicted) for predicted in at_c.values()}) == len(C_GRID)  # so that agreement says something
        assert found.tolist() == at_c[c]
        chosen.add(c)
    assert len(chosen) > 1  # the choice was one


def test_c_is_chosen_on_concepts_that_were_not_fitted() -> None:
    # chosen on images of known concepts, C would be larger: remembering the concept pays there
    vectors, labels, groups, test = concepts_and_classes(0)
    by_group = chosen_c(GroupShuffleSplit(1, test_size=0.2, random_state=0), vectors, labels, groups)
    by_image = chosen_c(ShuffleSplit(1, test_size=0.2, random_state=0), vectors, labels, None)
    assert by_group < by_image
    (found,) = predict_logistic(vectors, labels, groups, [test], seed=0)
    assert found.tolist() == regression(by_group).fit(vectors, labels).predict(test).tolist()


def test_what_is_predicted_for_one_test_set_does_not_depend_on_the_others() -> None:
    vectors, labels, groups, test = concepts_and_classes(0)
    strange = 100 + 50 * np.random.default_rng(1).normal(size=(500, 40))
    (alone,) = predict_logistic(vectors, labels, groups, [test])
    one_by_one = np.concatenate(predict_logistic(vectors, labels, groups, [test[[i]] for i in range(len(test))]))
    beside = predict_logistic(vectors, labels, groups, [strange, test])
    assert [len(part) for part in beside] == [500, len(test)]
    assert alone.tolist() == one_by_one.tolist() == beside[1].tolist()


def test_logistic_regression_does_not_see_scale_or_offset_of_a_dimension() -> None:
    vectors, labels, groups, test = concepts_and_classes(0)
    scale, offset = 10 ** np.linspace(-3, 3, 40), np.linspace(-5, 5, 40)
    (found,) = predict_logistic(vectors, labels, groups, [test])
    (moved,) = predict_logistic(vectors * scale + offset, labels, groups, [test * scale + offset])
    assert found.tolist() == moved.tolist()


def test_the_same_seed_gives_the_same_predictions() -> None:
    vectors, labels, groups, test = concepts_and_classes(1)
    first, again = (predict_logistic(vectors, labels, groups, [test], seed=3)[0].tolist() for _ in range(2))
    assert first == again


def test_one_label_cannot_be_decoded() -> None:
    vectors, labels = np.eye(4), np.array(["a"] * 4)
    with pytest.raises(EmbprobeError, match="at least two different labels"):
        predict_knn(vectors, labels, vectors)
    with pytest.raises(EmbprobeError, match="at least two different labels"):
        predict_logistic(vectors, labels, own_groups(4), [vectors])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["train", "test"])
def test_embeddings_that_are_not_finite_are_an_error(bad: float, where: str) -> None:
    vectors = {"train": np.random.default_rng(0).normal(size=(20, 3)), "test": np.ones((2, 3))}
    vectors[where][1, 2] = bad
    labels = np.array(["a", "b"] * 10)
    with pytest.raises(EmbprobeError, match="not finite"):
        predict_knn(vectors["train"], labels, vectors["test"])
    with pytest.raises(EmbprobeError, match="not finite"):
        predict_logistic(vectors["train"], labels, own_groups(20), [vectors["test"]])


def test_too_few_groups_to_hold_any_out_is_an_error_in_words() -> None:
    vectors, labels = np.random.default_rng(0).normal(size=(8, 3)), np.array(["a", "b"] * 4)
    for groups in (np.array(["one"] * 8), labels):  # nothing left to fit on; one label left to fit on
        with pytest.raises(EmbprobeError):
            predict_logistic(vectors, labels, groups, [vectors])
