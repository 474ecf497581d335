"""Check vectors that a user brings, and let them take an encoder's place: nothing is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    """Vectors by image key, in the place of an encoder. :func:`given_vectors` checks and makes them."""

    spec: EncoderSpec
    keys: Sequence[str]
    """Image keys of the vectors, ``[n]``, no two the same."""
    vectors: Floats
    """``[n, d]``, finite, not normalised."""
    labels: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """By label name, ``n`` values, None where a row has none: columns of the table that the vectors came with."""
    by_position: bool = False
    """Whether rows are matched by their order and not by their keys."""
    notes: Sequence[str] = ()
    """Remarks on vectors that were left out, in sentences without a full stop."""
    places: Sequence[int] | None = None
    """The place of each vector among those that were given, where some were left out; None where none was."""
    given: int = 0
    """The number of vectors that were given, where some were left out."""

    def encode_images(self, batch: Tensor) -> Floats:
        """Raise UsageError: there is no network that images could be fed to."""
        raise UsageError(f"'{self.spec.name}' holds vectors and encodes no images.")

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Raise UsageError: there is no network that texts could be fed to."""
        raise UsageError(f"'{self.spec.name}' holds vectors and encodes no texts.")

    def in_order_of(self, keys: Sequence[str]) -> bool:
        """Return whether the vectors are to be matched with these keys by position.

        Raises:
            EmbprobeError: They are, and the numbers of vectors and keys differ.
        """
        count = len(self.keys) if self.places is None else self.given
        if self.by_position and len(keys) != count:
            raise EmbprobeError(
                f"'{self.spec.name}' has {count:,} vectors for {len(keys):,} images, so they cannot be "
                "matched by position."
            )
        return self.by_position

    def keyed(self, keys: Sequence[str]) -> GivenVectors:
        """Return the same vectors with the keys of as many images, matched by position."""
        own = keys if self.places is None else [keys[place] for place in self.places]
        return replace(self, keys=own, by_position=False)

    def positions(self, keys: Sequence[str], *, strict: bool = True) -> NDArray[np.int64]:
        """Return the row in ``vectors`` of each of ``m`` image keys.

        Args:
            keys: ``m`` image keys.
            strict: Refuse keys none of which has a vector.

        Returns:
            Row numbers, ``[m]``; -1 where a key has no vector.

        Raises:
            EmbprobeError: No key has a vector, and ``strict``.
        """
        row_of = {key: i for i, key in enumerate(self.keys)}
        positions = np.array([row_of.get(key, -1) for key in keys], np.int64)
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
    """Check vectors and return them in the form that takes an encoder's place.

    Args:
        name: The name that tables and figures show.
        vectors: Numbers ``[n, d]``, of any float or integer type.
        keys: ``n`` image keys; without them ``0``, ``1`` and on. If a key stands twice, its first vector counts,
            and a note says so. A vector that is not finite is left out, and a note says so, too.
        labels: By label name, ``n`` values, None where a row has none.
        family: The family that stands before the name in the spec, such as ``vectors``; "" for none.
        by_position: Whether rows are matched by their order and not by their keys.

    Raises:
        EmbprobeError: The vectors are no matrix of real numbers, none is finite, or there are not ``n`` keys or values
            of a label.
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
    with np.errstate(over="ignore"):  # a float64 that float32 cannot hold becomes infinite, and is left out below
        floats = np.asarray(matrix, np.float32)
    notes = []
    finite = np.isfinite(floats).all(1)
    bad_rows = np.flatnonzero(~finite)
    if bad_rows.size:
        bad = f"{len(bad_rows):,} of {len(floats):,} vectors of '{name}' have numbers that are not finite (nan or inf)"
        first = f"first that of '{visible(names[bad_rows[0]])}'"
        if not finite.any():
            raise EmbprobeError(f"{bad}, {first}: none is left.")
        notes.append(f"{bad} and are left out, {first}")
    good = np.flatnonzero(finite).tolist()
    kept = list({names[i]: i for i in reversed(good)}.values())[::-1]
    if len(kept) < len(good):
        kept_rows = set(kept)
        double = next(names[i] for i in good if i not in kept_rows)
        notes.append(
            f"{len(good) - len(kept):,} keys of '{name}' stand more than once, first '{visible(double)}'; of each "
            "the first vector counts"
        )
    places, count = None, len(names)
    if len(kept) < count:
        places, names, floats = kept, [names[i] for i in kept], floats[kept]
        labels = {label: [values[i] for i in kept] for label, values in (labels or {}).items()}
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass"))
    digest.update(np.ascontiguousarray(floats).tobytes())
    spec = EncoderSpec(family=family, model=name, weights_sha256=digest.hexdigest(), dimension=floats.shape[1])
    return GivenVectors(spec, names, floats, labels or {}, by_position, notes, places, count)
