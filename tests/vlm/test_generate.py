"""Generated questions: the answers are true of the pictures, and language alone tells nothing."""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage, stats
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import SGDClassifier

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, UnreadableImage, load_images
from embprobe.pretraining.data import TrainingImages, Words
from embprobe.vlm import scenes
from embprobe.vlm.generate import WORDS, Generated, generate
from embprobe.vlm.question import Question
from embprobe.vlm.scenes import COLORS
from tests.conftest import row_of

STYLES, CATEGORIES, NAMES = ("oil", "ink", "pen", "wax"), ("beast", "plant", "tool", "toy"), "abcde"
KINDS = {
    "text": {"word", "label"},
    "category": {"name", "kind"},
    "colour": {"background", "ink"},
    "style": {"house", "houses"},
    "vision-centric": {"count", "place", "larger", "turned", "odd"},
    "reasoning": {"colour behind", "word beside", "how many"},
}
PAINTED = {word: (3 + 7 * i, 1, 254) for i, word in enumerate(WORDS)}
"""Colours that stand for words in the tests."""


def paint(style: int, category: int, name: int) -> tuple[int, int, int]:
    return 11 + 50 * style, 13 + 50 * category, 103 + 20 * name


def drawing(color: tuple[int, int, int]) -> Image.Image:
    """A square without its lower right quarter, so that one sees how it is turned."""
    image = Image.new("RGBA", (48, 48))
    ImageDraw.Draw(image).rectangle((4, 4, 43, 43), (*color, 255))
    ImageDraw.Draw(image).rectangle((24, 24, 47, 47), (0, 0, 0, 0))
    return image


def cut_outs(*without: str) -> Images:
    """Drawings of every name of every category in every style, whose colour tells all three."""
    rows = []
    for s, style in enumerate(STYLES):
        for c, category in enumerate(CATEGORIES):
            for n, letter in enumerate(NAMES):
                name = category + letter
                labels = {"style": style, "category": category, "name": name, "concept": name}
                kept = {label: value for label, value in labels.items() if label not in without}
                rows.append(row_of(f"{name}/{style}", drawing(paint(s, c, n)), **kept))
    return Images("cut-outs", tuple(rows))


