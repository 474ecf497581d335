"""Data sets of a benchmark: images with classes, and what their card says of splits, names and the main number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import open_images
from embprobe.images.dataset_cards import DatasetCard, card_split, find_dataset
from embprobe.images.groups import CATEGORY
from embprobe.images.reading import GUESSED, Reading
from embprobe.images.rows import Images
from embprobe.images.splits import SPLIT, official_split
from embprobe.images.unlabelled import MAX_UNLABELLED, without_unlabelled
from embprobe.system.text import visible

Metric = Literal["accuracy", "mean per class"]
PLAIN_TEMPLATE = "a photo of a {}."
"""Where no card has templates: that of Radford et al. 2021, section 3.1.4."""


@dataclass(frozen=True)
class Dataset:
    """Images with classes, and how numbers on them are usually made."""

    name: str
    images: Images
    """Those that have a class."""
    label: str
    """The label whose values are the classes."""
    classes: tuple[str, ...]
    """Names of all classes, whether or not an image has them: what zero-shot chooses among; none if there are only
    captions."""
    templates: tuple[str, ...]
    metric: Metric
    """The main number."""
    fit: str = ""
    """The split to fit on; "" where there is no official split, or where images are for testing only."""
    test: str = ""
    """The split to test; "" for folds, or for all images of a set that only tests."""
    only_tests: bool = False
    """Whether no image is to be fitted on."""
    domains: str = ""
    """The label whose values are domains, each of which is tested by what was fitted on the others; "" for none."""
    fitted_on: str = ""
    """The card whose training images a set is tested with that has none of its own; "" for none."""
    captions: str = ""
    """The label that holds captions; "" for none."""
    card: str = ""
    notes: tuple[str, ...] = ()


def open_dataset(
    name: str,
    reading: Reading = GUESSED,
    *,
    label: str = "",
    domains: str = "",
    captions: str = "",
    max_unlabelled: float = MAX_UNLABELLED,
) -> Dataset:
    """Open a data set by the name of its card, or a folder, tar, parquet file or ``hf:`` data set without one.

    Args:
        name: What :func:`embprobe.images.load_images` opens.
        reading: Choices that are otherwise guessed.
        label: The label whose values are the classes; by default the card's, else ``category``.
        domains: The label whose values are domains; by default the card's.
        captions: The label that holds captions, each on a line of its own; by default the card's.
        max_unlabelled: The largest share of the images that may lack a class.

    Raises:
        UsageError: There is no such place.
        EmbprobeError: It has no classes, or not the splits that its card names.
    """
    images, card = open_images(name, reading), _card(name)
    return dataset_of(images, card, label=label, domains=domains, captions=captions, most=max_unlabelled)


def dataset_of(
    images: Images,
    card: DatasetCard | None = None,
    *,
    label: str = "",
    domains: str = "",
    captions: str = "",
    most: float = MAX_UNLABELLED,
) -> Dataset:
    """Return images as a data set, with what a card says of them."""
    named = bool(label)
    label = label or (card.class_label if card else CATEGORY)
    domains = domains or (card.domains if card else "")
    captions = captions or (card.captions if card else "")
    notes: tuple[str, ...] = ()
    for purpose, name in (("domains", domains), ("captions", captions)):
        if name and images.lacks(name):
            notes = (*notes, f"no image has the label '{visible(name)}', so nothing is measured by {purpose}")
            domains, captions = ("", captions) if purpose == "domains" else (domains, "")
    if images.lacks(label):
        if named or not captions:
            images.label(label)  # raises, and says which labels there are
        label = ""
    needed = [name for name in (label, domains) if name]
    kept, left_out = without_unlabelled(images, needed, most=most)
    fit, test, only_tests = _split(kept, card)
    return Dataset(
        name=images.name,
        images=kept,
        label=label,
        classes=_classes(kept, card, label) if label else (),
        templates=tuple(card.templates) if card and card.templates else (PLAIN_TEMPLATE,),
        metric=card.metric if card else "accuracy",
        fit=fit,
        test=test,
        only_tests=only_tests,
        domains=domains,
        fitted_on=card.fitted_on if card else "",
        captions=captions,
        card=card.name if card else "",
        notes=(*images.notes, *notes, *left_out),
    )


def _classes(images: Images, card: DatasetCard | None, label: str) -> tuple[str, ...]:
    """Return the card's whole list of classes, and after it those that images have beside."""
    present = sorted(set(images.label(label)))
    listed = tuple(card.class_names) if card and label == card.class_label else ()
    if listed and not set(listed).intersection(present):
        raise EmbprobeError(
            f"No image of '{images.name}' is of a class of its card ('{listed[0]}' and so on); the first has "
            f"'{visible(present[0])}'. Give the place of this data set, or leave out the card's name."
        )
    names = (*listed, *(name for name in present if name not in set(listed)))
    if len(names) < 2:
        raise EmbprobeError(
            f"All images of '{images.name}' have the {label} '{visible(present[0])}': a benchmark needs at least two."
        )
    return names


def _card(name: str) -> DatasetCard | None:
    """Return the card that a name begins with; None for a place, or for bundled images."""
    found = find_dataset(name)
    return found[0] if found else None


def _split(images: Images, card: DatasetCard | None) -> tuple[str, str, bool]:
    """Return the splits to fit on and to test, and whether images are for testing only; "" and "" for folds.

    Raises:
        EmbprobeError: Images have splits, and none is the one that the card names.
    """
    if card is not None and card_split(card, images) is not None:
        there = card.test if not images.lacks(SPLIT) else ""
        return (card.fit, card.test, False) if card.fit else ("", there, True)
    fit, test = official_split(images) or ("", "")
    return fit, test, False


def pair_up(datasets: list[Dataset]) -> list[tuple[Dataset, Dataset | None]]:
    """Return each data set with the one whose training images it is tested with, if that is among them.

    Raises:
        UsageError: Two of them have the same name.
    """
    by_name: dict[str, Dataset] = {}
    for each in datasets:
        if each.name in by_name:
            raise UsageError(f"The data set '{visible(each.name)}' is named twice: leave one out.")
        by_name[each.name] = each
    by_card = {each.card: each for each in datasets if each.card and each.fit}
    return [(each, by_card.get(each.fitted_on) if each.only_tests else None) for each in datasets]
