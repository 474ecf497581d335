"""Decoding: what a classifier finds in vectors of which it is known what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, Row
from embprobe.images.decoding import UnreadableImage
from embprobe.measures import logistic
from embprobe.measures.folds import FOLDS
from embprobe.probing.context import GUESSING, NotApplicable
from embprobe.probing.key import GAIN, SHOTS
from embprobe.probing.kinds import decoding
from embprobe.probing.kinds.decoding import Decoding
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.results import Results
from embprobe.probing.run import run_probe
from tests.conftest import CountingEncoder, make_encoder, row_of, solid
from tests.probing.conftest import (
    BLUE,
    GREEN,
    RED,
    Told,
    blind,
    card_of,
    estimate,
    found_by,
    measures,
    painted,
    probe,
    renamed,
    values,
)

TRAIN, DRAWING, CONCEPT = ({"where": {"split": [split]}} for split in ("train", "unseen-drawing", "unseen-concept"))
TESTS = {"unseen drawings": DRAWING, "unseen concepts": CONCEPT}
CATEGORY: dict[str, Any] = {
    "kind": "decoding",
    "label": "category",
    "classifier": "knn",
    "fit": TRAIN,
    "tests": TESTS,
}
ON_DRAWINGS, ON_CONCEPTS = "category k-NN, unseen drawings", "category k-NN, unseen concepts"


def squares() -> Images:
    """Ten concepts, five red, three green and two blue, in six drawings each; the last two drawings are for tests."""
    rows = []
    for i, category in enumerate(["red"] * 5 + ["green"] * 3 + ["blue"] * 2):
        color = {"red": RED, "green": GREEN, "blue": BLUE}[category]
        for drawing in range(6):
            jitter = np.random.default_rng([i, drawing]).integers(0, 6, (8, 8, 3))
            picture = Image.fromarray(np.clip(np.array(color) + jitter, 0, 255).astype(np.uint8))
            split = "unseen-concept" if i in (3, 4, 7) else "unseen-drawing" if drawing > 3 else "train"
            rows.append(row_of(f"{i}/{drawing}", picture, concept=f"c{i}", category=category, split=split))
    return Images("squares", tuple(rows))


def unlabelled(images: Images, *names: str) -> Images:
    """Without these labels."""
    return images.labelled(lambda row: {name: value for name, value in row.labels.items() if name not in names})


# --- by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classifier", "how"), [("knn", "k-NN"), ("logistic", "decoding"), ("gda", "GDA")])
def test_every_classifier_by_hand(workspace: Workspace, classifier: str, how: str) -> None:
    results = probe(workspace, squares(), [make_encoder()], CATEGORY | {"classifier": classifier})
    assert measures(results) == {f"category {how}, unseen drawings", f"category {how}, unseen concepts"}
    # Training has three red concepts, two green and two blue, so the best guess is red. It is right for 3 of those 7
    # concepts in unseen drawings (two each, 14 images), and for 2 of the 3 unseen concepts (six drawings each, 18).
    for test, images, groups, guessed in (("drawings", 14, 7, 3 / 7), ("concepts", 18, 3, 2 / 3)):
        measure = f"category {how}, unseen {test}"
        (sees,), (guess,) = (found_by(results, name, measure) for name in ("test/means", GUESSING))
        assert (sees.estimate, sees.low, sees.high) == (1, 1, 1)
        assert guess.estimate == pytest.approx(guessed) and guess.low < guessed < guess.high
        for row in (sees, guess):
            assert (row.images, row.groups, row.unit, row.p) == (images, groups, "accuracy", None)


@pytest.mark.parametrize("classifier", ["knn", "logistic"])
def test_an_encoder_that_sees_nothing_does_as_well_as_guessing(workspace: Workspace, classifier: str) -> None:
    results = probe(workspace, squares(), [blind()], CATEGORY | {"classifier": classifier, "k": 1000})
    for measure in measures(results):
        assert estimate(results, "test/blind", measure) == estimate(results, GUESSING, measure)


def test_what_it_is_called(workspace: Workspace) -> None:
    results = probe(workspace, squares(), [make_encoder()], CATEGORY, CATEGORY | {"called": "kind of square"})
    assert {measure for measure in measures(results) if "unseen drawings" in measure} == {
        "category k-NN, unseen drawings",
        "kind of square k-NN, unseen drawings",
    }


# --- the control task --------------------------------------------------------------------------------------------


def four_concepts(colors: Sequence[tuple[int, int, int]]) -> Images:
    """Four concepts of two categories, three training drawings and a test drawing of each, all of them alike."""
    each = [i for i in range(4) for _ in range(4)]
    return painted(
        [colors[i] for i in each],
        concept=[f"c{i}" for i in each],
        category=["a" if i < 2 else "b" for i in each],
        split=["train", "train", "train", "unseen-drawing"] * 4,
    )


CONTROL = CATEGORY | {"control_task": True, "k": 1, "tests": {"unseen drawings": DRAWING}}
SHUFFLED = "category k-NN of shuffled labels, unseen drawings"


def test_who_knows_the_concepts_learns_any_labels(workspace: Workspace) -> None:
    results = probe(workspace, four_concepts([RED, GREEN, BLUE, (250, 250, 0)]), [make_encoder()], CONTROL)
    assert estimate(results, "test/means", ON_DRAWINGS) == 1
    assert estimate(results, "test/means", SHUFFLED) == 1  # it is memory, not category


def test_who_knows_the_categories_alone_learns_no_others(workspace: Workspace) -> None:
    # Two concepts of a category look alike. Dealt different labels, one of them at most is right; and of the six ways
    # to deal two a and two b, four give each category both. Seed 0 is one of these.
    results = probe(workspace, four_concepts([RED, RED, GREEN, GREEN]), [make_encoder()], CONTROL)
    assert estimate(results, "test/means", ON_DRAWINGS) == 1
    assert estimate(results, "test/means", SHUFFLED) == 0.5


# --- few images --------------------------------------------------------------------------------------------------


def test_from_few_images(workspace: Workspace) -> None:
    results = probe(workspace, squares(), [make_encoder(), blind()], CATEGORY | {"shots": [1, 2]})
    few = [row for row in results.rows if row.key.condition == SHOTS and not row.is_difference]
    assert {(row.key.phrase, row.key.strength) for row in few} == {
        (f"category k-NN from few, unseen {test}", shots) for test in ("drawings", "concepts") for shots in (1, 2)
    }
    assert all(row.estimate == 1 for row in few if row.encoder == "test/means")
    # Every vector is the same: as many votes for each label, and the first in the alphabet wins: blue, for 2 of 7.
    assert estimate(results, "test/blind", "category k-NN from few, unseen drawings", strength=2) == pytest.approx(
        2 / 7
    )


def test_the_score_of_an_image_is_its_share_of_ten_draws(workspace: Workspace) -> None:
    loud = make_encoder("loud", lambda batch: (batch.mean((2, 3)) * 1e5) % 7 + 0.1)
    results = probe(workspace, squares(), [loud], CATEGORY | {"shots": [2]})
    scores = next(each.values for each in results.scores if each.key.phrase.startswith("category k-NN from few"))
    assert len(set(scores)) > 2 and all(score * 10 == pytest.approx(round(score * 10)) for score in scores)


def test_more_than_there_are_is_left_out_with_the_reason(workspace: Workspace) -> None:
    results = probe(workspace, squares(), [make_encoder()], CATEGORY | {"shots": [2, 9, 50]})
    assert {row.key.strength for row in results.rows if row.key.condition == SHOTS} == {2}
    assert results.left_out == ["decoding: from 9 or 50 of each category cannot be learned where one has 8 images"]


# --- smaller vectors ---------------------------------------------------------------------------------------------


def test_truncated_vectors_lose_what_is_in_their_last_dimension(workspace: Workspace) -> None:
    # Three yellow training images and two white ones; yellow and white are one without blue.
    images = painted(
        [(200, 200, 0)] * 3 + [(200, 200, 200)] * 2 + [(200, 200, 0)] + [(200, 200, 200)] * 3,
        concept=[f"c{i}" for i in range(9)],
        category=["yellow"] * 3 + ["white"] * 2 + ["yellow"] + ["white"] * 3,
        split=["train"] * 5 + ["unseen-concept"] * 4,
    )
    measure = CATEGORY | {"tests": {"unseen concepts": CONCEPT}, "transforms": ["truncate:3", "truncate:2", "pca:9"]}
    results = probe(workspace, images, [make_encoder()], measure)
    found = {row.key.condition: row.estimate for row in found_by(results, "test/means", ON_CONCEPTS)}
    assert found == {None: 1, "truncate:3": 1, "truncate:2": 0.25}  # the most frequent of training: yellow, for 1 of 4
    assert found_by(results, GUESSING, ON_CONCEPTS)[0].estimate == 0.75  # white, whatever is frequent in training
    (reason,) = results.left_out
    assert reason.startswith("decoding: 'pca:9' keeps more components than the training vectors have: 1.")


# --- treatments --------------------------------------------------------------------------------------------------

TREATED: dict[str, Any] = {
    "kind": "decoding",
    "label": "state",
    "classifier": "knn",
    "k": 1,
    "fit": TRAIN,
    "tests": {"unseen concepts": CONCEPT},
    "treatments": {"colour": ["none"], "grey": ["greyscale 1"]},
}


def test_what_was_done_is_a_label_like_any_other(workspace: Workspace) -> None:
    encoder = make_encoder()
    results = probe(workspace, squares(), [encoder, blind()], TREATED)
    assert measures(results) == {"state k-NN, unseen concepts"}
    assert estimate(results, "test/means", "state k-NN, unseen concepts") == 1  # grey is between the axes
    assert estimate(results, "test/blind", "state k-NN, unseen concepts") < 1
    assert estimate(results, GUESSING, "state k-NN, unseen concepts") == 0.5  # as many images get each
    assert encoder.encoded == 28 + 18  # training and tests, each image once


def test_kinds_held_out_are_tests_of_their_own(workspace: Workspace) -> None:
    results = probe(workspace, squares(), [make_encoder()], TREATED | {"held_out": {"grey": ["saturation -1"]}})
    assert measures(results) == {"state k-NN, unseen concepts", "state k-NN, unseen concepts, unseen kinds"}
    # Without any chroma they are grey, too, and all of them are.
    assert estimate(results, "test/means", "state k-NN, unseen concepts, unseen kinds") == 1
    assert len(values(results, "test/means", "state k-NN, unseen concepts, unseen kinds")) == 18


def test_guessing_at_kinds_held_out_knows_that_a_value_has_none(workspace: Workspace) -> None:
    """Of three values two have other kinds, so a constant guess is right for half of those, not for a third."""
    more = TREATED["treatments"] | {"inverted": ["hue 180"]}
    held_out = {"grey": ["saturation -1"], "inverted": ["hue 150"]}
    results = probe(workspace, squares(), [make_encoder()], TREATED | {"treatments": more, "held_out": held_out})
    assert estimate(results, GUESSING, "state k-NN, unseen concepts") == pytest.approx(16 / 46)  # 46 among three
    (guess,) = found_by(results, GUESSING, "state k-NN, unseen concepts, unseen kinds")
    assert (guess.estimate, guess.low, guess.high) == (0.5, 0.5, 0.5)
    (sees,) = found_by(results, "test/means", "state k-NN, unseen concepts, unseen kinds")
    assert sees.floor == 0.5


def test_guessing_at_treatments_knows_which_could_be_done(workspace: Workspace) -> None:
    """Of 42 images 21 are to get their name, and those of the "?" that are among them have none: always saying "none"
    is right for more than half of what is left, whether in folds or where labels tell the tests apart."""
    squared = unlabelled(squares(), "category", "concept")
    images = squared.labelled(lambda row: {**row.labels, "name": "?" if row.key < "5" else "hat"})
    measure = TREATED | {"treatments": {"none": ["none"], "text": ["word-agrees 0.5"]}}
    for some, test in ((images, "concepts"), (unlabelled(images, "split"), "images")):
        results = probe(workspace, some, [make_encoder(), blind()], measure)
        phrase = f"state k-NN, unseen {test}"
        (guess,) = found_by(results, GUESSING, phrase)
        assert (
            0.6 < guess.estimate < 0.75
        )  # about two of three: as many as were to stay as they are, and half of others
        assert estimate(results, "test/blind", phrase) <= guess.estimate + 0.1


def test_under_takes_away_what_it_takes_away(workspace: Workspace) -> None:
    measure = CATEGORY | {"under": "greyscale 1", "k": 1000}
    results = probe(workspace, squares(), [make_encoder()], CATEGORY | {"called": "free"}, measure)
    for test in ("drawings", "concepts"):
        assert estimate(results, "test/means", f"free k-NN, unseen {test}") == 1
        # Of grey, only the lightness is left, and a direction has none.
        assert estimate(results, "test/means", f"category k-NN, unseen {test}") == pytest.approx(
            estimate(results, GUESSING, f"category k-NN, unseen {test}")
        )


def test_under_that_can_be_done_to_none_is_left_out(workspace: Workspace) -> None:
    results = probe(workspace, squares(), [make_encoder()], CATEGORY, CATEGORY | {"under": "house 1", "called": "x"})
    assert measures(results) == {ON_DRAWINGS, ON_CONCEPTS}
    assert "can be done to none of 'squares': '0/0': there is no other drawing" in results.left_out[0]


# --- folds -------------------------------------------------------------------------------------------------------


class Recorder:
    """Stands for the k-NN classifier; it remembers what it was fitted and tested on, and says the first label."""

    def __init__(self) -> None:
        self.calls: list[tuple[NDArray[Any], NDArray[Any]]] = []

    def __call__(
        self, train: NDArray[Any], labels: NDArray[Any], test: NDArray[Any], *, k: int, device: str
    ) -> NDArray[Any]:
        self.calls.append((train, test))
        return np.repeat(labels[:1], len(test))


def shades(concepts: int, drawings: int = 3, **labels: Sequence[str]) -> Images:
    """Each picture has the red of its concept and the green of its drawing."""
    each = [(i, j) for i in range(concepts) for j in range(drawings)]
    given = {"concept": [f"c{i}" for i, _ in each], **labels}
    given.setdefault("category", [("even", "odd")[i % 2] for i, _ in each])
    return painted([(20 * i + 10, 40 * j, 100) for i, j in each], **given)


def red_of(vectors: NDArray[Any]) -> set[int]:
    return {round(float(red) * 255) for red in vectors[:, 0]}


def test_no_concept_is_fitted_and_tested_in_one_fold(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(decoding, "predict_knn", recorder)
    results = probe(workspace, shades(11), [make_encoder()], CATEGORY)
    assert len(recorder.calls) == FOLDS == 5
    tested = [red for _, test in recorder.calls for red in red_of(test)]
    assert sorted(tested) == [20 * i + 10 for i in range(11)]  # every concept once
    for train, test in recorder.calls:
        assert not red_of(train) & red_of(test) and len(train) + len(test) == 33
        assert len(red_of(test)) in (2, 3)
    assert measures(results) == {"category k-NN, unseen images"}
    (row,) = found_by(results, "test/means", "category k-NN, unseen images")
    assert (row.images, row.groups) == (33, 11)


def test_folds_by_hand(workspace: Workspace) -> None:
    # Red, green and blue concepts stay what they are in every fold. Left out images are guessed from the others.
    images = unlabelled(squares(), "split")
    results = probe(workspace, images, [make_encoder()], CATEGORY)
    assert estimate(results, "test/means", "category k-NN, unseen images") == 1
    # Five of ten concepts are red; whatever two are left out, at least three of the other eight are, and at most three
    # are green. So red is guessed in every fold unless it ties, and ties go to green.
    assert estimate(results, GUESSING, "category k-NN, unseen images") == 0.5


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_guessing_among_seven_equally_frequent_categories_is_a_seventh(
    workspace: Workspace, balanced: bool, split: bool
) -> None:
    """Eight concepts a category in five folds: the folds are uneven, and so are 3 of 8 to test on where labels say so.

    The majority of what is fitted on would be the rarest of the rest, and below a seventh.
    """
    kind = [i % 7 for i in range(56)]
    labels = {"concept": [f"c{i:02d}" for i in range(56)], "category": [f"kind {i}" for i in kind]}
    if split:
        labels["split"] = ["unseen-concept" if i >= 35 else "train" for i in range(56)]
    images = painted([(30 * i, 200 - 20 * i, 4 * j) for j, i in enumerate(kind)], **labels)
    measure = CATEGORY | {"balanced": balanced, "tests": {"unseen concepts": CONCEPT}, "k": 1000, "shots": [2]}
    results = probe(workspace, images, [make_encoder(), blind()], measure)
    test = "concepts" if split else "images"
    assert estimate(results, GUESSING, f"category k-NN, unseen {test}") == pytest.approx(1 / 7)
    floors = {round(row.floor or 0, 12) for row in results.rows if row.role == "subject" and not row.is_difference}
    assert list(floors) == pytest.approx([1 / 7])
    assert estimate(results, "test/blind", f"category k-NN, unseen {test}") <= 1 / 7 + 1e-9  # a constant in each fold


def test_images_without_concepts_are_resampled_one_by_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(decoding, "predict_knn", recorder)
    results = probe(workspace, unlabelled(shades(4), "concept"), [make_encoder()], CATEGORY)
    (row,) = found_by(results, "test/means", "category k-NN, unseen images")
    assert (row.images, row.groups, row.resampled) == (12, 12, "image")
    assert sorted(len(test) for _, test in recorder.calls) == [2, 2, 2, 3, 3]


def test_values_of_a_split_that_no_image_has_give_way_to_folds(workspace: Workspace) -> None:
    images = squares().labelled(lambda row: {**row.labels, "split": "all"})
    assert measures(probe(workspace, images, [make_encoder()], CATEGORY)) == {"category k-NN, unseen images"}


def test_treatments_shots_control_and_transforms_work_in_folds(workspace: Workspace) -> None:
    images = unlabelled(squares(), "split")
    extras = {"control_task": True, "shots": [2], "transforms": ["truncate:2"]}
    results = probe(workspace, images, [make_encoder()], CATEGORY | extras, TREATED)
    assert estimate(results, "test/means", "state k-NN, unseen images") == 1
    assert estimate(results, "test/means", "category k-NN from few, unseen images") == 1
    assert estimate(results, "test/means", "category k-NN of shuffled labels, unseen images") < 0.8
    assert {row.key.condition for row in results.rows} >= {None, SHOTS, "truncate:2"}
    assert results.left_out == []


def test_few_images_are_treated_several_times_and_no_copy_is_tested_on_another(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hue turned by nothing leaves the red that says which image it is."""
    recorder = Recorder()
    monkeypatch.setattr(decoding, "predict_knn", recorder)
    images = unlabelled(shades(10, 1), "split", "concept")
    same = TREATED | {"treatments": {"a": ["none"], "b": ["hue 0"]}}
    results = probe(workspace, images, [make_encoder()], same)
    (row,) = found_by(results, "test/means", "state k-NN, unseen images")
    assert row.images > row.groups == 10
    for train, test in recorder.calls:
        assert len(red_of(train)) == 8 and len(red_of(test)) == 2 and not red_of(train) & red_of(test)


