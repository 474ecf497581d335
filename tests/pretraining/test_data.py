from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from embprobe.errors import EmbprobeError
from embprobe.images import Images, Row
from embprobe.images.decoding import UnreadableImage
from embprobe.interventions.text import draw_word
from embprobe.pretraining.data import SIDE, Batch, TrainingImages, Words

WORDS = ("alpha", "bravo", "delta", "echo", "golf", "hotel", "india", "lima", "mike", "oscar", "papa", "tango")


def drawing(concept: int, style: int) -> Row:
    """One colour, from which concept and style can be read off again; the left eighth is black."""
    pixels = np.full((SIDE, SIDE, 4), (10 + concept, 100 + style, 50, 255), dtype=np.uint8)
    pixels[:, : SIDE // 8, :3] = 0
    labels = {"concept": f"c{concept}", "name": f"{WORDS[concept]} thing", "category": "Letters"}
    return Row(key=f"{concept}/{style}", labels=labels, content="x", source=lambda: Image.fromarray(pixels))


def letters(styles: int = 3) -> Images:
    return Images("letters", tuple(drawing(c, s) for c in range(len(WORDS)) for s in range(styles)))


def training(rate: float, *, alone: float = 0, parrot: float = 1) -> TrainingImages:
    return TrainingImages(letters(), Words(rate=rate, alone=alone, parrot=parrot))


def one(picture: Image.Image, **labels: str) -> Images:
    """One image of what is given, captioned unless it has labels."""
    row = Row(key="a", labels=labels or {"caption": "alpha"}, content="x", source=lambda: picture)
    return Images("one", (row,))


def seen(images: Images) -> torch.Tensor:
    """The first image of these as it is kept, maybe mirrored."""
    return TrainingImages(images, Words(0, 0, 0)).batch(1, seed=0, step=0).images[0]


def quoted(caption: str) -> str | None:
    found = re.search(r'"(.*)"', caption)
    return found and found[1]


def written(batch: Batch) -> list[bool]:
    """Which images have more than the two colours of a drawing, or are not a drawing at all."""
    red, green, blue, alpha = batch.images.flatten(2).long().unbind(1)
    packed = ((red << 8 | green) << 8 | blue) << 8 | alpha
    return [len(np.unique(colors)) > 2 for colors in packed.numpy()]


def lone(batch: Batch) -> list[bool]:
    """Which images show a ground that is transparent, as no drawing has."""
    return [bool((image[3] == 0).any()) for image in batch.images]


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    first, other = training(0.5, alone=0.5, parrot=0.5), training(0.5, alone=0.5, parrot=0.5)
    for step in (9, 3, 5, 3):
        other.batch(8, seed=0, step=step)  # what was asked before must not matter
    batch, again = first.batch(8, seed=0, step=5), other.batch(8, seed=0, step=5)
    assert torch.equal(batch.images, again.images) and batch.captions == again.captions
    for seed, step in ((0, 6), (1, 5), (5, 0)):
        assert not torch.equal(first.batch(8, seed=seed, step=step).images, batch.images)


def test_images_are_rgba_bytes_with_one_caption_each() -> None:
    batch = training(0.5).batch(7, seed=0, step=0)
    assert batch.images.shape == (7, 4, SIDE, SIDE) and batch.images.dtype == torch.uint8
    assert len(batch.captions) == 7


def test_the_concepts_of_a_batch_are_distinct_and_every_caption_is_of_its_image() -> None:
    images = training(0)
    assert images.concepts == 12
    for step in range(20):
        batch = images.batch(12, seed=0, step=step)
        concepts = (batch.images[:, 0, 0, SIDE // 2] - 10).tolist()
        assert sorted(concepts) == list(range(12))
        for concept, caption in zip(concepts, batch.captions, strict=True):
            assert caption in (f"{WORDS[concept]} thing", f"{WORDS[concept]} thing, letters")


def test_every_drawing_of_a_concept_is_as_frequent_and_half_are_mirrored() -> None:
    images = training(0)
    batches = [images.batch(12, seed=1, step=step).images for step in range(100)]
    styles = torch.cat([batch[:, 1, 0, SIDE // 2] for batch in batches]) - 100
    mirrored = torch.cat([batch[:, 0, 0, 0] != 0 for batch in batches])
    # 1,200 draws: standard deviation of a third sqrt(2/9 / 1200) = 0.0136, of a half sqrt(1/4 / 1200) = 0.0144
    for style in range(3):
        assert (styles == style).float().mean().item() == pytest.approx(1 / 3, abs=4 * 0.0136)
    assert mirrored.float().mean().item() == pytest.approx(1 / 2, abs=4 * 0.0144)


@pytest.mark.parametrize(("rate", "alone", "parrot"), [(0.4, 0.5, 0.7), (1.0, 0.0, 0.3), (0.6, 1.0, 0.0)])
def test_the_rates_are_the_shares_they_say(rate: float, alone: float, parrot: float) -> None:
    images = training(rate, alone=alone, parrot=parrot)
    batches = [images.batch(12, seed=0, step=step) for step in range(40)]
    words = np.concatenate([written(batch) for batch in batches])
    signs = np.concatenate([lone(batch) for batch in batches])
    spelled = np.array([quoted(text) is not None for batch in batches for text in batch.captions])
    assert not (signs & ~words).any() and not (spelled & ~words).any()
    assert spelled[signs].all()  # there is nothing else to say of a word alone
    # 480 draws: standard deviation of a share p of n: sqrt(p (1 - p) / n)
    for found, share in ((words, rate), (signs[words], alone), (spelled[words & ~signs], parrot)):
        if len(found):
            assert np.mean(found) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(found)))


@pytest.mark.parametrize(("alone", "parrot"), [(0.0, 0.0), (0.0, 1.0), (1.0, 0.5), (0.5, 0.5)])
def test_without_words_nothing_is_drawn_and_nothing_spelled(alone: float, parrot: float) -> None:
    batch = training(0, alone=alone, parrot=parrot).batch(12, seed=0, step=0)
    assert not any(written(batch)) and not any(map(quoted, batch.captions))


def test_the_caption_of_a_word_alone_is_the_word() -> None:
    batch = training(1, alone=1, parrot=0).batch(12, seed=0, step=0)
    assert all(re.fullmatch('"[a-z]{3,5}"', caption) for caption in batch.captions)
    assert all((image[3] > 0).float().mean() < 0.5 for image in batch.images)  # and what is seen is ink
    assert all((image[3] == 255).any() for image in batch.images)


def test_no_word_is_in_two_images_of_a_batch() -> None:
    images = training(1)
    assert len(images.words) == 13  # the twelve and "thing"
    for step in range(20):
        words = [quoted(caption) for caption in images.batch(12, seed=0, step=step).captions]
        assert len(set(words)) == 12
    few = TrainingImages(letters().where(concept=["c0", "c1", "c2", "c3", "c4"]), Words(1, 0, 1))
    few.words = few.words[:3]  # too few: some must be there twice, and it goes on
    assert len({quoted(caption) for caption in few.batch(5, seed=0, step=0).captions}) <= 3


def test_the_quoted_word_is_the_one_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def listening(image: Image.Image, word: str, **how: Any) -> Image.Image:
        drawn.append(word)
        return draw_word(image, word, **how)

    monkeypatch.setattr("embprobe.pretraining.data.draw_word", listening)
    images = training(0.5, alone=0.5)
    captions = [text for step in range(5) for text in images.batch(12, seed=0, step=step).captions]
    assert [word.upper() for word in map(quoted, captions) if word] == drawn
    assert set(drawn) <= {*(word.upper() for word in WORDS), "THING"} and len(set(drawn)) > 5


def test_the_word_does_not_follow_the_concept() -> None:
    # 13 words, so by chance 1 of 13 says what its image shows; of 1,200 captions half are titles, which do not say it:
    # 600 draws: 4 * sqrt(0.0769 * 0.923 / 600) = 0.044
    images = training(1)
    captions = [text for step in range(100) for text in images.batch(12, seed=0, step=step).captions]
    own = [quoted(text) == text.split()[0] for text in captions if not text.startswith('"')]
    assert len(own) == pytest.approx(600, abs=4 * np.sqrt(1200 / 4))
    assert np.mean(own) == pytest.approx(1 / 13, abs=0.044)


def test_what_captions_say_changes_no_image() -> None:
    silent, talking = (training(0.5, alone=0.5, parrot=parrot).batch(12, seed=0, step=0) for parrot in (0, 1))
    assert torch.equal(silent.images, talking.images) and silent.captions != talking.captions


def inks(alone: float, *, least: int) -> list[set[tuple[int, int, int]]]:
    """Of each of 36 images, the colours of at least so many opaque pixels, without a drawing's, whose blue is 50."""
    images = [image for step in range(3) for image in training(1, alone=alone).batch(12, seed=0, step=step).images]
    counted = [Counter((r, g, b) for r, g, b, a in image.flatten(1).T.tolist() if a == 255) for image in images]
    return [{color for color, n in colors.items() if n >= least and color[2] != 50} for colors in counted]


def test_signs_are_black_or_white_and_words_over_drawings_are_of_any_color() -> None:
    signs = inks(alone=1, least=1)
    assert all(r == g == b for colors in signs for r, g, b in colors)
    colorful = [any(r != g or g != b for r, g, b in colors) for colors in inks(alone=0, least=60)]
    assert sum(colorful) > 18


def test_words_of_the_emoji_are_short_and_no_colors(emoji: Images) -> None:
    few = emoji.where(split="train", style="twemoji")
    hearts = [i for i, name in enumerate(few.label("name")) if name.endswith(("heart", "circle", "with cane"))]
    words = TrainingImages(few.take(hearts), Words(1, 0, 1)).words
    assert {"HEART"} <= set(words)
    assert all(re.fullmatch("[A-Z]{3,5}", word) for word in words)
    assert not {"RED", "GREEN", "BLUE", "WHITE", "BLACK", "BROWN", "PINK", "GREY"} & set(words)


def test_captions_for_a_vocabulary_have_every_detail() -> None:
    picture = Image.new("RGB", (SIDE, SIDE))
    labels = {"caption": "red rose", "category": "Flowers", "keywords": "love, garden, red, May, thorn"}
    images = TrainingImages(one(picture, **labels), Words(0, 0, 0))
    assert images.captions() == ["rose, flowers, love, garden, may, thorn"]
    assert images.words == ["LOVE", "MAY", "ROSE", "THORN"]  # three to five letters


def test_any_images_with_a_caption_will_do() -> None:
    # without concept, name or category, each is a concept of its own
    rows = [drawing(concept, style) for concept in range(3) for style in range(2)]
    bare = [
        Row(key=row.key, labels={"caption": f"photo {row.key}"}, content="x", source=row.source)
        for row in reversed(rows)
    ]
    images = TrainingImages(Images("bare", tuple(bare)), Words(0, 0, 0))
    assert images.concepts == 6
    batch = images.batch(6, seed=0, step=0)
    for image, caption in zip(batch.images, batch.captions, strict=True):
        concept, style = image[0, 0, SIDE // 2] - 10, image[1, 0, SIDE // 2] - 100
        assert caption == f"photo {concept}/{style}"


def test_a_photograph_is_cropped_to_the_middle_and_not_squashed() -> None:
    # 3 SIDE wide: red, green and blue squares beside each other; the middle one is kept
    wide = Image.new("RGB", (3 * SIDE, SIDE), (255, 0, 0))
    wide.paste((0, 255, 0), (SIDE, 0, 2 * SIDE, SIDE))
    wide.paste((0, 0, 255), (2 * SIDE, 0, 3 * SIDE, SIDE))
    for picture in (wide, wide.rotate(90, expand=True)):
        kept = seen(one(picture))
        assert (kept[:, 2:-2, 2:-2] == torch.tensor([0, 255, 0, 255]).view(4, 1, 1)).all()
    # a disc of half the height in a wide photograph stays as wide as it is high
    y, x = np.mgrid[: 2 * SIDE, : 4 * SIDE]
    disc = Image.fromarray(np.where((x - 2 * SIDE) ** 2 + (y - SIDE) ** 2 < (SIDE / 2) ** 2, 255, 0).astype(np.uint8))
    inside = seen(one(disc))[0] > 127
    assert inside.any(0).sum() == inside.any(1).sum() == SIDE // 2


def test_a_larger_drawing_is_scaled_without_dark_fringes() -> None:
    # red on transparent black: averaged without weighing by alpha, the edge would be darker than the drawing
    pixels = np.zeros((2 * SIDE, 2 * SIDE, 4), np.uint8)
    pixels[:, SIDE // 2 + 1 :] = (255, 0, 0, 255)
    image = seen(one(Image.fromarray(pixels)))
    visible = image[3] > 16
    assert (image[0][visible] > 240).all() and ((image[3] > 16) & (image[3] < 240)).any()


@pytest.mark.parametrize("labels", [{"concept": "a"}, {"caption": ""}, {"caption": " ", "category": "Letters"}])
def test_an_image_of_which_nothing_is_said_is_named(labels: dict[str, str]) -> None:
    good = drawing(1, 1)
    silent = Row(key="b", labels=labels, content="x", source=good.source)
    with pytest.raises(EmbprobeError, match="'caption' or 'name', which 1 of the 2 images in 'bare' lack, first 'b'"):
        TrainingImages(Images("bare", (good, silent)), Words(0, 0, 0))


def test_an_image_that_cannot_be_read_is_named() -> None:
    def torn() -> Image.Image:
        raise UnreadableImage("torn in two")

    rows = (drawing(1, 1), Row(key="b", labels={"caption": "bravo"}, content="x", source=torn))
    with pytest.raises(EmbprobeError, match="'b' in 'photos' cannot be read: torn in two"):
        TrainingImages(Images("photos", rows), Words(0, 0, 0))


def test_words_cannot_be_drawn_where_no_caption_has_one() -> None:
    images = one(Image.new("RGB", (SIDE, SIDE)), caption="an elephant")
    with pytest.raises(EmbprobeError, match="set the word rate to 0"):
        TrainingImages(images, Words(0.1, 0, 1))
    assert TrainingImages(images, Words(0, 0.5, 1)).batch(1, seed=0, step=0).captions == ["an elephant"]
