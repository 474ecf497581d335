"""Profiles by the API and the command: which layers are asked, what cannot be, and pictures of the curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import embprobe as ep
from embprobe.cli.app import app
from embprobe.encoders import load_encoder
from embprobe.encoders.layers import choose_layers
from embprobe.errors import UsageError
from embprobe.images import Images
from embprobe.plots.profile import draw_profiles
from embprobe.probing.card import Card
from embprobe.probing.context import NotApplicable
from embprobe.probing.results import Results
from tests.conftest import noise, row_of
from tests.probing.conftest import card_of

RANDOM = "reference/random-vit"
HUE: dict[str, Any] = {"kind": "displacement", "intervention": "hue", "strengths": [180]}
HEADLINE = {"kind": "displacement", "target": "hue", "says": "is moved by hue"}


def moved(**more: Any) -> Card:
    """A card whose headline is the displacement by a hue, among a measure that is none."""
    other = {"kind": "displacement", "intervention": "greyscale", "strengths": [1]}
    return card_of(HUE, other, headline=HEADLINE, references=["reference/pixels", RANDOM], **more)


@pytest.fixture
def pictures() -> Images:
    return Images("noises", tuple(row_of(f"{i:02d}", noise(i), concept=f"c{i // 2}") for i in range(16)))


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Results:
    rows = Images("noises", tuple(row_of(f"{i:02d}", noise(i), concept=f"c{i // 2}") for i in range(16)))
    return ep.probe(rows, moved(), "bundled/dino", layers="every 3", workspace=tmp_path_factory.mktemp("profile"))


def test_rows_have_the_layers_asked_for_the_own_vector_and_the_references(profile: Results) -> None:
    found = {(row.encoder, row.key.layer): row for row in profile.rows}
    assert [layer for name, layer in found if name == "bundled/dino"] == [None, 3, 6]
    assert sorted(layer or 0 for name, layer in found if name == RANDOM) == [0, 1, 2, 3, 4, 5, 6]  # the twin's are all
    assert {row.role for (name, _), row in found.items() if name != "bundled/dino"} == {"reference"}
    assert {row.key.target for row in profile.rows} == {"hue"}  # of the card, the headline alone
    assert profile.conclusions.numbers == {"bundled/dino": found["bundled/dino", None].estimate}


def test_a_layer_of_a_profile_is_what_the_layer_has_by_itself(
    profile: Results, pictures: Images, tmp_path: Path
) -> None:
    alone = ep.probe(pictures, moved(), "bundled/dino,layer=3", workspace=tmp_path)
    asked = [row for row in alone.rows if row.key == profile.conclusions.key]
    (expected,) = (row for row in asked if row.encoder == "bundled/dino,layer=3")
    (row,) = (row for row in profile.rows if row.encoder == "bundled/dino" and row.key.layer == 3)
    assert (row.estimate, row.low, row.high) == (expected.estimate, expected.low, expected.high)


def test_the_figure_has_a_line_an_encoder_with_layers_and_one_a_reference(profile: Results) -> None:
    (axis, *_) = draw_profiles([profile]).axes
    curves = [
        line for line in axis.lines if len(np.atleast_1d(line.get_xdata())) in (2, 6) and line.get_marker() != "|"
    ]
    depths = {tuple(np.round(np.asarray(line.get_xdata(), float), 3)) for line in curves}
    assert (0.5, 1.0) in depths and tuple(np.round(np.arange(1, 7) / 6, 3)) in depths


@pytest.mark.parametrize("asked", ["", "some", "every", "every 0", "every two", "1;2", "1,,2", "every 7", "--1"])
def test_layers_that_are_no_layers_are_a_sentence(asked: str) -> None:
    with pytest.raises(UsageError, match="names no layers: write all, 'every 2', or numbers"):
        choose_layers(asked, 6, "tiny")


def test_layers_that_are_not_there_are_a_sentence() -> None:
    with pytest.raises(UsageError, match="'tiny' has 6 layers"):
        choose_layers("3,7", 6, "tiny")
    with pytest.raises(UsageError, match="they count from 1"):
        choose_layers("0,3", 6, "tiny")
    assert choose_layers(" 2 , -1 ", 6, "tiny") == [2, 6] and choose_layers("every 6", 6, "tiny") == [6]


def test_what_has_no_layers_is_refused_before_anything_is_computed(pictures: Images, tmp_path: Path) -> None:
    vectors = ep.EmbeddingSet.from_arrays(
        {"mine": np.eye(16)}, images=pictures, keys=[row.key for row in pictures.rows]
    )
    for images, encoders in ((pictures, ["reference/pixels"]), (vectors, None)):
        with pytest.raises(UsageError, match="has no layers to profile: leave it out, or leave out --layers"):
            ep.probe(images, moved(), encoders, layers="all", workspace=tmp_path / "space")
    assert not list(tmp_path.glob("space/stores/*"))


def test_tokens_are_refused_before_anything_is_computed(pictures: Images, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="17 vectors, and here one is needed: say pooling=cls or pooling=mean"):
        ep.probe(pictures, moved(), f"{RANDOM},pooling=tokens", workspace=tmp_path / "space")
    assert not list(tmp_path.glob("space/stores/*"))


def test_a_card_without_a_headline_here_has_no_profile(pictures: Images, tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="has no headline on 'noises', so it has no profile"):
        ep.probe(pictures, card_of(HUE), RANDOM, layers="all", workspace=tmp_path)


def test_a_layer_of_a_layer_is_that_layer_with_the_same_pooling() -> None:
    encoder: Any = load_encoder(f"{RANDOM},layer=2,pooling=mean,norm=last")
    assert [each.spec.name for each in encoder.layers("4,5")] == [
        f"{RANDOM},norm=last,pooling=mean,layer=4",
        f"{RANDOM},norm=last,pooling=mean,layer=5",
    ]


def test_the_command_prints_a_line_a_layer_and_writes_a_figure(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for i in range(8):
        (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        noise(i, (60, 60)).save(folder / "ab"[i % 2] / f"{i}.png")
    command = [
        "probe",
        str(folder),
        "-a",
        "color",
        "--layers",
        "2,-1",
        "-e",
        RANDOM,
        "--workspace",
        str(tmp_path / "w"),
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    for line in ("│ 2 │", "│ 6 │", "│ output │", "Beside them: reference/pixels", "tells red from blue"):
        assert line in " ".join(done.output.split())
    (figure,) = (tmp_path / "w" / "results").glob("color-*/figure.png")
    assert figure.stat().st_size > 10_000
    printed = CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(printed.stdout)["layers"] == {RANDOM: {"depth": 6, "measured": [2, 6]}}
