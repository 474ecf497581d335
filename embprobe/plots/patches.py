"""A sheet of scenes: each with its true mask by patches, and with that which a probe of each encoder predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embprobe.encoders.naming import names_in_lines
from embprobe.measures.dense import Mask
from embprobe.plots.style import figure, save
from embprobe.probing.predicted_masks import PredictedMasks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL import Image

_INCHES = 1.1
"""Width of a scene."""
_LETTERS = 16
"""Letters in a line of an encoder's name."""
_SHADE = 0.75
"""How much of what is no object is hidden."""


def plot_patches(found: PredictedMasks, out: Path, *, shown: Sequence[int] = (0, 1, 2, 3, 4, 5)) -> None:
    """Write a sheet to ``out``: a column a scene, its picture above, the true mask, and a row an encoder.

    What is no object, or is predicted to be none, is shaded. Under each prediction stands its mIoU.

    Args:
        found: The scenes and masks.
        out: The file, PNG.
        shown: Positions of the scenes that are shown.
    """
    first, *_ = found.predicted
    short = names_in_lines(found.predicted, _LETTERS)
    rows = 2 + len(found.predicted)
    with figure(
        width=0.9 + _INCHES * len(shown), height=0.3 + (_INCHES + 0.2) * rows, rows=rows, columns=len(shown)
    ) as (canvas, axes):
        for column, position in enumerate(shown):
            picture = found.scenes.rows[position].load()
            _show(axes[column], picture, None, "")
            _show(axes[len(shown) + column], picture, found.truths[first].covered[position], "")
            for line, (name, masks) in enumerate(found.predicted.items(), 2):
                score = f"mIoU {found.scores(name)[position]:.2f}"
                _show(axes[line * len(shown) + column], picture, masks[position], score)
        for line, label in enumerate(["scene", "true", *(short[name] for name in found.predicted)]):
            axes[line * len(shown)].set_ylabel(label, fontsize=8)
        save(canvas, out)


def _show(axis: Axes, picture: Image.Image, mask: Mask | None, caption: str) -> None:
    """Draw a picture, shaded where a mask of its patches is false.

    It is the middle square; encoders that crop more see a little less of it.
    """
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    axis.imshow(picture.crop((left, top, left + side, top + side)), extent=(0, 1, 1, 0))
    if mask is not None:
        shade = np.zeros((*mask.shape, 4))
        shade[..., 3] = np.where(mask, 0, _SHADE)
        axis.imshow(shade, extent=(0, 1, 1, 0), interpolation="nearest")
    axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))
    axis.set_xlabel(caption, fontsize=7)
