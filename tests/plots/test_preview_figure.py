"""The sheet of previews, whatever the image is called and whatever cannot be done to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embprobe.images import Images
from embprobe.interventions.preview import preview
from embprobe.plots.preview import plot_preview
from tests.conftest import noise, row_of


def drawn(tmp_path: Path, key: str, attribute: str) -> Image.Image:
    row = row_of(key, noise(0, (64, 48)))
    out = tmp_path / "figures" / "sheet.png"
    plot_preview(preview(row, attribute, Images("one", (row,)), seed=0), out)
    assert list(out.parent.iterdir()) == [out]
    with Image.open(out) as image:
        image.load()
        return image.copy()


def test_a_sheet_is_as_wide_as_its_longest_line_and_as_high_as_it_has_lines(tmp_path: Path) -> None:
    color, category = drawn(tmp_path, "a.png", "color"), drawn(tmp_path, "a.png", "category")
    # color: 6 lines of at most 3 strengths and a control; category: 2 lines of at most 2 and a control
    assert color.width / category.width == pytest.approx(5 / 4, rel=0.05)
    assert color.height / category.height == pytest.approx(6 / 2, rel=0.15)
    assert len(np.unique(np.asarray(color.convert("L")))) > 100


@pytest.mark.parametrize("key", [r"$\frac{$", "<b>bold</b> \u202e", "two\nlines {0} %s", "no text \udce9", "x" * 300])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_hostile_names_are_drawn_as_they_are(tmp_path: Path, key: str) -> None:
    assert drawn(tmp_path, key, "category").width > 300