def test_fewer_than_five_concepts_are_left_out_with_the_reason(workspace: Workspace) -> None:
    with pytest.raises(NotApplicable, match="decoding: it needs at least 5 concepts to fit on some and test on others"):
        probe(workspace, shades(4), [make_encoder()], CATEGORY)


# --- labels and images that are not right ------------------------------------------------------------------------


def test_a_label_no_image_has_is_left_out_with_the_reason(workspace: Workspace) -> None:
    results = probe(workspace, squares(), [make_encoder()], CATEGORY | {"label": "breed"}, CATEGORY)
    assert results.left_out == ["decoding: it needs the label 'breed', which none of the images in 'squares' has"]
    assert measures(results) == {ON_DRAWINGS, ON_CONCEPTS}


def test_images_that_lack_a_label_are_left_out_as_if_they_were_not_there(workspace: Workspace) -> None:
    rows = list(squares().rows)
    rows[7] = replace(rows[7], labels={"concept": "c1", "split": "train"})
    results = probe(workspace, Images("part", tuple(rows)), [make_encoder()], CATEGORY)
    (reason,) = results.left_out
    assert reason.startswith("of decoding, 1 of 60 images lack the label 'category': '1/1'")
    without = probe(workspace, Images("part", (*rows[:7], *rows[8:])), [make_encoder()], CATEGORY)
    assert results.rows == without.rows


