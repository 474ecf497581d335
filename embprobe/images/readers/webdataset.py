"""Read WebDataset tars: the members ``dir/000.jpg``, ``dir/000.txt``, ``dir/000.json`` are one sample.

One pass through a tar collects the names and places of its members, and the labels; images are then read by their
place, a few megabytes at a time. Nothing is ever extracted to disk, so no member can be written anywhere.
The grouping into samples is WebDataset's: the part of the path before the file name's first dot is the sample's key.
Unlike in WebDataset, the members of a sample may lie anywhere in the tar, and a sidecar whose name has a dot belongs to
the image of the same name up to the last dot.
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.columns import Columns, Label, References, Sources, labels_of, texts_of
from embprobe.images.decoding import MAX_BYTES, SUFFIXES, UnreadableImage, refuse_large
from embprobe.images.labels import MAX_SIDECAR_BYTES, SIDECARS, Boxes, note_of, read_sidecar, unique
from embprobe.images.paths import file_splits, path_labels, splits_note
from embprobe.images.readers.blocks import Blocks
from embprobe.images.readers.locations import Location, why
from embprobe.images.readers.pairing import lacking, pair
from embprobe.images.reading import GUESSED, Reading
from embprobe.images.rows import Images
from embprobe.system.text import visible

BLOCK_BYTES = 4 << 20
_FARTHEST = 1 << 62
"""No file is as long; a damaged header may say so."""
_EXTENSIONS = frozenset(suffix.removeprefix(".") for suffix in SUFFIXES)


def load_tars(name: str, tars: Sequence[Location], reading: Reading = GUESSED) -> Images:
    """Read the images of all samples in these tars, in the order of their first images.

    A row's key is the tar's name, a slash, and the sample's key. ``.txt`` is the label ``caption``, ``.cls`` the label
    ``class``, ``.json`` holds labels by name; folders within the tar are labels as in a folder of images. Where they
    name no split, the tars' own names do (``train-000.tar``).

    Raises:
        UsageError: ``reading`` names a column of keys, which tars do not have.
        EmbprobeError: A file is no tar, or there are no images in any.
    """
    if reading.key_column is not None:
        raise UsageError(f"'{visible(name)}' is a tar and has no table, so no column '{visible(reading.key_column)}'.")
    samples: list[_Sample] = []
    notes: list[str] = []
    imageless: list[Location] = []
    empty: list[Location] = []
    for tar in tars:
        scan = _Scan(tar)
        found = scan.samples()
        samples += found
        notes += scan.notes()
        imageless += [] if found else [tar]
        empty += [tar] if scan.empty else []
    images = [(sample, image) for sample in samples for image in sample.images]
    if not images and len(empty) == len(tars):
        raise EmbprobeError(f"{_no_tar(empty[0])} It has 0 bytes.")
    if not images:
        raise EmbprobeError(f"There are no images in '{name}'. Looked for members ending in {_known()}.")
    notes += note_of("tar{s} without images", [tar.name for tar in imageless])
    keys = unique(_key(sample, image) for sample, image in images)
    guess = path_labels([sample.folders for sample, _ in images], levels=reading.folders)
    labels = guess.labels
    notes += [guess.note] if guess.note else []
    if reading.folders is None and not any("split" in values for values in labels):
        splits = dict(zip(tars, file_splits([tar.name for tar in tars]), strict=True))
        notes += splits_note(splits.values())
        for values, (sample, _) in zip(labels, images, strict=True):
            if (split := splits[sample.tar]) is not None:
                values["split"] = split
    places = [image.place for _, image in images]
    rows = Columns(
        keys=texts_of(keys),
        content=(
            Label.of(f"{place.tar.mark}:" for place in places).values,
            texts_of(f"{place.start}:{place.size}" for place in places),
        ),
        labels=labels_of(values | image.labels for values, (_, image) in zip(labels, images, strict=True)),
        sources=References((Sources(_Members(places).read),), np.arange(len(places))),
    )
    return Images(name, rows, tuple(notes))


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a member's content in a tar, in bytes."""

    tar: Location
    start: int
    size: int


@dataclass(slots=True)
class _Image:
    """An image in a tar."""

    path: str
    place: _Place
    run: int
    """The number of the run of members of one key that it lies in."""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Sidecar:
    """A sidecar in a tar; its labels are the kind of the mistake where it could not be understood."""

    path: str
    run: int
    labels: Mapping[str, str] | type[ValueError]


