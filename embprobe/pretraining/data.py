"""The training images of a step: which drawings, which words in them, which captions. The same for every objective."""

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
from embprobe.pretraining.captions import COLOR_WORDS, caption, details, shown, some
from embprobe.system.text import visible

SIDE = 64
"""Side at which drawings are kept in memory, a third above the encoder's input so that crops lose little."""
WORDS = 32
"""How many different words are drawn: those that captions have most often, so that each is seen often enough."""
WORD_SHARES = (0.7, 0.8, 0.9, 1.0)
"""A rendered word's width, as a share of the image's. Few values, for finding a size of type takes longest."""
SIGN_COLORS = ((0, 0, 0), (255, 255, 255))
"""Words that stand alone are printed in one of these; those over drawings are in any colour."""
TITLES = 0.5
"""Share of the captions with a word over a drawing that say nothing else, as of a poster or a cover."""


@dataclass(frozen=True)
class Words:
    """Words in the images and in their captions; the three rates are 0 to 1.

    ``rate`` is the share of the images with a word, ``alone`` the share of these that show nothing else, as a sign
    does, and ``parrot`` the share of the others whose captions spell it (Lin et al. 2023, "Parrot Captions Teach CLIP
    to Spot Text"); ``TITLES`` of these say nothing but the word. The caption of a word alone always spells it: there is
    nothing else to say.
    """

    rate: float
    alone: float
    parrot: float


@dataclass(frozen=True)
class Batch:
    """``images`` is uint8 RGBA ``[n, 4, SIDE, SIDE]``; ``captions`` has ``n`` texts."""

    images: Tensor
    captions: list[str]


class TrainingImages:
    """Images in memory (16 kB each), from which any step's batch can be made from the seed and the step's number alone.

    That makes a run resumable at any step and gives every objective the same images in the same order. An image needs
    a ``caption`` or a ``name``; those with the same ``concept`` are never in one batch, for their captions would fit
    each other's images. Raises :class:`EmbprobeError` if an image lacks a caption or cannot be read, or if there are
    too few words to draw.
    """

    def __init__(self, images: Images, words: Words) -> None:
        if silent := [row.key for row in images.rows if not shown(row.labels)]:
            raise EmbprobeError(
                f"A training image needs a label 'caption' or 'name', which {len(silent):,} of the {len(images):,} "
                f"images in '{images.name}' lack, first '{visible(silent[0])}'."
            )
        self._rates = words
        self._pixels = torch.stack([_rgba(row, images.name) for row in images.rows])
        self._shown = [shown(row.labels) for row in images.rows]
        self._details = [details(row.labels) for row in images.rows]
        concepts: dict[str, list[int]] = {}
        for position, row in enumerate(images.rows):
            concepts.setdefault(row.labels.get("concept", row.key), []).append(position)
        self._drawings = list(concepts.values())
        said = Counter(word for text in self.captions() for word in re.findall(r"[A-Z]+", text.upper()))
        often = sorted(filter(_renderable, said), key=lambda word: (-said[word], word))
        self.words = sorted(often[:WORDS])
        if words.rate > 0 and not self.words:
            raise EmbprobeError("No caption has a word of three to five letters to draw; set the word rate to 0.")

    @property
    def concepts(self) -> int:
        """How many distinct concepts there are; a batch cannot be larger."""
        return len(self._drawings)

    def captions(self) -> list[str]:
        """Every image's longest caption without a rendered word: what a vocabulary is made from."""
        return [caption(name, more) for name, more in zip(self._shown, self._details, strict=True)]

    def batch(self, size: int, *, seed: int, step: int) -> Batch:
        """``size`` distinct concepts, one random image each, half of them mirrored, some with a word or only a word.

        No word is in two images of a batch, as long as there are enough of them. What captions say has dice of its own,
        so that it changes no image.
        """
        rng, said = np.random.default_rng([seed, step, 0]), np.random.default_rng([seed, step, 1])
        chosen = [int(rng.choice(self._drawings[c])) for c in rng.choice(self.concepts, size, replace=False)]
        pixels = self._pixels[chosen]
        mirrored = torch.from_numpy(rng.random(size) < 0.5)
        pixels[mirrored] = pixels[mirrored].flip(-1)
        rates = self._rates
        alone = rng.random(size) < rates.alone
        words = self._words(rng.random(size) < rates.rate, rng)
        spelled, title = said.random(size) < rates.parrot, said.random(size) < TITLES
        only = alone | (spelled & title)
        captions: list[str] = []
        for i, position in enumerate(chosen):
            name, more, word = self._shown[position], some(self._details[position], said), words[i]
            if word is None:
                captions.append(caption(name, more))
                continue
            color = None
            if alone[i]:
                pixels[i], color = 0, SIGN_COLORS[int(rng.integers(len(SIGN_COLORS)))]
            pixels[i] = _with_word(pixels[i], word, rng, color)
            captions.append(caption("" if only[i] else name, more, word if only[i] or spelled[i] else None))
        return Batch(pixels, captions)

    def _words(self, written: NDArray[np.bool_], rng: Generator) -> list[str | None]:
        """A word for each image that gets one, all different if there are enough of them."""
        count = int(written.sum())
        drawn = iter(rng.choice(self.words, count, replace=count > len(self.words)) if count else ())
        return [str(next(drawn)) if each else None for each in written]


def _rgba(row: Row, name: str) -> Tensor:
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
    return 3 <= len(word) <= 5 and word.isascii() and word.isalpha() and not COLOR_WORDS.fullmatch(word)
