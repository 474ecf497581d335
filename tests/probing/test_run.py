"""A probe from rows to results: the table, what is saved, the same again, and what is refused."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import MissingLabel
from embprobe.probing.card import bundled_card
from embprobe.probing.context import GUESSING, NotApplicable
from embprobe.probing.key import Key
from embprobe.probing.results import Results
from embprobe.probing.run import run_probe
from tests.conftest import Reads, make_encoder, noise, row_of
from tests.probing.conftest import blind, card_of, crossed, found_by, painted, probe, renamed, sees_concept, sees_cue

HUE_60 = Key(kind="displacement", target="hue", strength=60)
HUE: dict[str, Any] = {"kind": "displacement", "intervention": "hue", "strengths": [90, 180]}
CATEGORY: dict[str, Any] = {
    "kind": "decoding",
    "label": "category",
    "classifier": "knn",
    "fit": {"where": {"split": ["train"]}},
    "tests": {"unseen concepts": {"where": {"split": ["test"]}}},
}
CUES: dict[str, Any] = {"kind": "preference", "concept": "concept", "cue": "cue"}
DESIGN: dict[str, Any] = {
    "kind": "variance",
    "unit": "concept",
    "factors": {"concept": "concept", "cue": "cue"},
    "of": ["cue"],
}


def many() -> Images:
    """Twelve noisy pictures of as many concepts, half of them for training."""
    return Images(
        "many",
        tuple(
            row_of(f"{i:02d}", noise(i), concept=f"c{i}", category="ab"[i % 2], split=["train", "test"][i // 6])
            for i in range(12)
        ),
    )


def means(name: str, power: float = 1) -> Any:
    return make_encoder(name, lambda batch: batch.mean((2, 3)) ** power, side=8)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two encoders and a reference, asked of how far they move and what they tell."""
    space = Workspace.open(tmp_path_factory.mktemp("found"))
    headline = {"kind": "displacement", "target": "hue", "strength": 180, "says": "notices hue"}
    card = card_of(HUE, CATEGORY, headline=headline, references=["reference/pixels"])
    subjects = [means("a", 3), means("b")]
    return run_probe(card, many(), subjects, [load_encoder("reference/pixels")], Session(space, seed=3))


# --- the table ---------------------------------------------------------------------------------------------------


def test_a_difference_is_the_difference_of_the_estimates(found: Results) -> None:
    differences = [row for row in found.rows if row.is_difference]
    assert len(differences) == len(found_by(found, "test/a")) == 5  # two measures at two strengths, and one decoding
    for row in differences:
        (a,), (b,) = ([each for each in found_by(found, name) if each.key == row.key] for name in ("test/a", "test/b"))
        assert (row.encoder, row.against, row.role) == ("test/a", "test/b", "subject")
        assert row.estimate == pytest.approx(a.estimate - b.estimate, abs=1e-12)
        assert row.low <= row.estimate <= row.high and row.p is not None


def test_p_values_are_corrected_in_two_families(found: Results) -> None:
    tested = sorted((row for row in found.rows if row.p is not None), key=lambda row: row.p or 0)
    headline = [row for row in tested if row.key == found.conclusions.key]
    others = [row for row in tested if row.key != found.conclusions.key]
    assert len(headline) == 1 and len(others) == 4
    for family in (headline, others):
        worst = 0.0
        for rank, row in enumerate(family):
            assert row.p is not None and row.p_adjusted is not None
            worst = max(worst, min(1, (len(family) - rank) * row.p))
            assert row.p_adjusted == pytest.approx(worst) and row.p_adjusted >= row.p
    assert all(row.p_adjusted is None for row in found.rows if row.p is None)


def test_references_are_measured_but_not_compared(found: Results) -> None:
    assert len(found_by(found, "reference/pixels")) == 5
    assert {row.label for row in found.rows if row.is_difference} == {"test/a - test/b"}
    assert {row.key.phrase for row in found_by(found, GUESSING)} == {"category k-NN, unseen concepts"}


