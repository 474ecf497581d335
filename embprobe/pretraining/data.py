"""Draw the training images of a step: drawings, words in them and captions, the same for every objective."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row
from embprobe.interventions.text import draw_word
from embprobe.pretraining.captions import COLOR_WORDS, caption, details, draw_details, subject_of
from embprobe.system.text import visible

SIDE = 64
"""Side at which drawings are kept in memory, a third above the encoder's input so that crops lose little."""
WORDS = 32
"""The number of different words that are drawn: those most frequent in captions, so that each is seen often enough."""
WORD_SHARES = (0.7, 0.8, 0.9, 1.0)
"""Widths of a rendered word, as shares of the image's. Few values, because fitting a font size takes longest."""
SIGN_COLORS = ((0, 0, 0), (255, 255, 255))
"""Words that stand alone are printed in one of these; those over drawings are in any colour."""
TITLES = 0.5
"""Of the captions that spell a word over a drawing, the share with nothing but the word, as of a poster or a cover."""


@dataclass(frozen=True)
class Words:
    """The rates, 0 to 1, of words in the images and in their captions.

    ``rate`` is the share of the images with a word, ``alone`` the share of these with nothing but the word, as a sign,
    and ``parrot`` the share of the others whose captions spell it (Lin et al. 2023, "Parrot Captions Teach CLIP to Spot
    Text"); a share ``TITLES`` of these captions is the word alone. The caption of a word without a drawing always
    spells it.
    """

    rate: float
    alone: float
    parrot: float


@dataclass(frozen=True)
class Batch:
    """The training images of one step, uint8 RGBA ``[n, 4, SIDE, SIDE]``, and their ``n`` captions."""

    images: Tensor
    captions: list[str]


class TrainingImages:
    """Images in memory (16 kB each) from which the batch of any step is drawn by the seed and the step's number alone.

    That makes a run resumable at any step and gives every objective the same images in the same order. An image needs
    a ``caption`` or a ``name``; those with the same ``concept`` are never in one batch, for their captions would fit
    each other's images.

    Args:
        images: The training images; all are read at once.
        words: How often words are drawn into them.

    Raises:
        EmbprobeError: An image lacks a caption or cannot be read, or captions have no word to draw.
    """

    def __init__(self, images: Images, words: Words) -> None:
        if uncaptioned := [row.key for row in images.rows if not subject_of(row.labels)]:
            raise EmbprobeError(
                f"A training image needs a label 'caption' or 'name', which {len(uncaptioned):,} of the "
                f"{len(images):,} images in '{images.name}' lack, first '{visible(uncaptioned[0])}'."
            )
        self._rates = words
        self._pixels = torch.stack([_rgba(row, images.name) for row in images.rows])
        self._subjects = [subject_of(row.labels) for row in images.rows]
        self._details = [details(row.labels) for row in images.rows]
        concepts: dict[str, list[int]] = {}
        for position, row in enumerate(images.rows):
            concepts.setdefault(row.labels.get("concept", row.key), []).append(position)
        self._drawings = list(concepts.values())
        counts = Counter(word for text in self.captions() for word in re.findall(r"[A-Z]+", text.upper()))
        by_count = sorted(filter(_renderable, counts), key=lambda word: (-counts[word], word))
        self.words = sorted(by_count[:WORDS])
        if words.rate > 0 and not self.words:
            raise EmbprobeError("No caption has a word of three to five letters to draw; set the word rate to 0.")

    @property
    def concepts(self) -> int:
        """The number of distinct concepts; a batch cannot be larger."""
        return len(self._drawings)

    def captions(self) -> list[str]:
        """Return every image's longest caption, without a rendered word; a vocabulary is made from them."""
        return [caption(subject, extras) for subject, extras in zip(self._subjects, self._details, strict=True)]

    def batch(self, size: int, *, seed: int, step: int) -> Batch:
        """Draw ``size`` distinct concepts, one random image each, half of them mirrored, some with or only a word.

        No word is in two images of a batch, as long as there are enough words. Captions have a random generator of
        their own, so that their choices change no image.
        """
        rng, caption_rng = np.random.default_rng([seed, step, 0]), np.random.default_rng([seed, step, 1])
        chosen = [int(rng.choice(self._drawings[c])) for c in rng.choice(self.concepts, size, replace=False)]
        pixels = self._pixels[chosen]
        mirrored = torch.from_numpy(rng.random(size) < 0.5)
        pixels[mirrored] = pixels[mirrored].flip(-1)
        rates = self._rates
        alone = rng.random(size) < rates.alone
        words = self._words(rng.random(size) < rates.rate, rng)
        quoted, title = caption_rng.random(size) < rates.parrot, caption_rng.random(size) < TITLES
        word_only = alone | (quoted & title)
        captions: list[str] = []
        for i, position in enumerate(chosen):
            subject, extras = self._subjects[position], draw_details(self._details[position], caption_rng)
            word = words[i]
            if word is None:
                captions.append(caption(subject, extras))
                continue
            color = None
            if alone[i]:
                pixels[i], color = 0, SIGN_COLORS[int(rng.integers(len(SIGN_COLORS)))]
            pixels[i] = _with_word(pixels[i], word, rng, color)
            quoted_word = word if word_only[i] or quoted[i] else None
            captions.append(caption("" if word_only[i] else subject, extras, quoted_word))
        return Batch(pixels, captions)

    def _words(self, written: NDArray[np.bool_], rng: Generator) -> list[str | None]:
        """Draw a word for each image in which one is ``written``, all different if there are enough words."""
        count = int(written.sum())
        words = iter(rng.choice(self.words, count, replace=count > len(self.words)) if count else ())
        return [str(next(words)) if has_word else None for has_word in written]


def _rgba(row: Row, name: str) -> Tensor:
    """Read a row of the set ``name`` as uint8 RGBA ``[4, SIDE, SIDE]``, cropped to a square."""
    try:
        image = row.read()
    except UnreadableImage as error:
        raise EmbprobeError(f"'{visible(row.key)}' in '{name}' cannot be read: {error}. Leave it out.") from None
    square = ImageOps.fit(image.convert("RGBA"), (SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def _with_word(pixels: Tensor, word: str, rng: Generator, color: tuple[int, int, int] | None) -> Tensor:
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    drawn = draw_word(image, word, share=float(rng.choice(WORD_SHARES)), rng=rng, color=color, place="random")
    return torch.from_numpy(np.array(drawn)).permute(2, 0, 1)


def _renderable(word: str) -> bool:
    """Return whether a word is short enough to be legible at ``SIDE`` pixels, and no colour."""
    return 3 <= len(word) <= 5 and word.isascii() and word.isalpha() and not COLOR_WORDS.fullmatch(word)