def test_a_label_that_many_images_lack_is_left_out_with_the_reason(workspace: Workspace) -> None:
    images = squares().labelled(lambda row: {**row.labels, **({"look": "x"} if row.key.startswith("0") else {})})
    results = probe(workspace, images, [make_encoder()], CATEGORY, CATEGORY | {"label": "look"})
    (reason,) = results.left_out
    assert reason.startswith("decoding: This needs the label 'look', which 54 of the 60 images in 'squares' lack")
    assert "--max-unlabelled 0.9 " in reason


def test_no_image_is_fitted_and_tested(workspace: Workspace) -> None:
    twice = CATEGORY | {"tests": {"unseen drawings": DRAWING, "all": {"where": {"split": ["train", "unseen-concept"]}}}}
    with pytest.raises(UsageError, match=r"'Mine' tests 'all' on 28 images it is fitted on, such as '0/0'"):
        probe(workspace, squares(), [make_encoder()], twice)


def test_a_label_that_is_always_the_same_is_an_error(workspace: Workspace) -> None:
    images = squares().labelled(lambda row: {**row.labels, "category": "thing"})
    with pytest.raises(EmbprobeError, match="would be fitted on have category 'thing': at least two different values"):
        probe(workspace, images, [make_encoder()], CATEGORY)


