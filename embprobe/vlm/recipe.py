"""Recipes: what a vision-language model is made of and how it is trained, as TOML that anyone may write."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from embprobe.errors import UsageError
from embprobe.system.models import Strict, names_of, parse_card, read_card_file
from embprobe.system.suggestions import did_you_mean

Positive = Annotated[FiniteFloat, Field(gt=0)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Data = Literal["descriptions", "captions", "conversations"]
"""What a stage learns from. ``captions``: an image, then its caption. ``conversations``: an image, then questions and
answers. ``descriptions``: the same without an image, whose caption stands in its place."""
Trains = Literal["language model", "connector", "both", "connector and lora"]
PromptName = Literal["vicuna-v1", "words"]
_PACKAGE = "embprobe.vlm.recipes"


class ImageTokens(Strict):
    """The tokens of an image that a language model reads."""

    layer: int = -2
    """The encoder's block whose output they are, from the end where it is negative."""
    norm: Literal["none", "last"] = "none"
    stored: Literal["float16", "float32"] = "float16"
    """How they are kept, if they are."""
    standardised: bool = False
    """Whether each dimension of the tokens gets mean 0 and variance 1 over the training images, before the connector:
    a layer within an encoder has some dimensions a hundred times as large as others, which learn that much slower."""


class ConnectorShape(Strict):
    """The network between encoder and language model: linear layers with GELU between them."""

    depth: Annotated[int, Field(ge=1, le=8)] = 2


class SmallModel(Strict):
    """A language model that is trained from scratch: its shape."""

    width: Annotated[int, Field(ge=8)] = 160
    depth: Annotated[int, Field(ge=1)] = 4
    heads: Annotated[int, Field(ge=1)] = 5
    inner: Annotated[int, Field(ge=8)] = 432
    """Width inside of a block's perceptron."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError("width must be an even multiple of heads")
        return self


class LanguageChoice(Strict):
    """The language model: a published one by name, or one of a shape that is trained from scratch."""

    model: str = ""
    """A folder, or a name in the hub."""
    scratch: SmallModel | None = None
    context: Annotated[int, Field(ge=16)] = 2048
    """The most tokens of a sample, the image's among them."""
    prompt: PromptName = "vicuna-v1"

    @model_validator(mode="after")
    def _either(self) -> Self:
        if bool(self.model) == (self.scratch is not None):
            raise ValueError("name a model, or give the shape of one from scratch")
        return self


class Lora(Strict):
    """Low-rank changes to a model whose own weights stay (Hu et al. 2021, "LoRA")."""

    rank: Annotated[int, Field(ge=1)] = 128
    alpha: Positive = 256
    dropout: Share = 0.05


class Stage(Strict):
    """One stage of a training: what learns from what, and how fast."""

    name: str
    data: Data
    trains: Trains
    learning_rate: Positive
    connector_learning_rate: Positive | None = None
    """Of the connector, where it is another."""
    batch_size: Annotated[int, Field(ge=1)]
    epochs: Positive = 1
    warmup: Share = 0.03
    weight_decay: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    clip: Positive = 1.0
    """The largest norm of a gradient; a longer one is scaled down to it."""
    by_length: bool = False
    """Whether samples of similar length are put into one batch, which saves padding."""
    lora: Lora | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.trains == "connector and lora") != (self.lora is not None):
            raise ValueError("a table 'lora' goes with trains = 'connector and lora'")
        if self.data == "descriptions" and self.trains != "language model":
            raise ValueError("descriptions have no image, so only the language model learns from them")
        return self

    @property
    def sees(self) -> bool:
        """Whether it needs images."""
        return self.data != "descriptions"

    def steps(self, samples: int) -> int:
        """Return the number of steps over so many samples; the last batch of an epoch is filled up from the next."""
        return max(1, math.ceil(self.epochs * samples / self.batch_size))

    def learning_rate_at(self, step: int, steps: int, peak: float | None = None) -> float:
        """Return the learning rate of a step, from 0: a linear rise over the share ``warmup``, then a half cosine to 0.

        As in transformers' ``get_cosine_schedule_with_warmup``, which LLaVA uses: the first step has a rate of 0.
        """
        peak, rise = peak or self.learning_rate, math.ceil(self.warmup * steps)
        if step < rise:
            return peak * step / max(1, rise)
        return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


class Recipe(Strict):
    """Everything that a vision-language model depends on besides encoder, data and seed."""

    schema_: Literal[1] = Field(alias="schema")
    name: str
    source: str = ""
    image: ImageTokens = ImageTokens()
    connector: ConnectorShape = ConnectorShape()
    language: LanguageChoice
    stages: Annotated[list[Stage], Field(min_length=1)]

    @model_validator(mode="after")
    def _named_apart(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("two stages have the same name")
        if len({stage.lora for stage in self.stages} - {None}) > 1:
            raise ValueError("two stages have different tables 'lora': a model has one set of adapters")
        order = [stage.sees for stage in self.stages]
        if order != sorted(order):
            raise ValueError("stages without images come first: they are the same for every encoder")
        return self


def list_recipes() -> list[str]:
    """Return the names of the recipes that come with embprobe.

    Example:
        >>> list_recipes()
        ['llava-1.5', 'llava-1.5-lora', 'small']
    """
    return names_of(_PACKAGE)


def read_recipe(name: str | Path) -> Recipe:
    """Return a recipe by its name, or from a file (``.toml``).

    Raises:
        UsageError: There is no such recipe.
        EmbprobeError: The file is not right; the message has the key and what was expected.
    """
    if str(name).endswith(".toml"):
        return read_card_file(Recipe, Path(name))
    if str(name) not in list_recipes():
        hint = did_you_mean(str(name), list_recipes())
        raise UsageError(
            f"There is no recipe '{name}'. There are: {', '.join(list_recipes())}, and files that end in .toml.{hint}"
        )
    text = (files(_PACKAGE) / f"{name}.toml").read_text(encoding="utf-8")
    return parse_card(Recipe, text, str(name))
