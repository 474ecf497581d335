"""Preference: two cues in conflict, with a winner that is known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Row
from embprobe.interventions.words import word_of
from embprobe.probing.context import NotApplicable
from embprobe.probing.run import run_probe
from tests.conftest import make_encoder
from tests.probing.conftest import (
    GREEN,
    RED,
    Told,
    card_of,
    crossed,
    estimate,
    found_by,
    measures,
    painted,
    probe,
    sees_concept,
    sees_cue,
    values,
)

BETWEEN = {"kind": "preference", "concept": "concept", "cue": "cue"}
PREFERRED = "concept preferred to cue"


def test_the_winner_is_what_the_encoder_sees(workspace: Workspace) -> None:
    # Each of four images has one with its concept and one with its cue: who sees one of them prefers it always.
    results = probe(workspace, crossed(), [sees_concept(), sees_cue()], BETWEEN)
    assert estimate(results, "test/concept", PREFERRED) == 1
    assert estimate(results, "test/cue", PREFERRED) == 0
    (difference,) = [row for row in results.rows if row.is_difference]
    assert difference.estimate == 1 and difference.label == "test/concept - test/cue"
    assert {(row.images, row.groups, row.unit) for row in results.rows} == {(4, 2, "share of triplets")}


def test_treatments_make_the_cue_by_hand(workspace: Workspace) -> None:
    # Red and green, each as it is and in grey. For red as it is: red in grey is at cosine 1 / sqrt(3), green as it is
    # at 0, so the concept wins. For red in grey: red as it is at 1 / sqrt(3), green in grey at 1, so the cue wins.
    images = painted([RED, GREEN], concept=["r", "g"])
    measure = BETWEEN | {"treatments": {"colour": ["none"], "grey": ["greyscale 1"]}, "crossed": True}
    results = probe(workspace, images, [make_encoder()], measure)
    assert values(results, "test/means", PREFERRED) == {
        "000|colour": 1,
        "001|colour": 1,
        "000|grey": 0,
        "001|grey": 0,
    }
    (row,) = found_by(results, "test/means", PREFERRED)
    assert (row.estimate, row.images, row.groups) == (0.5, 4, 2)


def test_treatments_that_are_not_crossed_are_dealt_out_evenly(workspace: Workspace) -> None:
    images = painted([RED] * 4 + [GREEN] * 4, concept=["r"] * 4 + ["g"] * 4)
    encoder = make_encoder()
    measure = BETWEEN | {"treatments": {"colour": ["none"], "grey": ["greyscale 1"]}}
    results = probe(workspace, images, [encoder], measure)
    assert encoder.encoded == 8  # each image once
    assert set(values(results, "test/means", PREFERRED)) <= {f"{i:03d}" for i in range(8)}


def test_within_and_apart_say_which_triplets_count(workspace: Workspace) -> None:
    halves = ["left"] * 4 + ["right"] * 4
    twice = painted(
        [row.load().getpixel((0, 0)) for row in (*crossed().rows, *crossed().rows)],  # type: ignore[misc]
        concept=["c0", "c0", "c1", "c1"] * 2,
        cue=["q0", "q1"] * 4,
        half=halves,
        drawing=[f"d{i}" for i in range(8)],
    )
    results = probe(workspace, twice, [sees_concept()], BETWEEN | {"within": ["half"], "apart": ["drawing"]})
    assert estimate(results, "test/concept", PREFERRED) == 1
    with pytest.raises(EmbprobeError, match="ask for less of 'within' and 'apart'"):
        probe(workspace, twice, [sees_concept()], BETWEEN | {"within": ["drawing"]})


# --- words against what is shown ---------------------------------------------------------------------------------

WORDS = {"kind": "preference", "concept": "concept", "cue": "word", "conflict": "word-conflicts 0.8"}
NAMES = ["cat", "bus", "sun"]


def axis(word: str | None) -> Sequence[float]:
    return [float(word == name) for name in NAMES]


def reads(row: Row) -> Sequence[float]:
    """What is written, else what is shown."""
    return axis(row.labels.get("word", word_of(row)))


def sees(row: Row) -> Sequence[float]:
    """What is shown, whatever is written."""
    return axis(word_of(row))


def test_who_reads_follows_the_word_and_who_sees_does_not(workspace: Workspace) -> None:
    names = [name for name in NAMES for _ in range(2)]
    images = painted(
        [RED] * 6, concept=names, name=names, category=[f"of {name}" for name in names], drawing=list("abcdef")
    )
    encoders = [make_encoder("reads"), make_encoder("sees")]
    session = Told(workspace, vectors={"test/reads": reads, "test/sees": sees})
    results = run_probe(card_of(WORDS | {"apart": ["drawing"]}), images, encoders, [], session)
    assert measures(results) == {"word preferred to a third concept", "word preferred to the concept"}
    for measure in measures(results):
        assert estimate(results, "test/reads", measure) == 1
    # For who sees a cat with 'bus' on it, a bus is as far as the sun: one half. A cat is nearer than a bus: never.
    assert estimate(results, "test/sees", "word preferred to a third concept") == 0.5
    assert estimate(results, "test/sees", "word preferred to the concept") == 0
    assert set(values(results, "test/sees", "word preferred to the concept")) == {
        f"{i:03d}|conflict" for i in range(6)
    }  # the images with a word are asked, not the clean ones


def test_the_control_takes_the_letters_away(workspace: Workspace) -> None:
    names = [name for name in NAMES for _ in range(2)]
    images = painted(
        [RED] * 6, concept=names, name=names, category=[f"of {name}" for name in names], drawing=list("abcdef")
    )

    def reads_letters(row: Row) -> Sequence[float]:
        return reads(row) if row.labels.get("treatment") == "conflict" else sees(row)

    session = Told(workspace, vectors={"test/reads": reads_letters})
    card = card_of(WORDS | {"apart": ["drawing"], "control": "shuffled"})
    results = run_probe(card, images, [make_encoder("reads")], [], session)
    third = "word preferred to a third concept"
    assert estimate(results, "test/reads", third, condition=None) == 1
    assert estimate(results, "test/reads", third, condition="word-conflicts/shuffled", strength=0.8) == 0.5
    assert estimate(results, "test/reads", f"{third}, beyond control") == 0.5


def test_without_names_there_is_no_word_to_draw(workspace: Workspace) -> None:
    with pytest.raises(NotApplicable, match="fewer than two images in 'painted' have a name to draw"):
        probe(workspace, painted([RED, GREEN]), [make_encoder()], WORDS)


# --- what is missing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["concept", "cue"])
def test_a_label_no_image_has_is_named(workspace: Workspace, missing: str) -> None:
    labels = {"concept": ["a", "b"], "cue": ["x", "y"], "within": ["w"] * 2, "apart": ["p", "q"]}
    del labels[missing]
    measure = BETWEEN | {"within": ["within"], "apart": ["apart"]}
    with pytest.raises(NotApplicable, match=f"preference: it needs the label '{missing}', which none of the images"):
        probe(workspace, painted([RED, GREEN], **labels), [make_encoder()], measure)


def test_a_cue_that_is_always_the_same_is_an_error(workspace: Workspace) -> None:
    images = painted([RED, GREEN], concept=["a", "b"], cue=["x", "x"])
    with pytest.raises(EmbprobeError, match="at least two different values of the cue: all are 'x'"):
        probe(workspace, images, [make_encoder()], BETWEEN)


@pytest.mark.parametrize("change", [{"treatments": {"a": ["none"], "b": ["hew 1"]}}, {"conflict": "hew 1"}])
def test_a_treatment_that_does_not_exist_is_refused_first(workspace: Workspace, change: dict[str, object]) -> None:
    encoder = make_encoder()
    with pytest.raises(UsageError, match="no intervention 'hew'"):
        probe(workspace, crossed(), [encoder], BETWEEN, BETWEEN | change)
    assert encoder.encoded == 0


def test_a_label_that_no_image_has_holds_no_candidate_back(workspace: Workspace) -> None:
    images, encoder = crossed(6, 2), sees_concept()
    plain = probe(workspace, images, [encoder], BETWEEN)
    held = probe(workspace, images, [encoder], BETWEEN | {"within": ["shelf"], "apart": ["house"]})
    assert [row.estimate for row in held.rows] == [row.estimate for row in plain.rows] == [1.0]
