"""A probe from rows to results, with encoders of which it is known what they see."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from embprobe.cards import Card, bundled_card
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError
from embprobe.extraction import extract
from embprobe.images import Images, load_images
from embprobe.images.decoding import UnreadableImage
from embprobe.interventions.color import srgb_to_oklab
from embprobe.results import Result, Results
from embprobe.study import MAJORITY, Session, run_probe
from embprobe.workspace import Workspace
from tests.conftest import CountingEncoder, Reads, make_encoder, row_of


def thumbnails(batch: Tensor) -> Tensor:
    """What a colour-blind eye sees: Oklab lightness, averaged over 8 x 8 fields. ``[n, 3, 128, 128] -> [n, 64]``."""
    lightness = torch.from_numpy(srgb_to_oklab(batch.permute(0, 2, 3, 1).double().numpy())[..., 0])
    return torch.nn.functional.adaptive_avg_pool2d(lightness, 8).flatten(1)


def color_blind() -> CountingEncoder:
    return make_encoder("color-blind", thumbnails, side=128, dimension=64)


def small(emoji: Images, count: int) -> Images:
    """So many drawings of as many concepts."""
    drawings = emoji.where(split="unseen-drawing", style=["noto", "twemoji", "openmoji", "fluent-flat"])
    return drawings.take(range(0, len(drawings), len(drawings) // count)).take(range(count))


def found_by(results: Results, encoder: str, **wanted: object) -> list[Result]:
    rows = [row for row in results.rows if row.encoder == encoder]
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


@pytest.fixture(scope="module")
def colored(emoji: Images, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The bundled colour card on 24 emoji, for an encoder that sees nothing but colour, and one that sees none."""
    space = Workspace.open(tmp_path_factory.mktemp("colored"))
    encoders = [load_encoder("reference/color-histogram"), color_blind()]
    card = bundled_card("color")
    return run_probe(card, small(emoji, 24), encoders, [load_encoder("reference/pixels")], Session(space))


# --- what the instrument must find -------------------------------------------------------------------------------


def test_a_color_blind_encoder_does_not_notice_colour(colored: Results) -> None:
    rows = found_by(colored, "test/color-blind", measure="displacement")
    assert {(row.intervention, row.strength) for row in rows} >= {("hue", 60), ("hue", 180), ("greyscale", 1)}
    assert all(0 <= row.estimate < 0.005 and row.high < 0.01 for row in rows)
    assert all(row.estimate < 0.01 for row in found_by(colored, "test/color-blind", measure="displacement percentile"))


def test_a_colour_histogram_notices_it_beyond_doubt(colored: Results) -> None:
    for row in found_by(colored, "reference/color-histogram", measure="displacement"):
        assert row.low > 0.2
    for row in found_by(colored, "reference/color-histogram - test/color-blind"):
        assert row.low > 0 and row.p_adjusted is not None and row.p_adjusted < 0.01


def test_a_difference_is_the_difference_of_the_estimates(colored: Results) -> None:
    differences = [row for row in colored.rows if row.is_difference]
    assert len(differences) == len(found_by(colored, "test/color-blind")) > 0
    for row in differences:
        question = {"measure": row.measure, "intervention": row.intervention, "strength": row.strength}
        (a,), (b,) = (found_by(colored, name, **question) for name in ("reference/color-histogram", "test/color-blind"))
        assert row.estimate == pytest.approx(a.estimate - b.estimate, abs=1e-12)
        assert row.low <= row.estimate <= row.high


def test_p_values_are_corrected_together(colored: Results) -> None:
    rows = sorted((row for row in colored.rows if row.p is not None), key=lambda row: row.p or 0)
    worst = 0.0
    for rank, row in enumerate(rows):
        assert row.p is not None and row.p_adjusted is not None
        worst = max(worst, min(1, (len(rows) - rank) * row.p))
        assert row.p_adjusted == pytest.approx(worst) and row.p_adjusted >= row.p


def test_references_are_measured_but_not_compared(colored: Results) -> None:
    assert found_by(colored, "reference/pixels")
    assert {row.encoder for row in colored.rows if row.is_difference} == {
        "reference/color-histogram - test/color-blind"
    }


def test_the_saved_scores_have_the_estimates_as_their_means(colored: Results, tmp_path: Path) -> None:
    colored.save(tmp_path)
    scores: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in pq.read_table(tmp_path / "scores.parquet").to_pylist():
        scores[row["measure"], row["intervention"], row["strength"], row["encoder"]].append(row["score"])
    estimates = {
        (row.measure, row.intervention, row.strength, row.encoder): row for row in colored.rows if not row.is_difference
    }
    assert set(scores) == set(estimates)
    for question, values in scores.items():
        assert np.mean(values) == pytest.approx(estimates[question].estimate, abs=1e-12)
        assert len(values) == estimates[question].images == 24


