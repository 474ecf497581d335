"""Load the encoders of the studies by short names, which the card ``study.toml`` maps to encoders of other families.

The spec of a loaded ``study/dino``, and so stores and results, bear the full name of that encoder. For the card may map
the short name to another encoder in a later version, and a result must always name the encoder it was measured on.
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
    """One encoder under a short name: its full name, its publication, and the state of knowledge about its files."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str
    encoder: str
    """The full name, with options where the family's defaults differ from the authors' use."""
    checkpoint: str = ""
    """``family/model`` that reads a checkpoint of its training code; "" where such a checkpoint is a folder."""
    paper: str
    licence: str
    known: str
    unknown: str = ""
    sources: list[str] = []


class EncoderCard(Strict):
    """Named encoders, in the order in which they are listed."""

    schema_: Literal[1] = Field(alias="schema")
    remark: str
    """A note that applies to every encoder of the card."""
    encoders: list[NamedEncoder] = Field(alias="encoder")

    @model_validator(mode="after")
    def _consistent(self) -> EncoderCard:
        names = [entry.name for entry in self.encoders]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ValueError(f"'{min(repeated)}' names two encoders")
        if any(Name.parse(entry.encoder).family == "study" for entry in self.encoders):
            raise ValueError("an encoder must be of another family")
        return self


@lru_cache(maxsize=1)
def card() -> EncoderCard:
    """Read the card that comes with embprobe."""
    text = (files("embprobe.encoders.families") / CARD).read_text(encoding="utf-8")
    return parse_card(EncoderCard, text, CARD)


def names() -> list[str]:
    """Return the short names, in the card's order."""
    return [entry.name for entry in card().encoders]


def describe(name: str) -> Listing:
    """Describe an encoder with the card's entry and with the description of its own family."""
    entry = _entry(name)
    unknown = f"Not known: {entry.unknown}" if entry.unknown else ""
    notes = (f"{entry.paper}; licence: {entry.licence}.", entry.known, unknown, card().remark)
    listing = describe_encoder(entry.encoder)
    size = Name.parse(entry.encoder).options.get("size")
    return replace(
        listing,
        weights=f"{entry.title}: {entry.encoder}",
        input_size=int(size) if size else listing.input_size,
        notes=" ".join(filter(None, notes)),
    )


def load(model: str, weights: str, *, device: str, precision: str = "", **options: str) -> Encoder:
    """Load ``study/clip``, or a copy of it: ``study/clip:FOLDER``, ``study/dino:FILE``.

    Args:
        model: A short name of the card.
        weights: "" for the published weights, a folder of the files in their repository on the hub, or a checkpoint
            that the training code wrote.
        device: The torch device to compute on.
        precision: ``float32``, ``bfloat16`` or ``float16``, if the encoder's own family has this option.
        **options: Options of the encoder's own family; they take the place of the card's.

    Raises:
        UsageError: There is no such file or folder, or an option is unknown.
        EmbprobeError: The weights could not be fetched or read.
    """
    entry = _entry(model)
    target = Name.parse(entry.encoder)
    name = f"{target.family}/{target.model}" + (f":{target.weights}" if target.weights else "")
    card_options = target.options
    if Path(weights).is_dir() and weights:
        name = f"{target.family}/local-dir:{weights}"
    elif weights:
        name, card_options = _checkpoint(entry, weights), {}
    suffix = "".join(f",{option}={value}" for option, value in {**card_options, **options}.items())
    return load_encoder(name + suffix, device=device, **({"precision": precision} if precision else {}))


def _entry(name: str) -> NamedEncoder:
    """Return the card's entry of a short name."""
    return next(entry for entry in card().encoders if entry.name == name)


def _checkpoint(entry: NamedEncoder, weights: str) -> str:
    """Return the full name of an encoder with weights from a file; raise UsageError where it takes none."""
    if not Path(weights).is_file():
        raise UsageError(f"There is no file or folder '{weights}'.")
    if not entry.checkpoint:
        raise UsageError(f"'study/{entry.name}' takes a folder, not the file '{weights}'.")
    return f"{entry.checkpoint}:{weights}"
