"""Rows of images: every reader makes them, and every later step works on them."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from PIL import Image

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage, decode, flatten
from embprobe.images.labels import repeated
from embprobe.images.reading import GUESSED, Reading
from embprobe.system.pixels import MAX_PIXELS
from embprobe.system.text import visible

WHITE = (255, 255, 255)
_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        *("EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "EINTR", "ESTALE", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED"),
        *("ECONNREFUSED", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH"),
    )
    if hasattr(errno, name)
)
"""Errors that pass by: they say nothing about the image itself, and the same read may succeed later."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image: a stable key, its named labels, and the source of its pixels.

    ``source`` returns the bytes of an image file, or a picture that is in memory already, and raises ``OSError`` or
    :class:`~embprobe.images.decoding.UnreadableImage` if it cannot. ``content`` identifies these bytes (by a hash, or a
    file's size and time): when it changes, vectors made from this row are stale. A key is a name, never a path to open.
    """

    key: str
    labels: Mapping[str, str]
    content: str
    source: Callable[[], bytes | Image.Image] = field(compare=False, repr=False)
    change: Callable[[Image.Image], Image.Image] | None = field(default=None, compare=False, repr=False)
    """The change that an intervention makes to the image after it is decoded."""
    max_pixels: int = field(default=MAX_PIXELS, compare=False, repr=False)
    """A larger image is not decoded."""

    def read(self, *, at_least: int | None = None) -> Image.Image:
        """Read the image, with its alpha channel if it has one.

        Args:
            at_least: Allow a JPEG to be decoded at reduced scale, its shorter side no less than this many pixels.

        Raises:
            UnreadableImage: The image cannot be read.
        """
        return self._decoded(self.fetch(), at_least, self.max_pixels)

    def load(self, background: tuple[int, int, int] = WHITE, *, at_least: int | None = None) -> Image.Image:
        """Read the image as RGB, transparent parts composited onto ``background``; otherwise like :meth:`read`."""
        return self.rgb(self.fetch(), background, at_least=at_least)

    def fetch(self) -> bytes | Image.Image:
        """Fetch the image from its source without decoding it: the bytes of a file, or a picture in memory.

        Raises:
            UnreadableImage: The source cannot give it.
            OSError: A failure that says nothing about this image (no more open files, a network that is away). It
                stays an ``OSError``, because an unreadable row is left out for good.
        """
        try:
            return self.source()
        except OSError as error:
            if error.errno in _PASSING:
                raise
            raise UnreadableImage(error.strerror or type(error).__name__) from None

    def rgb(
        self,
        fetched: bytes | Image.Image,
        background: tuple[int, int, int] = WHITE,
        *,
        at_least: int | None = None,
        max_pixels: int | None = None,
    ) -> Image.Image:
        """Decode the result of :meth:`fetch` into the image that :meth:`load` returns, under another limit if given."""
        return flatten(self._decoded(fetched, at_least, max_pixels or self.max_pixels), background)

    def undone(self, fetched: bytes | Image.Image, *, at_least: int | None = None, max_pixels: int) -> Image.Image:
        """Decode the result of :meth:`fetch` without the row's change; :meth:`rgb` takes the image in its place."""
        return decode(fetched, at_least=at_least, max_pixels=max_pixels) if isinstance(fetched, bytes) else fetched

    def _decoded(self, fetched: bytes | Image.Image, at_least: int | None, max_pixels: int) -> Image.Image:
        image = self.undone(fetched, at_least=at_least, max_pixels=max_pixels)
        return image if self.change is None else self.change(image)


class MissingLabel(EmbprobeError):
    """Some or all images lack a label that is needed."""


@dataclass(frozen=True)
class Images:
    """A named, ordered set of rows."""

    name: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """The reader's remarks, such as how many files it passed over."""
    opened_as: str = ""
    """The name under which ``open_images`` opens these very rows anywhere, with ``reading``; "" if there is none."""
    reading: Reading = GUESSED
    """The choices that were made when they were opened."""
    place: str = ""
    """Where the rows come from: of two sets from one place, rows of the same key and content have the same image."""
    has_pictures: bool = True
    """False if the rows are keys and labels alone, as those of vectors that somebody else has made."""

    @classmethod
    def without_pictures(
        cls, name: str, keys: Sequence[str], labels: Mapping[str, Sequence[str | None]] | None = None
    ) -> Images:
        """Make rows of keys and labels alone, whose vectors come from elsewhere; reading an image of theirs fails.

        Args:
            name: The name of the set.
            keys: One key for each row, all different.
            labels: Columns of labels by their names, one value for each row, None where a row has none.

        Raises:
            EmbprobeError: A key is repeated, or a column has more or fewer values than there are keys.

        Example:
            >>> pets = Images.without_pictures("pets", ["a", "b"], {"kind": ["cat", "dog"]})
            >>> pets.has_pictures, pets.label("kind")
            (False, ['cat', 'dog'])
        """
        columns = labels or {}
        if (key := repeated(keys)) is not None:
            raise EmbprobeError(f"The key '{visible(key)}' in '{name}' is repeated: every row needs a key of its own.")
        for label, values in columns.items():
            if len(values) != len(keys):
                raise EmbprobeError(
                    f"The label '{visible(label)}' of '{name}' has {len(values):,} values for {len(keys):,} rows: it "
                    "needs one for each."
                )
        rows = (
            Row(
                key,
                {label: value for label, values in columns.items() if (value := values[i]) is not None},
                "no picture",
                _no_picture,
            )
            for i, key in enumerate(keys)
        )
        return cls(name, tuple(rows), has_pictures=False)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when a key, the order or an image's content changes; labels do not count."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(f"{row.key}\0{row.content}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def has(self, label: str) -> bool:
        """Return whether every row has this label."""
        return all(label in row.labels for row in self.rows)

    def lacks(self, label: str) -> bool:
        """Return whether no row has this label."""
        return not any(label in row.labels for row in self.rows)

    def label(self, name: str) -> list[str]:
        """Return one label's value for every row, in their order.

        Raises:
            MissingLabel: A row lacks the label; the message names the labels that there are.
        """
        lacking = [row for row in self.rows if name not in row.labels]
        if lacking:
            known = sorted({label for row in self.rows for label in row.labels})
            known_labels = f"Their labels: {', '.join(known) or 'none'}."
            if len(lacking) == len(self):
                raise MissingLabel(
                    f"This needs the label '{name}', which no image in '{self.name}' has. {known_labels}"
                )
            raise MissingLabel(
                f"This needs the label '{name}', which {len(lacking):,} of the {len(self):,} images in '{self.name}' "
                f"lack, first '{visible(lacking[0].key)}': label them, or leave them out. {known_labels}"
            )
        return [row.labels[name] for row in self.rows]

    def where(self, **values: str | Sequence[str]) -> Images:
        """Keep the rows whose labels have one of the given values; a row must match every label that is given.

        Example:
            >>> pets = Images.without_pictures("pets", ["a", "b", "c"], {"kind": ["cat", "dog", "cow"]})
            >>> [row.key for row in pets.where(kind=["cat", "cow"]).rows]
            ['a', 'c']
        """
        wanted = {name: {value} if isinstance(value, str) else set(value) for name, value in values.items()}
        return self._keep(row for row in self.rows if all(row.labels.get(n) in v for n, v in wanted.items()))

    def take(self, positions: Iterable[int]) -> Images:
        """Pick the rows at these positions (counted from 0), in this order."""
        return self._keep(self.rows[i] for i in positions)

    def labelled(self, labels: Callable[[Row], Mapping[str, str]]) -> Images:
        """Give every row other labels, those that ``labels`` returns for it."""
        return self._keep(replace(row, labels=labels(row)) for row in self.rows)

    def limited_to(self, max_pixels: int) -> Images:
        """Let every image be read that has no more pixels than this; the rows are the same otherwise."""
        if all(row.max_pixels == max_pixels for row in self.rows):
            return self
        return replace(self, rows=tuple(replace(row, max_pixels=max_pixels) for row in self.rows))

    def map(self, suffix: str, change: Callable[[Row], tuple[str, Callable[[Image.Image], Image.Image]]]) -> Images:
        """Change every image when it is read; keys and labels stay.

        Args:
            suffix: Describes the change; it is appended to the name of the set.
            change: Returns for a row a mark that identifies its change, to be part of the row's ``content``, and the
                function that changes the image.
        """

        def changed(row: Row) -> Row:
            mark, apply = change(row)
            before = row.change
            both = apply if before is None else lambda image: apply(before(image))
            return replace(row, content=f"{row.content}|{mark}", change=both)

        return replace(self._keep(changed(row) for row in self.rows), name=f"{self.name}+{suffix}")

    def _keep(self, rows: Iterable[Row]) -> Images:
        return replace(self, rows=tuple(rows), opened_as="")


def _no_picture() -> bytes:
    raise UnreadableImage("there is no picture, only its key")
