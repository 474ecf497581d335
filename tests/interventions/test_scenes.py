"""Scenes: what an argument says is true of the picture, and what is not asked is the same for all arguments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from embprobe.errors import UsageError
from embprobe.images import Images, Row
from embprobe.images.decoding import UnreadableImage
from embprobe.interventions import find_intervention, intervene
from embprobe.interventions.scenes import _apart
from embprobe.selftest import scenes
from tests.conftest import row_of, solid

ARGUED = ("count", "place", "beside", "larger", "occluded", "odd", "present")
COMPOSED = (*ARGUED, "plant")
MAGENTA = (255, 0, 255, 255)


def square(side: int = 128, color: tuple[int, int, int, int] = MAGENTA) -> Image.Image:
    """A square with a corner missing, so that it is another upside down."""
    image = Image.new("RGBA", (side, side))
    drawing = ImageDraw.Draw(image)
    drawing.rectangle((side // 4, side // 4, 3 * side // 4, 3 * side // 4), color)
    drawing.rectangle((side // 4, side // 4, side // 2, side // 2), (255, 255, 255, 255))
    return image


def scene(name: str, image: Image.Image, *, seed: int = 0, key: str = "a", strength: float = 1) -> Image.Image:
    rows = Images("one", (row_of(key, image),))
    donors = Images("donors", (*rows.rows, row_of("other", square(color=(0, 90, 0, 255)))))
    return intervene(rows, name, strength, seed=seed, donors=donors).rows[0].read()


def magenta(image: Image.Image) -> NDArray[np.bool_]:
    values = np.asarray(image.convert("RGB"), np.float64) / 255
    return np.asarray(np.abs(values - np.array([1, 0, 1])).max(-1) < 0.3)


@pytest.mark.parametrize("name", scenes.UNITS)
def test_an_argument_is_true_of_the_picture(name: str) -> None:
    verdicts = list(scenes.UNITS[name]())
    assert len(verdicts) > 1
    assert [verdict for verdict in verdicts if not verdict.passed] == []


@pytest.mark.parametrize("name", COMPOSED)
def test_a_scene_depends_on_key_and_seed_alone(name: str) -> None:
    for argument in find_intervention(name).arguments:
        given = f"{name}={argument}"
        first = scene(given, square()).tobytes()
        assert scene(given, square()).tobytes() == first
        assert scene(given, square(), seed=1).tobytes() != first
        assert scene(given, square(), key="b").tobytes() != first


@pytest.mark.parametrize("name", ARGUED)
def test_the_background_is_the_same_for_all_arguments(name: str) -> None:
    """What an encoder tells two arguments apart by is not the texture: pairs share it."""
    pictures = [
        np.asarray(scene(f"{name}={argument}", square()))[..., :3] for argument in find_intervention(name).arguments
    ]
    shared = (np.ptp(pictures, axis=0) == 0).all(-1)
    assert shared.mean() > 0.3


def test_an_argument_is_drawn_at_random_where_none_is_given() -> None:
    drawn = {int(magenta(scene("place", square(), seed=seed)).argmax(1).max()) for seed in range(12)}
    assert len(drawn) > 3


@pytest.mark.parametrize("seed", range(4))
def test_the_drawn_area_is_the_same_for_every_number(seed: int) -> None:
    areas = [magenta(scene(f"count={n}", square(), seed=seed)).sum() for n in range(1, 6)]
    assert max(areas) / min(areas) < 1.15  # colours at edges blend, and five small copies have more of them


def test_as_much_is_seen_of_a_hidden_object() -> None:
    # a disc of one colour: of what is hidden, whatever the side, the other half is seen
    disc = Image.new("RGBA", (128, 128))
    ImageDraw.Draw(disc).ellipse((20, 20, 108, 108), MAGENTA)
    for seed in range(4):
        hidden, whole = (magenta(scene(f"occluded={each}", disc, seed=seed)).sum() for each in ("yes", "no"))
        assert hidden / whole == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("seed", range(4))
def test_the_mask_of_a_scene_is_where_its_object_is(seed: int) -> None:
    """Two objects of one shape and one mean colour, so of one background: their scenes differ within the mask alone."""
    first, second = Image.new("RGBA", (128, 128)), Image.new("RGBA", (128, 128))
    ImageDraw.Draw(first).rectangle((10, 40, 89, 99), (120, 120, 120, 255))
    ImageDraw.Draw(second).rectangle((10, 40, 89, 69), (180, 180, 180, 255))
    ImageDraw.Draw(second).rectangle((10, 70, 89, 99), (60, 60, 60, 255))
    one, other = (np.asarray(scene("plant", image, seed=seed))[..., :3].astype(int) for image in (first, second))
    mask = np.asarray(scene("plant/mask", first, seed=seed))
    covered, differs = mask[..., 0], np.abs(one - other).max(-1)
    assert differs[covered == 0].max() == 0 and (differs[covered == 255] > 30).mean() > 0.9
    assert (mask[..., 3] == 255).all()
    down, across = (np.flatnonzero(covered.max(axis) > 127) for axis in (1, 0))
    assert len(across) / len(down) == pytest.approx(80 / 60, abs=0.05)
    assert 0.43 < len(across) / 128 < 0.67


def test_a_planted_object_has_the_mean_colour_of_its_background() -> None:
    for color in ((150, 100, 70), (90, 90, 180)):
        one_color = Image.new("RGBA", (128, 128))
        ImageDraw.Draw(one_color).rectangle((10, 40, 90, 100), (*color, 255))
        shown, mask = (scene(name, one_color) for name in ("plant", "plant/mask"))
        behind = np.asarray(shown)[np.asarray(mask)[..., 0] == 0][:, :3]
        assert np.abs(behind.mean(0) - color).max() < 8 and behind.std(0).min() > 2
    black = np.asarray(scene("plant", square(color=(0, 0, 0, 255))))[..., :3]
    assert black.max() > 60  # or a black drawing would not be seen


@pytest.mark.parametrize("name", COMPOSED)
@pytest.mark.parametrize("image", [solid((200, 30, 30)), solid((200, 30, 30)).convert("RGBA")])
def test_a_photograph_is_refused_at_any_strength(name: str, image: Image.Image) -> None:
    for strength in (0, 1):
        with pytest.raises(UnreadableImage, match="no transparent background, so it cannot be put into a scene"):
            scene(name, image, strength=strength)


@pytest.mark.parametrize("name", COMPOSED)
def test_nothing_at_all_is_refused(name: str) -> None:
    with pytest.raises(UnreadableImage, match="transparent everywhere"):
        scene(name, Image.new("RGBA", (32, 32)))


def test_a_drawing_that_is_the_same_upside_down_has_no_odd_one() -> None:
    disc = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(disc).rectangle((16, 16, 47, 47), MAGENTA)
    with pytest.raises(UnreadableImage, match="the same upside down"):
        scene("odd=yes", disc)


def test_the_others_are_named_where_they_are_no_cut_outs_or_missing() -> None:
    mine = row_of("mine", square())
    photograph = row_of("photo", solid((9, 9, 9)))
    for donors, reason in (
        ((mine, photograph), "'photo' cannot stand beside it: it has no transparent background"),
        ((mine,), "there is no other image to stand beside it"),
    ):
        rows = intervene(Images("one", (mine,)), "present=yes", 1, seed=0, donors=Images("d", donors)).rows
        with pytest.raises(UnreadableImage, match=reason):
            rows[0].read()


def test_another_drawing_beside_it_is_another_content() -> None:
    def fingerprint(donor: Image.Image) -> str:
        mine = row_of("mine", square())
        donors = Images("d", (mine, row_of("other", donor)))
        return intervene(Images("one", (mine,)), "present=no", 1, seed=0, donors=donors).fingerprint

    assert fingerprint(square()) != fingerprint(square(color=(0, 0, 0, 255)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("count=6", "'count=' takes one of 1, 2, 3, 4, 5, not '6'"),
        ("beside=above", "'beside=' takes one of left, right, not 'above'"),
        ("odd=maybe", "'odd=' takes one of yes, no, not 'maybe'"),
        ("turn=45", "'turn=' takes one of 90, 180, 270, mirror, not '45'"),
    ],
)
def test_an_argument_that_there_is_not_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_intervention(name)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (40, 25)])
@pytest.mark.parametrize("name", COMPOSED)
def test_a_drawing_of_any_size_becomes_a_scene_of_its_size_or_is_refused(name: str, size: tuple[int, int]) -> None:
    image = square().resize(size, Image.Resampling.NEAREST)
    image.putpixel((0, 0), (0, 0, 0, 0))
    if size != (1, 1):
        image.putpixel((size[0] - 1, size[1] - 1), (255, 0, 0, 255))
    try:
        made = scene(name, image)
    except UnreadableImage:
        return
    assert (made.size, made.mode) == (size, "RGBA")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 20), st.floats(1, 20)), min_size=1, max_size=5), st.integers(0, 99))
def test_things_lie_within_the_image_and_apart(extents: list[tuple[float, float]], seed: int) -> None:
    centres = _apart(extents, (100, 60), np.random.default_rng(seed))
    boxes = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in zip(centres, extents, strict=True)]
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert left >= -1e-9 and top >= -1e-9 and right <= 100 + 1e-9 and bottom <= 60 + 1e-9
        for other in boxes[:i]:
            assert left > other[2] or other[0] > right or top > other[3] or other[1] > bottom


def test_what_has_no_room_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="no room for 2 objects"):
        _apart([(8, 8), (8, 8)], (10, 10), np.random.default_rng(0))


def test_a_row_that_is_read_lazily_is_not_read_before() -> None:
    def refuse() -> Image.Image:
        raise UnreadableImage("read")

    row = Row(key="a", labels={}, content="x", source=refuse)
    changed = intervene(Images("lazy", (row, row_of("b", square()))), "present=yes", 1, seed=0)
    with pytest.raises(UnreadableImage, match="^read$"):
        changed.rows[0].read()