def test_the_manifest_says_what_was_measured(found: Results) -> None:
    images = many()
    assert found.manifest["images"] == {"name": "many", "fingerprint": images.fingerprint, "count": 12}
    assert found.manifest["seed"] == 3
    assert found.manifest["card"]["attribute"] == "mine" and found.manifest["card"]["schema"] == 1
    assert [each["model"] for each in found.manifest["encoders"]] == ["a", "b", "pixels"]
    assert {row.resampled for row in found.rows} == {"concept"}
    assert {(row.groups, row.images) for row in found.rows} == {(12, 12), (6, 6)}
    assert found.conclusions.numbers.keys() == {"test/a", "test/b"} and len(found.conclusions.sentences) == 1
    assert {row.key.dataset for row in found.rows} == {"many"} and {row.key.layer for row in found.rows} == {None}


def test_without_differences_the_estimates_are_the_same_and_nothing_is_concluded(
    found: Results, tmp_path: Path
) -> None:
    headline = {"kind": "displacement", "target": "hue", "strength": 180, "says": "notices hue"}
    card = card_of(HUE, CATEGORY, headline=headline, references=["reference/pixels"])
    session = Session(Workspace.open(tmp_path), seed=3)
    alone = run_probe(
        card, many(), [means("a", 3), means("b")], [load_encoder("reference/pixels")], session, differences=False
    )
    assert alone.rows == [row for row in found.rows if not row.is_difference]
    assert alone.conclusions.numbers == {} and alone.conclusions.sentences == []
    assert all(
        a.key == b.key and np.array_equal(a.values, b.values) for a, b in zip(alone.scores, found.scores, strict=True)
    )


# --- roles -------------------------------------------------------------------------------------------------------


def test_the_role_of_an_encoder_is_how_it_was_put_and_no_matter_of_its_name(
    workspace: Workspace, tmp_path: Path
) -> None:
    headline = {"kind": "displacement", "target": "hue", "strength": 180, "says": "notices hue"}
    subjects = [renamed(means("a", 3), "mine"), load_encoder("reference/pixels")]
    references = [renamed(means("b"), "python:mine:make")]
    results = run_probe(card_of(HUE, CATEGORY, headline=headline), many(), subjects, references, Session(workspace))
    roles = {"mine": "subject", "reference/pixels": "subject", "python:mine:make": "reference", GUESSING: "baseline"}
    assert {row.encoder: row.role for row in results.rows} == roles
    assert {each.encoder: each.role for each in results.scores} == roles
    assert list(results.conclusions.numbers) == ["mine", "reference/pixels"]
    assert {row.label for row in results.rows if row.is_difference} == {"mine - reference/pixels"}
    (sentence,) = results.conclusions.sentences
    assert "mine" in sentence and "reference/pixels" in sentence
    results.save(tmp_path)
    assert {row.encoder: row.role for row in Results.load(tmp_path).rows} == roles


# --- what is saved -----------------------------------------------------------------------------------------------


def test_the_saved_scores_have_the_estimates_as_their_means(found: Results, tmp_path: Path) -> None:
    found.save(tmp_path)
    names = [field.name for field in fields(Key)]
    scores: dict[tuple[Key, str], list[float]] = defaultdict(list)
    for row in pq.read_table(tmp_path / "scores.parquet").to_pylist():
        scores[Key(**{name: row[name] for name in names}), row["encoder"]].append(row["score"])
    estimates = {(row.key, row.encoder): row for row in found.rows if not row.is_difference}
    assert set(scores) == set(estimates)
    for about, values in scores.items():
        assert np.mean(values) == pytest.approx(estimates[about].estimate, abs=1e-12)
        assert len(values) == estimates[about].images


def test_variance_shares_can_be_computed_from_the_scores_too(workspace: Workspace, tmp_path: Path) -> None:
    results = probe(workspace, crossed(5, 2), [sees_cue(), make_encoder()], DESIGN)
    results.save(tmp_path)
    table = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    for row in results.rows:
        if not row.is_difference:
            mean = np.mean([each["score"] for each in table if each["encoder"] == row.encoder])
            assert mean == pytest.approx(row.estimate, abs=1e-12)