def test_the_manifest_says_what_was_measured(colored: Results, emoji: Images) -> None:
    images = small(emoji, 24)
    assert colored.manifest["images"] == {"name": images.name, "fingerprint": images.fingerprint, "count": 24}
    assert colored.manifest["seed"] == 0
    assert colored.manifest["card"]["attribute"] == "color" and colored.manifest["card"]["schema"] == 1
    assert [each["model"] for each in colored.manifest["encoders"]] == ["color-histogram", "color-blind", "pixels"]
    assert {row.resampled for row in colored.rows} == {"concept"} and {row.groups for row in colored.rows} == {24}


# --- the same again ----------------------------------------------------------------------------------------------

HUE: dict[str, Any] = {
    "schema": 1,
    "attribute": "color",
    "title": "Colour",
    "question": "Does it move?",
    "resample": "concept",
    "measures": [{"kind": "displacement", "intervention": "hue", "strengths": [90], "images": {"limit": 8}}],
}


def hue_card(**changes: object) -> Card:
    return Card.model_validate({**HUE, "measures": [{**HUE["measures"][0], **changes}]})


def test_the_same_seed_gives_the_same_bytes_in_two_fresh_workspaces(emoji: Images, tmp_path: Path) -> None:
    images = small(emoji, 12)

    def saved(name: str, seed: int) -> tuple[bytes, bytes]:
        encoders = [load_encoder("reference/pixels"), make_encoder(side=8)]
        run_probe(
            hue_card(), images, encoders, [], Session(Workspace.open(tmp_path / name / "workspace"), seed=seed)
        ).save(tmp_path / name)
        folder = tmp_path / name
        return (folder / "results.json").read_bytes(), (folder / "scores.parquet").read_bytes()

    assert saved("a", 0) == saved("b", 0)
    assert saved("a", 0) == saved("a", 0)  # from stores that are already there
    assert saved("a", 0)[0] != saved("c", 1)[0]


def test_a_second_probe_encodes_nothing_again(emoji: Images, workspace: Workspace) -> None:
    encoder, images = make_encoder(), small(emoji, 8)
    for expected in (16, 0):  # eight as they are, eight turned
        del encoder.batches[:]
        run_probe(hue_card(), images, [encoder], [], Session(workspace))
        assert encoder.encoded == expected


# --- decoding, by hand -------------------------------------------------------------------------------------------


def painted() -> Images:
    """Ten concepts, five red, three green and two blue, in six drawings each; the last two drawings are for tests."""
    rows = []
    for i, category in enumerate(["red"] * 5 + ["green"] * 3 + ["blue"] * 2):
        color = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}[category]
        for drawing in range(6):
            jitter = np.random.default_rng([i, drawing]).integers(0, 6, (8, 8, 3))
            picture = Image.fromarray(np.clip(np.array(color) + jitter, 0, 255).astype(np.uint8))
            split = "unseen-concept" if i in (3, 4, 7) else "unseen-drawing" if drawing > 3 else "train"
            rows.append(row_of(f"{i}/{drawing}", picture, concept=f"c{i}", category=category, split=split))
    return Images("painted", tuple(rows))


def test_decoding_by_hand(workspace: Workspace) -> None:
    results = run_probe(bundled_card("category"), painted(), [make_encoder()], [], Session(workspace))
    assert {row.measure for row in results.rows} == {
        "concept decoding, unseen drawings",
        "category decoding, unseen drawings",
        "category decoding, unseen concepts",
    }
    # Training has three red concepts, two green and two blue, so the best guess is red. It is right for 3 of those 7
    # concepts in unseen drawings (two each, 14 images), and for 2 of the 3 unseen concepts (six drawings each, 18).
    for test, images, groups, guessed in (("drawings", 14, 7, 3 / 7), ("concepts", 18, 3, 2 / 3)):
        question = {"measure": f"category decoding, unseen {test}"}
        (sees,), (guess,) = (found_by(results, name, **question) for name in ("test/means", MAJORITY))
        assert (sees.estimate, sees.low, sees.high) == (1, 1, 1)
        assert guess.estimate == pytest.approx(guessed) and guess.low < guessed < guess.high
        assert {(row.images, row.groups, row.unit, row.p) for row in (sees, guess)} == {
            (images, groups, "accuracy", None)
        }


