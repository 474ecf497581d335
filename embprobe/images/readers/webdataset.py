"""Read WebDataset tars: the members ``dir/000.jpg``, ``dir/000.txt``, ``dir/000.json`` are one sample.

One pass through a tar collects the names and places of its members, and the labels; images are then read by their
place, a few megabytes at a time. Nothing is ever extracted to disk, so no member can be written anywhere.
The grouping into samples is WebDataset's: the part of the path before the file name's first dot is the sample's key.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import BinaryIO

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import MAX_BYTES, SUFFIXES, UnreadableImage, refuse_large
from embprobe.images.labels import MAX_SIDECAR_BYTES, SIDECARS, note_of, read_sidecar, unique
from embprobe.images.paths import file_splits, path_labels, splits_note
from embprobe.images.readers.blocks import Blocks
from embprobe.images.readers.locations import Location, why
from embprobe.images.reading import DEFAULT, Reading
from embprobe.images.rows import Images, Row
from embprobe.system.text import visible

BLOCK_BYTES = 4 << 20
_EXTENSIONS = frozenset(suffix.removeprefix(".") for suffix in SUFFIXES)


def load_tars(name: str, tars: Sequence[Location], reading: Reading = DEFAULT) -> Images:
    """Read the images of all samples in these tars, in their order.

    A row's key is the tar's name, a slash, and the sample's key. ``.txt`` is the label ``caption``, ``.cls`` the label
    ``class``, ``.json`` holds labels by name; folders within the tar are labels as in a folder of images. Where they
    name no split, the tars' own names do (``train-000.tar``).

    Raises:
        EmbprobeError: A file is no tar, or there are no images in any.
    """
    samples: list[_Sample] = []
    notes: list[str] = []
    for tar in tars:
        scan = _Scan(tar)
        samples += scan.samples()
        notes += scan.notes()
    images = [(sample, extension) for sample in samples for extension in sample.images]
    if not images:
        raise EmbprobeError(f"There are no images in '{name}'. Looked for members ending in {_known()}.")
    spans = _spans([sample.images[extension] for sample, extension in images])
    blocks = Blocks(lambda number: spans[number].tar.read(spans[number].start, spans[number].end))
    keys = unique(_key(sample, extension) for sample, extension in images)
    guess = path_labels([sample.folders for sample, _ in images], levels=reading.folders)
    labels = guess.labels
    notes += [guess.note] if guess.note else []
    if reading.folders is None and not any("split" in values for values in labels):
        splits = dict(zip(tars, file_splits([tar.name for tar in tars]), strict=True))
        notes += splits_note(splits.values())
        for values, (sample, _) in zip(labels, images, strict=True):
            if (split := splits[sample.tar]) is not None:
                values["split"] = split
    rows: list[Row] = []
    for number, span in enumerate(spans):
        for place in span.places:
            sample = images[len(rows)][0]
            rows.append(
                Row(
                    key=keys[len(rows)],
                    labels={**labels[len(rows)], **sample.labels},
                    content=f"{place.tar.mark}:{place.start}:{place.size}",
                    source=partial(_read, blocks, number, place.start - span.start, place.size),
                )
            )
    return Images(name, tuple(rows), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a member's content in a tar, in bytes."""

    tar: Location
    start: int
    size: int


@dataclass
class _Sample:
    """The members that share a key."""

    tar: Location
    key: str
    images: dict[str, _Place] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def folders(self) -> list[str]:
        return self.key.split("/")[:-1]


@dataclass(frozen=True)
class _Span:
    """Neighbouring members that are read together."""

    tar: Location
    start: int
    end: int
    places: tuple[_Place, ...]


