"""Token sets: rows with the tokens that one encoder gave each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embprobe.encoders.spec import Floats, TokenGrid
from embprobe.images.rows import Images
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

    def __len__(self) -> int:
        return len(self.rows)

    def patches(self, chosen: slice | NDArray[np.int64]) -> Floats:
        """Return the patch tokens of some rows as they stand in the image, float32 ``[m, rows, columns, d]``."""
        some = np.asarray(self.tokens[chosen], np.float32)
        return some[:, self.grid.prefix :].reshape(len(some), self.grid.rows, self.grid.columns, -1)

    def prefix(self, chosen: slice | NDArray[np.int64]) -> Floats:
        """Return the tokens before the patches of some rows, float32 ``[m, p, d]``: the class token, then registers."""
        return np.asarray(self.tokens[chosen], np.float32)[:, : self.grid.prefix]

    def at(self, keys: Sequence[str]) -> TokenSet:
        """Return the rows with these keys, in this order; keys that are not there are passed over."""
        position = {row.key: i for i, row in enumerate(self.rows.rows)}
        chosen = [position[key] for key in keys if key in position]
        return replace(self, rows=self.rows.take(chosen), tokens=rows_at(self.tokens, chosen))
