from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from embprobe.errors import UsageError
from embprobe.images import Images, Row
from embprobe.images.decoding import UnreadableImage
from embprobe.interventions import intervene
from embprobe.interventions.color import srgb_to_oklab, transfer_palette
from tests.conftest import Reads, noise, row_of, solid

RED, PINK, BLUE, GREEN = (200, 30, 30), (220, 60, 60), (30, 60, 200), (30, 160, 60)
SWAPS = ("palette", "house", "object", "background")


def disc(color: tuple[int, int, int], radius: int = 12, side: int = 32) -> Image.Image:
    """A disc on nothing."""
    image = Image.new("RGBA", (side, side))
    middle = side / 2
    ImageDraw.Draw(image).ellipse((middle - radius, middle - radius, middle + radius, middle + radius), (*color, 255))
    return image


def changed(row: Row, name: str, donors: Sequence[Row], seed: int = 0, strength: float = 1) -> Image.Image:
    (after,) = intervene(Images("one", (row,)), name, strength, seed=seed, donors=Images("donors", tuple(donors))).rows
    return after.read()


def taken(row: Row, name: str, donors: Sequence[Row], *, seeds: int = 40) -> set[str]:
    """The keys of the donors whose image takes the place of the row's with one seed or another."""
    readable = [donor for donor in donors if donor.content != "torn"]
    keys = {donor.read().convert("RGBA").tobytes(): donor.key for donor in readable}
    return {keys[changed(row, name, donors, seed).convert("RGBA").tobytes()] for seed in range(seeds)}


def unread(*, key: str = "torn", **labels: str) -> Row:
    def refuse() -> Image.Image:
        raise UnreadableImage("torn in two")

    return Row(key=key, labels=labels, content="torn", source=refuse)


def concept_by_style() -> list[Row]:
    """Two concepts in three styles, every picture another colour."""
    return [
        row_of(f"{concept}/{style}", disc((40 * i + 10, 80 * j + 10, 100)), concept=concept, style=style)
        for i, concept in enumerate(("cat", "dog"))
        for j, style in enumerate(("flat", "round", "sketch"))
    ]


def test_another_house_draws_the_same_concept_in_another_style() -> None:
    for row in (rows := concept_by_style()):
        concept, style = row.labels["concept"], row.labels["style"]
        others = {f"{concept}/{other}" for other in ("flat", "round", "sketch") if other != style}
        assert taken(row, "house", rows) == others


def test_another_house_of_the_bundled_emoji(emoji: Images) -> None:
    drawings: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in emoji.rows:
        drawings[row.labels["concept"]][row.labels["style"]] = row
    few, styles = emoji.take(range(0, len(emoji), 157)), set()
    for before, after in zip(few.rows, intervene(few, "house", 1, seed=0, donors=emoji).rows, strict=True):
        found = after.read().tobytes()
        same = {style for style, row in drawings[before.labels["concept"]].items() if row.read().tobytes() == found}
        assert same and before.labels["style"] not in same
        styles |= same
    assert len(styles) == 6


def test_a_drawing_takes_the_size_and_mode_of_the_one_it_replaces() -> None:
    small = row_of("a", solid(RED, (20, 10)), concept="cat", style="flat")
    large = row_of("b", disc(BLUE, side=64), concept="cat", style="round")
    there, back = changed(small, "house", [small, large]), changed(large, "house", [small, large])
    assert (there.mode, there.size) == ("RGB", (20, 10))
    assert (back.mode, back.size) == ("RGBA", (64, 64))
    assert there.getpixel((0, 0)) == (255, 255, 255) and back.getpixel((0, 0)) == (*RED, 255)


@pytest.mark.parametrize(
    "labels", [{"concept": "cat"}, {"style": "flat"}, {"concept": "bird", "style": "flat"}, {}, {"concept": ""}]
)
def test_without_another_drawing_of_the_concept_a_row_is_refused(labels: dict[str, str]) -> None:
    with pytest.raises(UnreadableImage, match="no other drawing of the same concept in another style"):
        changed(row_of("a", disc(RED), **labels), "house", concept_by_style())


def test_a_palette_is_taken_from_any_image_but_its_own() -> None:
    rows = [row_of(name, disc(color)) for name, color in (("a", RED), ("b", BLUE), ("c", GREEN))]
    made = {transfer_palette(rows[0].read(), donor.read(), 1).tobytes(): donor.key for donor in rows}
    found = [made[changed(rows[0], "palette", rows, seed).tobytes()] for seed in range(60)]
    assert set(found) == {"b", "c"}
    assert 15 <= found.count("b") <= 45


def test_half_of_a_palette_is_half_of_the_same_palette() -> None:
    rows = [row_of(str(i), noise(i, (16, 16))) for i in range(6)]
    for row in rows:
        donors = [
            {d.key for d in rows if transfer_palette(row.read(), d.read(), share).tobytes() == made.tobytes()}
            for share in (0.5, 1)
            for made in (changed(row, "palette", rows, seed=2, strength=share),)
        ]
        assert len(donors[0]) == 1 and donors[0] == donors[1]


