"""Rows of images: what every reader makes and every later step takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import flatten

WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Row:
    """One image: a stable key, its named labels, and how to read it.

    ``read`` returns the decoded image, with its alpha channel if it has one, and raises
    :class:`~embprobe.images.decoding.UnreadableImage` if it cannot. ``content`` names the bytes behind it (a hash, or
    a file's size and time): when it changes, vectors made from this row are stale.
    """

    key: str
    labels: Mapping[str, str]
    content: str
    read: Callable[[], Image.Image] = field(compare=False, repr=False)

    def load(self, background: tuple[int, int, int] = WHITE) -> Image.Image:
        """The image as RGB, transparent parts composited onto ``background``."""
        return flatten(self.read(), background)


@dataclass(frozen=True)
class Images:
    """A named, ordered set of rows."""

    name: str
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when a key, the order or an image's content changes; labels do not count."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(f"{row.key}\0{row.content}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def has(self, label: str) -> bool:
        """Whether every row has this label."""
        return all(label in row.labels for row in self.rows)

    def label(self, name: str) -> list[str]:
        """One label for every row; raises :class:`EmbprobeError` if a row lacks it."""
        if not self.has(name):
            known = sorted({label for row in self.rows for label in row.labels})
            raise EmbprobeError(
                f"This needs the label '{name}', which not all images in '{self.name}' have. "
                f"Their labels: {', '.join(known) or 'none'}."
            )
        return [row.labels[name] for row in self.rows]

    def where(self, **values: str | Sequence[str]) -> Images:
        """The rows whose labels have one of the given values, e.g. ``images.where(split=["train"])``."""
        wanted = {name: {value} if isinstance(value, str) else set(value) for name, value in values.items()}
        return self._keep(row for row in self.rows if all(row.labels.get(n) in v for n, v in wanted.items()))

    def take(self, positions: Iterable[int]) -> Images:
        """The rows at these positions, in this order."""
        return self._keep(self.rows[i] for i in positions)

    def map(self, suffix: str, change: Callable[[Row, Image.Image], Image.Image]) -> Images:
        """The same rows, every image changed when it is read; ``suffix`` names the change and enters the content."""

        def changed(row: Row) -> Row:
            return replace(row, content=f"{row.content}|{suffix}", read=lambda: change(row, row.read()))

        return Images(f"{self.name}+{suffix}", tuple(changed(row) for row in self.rows))

    def _keep(self, rows: Iterable[Row]) -> Images:
        return Images(self.name, tuple(rows))


def printable(text: str) -> str:
    """Text that UTF-8 can hold, for tables and terminals: bytes of a file name that are none become escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
