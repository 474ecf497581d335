"""``embprobe datasets``: sets of images that have a card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from embprobe.cli.console import note, output, print_json
from embprobe.cli.options import JsonOption

if TYPE_CHECKING:
    from embprobe.images.dataset_cards import DatasetCard


def datasets(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern such as 'imagenet-*'.")] = "",
    json: JsonOption = False,
) -> None:
    """List the sets of images that have a card: what they hold, their licence, what is needed to have them."""
    from embprobe.images.dataset_cards import match_datasets

    cards = match_datasets(pattern)
    if json:
        print_json([card.model_dump(by_alias=True) for card in cards])
    elif len(cards) == 1:
        _print_dataset(cards[0])
    else:
        table = Table(box=None, pad_edge=False)
        table.add_column("name", no_wrap=True)
        for heading in ("what it is", "fitted / tested on", "what is needed"):
            table.add_column(heading, overflow="fold")
        for card in cards:
            facts = (card.title, _pair(card), card.needs)
            table.add_row(f"[bold]{escape(card.name)}[/bold]", *map(escape, facts))
        output().print(table)
        note("All about one: embprobe datasets NAME. One of your own copies: embprobe extract NAME@FOLDER.")


_MAIN_NUMBERS = {"accuracy": "accuracy", "mean per class": "mean accuracy per class"}


def _pair(card: DatasetCard) -> str:
    """Name the images that classifiers are fitted on and those that they are tested on, as short as can be."""
    if card.captions and not card.class_names:
        return "captions"
    if card.fitted_on or card.test:
        return f"{card.fitted_on or card.fit or 'none'} / {card.test or 'all'}"
    return "no official split"


def _measured(card: DatasetCard) -> str:
    """Write in words on what classifiers are fitted and tested."""
    if not (card.fitted_on or card.test):
        return "no official split"
    fitted = card.fitted_on or card.fit
    return f"{f'fitted on {fitted}, ' if fitted else ''}tested on {card.test or 'all images'}"


def _print_dataset(card: DatasetCard) -> None:
    console = output(soft_wrap=True)
    console.print(f"[bold]{escape(card.name)}[/bold]  {escape(card.title)}")
    classes = f"{len(card.class_names):,}: {', '.join(card.class_names[:5])}, …" if card.class_names else ""
    facts = {
        "": card.description,
        "Needs": card.needs,
        "Opened at": card.location or f"a place you name: {card.name}@FOLDER",
        "Labels": ", ".join(card.labels),
        "Classes": classes,
        "Measured": "" if card.captions else f"{_measured(card)}; main number: {_MAIN_NUMBERS[card.metric]}",
        "Domains": card.domains,
        "Captions": f"{card.captions}{f', those of {card.test}' if card.test else ''}" if card.captions else "",
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
