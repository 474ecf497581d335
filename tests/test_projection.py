from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embprobe.errors import EmbprobeError
from embprobe.plots.map import plot_maps
from embprobe.projection import umap_layout


def test_two_directions_far_apart_stay_apart_on_the_map_and_the_seed_fixes_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ends = np.repeat([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]], 30, axis=0)
    vectors = (ends + rng.normal(size=(60, 3))).astype(np.float32)
    layout = umap_layout(vectors, seed=1)
    assert layout.shape == (60, 2) and np.array_equal(layout, umap_layout(vectors, seed=1))
    distance = np.linalg.norm(layout[:, None] - layout, axis=-1) + np.diag(np.full(60, np.inf))
    side = np.repeat([0, 1], 30)
    assert (side[distance.argmin(1)] == side).mean() > 0.9  # the nearest point on the map is of the same end
    picture = tmp_path / "map.png"
    plot_maps({"a": layout, "$b$": layout[::-1]}, ["x", "<y>"] * 30, picture, label="end")
    assert Image.open(picture).width > 800


def test_a_map_needs_more_points_than_neighbours() -> None:
    with pytest.raises(EmbprobeError, match="more than 15 images; there are 15"):
        umap_layout(np.ones((15, 3), np.float32), seed=0)