def test_the_same_seed_gives_the_same_bytes_in_two_fresh_workspaces(tmp_path: Path) -> None:
    def saved(name: str, seed: int) -> tuple[bytes, bytes]:
        session = Session(Workspace.open(tmp_path / name / "workspace"), seed=seed)
        card = card_of(HUE, CATEGORY | {"treatments": {"x": ["none"], "y": ["hue 120"]}, "label": "turned"})
        run_probe(card, many(), [means("a"), means("b", 2)], [], session).save(tmp_path / name)
        return tuple((tmp_path / name / file).read_bytes() for file in ("results.json", "scores.parquet"))  # type: ignore[return-value]

    assert saved("a", 0) == saved("b", 0)
    assert saved("a", 0) == saved("a", 0)  # from stores that are already there
    other = saved("c", 1)
    assert saved("a", 0)[0] != other[0] and saved("a", 0)[1] != other[1]


def test_the_json_holds_no_times_and_no_places(found: Results, tmp_path: Path) -> None:
    found.save(tmp_path)
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    keys: set[str] = set()

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            keys.update(part)
            for each in part.values():
                walk(each)
        elif isinstance(part, list):
            for each in part:
                walk(each)

    walk(json.loads(text))
    assert not {
        key for key in keys if any(word in key for word in ("time", "date", "second", "host", "path", "folder"))
    }
    assert str(tmp_path) not in text and "/tmp" not in text


def test_a_second_probe_encodes_nothing_again(workspace: Workspace) -> None:
    encoder = means("a")
    for expected in (36, 0):  # twelve as they are, and turned twice
        del encoder.batches[:]
        probe(workspace, many(), [encoder], HUE)
        assert encoder.encoded == expected


# --- what is asked twice -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ([HUE, HUE | {"strengths": [180]}], "hue 180: displacement"),
        ([CATEGORY, CATEGORY | {"k": 3}], "category k-NN, unseen concepts"),
        ([CATEGORY | {"transforms": ["int8", "int8"]}], "int8: category k-NN, unseen concepts"),
        ([{"kind": "geometry", "statistics": ["uniformity", "uniformity"]}], "uniformity"),
    ],
)
def test_a_question_asked_twice_is_named(workspace: Workspace, asked: list[dict[str, Any]], named: str) -> None:
    with pytest.raises(UsageError, match=f"The card 'Mine' asks for '{named}' twice: leave one out, or"):
        probe(workspace, many(), [means("a")], *asked)


def test_a_strength_given_twice_is_asked_once(workspace: Workspace) -> None:
    results = probe(workspace, many(), [means("a")], HUE | {"strengths": [60, 60]})
    assert [row.key.phrase for row in results.rows] == ["displacement", "displacement percentile"]


# --- images of other people --------------------------------------------------------------------------------------


def test_conditions_on_labels_no_image_has_are_dropped(workspace: Workspace) -> None:
    where = {"where": {"split": ["train"], "style": ["x"]}, "one_per": "house", "limit": 5}
    results = probe(workspace, many(), [means("a")], HUE | {"images": where})
    assert {row.images for row in results.rows} == {5}  # of the six for training
    plain = many().labelled(lambda row: {})
    results = probe(workspace, plain, [means("a")], HUE | {"images": where})
    assert {(row.images, row.resampled) for row in results.rows} == {(5, "image")}


def test_what_cannot_be_asked_is_left_out_and_the_rest_is_asked(workspace: Workspace) -> None:
    plain = many().labelled(lambda row: {})
    results = probe(workspace, plain, [means("a")], CATEGORY, CUES, HUE, {"kind": "zero-shot", "label": "name"})
    assert {row.key.target for row in results.rows} == {"hue"}
    assert results.left_out == [
        "decoding: it needs the label 'category', which none of the images in 'many' has",
        "preference: it needs the label 'concept', which none of the images in 'many' has",
        "zero-shot: it needs the label 'name', which none of the images in 'many' has",
    ]


