"""Previews: what is asked for is there, growing, with its controls; what cannot be done says why."""

from __future__ import annotations

import pytest

from embprobe.errors import UsageError
from embprobe.images import Images, find_row
from embprobe.interventions import INTERVENTIONS, attributes
from embprobe.interventions.preview import LARGEST, Sheet, preview
from tests.conftest import noise, row_of, solid


def sheet_of(emoji: Images, key: str, attribute: str) -> Sheet:
    return preview(find_row(key, emoji), attribute, emoji, seed=0)


@pytest.mark.parametrize("attribute", attributes())
def test_every_intervention_stands_with_its_strengths_and_its_controls_at_the_last(
    attribute: str, emoji: Images
) -> None:
    sheet = sheet_of(emoji, "1f431/fluent-high-contrast", attribute)
    assert [line.intervention.name for line in sheet.lines] == [
        name for name, each in INTERVENTIONS.items() if each.attribute == attribute
    ]
    for line in sheet.lines:
        each = line.intervention
        names = [f"{each.name}={argument}" for argument in each.arguments] or [each.name]
        plain = [(name, strength) for name in names for strength in each.preview]
        controls = [(f"{each.name}/{control}", each.preview[-1]) for control in each.controls]
        assert [(cell.intervention, cell.strength) for cell in line.cells] == plain + controls
        assert all(cell.picture is not None and cell.picture.size == (128, 128) for cell in line.cells)


def test_a_change_of_colour_is_as_large_as_its_control_says(emoji: Images) -> None:
    lines = [line.cells[-2:] for line in sheet_of(emoji, "1f431/noto", "color").lines]
    drawn = [(strongest, control) for strongest, control in lines if control.picture and strongest.delta_e > 1]
    assert drawn  # the other controls would leave nothing to recognise
    for strongest, control in drawn:
        assert control.control == "lightness" and control.delta_e == pytest.approx(strongest.delta_e, rel=0.05)


def test_a_control_that_leaves_nothing_to_recognise_is_not_drawn(emoji: Images) -> None:
    (hue,) = (line for line in sheet_of(emoji, "1f431/noto", "color").lines if line.intervention.name == "hue")
    control = hue.cells[-1]
    assert control.control == "lightness" and control.picture is None and "could not be recognised" in control.reason


def test_what_cannot_be_done_says_why() -> None:
    photograph = row_of("photo.png", noise(0, (40, 30)))
    cells = {
        line.intervention.name: line.cells[0]
        for attribute in ("category", "text", "style", "color")
        for line in preview(photograph, attribute, Images("one", (photograph,)), seed=0).lines
    }
    reasons = {name: cell.reason for name, cell in cells.items() if cell.picture is None}
    assert reasons == {
        "object": "it has no label 'category', so another category cannot be told",
        "background": "it has no transparent background that could be swapped",
        "word-agrees": "it has no label that names what it shows (name, concept, category, class)",
        "word-conflicts": "it has no label that names what it shows (name, concept, category, class)",
        "house": "there is no other drawing of the same concept in another style",
        "palette": "there is no other image to take colours from",
        "recolor": "cannot be recoloured: it is not a drawing on a transparent background",
    }


def test_a_large_photograph_is_shown_small_and_a_small_one_as_it_is() -> None:
    for size, shown in (((1300, 650), (LARGEST, LARGEST // 2)), ((50, 40), (50, 40))):
        row = row_of("photo", noise(1, size))
        assert preview(row, "nuisance", Images("one", (row,)), seed=0).original.size == shown


def test_an_unknown_attribute_is_answered_with_those_there_are(emoji: Images) -> None:
    with pytest.raises(UsageError, match="No intervention changes 'colour'. There are some for: color, text, style"):
        sheet_of(emoji, "1f431/noto", "colour")


def test_json_says_how_far_each_change_went_or_why_not() -> None:
    row = row_of("red", solid((200, 40, 40)))
    found = preview(row, "color", Images("one", (row,)), seed=0).as_json()
    cells = {(cell["intervention"], cell["strength"]): cell for cell in found["cells"]}
    assert cells["hue", 120]["unit"] == "degrees in OKLCh" and cells["hue", 120]["delta_e"] > 10
    assert "refused" in cells["palette", 1] and "delta_e" not in cells["palette", 1]
