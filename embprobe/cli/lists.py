"""What there is: encoders and data sets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from embprobe.cli.options import (
    JsonOption,
    load_encoders,
)
from embprobe.errors import EmbprobeError
from embprobe.system.suggestions import did_you_mean

_DESCRIBED = 60
"""So many encoders are described in a list, each in up to a fifth of a second; of more, only the names."""


def encoders(
    pattern: Annotated[
        str, typer.Argument(help="Part of a name, or a pattern such as '*dino*'; without one, the families.")
    ] = "",
    exactly: Annotated[
        bool, typer.Option("--exactly", help="Load the one encoder of this name and say all that decides its vectors.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List encoders: dimension, input size, whether they take text, where their weights come from."""
    from embprobe.cli import terminal
    from embprobe.encoders import Listing, describe_encoder, list_encoders, list_families

    if exactly:
        (loaded,) = load_encoders([pattern], "cpu")
        if json:
            terminal.print_json(asdict(loaded.spec))
        else:
            terminal.print_spec(loaded.spec)
        return
    names = list_encoders(pattern) if pattern else [*list_encoders("bundled/"), *list_encoders("reference/")]
    names = [pattern] if pattern in names else names
    if not names:
        hint = did_you_mean(pattern, list_encoders(), n=3)
        raise EmbprobeError(f"No encoder's name matches '{pattern}'.{hint}")
    few = len(names) <= _DESCRIBED
    listed = [describe_encoder(name) if few else Listing(name) for name in names]
    if json:
        terminal.print_json([asdict(each) for each in listed])
    else:
        terminal.print_encoders(listed, described=few)
        if len(listed) == 1 and listed[0].notes:
            terminal.note(listed[0].notes)
    if not pattern:
        terminal.note(
            f"Families: {', '.join(list_families())}. List one with 'embprobe encoders timm/', search with '*dino*'."
        )


def datasets(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern such as 'imagenet-*'.")] = "",
    json: JsonOption = False,
) -> None:
    """List the sets of images that have a card: what they hold, their licence, what is needed to have them."""
    from embprobe.cli import terminal
    from embprobe.images.dataset_cards import match_datasets

    cards = match_datasets(pattern)
    if json:
        terminal.print_json([card.model_dump(by_alias=True) for card in cards])
    else:
        terminal.print_datasets(cards)
