"""``embprobe encoders``: encoders by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from embprobe.cli.console import note, output, print_json
from embprobe.cli.options import JsonOption
from embprobe.errors import EmbprobeError
from embprobe.system.suggestions import did_you_mean

if TYPE_CHECKING:
    from embprobe.encoders import EncoderSpec, ImageInput, Listing

_DESCRIBED = 60
"""Most encoders that a list describes, each in up to a fifth of a second; of more, it has only the names."""


def encoders(
    pattern: Annotated[
        str, typer.Argument(help="Part of a name, or a pattern such as '*dino*'; without one, the families.")
    ] = "",
    exactly: Annotated[
        bool,
        typer.Option(
            "--exactly", help="Load the encoder of this exact name and print everything that decides its vectors."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """List encoders: dimension, input size, whether they take text, where their weights come from."""
    from embprobe.encoders import Listing, describe_encoder, list_encoders, list_families, load_encoder

    if exactly:
        encoder = load_encoder(pattern)
        depth = len(encoder.layers()) if getattr(encoder, "trunk", None) is not None else 0  # type: ignore[attr-defined]
        if json:
            print_json({**asdict(encoder.spec), "layers": depth})
        else:
            print_spec(encoder.spec, layers=depth)
        return
    names = list_encoders(pattern) if pattern else [*list_encoders("bundled/"), *list_encoders("reference/")]
    names = [pattern] if pattern in names else names
    if not names:
        hint = did_you_mean(pattern, list_encoders(), n=3)
        raise EmbprobeError(f"No encoder's name matches '{pattern}'.{hint}")
    few = len(names) <= _DESCRIBED
    listings = [describe_encoder(name) if few else Listing(name) for name in names]
    if json:
        print_json([asdict(listing) for listing in listings])
    elif few:
        print_listings(listings)
        if len(listings) == 1 and listings[0].notes:
            note(listings[0].notes)
    else:
        sys.stdout.write("".join(f"{name}\n" for name in names))
        note(f"{len(names):,} encoders. For their dimensions, input sizes and sources, ask for fewer.")
    if not pattern:
        note(f"Families: {', '.join(list_families())}. List one with 'embprobe encoders timm/', search with '*dino*'.")


def print_listings(listings: Sequence[Listing]) -> None:
    """Print a table of encoders."""
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "dimension", "input", "text", "weights"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("dimension", "input") else "left")
    for one in listings:
        text = "" if one.has_text is None else "yes" if one.has_text else "no"
        table.add_row(escape(one.name), _number(one.dimension), _number(one.input_size), text, escape(one.weights))
    output(width=200).print(table)


def print_spec(spec: EncoderSpec, *, layers: int = 0) -> None:
    """Print everything that decides an encoder's vectors, and how many layers it has, if that is known."""
    vectors = {
        "cls": "class token",
        "mean": "mean of the patch tokens or of the feature map",
        "cls+mean": "class token, then the mean of the patch tokens",
        "attention": "learned attention pooling",
        "projected": "projected features, in the space shared with text",
        "trunk": "features before the projection",
        "tokens": "tokens",
        "patches@mask": "mean of the patches that show an image's opaque part",
        "none": "the network's output",
    }
    facts = {
        "vector": f"{vectors[spec.pooling]}: {spec.dimension:,} numbers{_tokens(spec)}, not normalised",
        **({} if spec.layer is None else {"layer": _layer(spec)}),
        **({"layers": f"{layers}: say ,layer=1 to ,layer={layers} behind the name"} if layers else {}),
        **({} if spec.image_input is None else _facts_of_input(spec.image_input)),
        "precision": spec.precision,
        "text": "yes" if spec.has_text else "no",
        "weights": f"sha256 of their values {spec.weights_sha256}" if spec.weights_sha256 else "none",
        "fingerprint": spec.fingerprint,
    }
    console = output(soft_wrap=True)
    console.print(f"[bold]{escape(spec.name)}[/bold]")
    for name, text in facts.items():
        console.print(f"  {name:<12}{escape(text)}")


def _tokens(spec: EncoderSpec) -> str:
    """Say how many tokens an image has, and how they are stored."""
    if spec.tokens is None:
        return ""
    grid = spec.tokens
    before = f"{grid.prefix} before " if grid.prefix else ""
    return f" each, {grid.count} an image ({before}{grid.rows} x {grid.columns} patches), in {spec.stored}"


def _layer(spec: EncoderSpec) -> str:
    """Say which layer's tokens are pooled, and whether they are normalised."""
    after = "as the block gives them" if spec.norm == "none" else "after the network's last norm"
    return f"the patch embedding, {after}" if spec.layer == 0 else f"{spec.layer}, {after}"


def _facts_of_input(image_input: ImageInput) -> dict[str, str]:
    """Describe how an image becomes a network's input, by heading."""
    part = "the whole image" if image_input.resize == "squash" else "the shorter side"
    return {
        "image": f"{part} resized to {image_input.resize_to} pixels ({image_input.interpolation}), the central "
        f"{image_input.input_size} x {image_input.input_size}, scaled to 0..1",
        "mean": ", ".join(f"{value:g}" for value in image_input.mean),
        "deviation": ", ".join(f"{value:g}" for value in image_input.std),
    }


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
