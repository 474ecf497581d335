"""Thumbnails: as large as the budget allows, in order, and empty where an image cannot be read."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from embprobe.errors import EmbprobeError
from embprobe.images import Row, UnreadableImage
from embprobe.report.thumbnails import ACROSS, SIDES, data_uri, make_sheets, row_uri
from tests.conftest import noise, row_of, solid


def opened(uri: str) -> Image.Image:
    head, _, content = uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")


def noisy(count: int) -> Sequence[Row]:
    return [row_of(str(i), noise(i, (100, 100))) for i in range(count)]


def torn() -> Row:
    def read() -> bytes:
        raise UnreadableImage("torn in two")

    return Row("torn", {}, "", read)


def test_a_picture_keeps_its_shape_and_is_no_larger_than_asked() -> None:
    assert opened(data_uri(solid((255, 0, 0), (200, 100)), 50)).size == (50, 25)
    exact = opened(data_uri(noise(0, (30, 20)), lossless=True))
    assert np.array_equal(np.asarray(exact), np.asarray(noise(0, (30, 20))))


def test_thumbnails_lie_line_by_line_and_a_new_sheet_begins_where_one_is_full() -> None:
    rows = [row_of(str(i), solid((255, 0, 0) if i in (33, 1024) else (0, 0, 255))) for i in range(1030)]
    found = make_sheets(rows, 10_000_000)
    side = found.side
    assert side == SIDES[0] and [opened(sheet).size for sheet in found.sheets] == [
        (ACROSS * side, ACROSS * side),
        (ACROSS * side, side),
    ]
    first, second = (np.asarray(opened(sheet)) for sheet in found.sheets)
    assert first[side + side // 2, side + side // 2, 0] > 200  # number 33: second line, second place
    assert second[side // 2, side // 2, 0] > 200 and first[side // 2, side // 2, 0] < 50


def test_a_tighter_budget_gives_smaller_thumbnails_and_too_tight_a_one_none() -> None:
    rows = noisy(60)
    large, small = make_sheets(rows, 1_000_000), make_sheets(rows, 60_000)
    assert large.side == 96 > small.side and sum(map(len, small.sheets)) <= 60_000
    with pytest.raises(EmbprobeError, match="Thumbnails of 60 images are larger than a page may be"):
        make_sheets(rows, 100)


def test_what_cannot_be_read_is_empty_and_named() -> None:
    found = make_sheets([torn(), *noisy(3)], 1_000_000)
    assert found.unreadable == [("torn", "torn in two")] and row_uri(torn(), 20) == ""
    assert (np.asarray(opened(found.sheets[0]))[:90, :90] > 250).all()
