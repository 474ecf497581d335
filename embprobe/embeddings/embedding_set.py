"""Embedding sets: rows with the vectors that one or more encoders gave them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embprobe.encoders.given import GivenVectors, given_vectors
from embprobe.encoders.spec import Floats
from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images, Row
from embprobe.images.unlabelled import describe_left_out
from embprobe.measures.blocks import rows_at
from embprobe.measures.vectors import LabelArray, lack_direction
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.encoders.spec import Encoder

_KEY = "key"


@dataclass(frozen=True)
class EmbeddingSet:
    """Rows, and by encoder name their vectors ``[n, d]``: made by encoders, brought by a user, or built in a notebook.

    Example:
        >>> mine = EmbeddingSet.from_arrays(
        ...     {"mine": [[1, 0], [0, 1], [1, 1]]},
        ...     labels={"key": ["a", "b", "c"], "category": ["cat", "dog", "cat"]},
        ... )
        >>> mine.keys(), mine.label("category").tolist(), mine.vectors["mine"].shape
        (['a', 'b', 'c'], ['cat', 'dog', 'cat'], (3, 2))
    """

    rows: Images
    vectors: dict[str, Floats]
    """Of a store they are its memory maps, never a copy: :class:`~embprobe.measures.blocks.Blocks` if it has several
    shards, which are indexed and computed with as arrays are, and which ``np.asarray`` makes an array."""
    encoders: Mapping[str, Encoder] = field(default_factory=dict, compare=False, repr=False)
    """Those that made the vectors, as far as they are at hand: they can embed changed images and texts, too."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What was left out on the way here, in sentences without a full stop."""

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, Any],
        *,
        keys: Sequence[str] | None = None,
        labels: Any = None,
        images: Images | None = None,
        by_position: bool = False,
    ) -> EmbeddingSet:
        """Return an embedding set of vectors that were made elsewhere.

        Args:
            arrays: By name, vectors ``[n, d]`` of the same ``n`` rows; each name stands where an encoder's stands.
            keys: ``n`` keys, the images' where there are images; without them the column ``key`` of ``labels``.
            labels: A table of ``n`` rows: a mapping from name to values, a pandas data frame or a pyarrow table.
            images: The images the vectors are of. With them everything works that changes no image; without them
                everything that needs labels alone. Their labels count, too.
            by_position: Match vectors with ``images`` in their order, not by key.

        Returns:
            The rows that have a vector by every name. ``notes`` says how many were left out, and why.

        Raises:
            EmbprobeError: Something is no matrix of finite numbers, or keys, labels and vectors differ in number.
        """
        if not arrays:
            raise EmbprobeError("An embedding set needs vectors: give a name and an array, {'mine': x}.")
        columns = _columns(labels)
        if keys is None and _KEY in columns:
            keys = [str(key) for key in columns[_KEY]]
        columns.pop(_KEY, None)
        given = [
            given_vectors(name, array, keys, labels=columns, by_position=by_position) for name, array in arrays.items()
        ]
        rows, matched, notes = match_rows(given, images)
        embedded = of_given(rows, matched)
        return replace(embedded, notes=tuple(dict.fromkeys([*notes, *embedded.notes])))

    def __len__(self) -> int:
        return len(self.rows)

    def as_encoders(self) -> list[Encoder]:
        """Return what stands for each set of vectors: the encoder that made it, or the vectors themselves."""
        return [
            self.encoders.get(name) or given_vectors(name, vectors, self.keys())
            for name, vectors in self.vectors.items()
        ]

    def at(self, keys: Iterable[str]) -> EmbeddingSet:
        """Return the rows with these keys, in this order; keys that are not there are passed over."""
        wanted, own = list(keys), self.keys()
        if wanted == own:
            return self
        position = {key: i for i, key in enumerate(own)}
        return self.take([position[key] for key in wanted if key in position])

    def take(self, positions: Sequence[int] | NDArray[np.int64]) -> EmbeddingSet:
        """Return the rows at these positions, in this order; many vectors are not copied (:func:`rows_at`)."""
        chosen = np.asarray(positions, np.int64)
        if len(chosen) == len(self) and (chosen == np.arange(len(self))).all():
            return self
        vectors = {name: rows_at(each, chosen) for name, each in self.vectors.items()}
        return replace(self, rows=self.rows.take(chosen.tolist()), vectors=vectors)

    def restricted_to(self, *others: EmbeddingSet) -> EmbeddingSet:
        """Return the rows that the others have too."""
        if all(other.rows is self.rows for other in others):
            return self  # as nearly always
        shared = set.intersection(*(set(other.keys()) for other in others))
        if len(shared) == len(self.rows):
            return self
        return self.at(key for key in self.keys() if key in shared)

    def without_direction(self) -> dict[str, list[int]]:
        """Return by encoder the positions of rows whose vector is zero or not finite; encoders with none are missing.

        Cosines with such a vector are undefined.
        """
        found = {name: np.flatnonzero(lack_direction(each)).tolist() for name, each in self.vectors.items()}
        return {name: positions for name, positions in found.items() if positions}

    def directed(self) -> EmbeddingSet:
        """Return the rows whose vector by every encoder has a direction; ``notes`` count the others.

        Raises:
            EmbprobeError: No row is left.

        Example:
            >>> black = EmbeddingSet.from_arrays({"mine": [[1, 0], [0, 0], [1, 1]]}, keys=["a", "black", "c"])
            >>> black.directed().keys(), black.directed().notes
            (['a', 'c'], ("1 of 3 images have a vector of zeros by mine and are left out: 'black'",))
        """
        lacking = self.without_direction()
        if not lacking:
            return self
        notes = [zeros_note(name, [self.rows.rows[i].key for i in at], len(self)) for name, at in lacking.items()]
        gone = {i for positions in lacking.values() for i in positions}
        if len(gone) == len(self):
            raise EmbprobeError(
                f"No image of '{self.rows.name}' has a vector with a direction by every encoder: {'; '.join(notes)}."
            )
        kept = self.take(np.setdiff1d(np.arange(len(self)), list(gone)))
        return replace(kept, notes=(*self.notes, *notes))

    def label(self, name: str) -> LabelArray:
        """Return one label of every row, ``[n]``; raises :class:`EmbprobeError` that counts the rows that lack it."""
        return np.array(self.rows.label(name), dtype=np.str_)

    def keys(self) -> list[str]:
        """Return the rows' keys."""
        return [row.key for row in self.rows.rows]


