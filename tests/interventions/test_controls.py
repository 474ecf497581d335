"""What every control has in common: it changes something else, as much as its intervention changes its attribute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from embprobe.errors import UsageError
from embprobe.images import Images, Row
from embprobe.images.decoding import UnreadableImage
from embprobe.interventions import INTERVENTIONS, find_intervention, intervene, plan_of
from embprobe.interventions.color import RECOGNISABLE, lightness_structure, srgb_to_oklab
from embprobe.interventions.style import mean_change
from tests.conftest import reason, row_of, solid

Values = NDArray[np.float64]
CONTROLLED = {name: each for name, each in INTERVENTIONS.items() if each.controls}
CONTROLS = [f"{name}/{control}" for name, each in CONTROLLED.items() for control in each.controls]
COLORS = [name for name, each in CONTROLLED.items() if "lightness" in each.controls]
STYLES = [name for name, each in CONTROLLED.items() if "blur" in each.controls]


@pytest.fixture(scope="module")
def few(emoji: Images) -> Images:
    """Drawings in colour, and a photograph, 64 pixels wide."""
    from skimage import data

    load: Callable[[], NDArray[np.uint8]] = data.astronaut  # published without types
    photograph = Image.fromarray(load()).resize((64, 64), Image.Resampling.BOX)
    drawings = emoji.where(style=["noto", "fluent-3d"]).take(range(0, 3140, 571))
    rows = [row_of(row.key, row.read().resize((64, 64), Image.Resampling.BOX), **row.labels) for row in drawings.rows]
    return Images("few", (*rows, row_of("photograph", photograph, name="woman", category="people")))


def inked(emoji: Images, few: Images, name: str) -> Images:
    """Images that this intervention can be done to."""
    if name.startswith("recolor"):
        return emoji.where(style="fluent-high-contrast").take(range(0, 1570, 197))
    return Images(few.name, few.rows[:-1]) if name.startswith(("background", "plant")) else few


def triples(images: Images, name: str, strength: float, donors: Images, seed: int = 0) -> list[tuple[Image.Image, ...]]:
    """Every image as it was, under an intervention, and under its control, where that leaves it recognisable."""
    front, _, control = name.partition("/")
    assert control in INTERVENTIONS[front].controls
    made = [intervene(images, each, strength, seed=seed, donors=donors).rows for each in (front, name)]
    return [
        (row.read(), one.read(), other.read())
        for row, one, other in zip(images.rows, *made, strict=True)
        if "could not be recognised" not in (reason(other) or "")
    ]


def lab_of(image: Image.Image) -> Values:
    return srgb_to_oklab(np.asarray(image)[..., :3] / 255)


def opacity(image: Image.Image) -> Values:
    return np.asarray(image.convert("RGBA"))[..., 3] / 255


def ciede2000(a: Image.Image, b: Image.Image) -> float:
    """The mean CIEDE2000 of two images, weighted by opacity."""
    from skimage import color

    lab_1976: Callable[..., Values] = color.rgb2lab  # published without types
    distance: Callable[..., Values] = color.deltaE_ciede2000
    first, second = (lab_1976(np.asarray(image)[..., :3]) for image in (a, b))
    return float(np.average(distance(first, second), weights=opacity(a)))


def test_color_text_style_background_and_a_planted_object_have_controls() -> None:
    attributes = {each.attribute for each in CONTROLLED.values()}
    assert attributes == {"color", "text", "style", "category", "scene"}
    assert {c for n in COLORS for c in INTERVENTIONS[n].controls} == {"lightness"} and len(COLORS) == 7
    assert {c for n in STYLES for c in INTERVENTIONS[n].controls} == {"blur"} and len(STYLES) == 6
    assert len(CONTROLS) == 7 + 6 + 4 * 3 + 1 + 1


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_found_by_both_names_and_is_measured_as_its_intervention_is(name: str) -> None:
    found, of = find_intervention(name), INTERVENTIONS[name.partition("/")[0]]
    assert found.name == name
    assert (found.attribute, found.unit, found.range, found.preview) == (of.attribute, of.unit, of.range, of.preview)
    assert not found.controls


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hue/blur", "'hue' has no control 'blur'. Its controls: lightness."),
        ("word-agrees/hue", "'word-agrees' has no control 'hue'. Its controls: shuffled, glyphs, box."),
        ("word=thus/hue", "'word' has no control 'hue'. Its controls: shuffled, glyphs, box."),
        ("noise/lightness", "'noise' has no control 'lightness'. It has none."),
        ("hue/lightness/lightness", "'hue' has no control 'lightness/lightness'. Its controls: lightness."),
        ("huee/lightness", "There is no intervention 'huee'. Did you mean hue?"),
    ],
)
def test_an_unknown_control_is_answered_with_those_there_are(name: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        find_intervention(name)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_of_strength_zero_changes_nothing(name: str, few: Images, emoji: Images) -> None:
    for before, _, after in triples(inked(emoji, few, name), name, 0, emoji):
        assert (after.mode, after.size, after.tobytes()) == (before.mode, before.size, before.tobytes())


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_changes_every_image_and_otherwise_than_the_intervention(
    name: str, few: Images, emoji: Images
) -> None:
    images = inked(emoji, few, name).take([0, 2, 4])
    strength = find_intervention(name).preview[0 if name.endswith("/lightness") else -1]
    made = triples(images, name, strength, emoji)
    assert made
    for before, there, control in made:
        assert (control.mode, control.size) == (before.mode, before.size)
        assert len({before.tobytes(), there.tobytes(), control.tobytes()}) == 3


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_has_the_mark_of_its_intervention_and_a_content_of_its_own(name: str, emoji: Images) -> None:
    front = name.partition("/")[0]
    row = emoji.rows[4000]
    strength = find_intervention(name).preview[-1]
    marks = [plan_of(find_intervention(each), strength, emoji, seed=3)(row).mark for each in (front, name)]
    checked = name.endswith("/lightness") and front != "recolor"
    assert marks[1] == marks[0] + ("|recognisable 0.75" if checked else "")  # the same word, the same donor
    one = Images("one", (row,))
    made = [intervene(one, each, strength, seed=seed, donors=emoji) for each in (front, name) for seed in (0, 1)]
    assert len({each.fingerprint for each in made}) == 4


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_the_same_whenever_it_is_read(name: str, few: Images, emoji: Images) -> None:
    images = inked(emoji, few, name).take([1, 4])
    strength = 20 if name == "hue/lightness" else find_intervention(name).preview[0]
    (first, second), again = (intervene(images, name, strength, seed=1, donors=emoji).rows for _ in range(2))
    assert second.read().tobytes() == second.read().tobytes() == again[1].read().tobytes()
    assert first.read().tobytes() == again[0].read().tobytes()


@pytest.mark.parametrize("name", COLORS)
def test_under_the_lightness_control_hues_stay_and_colors_move_as_far(name: str, few: Images, emoji: Images) -> None:
    ratios = []
    strength = 60 if name == "hue" else INTERVENTIONS[name].preview[0 if name == "tint" else -1]
    for before, there, control in triples(inked(emoji, few, name), f"{name}/lightness", strength, emoji):
        assert np.array_equal(opacity(control), opacity(before))
        target = ciede2000(before, there)
        if target < 1:  # below, rounding to 8 bits is not small against it
            continue
        # of the same donor's palette and the same ink, else these would not be equal
        ratios.append(ciede2000(before, control) / target)
        old, new = lab_of(before), lab_of(control)
        hue, found = (lab[..., 1] + 1j * lab[..., 2] for lab in (old, new))
        seen = (opacity(before) > 0) & (np.minimum(old[..., 0], new[..., 0]) > 0.3)
        colored = seen & (np.minimum(np.abs(hue), np.abs(found)) > 0.05)
        assert np.abs(np.angle(found[colored] / hue[colored], deg=True)).max(initial=0) < 5
        assert (np.abs(found) - np.abs(hue))[seen].max(initial=0) < 0.005
        assert np.average(np.abs(new - old)[..., 0], weights=opacity(before)) > 0.005 * target
    assert len(ratios) >= 4
    assert np.abs(np.array(ratios) - 1).max() < 0.05


def test_a_control_that_leaves_nothing_to_recognise_is_refused() -> None:
    # a red disc on white: as far from red as a turned hue is, but in lightness, is white or black, and white is no disc
    y, x = np.mgrid[:64, :64]
    values = np.where(((x - 32) ** 2 + (y - 32) ** 2 < 400)[..., None], (230, 60, 60), (255, 255, 255)).astype(np.uint8)
    bowl = Images("bowl", (row_of("bowl", Image.fromarray(values)),))
    refusals = [reason(intervene(bowl, "hue/lightness", 120, seed=seed).rows[0]) for seed in range(3)]
    assert all(refusal and "it could not be recognised" in refusal for refusal in refusals)
    slight = intervene(bowl, "hue/lightness", 5, seed=0).rows[0]
    assert lightness_structure(bowl.rows[0].read(), slight.read()) >= RECOGNISABLE
    intervene(bowl, "hue", 120, seed=0).rows[0].read()  # the intervention itself can be made


def test_structure_is_one_for_the_same_and_none_for_a_blank() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    assert lightness_structure(picture, picture) == pytest.approx(1)
    assert abs(lightness_structure(picture, solid((128, 128, 128), (64, 64)))) < 0.1


def test_the_control_of_recoloring_is_a_grey_drawing(emoji: Images) -> None:
    for before, _, control in triples(inked(emoji, emoji, "recolor"), "recolor/lightness", 1, emoji):
        ink = np.asarray(control)[opacity(before) > 0][:, :3]
        assert np.ptp(ink, axis=1).max() <= 1 and ink.min() > 100


@pytest.mark.parametrize("name", STYLES)
def test_the_blur_changes_pixels_as_much_as_the_style_or_as_much_as_a_blur_can(
    name: str, few: Images, emoji: Images
) -> None:
    most = INTERVENTIONS[name].preview[-1]
    for before, there, control in triples(few.take([0, 3, len(few) - 1]), f"{name}/blur", most, emoji):
        target = mean_change(before, there)
        paper = Image.new("RGBA", before.size, (255, 255, 255))
        flat = Image.alpha_composite(paper, before.convert("RGBA")).convert("RGB")
        mean = np.rint(np.asarray(flat, float).mean(axis=(0, 1))).astype(int)
        strongest = mean_change(before, Image.new("RGB", before.size, tuple(mean.tolist())))
        assert mean_change(before, control) == pytest.approx(min(target, strongest), rel=0.025)
        # a blur keeps the mean of every channel
        means = [np.asarray(image.convert("RGB"), float).mean(axis=(0, 1)) for image in (flat, control)]
        assert np.abs(means[0] - means[1]).max() < 0.6


def test_the_background_alone_has_nothing_of_the_object(emoji: Images) -> None:
    red, blue = (Image.new("RGBA", (64, 64)) for _ in range(2))
    red.paste((200, 30, 30, 255), (16, 16, 48, 48))
    blue.paste((30, 30, 200, 128), (0, 0, 10, 64))
    alone = [
        intervene(Images("one", (row_of("same", image),)), "background/alone", 1, seed=0).rows[0].read()
        for image in (red, blue)
    ]
    assert alone[0].tobytes() == alone[1].tobytes()


@pytest.mark.parametrize("name", [*INTERVENTIONS, *CONTROLS])
def test_nothing_is_read_before_an_image_is_asked_for(name: str) -> None:
    def refuse() -> Image.Image:
        raise UnreadableImage("read")

    labels = [{"name": n, "concept": n[0], "category": n, "style": n} for n in ("apple", "avenue", "bear")]
    rows = tuple(Row(key=each["name"], labels=each, content="x", source=refuse) for each in labels)
    changed = intervene(Images("lazy", rows), name, find_intervention(name).preview[-1], seed=0)
    assert len(changed) == 3 and changed.rows[0].content != "x"
    with pytest.raises(UnreadableImage, match="^read$"):
        changed.rows[0].read()
