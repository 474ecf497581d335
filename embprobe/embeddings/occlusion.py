"""Occlusion maps of a similarity: how far the cosine of two images falls when a block of one of them is hidden."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embprobe.embeddings.extract import BATCH_SIZE, GPU_BATCH_SIZE
from embprobe.embeddings.finite import hint
from embprobe.embeddings.hiding import hide_blocks
from embprobe.encoders.given import GivenVectors
from embprobe.encoders.preprocessing import Pixels, cropped, decoded_side, normalized
from embprobe.encoders.spec import Encoder, Floats, ImageInput
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Row
from embprobe.measures.blocks import rows_at
from embprobe.measures.vectors import Vectors, lack_direction
from embprobe.system.text import visible

BLOCKS, FEW_BLOCKS = 7, 4
"""Blocks in a row of a map, and in one of an encoder whose input has fewer than :data:`_SMALL` pixels a side."""
RANDOM = 200
"""Random images that chance is estimated from, at most."""
MIN_RANDOM = 20
"""Fewer random images say nothing of chance: a twentieth of them must be at least one."""
_SMALL = 28
"""Pixels a side below which seven blocks in a row would have fewer than four pixels each."""
_SHARE = 0.95
"""Share of the random images whose largest change is no larger than chance."""
Numbers = NDArray[np.floating]
"""Vectors of any precision."""


@dataclass(frozen=True, eq=False)
class Occlusions:
    """An image as an encoder sees it, and its vectors with one block after another hidden."""

    crop: Pixels
    """``[s, s, 3]``."""
    vector: Numbers
    """That of the whole image, ``[d]``."""
    hidden: Numbers
    """``[rows, columns, d]``."""


@dataclass(frozen=True, eq=False)
class OcclusionMap:
    """How far the cosine with another vector falls when a block of an image is hidden."""

    crop: Pixels
    """The image as the encoder sees it, ``[s, s, 3]``."""
    drop: Numbers
    """``[rows, columns]``, in units of cosine, from -2 to 2. Positive: the block makes the two near; negative: it keeps
    them apart. They do not sum to the cosine: blocks overlap, and two may show the same."""
    chance: tuple[float, float] | None
    """The least and the largest drop that hiding a block gives by chance (:func:`chance_of`); None: not known."""

    @property
    def beyond_chance(self) -> NDArray[np.bool_]:
        """Whether a block's drop lies outside of ``chance``, ``[rows, columns]``; none does where that is not known."""
        least, most = self.chance or (-np.inf, np.inf)
        return (self.drop < least) | (self.drop > most)

    def as_json(self) -> dict[str, Any]:
        """Return the map's numbers, rounded to five places."""
        return {
            "drop": [[round(float(value), 5) for value in row] for row in self.drop],
            "chance": None if self.chance is None else [round(end, 5) for end in self.chance],
        }


