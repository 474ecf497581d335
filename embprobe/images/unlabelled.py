"""Leave out images that lack a label which nearly all have: one stray file must not stop a run, nor pass unseen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from embprobe.images.rows import Images, MissingLabel
from embprobe.system.text import visible

MAX_UNLABELLED = 0.2
"""The share of images that may lack a label before it is an error.

Stray files, a legend or a screenshot among photographs, are far fewer. Where more images lack a label, it is likelier
that their labels were not found, or that the label is meant for some of the images only.
"""
_NAMED = 3
_LEFT_OUT = " and are left out"


def without_unlabelled(
    images: Images, labels: Iterable[str], *, most: float = MAX_UNLABELLED
) -> tuple[Images, tuple[str, ...]]:
    """Return the images that have all of these labels, and a note on the others for each label that some lack.

    A label that no image has is passed over. Images that lack none are returned as they are.

    Args:
        images: The images.
        labels: Names of labels that are needed.
        most: The largest share of the images that may be left out.

    Raises:
        MissingLabel: More than that lack one of the labels, or no image is left.

    Example:
        >>> pets = Images.without_pictures("pets", ["a", "b", "c"], {"kind": ["cat", None, "dog"]})
        >>> kept, notes = without_unlabelled(pets, ["kind"], most=0.5)
        >>> [row.key for row in kept.rows], notes
        (['a', 'c'], ("1 of 3 images lack the label 'kind' and are left out: 'b' (--max-unlabelled 0.5)",))
    """
    lacking = {label: rows for label in dict.fromkeys(labels) if (rows := images.lacking(label))}
    lacking = {label: rows for label, rows in lacking.items() if len(rows) < len(images)}
    if not lacking:
        return images, ()
    gone = {row for rows in lacking.values() for row in rows}
    if len(gone) == len(images) or not may_lack(len(gone), len(images), most):
        refuse_unlabelled(images, max(lacking, key=lambda label: len(lacking[label])), gone=len(gone), most=most)
    kept = images.take(i for i in range(len(images)) if i not in gone)
    notes = [
        describe_left_out(images.take(rows).keys, len(images), f"lack the label '{visible(name)}'")
        for name, rows in lacking.items()
    ]
    return kept, tuple(f"{note} (--max-unlabelled {most:g})" for note in notes)


def lacking_keys(images: Images, label: str) -> list[str]:
    """Return the keys of the images that lack a label."""
    lacking = images.lacking(label)
    return images.take(lacking).keys if lacking else []


def may_lack(lacking: int, images: int, most: float) -> bool:
    """Return whether so many of the images may lack a label, if ``most`` is the largest share that may."""
    return lacking <= round(most * images, 9)  # 0.29 of 100 images are 28.999999999999996


def refuse_unlabelled(images: Images, label: str, *, gone: int, most: float) -> None:
    """Raise :class:`MissingLabel` that counts the images without a label, and says how to allow ``gone`` of them."""
    keys = lacking_keys(images, label)
    share = math.ceil(100 * gone / len(images)) / 100
    known = ", ".join(map(visible, images.label_names)) or "none"
    allowed = f", or allow it: --max-unlabelled {share:g} (in Python max_unlabelled={share:g})" if share < 1 else ""
    lacking = f"which {len(keys):,} of the {len(images):,} images in '{images.name}' lack, first '{visible(keys[0])}'"
    lacking += f" ({gone:,} lack it or another that is needed)" if gone > len(keys) else ""
    raise MissingLabel(
        f"This needs the label '{visible(label)}', {lacking}; up to {most:.0%} are left out. Label them{allowed}. "
        f"Their labels: {known}."
    )


def brief(sentence: str) -> str:
    """Return a sentence of :func:`describe_left_out` for a list of what is left out, where that need not be repeated.

    Example:
        >>> brief("4 of 40 images lack the label 'kind' and are left out: 'a', 'b', 'c', …")
        "4 of 40 images lack the label 'kind': 'a', 'b', 'c', …"
    """
    return sentence.replace(_LEFT_OUT, "", 1)


def describe_left_out(keys: Sequence[str], count: int, why: str) -> str:
    """Return a sentence without a full stop on images that are left out: their number, the reason, the first keys.

    Example:
        >>> describe_left_out(["a", "b", "c", "d"], 40, "lack the label 'kind'")
        "4 of 40 images lack the label 'kind' and are left out: 'a', 'b', 'c', …"
    """
    named = ", ".join(f"'{visible(key)}'" for key in keys[:_NAMED]) + (", …" if len(keys) > _NAMED else "")
    return f"{len(keys):,} of {count:,} images {why}{_LEFT_OUT}: {named}"