@dataclass
class _Sample:
    """Images that share a key, each name once."""

    tar: Location
    key: str
    images: list[_Image] = field(default_factory=list)

    @property
    def folders(self) -> list[str]:
        return self.key.split("/")[:-1]


@dataclass(frozen=True)
class _Span:
    """Neighbouring images of a tar that are read together."""

    tar: Location
    start: int
    end: int
    behind: int
    """The number of the image after its last one."""


class _Members:
    """The images in tars by their numbers, up to ``BLOCK_BYTES`` of a tar read at a time."""

    def __init__(self, places: Sequence[_Place]) -> None:
        spans = _spans(places)
        self._starts = np.array([min(place.start, _FARTHEST) for place in places], np.int64)
        self._sizes = np.array([min(place.size, _FARTHEST) for place in places], np.int64)
        self._behind = np.array([span.behind for span in spans], np.int64)
        self._span_starts = np.array([min(span.start, _FARTHEST) for span in spans], np.int64)
        self._blocks = Blocks(lambda number: spans[number].tar.read(spans[number].start, spans[number].end))

    def read(self, number: int) -> bytes:
        """Read the bytes of an image."""
        span = int(np.searchsorted(self._behind, number, side="right"))
        size = int(self._sizes[number])
        refuse_large(size)
        start = int(self._starts[number] - self._span_starts[span])
        content = self._blocks[span][start : start + size]
        if len(content) < size:
            raise UnreadableImage("the tar ends in the middle of it")
        return content