class Seen:
    """What is to be seen in a picture of the cut-outs above."""

    def __init__(self, picture: Image.Image) -> None:
        self.values = np.asarray(picture)
        self.side = picture.width

    def of(self, color: tuple[int, int, int]) -> NDArray[np.bool_]:
        return np.asarray((self.values == color).all(-1))

    @property
    def things(self) -> list[tuple[str, str, str, float, float, int]]:
        """Style, category, name, centre and area of every thing."""
        found = []
        for s, style in enumerate(STYLES):
            for c, category in enumerate(CATEGORIES):
                for n, letter in enumerate(NAMES):
                    parts, number = ndimage.label(self.of(paint(s, c, n)))
                    for part in range(1, number + 1):
                        ys, xs = np.nonzero(parts == part)
                        if len(ys) > 60:
                            x, y = (xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2
                            found.append((style, category, category + letter, x, y, len(ys)))
        return found

    def color(self, x: float, y: float = 0) -> str:
        """The name of the colour at a pixel."""
        value = self.values[int(y), int(x)].astype(float)
        return min(COLORS, key=lambda name: float(np.abs(value - COLORS[name]).sum()))

    def words(self) -> list[tuple[str, float]]:
        """Each word and the middle of its width, as a share."""
        there = [(word, np.nonzero(self.of(color))[1]) for word, color in PAINTED.items()]
        return [(word, float(xs.mean()) / self.side) for word, xs in there if len(xs)]


def side_of(x: float, y: float, side: float) -> str:
    across, down = x - side / 2, y - side / 2
    if abs(across) > abs(down):
        return "left" if across < 0 else "right"
    return "above" if down < 0 else "below"


def corner_of(x: float, y: float, side: float) -> str:
    return f"{'top' if y < side / 2 else 'bottom'} {'left' if x < side / 2 else 'right'}"


def seen_answer(question: Question, seen: Seen, inks: dict[str, tuple[int, int, int]]) -> str:
    """Find the answer in the picture alone."""
    things, side = seen.things, seen.side
    of_kind = re.search(r"kind (\w+)\?", question.text)
    about = [each for each in things if of_kind and each[1] == of_kind[1]]
    match question.kind:
        case "word":
            ((word, _),) = seen.words()
            return word
        case "ink":
            ((word, _),) = seen.words()
            return next(name for name, color in COLORS.items() if color == inks[word])
        case "background":
            return seen.color(0)
        case "name" | "kind" | "house":
            ((style, category, name, *_),) = things
            return {"name": name, "kind": category, "house": style}[question.kind]
        case "label":
            labelled = re.search(r"labelled (\w+)\?", question.text)
            assert labelled
            middle = dict(seen.words())[labelled[1]]
            return min(things, key=lambda each: abs(each[3] / side - middle))[2]
        case "count":
            return str(len(things))
        case "place":
            ((*_, x, y, _area),) = things
            return side_of(x, y, side)
        case "larger":
            *_, x, y, area = max(things, key=lambda each: each[-1])
            assert area == pytest.approx(4 * min(each[-1] for each in things), rel=0.15)
            return side_of(x, y, side)
        case "turned":
            ((*_, x, y, _area),) = things
            return turned_at(seen, x, y)
        case "odd":
            return odd_one(things, seen)
        case "houses":
            rare = min(Counter(each[0] for each in things).items(), key=lambda pair: pair[1])[0]
            ((*_, x, y, _area),) = (each for each in things if each[0] == rare)
            return corner_of(x, y, side)
        case "how many":
            return str(len(about))
        case "colour behind":
            return seen.color(side * 0.02 if about[0][3] < side / 2 else side * 0.98)
        case "word beside":
            return min(seen.words(), key=lambda pair: abs(pair[1] - about[0][3] / side))[0]
    raise AssertionError(question.kind)


def missing_quarter(seen: Seen, x: float, y: float, reach: int) -> tuple[int, int]:
    """The direction of the quarter in which a thing has no pixel."""
    ground = {tuple(seen.values[0, 0])}
    empty = [
        (dx, dy)
        for dx in (-1, 1)
        for dy in (-1, 1)
        if tuple(seen.values[int(y + dy * reach), int(x + dx * reach)]) in ground
    ]
    assert len(empty) == 1
    return empty[0]


def turned_at(seen: Seen, x: float, y: float) -> str:
    return {
        (1, 1): "upright",
        (-1, 1): "turned to the right",  # the empty quarter goes from lower right to lower left
        (-1, -1): "upside down",
        (1, -1): "turned to the left",
    }[missing_quarter(seen, x, y, 15)]


def odd_one(things: Sequence[tuple[str, str, str, float, float, int]], seen: Seen) -> str:
    looks = [(each[2], missing_quarter(seen, each[3], each[4], 8)) for each in things]
    assert len(looks) == 4
    (odd,) = [each for each, look in zip(things, looks, strict=True) if looks.count(look) == 1]
    return corner_of(odd[3], odd[4], seen.side)


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int, int]]:
    """Paint a colour of its own for each word, and remember the ink that it had."""
    inks: dict[str, tuple[int, int, int]] = {}

    def fill(strip: Image.Image, word: str, *, color: tuple[int, int, int], **how: Any) -> Image.Image:
        inks[word.lower()] = color
        strip = strip.copy()
        strip.paste(PAINTED[word.lower()], (4, 4, strip.width - 4, strip.height - 4))
        return strip

    monkeypatch.setattr(scenes, "draw_word", fill)
    return inks


@pytest.mark.parametrize("kind", sorted(kind for kinds in KINDS.values() for kind in kinds))
def test_answers_are_true_of_the_pictures(kind: str, painted: dict[str, tuple[int, int, int]]) -> None:
    asked = generate(cut_outs(), scenes=200, seed=3).questions
    rows = dict(zip(asked.images.keys, asked.images.rows, strict=True))
    chosen = [each for each in asked.questions if each.kind == kind][:25]
    assert len(chosen) >= 10
    for question in chosen:
        assert seen_answer(question, Seen(rows[question.image].read()), painted) == question.right, question


