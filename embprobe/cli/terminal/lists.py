"""What there is: encoders and data sets."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embprobe.cli.terminal.console import note
from embprobe.encoders.spec import EncoderSpec, Listing
from embprobe.images.dataset_cards import DatasetCard


def print_encoders(encoders: Sequence[Listing], *, described: bool) -> None:
    """A table, or, if they are not described, the names."""
    if not described:
        sys.stdout.write("".join(f"{each.name}\n" for each in encoders))
        note(f"{len(encoders):,} encoders. For their dimensions, input sizes and sources, ask for fewer.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "dimension", "input", "text", "weights"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("dimension", "input") else "left")
    for each in encoders:
        text = "" if each.has_text is None else "yes" if each.has_text else "no"
        table.add_row(escape(each.name), _number(each.dimension), _number(each.input_size), text, escape(each.weights))
    width = None if sys.stdout.isatty() else 200
    Console(highlight=False, emoji=False, width=width).print(table)


def print_spec(spec: EncoderSpec) -> None:
    """What exactly an encoder's vectors are."""
    vectors = {
        "cls": "class token",
        "mean": "mean of the patch tokens or of the feature map",
        "cls+mean": "class token, then the mean of the patch tokens",
        "attention": "learned attention pooling",
        "projected": "projected features, in the space shared with text",
        "trunk": "features before the projection",
        "none": "the network's output",
    }
    part = "the whole image" if spec.resize == "squash" else "the shorter side"
    facts = {
        "vector": f"{vectors[spec.pooling]}: {spec.dimension:,} numbers, not normalised",
        "image": f"{part} resized to {spec.resize_to} pixels ({spec.interpolation}), the central {spec.input_size} x "
        f"{spec.input_size}, scaled to 0..1",
        "mean": ", ".join(f"{value:g}" for value in spec.mean),
        "deviation": ", ".join(f"{value:g}" for value in spec.std),
        "precision": spec.precision,
        "text": "yes" if spec.has_text else "no",
        "weights": f"sha256 of their values {spec.weights_sha256}" if spec.weights_sha256 else "none",
        "fingerprint": spec.fingerprint,
    }
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    console.print(f"[bold]{escape(spec.name)}[/bold]")
    for name, text in facts.items():
        console.print(f"  {name:<12}{escape(text)}")


def print_datasets(cards: Sequence[DatasetCard]) -> None:
    """A line for each set, or all about one."""
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    if len(cards) == 1:
        _print_dataset(console, cards[0])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "what it is", "what is needed"):
        table.add_column(heading, overflow="fold")
    for card in cards:
        table.add_row(f"[bold]{escape(card.name)}[/bold]", escape(card.title), escape(card.needs))
    Console(highlight=False, emoji=False).print(table)
    note("All about one: embprobe datasets NAME. One of your own copies: embprobe extract NAME@FOLDER.")


def _print_dataset(console: Console, card: DatasetCard) -> None:
    console.print(f"[bold]{escape(card.name)}[/bold]  {escape(card.title)}")
    classes = f"{len(card.class_names):,}: {', '.join(card.class_names[:5])}, …" if card.class_names else ""
    facts = {
        "": card.description,
        "Needs": card.needs,
        "Opened at": card.location or f"a place you name: {card.name}@FOLDER",
        "Labels": ", ".join(card.labels),
        "Classes": classes,
        "Templates": f"{len(card.templates)}, such as '{card.templates[0]}'" if card.templates else "",
        "Licence": card.licence,
        "Citation": card.citation,
        "Homepage": card.homepage,
    }
    for name, text in facts.items():
        if text:
            console.print(f"  {name}: {escape(text)}" if name else f"  {escape(text)}")
    for split, meaning in card.splits.items():
        console.print(f"  {escape(card.name)}:{escape(split)}: {escape(meaning)}")


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
