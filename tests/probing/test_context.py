"""What a measure is asked of: selections, groups, texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from embprobe.images import Images
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import MissingLabel
from embprobe.interventions.treatments import IMAGE
from embprobe.probing.context import NotApplicable, ProbeContext
from embprobe.probing.selection import Selection
from tests.conftest import make_encoder
from tests.probing.conftest import BLUE, GREEN, RED, card_of, painted, reader
from tests.results import key_of

ANY = {"kind": "geometry", "statistics": ["uniformity"]}


def asked(workspace: Workspace, images: Images, *encoders: object) -> ProbeContext:
    return ProbeContext(card_of(ANY), images, encoders, [], Session(workspace))  # type: ignore[arg-type]


# --- which images ------------------------------------------------------------------------------------------------


def test_what_is_not_known_is_not_asked_for(workspace: Workspace) -> None:
    images = painted([RED, GREEN, BLUE], split=["train", "test", "test"])
    selection = Selection(where={"split": ["test"], "style": ["noto"]}, one_per="concept")
    assert [row.key for row in asked(workspace, images).select(selection).rows] == ["001", "002"]


def test_values_no_image_has_are_dropped_and_noted_once(workspace: Workspace) -> None:
    about = asked(workspace, painted([RED, GREEN], split=["learn", "exam"]))
    for _ in range(2):
        assert len(about.select(Selection(where={"split": ["train", "val"]}))) == 2
    assert about.left_out == ["the condition split = train or val, which no image in 'painted' meets"]


def test_values_that_no_image_has_together_leave_nothing(workspace: Workspace) -> None:
    about = asked(workspace, painted([RED, GREEN], split=["train", "test"], style=["x", "y"]))
    with pytest.raises(NotApplicable, match="no image in 'painted' is what it asks for: split = train and style = y"):
        about.select(Selection(where={"split": ["train"], "style": ["y"]}))


def test_a_label_is_required_of_all(workspace: Workspace) -> None:
    images = painted([RED, GREEN], name=["red", "green"])
    asked(workspace, images).require("name")
    with pytest.raises(NotApplicable, match="it needs the label 'breed', which none of the images in 'painted' has"):
        asked(workspace, images).require("name", "breed")
    part = Images("part", (images.rows[0], replace(images.rows[1], labels={})))
    with pytest.raises(MissingLabel, match="1 of the 2 images in 'part' lack, first '001'"):
        asked(workspace, part).require("name")


# --- what is resampled -------------------------------------------------------------------------------------------


def test_concepts_are_resampled_where_there_are_concepts(workspace: Workspace) -> None:
    images = painted([RED, GREEN, BLUE], concept=["a", "a", "b"])
    about = asked(workspace, images)
    assert about.resampled == "concept" and about.groups(images) == ["a", "a", "b"]


def test_else_images_are_and_a_changed_one_counts_with_what_it_was_made_from(workspace: Workspace) -> None:
    images = painted([RED, GREEN])
    about = asked(workspace, images)
    changed = images.labelled(lambda row: {IMAGE: f"made from {row.key}"})
    assert about.resampled == "image"
    assert about.groups(images) == ["000", "001"]
    assert about.groups(changed) == ["made from 000", "made from 001"]


# --- texts -------------------------------------------------------------------------------------------------------


def test_every_text_is_read_once_and_not_too_many_at_a_time(workspace: Workspace) -> None:
    known = {f"t{i}": (float(i), 1.0) for i in range(300)}
    a, b = reader(known, "a"), reader(known, "b")
    texts = [f"t{i % 300}" for i in range(600)]
    found = asked(workspace, painted([RED, GREEN]), a, make_encoder("mute"), b).texts(texts)
    assert set(found) == {"test/a", "test/b"}  # who has no text is not asked
    assert np.array_equal(found["test/a"][:, 0], np.arange(600) % 300)
    assert a.texts == b.texts and sum(a.texts) == 300 and max(a.texts) <= 256


# --- vectors -----------------------------------------------------------------------------------------------------


def test_untouched_images_come_in_the_order_asked_for(workspace: Workspace) -> None:
    images = painted([RED, GREEN, BLUE])
    found = asked(workspace, images, make_encoder()).untouched(images.take([2, 0]))
    assert found.keys() == ["002", "000"]
    assert found.vectors["test/means"].argmax(1).tolist() == [2, 0]


def test_nothing_done_is_the_same_images(workspace: Workspace) -> None:
    images = painted([RED, GREEN])
    assert asked(workspace, images).treated(images, "none") is images
    assert asked(workspace, images).treated(images, "greyscale 1").fingerprint != images.fingerprint


def test_torn_images_are_an_error_but_what_cannot_be_done_is_left_out(workspace: Workspace) -> None:
    def torn() -> Image.Image:
        raise UnreadableImage("torn in two")

    images = painted([RED, GREEN])
    about = asked(workspace, images, make_encoder())
    with pytest.raises(NotApplicable, match="can be done to none of 'painted': '000': there is no other drawing"):
        about.embed(about.treated(images, "house 1"), "house 1")
    broken = Images("broken", tuple(replace(row, source=torn) for row in images.rows))
    with pytest.raises(EmbprobeError, match="None of the 2 images in 'broken' can be read") as wrong:
        asked(workspace, broken, make_encoder()).untouched(broken)
    assert not isinstance(wrong.value, NotApplicable)


def test_what_fails_for_another_reason_is_not_taken_for_that(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise EmbprobeError("The disk is full.")

    monkeypatch.setattr("embprobe.embeddings.session.extract", full)
    images = painted([RED, GREEN])
    about = asked(workspace, images, make_encoder())
    with pytest.raises(EmbprobeError, match="The disk is full") as wrong:
        about.embed(about.treated(images, "greyscale 1"), "greyscale 1")
    assert not isinstance(wrong.value, NotApplicable)


# --- scores ------------------------------------------------------------------------------------------------------


def test_what_has_no_score_for_one_is_left_out_for_all(workspace: Workspace) -> None:
    scored = asked(workspace, painted([RED, GREEN])).scored
    values = {"a": np.array([1.0, np.nan, 3.0]), "b": np.array([4.0, 5.0, 6.0])}
    found = list(scored(key_of("m"), values, ["x", "y", "z"], ["g", "g", "h"], unit="u", p={"b": 0.5}))
    assert [list(each.values) for each in found] == [[1, 3], [4, 6]]
    assert all(list(each.keys) == ["x", "z"] and list(each.groups) == ["g", "h"] for each in found)
    assert [each.p for each in found] == [None, 0.5]


def test_no_scores_at_all_are_left_out(workspace: Workspace) -> None:
    scored = asked(workspace, painted([RED, GREEN])).scored
    with pytest.raises(NotApplicable, match="no image has a score of m for every encoder"):
        list(
            scored(
                key_of("m"), {"a": np.array([np.nan, 1]), "b": np.array([1, np.nan])}, ["x", "y"], ["x", "y"], unit="u"
            )
        )
