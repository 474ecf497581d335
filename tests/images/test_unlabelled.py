"""Images that lack a label which nearly all have are left out and named; where many lack it, that is an error."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

import embprobe.cli.options
from embprobe import api
from embprobe.errors import UsageError
from embprobe.images.rows import Images, MissingLabel
from embprobe.images.unlabelled import MAX_UNLABELLED, brief, may_lack, without_unlabelled

KEYS = [f"{i:02d}" for i in range(20)]


def pets(*lacking: int, **others: set[int]) -> Images:
    """Twenty images with a label ``kind``, and others, but for those at these positions."""
    columns = {"kind": set(lacking), **others}
    labels = {name: [None if i in gone else "x" for i in range(20)] for name, gone in columns.items()}
    return Images.without_pictures("pets", KEYS, labels)


@given(st.sets(st.integers(0, 19)), st.sets(st.integers(0, 19)), st.sampled_from([0, 0.05, 0.2, 0.5, 1]))
def test_those_that_have_every_label_stay_or_it_is_an_error(kind: set[int], look: set[int], most: float) -> None:
    images = pets(*kind, look=look)
    gone: set[int] = set().union(*(each for each in (kind, look) if len(each) < 20))  # a label of none is passed over
    if len(gone) > most * 20 or len(gone) == 20:
        with pytest.raises(MissingLabel):
            without_unlabelled(images, ["kind", "look", "none"], most=most)
        return
    kept, notes = without_unlabelled(images, ["kind", "look", "none"], most=most)
    assert [row.key for row in kept.rows] == [key for i, key in enumerate(KEYS) if i not in gone]
    assert len(notes) == sum(0 < len(each) < 20 for each in (kind, look))
    assert (kept is images) == (not gone)
    for each, name in ((kind, "kind"), (look, "look")):
        if 0 < len(each) < 20:
            assert any(f"{len(each)} of 20 images lack the label '{name}'" in note for note in notes)
            assert any(f"'{KEYS[min(each)]}'" in note for note in notes)


def test_a_share_that_is_no_binary_fraction_is_meant_exactly() -> None:
    assert may_lack(29, 100, 0.29) and not may_lack(30, 100, 0.29)
    assert may_lack(7, 35, 0.2) and not may_lack(8, 35, 0.2)


def test_the_error_says_how_many_which_and_how_to_allow_it() -> None:
    with pytest.raises(MissingLabel) as wrong:
        without_unlabelled(pets(3, 4, 5, 6, 7), ["kind"])
    assert str(wrong.value) == (
        "This needs the label 'kind', which 5 of the 20 images in 'pets' lack, first '03'; up to 20% are left out. "
        "Label them, or allow it: --max-unlabelled 0.25 (in Python max_unlabelled=0.25). Their labels: kind."
    )
    without_unlabelled(pets(3, 4, 5, 6, 7), ["kind"], most=0.25)
    with pytest.raises(MissingLabel, match=r"which 3 of the 20 .* \(5 lack it or another that is needed\)"):
        without_unlabelled(pets(0, 1, 2, look={18, 19}), ["look", "kind"])


def test_names_are_safe_on_a_terminal_and_few() -> None:
    images = Images.without_pictures("odd", ["a\x1b[2J", *KEYS], {"kind": [None, *"x" * 20]})
    (note,) = without_unlabelled(images, ["kind"])[1]
    assert "\x1b" not in note and "\\x1b[2J" in note
    (note,) = without_unlabelled(pets(1, 2, 3, 4), ["kind"])[1]
    assert note.endswith("are left out: '01', '02', '03', … (--max-unlabelled 0.2)")
    assert brief(note) == "4 of 20 images lack the label 'kind': '01', '02', '03', … (--max-unlabelled 0.2)"


def test_the_share_is_the_same_for_the_commands_and_for_python() -> None:
    default = inspect.signature(api.open_session).parameters["max_unlabelled"].default
    assert embprobe.cli.options.MAX_UNLABELLED == MAX_UNLABELLED == default
    with pytest.raises(UsageError, match="from 0 to 1, not 20"):
        api.open_session(max_unlabelled=20)