def test_an_unreadable_test_image_is_left_out_for_every_encoder(workspace: Workspace) -> None:
    def torn() -> Image.Image:
        raise UnreadableImage("torn in two")

    rows = list(squares().rows)
    rows[4] = replace(rows[4], source=torn, content="torn")  # 0/4, an unseen drawing
    results = probe(workspace, Images("torn", tuple(rows)), [make_encoder("a"), make_encoder("b")], CATEGORY)
    for encoder in ("test/a", "test/b", GUESSING):
        assert "0/4" not in values(results, encoder, ON_DRAWINGS)
        assert len(values(results, encoder, ON_DRAWINGS)) == 13


def test_images_as_they_are_come_from_the_stores_of_all(workspace: Workspace) -> None:
    encoder = make_encoder()
    probe(workspace, squares(), [encoder], CATEGORY)
    assert encoder.encoded == 60 and len(list((workspace.root / "stores").iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"under": "hew 1"}, "no intervention 'hew'"),
        ({"treatments": {"a": ["none"], "b": ["hue"]}}, "'hue' is no treatment"),
        (
            {"treatments": {"a": ["none"], "b": ["hue 9"]}, "held_out": {"a": ["hue 999"]}},
            "'hue' goes from -360 to 360",
        ),
        ({"transforms": ["pca"]}, "no compression 'pca'"),
    ],
)
def test_what_does_not_exist_is_refused_first(workspace: Workspace, change: dict[str, object], named: str) -> None:
    encoder: CountingEncoder = make_encoder()
    with pytest.raises(UsageError, match=named):
        probe(workspace, squares(), [encoder], CATEGORY, CATEGORY | change)
    assert encoder.encoded == 0


