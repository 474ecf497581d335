"""Sets of rows: every reader makes them, and every later step works on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.images.columns import Columns, Label, References, Sources, labels_of, texts_of
from embprobe.images.decoding import UnreadableImage
from embprobe.images.labels import repeated
from embprobe.images.reading import GUESSED, Reading
from embprobe.images.row import WHITE, Change, Row
from embprobe.system.text import visible

__all__ = ["WHITE", "Images", "MissingLabel", "Row"]


class MissingLabel(EmbprobeError):
    """Some or all images lack a label that is needed."""


@dataclass(frozen=True)
class Images:
    """A named, ordered set of rows.

    Rows are kept as columns, whatever they are given as, and each is made anew when it is asked for.
    """

    name: str
    rows: Sequence[Row]
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
        rows = Columns(
            keys=texts_of(keys),
            content=(texts_of(["no picture"] * len(keys)),),
            labels={label: Label.of(values) for label, values in columns.items()},
            sources=References((_NO_PICTURES,), np.arange(len(keys))),
        )
        return cls(name, rows, has_pictures=False)

    def __post_init__(self) -> None:
        if not isinstance(self.rows, Columns):
            object.__setattr__(self, "rows", Columns.of(self.rows))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> Columns:
        """The rows as columns."""
        assert isinstance(self.rows, Columns)
        return self.rows

    @property
    def keys(self) -> list[str]:
        """The key of every row, in their order."""
        return self.columns.key_texts()

    @property
    def changed(self) -> bool:
        """Whether an intervention changes any of the images."""
        changes = self.columns.changes
        return changes is not None and any(changes.at(i) is not None for i in range(len(self)))

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when a key, the order or an image's content changes; labels do not count."""
        digest = hashlib.sha256()
        for identity in self.columns.identities():
            digest.update(identity + b"\n")
        return digest.hexdigest()[:16]

    @property
    def label_names(self) -> list[str]:
        """The labels that rows have, by the alphabet."""
        return sorted(name for name, label in self.columns.labels.items() if label.missing < len(self))

    def has(self, label: str) -> bool:
        """Return whether every row has this label."""
        return not self.columns.label(label).missing

    def lacks(self, label: str) -> bool:
        """Return whether no row has this label."""
        return self.columns.label(label).missing == len(self)

    def lacking(self, label: str) -> list[int]:
        """Return the positions of the rows that lack a label."""
        return np.flatnonzero(self.columns.label(label).codes < 0).tolist()

    def values(self, label: str) -> list[str | None]:
        """Return one label's value for every row, in their order; None for a row that lacks it."""
        return self.columns.label(label).all()

    def label(self, name: str) -> list[str]:
        """Return one label's value for every row, in their order.

        Raises:
            MissingLabel: A row lacks the label; the message names the labels that there are.
        """
        lacking = self.lacking(name)
        if lacking:
            known_labels = f"Their labels: {', '.join(self.label_names) or 'none'}."
            if len(lacking) == len(self):
                raise MissingLabel(
                    f"This needs the label '{name}', which no image in '{self.name}' has. {known_labels}"
                )
            raise MissingLabel(
                f"This needs the label '{name}', which {len(lacking):,} of the {len(self):,} images in '{self.name}' "
                f"lack, first '{visible(self.rows[lacking[0]].key)}': label them, or leave them out. {known_labels}"
            )
        return [value for value in self.values(name) if value is not None]

    def where(self, **values: str | Sequence[str]) -> Images:
        """Keep the rows whose labels have one of the given values; a row must match every label that is given.

        Example:
            >>> pets = Images.without_pictures("pets", ["a", "b", "c"], {"kind": ["cat", "dog", "cow"]})
            >>> [row.key for row in pets.where(kind=["cat", "cow"]).rows]
            ['a', 'c']
        """
        kept = np.ones(len(self), bool)
        for name, value in values.items():
            kept &= self.columns.label(name).among([value] if isinstance(value, str) else value)
        return self.take(np.flatnonzero(kept))

    def take(self, positions: Iterable[int] | NDArray[np.int64]) -> Images:
        """Pick the rows at these positions (counted from 0), in this order."""
        chosen = positions if isinstance(positions, np.ndarray) else np.fromiter(positions, np.int64)
        return self._of(self.columns.take(chosen))

    def labelled(self, labels: Callable[[Row], Mapping[str, str]]) -> Images:
        """Give every row other labels, those that ``labels`` returns for it."""
        return self._of(replace(self.columns, labels=labels_of(map(labels, self.rows))))

    def relabelled(self, labels: Mapping[str, Label]) -> Images:
        """Give the rows these columns of labels in the place of their own."""
        return self._of(replace(self.columns, labels=labels))

    def limited_to(self, max_pixels: int) -> Images:
        """Let every image be read that has no more pixels than this; the rows are the same otherwise."""
        if self.columns.max_pixels == max_pixels:
            return self
        return replace(self, rows=replace(self.columns, max_pixels=max_pixels))

    def map(self, suffix: str, change: Callable[[Row], tuple[str, Change]]) -> Images:
        """Change every image when it is read; keys and labels stay.

        Args:
            suffix: Describes the change; it is appended to the name of the set.
            change: Returns for a row a mark that identifies its change, to be part of the row's ``content``, and the
                function that changes the image. It is called again whenever the row is read.
        """
        return self.changed_by(suffix, [change(row)[0] for row in self.rows], lambda row: change(row)[1])

    def changed_by(
        self, suffix: str, marks: str | Sequence[str], change: Callable[[Row], Change], *, ours: bool = False
    ) -> Images:
        """Change every image as :meth:`map` does, with the marks of all rows, or the one that they share, given.

        ``ours`` promises that the change needs neither locks, connections nor devices (:attr:`forkable`).
        """
        return replace(self._of(self.columns.changed_by(marks, change, ours=ours)), name=f"{self.name}+{suffix}")

    @property
    def forkable(self) -> bool:
        """Whether a fork of this process may read the images: files of this machine that only our own code changes."""
        return bool(self.place) and "://" not in self.place and self.columns.changed_by_us

    @staticmethod
    def joined(name: str, sets: Sequence[Images]) -> Images:
        """Put the rows of several sets one after the other; keys may then be repeated."""
        places = {each.place for each in sets}
        place = places.pop() if len(places) == 1 else ""
        return Images(name, Columns.joined([each.columns for each in sets]), place=place)

    def _of(self, rows: Columns) -> Images:
        return replace(self, rows=rows, opened_as="")


def _no_picture(number: int) -> bytes:
    raise UnreadableImage("there is no picture, only its key")


_NO_PICTURES = Sources(_no_picture)
