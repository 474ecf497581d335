"""Style, typographic and background cards on encoders of which it is known what they see, on emoji and photographs.

Blind encoders read real pixels, but of another image that shows the same, so that colour and shape say nothing of
style. Graded ones have more and more of a direction for the style beside what they read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.job import Wanted
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Encoder
from embprobe.images import Images, Row
from embprobe.probing.card import Card, bundled_card
from embprobe.probing.key import SHUFFLED
from embprobe.probing.results import Result, Results
from embprobe.probing.run import run_probe
from tests.conftest import make_encoder, real_images

Array = NDArray[np.float64]
NOWHERE = Workspace(Path())
GRADES = (0.0, 0.1, 0.3, 1.0)
"""Lengths of the style's direction, beside a content of length 1."""


@pytest.fixture(scope="session")
def photographs() -> Images:
    """Every fifth image of four styles and seven categories."""
    images = real_images("pacs-half.parquet")
    return images.take(range(0, len(images), 5))


@pytest.fixture(params=["emoji", "photographs"])
def styled(request: pytest.FixtureRequest) -> Images:
    """Images with styles: one drawing of a house for every eighth unseen concept, or photographs, art and sketches."""
    if request.param == "photographs":
        images: Images = request.getfixturevalue("photographs")
        return images
    emoji: Images = request.getfixturevalue("emoji")
    unseen = emoji.where(split=["unseen-concept"], style=["noto", "twemoji", "openmoji", "fluent-flat"])
    kept = set(sorted(set(unseen.label("concept")))[::5])
    return unseen.take(i for i, row in enumerate(unseen.rows) if row.labels["concept"] in kept)


@dataclass(frozen=True)
class ByRow(Session):
    """Encoders that are functions of a row, by name."""

    vectors: Mapping[str, Callable[[Row], Array]] = field(default_factory=dict)

    def prepare(self, wanted: Sequence[Wanted], activity: str) -> None:
        """Do nothing: no image is encoded, and nothing is written."""

    def embed(self, images: Images, encoders: Sequence[Encoder], activity: str) -> EmbeddingSet:
        names = [encoder.spec.name for encoder in encoders]
        by_name = {name: np.array([self.vectors[name](row) for row in images.rows], np.float32) for name in names}
        return EmbeddingSet(images, by_name)


def direction(text: str) -> Array:
    """A random direction ``[64]``, the same for the same text."""
    drawn = np.random.default_rng(list(hashlib.sha256(text.encode()).digest())).standard_normal(64)
    return np.asarray(drawn / np.linalg.norm(drawn))


def shown(row: Row) -> str:
    return row.labels.get("concept") or row.labels["category"]


def style(row: Row) -> str:
    return row.labels.get("family") or row.labels["style"]


def noise(row: Row) -> Array:
    return direction(f"noise {row.key} {row.content}")


def graded(length: float) -> Callable[[Row], Array]:
    """See what is shown, the style with this length, and something of every image's own."""
    return lambda row: direction(f"shown {shown(row)}") + length * direction(f"style {style(row)}") + 0.7 * noise(row)


def reading(images: Images, see: Callable[[Array], Array], *, seed: int) -> Callable[[Row], Array]:
    """See the pixels of another image that shows the same, chosen at random, so of any style."""
    rng = np.random.default_rng(seed)
    same: dict[str, list[Row]] = {}
    for row in images.rows:
        same.setdefault(shown(row), []).append(row)
    read = {
        row.key: other
        for rows in same.values()
        for row, other in zip(rows, (rows[i] for i in rng.permutation(len(rows))), strict=True)
    }

    @cache
    def pixels(key: str) -> Array:
        return see(np.asarray(read[key].load().resize((12, 12)), np.float64) / 255 - 0.5)

    return lambda row: pixels(row.key)


def hues(pixels: Array) -> Array:
    """The mean colour and its spread, without places."""
    flat = pixels.reshape(-1, 3)
    return np.hstack([flat.mean(0), flat.std(0), np.histogram(flat.mean(1), 6, (-0.5, 0.5))[0] / 144])


def outline(pixels: Array) -> Array:
    """Where it is dark, without colours."""
    return np.asarray(pixels.mean(2).ravel(), np.float64)


def headline(attribute: str, images: Images) -> Card:
    """The card as it is put to these images, with the measure of its headline alone, without references."""
    card = bundled_card(attribute).of(images).quickly()
    kind = card.headline.kind if card.headline else None
    return card.model_copy(update={"measures": [m for m in card.measures if m.kind == kind], "references": []})


