"""Rows of images: what every reader makes and every later step takes."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from PIL import Image

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage, decode, flatten
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


@dataclass(frozen=True, slots=True)
class Row:
    """One image: a stable key, its named labels, and where its pixels come from.

    ``source`` gives the bytes of an image file, or a picture that is in memory already, and raises ``OSError`` or
    :class:`~embprobe.images.decoding.UnreadableImage` if it cannot. ``content`` names what is behind it (a hash, or a
    file's size and time): when it changes, vectors made from this row are stale. A key is a name, never a path to open.
    """

    key: str
    labels: Mapping[str, str]
    content: str
    source: Callable[[], bytes | Image.Image] = field(compare=False, repr=False)
    change: Callable[[Image.Image], Image.Image] | None = field(default=None, compare=False, repr=False)
    """What an intervention does to the image after it is decoded."""

    def read(self, *, at_least: int | None = None) -> Image.Image:
        """The image, with its alpha channel if it has one; raises :class:`UnreadableImage` if it cannot be read.

        With ``at_least``, a JPEG may be decoded at reduced scale, its shorter side no less than this many pixels.
        """
        return self._decoded(self.fetch(), at_least)

    def fetch(self) -> bytes | Image.Image:
        """What the source gives; raises :class:`UnreadableImage` if it cannot.

        A failure that says nothing about this image (no more open files, a network that is away) stays an ``OSError``:
        the row would be left out for good.
        """
        try:
            return self.source()
        except OSError as error:
            if error.errno in _PASSING:
                raise
            raise UnreadableImage(error.strerror or type(error).__name__) from None

    def rgb(
        self, found: bytes | Image.Image, background: tuple[int, int, int] = WHITE, *, at_least: int | None = None
    ) -> Image.Image:
        """What :meth:`load` makes of what :meth:`fetch` gave."""
        return flatten(self._decoded(found, at_least), background)

    def _decoded(self, found: bytes | Image.Image, at_least: int | None) -> Image.Image:
        image = decode(found, at_least=at_least) if isinstance(found, bytes) else found
        return image if self.change is None else self.change(image)

    def load(self, background: tuple[int, int, int] = WHITE, *, at_least: int | None = None) -> Image.Image:
        """The image as RGB, transparent parts composited onto ``background``."""
        return self.rgb(self.fetch(), background, at_least=at_least)


class MissingLabel(EmbprobeError):
    """Images lack a label that was asked for, all or some of them."""


@dataclass(frozen=True)
class Images:
    """A named, ordered set of rows, and what its reader has to say about it (files that it could make nothing of)."""

    name: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    opened_as: str = ""
    """What ``load_images`` opens as these very rows, in another process, too; empty where there is nothing."""
    has_pictures: bool = True
    """False if the rows are keys and labels alone, as those of vectors that somebody else has made."""

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
        """Whether every row has this label."""
        return all(label in row.labels for row in self.rows)

    def lacks(self, label: str) -> bool:
        """Whether no row has this label."""
        return not any(label in row.labels for row in self.rows)

    def label(self, name: str) -> list[str]:
        """One label for every row; raises :class:`MissingLabel` if a row lacks it."""
        lacking = [row for row in self.rows if name not in row.labels]
        if lacking:
            known = sorted({label for row in self.rows for label in row.labels})
            told = f"Their labels: {', '.join(known) or 'none'}."
            if len(lacking) == len(self):
                raise MissingLabel(f"This needs the label '{name}', which no image in '{self.name}' has. {told}")
            raise MissingLabel(
                f"This needs the label '{name}', which {len(lacking):,} of the {len(self):,} images in '{self.name}' "
                f"lack, first '{visible(lacking[0].key)}': label them, or leave them out. {told}"
            )
        return [row.labels[name] for row in self.rows]

    def where(self, **values: str | Sequence[str]) -> Images:
        """The rows whose labels have one of the given values, e.g. ``images.where(split=["train"])``."""
        wanted = {name: {value} if isinstance(value, str) else set(value) for name, value in values.items()}
        return self._keep(row for row in self.rows if all(row.labels.get(n) in v for n, v in wanted.items()))

    def take(self, positions: Iterable[int]) -> Images:
        """The rows at these positions, in this order."""
        return self._keep(self.rows[i] for i in positions)

    def labelled(self, labels: Callable[[Row], Mapping[str, str]]) -> Images:
        """The same rows with other labels."""
        return self._keep(replace(row, labels=labels(row)) for row in self.rows)

    def map(self, suffix: str, change: Callable[[Row], tuple[str, Callable[[Image.Image], Image.Image]]]) -> Images:
        """The same rows, every image changed when it is read.

        ``change`` gives for a row a mark of what will be done, which enters its content, and the function that does it.
        """

        def changed(row: Row) -> Row:
            mark, apply = change(row)
            before = row.change
            both = apply if before is None else lambda image: apply(before(image))
            return replace(row, content=f"{row.content}|{mark}", change=both)

        return replace(self._keep(changed(row) for row in self.rows), name=f"{self.name}+{suffix}")

    def _keep(self, rows: Iterable[Row]) -> Images:
        return replace(self, rows=tuple(rows), opened_as="")
