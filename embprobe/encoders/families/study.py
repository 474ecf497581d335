"""The encoders of the studies under short names: the card ``study.toml`` says which encoder of another family each is.

``study/dino`` is loaded as that encoder, and is it from then on: its spec, and so the stores and results, bear the full
name. A short name is a way of typing; what the card makes of it may change, what a result was measured on may not.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from embprobe.encoders.registry import Name, describe_encoder, load_encoder
from embprobe.encoders.spec import Encoder, Listing
from embprobe.errors import UsageError
from embprobe.system.models import Strict, parse_card

CARD = "study.toml"


class NamedEncoder(Strict):
    """One encoder: what it is and where it is published, what is known of its files and what is not."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str
    encoder: str
    """The full name, with options if need be."""
    checkpoint: str = ""
    """``family/model`` as which a checkpoint of its training code is opened, where that is not a folder."""
    paper: str
    licence: str
    known: str
    unknown: str = ""
    sources: list[str] = []


class EncoderCard(Strict):
    """Named encoders, in the order in which they are listed."""

    schema_: Literal[1] = Field(alias="schema")
    remark: str
    """What holds for all of them."""
    encoders: list[NamedEncoder] = Field(alias="encoder")

    @model_validator(mode="after")
    def _consistent(self) -> EncoderCard:
        found = [each.name for each in self.encoders]
        twice = {name for name in found if found.count(name) > 1}
        if twice:
            raise ValueError(f"'{min(twice)}' names two encoders")
        if any(Name.parse(each.encoder).family == "study" for each in self.encoders):
            raise ValueError("an encoder must be of another family")
        return self


@lru_cache(maxsize=1)
def card() -> EncoderCard:
    """The card that comes with embprobe."""
    text = (files("embprobe.encoders.families") / CARD).read_text(encoding="utf-8")
    return parse_card(EncoderCard, text, CARD)


def names() -> list[str]:
    """The short names."""
    return [each.name for each in card().encoders]


def describe(name: str) -> Listing:
    """What the card says, and what the other family says of the encoder behind it."""
    entry = _entry(name)
    unknown = f"Not known: {entry.unknown}" if entry.unknown else ""
    notes = (f"{entry.paper}; licence: {entry.licence}.", entry.known, unknown, card().remark)
    found = describe_encoder(entry.encoder)
    size = Name.parse(entry.encoder).options.get("size")
    return replace(
        found,
        weights=f"{entry.title}: {entry.encoder}",
        input_size=int(size) if size else found.input_size,
        notes=" ".join(filter(None, notes)),
    )


def load(model: str, weights: str, *, device: str, precision: str = "", **options: str) -> Encoder:
    """``study/clip``, or a copy: ``study/clip:FOLDER`` as it lies on the hub, ``study/dino:FILE`` as it was trained.

    Options are those of the encoder's own family; what is typed counts, and else what the card says.
    """
    entry = _entry(model)
    own = Name.parse(entry.encoder)
    whole, chosen = f"{own.family}/{own.model}" + (f":{own.weights}" if own.weights else ""), own.options
    if Path(weights).is_dir() and weights:
        whole = f"{own.family}/local-dir:{weights}"
    elif weights:
        whole, chosen = _checkpoint(entry, weights), {}
    spelled = "".join(f",{option}={value}" for option, value in {**chosen, **options}.items())
    return load_encoder(whole + spelled, device=device, **({"precision": precision} if precision else {}))


def _entry(name: str) -> NamedEncoder:
    return next(each for each in card().encoders if each.name == name)


def _checkpoint(entry: NamedEncoder, weights: str) -> str:
    """The full name of a file of weights."""
    if not Path(weights).is_file():
        raise UsageError(f"There is no file or folder '{weights}'.")
    if not entry.checkpoint:
        raise UsageError(f"'study/{entry.name}' takes a folder, not the file '{weights}'.")
    return f"{entry.checkpoint}:{weights}"