# --- every label counts the same ---------------------------------------------------------------------------------


def test_balanced_accuracy_by_hand(workspace: Workspace) -> None:
    # Unseen concepts: two red (12 drawings) and one green (6). Whoever always says red has recalls of 1 and 0.
    always = CATEGORY | {"balanced": True, "k": 1000}
    results = probe(workspace, squares(), [make_encoder(), blind()], always)
    assert estimate(results, "test/means", ON_CONCEPTS) == 1
    assert estimate(results, "test/blind", ON_CONCEPTS) == pytest.approx(0.5)
    (guess,) = found_by(results, GUESSING, ON_CONCEPTS)
    assert (guess.estimate, guess.low, guess.high, guess.unit) == (0.5, 0.5, 0.5, "balanced accuracy")
    assert estimate(results, GUESSING, ON_DRAWINGS) == pytest.approx(1 / 3)


def test_a_label_too_rare_to_count_as_much_is_left_out_of_balanced_accuracy(workspace: Workspace) -> None:
    # Tests are 11 red, 11 green and 1 blue: 7.7 on average, and 1 is less than a fifth of that.
    kinds = ["red"] * 11 + ["green"] * 11 + ["blue"]
    colors = {"red": RED, "green": GREEN, "blue": BLUE}
    images = painted(
        [colors[kind] for kind in ("red", "green", "blue", *kinds)],
        concept=[f"c{i}" for i in range(26)],
        category=["red", "green", "blue", *kinds],
        split=["train"] * 3 + ["unseen-concept"] * 23,
    )
    measure = CATEGORY | {"balanced": True, "k": 1, "tests": {"unseen concepts": CONCEPT}}
    results = probe(workspace, images, [make_encoder()], measure)
    (row,) = found_by(results, "test/means", ON_CONCEPTS)
    assert (row.estimate, row.images) == (1, 22)
    assert estimate(results, GUESSING, ON_CONCEPTS) == 0.5
    assert results.left_out == [
        "1 image of the unseen concepts of category 'blue' from balanced accuracy: too few to count as much as every "
        "other category"
    ]


# --- beyond trivial encoders -------------------------------------------------------------------------------------


