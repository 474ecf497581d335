"""What a measure is asked of: selections, groups, texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Encoder
from embprobe.errors import EmbprobeError
from embprobe.images import Images
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import MissingLabel
from embprobe.interventions.treatments import IMAGE
from embprobe.probing.context import GUESSING, NotApplicable, ProbeContext
from embprobe.probing.key import Key
from embprobe.probing.selection import Selection
from tests.conftest import make_encoder
from tests.probing.conftest import BLUE, GREEN, RED, card_of, painted, probe, reader, renamed

ANY = {"kind": "geometry", "statistics": ["uniformity"]}


def context_of(workspace: Workspace, images: Images, *encoders: Encoder) -> ProbeContext:
    return ProbeContext(card_of(ANY), images, encoders, [], Session(workspace))


# --- which images ------------------------------------------------------------------------------------------------


def test_what_is_not_known_is_not_asked_for(workspace: Workspace) -> None:
    images = painted([RED, GREEN, BLUE], split=["train", "test", "test"])
    selection = Selection(where={"split": ["test"], "style": ["noto"]}, one_per="concept")
    assert [row.key for row in context_of(workspace, images).select(selection).rows] == ["001", "002"]


def test_values_no_image_has_are_dropped_and_noted_once(workspace: Workspace) -> None:
    context = context_of(workspace, painted([RED, GREEN], split=["learn", "exam"]))
    for _ in range(2):
        assert len(context.select(Selection(where={"split": ["train", "val"]}))) == 2
    assert context.left_out == ["the condition split = train or val, which no image in 'painted' meets"]


def test_values_that_no_image_has_together_leave_nothing(workspace: Workspace) -> None:
    context = context_of(workspace, painted([RED, GREEN], split=["train", "test"], style=["x", "y"]))
    with pytest.raises(NotApplicable, match="no image in 'painted' is what it asks for: split = train and style = y"):
        context.select(Selection(where={"split": ["train"], "style": ["y"]}))


def test_a_label_is_required_of_all(workspace: Workspace) -> None:
    images = painted([RED, GREEN], name=["red", "green"])
    context_of(workspace, images).require("name")
    with pytest.raises(NotApplicable, match="it needs the label 'breed', which none of the images in 'painted' has"):
        context_of(workspace, images).require("name", "breed")
    part = Images("part", (images.rows[0], replace(images.rows[1], labels={})))
    with pytest.raises(MissingLabel, match="1 of the 2 images in 'part' lack, first '001'"):
        context_of(workspace, part).require("name")


# --- what is resampled -------------------------------------------------------------------------------------------


def test_concepts_are_resampled_where_there_are_concepts(workspace: Workspace) -> None:
    images = painted([RED, GREEN, BLUE], concept=["a", "a", "b"])
    context = context_of(workspace, images)
    assert context.resampled == "concept" and context.groups(images) == ["a", "a", "b"]


def test_else_images_are_and_a_changed_one_counts_with_what_it_was_made_from(workspace: Workspace) -> None:
    images = painted([RED, GREEN])
    context = context_of(workspace, images)
    changed = images.labelled(lambda row: {IMAGE: f"made from {row.key}"})
    assert context.resampled == "image"
    assert context.groups(images) == ["000", "001"]
    assert context.groups(changed) == ["made from 000", "made from 001"]


# --- texts -------------------------------------------------------------------------------------------------------


def test_every_text_is_read_once_and_not_too_many_at_a_time(workspace: Workspace) -> None:
    known = {f"t{i}": (float(i), 1.0) for i in range(300)}
    a, b = reader(known, "a"), reader(known, "b")
    texts = [f"t{i % 300}" for i in range(600)]
    found = context_of(workspace, painted([RED, GREEN]), a, make_encoder("mute"), b).texts(texts)
    assert set(found) == {"test/a", "test/b"}  # who has no text is not asked
    assert np.array_equal(found["test/a"][:, 0], np.arange(600) % 300)
    assert a.texts == b.texts and sum(a.texts) == 300 and max(a.texts) <= 256


# --- vectors -----------------------------------------------------------------------------------------------------


def test_untouched_images_come_in_the_order_asked_for(workspace: Workspace) -> None:
    images = painted([RED, GREEN, BLUE])
    found = context_of(workspace, images, make_encoder()).untouched(images.take([2, 0]))
    assert found.keys() == ["002", "000"]
    assert found.vectors["test/means"].argmax(1).tolist() == [2, 0]


def test_nothing_done_is_the_same_images(workspace: Workspace) -> None:
    images = painted([RED, GREEN])
    assert context_of(workspace, images).treated(images, "none") is images
    assert context_of(workspace, images).treated(images, "greyscale 1").fingerprint != images.fingerprint


def test_torn_images_are_an_error_but_what_cannot_be_done_is_left_out(workspace: Workspace) -> None:
    def torn() -> Image.Image:
        raise UnreadableImage("torn in two")

    images = painted([RED, GREEN])
    context = context_of(workspace, images, make_encoder())
    with pytest.raises(NotApplicable, match="can be done to none of 'painted': '000': there is no other drawing"):
        context.embed(context.treated(images, "house 1"), "house 1")
    broken = Images("broken", tuple(replace(row, source=torn) for row in images.rows))
    with pytest.raises(EmbprobeError, match="None of the 2 images in 'broken' can be read") as wrong:
        context_of(workspace, broken, make_encoder()).untouched(broken)
    assert not isinstance(wrong.value, NotApplicable)


def test_what_fails_for_another_reason_is_not_taken_for_that(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise EmbprobeError("The disk is full.")

    monkeypatch.setattr("embprobe.embeddings.session.extract", full)
    images = painted([RED, GREEN])
    context = context_of(workspace, images, make_encoder())
    with pytest.raises(EmbprobeError, match="The disk is full") as wrong:
        context.embed(context.treated(images, "greyscale 1"), "greyscale 1")
    assert not isinstance(wrong.value, NotApplicable)


# --- scores ------------------------------------------------------------------------------------------------------


M = Key(kind="geometry", target="m")


def test_what_has_no_score_for_one_is_left_out_for_all(workspace: Workspace) -> None:
    context = context_of(workspace, painted([RED, GREEN]))
    values = {"a": np.array([1.0, np.nan, 3.0]), "b": np.array([4.0, 5.0, 6.0])}
    found = list(context.scored(M, values, ["x", "y", "z"], ["g", "g", "h"], unit="u", p={"b": 0.5}))
    assert [each.values.tolist() for each in found] == [[1, 3], [4, 6]]
    assert all(each.values.dtype == np.float64 and each.key == M and each.unit == "u" for each in found)
    assert all(list(each.keys) == ["x", "z"] and list(each.groups) == ["g", "h"] for each in found)
    assert [each.p for each in found] == [None, 0.5]


def test_no_scores_at_all_are_left_out(workspace: Workspace) -> None:
    values = {"a": np.array([np.nan, 1]), "b": np.array([1, np.nan])}
    with pytest.raises(NotApplicable, match="no image has a score of m for every encoder"):
        list(context_of(workspace, painted([RED, GREEN])).scored(M, values, ["x", "y"], ["x", "y"], unit="u"))


# --- roles -------------------------------------------------------------------------------------------------------


def test_a_role_is_what_an_encoder_was_put_to_and_no_matter_of_its_name(workspace: Workspace) -> None:
    subjects = [renamed(make_encoder(), "mine"), renamed(make_encoder(), "reference/pixels")]
    references = [renamed(make_encoder(), "python:mine:make"), renamed(make_encoder(), "timm/vit")]
    context = ProbeContext(card_of(ANY), painted([RED, GREEN]), subjects, references, Session(workspace))
    assert [encoder.spec.name for encoder in context.encoders] == [
        "mine", "reference/pixels", "python:mine:make", "timm/vit"
    ]  # fmt: skip
    values = {name: np.ones(2) for name in [*(encoder.spec.name for encoder in context.encoders), GUESSING]}
    scores = context.scored(M, values, ["x", "y"], ["x", "y"], unit="u")
    assert [each.role for each in scores] == ["subject", "subject", "reference", "reference", "baseline"]


# --- vectors of zeros --------------------------------------------------------------------------------------------


def saturation(batch: Tensor) -> Tensor:
    """How far each channel is from the mean of all: zeros for whatever is grey."""
    means = batch.mean((2, 3))
    return (means - means.mean(1, keepdim=True)).round(decimals=4)


def test_zeros_are_noted_once_for_an_image_whatever_is_done_to_it(workspace: Workspace) -> None:
    images = painted([RED, GREEN, (90, 90, 90), BLUE])
    context = context_of(workspace, images, make_encoder(), make_encoder("sat", saturation))
    assert context.untouched(images).keys() == ["000", "001", "003"]
    assert context.embed(context.treated(images, "crop 0.1"), "crop 0.1").keys() == ["000", "001", "003"]
    assert context.left_out == ["1 of 4 images have a vector of zeros by test/sat: '002'"]


def test_a_change_that_leaves_no_direction_cannot_be_measured_but_others_can(workspace: Workspace) -> None:
    images = painted([RED, GREEN, BLUE, (250, 250, 0), (0, 250, 250)])
    context = context_of(workspace, images, make_encoder(), make_encoder("sat", saturation))
    with pytest.raises(NotApplicable, match="No image of .* has a vector with a direction by every encoder: 5 of 5"):
        context.embed(context.treated(images, "greyscale 1"), "greyscale 1")
    moved = {"kind": "displacement", "intervention": "greyscale", "strengths": [0.5, 1]}
    results = probe(workspace, images, [make_encoder("sat", saturation)], moved)
    assert {row.key.strength for row in results.rows} == {0.5}
    assert any(reason.startswith("displacement by greyscale 1: No image of ") for reason in results.left_out)


def test_an_encoder_of_zeros_is_an_error_that_names_it(workspace: Workspace) -> None:
    images = painted([RED, GREEN])
    nothing = make_encoder("nothing", lambda batch: torch.zeros(len(batch), 3))
    with pytest.raises(EmbprobeError, match=r"2 of 2 images have a vector of zeros by test/nothing") as wrong:
        context_of(workspace, images, nothing).untouched(images)
    assert not isinstance(wrong.value, NotApplicable)
