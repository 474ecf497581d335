"""The model of a data set card: one TOML file about a set of images."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, model_validator

from embprobe.images.paths import split_named
from embprobe.system.models import Strict

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
NUMBER = "number"
"""The placeholder of a file name that stands for digits, and for no label unless the card has one of this name."""
_MAX_PLACEHOLDERS = 3
"""More would let a hostile file name take long to match."""


class DatasetCard(Strict):
    """The description of a set of images: its content, its licence, how to get it, and how it is measured."""

    schema_: Literal[1] = Field(alias="schema")
    name: str
    title: str
    description: str
    licence: str
    citation: str = ""
    homepage: str = ""
    needs: str
    location: str | None = None
    """The place that is opened if the user names none, e.g. ``hf:owner/name``."""
    labels: list[str]
    sources: list[str] = []
    templates: list[str] = []
    """Sentences for zero-shot classification, ``{}`` where the class goes."""
    class_label: str = "category"
    """The label whose values are the classes."""
    class_names: list[str] = []
    """Readable names of the classes; their positions are the integers that stand for them in the data."""
    class_keys: list[str] = []
    """Names of the classes' folders in the original download, in the order of ``class_names``."""
    numbered: bool = True
    """Whether integers stand for classes at all, in tables, tars and folders; copies of some sets disagree on them."""
    folder: Literal["class", "split/class", "domain/class", "flat"] | None = None
    """The folders of the original download, or those that ``needs`` asks for."""
    file_name: str | None = None
    """The pattern of file names in the original download, labels in braces: ``"{category}_{number}"``.

    ``{number}`` stands for digits.
    """
    columns: dict[str, str] = {}
    """The column of the data for each of embprobe's labels, and for ``image``."""
    splits: dict[str, str] = {}
    """The splits of the data, each with its content."""
    fit: str
    """The split that published numbers are fitted on, ``train`` unless the card names another; "" if it has none."""
    test: str
    """The split that published numbers are tested on; "" if all images are for testing, or none by official rule.

    ``test`` unless the card names another, or ``validation`` where its ``splits`` have no ``test``.
    """
    metric: Literal["accuracy", "mean per class"] = "accuracy"
    """The main number in the set's literature: the share of right answers, over images or as the mean over classes."""
    domains: str = ""
    """The label whose values are domains, to be left out one at a time; "" if there is none."""
    fitted_on: str = ""
    """The card of the set whose training images classifiers are fitted on; its classes include those of this set."""
    captions: str = ""
    """The label that holds captions; several of one image stand on lines of their own. "" if there is none."""

    @model_validator(mode="before")
    @classmethod
    def _official(cls, values: Any) -> Any:
        """Fill in the official splits that the card leaves to the rule."""
        if not isinstance(values, dict):
            return values
        elsewhere, splits = bool(values.get("fitted_on")), values.get("splits")
        known = list(splits) if isinstance(splits, dict) and splits else [] if elsewhere else ["train", "test"]
        test = values.get("test", next((name for name in ("test", "validation") if name in known), ""))
        fit = "train" if test and "train" in known and not elsewhere else ""
        return {"fit": fit, "test": test} | values

    @model_validator(mode="after")
    def _consistent(self) -> DatasetCard:
        if self.class_keys and len(self.class_keys) != len(self.class_names):
            raise ValueError("class_keys must be as many as class_names")
        if any(template.count("{}") != 1 for template in self.templates):
            raise ValueError("every template needs exactly one {}")
        if self.file_name is not None:
            found = PLACEHOLDER.findall(self.file_name)
            labels = [name for name in found if name != NUMBER or NUMBER in self.labels]
            too_many = max(len(labels), len(found) - len(labels)) > _MAX_PLACEHOLDERS
            if not labels or too_many or len(set(labels)) < len(labels):
                raise ValueError(f"file_name needs one to {_MAX_PLACEHOLDERS} different labels in braces")
        self._check_measured()
        return self

    def _check_measured(self) -> None:
        """Refuse facts about measuring that contradict each other or the rest of the card."""
        for key in ("domains", "captions"):
            label = getattr(self, key)
            if label and label not in self.labels:
                raise ValueError(f"{key} is '{label}', which is none of the labels")
        for key in ("fit", "test"):
            split = getattr(self, key)
            read_as = split_named(split)
            if read_as not in (None, split):
                raise ValueError(f"{key} is '{split}', but images of this split are labelled '{read_as}'")
            if split and self.splits and split not in self.splits:
                raise ValueError(f"{key} is '{split}', which is none of the splits")
        if self.fit and not self.test:
            raise ValueError(f"fit is '{self.fit}', so test needs a split, too")
        if self.fit and self.fit == self.test:
            raise ValueError(f"fit and test are both '{self.fit}': nothing is left to test on")
        if self.fit and self.fitted_on:
            raise ValueError("fit names a split of this set and fitted_on another set: leave one of them out")
        if self.fitted_on == self.name:
            raise ValueError("fitted_on is the set itself")
        if self.folder == "domain/class" and not self.domains:
            raise ValueError("folder 'domain/class' needs domains, the label that the outer folders give")