def put(card: Card, images: Images, encoders: Mapping[str, Callable[[Row], Array]]) -> Results:
    session = ByRow(NOWHERE, vectors={f"test/{name}": function for name, function in encoders.items()})
    bare = card.model_copy(update={"must_fail": []})
    return run_probe(bare, images, [make_encoder(name) for name in encoders], [], session)


def estimates(results: Results, condition: str | None = None) -> list[Result]:
    return [row for row in results.rows if not row.is_difference and row.key.condition == condition]


def test_encoders_blind_to_style_are_undecided_whatever_else_they_see(styled: Images) -> None:
    encoders = {"colour": reading(styled, hues, seed=1), "shape": reading(styled, outline, seed=2), "file": noise}
    results = put(headline("style", styled), styled, encoders)
    for row in estimates(results):
        assert row.estimate == pytest.approx(0.5, abs=0.02)
        assert row.low - 0.005 <= 0.5 <= row.high + 0.005
    differences = [row for row in results.rows if row.is_difference and row.key.condition is None]
    assert len(differences) == 3
    assert all((row.p_adjusted or 0) >= 0.05 for row in differences)


def test_more_style_is_more_attraction_and_shuffled_styles_are_none(styled: Images) -> None:
    results = put(headline("style", styled), styled, {f"{grade:g}": graded(grade) for grade in GRADES})
    blind, *seeing = (row.estimate for row in estimates(results))
    assert blind == pytest.approx(0.5, abs=0.02)
    assert blind < seeing[0] < seeing[1] < seeing[2]
    assert seeing[2] > 0.9
    assert all(row.estimate == pytest.approx(0.5, abs=0.06) for row in estimates(results, SHUFFLED))


def test_style_is_seen_beneath_three_times_as_much_of_what_is_shown(styled: Images) -> None:
    # a and b show the same, so it is in both cosines; longer, it leaves a smaller share of them to the style
    def much(row: Row) -> Array:
        return 2 * direction(f"shown {shown(row)}") + graded(0.3)(row)

    results = put(headline("style", styled), styled, {"1": graded(0.3), "3": much})
    little, more = (row.estimate for row in estimates(results))
    assert 0.55 < more < little


# --- typographic and background --------------------------------------------------------------------------------------


def sees_words(row: Row) -> Array:
    """See what is shown, and a little of the word that is written; letters that were shuffled are no word."""
    word = row.labels.get("word", "")
    written = row.labels.get("treatment") == "conflict"
    return direction(f"named {row.labels['name']}") + (0.5 * direction(f"named {word}") if written else 0) + noise(row)


def sees_ink(row: Row) -> Array:
    """See what is shown, and that something was written, but not what."""
    return direction(f"named {row.labels['name']}") + (1.0 * noise(row) if "word" in row.labels else 0)


def test_who_cannot_read_is_drawn_to_no_word_and_who_can_is(emoji: Images) -> None:
    kept = set(sorted(set(emoji.label("concept")))[::12])
    few = emoji.take(i for i, row in enumerate(emoji.rows) if row.labels["concept"] in kept)
    card = headline("typographic", emoji)
    results = put(card, few, {"reads": sees_words, "ink": sees_ink, "file": noise})
    by_encoder = {row.encoder: row for row in estimates(results) if row.key == results.conclusions.key}
    assert by_encoder["test/reads"].low > 0.1
    for name in ("test/ink", "test/file"):
        assert by_encoder[name].low <= 0 <= by_encoder[name].high


def sees_background(length: float) -> Callable[[Row], Array]:
    def see(row: Row) -> Array:
        return (
            direction(f"shown {shown(row)}") + length * direction(row.labels.get("background", "")) + 0.7 * noise(row)
        )

    return see


def test_more_background_is_a_larger_share_and_noise_has_none(emoji: Images) -> None:
    encoders = {f"{grade:g}": sees_background(grade) for grade in GRADES} | {"file": noise}
    results = put(headline("background", emoji), emoji, encoders)
    *graded_shares, of_noise = (row.estimate for row in estimates(results) if row.key == results.conclusions.key)
    # of 1 + g^2 + 0.49 of squared length, g^2 is the background's; random directions are at right angles but for 1 / 8
    for grade, share in zip(GRADES, graded_shares, strict=True):
        assert share == pytest.approx(grade**2 / (1.49 + grade**2), abs=0.06)
    assert graded_shares == sorted(graded_shares)
    assert of_noise == pytest.approx(0, abs=0.01)
