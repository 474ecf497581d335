"""Encoders are scored by numbers of cards, on the same images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError
from embprobe.images import Images
from embprobe.pretraining.scoring import Question, score_encoders, write_record
from embprobe.probing.pattern import KeyPattern
from tests.conftest import cosines, noise, row_of

CONCEPT = Question(
    "concept", "category", KeyPattern(kind="decoding", target="concept", variant="k-NN", test="unseen drawings")
)
NAME = Question("name", "category", KeyPattern(kind="zero-shot", target="name", variant="accuracy"))


@pytest.fixture(scope="module")
def some(emoji: Images) -> Images:
    """All drawings of thirty concepts, some of them in a house that training does not have."""
    concepts = list(dict.fromkeys(emoji.where(split=["unseen-drawing"]).label("concept")))[:30]
    return emoji.where(concept=concepts, split=["train", "unseen-drawing"])


def test_scores_are_those_of_the_card_on_the_same_images(some: Images, workspace: Workspace) -> None:
    names = ["reference/pixels", "bundled/clip"]
    encoders = [load_encoder(name, device="cpu") for name in names]
    session = Session(workspace)
    concept, name = score_encoders([CONCEPT, NAME], encoders, some, session)
    train, unseen = some.where(split=["train"]), some.where(split=["unseen-drawing"])
    assert set(concept.scores) - {"guessing"} == set(names) and concept.resampled == "motif"
    assert list(concept.groups) == list(unseen.label("motif")) and concept.unit == "accuracy"
    for encoder in encoders:
        gallery, queries = (
            session.embed(images, [encoder], "").vectors[encoder.spec.name] for images in (train, unseen)
        )
        nearest = cosines(np.asarray(queries), np.asarray(gallery)).argmax(1)
        right = [train.label("concept")[i] == own for i, own in zip(nearest, unseen.label("concept"), strict=True)]
        assert np.array_equal(concept.scores[encoder.spec.name], np.array(right, float))
    assert set(name.scores) - {"guessing"} == {"bundled/clip"}  # pixels have no text


def test_a_question_that_no_encoder_answers_is_a_sentence(some: Images, workspace: Workspace) -> None:
    pixels = [load_encoder("reference/pixels", device="cpu")]
    with pytest.raises(EmbprobeError, match=r"No encoder answers 'name' \(kind 'zero-shot', target 'name'"):
        score_encoders([CONCEPT, NAME], pixels, some, Session(workspace))
    unnamed = Images("few", tuple(row_of(str(i), noise(i), concept=str(i)) for i in range(4)))
    with pytest.raises(EmbprobeError, match="cannot be put to 'few'"):
        score_encoders([NAME], pixels, unnamed, Session(workspace))


def test_records_are_json_with_a_row_a_line(tmp_path: Path) -> None:
    rows = [{"measure": "a", "estimate": 0.5}, {"measure": "b", "estimate": -0.25}]
    write_record(tmp_path / "new" / "r.json", {"command": "x", "seed": 0}, rows)
    text = (tmp_path / "new" / "r.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"command": "x", "seed": 0, "rows": rows}
    assert sum('"measure"' in line for line in text.splitlines()) == 2
