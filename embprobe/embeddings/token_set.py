"""Token sets: rows with the tokens that one encoder gave each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.encoders.cover import patch_cover, visible_mask
from embprobe.encoders.spec import Floats, ImageInput, TokenGrid
from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images
from embprobe.images.unlabelled import describe_left_out
from embprobe.measures.blocks import rows_at


@dataclass(frozen=True)
class TokenSet:
    """Rows, and their tokens by one encoder.

    Example:
        >>> from embprobe.images.rows import Images
        >>> rows = Images.without_pictures("two", ["a", "b"], {})
        >>> tokens = TokenSet(rows, np.zeros((2, 5, 8), np.float32), TokenGrid(prefix=1, rows=2, columns=2))
        >>> tokens.patches(slice(0, 2)).shape, tokens.prefix(slice(0, 2)).shape
        ((2, 2, 2, 8), (2, 1, 8))
    """

    rows: Images
    tokens: Floats
    """``[n, t, d]``, as they are stored: memory maps, never a copy (:class:`~embprobe.measures.blocks.Blocks`)."""
    grid: TokenGrid
    """How the tokens of a row stand."""
    name: str = ""
    """The encoder's."""
    image_input: ImageInput | None = None
    """How the encoder is fed: by which a mask is resized and cropped as its picture is."""

    def __len__(self) -> int:
        return len(self.rows)

    def patches(self, chosen: slice | NDArray[np.int64]) -> Floats:
        """Return the patch tokens of some rows as they stand in the image, float32 ``[m, rows, columns, d]``."""
        some = np.asarray(self.tokens[chosen], np.float32)
        return some[:, self.grid.prefix :].reshape(len(some), self.grid.rows, self.grid.columns, -1)

    def prefix(self, chosen: slice | NDArray[np.int64]) -> Floats:
        """Return the tokens before the patches of some rows, float32 ``[m, p, d]``: the class token, then registers."""
        return np.asarray(self.tokens[chosen], np.float32)[:, : self.grid.prefix]

    def pooled(self, masks: Mapping[str, Image.Image]) -> EmbeddingSet:
        """Return for each row the mean of its patches, weighted by the share of each that a mask of yours covers.

        Args:
            masks: By the row's key, a mask of the picture's size, 255 where the object is, of mode ``L`` or with it in
                the first channel. Rows without a mask, and those of whose mask nothing is seen, are left out.

        Returns:
            One vector a row; ``notes`` count the rows that are left out.

        Raises:
            EmbprobeError: No row is left, or it is not known how the encoder is fed.
        """
        if self.image_input is None:
            raise EmbprobeError("It is not known how these tokens' images were resized and cropped, so no mask fits.")
        kept, vectors = [], []
        for i, row in enumerate(self.rows.rows):
            mask = masks.get(row.key)
            cover = None if mask is None else patch_cover(visible_mask(mask, self.image_input), self.grid).ravel()
            if cover is not None and cover.sum() > 0:
                patches = self.patches(slice(i, i + 1)).reshape(len(cover), -1)
                kept.append(i)
                vectors.append(cover @ patches / cover.sum())
        if not kept:
            raise EmbprobeError(
                f"None of the {len(self):,} images has a mask under its key that covers what the encoder sees."
            )
        gone = [row.key for i, row in enumerate(self.rows.rows) if i not in set(kept)]
        notes = (describe_left_out(gone, len(self), "have no mask that covers what the encoder sees"),) if gone else ()
        return EmbeddingSet(self.rows.take(kept), {self.name: np.array(vectors, np.float32)}, notes=notes)

    def at(self, keys: Sequence[str]) -> TokenSet:
        """Return the rows with these keys, in this order; keys that are not there are passed over."""
        position = {row.key: i for i, row in enumerate(self.rows.rows)}
        chosen = [position[key] for key in keys if key in position]
        return replace(self, rows=self.rows.take(chosen), tokens=rows_at(self.tokens, chosen))