def explain_similarity(
    pictures: tuple[Image.Image, Image.Image],
    encoder: Encoder,
    *,
    random: Numbers | None = None,
    blocks: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> tuple[OcclusionMap, OcclusionMap]:
    """Map for each of two images how much each block of it makes the encoder call the two near.

    A block of one image is hidden and the image is encoded again; the map holds how far its cosine with the other,
    unchanged image falls (occlusion: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks",
    where the output is a class's probability).

    Args:
        pictures: Two RGB images of any size; the map is of the part that the encoder sees.
        encoder: Any that takes images.
        random: Vectors of random images by the same encoder, ``[m, d]``, for :func:`chance_of`.
        blocks: Blocks in a row and in a column. Default: 7, and 4 for encoders that see less than 28 x 28 pixels.
        batch_size: Images that are encoded together.

    Raises:
        UsageError: The encoder takes no images, or the number of blocks is not between 2 and the pixels of a side.
        EmbprobeError: A vector is not finite, or the encoder gives no single vector an image.

    Example:
        >>> from embprobe.encoders import load_encoder
        >>> grey, white = Image.new("RGB", (64, 64), "grey"), Image.new("RGB", (64, 64), "white")
        >>> for picture in (grey, white):
        ...     picture.paste("red", (48, 16, 64, 32))  # the last block of the second row of four
        >>> encoder = load_encoder("reference/color-histogram", device="cpu")
        >>> of_grey, of_white = explain_similarity((grey, white), encoder, blocks=4)
        >>> [divmod(int(each.drop.argmax()), 4) for each in (of_grey, of_white)]
        [(1, 3), (1, 3)]
    """
    image_input = encoder.spec.require_image_input()
    one, other = (
        occlude(cropped(picture, image_input), encoder, blocks=blocks, batch_size=batch_size) for picture in pictures
    )
    return occlusion_map(one, other.vector, random), occlusion_map(other, one.vector, random)


def occlude(crop: Pixels, encoder: Encoder, *, blocks: int | None = None, batch_size: int = BATCH_SIZE) -> Occlusions:
    """Encode the pixels that an encoder sees of an image, as they are and with one block after another hidden.

    Args:
        crop: Bytes ``[s, s, 3]``, as :func:`embprobe.encoders.preprocessing.cropped` gives them.
        encoder: Any that takes images.
        blocks: Blocks in a row and in a column, as in :func:`explain_similarity`.
        batch_size: Images that are encoded together.

    Raises:
        UsageError: The encoder takes no images, or the number of blocks is not between 2 and ``s``.
        EmbprobeError: A vector is not finite, or the encoder gives no single vector an image.
    """
    image_input = encoder.spec.require_image_input()
    default = BLOCKS if len(crop) >= _SMALL else FEW_BLOCKS
    across = default if blocks is None else blocks
    pictures = itertools.chain([crop], hide_blocks(crop, across))
    parts = []
    while batch := list(itertools.islice(pictures, batch_size)):
        parts.append(encoder.encode_images(normalized(np.stack(batch), image_input)))
    vectors = np.concatenate(parts)
    name = visible(encoder.spec.name)
    if vectors.ndim != 2:
        shape = " x ".join(map(str, vectors.shape[1:]))
        raise EmbprobeError(f"An occlusion map needs one vector an image, and '{name}' gives {shape} numbers for it.")
    if not np.isfinite(vectors).all():
        raise EmbprobeError(f"'{name}' gives vectors that are not finite (nan or inf); {hint(encoder.spec)}.")
    return Occlusions(crop, vectors[0], vectors[1:].reshape(across, across, -1))


def occlusion_map(occlusions: Occlusions, other: Numbers, random: Numbers | None = None) -> OcclusionMap:
    """Return how far the cosine of an image with another vector falls with each block of the image.

    Args:
        occlusions: The image, and its vectors with blocks hidden.
        other: The vector of an image, a text or a sum, ``[d]``.
        random: Vectors of random images, ``[m, d]``, from which chance is estimated.
    """
    drop = cosine_drops(occlusions, other[None])[0]
    return OcclusionMap(occlusions.crop, drop, None if random is None else chance_of(occlusions, other, random))


def chance_of(occlusions: Occlusions, other: Numbers, random: Numbers) -> tuple[float, float] | None:
    """Return the least and the largest drop that hiding a block of an image gives by chance.

    Hiding a block moves the image's vector, and so its angle to any other, related or not. Of each random image the
    largest change of the angle over all blocks is taken; the 95th percentile of it, added to the angle of the pair and
    taken from it, gives the two drops. So of images that have nothing to do with this one, one in twenty has any block
    beyond chance (the maximum statistic of Westfall and Young 1993). Angles, because near 1 a cosine changes with the
    square of what the angle does: by cosines, hardly a block of two near images was beyond chance. From a copy of
    itself an image moves away by each block that the encoder sees at all: a drop alone does not show that only these
    two share the block.

    Args:
        occlusions: The image, and its vectors with blocks hidden.
        other: The other vector, ``[d]``.
        random: Vectors of random images, ``[m, d]``.

    Returns:
        The two drops, in units of cosine; None for fewer than :data:`MIN_RANDOM` random images.
    """
    if len(random) < MIN_RANDOM:
        return None
    whole, hidden = _cosines(occlusions, random)
    change = float(np.quantile(np.abs(np.arccos(hidden) - np.arccos(whole)[:, None]).max(axis=1), _SHARE))
    cosine = float(_cosines(occlusions, other[None])[0][0])
    angle = np.arccos(cosine)
    nearer, farther = np.cos(max(angle - change, 0)), np.cos(min(angle + change, np.pi))
    return float(cosine - nearer), float(cosine - farther)


def cosine_drops(occlusions: Occlusions, others: Numbers) -> Floats:
    """Return how far the cosines with other vectors fall when a block is hidden: ``[m, d] -> [m, rows, columns]``.

    The cosine with a vector of zeros is taken as 0.
    """
    whole, hidden = _cosines(occlusions, others)
    drops: Floats = (whole[:, None] - hidden).astype(np.float32)
    return drops.reshape(-1, *occlusions.hidden.shape[:2])


def check_explainable(encoders: Sequence[Encoder]) -> None:
    """Raise :class:`UsageError` if one of the encoders is none that could encode an image with a part hidden."""
    for encoder in encoders:
        if isinstance(encoder, GivenVectors) or encoder.spec.image_input is None:
            raise UsageError(
                f"'{encoder.spec.name}' holds vectors and no network, and why two images are near is seen by encoding "
                "them with parts hidden. Name an encoder that takes images (-e), or leave --why out."
            )


def occlude_row(row: Row, encoder: Encoder, image_input: ImageInput, *, device: str) -> Occlusions:
    """Read a row's image as its vectors were made, and encode it with one block after another hidden.

    Args:
        row: The image.
        encoder: Any that takes images.
        image_input: How the image is decoded and cropped: the encoder's own, or that of a run.
        device: Where the encoder computes, which decides how large batches are.

    Raises:
        UnreadableImage: The image cannot be read.
        OSError: Its source is away for now.
        EmbprobeError: As :func:`occlude`.
    """
    picture = row.rgb(row.fetch(), at_least=decoded_side(image_input), max_pixels=image_input.max_pixels)
    size = BATCH_SIZE if device == "cpu" else GPU_BATCH_SIZE
    return occlude(cropped(picture, image_input), encoder, batch_size=size)


def random_vectors(vectors: Vectors, keys: Sequence[str], *, without: Collection[str], seed: int) -> Floats:
    """Return at most :data:`RANDOM` of some vectors that have a direction, drawn at random, for :func:`chance_of`.

    Args:
        vectors: ``[n, d]``.
        keys: Those of their images, ``[n]``.
        without: Keys of images that are left out, because they are explained.
        seed: Decides which are drawn.
    """
    order = np.random.default_rng(seed).permutation(len(keys))[: RANDOM + len(without)]
    chosen = np.array(sorted([i for i in order.tolist() if keys[i] not in without][:RANDOM]), np.int64)
    drawn: Floats = np.asarray(rows_at(vectors, chosen), np.float32)
    return drawn[~lack_direction(drawn)]


def _cosines(occlusions: Occlusions, others: Numbers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cosines of ``m`` other vectors with the whole image, ``[m]``, and with each hidden block, ``[m, b]``."""
    own = np.concatenate([occlusions.vector[None], occlusions.hidden.reshape(-1, occlusions.hidden.shape[2])])
    cosines = (_directions(others) @ _directions(own).T).clip(-1, 1)
    return cosines[:, 0], cosines[:, 1:]


def _directions(vectors: Numbers) -> NDArray[np.float64]:
    wide = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.asarray(wide / np.where(lengths == 0, 1, lengths))
