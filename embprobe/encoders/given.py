"""Vectors that a user brings: they stand where an encoder stands, and nothing is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embprobe.encoders.spec import EncoderSpec, Floats
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.text import visible

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class GivenVectors:
    """Vectors by key, in the place of an encoder. :func:`given_vectors` checks and makes them."""

    spec: EncoderSpec
    keys: Sequence[str]
    """Of the vectors, ``[n]``, each once."""
    vectors: Floats
    """``[n, d]``."""
    labels: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """By name, a value or None for each key: columns of the table that the vectors came with."""
    by_position: bool = False
    """Whether rows are matched by their order and not by their keys."""
    notes: Sequence[str] = ()
    """What was left out on the way here, in sentences without a full stop."""

    def encode_images(self, batch: Tensor) -> Floats:
        raise UsageError(f"'{self.spec.name}' holds vectors and encodes no images.")

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        raise UsageError(f"'{self.spec.name}' holds vectors and encodes no texts.")

    def in_order_of(self, keys: Sequence[str]) -> bool:
        """Return whether the vectors are to be matched with these keys by position.

        Raises:
            EmbprobeError: They are, and differ from them in number.
        """
        if self.by_position and len(keys) != len(self.keys):
            raise EmbprobeError(
                f"'{self.spec.name}' has {len(self.keys):,} vectors for {len(keys):,} images, so they cannot be "
                "matched by position."
            )
        return self.by_position

    def positions(self, keys: Sequence[str], *, strict: bool = True) -> NDArray[np.int64]:
        """Return where the vector of each of these keys is, -1 where there is none. ``[m]``.

        Raises:
            EmbprobeError: No key has a vector, and that is not allowed (``strict``).
        """
        place = {key: i for i, key in enumerate(self.keys)}
        positions = np.array([place.get(key, -1) for key in keys], np.int64)
        if strict and not (positions >= 0).any():
            first = visible(keys[0]) if len(keys) else ""
            raise EmbprobeError(
                f"No image has a vector in '{self.spec.name}': the first key there is '{visible(self.keys[0])}', the "
                f"first image is '{first}'. Give the vectors the images' keys, or match them by position."
            )
        return positions


def given_vectors(
    name: str,
    vectors: Any,
    keys: Sequence[str] | None = None,
    *,
    labels: Mapping[str, Sequence[str | None]] | None = None,
    family: str = "",
    by_position: bool = False,
) -> GivenVectors:
    """Return vectors in the place of an encoder, checked.

    Args:
        name: What the encoder is called in tables and figures.
        vectors: Numbers ``[n, d]``, of any float or integer type.
        keys: ``n`` keys of images; without them ``0``, ``1`` and on. Of a key that stands twice the first vector
            counts, and a note says so.
        labels: By name, ``n`` values, None where a row has none.
        family: Of the encoder's name, where it has one.
        by_position: Whether rows are matched by their order and not by their keys.

    Raises:
        EmbprobeError: The vectors are no matrix of numbers, some are not finite, or keys differ from them in number.
    """
    matrix = np.asarray(vectors)
    if matrix.dtype == object or not np.issubdtype(matrix.dtype, np.number) or np.iscomplexobj(matrix):
        raise EmbprobeError(f"The vectors of '{name}' are of type {matrix.dtype}; they must be real numbers.")
    if matrix.ndim != 2 or not matrix.size:
        shape = " x ".join(map(str, matrix.shape)) or "one number"
        raise EmbprobeError(f"The vectors of '{name}' must be a matrix, images x dimensions; it is {shape}.")
    names = [str(key) for key in (range(len(matrix)) if keys is None else keys)]
    if len(names) != len(matrix):
        raise EmbprobeError(f"'{name}' has {len(matrix):,} vectors and {len(names):,} keys: give each vector one key.")
    for label, values in (labels or {}).items():
        if len(values) != len(matrix):
            raise EmbprobeError(f"'{name}' has {len(matrix):,} vectors and {len(values):,} values of '{label}'.")
    with np.errstate(over="ignore"):  # of a float64 that float32 cannot hold; said below
        floats = np.asarray(matrix, np.float32)
    bad = np.flatnonzero(~np.isfinite(floats).all(1))
    if len(bad):
        raise EmbprobeError(
            f"{len(bad):,} of {len(floats):,} vectors of '{name}' have numbers that are not finite, first that of "
            f"'{visible(names[bad[0]])}': leave them out, or mend them."
        )
    notes = []
    first = list({key: i for i, key in reversed(list(enumerate(names)))}.values())[::-1]
    if len(first) < len(names):
        once = set(first)
        double = next(key for i, key in enumerate(names) if i not in once)
        notes.append(
            f"{len(names) - len(first):,} keys of '{name}' stand more than once, first '{visible(double)}'; of each "
            "the first vector counts"
        )
        names, floats = [names[i] for i in first], floats[first]
        labels = {label: [values[i] for i in first] for label, values in (labels or {}).items()}
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass"))
    digest.update(np.ascontiguousarray(floats).tobytes())
    spec = EncoderSpec(family=family, model=name, weights_sha256=digest.hexdigest(), dimension=floats.shape[1])
    return GivenVectors(spec, names, floats, labels or {}, by_position, notes)