def test_if_nothing_can_be_asked_every_reason_is_named(workspace: Workspace) -> None:
    plain = many().labelled(lambda row: {})
    with pytest.raises(NotApplicable) as refused:
        probe(workspace, plain, [means("a")], CATEGORY, CUES)
    message = str(refused.value)
    assert message.startswith("Nothing of the probe 'Mine' can be asked of 'many': decoding: it needs the label")
    assert "'category'" in message and "; preference: it needs the label 'concept'" in message


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_images_are_counted(workspace: Workspace, reads: Reads, rows: int) -> None:
    with pytest.raises(EmbprobeError, match=f"at least two images; there are {rows} in 'noise'"):
        probe(workspace, reads(rows), [make_encoder()], HUE)


def test_one_concept_is_too_few(workspace: Workspace) -> None:
    images = many().labelled(lambda row: {"concept": "cat"})
    with pytest.raises(
        EmbprobeError, match=r"All images of 'many' have the same concept, 'cat': .* at least two concep"
    ):
        probe(workspace, images, [means("a")], HUE)


def test_images_that_lack_the_label_to_resample_are_left_out_up_to_a_share(workspace: Workspace) -> None:
    rows = list(many().rows)
    rows[4] = replace(rows[4], labels={})
    images = Images("part", tuple(rows))
    noted: list[str] = []
    results = run_probe(card_of(HUE), images, [means("a")], [], Session(workspace, note=noted.append))
    (reason,) = results.left_out
    assert reason == "1 of 12 images lack the label 'concept': '04' (--max-unlabelled 0.2)"
    assert noted == ["1 of 12 images lack the label 'concept' and are left out: '04' (--max-unlabelled 0.2)"]
    assert {row.images for row in results.rows} == {11} and results.manifest["images"]["count"] == 12
    encoder = means("a")
    strict = Session(workspace, max_unlabelled=0.05)
    with pytest.raises(MissingLabel, match=r"which 1 of the 12 .* lack, first '04'; .* --max-unlabelled 0.09 "):
        run_probe(card_of(HUE), images, [encoder], [], strict)
    assert encoder.encoded == 0


def test_a_concept_that_the_selection_leaves_alone_is_too_few(workspace: Workspace) -> None:
    images = many().labelled(
        lambda row: {"concept": "x" if row.labels["split"] == "train" else "y", **{"half": row.labels["split"]}}
    )
    with pytest.raises(EmbprobeError, match=r"Only one concept \('x'\) has scores"):
        probe(workspace, images, [means("a")], HUE | {"images": {"where": {"half": ["train"]}}})


# --- encoders that fail ------------------------------------------------------------------------------------------


def no_number(batch: Tensor) -> Tensor:
    return batch.mean((2, 3)) / (torch.arange(len(batch)) != 1)[:, None] - torch.inf


ALL_KINDS: dict[str, tuple[Callable[[], Images], dict[str, Any]]] = {
    "displacement": (many, HUE),
    "k-NN": (many, CATEGORY),
    "GDA": (many, CATEGORY | {"classifier": "gda"}),
    "preference": (lambda: crossed(5, 2), CUES),
    "variance": (lambda: crossed(5, 2), DESIGN),
    "natural pairs": (many, {"kind": "natural-pairs", "of": "category", "attributes": {"category": "category"}}),
    "geometry": (many, {"kind": "geometry", "statistics": ["uniformity"]}),
}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_an_encoder_without_numbers_is_an_error(workspace: Workspace, kind: str) -> None:
    images, measure = ALL_KINDS[kind]
    with pytest.raises(EmbprobeError, match="'test/broken' are not finite"):
        probe(workspace, images(), [make_encoder("broken", no_number)], measure)