def test_the_gain_over_the_best_trivial_encoder_by_hand(workspace: Workspace) -> None:
    # Of the 18 drawings of unseen concepts 12 are red and 6 green; whoever sees nothing says red: 2/3 are right.
    measure = CATEGORY | {"trivial": ["test/nowhere", "test/blind"], "k": 1000}
    encoders = [make_encoder(), blind(), renamed(make_encoder(), "twin")]
    results = probe(workspace, squares(), encoders, measure)
    gains = {row.label: row for row in results.rows if row.key.condition == GAIN and row.key.test == "unseen concepts"}
    assert gains["test/means"].estimate == pytest.approx(1 - 2 / 3)
    assert gains["test/means"].unit == "accuracy above that of test/blind"
    assert gains["test/blind"].estimate == gains["test/blind"].low == gains["test/blind"].high == 0
    assert gains["test/means - twin"].estimate == 0
    assert GUESSING not in gains
    assert {key.condition for key in Decoding.model_validate(measure).declared_keys()} == {None, GAIN}


def test_the_best_of_the_trivial_encoders_is_subtracted(workspace: Workspace) -> None:
    measure = CATEGORY | {"trivial": ["test/blind", "test/means"], "k": 1000}
    results = probe(workspace, squares(), [make_encoder(), blind()], measure)
    rows = {row.label: row for row in results.rows if row.key.condition == GAIN and row.key.test == "unseen concepts"}
    assert rows["test/means"].estimate == 0 and rows["test/blind"].estimate == pytest.approx(2 / 3 - 1)
    assert rows["test/blind"].unit == "accuracy above that of test/means"


# --- controls of treatments --------------------------------------------------------------------------------------


def test_what_a_control_tells_is_subtracted_image_by_image(workspace: Workspace) -> None:
    # Grey and colour differ in colour; with the control of the same lightness and no other change, in nothing here.
    measure = TREATED | {"treatments": {"colour": ["none"], "grey": ["greyscale 1"]}, "controls": ["lightness"]}
    results = probe(workspace, squares(), [make_encoder(), blind()], measure)
    by_condition = {
        condition: {
            row.encoder: row for row in results.rows if row.key.condition == condition and not row.is_difference
        }
        for condition in (None, "greyscale/lightness", "beyond greyscale/lightness")
    }
    plain, control, beyond = by_condition.values()
    for name in ("test/means", "test/blind"):
        assert beyond[name].estimate == pytest.approx(plain[name].estimate - control[name].estimate)
        assert beyond[name].unit == "accuracy above that with greyscale/lightness"
    assert control[GUESSING].estimate == pytest.approx(23 / 42)  # the control cannot be made of 4 of the 23 grey ones
    assert GUESSING not in beyond
    assert beyond["test/blind"].estimate == 0  # the same is guessed of the same images


def test_a_brief_measure_keeps_the_first_control(workspace: Workspace) -> None:
    measure = Decoding.model_validate(
        CATEGORY
        | {"treatments": {"A": ["word=A 1"], "B": ["word=B 1"]}, "label": "word", "controls": ["shuffled", "box"]}
    )
    measure.check()
    needed = KeyPattern(kind="decoding", target="word", condition="beyond word/shuffled")
    conditions = [key.condition for key in measure.brief([needed]).declared_keys() if key.test == "unseen concepts"]
    assert conditions == [None, "word/shuffled", "beyond word/shuffled"]
    with pytest.raises(UsageError, match="'word' has no control 'upside-down'"):
        Decoding.model_validate(measure.model_dump() | {"controls": ["upside-down"]}).check()
    with pytest.raises(ValueError, match="controls are those of treatments"):
        Decoding.model_validate(CATEGORY | {"controls": ["shuffled"]})


# --- few images, rare labels, official splits --------------------------------------------------------------------