class _Scan:
    """One pass through a tar."""

    def __init__(self, tar: Location) -> None:
        self.tar = tar
        self._broken: list[str] = []
        self._passed: list[str] = []
        self._end: str | None = None

    def notes(self) -> list[str]:
        """Return notes about members that were passed over or damaged; call it after :meth:`samples`."""
        name = visible(self.tar.name)
        return [
            *note_of(f"sidecar{{s}} in {name} that could not be understood", self._broken),
            *note_of(f"member{{s}} of {name} passed over: links, devices or files with holes", self._passed),
            *([f"{name} is damaged after {self._end}"] if self._end else []),
        ]

    def samples(self) -> list[_Sample]:
        """Collect the samples that hold an image, in order; raises :class:`EmbprobeError` if this is no tar."""
        samples: list[_Sample] = []
        try:
            with closing(self.tar.open()) as file:
                self._collect(file, samples)
        except UnreadableImage as reason:
            raise EmbprobeError(f"{reason}.") from None
        return [sample for sample in samples if sample.images]

    def _collect(self, file: BinaryIO, samples: list[_Sample]) -> None:
        try:
            for member in _members(file):
                path = "/".join(part for part in member.name.split("/") if part not in ("", ".", ".."))
                folder, _, base = path.rpartition("/")
                stem, dot, extension = base.partition(".")
                if not member.isreg() or member.issparse():
                    self._passed += [] if member.isdir() else [member.name]
                elif stem and dot:
                    key = f"{folder}/{stem}" if folder else stem
                    if not samples or samples[-1].key != key:
                        samples.append(_Sample(self.tar, key))
                    self._add(samples[-1], extension.lower(), member, file)
        except Exception as error:  # tarfile's many, RecursionError among them, and those of the file system
            damage = tarfile.TarError | ValueError | ArithmeticError | RecursionError | MemoryError
            if not isinstance(error, damage) and not (self.tar.local and isinstance(error, OSError)):
                raise self.tar.failure(error) from None
            if not samples:
                raise EmbprobeError(f"'{self.tar.path}' is not a tar, or a compressed one; unpack it first.") from None
            self._end = f"{visible(samples[-1].key)}: what follows could not be read ({why(error)})"

    def _add(self, sample: _Sample, extension: str, member: tarfile.TarInfo, file: BinaryIO) -> None:
        kind = extension.rpartition(".")[2]
        if kind in _EXTENSIONS:
            sample.images[extension] = _Place(self.tar, member.offset_data, member.size)
        elif extension in SIDECARS:
            file.seek(member.offset_data)
            try:
                content = file.read(min(member.size, MAX_SIDECAR_BYTES + 1))
                if len(content) < min(member.size, MAX_SIDECAR_BYTES + 1):
                    raise ValueError("cut off")
                sample.labels |= read_sidecar(extension, content)
            except ValueError:
                self._broken.append(member.name)


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # or a long tar would be remembered whole
            if member.size < 0:
                raise tarfile.ReadError("a member of negative size")
            yield member


def _spans(places: Sequence[_Place]) -> list[_Span]:
    """Group consecutive members of one tar into spans of ``BLOCK_BYTES``; a larger member is a span of its own."""
    spans: list[_Span] = []
    for place in places:
        end = place.start + min(place.size, MAX_BYTES)
        last = spans[-1] if spans else None
        if last and last.tar is place.tar and last.start <= place.start and end - last.start <= BLOCK_BYTES:
            spans[-1] = replace(last, end=max(last.end, end), places=(*last.places, place))
        else:
            spans.append(_Span(place.tar, place.start, end, (place,)))
    return spans


def _read(blocks: Blocks[bytes], number: int, start: int, size: int) -> bytes:
    refuse_large(size)
    content = blocks[number][start : start + size]
    if len(content) < size:
        raise UnreadableImage("the tar ends in the middle of it")
    return content


def _key(sample: _Sample, extension: str) -> str:
    """Make an image's key: its tar and its sample, with the extension where the sample has several images."""
    key = f"{sample.tar.name}/{sample.key}"
    return key if len(sample.images) == 1 else f"{key}.{extension}"


def _known() -> str:
    return ", ".join(sorted(SUFFIXES))
