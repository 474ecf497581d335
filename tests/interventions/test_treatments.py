"""Treatments: dealt evenly and by chance, written and read, crossed with every row."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embprobe.errors import UsageError
from embprobe.images import Images, Row
from embprobe.images.decoding import UnreadableImage
from embprobe.interventions import INTERVENTIONS, intervene
from embprobe.interventions.treatments import IMAGE, Treatment, assign, cross
from tests.conftest import Reads, row_of, solid
from tests.conftest import noise as noise_of
from tests.interventions.conftest import box_of, face_of

NOTHING = Treatment(None)
HUES = [Treatment("hue", degrees) for degrees in (60.0, 120.0, 180.0)]
WORDS = ("thus", "maybe", "again", "hence")
LEVELS = {"none": [NOTHING], "color": HUES, "text": [Treatment("word=thus", 0.5), Treatment("word=maybe", 0.5)]}


def rows(n: int) -> Images:
    """Rows that nobody can read: what is done to them can be seen in their content."""

    def refuse() -> Image.Image:
        raise AssertionError("read too early")

    return Images("rows", tuple(Row(f"{i:03d}", {"kind": f"{i % 3}"}, f"c{i}", refuse) for i in range(n)))


def done(row: Row) -> str:
    """What was done to a row: ``hue=60.0``; empty if nothing was."""
    return "".join(row.content.partition("|")[2:]).partition("@")[0]


def dealt(images: Images, seed: int = 0, label: str = "what") -> list[str]:
    return assign(images, label, LEVELS, seed=seed, donors=images).label(label)


@pytest.mark.parametrize(
    ("text", "treatment"),
    [
        ("none", NOTHING),
        ("hue 120", Treatment("hue", 120.0)),
        ("hue -30.5", Treatment("hue", -30.5)),
        ("house 1", Treatment("house", 1.0)),
        ("hue/lightness 90", Treatment("hue/lightness", 90.0)),
        ("word=thus 0.6", Treatment("word=thus", 0.6)),
        ("tint=140/lightness 1", Treatment("tint=140/lightness", 1.0)),
    ],
)
def test_a_treatment_is_read_as_it_is_written(text: str, treatment: Treatment) -> None:
    assert Treatment.parse(text) == treatment
    assert str(treatment) == text


@given(st.sampled_from(sorted(INTERVENTIONS)), st.data())
def test_what_is_written_is_read_as_the_same(name: str, data: st.DataObject) -> None:
    low, high = INTERVENTIONS[name].range
    strengths = st.sampled_from([0.0, 1.0]) if INTERVENTIONS[name].whole else st.floats(low, high)
    treatment = Treatment(name, data.draw(strengths))
    assert Treatment.parse(str(treatment)) == treatment


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no treatment: say 'none', or an intervention and a strength, 'hue 120'."),
        ("hue", "'hue' is no treatment"),
        ("120 hue", "'120 hue' is no treatment"),
        ("hue nan", "'hue nan' is no treatment"),
        ("hue 1e2", "'hue 1e2' is no treatment"),
        ("hue 120\n", "'hue 120\n' is no treatment"),
        ("None", "'None' is no treatment"),
        ("none 1", "There is no intervention 'none'."),
        ("sepia 1", "There is no intervention 'sepia'."),
        ("greyscale 1.5", "The strength of 'greyscale' goes from 0 to 1 (share of the chroma removed), not 1.5."),
        ("word=thus/box 2", "The strength of 'word=thus/box' goes from 0 to 1 (share of the image's width), not 2."),
        ("house 0.5", "The strength of 'house' is 0 or 1 (1: drawn by another house), not 0.5."),
        ("hue=30 1", "'hue' takes no argument '30'"),
        ("word= 0.5", "'word=' lacks its argument"),
        ("tint=red 1", "'tint=' takes a hue in degrees, not 'red'."),
    ],
)
def test_what_is_no_treatment_is_the_users_to_correct(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        Treatment.parse(text)
    assert str(error.value).startswith(message)


NEARLY = st.from_regex(r"(hue|tint|word|none|house)?(=[a-z0-9]{0,3})?(/box)?[ ]{0,2}(-?[0-9.e]{0,4}|nan|inf)")


@given(st.text() | NEARLY)
def test_anything_else_is_a_treatment_or_an_error_of_usage(text: str) -> None:
    try:
        found = Treatment.parse(text)
    except UsageError:
        return
    assert Treatment.parse(str(found)) == found


def test_seven_rows_are_dealt_by_hand() -> None:
    # two values, one with two treatments: 7 rows are 4 and 3; and the 4 or 3 are 2 and 2, or 2 and 1
    treated = assign(rows(7), "what", {"a": HUES[:2], "b": [NOTHING]}, seed=0, donors=rows(7))
    assert sorted(Counter(treated.label("what")).values()) == [3, 4]
    counts = Counter(done(row) for row in treated.rows)
    assert sorted((counts["hue=60.0"], counts["hue=120.0"])) in ([2, 2], [1, 2])
    assert counts[""] == Counter(treated.label("what"))["b"]


@settings(max_examples=25)
@given(st.integers(0, 40), st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(0, 2**40))
def test_every_value_and_every_treatment_of_it_is_dealt_as_often(n: int, many: list[int], seed: int) -> None:
    levels = {f"{v}": [Treatment("hue", float(10 * v + t)) for t in range(count)] for v, count in enumerate(many)}
    treated = assign(rows(n), "what", levels, seed=seed, donors=rows(n))
    both = Counter((row.labels["what"], done(row)) for row in treated.rows)
    values = Counter(treated.label("what"))
    per_value = [values[value] for value in levels]
    assert sum(per_value) == n and max(per_value) - min(per_value) <= 1
    for value, treatments in levels.items():
        each = [both[value, f"hue={treatment.strength}"] for treatment in treatments]
        assert sum(each) == values[value] and max(each) - min(each) <= 1


def test_who_gets_what_depends_on_the_seed_and_the_label_and_not_on_the_rows() -> None:
    images = rows(60)
    first = dealt(images)
    assert dealt(images) == first
    other = images.labelled(lambda row: {"kind": "other"})
    assert dealt(other) == first
    for changed in (dealt(images, seed=1), dealt(images, label="which")):
        same = np.mean(np.array(changed) == np.array(first))
        assert same == pytest.approx(1 / 3, abs=0.2)  # by chance; the standard deviation is 0.06


@pytest.mark.parametrize("seed", range(3))
def test_what_is_dealt_does_not_go_with_what_the_same_seed_orders_elsewhere(seed: int) -> None:
    # folds are made from the same seed: a word that is in one fold only could never be decoded
    levels = {word: [Treatment(f"word={word}", 0.5)] for word in WORDS}
    found = np.array(assign(rows(200), "word", levels, seed=seed, donors=rows(200)).label("word"))
    fold = np.random.default_rng(seed).permutation(200) % 4
    counts = [np.sum((found == word) & (fold == each)) for word in WORDS for each in range(4)]
    assert min(counts) >= 4 and max(counts) <= 22  # 12.5 each, and a standard deviation of 2.7


def test_a_treated_row_is_what_its_treatment_makes_of_it_in_its_place_with_its_key_and_labels() -> None:
    images = rows(30).labelled(lambda row: {"kind": "x", "what": "old"})
    treated = assign(images, "what", LEVELS, seed=3, donors=images)
    assert [row.key for row in treated.rows] == [row.key for row in images.rows]
    assert treated.fingerprint != images.fingerprint and treated.name != images.name and not treated.opened_as
    for old, row in zip(images.rows, treated.rows, strict=True):
        name, _, strength = done(row).rpartition("=")
        one = intervene(Images("one", (old,)), name, float(strength), seed=3).rows[0] if name else old
        assert row.content == one.content
        assert row.labels == {**one.labels, IMAGE: old.key, "what": row.labels["what"]}
        assert row.labels["kind"] == "x" and row.labels["what"] in LEVELS
        assert (row.labels["what"] == "none") == (name == "")
        assert row.labels.get("word") == (name.removeprefix("word=") if name.startswith("word=") else None)


def test_a_treated_image_is_changed_when_it_is_read() -> None:
    red = Images("red", tuple(row_of(str(i), solid((200, 40, 40))) for i in range(10)))
    treated = assign(red, "light", {"colored": [NOTHING], "grey": [Treatment("greyscale", 1.0)]}, seed=0, donors=red)
    for row in treated.rows:
        red_, green, _ = np.asarray(row.read())[0, 0].tolist()
        assert (red_ == green) == (row.labels["light"] == "grey")


def test_a_row_that_cannot_be_read_or_treated_is_labelled_and_unreadable() -> None:
    torn = Reads()(4, unreadable=[1])
    levels = {"some": [Treatment("noise", 0.1)], "more": [Treatment("noise", 0.2)]}
    treated = assign(torn, "noise", levels, seed=0, donors=torn)
    assert {row.labels["noise"] for row in treated.rows} == set(levels)
    with pytest.raises(UnreadableImage, match="torn in two"):
        treated.rows[1].read()
    treated.rows[0].read()
    photographs = assign(torn, "ink", {"red": [Treatment("recolor=30", 1.0)]}, seed=0, donors=torn)
    assert photographs.label("ink") == ["red"] * 4
    with pytest.raises(UnreadableImage, match="cannot be recoloured"):
        photographs.rows[0].read()


@pytest.mark.parametrize("levels", [{}, {"a": []}, {"a": [NOTHING], "b": []}])
def test_levels_without_a_treatment_are_refused(levels: dict[str, list[Treatment]]) -> None:
    with pytest.raises(ValueError, match="a treatment for each"):
        assign(rows(3), "what", levels, seed=0, donors=rows(3))
    with pytest.raises(ValueError, match="a treatment for each"):
        cross(rows(3), {"what": levels}, seed=0, donors=rows(3))


def test_a_cross_is_every_row_under_every_value() -> None:
    images = rows(3)
    crossed = cross(images, {"color": {"red": [Treatment("tint=30", 1.0)], "none": [NOTHING]}}, seed=0, donors=images)
    assert [row.key for row in crossed.rows] == ["000|red", "001|red", "002|red", "000|none", "001|none", "002|none"]
    assert crossed.label(IMAGE) == ["000", "001", "002"] * 2
    assert crossed.label("color") == ["red"] * 3 + ["none"] * 3
    assert crossed.label("kind") == ["0", "1", "2"] * 2
    assert [done(row) for row in crossed.rows] == ["tint=30=1.0"] * 3 + [""] * 3
    assert not crossed.opened_as and crossed.name != images.name


def test_a_cross_takes_the_first_treatment_of_a_value() -> None:
    crossed = cross(rows(2), {"what": {"color": HUES}}, seed=0, donors=rows(2))
    assert [done(row) for row in crossed.rows] == ["hue=60.0"] * 2


def test_a_cross_of_two_factors_has_every_combination_and_knows_its_first_image() -> None:
    colors = {f"{hue}": [Treatment(f"tint={hue}", 1.0)] for hue in (30, 140, 260)}
    words = {word: [Treatment(f"word={word}", 0.5)] for word in WORDS}
    both = cross(rows(2), {"color": colors, "text": words}, seed=0, donors=rows(2))
    cells = Counter((row.labels[IMAGE], row.labels["color"], row.labels["text"]) for row in both.rows)
    assert len(both) == len(cells) == 2 * 3 * 4
    assert len({row.key for row in both.rows}) == len({row.content for row in both.rows}) == 24
    assert both.rows[0].key == "000|30|thus" and both.rows[0].labels[IMAGE] == "000"


def test_another_seed_or_level_is_another_fingerprint() -> None:
    def fingerprint(word: str, seed: int) -> str:
        return cross(rows(2), {"text": {"a": [Treatment(f"word={word}", 0.5)]}}, seed=seed, donors=rows(2)).fingerprint

    assert fingerprint("thus", 0) == fingerprint("thus", 0)
    assert len({fingerprint("thus", 0), fingerprint("maybe", 0), fingerprint("thus", 1)}) == 3


def test_every_word_of_a_row_has_the_same_face_color_width_and_place() -> None:
    side = 160
    blank = Images("blank", tuple(row_of(str(i), Image.new("RGBA", (side, side))) for i in range(8)))
    levels = {word: [Treatment(f"word={word}", 0.9)] for word in WORDS}
    crossed = cross(blank, {"text": levels}, seed=0, donors=blank)
    seen = set()
    for row in blank.rows:
        faces, paints, widths, x_from, x_to = set(), set(), [], [], []
        for word in WORDS:
            (image,) = (each.read() for each in crossed.where(image=row.key, text=word).rows)
            left, _, width, _ = box_of(image)
            faces.add(face_of(word, image))
            pixels = np.asarray(image)[np.asarray(image)[..., 3] == 255]
            colors, counts = np.unique(pixels, axis=0, return_counts=True)
            paints.add(tuple(sorted(map(tuple, colors[np.argsort(counts)[-2:]].tolist()))))
            widths.append(width)
            # the place is this many of the side - width + 1 there are, so a share of them in an interval
            room = side - width + 1
            x_from.append(left / room)
            x_to.append((left + 1) / room)
        assert len(faces) == len(paints) == 1
        assert max(widths) - min(widths) <= 4
        assert max(x_from) < min(x_to)
        seen.add((*faces, *paints))
    assert len(seen) == len(blank) and len({face for face, _ in seen}) == 3


# --- a nuisance that goes with a factor ----------------------------------------------------------------------------

TINTS = {"red": [Treatment("tint=20", 1.0)], "blue": [Treatment("tint=250", 1.0)]}


def test_a_word_has_the_same_face_ink_and_place_under_every_tint() -> None:
    # nothing of a blank picture is tinted, and the word is drawn after it: what differs would be the word's nuisance
    blank = Images("blank", tuple(row_of(str(i), Image.new("RGBA", (120, 120))) for i in range(6)))
    words = {word: [Treatment(f"word={word}", 0.9)] for word in WORDS[:2]}
    crossed = cross(blank, {"color": TINTS, "text": words}, seed=0, donors=blank)
    drawn = {(row.labels[IMAGE], row.labels["color"], row.labels["text"]): row.read().tobytes() for row in crossed.rows}
    for image in ("0", "1", "2", "3", "4", "5"):
        for word in words:
            assert drawn[image, "red", word] == drawn[image, "blue", word]
    assert len(set(drawn.values())) == 6 * 2  # each image has a word of its own kind, and each word is another


@pytest.mark.parametrize("name", ["noise", "crop", "word-neutral", "palette"])
def test_chance_depends_on_the_untreated_image_whatever_was_done_before(name: str) -> None:
    pictures = Images("noise", tuple(row_of(str(i), noise_of(i)) for i in range(4)))
    strength = INTERVENTIONS[name].preview[0]
    alone = intervene(pictures, name, strength, seed=0)
    factors = {"first": {"a": [NOTHING], "b": [NOTHING]}, "second": {"x": [Treatment(name, strength)]}}
    for row, expected in zip(cross(pictures, factors, seed=0, donors=pictures).rows, [*alone.rows] * 2, strict=True):
        assert row.read().tobytes() == expected.read().tobytes()


def test_a_crossed_image_takes_no_palette_from_itself() -> None:
    # two pictures: the only other one is the donor, also where the row's own key is no longer that of its picture
    both = Images("both", (row_of("a", solid((200, 40, 40))), row_of("b", solid((40, 40, 200)))))
    factors = {"light": {"as it is": [NOTHING]}, "colors": {"others": [Treatment("palette", 1.0)]}}
    for row, donor in zip(cross(both, factors, seed=0, donors=both).rows, ("b", "a"), strict=True):
        assert f"|{donor}:" in row.content


def test_the_content_of_a_crossed_row_names_the_key_that_chance_was_drawn_by() -> None:
    # earlier, the word's place under a tint was drawn by 'KEY|VALUE': vectors of those pictures must not be found again
    words = {"thus": [Treatment("word=thus", 0.5)]}
    once = cross(rows(2), {"color": TINTS}, seed=0, donors=rows(2))
    as_before = intervene(once, "word=thus", 0.5, seed=0)
    (now,) = (
        cross(rows(2), {"color": TINTS, "text": words}, seed=0, donors=rows(2)).where(image="000", color="red").rows
    )
    assert now.content.endswith("|drawn by 000")
    assert now.content not in {row.content for row in as_before.rows}
    (plain,) = cross(rows(1), {"what": {"none": [NOTHING]}}, seed=0, donors=rows(1)).rows
    assert plain.content == "c0"  # nothing was drawn