def test_folds_share_out_the_groups_of_each_label(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    # Five even and five odd concepts: a fold has one of each, so every classifier is fitted on four of each.
    fitted: list[dict[str, int]] = []

    def record(train: NDArray[Any], labels: NDArray[Any], test: NDArray[Any], **_: object) -> NDArray[Any]:
        fitted.append({value: int((labels == value).sum()) for value in ("even", "odd")})
        return np.repeat(labels[:1], len(test))

    monkeypatch.setattr(decoding, "predict_knn", record)
    probe(workspace, shades(10, 2), [make_encoder()], CATEGORY)
    assert fitted == [{"even": 8, "odd": 8}] * 5


def test_images_whose_label_no_other_has_are_not_asked_for(workspace: Workspace) -> None:
    images = squares().labelled(
        lambda row: (
            {"concept": row.labels["concept"], "category": row.labels["category"]}
            if row.labels["concept"] != "c9"
            else {"concept": "c9", "category": "only one"}
        )
    )
    results = probe(workspace, images, [make_encoder()], CATEGORY)
    (row,) = found_by(results, "test/means", "category k-NN, unseen images")
    assert row.images == 48  # of 60, without c9 and without c8, the only blue concept that is left
    assert results.left_out == [
        "decoding of category: 12 of 60 images have a category that no other concept has to learn it from"
    ]


def test_where_every_image_has_a_label_of_its_own_nothing_can_be_decoded(workspace: Workspace) -> None:
    images = painted([RED, GREEN, BLUE] * 4, category=[f"k{i}" for i in range(12)])
    with pytest.raises(NotApplicable, match="12 of 12 images have a category that no other image has to learn it from"):
        probe(workspace, images, [make_encoder()], CATEGORY)


def test_an_official_split_is_used(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(decoding, "predict_knn", recorder)
    images = shades(6, 4, split=["train", "train", "train", "test"] * 6)
    results = probe(workspace, unlabelled(images, "concept"), [make_encoder()], CATEGORY)
    ((train, test),) = recorder.calls
    assert (len(train), len(test)) == (18, 6)
    assert measures(results) == {"category k-NN, unseen images"}


def test_a_split_by_label_cannot_be_decoded(workspace: Workspace) -> None:
    images = squares().labelled(
        lambda row: {**row.labels, "split": "unseen-drawing" if row.labels["category"] == "blue" else "train"}
    )
    with pytest.raises(NotApplicable, match="no test image has a category that images to fit on have"):
        probe(workspace, images, [make_encoder()], CATEGORY | {"tests": {"unseen drawings": DRAWING}})


def test_shuffled_labels_of_single_images_are_not_asked_for(workspace: Workspace) -> None:
    images = unlabelled(shades(10, 1), "concept")
    results = probe(workspace, images, [make_encoder()], CATEGORY | {"control_task": True})
    assert measures(results) == {"category k-NN, unseen images"}
    assert results.left_out == [
        "decoding: shuffled labels of category: of one fitted image each, a classifier could only memorise images"
    ]


def test_a_fit_that_does_not_converge_is_noted_and_the_card_goes_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = logistic._Path.fit

    def failing(self: Any, c: float, *rest: Any) -> Any:
        if c > 10:
            raise logistic.NotConverged(c)
        return fit(self, c, *rest)

    monkeypatch.setattr(logistic._Path, "fit", failing)
    monkeypatch.setattr(logistic, "PATIENCE", 99)  # the search would end before
    measure = CATEGORY | {"classifier": "logistic"}
    results = probe(workspace, squares(), [make_encoder()], measure)
    assert estimate(results, "test/means", "category decoding, unseen concepts") == 1
    (note,) = results.left_out
    assert note.startswith("C = 17.78") and note.endswith(
        "and more in 1 of the fits of a linear probe of category, which do not converge there: C is chosen below"
    )


# --- within, across, changed -------------------------------------------------------------------------------------


def things() -> Images:
    """Two kinds of four things each, every thing in three houses; that of house c is for tests."""
    rows = []
    for i in range(8):
        for house in "abc":
            labels = {"concept": f"c{i}", "category": f"k{i // 4}", "style": house}
            split = "unseen-drawing" if house == "c" else "train"
            rows.append(row_of(f"{i}/{house}", solid((30 * i, 0, 0)), split=split, **labels))
    return Images("things", tuple(rows))


def knowing(*what: str) -> Callable[[Row], Sequence[float]]:
    """The vector of a thing that holds its kind, its place in the kind, or its house."""

    def vector(row: Row) -> list[float]:
        i = int(row.labels["concept"][1:])
        parts = {
            "kind": np.eye(2)[i // 4],
            "place": np.eye(4)[i % 4],
            "house": np.eye(3)["abc".index(row.labels["style"])],
            "tiny": 1e-3 * np.random.default_rng(list(row.key.encode())).standard_normal(4),
        }
        return [1.0, *np.concatenate([parts[name] for name in what]).tolist()]

    return vector


def told(workspace: Workspace, images: Images, measure: dict[str, Any], **knows: Sequence[str]) -> Results:
    """What is decoded from vectors that hold what each name says."""
    vectors = {f"test/{name}": knowing(*what) for name, what in knows.items()}
    session = Told(workspace, vectors=vectors)
    return run_probe(card_of(measure), images, [make_encoder(name) for name in knows], [], session)


WITHIN: dict[str, Any] = {"kind": "decoding", "label": "concept", "fit": TRAIN, "tests": {"unseen drawings": DRAWING}}


@pytest.mark.parametrize("classifier", ["knn", "gda"])
def test_within_a_category_who_knows_the_category_alone_must_guess(workspace: Workspace, classifier: str) -> None:
    # Of 8 things with one test each a guess is right for 1; within one of two kinds for 1 of 4.
    plain = WITHIN | {"classifier": classifier, "k": 1}
    knows = {"kind": ["kind", "tiny"], "place": ["place", "tiny"], "both": ["kind", "place", "tiny"]}
    results = told(workspace, things(), plain | {"called": "among its own", "within": ["coarse", "category"]}, **knows)
    how = {"knn": "k-NN", "gda": "GDA"}[classifier]
    own = {
        name: estimate(results, name, f"among its own {how}, unseen drawings")
        for name in (*(f"test/{known}" for known in knows), GUESSING)
    }
    assert own["test/place"] == own["test/both"] == 1
    assert own["test/kind"] <= 0.5 and own[GUESSING] == 1 / 4
    every = told(workspace, things(), plain, **knows)
    assert estimate(every, "test/both", f"concept {how}, unseen drawings") == 1
    assert estimate(every, "test/place", f"concept {how}, unseen drawings") < 1  # the same place in both kinds
    assert estimate(every, GUESSING, f"concept {how}, unseen drawings") == 1 / 8


def test_within_fits_on_the_same_value_and_across_on_all_others(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[str], set[str]]] = []
    images = things()

    def spying(train: Any, labels: Any, tests: Sequence[Any], **_: Any) -> list[Any]:
        seen.append(({f"{row[0]:.0f}" for row in train}, {f"{row[0]:.0f}" for test in tests for row in test}))
        return [labels[:1].repeat(len(test)) for test in tests]

    monkeypatch.setattr(decoding, "predict_knn", lambda train, labels, test, **_: spying(train, labels, [test])[0])
    vectors = {"test/house": lambda row: [1.0 + "abc".index(row.labels["style"])]}
    measure = CATEGORY | {"tests": {"unseen drawings": DRAWING}}
    for key, expected in (("within", []), ("across", [({"1", "2"}, {"3"})])):
        seen.clear()
        card = card_of(measure | {key: ["style"]})
        try:
            run_probe(card, images, [make_encoder("house")], [], Told(workspace, vectors=vectors))
        except NotApplicable as reason:
            assert key == "within" and "no two values of category to learn from images of the same style" in str(reason)
        assert seen == expected


def test_across_in_folds_leaves_out_the_concept_and_the_style(workspace: Workspace) -> None:
    images = unlabelled(things(), "split")
    measure = CATEGORY | {"classifier": "gda", "balanced": True}
    knows = {"kind": ["kind", "tiny"], "house": ["house", "tiny"]}
    known = told(workspace, images, measure | {"across": ["style"]}, **knows)
    measure_name = "category GDA, unseen images"
    assert estimate(known, "test/kind", measure_name) == 1 and estimate(known, GUESSING, measure_name) == 0.5
    assert estimate(known, "test/house", measure_name) < 0.8
    (row,) = found_by(known, "test/kind", measure_name)
    assert (row.images, row.groups) == (24, 8)


def test_without_the_label_it_is_left_out_with_the_reason(workspace: Workspace) -> None:
    with pytest.raises(NotApplicable, match="it needs the label 'breed'"):
        probe(workspace, squares(), [make_encoder()], CATEGORY | {"across": ["family", "breed"]})


def test_a_changed_test_is_predicted_by_a_classifier_of_images_as_they_are(workspace: Workspace) -> None:
    # Greys are alike to the means of channels, so all 14 unseen drawings get one answer. Two of the seven concepts are
    # green, two blue and three red: right for 2/7 or 3/7, and the rest is lost. JPEG leaves one colour what it is.
    measure = CATEGORY | {"tests": {"unseen drawings": DRAWING}, "changed": ["greyscale 1", "jpeg 5"]}
    results = probe(workspace, squares(), [make_encoder(), blind()], measure)
    rows = {
        (row.key.condition, row.key.strength): row
        for row in results.rows
        if row.encoder == "test/means" and not row.against
    }
    plain, grey, jpeg, both = (
        rows[key] for key in ((None, None), ("greyscale", 1.0), ("jpeg", 5.0), ("all changes", None))
    )
    assert (plain.estimate, jpeg.estimate) == (1, 1) and grey.estimate in (2 / 7, 3 / 7)
    assert rows["lost by greyscale", 1.0].estimate == pytest.approx(1 - grey.estimate)
    assert rows["lost by greyscale", 1.0].unit == "accuracy lost"
    assert both.estimate == pytest.approx((grey.estimate + 1) / 2)
    assert rows["lost by all changes", None].estimate == pytest.approx(1 - both.estimate)
    lost = [row for row in results.rows if row.encoder == "test/blind" and "lost" in str(row.key.condition)]
    assert len(lost) == 3 and all(row.estimate == 0 for row in lost)
    declared = Decoding.model_validate(measure).declared_keys()
    assert {(key.condition, key.strength) for key in declared} == rows.keys()


def test_a_change_that_can_be_done_to_none_is_listed_and_the_others_are_asked(workspace: Workspace) -> None:
    measure = CATEGORY | {"changed": ["background 1", "greyscale 1"]}
    results = probe(workspace, squares(), [make_encoder()], measure)
    assert any("background 1: what it does to images can be done to none" in reason for reason in results.left_out)
    assert {row.key.condition for row in results.rows} == {None, "greyscale", "lost by greyscale"}


def test_changed_images_are_tested_in_folds_by_classifiers_that_did_not_see_their_concept(workspace: Workspace) -> None:
    images = unlabelled(squares(), "split")
    results = probe(workspace, images, [make_encoder()], CATEGORY | {"changed": ["jpeg 5"]})
    (row,) = found_by(results, "test/means", "category k-NN, unseen images", condition="jpeg")
    assert (row.estimate, row.images, row.groups) == (1, 60, 10)


def test_a_brief_measure_keeps_the_changes_that_are_needed() -> None:
    measure = Decoding.model_validate(CATEGORY | {"changed": ["greyscale 1", "jpeg 5"]})
    pattern = {"kind": "decoding", "target": "category"}
    grey, lost, every = (
        measure.brief([KeyPattern.model_validate(pattern | {"condition": condition})]).changed
        for condition in ("greyscale", "lost by jpeg", "all changes")
    )
    assert (grey, lost, every) == (["greyscale 1"], ["jpeg 5"], ["greyscale 1", "jpeg 5"])
    assert measure.brief([KeyPattern.model_validate(pattern)]).changed == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"changed": ["none"]}, "never 'none'"),
        ({"changed": ["jpeg 5", "jpeg 5"]}, "each once"),
        (
            {"changed": ["jpeg 5"], "treatments": {"a": ["none"], "b": ["hue 9"]}},
            "changed is for labels that images have",
        ),
        ({"within": ["concept"], "balanced": True}, "cannot be balanced"),
        ({"within": []}, "within"),
    ],
)
def test_what_contradicts_itself_is_refused(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Decoding.model_validate(CATEGORY | change)
