"""Encoders compared: with oracles it is known what they see, so what must be found."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embprobe.comparing import measured as comparing
from embprobe.comparing.result import Comparison, ComparisonSettings, ImagesSummary, load_comparison, rows_by_key
from embprobe.comparing.run import compare, make_settings
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from embprobe.images.rows import MissingLabel
from embprobe.measures.cka import cka
from embprobe.measures.mutual_knn import mutual_knn
from embprobe.measures.rank_correlation import rank_correlation
from embprobe.selftest.oracles import Oracle, OracleSession
from tests.conftest import Reads, make_encoder, row_of, solid

KIND = Oracle("kind", {"category": 0.5, "concept": 0.2})
LOOK = Oracle("look", {"style": 0.5, "concept": 0.2})


@pytest.fixture(scope="module")
def few(emoji: Images) -> Images:
    """Every twentieth concept in all its drawings."""
    kept = set(sorted(set(emoji.label("concept")))[::20])
    return emoji.take(i for i, row in enumerate(emoji.rows) if row.labels["concept"] in kept)


def compared(
    images: Images, workspace: Workspace, *encoders: Oracle, settings: ComparisonSettings | None = None
) -> Comparison:
    return compare(images, encoders, OracleSession(workspace), settings or ComparisonSettings())


def test_what_is_measured_is_what_the_measures_say(few: Images, workspace: Workspace) -> None:
    comparison = compared(few, workspace, KIND, LOOK)
    a, b = KIND.vectors(few), LOOK.vectors(few)
    motifs = len(set(few.label("motif")))
    expected = [cka(a, b).mean(), mutual_knn(a, b, k=10).mean(), rank_correlation(a, b).mean()]
    assert [agreement.measure for agreement in comparison.agreements] == [
        "debiased CKA",
        "mutual 10-NN",
        "rank correlation",
    ]
    assert [agreement.value.estimate for agreement in comparison.agreements] == pytest.approx(expected)
    assert comparison.resampled == "motif" and comparison.queries == len(few)
    for agreement in comparison.agreements:  # they share the concept, and nothing else
        assert (
            agreement.value.low <= agreement.value.estimate <= agreement.value.high and agreement.value.groups == motifs
        )
        assert agreement.chance < agreement.chance_high < agreement.value.low
    assert comparison.agreements[1].chance == pytest.approx(10 / (len(few) - 1), rel=0.02)


def test_encoders_that_share_nothing_agree_as_chance_does(few: Images, workspace: Workspace) -> None:
    kind, look = Oracle("kind", {"category": 0.5}), Oracle("look", {"style": 0.5})
    for agreement in compared(few, workspace, kind, look).agreements:
        # category and style are balanced: their overlap is less than chance, for no two images share both more often
        assert agreement.value.estimate < agreement.chance_high


def test_what_was_planted_explains_the_disagreement(few: Images, workspace: Workspace) -> None:
    comparison = compared(few, workspace, KIND, LOOK)
    by = {each.attribute: each.difference for each in comparison.explanations}
    assert list(by) == ["category", "style", "color"]
    assert by["category"].low > 0.1 and by["style"].high < -0.1 and abs(by["color"].estimate) < 0.02
    said = comparison.sentence("oracle/kind", "oracle/look")
    assert said.startswith("Similarity goes more with category (by ")
    assert ") for oracle/kind, more with style (by " in said and said.endswith(") for oracle/look.")
    twin = compared(few, workspace, KIND, Oracle("twin", KIND.shares))
    assert twin.sentence("oracle/kind", "oracle/twin").endswith("no attribute tells them apart.")


def test_pairs_are_alike_in_what_their_encoder_sees(few: Images, workspace: Workspace) -> None:
    comparison = compared(few, workspace, KIND, LOOK, settings=ComparisonSettings(by=("category", "family")))
    ((kind, look),) = comparison.both_ways()
    assert (kind.near, kind.far, look.near, look.far) == ("oracle/kind", "oracle/look", "oracle/look", "oracle/kind")
    assert len(kind.pairs) == len(look.pairs) == 12
    known = rows_by_key(few)
    assert all(pair.same == {"category": True, "family": False} for pair in kind.pairs)
    assert all(pair.same == {"category": False, "family": True} for pair in look.pairs)
    for half in (kind, look):
        concepts = [{known[key].labels["concept"] for key in pair.keys} for pair in half.pairs]
        assert sum(map(len, concepts)) == len(set().union(*concepts))  # none twice
    blind = compared(
        few, workspace, KIND, LOOK, settings=ComparisonSettings(near_far=(0.5, 0.1), far_near=(0.1, 0.5), pairs=3)
    )
    for half in blind.disagreements:
        assert len(half.pairs) == 3
        assert all(pair.cosines[0] > 0.5 and pair.cosines[1] < 0.1 for pair in half.pairs)


def test_pairs_share_what_their_encoder_sees_beyond_random_pairs(few: Images, workspace: Workspace) -> None:
    comparison = compared(few, workspace, KIND, LOOK, settings=ComparisonSettings(by=("category", "family")))
    ((kind, look),) = comparison.both_ways()
    n = len(few)
    assert comparison.looked_at == n * (n - 1) // 2
    for half in (kind, look):
        assert half.found == half.counted > 1000 and 1 < half.busiest <= half.images <= n
        assert [row.attribute for row in half.sharing] == [
            "category",
            "family",
            "concept",
            "color",
            "lightness",
            "texture",
        ]
        assert [row.distance for row in half.sharing] == [False, False, False, True, True, True]
    by = {half.near: {row.attribute: row for row in half.sharing} for half in (kind, look)}
    assert by["oracle/kind"]["category"].share.estimate > 0.99 and by["oracle/look"]["family"].share.estimate > 0.99
    for sharing in by.values():
        for row in sharing.values():
            assert row.beyond.estimate == pytest.approx(row.share.estimate - row.matched)
        assert abs(sharing["lightness"].beyond.estimate) < 0.02  # no oracle sees it
    difference = {each.attribute: each.difference for each in comparison.contrasts}
    assert difference["category"].low > 0.3 and difference["family"].high < -0.3
    said = comparison.pair_sentence("oracle/kind", "oracle/look")
    assert "those near for oracle/kind only in category" in said and "for oracle/look only in family" in said


def test_encoders_that_agree_have_too_few_pairs_to_say_anything(few: Images, workspace: Workspace) -> None:
    settings = ComparisonSettings(near_far=(0.999, -0.9), far_near=(-0.9, 0.999))
    strict = compared(few, workspace, KIND, LOOK, settings=settings)
    assert all(not half.found and not half.sharing and not half.pairs for half in strict.disagreements)
    assert strict.pair_sentence("oracle/kind", "oracle/look").startswith("Too few pairs")


def test_hubs_are_limited(few: Images, workspace: Workspace) -> None:
    comparison = compared(few, workspace, KIND, LOOK, settings=ComparisonSettings(most_per_image=2))
    for half in comparison.disagreements:
        assert half.busiest == 2 and half.counted < half.found


def test_three_encoders_are_three_pairs(few: Images, workspace: Workspace) -> None:
    comparison = compared(few, workspace, KIND, LOOK, Oracle("third", {"color": 0.3}))
    assert len(comparison.agreements) == 9 and len(comparison.both_ways()) == 3 and len(comparison.explanations) == 9


def test_of_many_rows_some_are_drawn(few: Images, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compared(few, workspace, KIND, LOOK)
    for name, most in (("QUERIES", 200), ("RANKED", 150), ("EXPLAINED", 250)):
        monkeypatch.setattr(comparing, name, most)
    some = compared(few, workspace, KIND, LOOK)
    assert some.queries == 200
    assert [agreement.value.images for agreement in some.agreements] == [len(few), 200, 150]
    for part, all_rows in zip(some.agreements, whole.agreements, strict=True):
        assert abs(part.value.estimate - all_rows.value.estimate) < 0.03
    assert some.explanations[0].difference.images <= 250


def test_images_without_labels_are_compared_by_colour_alone(few: Images, workspace: Workspace) -> None:
    bare = few.labelled(lambda row: {})
    comparison = compared(bare, workspace, KIND, LOOK)
    assert comparison.resampled == "image" and [each.attribute for each in comparison.explanations] == ["color"]
    assert all(not pair.same for half in comparison.disagreements for pair in half.pairs)
    # values that nearly every image has for itself explain nothing
    named = few.labelled(lambda row: {"category": row.key})
    assert [each.attribute for each in compared(named, workspace, KIND, LOOK).explanations] == ["color"]


def test_the_histogram_of_colours_is_not_asked_about_itself(few: Images, workspace: Workspace) -> None:
    names = ("reference/color-histogram", "reference/random-vit", "reference/pixels")
    comparison = compare(few, [load_encoder(name) for name in names], Session(workspace), ComparisonSettings())
    assert {(each.a, each.b) for each in comparison.explanations} == {("reference/random-vit", "reference/pixels")}
    assert len(comparison.agreements) == 9


def test_images_that_only_some_encoders_can_read_are_left_out(
    few: Images, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = OracleSession.embed

    def embed(self: OracleSession, images: Images, encoders: list[Oracle], activity: str) -> object:
        return whole(self, images, encoders, activity).take(range(5, len(images)))

    monkeypatch.setattr(OracleSession, "embed", embed)
    comparison = compared(few, workspace, KIND, LOOK)
    assert comparison.compared == len(few) - 5 and comparison.images == ImagesSummary(
        few.name, few.fingerprint, len(few)
    )


def test_the_same_seed_gives_the_same_file_and_another_question_another_name(few: Images, workspace: Workspace) -> None:
    comparison, again = compared(few, workspace, KIND, LOOK), compared(few, workspace, KIND, LOOK)
    text = json.dumps(comparison.as_json())
    assert text == json.dumps(again.as_json()) and comparison.fingerprint == again.fingerprint
    assert json.loads(text)["disagreement"][0]["pairs"][0]["keys"]
    assert load_comparison(comparison.save(workspace).parent) == comparison
    assert replace(comparison, settings=ComparisonSettings(k=5)).fingerprint != comparison.fingerprint
    assert replace(comparison, seed=1).fingerprint != comparison.fingerprint


def test_what_was_compared_before_is_not_compared_again(
    few: Images, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = compared(few, workspace, KIND, LOOK)
    path = before.save(workspace)
    measured = list[str]()
    measure = comparing.measure

    def counted(*facts: Any, **options: Any) -> Any:
        measured.append("once more")
        return measure(*facts, **options)

    monkeypatch.setattr(comparing, "measure", counted)
    again = compared(few, workspace, KIND, LOOK)
    assert again == before and again.rows.keys() == before.rows.keys() and not measured
    relabelled = few.labelled(lambda row: {**row.labels, "category": "one"})
    assert compared(relabelled, workspace, KIND, LOOK).explanations != before.explanations and len(measured) == 1
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert compared(few, workspace, KIND, LOOK) == before and len(measured) == 2


def test_what_cannot_be_compared(few: Images, workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="at least two encoders"):
        compared(few, workspace, KIND)
    with pytest.raises(EmbprobeError, match="10 nearest needs at least 12 images; there are 11"):
        compared(few.take(range(11)), workspace, KIND, LOOK)
    tiny = compared(few.take(range(12)), workspace, KIND, LOOK)
    assert np.isfinite([agreement.value.estimate for agreement in tiny.agreements]).all()


def test_a_label_that_is_named_must_be_there_and_a_default_one_need_not(reads: Reads) -> None:
    plain = reads(2)
    assert make_settings(plain, k=3) == ComparisonSettings(3) and make_settings(plain, by=["color"]).by == ("color",)
    with pytest.raises(MissingLabel, match="'style'"):
        make_settings(plain, by=["style"])


def test_a_comparison_is_saved_among_the_results(few: Images, workspace: Workspace) -> None:
    comparison = compared(few, workspace, KIND, LOOK, settings=ComparisonSettings(3, pairs=1))
    path = comparison.save(workspace)
    assert path == workspace.results(f"compare-{comparison.fingerprint}") / "comparison.json"
    assert json.loads(path.read_text()) == json.loads(json.dumps(comparison.as_json()))


# --- images that lack something --------------------------------------------------------------------------------------


def test_an_image_without_a_label_or_a_direction_is_as_if_it_were_not_there(workspace: Workspace) -> None:
    rng = np.random.default_rng(0)
    colors = [tuple(rng.integers(20, 250, 3).tolist()) for _ in range(30)]
    rows = [row_of(f"{i:02d}", solid(color), category="ab"[i % 2]) for i, color in enumerate(colors)]
    black, stray = row_of("black", solid((0, 0, 0)), category="a"), row_of("stray", solid((9, 99, 199)))
    encoders = [make_encoder("raw"), make_encoder("shifted", lambda batch: batch.mean((2, 3)) + 0.5)]
    noted: list[str] = []
    session = Session(workspace, note=noted.append)
    settings = ComparisonSettings(k=3)
    found = compare(Images("all", (rows[0], stray, black, *rows[1:])), encoders, session, settings)
    without = compare(Images("few", tuple(rows)), encoders, session, settings)
    assert noted == [
        "1 of 32 images lack the label 'category' and are left out: 'stray' (--max-unlabelled 0.2)",
        "1 of 31 images have a vector of zeros by test/raw and are left out: 'black'",
    ]
    assert found.compared == without.compared == 30
    assert found.agreements == without.agreements and found.explanations == without.explanations
    assert found.disagreements == without.disagreements


def test_labels_that_many_lack_are_passed_over_unless_they_are_named(few: Images, workspace: Workspace) -> None:
    half = few.labelled(
        lambda row: {k: v for k, v in row.labels.items() if k != "style" or row.labels["style"] == "noto"}
    )
    noted: list[str] = []
    session = OracleSession(workspace, note=noted.append)
    found = compare(half, [KIND, LOOK], session, make_settings(half))
    assert found.compared == len(half) and {each.attribute for each in found.explanations} == {"category", "color"}
    assert len(noted) == 1 and noted[0].startswith("the label 'style' is passed over: ")
    with pytest.raises(MissingLabel, match="--max-unlabelled"):
        make_settings(half, by=["style"])
    make_settings(half, by=["style"], max_unlabelled=0.9)
