from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from embprobe.errors import EmbprobeError
from embprobe.images import Images, Row
from embprobe.interventions.text import draw_word
from embprobe.pretraining.data import SIDE, TrainingImages

WORDS = ("alpha", "bravo", "delta", "echo", "golf", "hotel", "india", "lima", "mike", "oscar", "papa", "tango")


def drawing(concept: int, style: int) -> Row:
    """One colour, from which concept and style can be read off again; the left eighth is black."""
    pixels = np.full((SIDE, SIDE, 4), (10 + concept, 100 + style, 50, 255), dtype=np.uint8)
    pixels[:, : SIDE // 8, :3] = 0
    labels = {"concept": f"c{concept}", "name": f"{WORDS[concept]} thing", "category": "Letters"}
    return Row(key=f"{concept}/{style}", labels=labels, content="x", source=lambda: Image.fromarray(pixels))


def letters(styles: int = 3) -> Images:
    return Images("letters", tuple(drawing(c, s) for c in range(len(WORDS)) for s in range(styles)))


def training(word_rate: float) -> TrainingImages:
    return TrainingImages(letters(), word_rate=word_rate)


def quoted(caption: str) -> str | None:
    found = re.search(r'"(.*)"', caption)
    return found and found[1]


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    one, other = training(0.5), training(0.5)
    for step in (9, 3, 5, 3):
        other.batch(8, seed=0, step=step)  # what was asked before must not matter
    first, again = one.batch(8, seed=0, step=5), other.batch(8, seed=0, step=5)
    assert torch.equal(first.images, again.images) and first.captions == again.captions
    for seed, step in ((0, 6), (1, 5), (5, 0)):
        assert not torch.equal(one.batch(8, seed=seed, step=step).images, first.images)


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
        assert batch.captions == [f"{WORDS[concept]} thing, letters" for concept in concepts]


def test_every_drawing_of_a_concept_is_as_frequent_and_half_are_mirrored() -> None:
    images = training(0)
    batches = [images.batch(12, seed=1, step=step).images for step in range(100)]
    styles = torch.cat([batch[:, 1, 0, SIDE // 2] for batch in batches]) - 100
    mirrored = torch.cat([batch[:, 0, 0, 0] != 0 for batch in batches])
    # 1,200 draws: standard deviation of a third sqrt(2/9 / 1200) = 0.0136, of a half sqrt(1/4 / 1200) = 0.0144
    for style in range(3):
        assert (styles == style).float().mean().item() == pytest.approx(1 / 3, abs=4 * 0.0136)
    assert mirrored.float().mean().item() == pytest.approx(1 / 2, abs=4 * 0.0144)


@pytest.mark.parametrize("word_rate", [0.0, 0.3, 1.0])
def test_the_share_of_images_with_a_word_is_the_word_rate(word_rate: float) -> None:
    images = training(word_rate)
    captions = [text for step in range(80) for text in images.batch(12, seed=0, step=step).captions]
    share = np.mean([quoted(text) is not None for text in captions])
    # 960 draws: standard deviation sqrt(0.3 * 0.7 / 960) = 0.0148
    assert share == pytest.approx(word_rate, abs=4 * 0.0148 if word_rate == 0.3 else 0)


def test_an_image_has_a_word_exactly_if_its_caption_quotes_one() -> None:
    batch = training(0.5).batch(12, seed=0, step=0)
    colors = [len(image.flatten(1).unique(dim=1).T) for image in batch.images]  # two without a word
    assert [count > 2 for count in colors] == [quoted(text) is not None for text in batch.captions]
    assert 0 < sum(count > 2 for count in colors) < 12


def test_the_quoted_word_is_the_one_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def listening(image: Image.Image, word: str, **how: Any) -> Image.Image:
        drawn.append(word)
        return draw_word(image, word, **how)

    monkeypatch.setattr("embprobe.pretraining.data.draw_word", listening)
    captions = [text for step in range(5) for text in training(0.5).batch(12, seed=0, step=step).captions]
    assert [quoted(text) for text in captions if quoted(text)] == drawn
    assert set(drawn) <= {*(word.upper() for word in WORDS), "THING"} and len(set(drawn)) > 5


def test_the_word_does_not_follow_the_concept() -> None:
    # 13 words, so by chance 1 of 13 says what its image shows; 600 draws: 4 * sqrt(0.0769 * 0.923 / 600) = 0.044
    images = training(1)
    captions = [text for step in range(50) for text in images.batch(12, seed=0, step=step).captions]
    own = [str(quoted(text)).lower() == text.split()[0] for text in captions]
    assert np.mean(own) == pytest.approx(1 / 13, abs=0.044)


def test_words_of_the_emoji_are_short_and_no_colors(emoji: Images) -> None:
    few = emoji.where(split="train", style="twemoji")
    hearts = [i for i, name in enumerate(few.label("name")) if name.endswith(("heart", "circle", "with cane"))]
    words = TrainingImages(few.take(hearts), word_rate=1).words
    assert {"HEART"} <= set(words)
    assert all(re.fullmatch("[A-Z]{3,5}", word) for word in words)
    assert not {"RED", "GREEN", "BLUE", "WHITE", "BLACK", "BROWN", "PINK", "GREY"} & set(words)


def test_a_larger_drawing_is_scaled_without_dark_fringes() -> None:
    # red on transparent black: averaged without weighing by alpha, the edge would be darker than the drawing
    pixels = np.zeros((2 * SIDE, 2 * SIDE, 4), np.uint8)
    pixels[:, SIDE // 2 + 1 :] = (255, 0, 0, 255)
    labels = {"concept": "a", "name": "alpha", "category": "Letters"}
    row = Row(key="a", labels=labels, content="x", source=lambda: Image.fromarray(pixels))
    image = TrainingImages(Images("one", (row,)), word_rate=0).batch(1, seed=0, step=0).images[0]
    seen = image[3] > 16
    assert (image[0][seen] > 240).all() and ((image[3] > 16) & (image[3] < 240)).any()


@pytest.mark.parametrize("missing", ["concept", "name", "category"])
def test_images_without_a_label_that_captions_need_are_an_error(missing: str) -> None:
    row = drawing(0, 0)
    labels = {name: value for name, value in row.labels.items() if name != missing}
    images = Images("bare", (Row(key="a", labels=labels, content="x", source=row.source),))
    with pytest.raises(EmbprobeError, match=f"'{missing}'"):
        TrainingImages(images, word_rate=0)
