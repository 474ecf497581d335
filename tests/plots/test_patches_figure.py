"""The sheet of predicted masks: what is true and what is predicted is shown in the patch where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoders
from embprobe.errors import UsageError
from embprobe.images import Images
from embprobe.plots.patches import plot_patches
from embprobe.probing.dense_scenes import Truth
from embprobe.probing.predicted_masks import PredictedMasks, predict_masks
from tests.conftest import make_encoder, row_of, solid


def test_what_is_no_object_is_shaded(tmp_path: Path) -> None:
    """Of a white picture the left half is true, and the right one is predicted: one panel is the other's mirror."""
    scenes = Images("white", (row_of("a", solid((255, 255, 255), (64, 64))),))
    true, wrong = np.array([[[True, False]] * 2]), np.array([[[False, True]] * 2])
    truth = Truth(true.astype(float), np.array([[0, 0, 1, 0.5]]), np.array([[0.5, 0.25]]))
    plot_patches(PredictedMasks(scenes, {"an/encoder": truth}, {"an/encoder": wrong}), tmp_path / "a.png", shown=[0])
    with Image.open(tmp_path / "a.png") as sheet:
        grey = np.asarray(sheet.convert("L"))
    dark = (grey > 40) & (grey < 90)  # white under a shade of three quarters
    down = np.flatnonzero(dark.sum(1) > 50)
    runs = np.split(down, np.flatnonzero(np.diff(down) > 5) + 1)
    first, second = (run for run in runs if len(run) > 50)  # the panels of truth and prediction, and no line of text
    # the true object is on the left, so what is shaded of its panel is on the right
    true_shade, predicted_shade = (np.flatnonzero(dark[panel[len(panel) // 2]]) for panel in (first, second))
    assert np.median(true_shade) > np.median(predicted_shade) + 60
    assert len(true_shade) == pytest.approx(len(predicted_shade), abs=5)


def test_masks_are_predicted_of_cut_outs_and_scored(workspace: Workspace, tmp_path: Path) -> None:
    rows = []
    for i in range(12):
        picture = Image.new("RGBA", (48, 48))
        ImageDraw.Draw(picture).rectangle((4, 4, 44, 44), (20 * i, 200 - 10 * i, 90, 255))
        rows.append(row_of(f"{i:02d}", picture, concept=f"c{i}"))
    photograph = row_of("photo", solid((1, 2, 3)), concept="photo")
    encoders = load_encoders(["reference/random-vit", "reference/pixels"])
    found = predict_masks(Images("some", (*rows, photograph)), encoders, Session(workspace))
    assert found.scenes.keys == [row.key for row in rows]
    assert {name: masks.shape for name, masks in found.predicted.items()} == {
        "reference/random-vit": (12, 4, 4),
        "reference/pixels": (12, 4, 4),
    }
    for name in found.predicted:
        assert ((found.scores(name) >= 0) & (found.scores(name) <= 1)).all()
    plot_patches(found, tmp_path / "figure.png", shown=[0, 11])
    with pytest.raises(UsageError, match="no tokens"):
        predict_masks(Images("some", tuple(rows)), [make_encoder()], Session(workspace))