class _Scan:
    """One pass through a tar."""

    def __init__(self, tar: Location) -> None:
        self.tar = tar
        self.empty = False
        self._images: list[_Image] = []
        self._sidecars: list[_Sidecar] = []
        self._passed: list[str] = []
        self._end: str | None = None
        self._notes: list[str] = []

    def notes(self) -> list[str]:
        """Return notes about members that lack a partner, were passed over or are damaged; after :meth:`samples`."""
        name = visible(self.tar.name)
        return [
            *self._notes,
            *note_of(f"member{{s}} of {name} passed over: links, devices or files with holes", self._passed),
            *([f"{name} is damaged after {self._end}"] if self._end else []),
        ]

    def samples(self) -> list[_Sample]:
        """Collect the samples that hold an image, in order; raises :class:`EmbprobeError` if this is no tar."""
        try:
            with closing(self.tar.open()) as file:
                self._collect(file)
        except UnreadableImage as reason:
            raise EmbprobeError(f"{reason}.") from None
        self._label()
        samples: dict[tuple[str, int], _Sample] = {}
        times: Counter[str] = Counter()
        for image in self._images:
            key = _key_of(image.path)
            sample = samples.setdefault((key, times[image.path]), _Sample(self.tar, key))
            sample.images.append(image)
            times[image.path] += 1
        repeated = [path for path, count in times.items() if count > 1]
        self._notes += note_of(f"image{{s}} in {visible(self.tar.name)} more than once, each is read", repeated)
        return list(samples.values())

    def _collect(self, file: BinaryIO) -> None:
        run, last = 0, ""
        try:
            for member in _members(file):
                path = "/".join(part for part in member.name.split("/") if part not in ("", ".", ".."))
                stem, dot, extension = path.rpartition("/")[2].partition(".")
                if not member.isreg() or member.issparse():
                    self._passed += [] if member.isdir() else [member.name]
                elif stem and dot:
                    run, last = run + (_key_of(path) != last), _key_of(path)
                    self._add(path, extension.lower().rpartition(".")[2], run, member, file)
        except Exception as error:  # tarfile's many, RecursionError among them, and those of the file system
            damage = tarfile.TarError | ValueError | ArithmeticError | RecursionError | MemoryError
            if not isinstance(error, damage) and not (self.tar.local and isinstance(error, OSError)):
                raise self.tar.failure(error) from None
            if not run:
                self.empty = _is_empty(file)
                if self.empty:
                    return
                raise EmbprobeError(_no_tar(self.tar)) from None
            self._end = f"{visible(last)}: what follows could not be read ({why(error)})"

    def _add(self, path: str, kind: str, run: int, member: tarfile.TarInfo, file: BinaryIO) -> None:
        if kind in _EXTENSIONS:
            self._images.append(_Image(path, _Place(self.tar, member.offset_data, member.size), run))
        elif kind in SIDECARS:
            file.seek(member.offset_data)
            content = file.read(min(member.size, MAX_SIDECAR_BYTES + 1))
            try:
                if len(content) < min(member.size, MAX_SIDECAR_BYTES + 1):
                    raise ValueError("cut off")
                self._sidecars.append(_Sidecar(path, run, read_sidecar(kind, content)))
            except ValueError as error:
                self._sidecars.append(_Sidecar(path, run, type(error)))

    def _label(self) -> None:
        """Add the labels in sidecars to their images."""
        where = f" in {visible(self.tar.name)}"
        pairs = pair([image.path for image in self._images], [each.path for each in self._sidecars], by_key=True)
        broken: list[str] = []
        boxes: list[str] = []
        repeated: list[str] = []
        times: Counter[str] = Counter()
        having: dict[str, set[int]] = {kind: set() for kind in sorted(SIDECARS)}
        taken: set[tuple[str, int]] = set()
        for sidecar, found in zip(self._sidecars, pairs.images, strict=True):
            images = self._nearest(sidecar, found, times[sidecar.path])
            times[sidecar.path] += 1
            having[sidecar.path.rpartition(".")[2].lower()].update(images)
            repeated += [sidecar.path] if any((sidecar.path, image) in taken for image in images) else []
            taken.update((sidecar.path, image) for image in images)
            if isinstance(sidecar.labels, Mapping):
                for image in images:
                    self._images[image].labels |= sidecar.labels
            elif images:
                (boxes if sidecar.labels is Boxes else broken).append(sidecar.path)
        paths = [image.path for image in self._images]
        self._notes += [
            *note_of(f"sidecar{{s}}{where} that could not be understood", broken),
            *note_of(f"text{{s}}{where} with boxes of objects, no caption", boxes),
            *note_of(f"sidecar{{s}}{where} more than once, of which the last counts", repeated),
            *pairs.notes(where),
            *(
                note
                for kind in having
                for note in ([] if boxes and kind == "txt" else lacking(paths, having[kind], kind))
            ),
        ]

    def _nearest(self, sidecar: _Sidecar, images: Sequence[int], before: int) -> list[int]:
        """Choose among images of one name: the last in the sidecar's own run of members, else by their order.

        ``before`` counts the sidecars of the same name that came before.
        """
        by_path: dict[str, list[int]] = {}
        for image in images:
            by_path.setdefault(self._images[image].path, []).append(image)
        chosen = []
        for same in by_path.values():
            near = [image for image in same if self._images[image].run == sidecar.run]
            chosen.append(near[-1] if near else same[min(before, len(same) - 1)])
        return chosen


def _is_empty(file: BinaryIO) -> bool:
    try:
        file.seek(0)
        return not file.read(1)
    except Exception:  # each file system has errors of its own
        return False


def _no_tar(tar: Location) -> str:
    return f"'{tar.path}' is not a tar, or a compressed one; unpack it first."


def _key_of(path: str) -> str:
    """Return a sample's key: the path up to the first dot of its last part."""
    folder, slash, base = path.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # or a long tar would be remembered whole
            if member.size < 0:
                raise tarfile.ReadError("a member of negative size")
            yield member


def _spans(places: Sequence[_Place]) -> list[_Span]:
    """Group consecutive images of one tar into spans of ``BLOCK_BYTES``; a larger image is a span of its own."""
    spans: list[_Span] = []
    for number, place in enumerate(places, 1):
        end = place.start + min(place.size, MAX_BYTES)
        last = spans[-1] if spans else None
        if last and last.tar is place.tar and last.start <= place.start and end - last.start <= BLOCK_BYTES:
            spans[-1] = _Span(place.tar, last.start, max(last.end, end), number)
        else:
            spans.append(_Span(place.tar, place.start, end, number))
    return spans


def _key(sample: _Sample, image: _Image) -> str:
    """Make an image's key: its tar and its sample, with the extension where the sample has several images."""
    key = f"{sample.tar.name}/{sample.key}"
    return key if len(sample.images) == 1 else f"{key}.{image.path.removeprefix(sample.key)[1:].lower()}"


def _known() -> str:
    return ", ".join(sorted(SUFFIXES))