def test_every_group_has_its_kinds() -> None:
    asked = generate(cut_outs(), scenes=200, seed=0).questions
    kinds: dict[str, set[str]] = defaultdict(set)
    for each in asked.questions:
        kinds[each.group].add(each.kind)
    assert kinds == KINDS
    assert not asked.notes


def test_the_caption_tells_every_answer() -> None:
    generated = generate(load_images("bundled/emoji:train"), scenes=400, seed=0)
    captions = dict(zip(generated.questions.images.keys, generated.captions, strict=True))
    untold = [each for each in generated.questions.questions if each.right not in captions[each.image]]
    assert untold == []


def test_labels_of_a_scene_are_its_facts() -> None:
    asked = generate(cut_outs(), scenes=60, seed=0).questions
    rows = {row.key: row.labels for row in asked.images.rows}
    label = {"word": "word", "ink": "ink", "background": "background", "kind": "category", "count": "count"}
    for each in asked.questions:
        if each.kind in label:
            assert rows[each.image][label[each.kind]] == each.right
    assert {each["scene"] for each in rows.values()} == {key.rpartition("-")[0] for key in rows}


# --- the same each time ---


def test_a_scene_depends_on_seed_and_number_alone() -> None:
    few, many, other = (generate(cut_outs(), scenes=n, seed=seed) for n, seed in ((20, 0), (40, 0), (20, 1)))
    assert list(few.questions.questions) == list(many.questions.questions)[: len(few.questions)]
    assert few.captions == many.captions[:20]
    for a, b, c in zip(
        few.questions.images.rows, many.questions.images.rows[:20], other.questions.images.rows, strict=True
    ):
        assert a == b
        assert a.read().tobytes() == b.read().tobytes() == a.read().tobytes()
        assert a.content != c.content


def test_the_content_of_a_scene_changes_with_every_row_that_it_shows() -> None:
    images = cut_outs()
    before = generate(images, scenes=40, seed=0).questions.images
    touched = 17
    rows = [replace(row, content=f"{row.content}*") if i == touched else row for i, row in enumerate(images.rows)]
    after = generate(Images("cut-outs", tuple(rows)), scenes=40, seed=0).questions.images
    color = paint(touched // 20, touched // 5 % 4, touched % 5)
    for a, b in zip(before.rows, after.rows, strict=True):
        if (np.asarray(a.read()) == color).all(-1).sum() > 60:
            assert a.content != b.content
    assert 0 < sum(a.content != b.content for a, b in zip(before.rows, after.rows, strict=True)) < 20


def test_scenes_of_bundled_drawings_are_drawn_by_several_processes() -> None:
    assert generate(load_images("bundled/emoji:train"), scenes=3, seed=0).questions.images.forkable


def test_scenes_of_another_size_are_the_same_scenes() -> None:
    small, large = (generate(cut_outs(), scenes=3, seed=0, side=side).questions for side in (64, 128))
    assert list(small.questions) == list(large.questions)
    assert small.images.rows[0].read().size == (64, 64)
    assert small.images.rows[0].content != large.images.rows[0].content


# --- language alone ---


@lru_cache(maxsize=2)
def many(seed: int) -> Generated:
    return generate(load_images("bundled/emoji:train"), scenes=10_000, seed=seed)


def blind_features(question: Question) -> list[dict[str, float]]:
    """What language tells of each option: its text, its place, the question, the other options."""
    made = []
    for place, option in enumerate(question.options):
        others = [other for other in question.options if other != option]
        texts = [f"at {place}", f"is {option}", f"{question.text} is {option}", f"{question.kind} at {place}"]
        texts += [f"{question.kind} {option} not {other}" for other in others]
        texts.append(f"{question.kind} {sum(other < option for other in others)} before")
        texts.append(f"{question.kind} {sum(len(other) < len(option) for other in others)} shorter")
        made.append(dict.fromkeys(texts, 1.0))
    return made


def blind_accuracy(learned: Sequence[Question], asked: Sequence[Question]) -> dict[str, tuple[float, int]]:
    """Learn which options are right without an image; return the accuracy and the number of questions by group."""
    hasher = FeatureHasher(2**17)
    known = hasher.transform(row for each in learned for row in blind_features(each))
    right = np.array([i == each.answer for each in learned for i in range(len(each.options))])
    model = SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=8, tol=None, random_state=0).fit(known, right)
    scores = model.decision_function(hasher.transform(row for each in asked for row in blind_features(each)))
    hits: dict[str, list[bool]] = defaultdict(list)
    for each, score in zip(asked, scores.reshape(-1, 4), strict=True):
        hits[each.group].append(bool(score.argmax() == each.answer))
    return {group: (float(np.mean(each)), len(each)) for group, each in hits.items()}