def test_alone_there_is_no_palette_to_take() -> None:
    row = row_of("a", disc(RED))
    with pytest.raises(UnreadableImage, match="no other image to take colours from"):
        changed(row, "palette", [row])


@pytest.mark.parametrize("name", ["palette", "house"])
def test_the_order_of_the_donors_does_not_matter(name: str) -> None:
    rows = concept_by_style()
    for row in rows:
        for seed in range(5):
            assert changed(row, name, rows, seed).tobytes() == changed(row, name, rows[::-1], seed).tobytes()


def crowd() -> list[Row]:
    """Of one style: five red discs, five red dots and fifteen blue discs that are food; and red animals."""
    food = [("red", RED, 12, 5), ("dot", RED, 3, 5), ("blue", BLUE, 12, 15)]
    rows = [
        row_of(f"{name}{i}", disc((color[0], color[1], color[2] + i), radius), category="food", style="flat")
        for name, color, radius, count in food
        for i in range(count)
    ]
    rows += [row_of(f"animal{i}", disc((200, 30, 20 + i)), category="animal", style="flat") for i in range(5)]
    return rows + [row_of(f"round{i}", disc((200, 31, 30 + i)), category="food", style="round") for i in range(5)]


@pytest.mark.parametrize(("like", "color", "radius"), [("red", PINK, 12), ("dot", PINK, 3), ("blue", BLUE, 12)])
def test_the_other_object_is_of_another_category_in_the_same_style_and_alike(
    like: str, color: tuple[int, int, int], radius: int
) -> None:
    row = row_of("mine", disc(color, radius), category="animal", style="flat")
    found = taken(row, "object", crowd(), seeds=20)
    assert {key[: len(like)] for key in found} == {like}
    assert len(found) > 2  # one of the five that are nearest


def test_objects_whose_names_share_a_word_are_no_others() -> None:
    cat = row_of("cat", disc(RED), category="animal", name="black cat")
    smiley = row_of("smiley", disc((201, 30, 30)), category="smiley", name="Cat with tears")
    bus = row_of("bus", disc(BLUE), category="vehicle", name="bus")
    assert taken(cat, "object", [cat, smiley, bus]) == {"bus"}


def test_other_objects_that_cannot_be_read_are_passed_over() -> None:
    row = row_of("mine", disc(PINK), category="animal", style="flat")
    torn = [unread(key=f"torn{i}", category="food", style="flat") for i in range(8)]
    assert {key[:3] for key in taken(row, "object", [*torn, *crowd()], seeds=10)} == {"red"}
    with pytest.raises(UnreadableImage, match="no image of another category in the same style"):
        changed(row, "object", torn)


def test_an_object_without_a_category_or_without_another_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="no label 'category', so another category cannot be told"):
        changed(row_of("a", disc(RED), style="flat"), "object", crowd())
    for style in ("round", "sketch"):  # five that are food, too, and none at all
        with pytest.raises(UnreadableImage, match="no image of another category in the same style"):
            changed(row_of("a", disc(RED), category="food", style=style), "object", crowd())


def looks(image: Image.Image) -> NDArray[np.float64]:
    """The mean colour of what is seen, in Oklab, and how much of the image it takes: ``[4]``."""
    pixels = np.asarray(image.convert("RGBA")).reshape(-1, 4) / 255
    mean = np.average(srgb_to_oklab(pixels[:, :3]), axis=0, weights=pixels[:, 3])
    return np.array([*mean, pixels[:, 3].mean()])


def test_the_other_object_of_an_emoji_is_much_more_alike_than_any(emoji: Images) -> None:
    rng = np.random.default_rng(0)
    few = emoji.where(style=["noto", "twemoji"]).take(range(0, 3140, 79))
    others: dict[str, list[Row]] = defaultdict(list)
    for row in emoji.where(style=["noto", "twemoji"]).rows:
        others[row.labels["style"]].append(row)
    mine, chosen, any_other = [], [], []
    for before, after in zip(few.rows, intervene(few, "object", 1, seed=0, donors=emoji).rows, strict=True):
        far = [r for r in others[before.labels["style"]] if r.labels["category"] != before.labels["category"]]
        mine.append(looks(before.read()))
        chosen.append(looks(after.read()))
        any_other.append(looks(far[int(rng.integers(len(far)))].read()))
    scale = np.std(any_other, axis=0)
    near, far_away = (np.linalg.norm((np.array(mine) - other) / scale, axis=1) for other in (chosen, any_other))
    assert len(near) == 40 and near.mean() < 0.5 * far_away.mean()


def test_the_other_object_of_an_emoji_is_of_another_category(emoji: Images) -> None:
    category = {row.read().tobytes(): row.labels["category"] for row in emoji.where(style="noto").rows}
    few = emoji.where(style="noto").take(range(0, 1570, 53))
    for before, after in zip(few.rows, intervene(few, "object", 1, seed=1, donors=emoji).rows, strict=True):
        assert category[after.read().tobytes()] != before.labels["category"]


