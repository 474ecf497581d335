"""The recipe of a training run: everything that it depends on besides the images."""

from __future__ import annotations

from dataclasses import dataclass

from embprobe.errors import UsageError
from embprobe.pretraining.objectives import OBJECTIVES
from embprobe.pretraining.views import augmented


@dataclass(frozen=True)
class Recipe:
    """The settings of a training run. Two objectives are comparable if all other settings are equal.

    Raises:
        UsageError: There is no such objective or augmentation, or the objective has no use for a language model.
    """

    objective: str
    images_seen: int = 1_000_000
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    """Share of the run in which the learning rate rises."""
    word_rate: float = 0.4
    """Share of the images with a word rendered into them."""
    alone_rate: float = 0.5
    """Of these, the share with nothing but the word, as a sign."""
    parrot_rate: float = 1.0
    """Of the others, the share whose captions spell the word."""
    backgrounds: bool = True
    """True if drawings stand on random backgrounds, False on white."""
    augmentation: str = "published"
    language_model: str = ""
    """Name of the frozen language encoder that takes the place of the text tower."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise UsageError(f"There is no objective '{self.objective}'. There are: {', '.join(OBJECTIVES)}.")
        augmented((), self.augmentation)
        if self.language_model and not OBJECTIVES[self.objective].language:
            raise UsageError(f"'{self.objective}' reads no captions, so a language model is of no use to it.")

    @property
    def steps(self) -> int:
        return max(1, self.images_seen // self.batch_size)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step: a linear rise over the share ``warmup``, then a half cosine to zero."""
        import math

        rise = max(1.0, self.warmup * self.steps)
        if step < rise:
            return self.learning_rate * (step + 1) / rise
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, self.steps - rise)))