@pytest.mark.parametrize("broken", [0.0, np.nan])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_one_image_without_a_direction_is_left_out_for_every_encoder(
    workspace: Workspace, kind: str, broken: float
) -> None:
    """The first of the images, under every condition, by one encoder of two."""
    make, measure = ALL_KINDS[kind]
    images = make()
    mean = torch.from_numpy(np.asarray(images.rows[0].load()).mean((0, 1)) / 255).float()

    def mostly(batch: Tensor) -> Tensor:
        means = batch.mean((2, 3))
        is_first = (means - mean).abs().amax(1) < 0.005
        return torch.where(is_first[:, None], torch.full_like(means, broken), means)

    encoders = [make_encoder("a"), make_encoder("mostly", mostly)]
    noted: list[str] = []
    results = run_probe(card_of(measure), images, encoders, [], Session(workspace, note=noted.append))
    shorter = Images("shorter", images.rows[1:])
    without = run_probe(card_of(measure), shorter, encoders, [], Session(workspace))

    def numbers(each: Results) -> list[tuple[object, ...]]:
        return [(row.key.phrase, row.encoder, row.images, row.estimate) for row in each.rows]

    if kind != "displacement":  # changed, it is another colour, and what donors there are does not matter
        assert numbers(results) == numbers(without)
    assert all(images.rows[0].key not in scores.keys for scores in results.scores)
    expected = (
        f"1 of {len(images)} images have a vector of zeros by test/mostly and are left out: '{images.rows[0].key}'"
    )
    assert noted == ([expected] if broken == 0 else [])


def test_vectors_without_numbers_are_an_error_of_logistic_regression(workspace: Workspace) -> None:
    with pytest.raises(EmbprobeError, match="not finite"):
        probe(workspace, many(), [make_encoder("broken", no_number)], CATEGORY | {"classifier": "logistic"})


@pytest.mark.parametrize("kind", ["displacement", "preference", "variance", "natural pairs"])
def test_a_collapsed_encoder_is_an_error(workspace: Workspace, kind: str) -> None:
    images, measure = ALL_KINDS[kind]
    with pytest.raises(EmbprobeError, match="All embeddings coincide"):
        probe(workspace, images(), [blind()], measure)


def test_images_none_of_which_can_be_read_are_an_error(workspace: Workspace) -> None:
    def torn() -> Image.Image:
        raise UnreadableImage("torn in two")

    images = Images("torn", tuple(replace(row, source=torn) for row in many().rows))
    with pytest.raises(EmbprobeError, match="None of the 12 images in 'torn' can be read; '00': torn in two"):
        probe(workspace, images, [means("a")], HUE)


# --- a bundled card ----------------------------------------------------------------------------------------------


def test_a_bundled_card_is_asked_of_whatever_there_is(workspace: Workspace) -> None:
    results = run_probe(
        bundled_card("geometry"), painted([(i, 9, 90) for i in range(6)]), [make_encoder()], [], Session(workspace)
    )
    assert {row.key.phrase for row in results.rows} == {"effective rank", "uniformity", "mean cosine", "conformity"}
    assert len(results.left_out) == 2
    assert results.conclusions.key is not None and str(results.conclusions.key) == "effective rank"


def test_who_sees_the_concept_and_who_the_cue_in_one_card(workspace: Workspace) -> None:
    headline = {"kind": "variance", "target": "cue", "says": "sees the cue"}
    check = {
        "encoder": "reference/pixels",
        "measure": "concept preferred to cue",  # as earlier cards wrote it
        "below": 0.1,
        "because": "it sees all of it",
    }
    card = card_of(CUES, DESIGN, headline=headline, must_fail=[check], references=["reference/pixels"])
    subjects, references = [sees_concept(), sees_cue()], [load_encoder("reference/pixels")]
    results = run_probe(card, crossed(12, 2), subjects, references, Session(workspace))
    (sentence,) = results.conclusions.sentences
    assert sentence.startswith("test/cue sees the cue more than test/concept: by 1.000 (1.000 to 1.000, ")
    failed, unchecked = results.conclusions.checks
    assert unchecked.passed is None and "'variance share of cue'" in unchecked.text  # the headline has no check
    assert not failed.passed and failed.encoder == "reference/pixels"