def test_a_blind_model_guesses() -> None:
    accuracy = blind_accuracy(many(0).questions.questions, many(1).questions.questions)
    assert accuracy.keys() == KINDS.keys()
    for group, (share, number) in accuracy.items():
        assert number >= 3000
        assert share == pytest.approx(0.25, abs=0.03), group


def test_the_blind_model_would_notice_a_truth_that_comes_first_more_often() -> None:
    def leaky(questions: Sequence[Question]) -> list[Question]:
        return [each.turned(each.answer) if i % 5 == 0 else each for i, each in enumerate(questions)]

    learned, asked = leaky(many(0).questions.questions[:8000]), leaky(many(1).questions.questions[:8000])
    shares = [share for share, _ in blind_accuracy(learned, asked).values()]
    assert np.mean(shares) > 0.33  # 0.2 + 0.8 * 0.25 = 0.4 at best


@pytest.mark.parametrize("kind", sorted(kind for kinds in KINDS.values() for kind in kinds))
def test_the_truth_is_anywhere_among_its_options(kind: str) -> None:
    asked = [each for each in many(0).questions.questions if each.kind == kind]
    assert len(asked) > 500
    places = [each.answer for each in asked]
    ranks = [sorted(each.options).index(each.right) for each in asked]
    for values in (places, ranks):
        assert stats.chisquare(np.bincount(values, minlength=4)).pvalue > 1e-4


@pytest.mark.parametrize(
    "pair",
    [("background", "word"), ("background", "style"), ("ink", "word"), ("style", "category"), ("word", "category")],
)
def test_one_fact_of_a_scene_tells_nothing_of_another(pair: tuple[str, str]) -> None:
    rows = [row.labels for row in many(0).questions.images.rows if row.labels["scene"] == "labelled"]
    both = [tuple(labels[name] for name in pair) for labels in rows if all(name in labels for name in pair)]
    first, second = (sorted(set(values)) for values in zip(*both, strict=True))
    table = np.zeros((len(first), len(second)))
    for a, b in both:
        table[first.index(a), second.index(b)] += 1
    kept = table[:, table.sum(0) > 100] if "category" in pair else table  # hardly any flag may be asked for
    assert stats.chi2_contingency(kept).pvalue > 1e-4


@settings(max_examples=25)
@given(seed=st.integers(0, 2**40))
def test_questions_of_any_seed_have_four_options_of_their_kind(seed: int) -> None:
    images = _drawings()
    asked = generate(images, scenes=14, seed=seed).questions
    names = set(images.label("name"))
    for each in asked.questions:
        assert len(set(each.options)) == 4
        assert each.kind in KINDS[each.group]
        if each.kind in ("name", "label"):
            assert names.issuperset(each.options)
        if each.kind in ("ink", "background", "colour behind"):
            assert set(COLORS).issuperset(each.options)
        if each.kind in ("word", "word beside"):
            assert set(WORDS).issuperset(each.options)


@lru_cache(maxsize=1)
def _drawings() -> Images:
    return cut_outs()


# --- what may be asked ---


def test_no_name_is_asked_where_none_is_known() -> None:
    asked = generate(cut_outs(), scenes=100, seed=0, names=()).questions
    assert {each.kind for each in asked.questions} == {k for kinds in KINDS.values() for k in kinds} - {"name", "label"}


def test_only_known_names_are_offered() -> None:
    known = [f"{category}{letter}" for category in CATEGORIES for letter in "abcd"]
    asked = generate(cut_outs(), scenes=200, seed=0, names=known).questions
    offered = {option for each in asked.questions if each.kind in ("name", "label") for option in each.options}
    assert offered == set(known)