def zeros_note(encoder: str, keys: Sequence[str], count: int, under: str = "") -> str:
    """Return a sentence without a full stop on images that are left out because an encoder gives them zeros.

    ``under`` names what was done to them, such as " under hue 90".
    """
    return describe_left_out(keys, count, f"have a vector of zeros by {visible(encoder)}{under}")


def match_rows(
    given: Sequence[GivenVectors], images: Images | None = None
) -> tuple[Images, list[GivenVectors], list[str]]:
    """Return rows for vectors that a user brings, the vectors matched with them by key, and notes.

    Without ``images`` there is a row for every key, and none has a picture. Rows get those labels of the vectors'
    tables that they lack.

    Raises:
        EmbprobeError: Vectors are to be matched by position and differ from the images in number.
    """
    notes = [note for each in given for note in each.notes]
    if images is None:
        rows = _rows_of(given)
    else:
        keys = [row.key for row in images.rows]
        given = [each.keyed(keys) if each.in_order_of(keys) else each for each in given]
        tables = [(each.labels, {key: i for i, key in enumerate(each.keys)}) for each in given if each.labels]
        rows = images if not tables else images.labelled(lambda row: _labels_of(row, tables))
    return rows, list(given), notes


def of_given(images: Images, given: Sequence[GivenVectors]) -> EmbeddingSet:
    """Return the images that have a vector by all of the given; ``notes`` count the others.

    Raises:
        EmbprobeError: No image has a vector by one of them.
    """
    keys = [row.key for row in images.rows]
    positions = {each.spec.name: each.positions(keys) for each in given}
    there = np.flatnonzero(np.all([found >= 0 for found in positions.values()], axis=0))
    notes = [note for each in given for note in _unmatched(images, each, positions[each.spec.name])]
    vectors = {each.spec.name: rows_at(each.vectors, positions[each.spec.name][there]) for each in given}
    rows = images if len(there) == len(images) else images.take(there.tolist())
    return EmbeddingSet(rows, vectors, {each.spec.name: each for each in given}, tuple(notes))


def _rows_of(given: Sequence[GivenVectors]) -> Images:
    keys = list(dict.fromkeys(key for each in given for key in each.keys))
    place = {key: i for i, key in enumerate(keys)}
    labels: dict[str, list[str | None]] = {}
    for each in given:
        for name, values in each.labels.items():
            column = labels.setdefault(name, [None] * len(keys))
            for key, value in zip(each.keys, values, strict=True):
                if column[place[key]] is None:
                    column[place[key]] = value
    return Images.without_pictures("+".join(each.spec.name for each in given), keys, labels)


def _labels_of(
    row: Row, tables: Sequence[tuple[Mapping[str, Sequence[str | None]], Mapping[str, int]]]
) -> dict[str, str]:
    """Return the labels of a row, and those of the tables that it lacks."""
    labels = dict(row.labels)
    for columns, place in tables:
        if (i := place.get(row.key)) is not None:
            for name, values in columns.items():
                value = values[i]
                if value is not None:
                    labels.setdefault(name, value)
    return labels


def _unmatched(images: Images, given: GivenVectors, positions: NDArray[np.int64]) -> list[str]:
    """Return a sentence that counts the images without a vector, if there are any."""
    lacking = np.flatnonzero(positions < 0)
    if not len(lacking):
        return []
    return [
        f"{len(lacking):,} of {len(images):,} images have no vector in '{visible(given.spec.name)}' and are left out, "
        f"first '{visible(images.rows[lacking[0]].key)}'"
    ]


def _columns(table: Any) -> dict[str, list[str | None]]:
    """Return the columns of a table as texts, None where a value is missing."""
    if table is None:
        return {}
    if hasattr(table, "to_pydict"):  # pyarrow
        table = table.to_pydict()
    elif hasattr(table, "to_dict"):  # pandas
        table = table.to_dict(orient="list")
    if not isinstance(table, Mapping):
        raise EmbprobeError("labels must be a table: a mapping from names to values, a data frame or a pyarrow table.")
    return {
        str(name): [None if value is None or value != value else str(value) for value in values]
        for name, values in table.items()
    }
