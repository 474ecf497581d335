"""Labels that the folders and files on the way to an image name: its category, its split."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


def split_named(name: str) -> str | None:
    """Read ``train``, ``validation`` or ``test`` from the name of a folder or file; None if it names no split.

    >>> split_named("val"), split_named("test-00000-of-00002"), split_named("cats")
    ('validation', 'test', None)
    """
    return _SPLITS.get(re.split(r"[-_.\d]", name.lower(), maxsplit=1)[0])


def path_labels(folders: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Make the labels ``category``, ``split`` and ``folder`` from the folders above each image, outermost first.

    The outermost folder is the category; where all images lie in folders that are named as splits, these are the
    splits, and the category is the next. Where there are more folders, ``folder`` is the path of all.

    >>> path_labels([["train", "cat"], ["test", "dog", "pug"]])
    [{'split': 'train', 'category': 'cat'}, {'split': 'test', 'category': 'dog', 'folder': 'test/dog/pug'}]
    """
    splits = bool(folders) and all(parts and split_named(parts[0]) for parts in folders)
    names = ("split", "category") if splits else ("category",)
    labels = [dict(zip(names, parts, strict=False)) for parts in folders]
    for image_labels, parts in zip(labels, folders, strict=True):
        if splits:
            image_labels["split"] = str(split_named(parts[0]))
        if len(parts) > len(names):
            image_labels["folder"] = "/".join(parts)
    return labels
