"""Select the rows that a measure takes."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images
from embprobe.system.models import Strict


class Selection(Strict):
    """Rows with given labels, one random row per value of a label, at most a number of them."""

    where: dict[str, list[str]] = {}
    one_per: str | None = None
    limit: Annotated[int, Field(gt=1)] | None = None

    def of(self, images: Images, *, seed: int) -> Images:
        """Return the selected rows in their order.

        Raises:
            EmbprobeError: A label is missing, or no row is left.
        """
        for label in self.where:
            images.label(label)
        rows = images.where(**self.where)
        if not len(rows):
            raise EmbprobeError(f"No image in '{images.name}' is what this probe asks for: {self.condition}.")
        order = np.random.default_rng(seed).permutation(len(rows))
        if self.one_per:
            values = rows.label(self.one_per)
            order = np.array(list({values[i]: i for i in order}.values()))
        return rows.take(sorted(order[: self.limit].tolist()))

    @property
    def labels(self) -> list[str]:
        """The labels that decide which rows are selected."""
        return [*self.where, *([self.one_per] if self.one_per else [])]

    def known_to(self, images: Images) -> Selection:
        """Return the selection without labels that none of the images has, for images that are not labelled."""
        where = {label: values for label, values in self.where.items() if not images.lacks(label)}
        one_per = None if self.one_per is None or images.lacks(self.one_per) else self.one_per
        return Selection(where=where, one_per=one_per, limit=self.limit)

    @property
    def condition(self) -> str:
        """The labels and their values in words."""
        return " and ".join(f"{label} = {' or '.join(values)}" for label, values in self.where.items())