def test_an_encoder_that_sees_nothing_does_as_well_as_guessing(workspace: Workspace) -> None:
    blind = make_encoder("blind", lambda batch: torch.ones(len(batch), 3))
    results = run_probe(bundled_card("category"), painted(), [make_encoder(), blind], [], Session(workspace))
    for measure in {row.measure for row in results.rows if row.measure.startswith("category")}:
        (sees_nothing,) = found_by(results, "test/blind", measure=measure)
        (guess,) = found_by(results, MAJORITY, measure=measure)
        assert sees_nothing.estimate == guess.estimate


# --- images of other people --------------------------------------------------------------------------------------


def test_a_folder_without_labels_can_be_probed_for_colour(photos: Path, workspace: Workspace) -> None:
    (photos / "cat" / "torn.png").write_bytes(b"")
    for path in sorted(photos.glob("*/*")):
        path.rename(photos / path.name)  # no subfolders, so no categories
    results = run_probe(
        bundled_card("color"), load_images(str(photos)), [make_encoder(side=16)], [], Session(workspace)
    )
    assert {(row.images, row.groups, row.resampled) for row in results.rows} == {(9, 9, "image")}
    (turned,) = found_by(results, "test/means", measure="displacement", intervention="hue", strength=180)
    assert turned.estimate > 0


def test_a_label_that_the_images_lack_is_named(photos: Path, workspace: Workspace) -> None:
    with pytest.raises(EmbprobeError, match=r"needs the label 'split', .*'photos'.*Their labels: category"):
        run_probe(bundled_card("category"), load_images(str(photos)), [make_encoder()], [], Session(workspace))
    assert not (workspace.root / "stores").exists()


def test_one_image_is_too_few(workspace: Workspace, reads: Reads) -> None:
    with pytest.raises(EmbprobeError, match="at least two images; there are 1"):
        run_probe(bundled_card("color"), reads(1), [make_encoder()], [], Session(workspace))


def test_a_collapsed_encoder_is_an_error(workspace: Workspace, reads: Reads) -> None:
    blind = make_encoder("blind", lambda batch: torch.ones(len(batch), 3))
    with pytest.raises(EmbprobeError, match="All embeddings coincide"):
        run_probe(hue_card(), reads(4), [blind], [], Session(workspace))


@pytest.mark.parametrize(
    ("change", "named"), [({"intervention": "hew"}, "hew"), ({"intervention": "greyscale", "strengths": [2.0]}, "2")]
)
def test_an_intervention_that_cannot_be_done_is_refused_before_anything_is_extracted(
    workspace: Workspace, reads: Reads, change: dict[str, object], named: str
) -> None:
    with pytest.raises(EmbprobeError, match=named):
        run_probe(hue_card(**change), reads(4), [make_encoder()], [], Session(workspace))
    assert not (workspace.root / "stores").exists()


def test_rows_that_one_encoder_could_not_read_at_the_time_do_not_shift_the_others(
    workspace: Workspace, reads: Reads
) -> None:
    """The disk fails while the first encoder runs, and works again for the second; the file is the same."""
    images, works = reads(6), [False]

    def read() -> Image.Image:
        if not works[0]:
            raise UnreadableImage("the disk does not answer")
        return reads(6).rows[2].read()

    rows = tuple(replace(row, source=read) if i == 2 else row for i, row in enumerate(images.rows))
    images, a, b = Images("noise", rows), make_encoder("a", side=8), make_encoder("b", side=8)
    extract(images, [a], workspace)
    works[0] = True
    found = Session(workspace).embed(images, [a, b], "both")
    vectors = found.vectors
    assert len(found.rows) == 5 == len(vectors["test/a"]) == len(vectors["test/b"])
    assert np.array_equal(vectors["test/a"], vectors["test/b"])  # the same function of the same rows


def test_an_unreadable_test_image_is_left_out_of_decoding(emoji: Images, workspace: Workspace) -> None:
    def read() -> Image.Image:
        raise UnreadableImage("torn in two")

    chosen = sorted(set(emoji.label("concept")))[::40]
    images = emoji.where(concept=chosen)
    torn = next(i for i, row in enumerate(images.rows) if row.labels["split"] == "unseen-drawing")
    rows = tuple(replace(row, source=read) if i == torn else row for i, row in enumerate(images.rows))
    expected = [row.key for i, row in enumerate(rows) if row.labels["split"] == "unseen-drawing" and i != torn]
    results = run_probe(bundled_card("category"), Images("torn", rows), [make_encoder(side=8)], [], Session(workspace))
    tested = [score for score in results.scores if score.measure.endswith("unseen drawings")]
    assert {score.encoder for score in tested} == {"test/means", "majority label"}
    assert all(list(score.keys) == expected and len(score.values) == len(expected) for score in tested)