def test_behind_an_object_everything_changes_and_the_object_does_not(emoji: Images) -> None:
    few = emoji.take(range(0, len(emoji), 499))
    for strength in (0.5, 1):
        for before, after in zip(few.rows, intervene(few, "background", strength, seed=0).rows, strict=True):
            old, new = np.asarray(before.read()), np.asarray(after.read())
            solid_parts, nothing = old[..., 3] == 255, old[..., 3] == 0
            assert np.array_equal(new[solid_parts], old[solid_parts])
            assert (new[..., 3] == 255).all()
            assert np.abs(new[nothing][:, :3].astype(int) - 255).mean() > 20 * strength
            assert new[nothing][:, :3].std(axis=0).max() > 5 * strength  # a texture, no plain colour


def test_half_of_a_background_is_half_way_from_white() -> None:
    row = row_of("a", disc(RED, side=64))
    half, whole = (np.asarray(changed(row, "background", [row], strength=s)).astype(float) for s in (0.5, 1))
    nothing = np.asarray(row.read())[..., 3] == 0
    assert np.abs(half[nothing] - (whole[nothing] + 255) / 2).max() <= 1


def test_the_same_background_alone_is_the_control(emoji: Images) -> None:
    few = emoji.take(range(0, len(emoji), 997))
    pairs = [intervene(few, name, 1, seed=4).rows for name in ("background", "background/alone")]
    for before, there, alone in zip(few.rows, *pairs, strict=True):
        old, new, control = (np.asarray(row.read()) for row in (before, there, alone))
        nothing = old[..., 3] == 0
        assert np.array_equal(control[nothing], new[nothing])
        assert not np.array_equal(control[~nothing], new[~nothing])
        # and where the object was there is texture: as even inside as outside
        if (~nothing).sum() > 500 and nothing.sum() > 500:
            inside, outside = (control[part][:, :3].astype(float) for part in (~nothing, nothing))
            assert np.abs(inside.mean(axis=0) - outside.mean(axis=0)).max() < 60


def test_backgrounds_differ_from_row_to_row_and_seed_to_seed() -> None:
    rows = [row_of(str(i), disc(RED)) for i in range(6)]
    made = [changed(row, "background", rows, seed).tobytes() for row in rows for seed in range(3)]
    assert len(set(made)) == 18


def test_a_named_background_is_the_same_behind_every_image_and_for_every_seed() -> None:
    rows = [row_of(str(i), disc(RED)) for i in range(3)]
    made = {
        name: {changed(row, f"background={name}", rows, seed).tobytes() for row in rows for seed in range(2)}
        for name in ("brick", "grass", "gravel")
    }
    assert [len(images) for images in made.values()] == [1, 1, 1]
    assert len(set.union(*made.values())) == 3


def test_a_background_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="'background=' takes one of brick, grass, gravel, not 'sand'"):
        changed(row_of("a", disc(RED)), "background=sand", [])


@pytest.mark.parametrize("image", [solid(RED), disc(RED).convert("RGB"), solid(RED).convert("RGBA")])
@pytest.mark.parametrize("name", ["background", "background/alone"])
def test_an_image_without_transparency_has_no_background_to_swap(name: str, image: Image.Image) -> None:
    with pytest.raises(UnreadableImage, match="no transparent background that could be swapped"):
        changed(row_of("a", image), name, [])


@pytest.mark.parametrize("name", SWAPS)
def test_a_swap_is_the_same_whenever_it_is_read_and_whoever_else_is_there(name: str, emoji: Images) -> None:
    donors = emoji.where(style=["noto", "openmoji"])
    few = donors.where(style="noto" if name == "object" else "openmoji").take(range(0, 1570, 261))
    together = [row.read().tobytes() for row in intervene(few, name, 1, seed=7, donors=donors).rows]
    backwards = intervene(few.take(range(len(few) - 1, -1, -1)), name, 1, seed=7, donors=donors)
    assert [row.read().tobytes() for row in reversed(backwards.rows)] == together
    another_seed = [row.read().tobytes() for row in intervene(few, name, 1, seed=8, donors=donors).rows]
    assert (another_seed == together) == (name == "house")  # of two houses the other one is the only choice


@pytest.mark.parametrize("name", ["palette", "house", "object"])
def test_another_donor_behind_the_same_key_is_another_content(name: str) -> None:
    def fingerprint(donor: Image.Image) -> str:
        mine = row_of(
            "mine", disc(RED), concept="cat", style="flat" if name == "object" else "round", category="animal"
        )
        other = row_of("other", donor, concept="cat", style="flat", category="food")
        return intervene(Images("one", (mine,)), name, 1, seed=0, donors=Images("d", (mine, other))).fingerprint

    assert fingerprint(disc(BLUE)) == fingerprint(disc(BLUE)) != fingerprint(disc(GREEN))


@pytest.mark.parametrize("name", SWAPS)
def test_nothing_is_read_until_the_image_is(name: str, reads: Reads) -> None:
    labels = {"concept": list("aabb"), "style": list("xyxy"), "category": list("ppqq")}
    donors = reads(4, labels=labels)
    rows = intervene(donors, name, 1, seed=0).rows
    assert reads.keys == []
    if name != "background":  # noise is opaque
        rows[0].read()
        assert "000" in reads.keys and len(reads.keys) > 1
