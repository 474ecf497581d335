"""Read the rows that show a picture: it is decoded once, and every row's own change and crops are made of it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Hashable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from PIL import Image

from embprobe.embeddings.engines.schedule import Pictures, Place
from embprobe.embeddings.job import Job, Seconds
from embprobe.embeddings.manifest import Rejected
from embprobe.encoders.preprocessing import Pixels, cropped, decoded_side, geometry
from embprobe.encoders.spec import ImageInput
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Row
from embprobe.interventions.sharing import one_picture

Crops = Mapping[Hashable, Pixels]
"""What encoders see of a picture, by the geometry that they ask for, and of its mask, by :func:`mask_of` of it."""


def mask_of(image_input: ImageInput) -> Hashable:
    """Return under which key crops hold the mask of a picture, bytes ``[s, s]``."""
    return "mask", geometry(image_input)


@dataclass(frozen=True)
class ReadRow:
    """A row that was read."""

    place: Place
    position: int
    """Its position among the job's images."""
    crops: Crops | Rejected
    """Its crops, or why it could not be read."""
    seconds: Mapping[str, float]


def read_rows(job: Job, pictures: Pictures) -> list[ReadRow]:
    """Read the rows that show some pictures."""
    rows = []
    for places in pictures:
        picture = _Picture(shared=len(places) > 1)
        with one_picture() if len(places) > 1 else nullcontext():
            rows += [_read_row(job, place, picture) for place in places]
    return rows


def _read_row(job: Job, place: Place, picture: _Picture) -> ReadRow:
    shard, seconds = job.shards[place.shard], defaultdict[str, float](float)
    position = shard.rows[place.slot]
    row = job.images.rows[position]
    crops: Crops | Rejected
    try:
        specs = [job.specs[i] for i in shard.lacking]
        crops = picture.crops(row, [spec.require_image_input() for spec in specs], seconds)
        if any(spec.masked for spec in specs):
            crops = {**crops, **picture.masks(row, [spec.require_image_input() for spec in specs if spec.masked])}
    except UnreadableImage as reason:
        crops = Rejected(row.key, str(reason), position)
    return ReadRow(place, position, crops, dict(seconds))


class _Picture:
    """An image that is fetched and decoded once for all rows that show it, changed or not."""

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._fetched: bytes | Image.Image | UnreadableImage | None = None
        self._decoded: dict[tuple[int | None, int], Image.Image | UnreadableImage] = {}
        self._crops: dict[Hashable, Pixels] = {}

    def crops(self, row: Row, image_inputs: list[ImageInput], seconds: Seconds) -> Crops:
        """Return what encoders see of the row's picture; each way of decoding is done once.

        Raises:
            UnreadableImage: It cannot be fetched, decoded or changed.
        """
        began = time.perf_counter()
        self._fetch(row)
        fetched = time.perf_counter()
        seconds["read"] += fetched - began
        pictures: dict[tuple[int | None, int], Image.Image] = {}
        crops: dict[Hashable, Pixels] = {}
        for image_input in image_inputs:
            how = decoded_side(image_input), image_input.max_pixels
            if how not in pictures:
                pictures[how] = self._rgb(row, *how)
            if geometry(image_input) not in crops:
                crops[geometry(image_input)] = self._cropped(row, pictures[how], image_input)
        seconds["decode"] += time.perf_counter() - fetched
        return crops

    def masks(self, row: Row, image_inputs: list[ImageInput]) -> Crops:
        """Return the masks of the row's picture as encoders see them.

        Raises:
            UnreadableImage: It is opaque everywhere or nowhere, or shows nothing within the crop.
        """
        masks: dict[Hashable, Pixels] = {}
        for image_input in image_inputs:
            how = {"at_least": decoded_side(image_input), "max_pixels": image_input.max_pixels}
            fetched = self._fetch(row)
            if isinstance(fetched, Image.Image):
                fetched = fetched.copy()  # a change may draw into it
            seen = cropped(row.mask(fetched, **how), image_input)
            if not seen.any():
                raise UnreadableImage("nothing of its opaque part is within the crop")
            masks[mask_of(image_input)] = seen
        return masks

    def _fetch(self, row: Row) -> bytes | Image.Image:
        """Return the result of the row's ``fetch``."""
        if self._fetched is None:
            try:
                self._fetched = row.fetch()
            except UnreadableImage as reason:
                self._fetched = reason
        if isinstance(self._fetched, UnreadableImage):
            raise self._fetched
        return self._fetched

    def _rgb(self, row: Row, side: int | None, max_pixels: int) -> Image.Image:
        """Return what the row's ``rgb`` returns."""
        fetched = self._fetch(row)
        if not self._shared:
            return row.rgb(fetched, at_least=side, max_pixels=max_pixels)
        how = side, max_pixels
        if how not in self._decoded:
            try:
                self._decoded[how] = row.undone(fetched, at_least=side, max_pixels=max_pixels)
            except UnreadableImage as reason:
                self._decoded[how] = reason
        image = self._decoded[how]
        if isinstance(image, UnreadableImage):
            raise image
        # a change gets a copy, for it may draw into its image
        return row.rgb(image if row.change is None else image.copy(), at_least=side, max_pixels=max_pixels)

    def _cropped(self, row: Row, image: Image.Image, image_input: ImageInput) -> Pixels:
        """Return the crop of the row's picture that an encoder takes; of a picture as it is, each is made once."""
        if not self._shared or row.change is not None:
            return cropped(image, image_input)
        if geometry(image_input) not in self._crops:
            self._crops[geometry(image_input)] = cropped(image, image_input)
        return self._crops[geometry(image_input)]
