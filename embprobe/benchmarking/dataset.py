"""Data sets of a benchmark: images with classes, and what their card says of splits, names and the main number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import open_images
from embprobe.images.dataset_cards import DatasetCard, find_dataset
from embprobe.images.groups import CATEGORY
from embprobe.images.paths import split_named
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
    """Names of all classes, whether or not an image has them: what zero-shot chooses among."""
    templates: tuple[str, ...]
    metric: Metric
    """The main number."""
    fit: str = ""
    """The value of the label ``split`` of the images to fit on; "" where there is no official split."""
    test: str = ""
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
    max_unlabelled: float = MAX_UNLABELLED,
) -> Dataset:
    """Open a data set by the name of its card, or a folder, tar, parquet file or ``hf:`` data set without one.

    Args:
        name: What :func:`embprobe.images.load_images` opens.
        reading: Choices that are otherwise guessed.
        label: The label whose values are the classes; by default the card's, else ``category``.
        domains: The label whose values are domains; by default the card's.
        max_unlabelled: The largest share of the images that may lack a class.

    Raises:
        UsageError: There is no such place.
        EmbprobeError: It has no classes, or not the splits that its card names.
    """
    return dataset_of(open_images(name, reading), _card(name), label=label, domains=domains, most=max_unlabelled)


def dataset_of(
    images: Images, card: DatasetCard | None = None, *, label: str = "", domains: str = "", most: float = MAX_UNLABELLED
) -> Dataset:
    """Return images as a data set, with what a card says of them."""
    label = label or (card.class_label if card else CATEGORY)
    domains = domains or (card.domains if card else "")
    if images.lacks(label):
        images.label(label)  # raises, and says which labels there are
    notes: tuple[str, ...] = ()
    if domains and images.lacks(domains):
        notes, domains = (f"no image has the label '{visible(domains)}', so none is tested by domains",), ""
    kept, left_out = without_unlabelled(images, [label, *([domains] if domains else [])], most=most)
    present = sorted(set(kept.label(label)))
    if len(present) < 2:
        raise EmbprobeError(
            f"All images of '{kept.name}' have the {label} '{visible(present[0])}': a benchmark needs at least two."
        )
    listed = tuple(card.class_names) if card and label == card.class_label else ()
    unknown = [name for name in present if name not in set(listed)] if listed else []
    fit, test = _split(kept, card)
    return Dataset(
        name=images.name,
        images=kept,
        label=label,
        classes=(*listed, *unknown) if listed else tuple(present),
        templates=tuple(card.templates) if card and card.templates else (PLAIN_TEMPLATE,),
        metric=card.metric if card else "accuracy",
        fit=fit,
        test=test,
        domains=domains,
        fitted_on=card.fitted_on if card else "",
        captions=card.captions if card else "",
        card=card.name if card else "",
        notes=(*images.notes, *notes, *left_out),
    )


def _card(name: str) -> DatasetCard | None:
    """Return the card that a name begins with; None for a place, or for bundled images."""
    found = find_dataset(name)
    return found[0] if found else None


def _split(images: Images, card: DatasetCard | None) -> tuple[str, str]:
    """Return the official split: the card's, where the images have it, else the usual names; "" and "" for none."""
    values = {value for value in images.values(SPLIT) if value}
    if card is not None and card.fit and card.test:
        fit, test = (_spelled(name, values) for name in (card.fit, card.test))
        if fit and test:
            return fit, test
    return official_split(images) or ("", "")


def _spelled(name: str, values: set[str]) -> str:
    """Return a split's name as the images have it; "" if none has it."""
    return next((each for each in (name, split_named(name) or name) if each in values), "")


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
    return [(each, by_card.get(each.fitted_on) if not each.fit else None) for each in datasets]


def restricted(dataset: Dataset, images: Images) -> Dataset:
    """Return the data set with some of its images."""
    return replace(dataset, images=images)
