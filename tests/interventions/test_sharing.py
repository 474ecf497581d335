"""What the changes of one picture share: done once in a pass over it, and the same pixels as without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image

from embprobe.images import Images, Row
from embprobe.images.decoding import UnreadableImage
from embprobe.interventions import intervene, registry, sharing
from embprobe.interventions.base import Edit, Intervention, Planner, Rng, SamePlan, matched, pixels
from embprobe.interventions.sharing import changing, once, one_picture, recall, remember
from embprobe.interventions.treatments import Treatment, cross, repeat
from tests.conftest import noise

MADE: Counter[str] = Counter()


def darker(image: Image.Image, strength: float, rng: Rng) -> Image.Image:
    MADE["darker"] += 1
    return image.point(lambda level: round(level * (1 - strength)))


def speckled(image: Image.Image, strength: float, rng: Rng) -> Image.Image:
    MADE["speckled"] += 1
    values = np.asarray(image).astype(np.float64)
    return Image.fromarray((values + 255 * strength * rng.random(values.shape)).clip(0, 255).astype(np.uint8))


def as_dark(original: Image.Image, changed: Image.Image, rng: Rng) -> Image.Image:
    MADE["matched"] += 1
    mean = round(float(np.asarray(changed).mean()) + rng.random())
    return Image.new(original.mode, original.size, (mean,) * 3)


def _intervention(name: str, planner: Planner) -> Intervention:
    return Intervention(name, "nuisance", "share", (0, 1), (1,), planner, {"grey": matched(planner, as_dark)})


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    MADE.clear()
    for name, planner in (("darker", pixels(darker)), ("speckled", pixels(speckled))):
        monkeypatch.setitem(registry.INTERVENTIONS, name, _intervention(name, planner))


def one(content: str = "c") -> Images:
    picture = noise(1, (12, 8))
    return Images("one", (Row("k", {"name": "dog", "category": "animal"}, content, picture.copy),))


def read(sets: Sequence[Images]) -> list[bytes]:
    """The pixels of every row of some sets, or why it has none."""

    def pixels_of(row: Row) -> bytes:
        try:
            return row.read().tobytes()
        except UnreadableImage as reason:
            return str(reason).encode()

    return [pixels_of(row) for images in sets for row in images.rows]


def shared(sets: Sequence[Images]) -> list[bytes]:
    """The same in a pass over one picture."""
    with one_picture():
        return read(sets)


@pytest.mark.parametrize("name", ["darker", "speckled"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_control_takes_what_its_intervention_has_made(name: str, order: int) -> None:
    sets = [intervene(one(), each, 0.5, seed=0) for each in (name, f"{name}/grey")[::order]]
    alone = read(sets)
    assert (MADE[name], MADE["matched"]) == (2, 1)
    MADE.clear()
    assert shared(sets) == alone
    assert (MADE[name], MADE["matched"]) == (1, 1)


def test_another_strength_seed_or_image_is_made_anew() -> None:
    rows = repeat(one(), 2)  # two keys: a random change differs
    sets = [intervene(rows, "speckled", size, seed=seed) for size, seed in ((0.5, 0), (0.4, 0), (0.5, 1))]
    alone = read(sets)
    MADE.clear()
    assert shared(sets) == alone and len(set(alone)) == 6
    assert MADE["speckled"] == 6


def test_rows_of_other_keys_share_what_draws_nothing_at_random() -> None:
    rows = repeat(one(), 3)
    sets = [intervene(rows, "darker", 0.5, seed=0), intervene(rows, "darker/grey", 0.5, seed=1)]
    alone = read(sets)
    MADE.clear()
    assert shared(sets) == alone
    assert (MADE["darker"], MADE["matched"]) == (1, 3)


def test_a_hue_that_is_drawn_for_each_row_is_not_shared() -> None:
    tinted = intervene(repeat(one(), 2), "tint", 1, seed=0)
    first, second = shared([tinted])
    assert first != second and [first, second] == read([tinted])


def test_treatments_in_turn_make_the_first_once() -> None:
    words = {word: [Treatment(f"word={word}", 0.9)] for word in ("HEART", "CLOCK", "WATER")}
    shades = {"dark": [Treatment("darker", 0.5)], "light": [Treatment("darker", 0.1)]}
    design = cross(one(), {"shade": shades, "word": words}, seed=0, donors=one())
    alone = read([design])
    assert MADE["darker"] == 6
    MADE.clear()
    assert shared([design]) == alone and len(set(alone)) == 6
    assert MADE["darker"] == 2


def test_a_control_of_another_kind_is_not_taken_for_the_intervention() -> None:
    sets = [intervene(one(), f"word=HEART{ink}", 0.9, seed=0) for ink in ("", "/shuffled", "/box", "/glyphs", "")]
    alone = read(sets)
    assert shared(sets) == alone and len(set(alone)) == 4


COLOURS = (
    ("hue", 60.0),
    ("hue/lightness", 60.0),
    ("hue", 120.0),
    ("tint=20", 1.0),
    ("greyscale", 1.0),
    ("palette", 1.0),
)
STYLES = (("oil", 0.02), ("oil/blur", 0.02), ("oil", 0.04), ("posterize/blur", 6.0), ("posterize", 6.0))
WORDS = (("word-neutral", 0.5), ("word-neutral/shuffled", 0.5), ("word-neutral", 0.8), ("word", 0.5), ("word/box", 0.5))


@pytest.mark.parametrize("changes", [COLOURS, STYLES, WORDS])
@pytest.mark.parametrize("start", [5, 4000])
def test_ours_make_the_same_pixels_in_one_pass(changes: Sequence[tuple[str, float]], start: int, emoji: Images) -> None:
    donors = emoji.take(range(start, start + 40, 10))
    sets = [intervene(donors.take([1]), name, strength, seed=3, donors=donors) for name, strength in changes]
    assert shared(sets) == read(sets)


def test_a_change_that_draws_into_its_image_spoils_nothing() -> None:
    def scratched(image: Image.Image, strength: float, rng: Rng) -> Image.Image:
        image.paste((9, 9, 9), (0, 0, 6, 8))
        return image

    def plan(strength: float) -> Edit:
        return Edit(lambda image, rng: scratched(image, strength, rng))

    dark = intervene(one(), "darker", 0.5, seed=0)
    both = dark.map("scratched", lambda row: ("scratched", lambda image: scratched(image, 1, np.random.default_rng())))
    assert isinstance(SamePlan(plan)(dark.rows[0], 1, np.random.default_rng()), Edit)
    assert shared([both, dark, both]) == read([both, dark, both])


# --- what is remembered ------------------------------------------------------------------------------------------


def counted(made: list[str], name: str, value: object) -> Callable[[], object]:
    def make() -> object:
        made.append(name)
        return value

    return make


def test_nothing_is_remembered_outside_of_a_pass_nor_after_it() -> None:
    made: list[str] = []
    image, values = noise(1), np.zeros(3)
    for _ in range(2):
        once(image, "p", counted(made, "outside", values))
    for _ in range(2):
        with one_picture(), changing(image, "a"):
            once(image, "p", counted(made, "inside", values))
            once(image, "p", counted(made, "again", values))
    assert made == ["outside", "outside", "inside", "inside"]
    assert sharing._here.made is None and sharing._here.image is None


def test_of_another_image_than_the_one_that_is_changed_nothing_is_remembered() -> None:
    made: list[str] = []
    image, donor = noise(1), noise(2)
    with one_picture(), changing(image, "a"):
        for _ in range(2):
            once(donor, "p", counted(made, "donor", np.zeros(3)))
        with changing(donor, "b"):  # a donor that is changed while the picture is
            once(donor, "p", counted(made, "donor", np.zeros(3)))
        once(image, "p", counted(made, "image", np.zeros(3)))
    assert made == ["donor", "donor", "donor", "image"]


def test_what_was_remembered_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "MOST", 2_000)
    image = noise(1)
    with one_picture(), changing(image, "a"):
        for i in range(5):
            remember(image, i, np.zeros(100))  # 800 bytes: two fit
            assert sharing._here.size <= 2_000
        kept = [i for i in range(5) if recall(image, i) is not None]
        remember(image, "large", np.zeros(1_000))
        assert kept == [3, 4] and recall(image, 4) is None
        assert recall(image, "large") is not None  # the newest stays, whatever its size
