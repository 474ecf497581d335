"""The command ``shape-bias``: a folder named as the authors' is, other images for means, published decisions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import embprobe as ep
from tests.benchmarking.test_shape import write_decisions
from tests.conftest import Run

COLORS = {"car": (230, 20, 20), "cat": (20, 230, 20), "dog": (20, 20, 230)}
PIXELS = ("-e", "reference/pixels")


@pytest.fixture
def conflicts(tmp_path: Path) -> Path:
    """Every two of three classes, where the colour is that of the texture: ``car/car1-cat1.png``."""
    rng = np.random.default_rng(0)
    for shape in COLORS:
        for texture, color in COLORS.items():
            for i in range(2):
                path = tmp_path / "conflicts" / shape / f"{shape}{i + 1}-{texture}{i + 1}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.clip(np.array(color) + rng.normal(0, 20, (16, 16, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(path)
    return tmp_path / "conflicts"


def test_the_table_has_coverage_beside_the_bias_and_json_and_api_the_same_numbers(
    run: Run, conflicts: Path, space: Path, tmp_path: Path
) -> None:
    name = f"cue-conflict@{conflicts}"
    file = write_decisions(tmp_path / "net.csv", ("net", "car", "car", "cat"), ("net", "bear", "cat", "car"))
    done = run("shape-bias", name, *PIXELS, "--decisions", file)
    text = " ".join(done.out.split())
    assert done.code == 0 and "Shape or texture?" in text and "coverage" in text and "nearest mean" in text
    assert "intervals over 2 to 12 images whose shape and texture are of two classes" in text
    assert "of a guess 0.667 among 3, 0.125 among 16 classes" in text
    content = json.loads(run("shape-bias", name, *PIXELS, "--decisions", file, "--json").out)
    pixels, net = content["biases"]
    assert (pixels["shape"], pixels["texture"], pixels["left_out"], pixels["classes"]) == (0, 12, 6, 3)
    assert pixels["bias"]["estimate"] == 0 and pixels["coverage"]["estimate"] == 1  # the colour is the texture's
    assert (net["name"], net["by"], net["bias"]["estimate"], net["coverage"]["estimate"]) == (
        "net",
        "published",
        1,
        0.5,
    )
    found = ep.shape_bias(name, "reference/pixels", decisions=file, workspace=space, device="cpu")
    assert [json.loads(json.dumps(each.as_json())) for each in found] == content["biases"]


def test_an_encoder_with_text_has_a_second_line_among_all_classes_of_the_card(run: Run, conflicts: Path) -> None:
    content = json.loads(run("shape-bias", f"cue-conflict@{conflicts}", "-e", "bundled/clip", "--json").out)
    assert [(each["by"], each["classes"]) for each in content["biases"]] == [("nearest mean", 3), ("zero-shot", 16)]


def test_means_of_other_images_and_decisions_without_images(run: Run, conflicts: Path, tmp_path: Path) -> None:
    for shape, color in COLORS.items():
        folder = tmp_path / "others" / shape
        folder.mkdir(parents=True)
        Image.new("RGB", (16, 16), color).save(folder / "a.png")
    for path in conflicts.rglob("*.png"):  # then no image agrees
        shape, _, texture = path.stem.partition("-")
        if shape[:-1] == texture[:-1]:
            path.unlink()
    name = f"cue-conflict@{conflicts}"
    missing = run("shape-bias", name, *PIXELS)
    assert missing.code == 1 and "No class means can be taken: give other images" in missing.err
    done = run("shape-bias", name, *PIXELS, "--means-of", tmp_path / "others", "--json")
    assert [each["texture"] for each in json.loads(done.out)["biases"]] == [12]
    file = write_decisions(tmp_path / "net.csv", ("net", "car", "car", "cat"), ("odd", "cat", "car", "cat"))
    alone = run("shape-bias", "--decisions", file)
    assert alone.code == 0 and "published" in alone.out and "net" in alone.out


def test_a_wrong_request_is_a_sentence(run: Run, photos: Path, tmp_path: Path) -> None:
    nothing = run("shape-bias")
    assert nothing.code == 2 and "needs images with the labels shape and texture" in nothing.err
    assert "This needs the label 'shape'" in run("shape-bias", photos, *PIXELS).err
    gone = run("shape-bias", "--decisions", tmp_path / "gone.csv")
    assert gone.code == 1 and "There is no file" in gone.err
