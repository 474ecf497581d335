"""Vectors that a user brings: checked when they come in, matched by key."""

from __future__ import annotations

import numpy as np
import pytest

from embprobe.encoders.given import given_vectors
from embprobe.errors import EmbprobeError, UsageError

X = np.arange(12.0).reshape(4, 3)


def test_given_vectors_take_an_encoders_place() -> None:
    given = given_vectors("mine", X, list("abcd"))
    assert (given.spec.name, given.spec.dimension, given.spec.has_text) == ("mine", 3, False)
    assert given.vectors.dtype == np.float32 and given.positions(["c", "nobody", "a"]).tolist() == [2, -1, 0]
    with pytest.raises(UsageError, match="'mine' holds vectors and encodes no texts"):
        given.encode_texts(["a"])


def test_the_fingerprint_is_of_vectors_and_keys() -> None:
    prints = {
        given_vectors("mine", X, list("abcd")).spec.fingerprint,
        given_vectors("mine", X + 1, list("abcd")).spec.fingerprint,
        given_vectors("mine", X, list("abce")).spec.fingerprint,
    }
    assert len(prints) == 3
    assert given_vectors("mine", X.astype(np.float32), list("abcd")).spec.fingerprint in prints


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int8, np.uint16])
def test_numbers_of_any_kind_become_floats(kind: type) -> None:
    assert np.array_equal(given_vectors("mine", X.astype(kind), list("abcd")).vectors, X)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.array([[1, None]], object), "The vectors of 'mine' are of type object; they must be real numbers"),
        (np.array([["1", "2"]]), "they must be real numbers"),
        (np.array([[1j, 2]]), "they must be real numbers"),
        (np.arange(4.0), "must be a matrix, images x dimensions; it is 4"),
        (np.zeros((2, 3, 4)), "it is 2 x 3 x 4"),
        (np.zeros((0, 3)), "it is 0 x 3"),
        (np.zeros((4, 0)), "it is 4 x 0"),
        (3.0, "it is one number"),
    ],
)
def test_vectors_that_are_no_matrix_of_numbers_are_refused(vectors: object, message: str) -> None:
    with pytest.raises(EmbprobeError, match=message):
        given_vectors("mine", vectors)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_vectors_that_are_not_finite_are_left_out_and_the_first_is_named(bad: float) -> None:
    x = X.copy()
    x[1, 2] = x[3, 0] = bad
    given = given_vectors("mine", x, list("abcd"), labels={"n": list("1234")})
    assert given.keys == ["a", "c"] and np.array_equal(given.vectors, X[[0, 2]]) and given.labels == {"n": ["1", "3"]}
    assert given.notes == [
        "2 of 4 vectors of 'mine' have numbers that are not finite (nan or inf) and are left out, first that of 'b'"
    ]
    x[:, 1] = bad
    with pytest.raises(EmbprobeError, match=r"4 of 4 vectors of 'mine' .* first that of 'a': none is left"):
        given_vectors("mine", x, list("abcd"))


def test_the_others_keep_their_places_where_vectors_are_matched_by_position() -> None:
    x = X.copy()
    x[1, 0] = np.nan
    given = given_vectors("mine", x, by_position=True)
    assert given.in_order_of(list("wxyz")) and given.keyed(list("wxyz")).keys == ["w", "y", "z"]
    with pytest.raises(EmbprobeError, match="has 4 vectors for 3 images"):
        given.in_order_of(list("wyz"))


def test_a_double_key_has_its_first_finite_vector() -> None:
    x = X.copy()
    x[0, 0] = np.nan
    given = given_vectors("mine", x, list("aabc"))
    assert given.keys == ["a", "b", "c"] and np.array_equal(given.vectors, X[1:])


def test_keys_and_labels_of_another_number_are_counted() -> None:
    with pytest.raises(EmbprobeError, match="'mine' has 4 vectors and 3 keys"):
        given_vectors("mine", X, list("abc"))
    with pytest.raises(EmbprobeError, match="'mine' has 4 vectors and 2 values of 'style'"):
        given_vectors("mine", X, list("abcd"), labels={"style": ["x", "y"]})


def test_the_first_vector_of_a_double_key_counts_and_a_note_says_so() -> None:
    given = given_vectors("mine", X, list("abab"), labels={"n": list("1234")})
    assert given.keys == ["a", "b"] and np.array_equal(given.vectors, X[:2]) and given.labels == {"n": ["1", "2"]}
    assert given.notes == ["2 keys of 'mine' stand more than once, first 'a'; of each the first vector counts"]


def test_keys_that_fit_no_image_are_named_beside_one_that_would() -> None:
    with pytest.raises(EmbprobeError, match="the first key there is 'a', the first image is 'x.jpg'"):
        given_vectors("mine", X, list("abcd")).positions(["x.jpg", "y.jpg"])


def test_by_position_the_numbers_must_agree() -> None:
    given = given_vectors("mine", X, by_position=True)
    assert given.in_order_of(list("wxyz")) and not given_vectors("mine", X).in_order_of(list("wxyz"))
    with pytest.raises(EmbprobeError, match="'mine' has 4 vectors for 3 images, so they cannot be matched by position"):
        given.in_order_of(list("xyz"))
