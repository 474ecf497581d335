"""Compression: embeddings cut, projected, quantised or whitened, to see how much of a probe's accuracy is left.

Each compression is fitted on training vectors and applied to any: ``truncate:32`` keeps the first 32 dimensions,
``pca:32`` the 32 leading components, ``int8`` a byte and ``binary`` a bit per dimension, ``whiten`` all components at
one variance.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError, UsageError
from embprobe.measures.blocks import blocks_of
from embprobe.measures.geometry import centred, principal_axes
from embprobe.measures.vectors import ScoreArray, Vectors, check_finite
from embprobe.system.threads import matrix_product

Transform = Callable[[Vectors], NDArray[np.floating]]
"""A function of vectors ``[m, d]`` that returns ``[m, e]`` in their precision, at least float32."""

LEVELS = 255
"""Steps of int8 between the smallest and the largest training value of a dimension."""
RIDGE = 1e-4
"""Share of the mean variance that whiten adds to each variance, so that it does not blow up noise in the least one."""

_ROWS = 16_384
"""Rows widened to float64 at a time: 100 MB of 768 dimensions."""

_NAME = re.compile(r"(truncate|pca):([1-9][0-9]{0,5})|(int8|binary|whiten)")


def check_compression(name: str) -> None:
    """Raise :class:`UsageError` unless ``name`` is that of a compression, before anything slow is done.

    Example:
        >>> check_compression("pca:32")
        >>> check_compression("pca")
        Traceback (most recent call last):
        embprobe.errors.UsageError: There is no compression 'pca'. There are truncate:N and pca:N, with N the number \
of dimensions to keep, and int8, binary and whiten.
    """
    _parse(name)


def fit_compression(name: str, train: Vectors) -> Transform:
    """Fit the compression ``name`` on training vectors and return it as a function of vectors.

    - ``truncate:N``: the first N dimensions, as of Matryoshka embeddings (Kusupati et al. 2022). Nothing is fitted.
    - ``pca:N``: the coordinates along the N leading principal components of the training vectors, about their mean.
    - ``int8``: each dimension rounded to the nearest of 256 levels, evenly from its smallest to its largest training
      value (affine quantisation: Jacob et al. 2018, section 2.1), and back. Beyond that range it is cut.
    - ``binary``: 1 at or above the training mean of a dimension, −1 below; the cosine of two is 1 − 2 h / d, with h the
      number of bits in which they differ.
    - ``whiten``: the coordinates along all components that vary, divided by √(λ + ridge), with λ their variance over
      n − 1 and ridge 1e-4 of the mean λ.

    Args:
        name: One of the names above.
        train: Training vectors, ``[n, d]``.

    Returns:
        A function that compresses vectors ``[m, d]``; it raises :class:`EmbprobeError` for another d and for numbers
        that are not finite.

    Raises:
        UsageError: For an unknown name.
        EmbprobeError: If there are fewer dimensions or components than N, fewer than two training vectors, if these all
            coincide, and for numbers that are not finite.

    Example:
        >>> train = np.array([[0.0, 0.0], [255.0, 10.0]])
        >>> fit_compression("int8", train)(np.array([[3.4, 300.0]]))  # steps of 1 and 10 / 255; the second is cut
        array([[ 3., 10.]])
        >>> fit_compression("binary", train)(np.array([[3.4, 5.0]]))  # training means 127.5 and 5
        array([[-1.,  1.]])
    """
    kind, keep = _parse(name)
    mean, _ = centred(train)
    if kind == "truncate":
        transform = _truncate(keep, len(mean))
    elif kind == "pca":
        transform = _pca(train, keep)
    elif kind == "int8":
        transform = _int8(train)
    elif kind == "binary":
        transform = _binary(mean)
    else:
        transform = _whiten(train)
    return _checked(transform, len(mean))


def _parse(name: str) -> tuple[str, int]:
    """Split a name into its kind and the number of dimensions to keep; 0 for kinds without one."""
    match = _NAME.fullmatch(name)
    if not match:
        raise UsageError(
            f"There is no compression '{name}'. There are truncate:N and pca:N, with N the number of dimensions to "
            "keep, and int8, binary and whiten."
        )
    return match[1] or match[3], int(match[2] or 0)


def _truncate(keep: int, dimension: int) -> Transform:
    if keep > dimension:
        raise EmbprobeError(f"'truncate:{keep}' keeps more dimensions than there are: {dimension}.")
    return lambda x: x[:, :keep]


def _pca(train: Vectors, keep: int) -> Transform:
    mean, axes, _ = principal_axes(train)
    if keep > axes.shape[1]:
        raise EmbprobeError(
            f"'pca:{keep}' keeps more components than the training vectors have: {axes.shape[1]}. Fit it on more "
            "images, or keep fewer."
        )
    leading = axes[:, :keep]
    return lambda x: matrix_product(x - mean, leading)


def _int8(train: Vectors) -> Transform:
    ends = [(block.min(0), block.max(0)) for _, block in blocks_of(train)]
    low = np.min([least for least, _ in ends], axis=0).astype(np.float64)
    high = np.max([most for _, most in ends], axis=0).astype(np.float64)
    step = (high - low) / LEVELS
    divisor = np.where(step > 0, step, 1)  # a constant dimension stays what it is
    return lambda x: low + np.clip(np.rint((x - low) / divisor), 0, LEVELS) * step


def _binary(mean: ScoreArray) -> Transform:
    return lambda x: np.where(x >= mean, 1.0, -1.0)


def _whiten(train: Vectors) -> Transform:
    mean, axes, deviations = principal_axes(train)
    variance = deviations**2 * (len(train) / (len(train) - 1))
    whitening = axes / np.sqrt(variance + RIDGE * variance.mean())
    return lambda x: matrix_product(x - mean, whitening)


def _checked(transform: Transform, dimension: int) -> Transform:
    """Let ``transform`` run in float64, on vectors of the fitted dimension, and return them in their own precision."""

    def compress(vectors: Vectors) -> NDArray[np.floating]:
        if vectors.shape[1] != dimension:
            raise EmbprobeError(
                f"A compression fitted on {dimension} dimensions cannot be applied to {vectors.shape[1]}."
            )
        check_finite(vectors)
        kind = np.result_type(vectors.dtype, np.float32)
        blocks = blocks_of(vectors, _ROWS) if len(vectors) else [(0, vectors)]
        return np.concatenate([transform(np.asarray(block, np.float64)).astype(kind) for _, block in blocks])

    return compress
