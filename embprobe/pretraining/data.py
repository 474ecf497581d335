"""The training images of a step: which drawings, which words in them, which captions. The same for every objective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from torch import Tensor

from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images
from embprobe.interventions.text import draw_word
from embprobe.pretraining.captions import COLOR_WORDS, caption

SIDE = 64
"""Side at which drawings are kept in memory, a third above the encoder's input so that crops lose little."""
WORD_SHARE = (0.55, 1.0)
"""Range of a rendered word's width, as a share of the image's."""


@dataclass(frozen=True)
class Batch:
    """``images`` is uint8 RGBA ``[n, 4, SIDE, SIDE]``; ``captions`` has ``n`` texts."""

    images: Tensor
    captions: list[str]


class TrainingImages:
    """Drawings in memory, from which any step's batch can be made from the seed and the step's number alone.

    That makes a run resumable at any step and gives every objective the same images in the same order.
    """

    def __init__(self, images: Images, *, word_rate: float) -> None:
        for needed in ("concept", "name", "category"):
            images.label(needed)
        self.word_rate = word_rate
        self._pixels = torch.stack([_rgba(row.read()) for row in images.rows])
        self._labels = [row.labels for row in images.rows]
        concepts: dict[str, list[int]] = {}
        for position, concept in enumerate(images.label("concept")):
            concepts.setdefault(concept, []).append(position)
        self._drawings = list(concepts.values())
        self.words = sorted({w for row in images.rows for w in row.labels["name"].upper().split() if _renderable(w)})
        if word_rate > 0 and not self.words:
            raise EmbprobeError("No name has a word of three to five letters to draw; set the word rate to 0.")

    @property
    def concepts(self) -> int:
        """How many distinct concepts there are; a batch cannot be larger."""
        return len(self._drawings)

    def captions(self) -> list[str]:
        """Every caption without a rendered word: what the tokenizer's vocabulary is made from."""
        return [caption(labels["name"], labels["category"]) for labels in self._labels]

    def batch(self, size: int, *, seed: int, step: int) -> Batch:
        """``size`` distinct concepts, one random drawing each, half of them mirrored, some with a word drawn over."""
        rng = np.random.default_rng([seed, step])
        chosen = [rng.choice(self._drawings[c]) for c in rng.choice(self.concepts, size, replace=False)]
        pixels = self._pixels[chosen]
        mirrored = torch.from_numpy(rng.random(size) < 0.5)
        pixels[mirrored] = pixels[mirrored].flip(-1)
        captions: list[str] = []
        for i, position in enumerate(chosen):
            word = str(rng.choice(self.words)) if rng.random() < self.word_rate else None
            if word is not None:
                pixels[i] = _with_word(pixels[i], word, rng)
            captions.append(caption(self._labels[position]["name"], self._labels[position]["category"], word))
        return Batch(pixels, captions)


def _rgba(image: Image.Image) -> Tensor:
    small = image.convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()


def _with_word(pixels: Tensor, word: str, rng: Generator) -> Tensor:
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    return _rgba(draw_word(image, word, share=rng.uniform(*WORD_SHARE), rng=rng, place="random"))


def _renderable(word: str) -> bool:
    return 3 <= len(word) <= 5 and word.isascii() and word.isalpha() and not COLOR_WORDS.fullmatch(word)
