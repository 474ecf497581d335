"""Labels that the folders and files on the way to an image name: its category, its split.

They are guesses. Each is told in a note that begins with ``GUESSED_LABELS``; a user's own names of the levels take its
place.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from embprobe.errors import UsageError
from embprobe.system.text import visible

GUESSED_LABELS = "Labels guessed from"
"""The beginning of every note about a guess."""
SKIP, NONE = "-", "none"
"""A level of folders that names nothing; no level that names anything."""
_SPLITS = {
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("validation", "valid", "validate", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "tests", "testing", "eval", "evaluation"), "test"),
}
_CONTAINERS = frozenset(
    {
        *("image", "images", "img", "imgs", "jpegimages", "jpeg", "jpg", "png", "photo", "photos", "picture"),
        *("pictures", "pics", "data", "dataset", "datasets"),
    }
)
"""Names of folders that say only that images are in them."""
_YEAR_OR_CONTAINER = rf"(?:(?:19|20)\d\d|set|split|{'|'.join(sorted(_CONTAINERS))})"
_FOLDER = re.compile(rf"({'|'.join(_SPLITS)})(?:[-_ ]?{_YEAR_OR_CONTAINER})?")
_FILE = re.compile(rf"({'|'.join(_SPLITS)})(?:(?:[-_.]\d+|\d{{3,}})(?:[-_.]of[-_.]\d+)?(?:-[0-9a-f]{{8,}})?)?")
_SHARD_DIGITS = 5
"""img2dataset numbers its shards with no fewer digits."""


@dataclass(frozen=True)
class PathLabels:
    """The labels of each image, and a note on how they were guessed; the note is empty if nothing was."""

    labels: list[dict[str, str]]
    note: str = ""


def split_named(name: str) -> str | None:
    """Read ``train``, ``validation`` or ``test`` from the name of a folder; None if it names no split.

    The whole name must be that of a split, with nothing behind it but a year (COCO's ``train2017``) or a word for a
    collection (``training_set``, ``test images``): ``train_freight`` and ``test-tubes`` are classes.

    >>> split_named("val"), split_named("train2017"), split_named("train_freight"), split_named("cats")
    ('validation', 'train', None, None)
    """
    match = _FOLDER.fullmatch(name.lower())
    return _SPLITS[match[1]] if match else None


def file_splits(names: Sequence[str]) -> list[str | None]:
    """Read the split of each file from its name (``test-00000-of-00002``), else from the folders above (``test/0000``).

    A file's name must be that of a split, with nothing behind it but the number of a shard. If only some of the files
    have such a name, they are splits only if there are two of them: ``train`` beside ``bus`` is a vehicle. Folders
    count only if every file lies in that of a split.

    Args:
        names: The paths of the files below the folder they share, without extension.

    >>> file_splits(["train-00000", "test-00000-of-00001"]), file_splits(["train_freight", "train_cargo"])
    (['train', 'test'], [None, None])
    """
    matches = [_FILE.fullmatch(name.rpartition("/")[2].lower()) for name in names]
    splits = [_SPLITS[match[1]] if match else None for match in matches]
    if None not in splits or len(set(splits) - {None}) > 1:
        return splits
    above = [next(filter(None, map(split_named, reversed(name.split("/")[:-1]))), None) for name in names]
    return above if None not in above else [None] * len(names)


def splits_note(splits: Collection[str | None]) -> list[str]:
    """Write a note on the splits that :func:`file_splits` has read from the names of files; none if there are none."""
    counts = Counter(split for split in splits if split is not None)
    shown = ", ".join(f"{name} {count:,} file{'' if count == 1 else 's'}" for name, count in sorted(counts.items()))
    return [f"{GUESSED_LABELS} file names: split ({shown}); --folders none leaves it out"] if counts else []


def parse_levels(levels: str) -> tuple[str, ...]:
    """Read the names of folder levels as a user types them: ``split,category``, ``-,category``, ``none``.

    >>> parse_levels("split, category"), parse_levels("none")
    (('split', 'category'), ())
    """
    return () if levels.strip().lower() == NONE else tuple(level.strip() for level in levels.split(","))


def path_labels(
    folders: Sequence[Sequence[str]], *, levels: Sequence[str] | None = None, shards: Collection[str] = ()
) -> PathLabels:
    """Make the labels ``category``, ``split`` and ``folder`` from the folders above each image, outermost first.

    The outermost folder is the category. Where all images lie in folders that are named as splits (images in no
    folder count only if there is one split alone), these are the splits, and the category is the next; or the next
    is the split, if it is for all images. Folders that hold all images and divide nothing are passed by, as is
    ``images`` in a split. Where there are more folders, ``folder`` is the path of all.

    Args:
        folders: The folders above each image.
        levels: The names of the labels that the levels of folders give, instead of any guess; ``-`` for none.
        shards: Paths of folders that are known to be a part of a download, not a category.

    Raises:
        UsageError: A level has no name, a name that another has, or no folder.

    >>> path_labels([["train", "cat"], ["test", "dog", "pug"]]).labels
    [{'split': 'train', 'category': 'cat'}, {'split': 'test', 'category': 'dog', 'folder': 'test/dog/pug'}]
    """
    return _guessed(folders, frozenset(shards)) if levels is None else PathLabels(_named(folders, levels))


def _named(folders: Sequence[Sequence[str]], levels: Sequence[str]) -> list[dict[str, str]]:
    """Make the labels whose names a user gives."""
    names = [level for level in levels if level != SKIP]
    if "" in names or len(set(names)) < len(names):
        raise UsageError(
            f"The levels of folders need different names, '{SKIP}' for a level that is no label; "
            f"'{visible(','.join(levels))}' are not."
        )
    if levels and not any(len(parts) >= len(levels) for parts in folders):
        raise UsageError(
            f"No image lies in as many folders as '{visible(','.join(levels))}' names: {len(levels)}. "
            f"The most is {max(map(len, folders), default=0)}."
        )
    labels = []
    for parts in folders:
        values = {name: part for name, part in zip(levels, parts, strict=False) if name != SKIP}
        if "split" in values:
            values["split"] = split_named(values["split"]) or values["split"]
        if levels and len(parts) > len(levels):
            values.setdefault("folder", "/".join(parts))
        labels.append(values)
    return labels


def _guessed(folders: Sequence[Sequence[str]], shards: frozenset[str]) -> PathLabels:
    wrappers = _count_wrappers(folders)
    split, category = _split_level(folders, wrappers), wrappers
    if split == category:
        category += 1
    labels: list[dict[str, str]] = []
    starts = _starts(folders, split, category)
    dropped = _are_shards([parts[: start + 1] for parts, start in zip(folders, starts, strict=True)], shards)
    for parts, start in zip(folders, starts, strict=True):
        values = {}
        if split is not None and len(parts) > split:
            values["split"] = str(split_named(parts[split]))
        if len(parts) > start and not dropped:
            values["category"] = parts[start]
        if len(parts) > (start + 1 if split is None else max(start, split) + 1):
            values["folder"] = "/".join(parts)
        labels.append(values)
    return PathLabels(labels, _note(labels, "/".join(folders[0][:wrappers]) if folders else "", dropped))


def _count_wrappers(folders: Sequence[Sequence[str]]) -> int:
    """Count the outermost folders that hold all images and say nothing of them, as an unpacked archive has."""
    level = 0
    while True:
        names = {parts[level] if len(parts) > level else None for parts in folders}
        name = next(iter(names), None)
        if len(names) != 1 or name is None or split_named(name):
            return level
        if name.lower() not in _CONTAINERS and not _divided(folders, level + 1):
            return level
        level += 1


def _divided(folders: Sequence[Sequence[str]], level: int) -> bool:
    """Return whether all images lie in folders at this level or deeper that are several, or named as splits."""
    while all(len(parts) > level for parts in folders):
        names = {parts[level] for parts in folders}
        if len(names) > 1 or any(map(split_named, names)):
            return True
        level += 1
    return False


def _split_level(folders: Sequence[Sequence[str]], outermost: int) -> int | None:
    """Find the level of folders that are splits: the outermost, or the one below it."""
    for level in (outermost, outermost + 1):
        names = {parts[level] if len(parts) > level else None for parts in folders}
        splits = {split_named(name) for name in names if name is not None}
        several = len(splits) > 1
        alone = level == outermost and None not in names  # one split below each class divides nothing
        if splits and None not in splits and (alone or (several and (level == outermost or None not in names))):
            return level
    return None


def _starts(folders: Sequence[Sequence[str]], split: int | None, category: int) -> list[int]:
    """Find the level of each image's category: behind ``images`` or the split again, if all of it lies there.

    So Tiny ImageNet's ``val/images`` and Roboflow's ``train/images`` are no categories.
    """
    if split is None or split >= category:
        return [category] * len(folders)
    starts: dict[str, int] = {}
    by_split: dict[str, list[Sequence[str]]] = {}
    for parts in folders:
        by_split.setdefault(parts[split] if len(parts) > split else "", []).append(parts)
    for name, members in by_split.items():
        start = category
        while len(inner := {parts[start] if len(parts) > start else None for parts in members}) == 1:
            (only,) = inner
            if only is None or not (only.lower() in _CONTAINERS or split_named(only) == split_named(name)):
                break
            start += 1
        starts[name] = start
    return [starts[parts[split] if len(parts) > split else ""] for parts in folders]


def _are_shards(paths: Sequence[Sequence[str]], shards: frozenset[str]) -> bool:
    """Return whether all folders have numbers as img2dataset's shards have, and at least half are known as such."""
    distinct = {"/".join(parts) for parts in paths}
    numbers = {parts[-1] if parts else "" for parts in paths}
    numbered = all(name.isdecimal() and len(name) >= _SHARD_DIGITS for name in numbers)
    return numbered and len(set(map(len, numbers))) == 1 and 2 * len(distinct & shards) >= len(distinct)


def _note(labels: Sequence[dict[str, str]], wrappers: str, dropped: bool) -> str:
    """Tell in one line what was guessed."""
    parts = []
    splits = Counter(values["split"] for values in labels if "split" in values)
    if splits:
        parts.append(f"split ({', '.join(f'{name} {count:,}' for name, count in sorted(splits.items()))})")
    categories = sorted({values["category"] for values in labels if "category" in values})
    if categories:
        shown = ", ".join(map(visible, categories[:3])) + (", …" if len(categories) > 3 else "")
        parts.append(f"category ({len(categories):,}: {shown})")
    else:
        parts.append("no category, the folders are shards of a download" if dropped else "no category")
    if not splits and not categories and not dropped and not wrappers:
        return ""
    below = f" below '{visible(wrappers)}'" if wrappers else ""
    return f"{GUESSED_LABELS} folders{below}: {', '.join(parts)}; --folders names them otherwise"
