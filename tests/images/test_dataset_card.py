"""What a card says of measuring: official splits, domains, another set to fit on, captions."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from embprobe.errors import EmbprobeError
from embprobe.images import Images
from embprobe.images.dataset_card import DatasetCard
from embprobe.images.dataset_cards import card_split, dataset_cards

CARDS = {card.name: card for card in dataset_cards()}
FACTS = {"schema": 1, "name": "mine", "title": "", "description": "", "licence": "", "needs": ""}


def card(**facts: Any) -> DatasetCard:
    return DatasetCard.model_validate(FACTS | {"labels": ["category", "style", "split"]} | facts)


def rows(*splits: str | None) -> Images:
    return Images.without_pictures("mine", [str(i) for i in range(len(splits))], {"split": splits})


def positions(described: DatasetCard, images: Images) -> tuple[list[int], list[int]] | None:
    found = card_split(described, images)
    return None if found is None else (found[0].tolist(), found[1].tolist())


# --- the bundled cards ---------------------------------------------------------------------------------------------


def test_published_numbers_are_tested_on_test_but_where_it_has_no_labels() -> None:
    pairs = {name: (card.fit, card.test) for name, card in CARDS.items() if card.fit and not card.fitted_on}
    others = {name: pair for name, pair in pairs.items() if pair != ("train", "test")}
    assert others == {
        "imagenet-1k": ("train", "validation"),
        "food-101": ("train", "validation"),
        "bundled/emoji": ("train", "unseen-drawing"),
    }
    assert {"cifar-10", "cifar-100", "stl-10", "mnist", "svhn", "pcam", "country211", "dtd"} <= pairs.keys()
    none = {name for name, card in CARDS.items() if not (card.fit or card.test or card.fitted_on)}
    assert none == {"caltech-101", "cue-conflict", "fruit-salad", "pacs", "rta-100", "scam", "sugarcrepe", "wikiart"}


def test_the_main_number_is_that_of_the_literature() -> None:
    """As in table 9 of CLIP's paper (Radford et al. 2021) and in Kornblith et al. 2019."""
    per_class = {name for name, card in CARDS.items() if card.metric == "mean per class"}
    assert per_class == {"caltech-101", "fgvc-aircraft", "oxford-pets", "flowers-102"}


def test_a_set_that_is_fitted_on_another_has_classes_of_that_one() -> None:
    fitted = {name: card.fitted_on for name, card in CARDS.items() if card.fitted_on}
    variants = ("imagenet-v2", "imagenet-a", "imagenet-r", "imagenet-sketch", "objectnet")
    assert fitted == {**dict.fromkeys(variants, "imagenet-1k"), "cifar-10.1": "cifar-10"}
    for name, other in fitted.items():
        assert CARDS[name].class_names and set(CARDS[name].class_names) <= set(CARDS[other].class_names)
        assert CARDS[other].fit and CARDS[other].class_label == CARDS[name].class_label


def test_domains_and_captions() -> None:
    assert {name: card.domains for name, card in CARDS.items() if card.domains} == {
        "bundled/emoji": "family",
        **dict.fromkeys(("pacs", "domainnet", "fruit-salad"), "style"),
    }
    assert {name for name, card in CARDS.items() if card.captions} == {"flickr30k", "coco-captions", "sugarcrepe"}


# --- a card of one's own -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "pair"),
    [
        ({}, ("train", "test")),
        ({"splits": {"train": "", "validation": "", "test": ""}}, ("train", "test")),
        ({"splits": {"train": "", "validation": ""}}, ("train", "validation")),
        ({"splits": {"train": ""}}, ("", "")),
        ({"splits": {"test": ""}}, ("", "test")),
        ({"fitted_on": "cifar-10"}, ("", "")),
        ({"fitted_on": "cifar-10", "splits": {"train": "", "test": ""}}, ("", "test")),
        ({"test": ""}, ("", "")),
        ({"fit": "mornings", "test": "evenings"}, ("mornings", "evenings")),
        ({"fit": ""}, ("", "test")),
    ],
)
def test_splits_that_a_card_does_not_name(facts: dict[str, Any], pair: tuple[str, str]) -> None:
    assert (card(**facts).fit, card(**facts).test) == pair


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"domains": "colour"}, "domains is 'colour', which is none of the labels"),
        ({"captions": "caption"}, "captions is 'caption', which is none of the labels"),
        ({"test": "val"}, "test is 'val', but images of this split are labelled 'validation'"),
        ({"fit": "extra", "splits": {"train": "", "test": ""}}, "fit is 'extra', which is none of the splits"),
        ({"fit": "train", "test": ""}, "fit is 'train', so test needs a split, too"),
        ({"fit": "test", "test": "test"}, "fit and test are both 'test'"),
        ({"fit": "train", "test": "test", "fitted_on": "cifar-10"}, "leave one of them out"),
        ({"fitted_on": "mine"}, "fitted_on is the set itself"),
        ({"folder": "domain/class"}, "folder 'domain/class' needs domains"),
        ({"metric": "AUC"}, "Input should be 'accuracy' or 'mean per class'"),
        ({"splits": 3}, "Input should be a valid dictionary"),
        ({"fitted_on": 3}, "Input should be a valid string"),
        ({"file_name": "{number}"}, "file_name needs one to 3"),
        ({"file_name": "{category}{number}-{number}-{number}-{number}"}, "file_name needs one to 3"),
    ],
)
def test_facts_that_contradict_are_refused(facts: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as error:
        card(**facts)
    assert why in str(error.value)


# --- the official split of images ----------------------------------------------------------------------------------


def test_the_official_split_of_images() -> None:
    images = rows("train", "test", None, "train", "validation")
    assert positions(card(), images) == ([0, 3], [1])
    assert positions(card(test="validation"), images) == ([0, 3], [4])
    assert positions(card(fit=""), images) == ([], [1])
    assert positions(card(fit="", test=""), images) is None
    assert positions(card(fitted_on="cifar-10"), images) == ([], [0, 1, 2, 3, 4])
    assert positions(card(fitted_on="cifar-10", test="test"), images) == ([], [1])
    assert positions(card(), rows("train", "valid", "test")) == ([0], [2])
    assert positions(card(test="validation"), rows("train", "val")) == ([0], [1])  # the hub's own spelling


def test_images_without_splits_have_no_official_split() -> None:
    assert positions(card(), rows(None, None)) is None
    assert positions(card(fitted_on="cifar-10", test="test"), rows(None, None)) == ([], [0, 1])
    assert positions(card(), rows()) is None


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["train", "train"], "in the split 'test'. Its splits: train 2."),
        (["test", "extra"], "in the split 'train'. Its splits: extra 1, test 1."),
    ],
)
def test_a_split_without_images_is_named_with_those_that_there_are(splits: list[str], message: str) -> None:
    with pytest.raises(EmbprobeError) as error:
        card_split(card(), rows(*splits))
    assert str(error.value) == f"mine is fitted on 'train' and tested on 'test', but no image of 'mine' is {message}"
    with pytest.raises(EmbprobeError, match=r"^mine is tested on 'validation', but no image of 'mine' is in the split"):
        card_split(card(fit="", test="validation"), rows(*splits))
