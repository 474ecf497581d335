from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import embprobe
from embprobe.images import Images, Row
from embprobe.interventions import INTERVENTIONS, find_intervention, plan_of
from embprobe.interventions.apply import _rng, intervene
from embprobe.interventions.base import Rng
from embprobe.interventions.vocabulary import TraitIndex, Vocabulary, parts_of
from tests.conftest import row_of

COUNTED = (str(Path(embprobe.__file__).parent), __file__)
PICTURE = Image.new("RGB", (8, 8))
PLANNERS = [
    *(
        f"{name}{control}"
        for name, each in INTERVENTIONS.items()
        for control in ("", *(f"/{c}" for c in each.controls))
    ),
    "word=thus",
]


def rows_of(labels: Sequence[dict[str, str]]) -> Images:
    return Images("rows", tuple(row_of(f"{i:05d}", PICTURE, **each) for i, each in enumerate(labels)))


MATERIAL: dict[str, Callable[[int], dict[str, str]]] = {
    "one word in all names": lambda i: {"name": f"thing {i:05d}", "category": f"c{i % 7}", "style": f"s{i % 3}"},
    "one name": lambda i: {"name": "cat", "concept": "cat", "category": "animal", "style": f"s{i % 2}"},
    "one name, another style each": lambda i: {"name": "cat", "concept": "cat", "category": "animal", "style": f"{i}"},
    "one name, another category each": lambda i: {"name": "cat", "concept": "cat", "category": f"{i}", "style": "s"},
    "another name each": lambda i: {"name": f"n{i}", "concept": f"n{i}", "category": f"{i}", "style": f"{i}"},
    "one of two words in all names": lambda i: {"name": f"{'ab'[i % 2]} {i}", "concept": "a b", "category": "c"},
    "no labels": lambda i: {},
    "labels now and then": lambda i: {"name": f"n{i}", "category": "c", "concept": "n"} if i % 3 else {"style": "s"},
}


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count executed lines of this package and this file (each turn of a loop is one), and calls into C."""
    steps = [0]

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        steps[0] += event == "line"
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(COUNTED) else None

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        steps[0] += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(call)
    sys.setprofile(profile)
    try:
        yield steps
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])


def steps_to_plan(name: str, images: Images) -> int:
    intervention = find_intervention(name)
    with counted() as steps:
        plan = plan_of(intervention, intervention.preview[-1], images, seed=0)
        for row in images.rows:
            plan(row)
    return steps[0]


@pytest.mark.parametrize("material", MATERIAL)
def test_no_plan_grows_with_the_square_of_the_rows(material: str) -> None:
    """Four times the rows may take 4 times the steps, or 5.3 times with a logarithm; a square would take 16 times."""
    few, many = (rows_of([MATERIAL[material](i) for i in range(n)]) for n in (48, 192))
    for name in PLANNERS:
        steps_to_plan(name, few)  # what is remembered between plans is filled
        assert steps_to_plan(name, many) < 8 * max(steps_to_plan(name, few), 64), name


def test_the_count_of_steps_tells_a_square() -> None:
    def square(n: int) -> int:
        names = [f"{i}" for i in range(n)]
        images = rows_of([{}] * n)

        def planner(donors: Images) -> Callable[..., Any]:
            return lambda row, strength, rng: [name for name in names if name == row.key]

        with counted() as steps:
            plan = planner(images)
            for row in images.rows:
                plan(row, 1, None)
        return steps[0]

    assert square(256) > 12 * square(64)


@pytest.mark.parametrize("name", ["hue", "hue/lightness", "oil/blur", "background", "noise"])
def test_a_change_that_needs_the_image_alone_is_planned_once_for_all_rows(name: str) -> None:
    plan = plan_of(find_intervention(name), find_intervention(name).preview[-1], rows_of([]), seed=0)
    assert len({id(plan(row)) for row in rows_of([{"name": "cat"}, {"name": "dog"}, {}]).rows}) == 1


def test_without_words_labels_stay_the_very_same_columns() -> None:
    images = rows_of([{"name": "cat"}, {}])
    changed = intervene(images, "hue", 60, seed=0)
    assert changed.columns.labels["name"] is images.columns.labels["name"]


def test_a_rows_random_generator_is_that_of_the_list_of_its_digests_bytes() -> None:
    import hashlib

    row = row_of("0/x", PICTURE)
    digest = hashlib.sha256(b"7:0/x\0plan").digest()
    expected = np.random.default_rng(list(digest)).integers(2**63, size=4)
    assert np.array_equal(_rng(row, 7, "plan").integers(2**63, size=4), expected)


NAMES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), min_size=1, max_size=3).map(" ".join),
        st.sampled_from(["", "x", "y"]),
    ),
    max_size=90,
)


@given(NAMES, st.sets(st.sampled_from("abcdefg"), max_size=5), st.sampled_from(["", "x", "y", "z"]), st.integers(0, 89))
def test_the_next_conflicting_name_is_that_of_a_plain_search(
    names: list[tuple[str, str]], parts: set[str], category: str, start: int
) -> None:
    start %= max(len(names), 1)
    turned = names[start:] + names[:start]
    allowed = (name for name, of in turned if not parts & parts_of(name) and (of != category or not category))
    assert Vocabulary(names).conflicting(start, frozenset(parts), category) == next(allowed, None)


@given(st.lists(st.frozensets(st.sampled_from("abcdef"), max_size=4), min_size=1, max_size=120), st.data())
def test_the_index_of_traits_finds_the_next_place_without_them(sets: list[frozenset[str]], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(sets) - 1))
    traits = data.draw(st.frozensets(st.sampled_from("abcdefg"), max_size=5))
    places = [*range(start, len(sets)), *range(start)]
    assert TraitIndex(sets).first_without(traits, start) == next((i for i in places if not traits & sets[i]), None)


def test_one_name_in_a_thousand_that_shares_no_word_is_found_from_everywhere() -> None:
    names = [(f"thing {i}", "x") for i in range(1000)]
    names[700] = ("other", "y")
    vocabulary = Vocabulary(names)
    assert {vocabulary.conflicting(start, frozenset({"thing"}), "x") for start in range(0, 1000, 97)} == {"other"}
    assert vocabulary.conflicting(3, frozenset({"thing", "other"}), "") is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), min_size=2, max_size=25), st.integers(0, 9))
def test_another_house_is_drawn_from_those_of_the_same_concept_in_the_order_of_keys(
    drawn: list[tuple[str, str]], seed: int
) -> None:
    images = rows_of([{"concept": concept, "style": style} for concept, style in drawn])
    plan = plan_of(find_intervention("house"), 1, images, seed=seed)
    for row in images.rows:
        others = [other for other in images.rows if _concept(other) == _concept(row) and _style(other) != _style(row)]
        rng: Rng = _rng(row, seed, "plan")
        chosen = others[int(rng.integers(len(others)))] if others else None
        assert plan(row).mark.startswith(f"{chosen.key}:" if chosen else "there is no other drawing")


def _concept(row: Row) -> str:
    return row.labels["concept"]


def _style(row: Row) -> str:
    return row.labels["style"]