def test_options_that_may_both_be_true_are_not_offered_together() -> None:
    relabelled = cut_outs().labelled(
        lambda row: {**row.labels, "keywords": "small, grey" if row.labels["name"][-1] in "ab" else ""}
    )
    asked = generate(relabelled, scenes=300, seed=0).questions
    names = [each.options for each in asked.questions if each.kind == "name"]
    assert len(names) > 30
    assert max(sum(option[-1] in "ab" for option in options) for options in names) == 1


@pytest.mark.parametrize(
    ("label", "lost"),
    [("style", {"house", "houses"}), ("category", {"kind", "colour behind", "word beside", "how many", "label"})],
)
def test_groups_that_need_a_missing_label_are_left_out_with_a_note(label: str, lost: set[str]) -> None:
    asked = generate(cut_outs(label), scenes=200, seed=0).questions
    assert {each.kind for each in asked.questions} == {k for kinds in KINDS.values() for k in kinds} - lost
    assert any(f"a label '{label}'" in note for note in asked.notes)


def test_images_without_any_label_still_give_questions_of_what_is_seen() -> None:
    bare = cut_outs("style", "category", "name", "concept")
    asked = generate(bare, scenes=60, seed=0).questions
    assert set(asked.groups) == {"text", "colour", "vision-centric"}
    assert len(asked.notes) == 3


def test_the_concept_of_a_question_is_that_of_its_thing_or_the_word_alone() -> None:
    asked = generate(cut_outs(), scenes=60, seed=0).questions
    concepts = {f"{category}{letter}" for category in CATEGORIES for letter in NAMES}
    assert {each.concept for each in asked.questions} <= concepts | set(WORDS)
    alone = [each for each in asked.questions if each.concept in WORDS]
    assert alone and {each.kind for each in alone} == {"word", "ink", "background"}


def test_the_words_are_those_that_bundled_encoders_saw_and_no_untrained_one() -> None:
    seen = TrainingImages(load_images("bundled/emoji:train"), Words(rate=0.5, alone=0.5, parrot=1.0)).words
    assert sorted(word.upper() for word in WORDS) == seen
    anagrams = tomllib.loads(Path("probes/text.toml").read_text(encoding="utf-8"))["measures"][1]["treatments"]
    assert len(anagrams) == 4
    assert not {word.lower() for word in anagrams}.intersection(WORDS)


# --- hostile input ---


def test_photographs_are_refused_with_what_to_do() -> None:
    photographs = Images("photos", (row_of("a.jpg", Image.new("RGB", (8, 8))),))
    with pytest.raises(EmbprobeError, match=r"'a.jpg' in 'photos' .*Give cut-outs: PNG or WebP"):
        generate(photographs, scenes=1, seed=0)
    with pytest.raises(EmbprobeError, match="no images in 'none'"):
        generate(Images("none", ()), scenes=1, seed=0)


def test_a_thing_that_cannot_be_put_into_a_scene_makes_the_scene_unreadable() -> None:
    rows = list(cut_outs().rows)
    rows[1] = row_of("b.jpg", Image.new("RGB", (8, 8)), **rows[1].labels)
    images = generate(Images("mixed", tuple(rows)), scenes=300, seed=0).questions.images
    reasons = []
    for row in images.rows:
        try:
            row.read()
        except UnreadableImage as reason:
            reasons.append(str(reason))
    assert reasons
    assert all("no transparent background" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"words": ("a", "b", "c", "a")}, "at least 4 different words, not 3"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"scenes": 0}, "number of scenes 1 or more"),
        ({"words": ("moon", "dust", "tool", "日本")}, "日本"),
    ],
)
def test_wrong_choices_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        generate(_drawings(), **{"scenes": 2, "seed": 0, **wrong})


def test_options_that_coincide_are_refused() -> None:
    with pytest.raises(EmbprobeError, match="Two options of the question 'a' are the same: 'moon'"):
        Question(key="a", image="a", text="What is written?", options=("moon", "dust", "moon", "tool"), answer=0)
