from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embprobe.encoders.towers.two_towers import TwoTowers
from embprobe.errors import EmbprobeError
from embprobe.images import Images, Row
from embprobe.pretraining import monitor
from embprobe.pretraining.monitor import Monitor, effective_rank


def drawings(name: str, concepts: dict[str, int]) -> Images:
    """A picture of noise per concept; the same number is the same picture."""

    def row(concept: str, number: int) -> Row:
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((48, 48), Image.Resampling.NEAREST)
        return Row(key=f"{name}/{concept}", labels={"concept": concept}, content=str(number), source=lambda: picture)

    return Images(name, tuple(row(concept, number) for concept, number in concepts.items()))


def test_effective_rank_by_hand() -> None:
    # singular values 3 sqrt(2) and sqrt(2): shares 3/4 and 1/4; exp(0.75 log(4/3) + 0.25 log 4) = exp(0.5623) = 1.7548
    features = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert effective_rank(features) == pytest.approx(1.7548, abs=1e-4)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_effective_rank_of_an_isotropic_cloud_is_its_dimension(d: int) -> None:
    assert effective_rank(torch.cat([torch.eye(d), -torch.eye(d)])) == pytest.approx(d, rel=1e-5)


def test_effective_rank_of_a_line_is_one() -> None:
    line = torch.linspace(-2, 3, 20).view(-1, 1) * torch.tensor([[1.0, -2.0, 0.5]]) + 7
    assert effective_rank(line) == pytest.approx(1, abs=1e-4)


@given(st.integers(0, 2**32 - 1))
def test_effective_rank_sees_neither_offset_nor_scale_nor_rotation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(30, 5)) * rng.uniform(0.1, 2, 5)
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    moved = 30 * features @ rotation + rng.normal(size=5)
    rank = effective_rank(torch.from_numpy(features))
    assert 1 <= rank <= 5
    assert effective_rank(torch.from_numpy(moved)) == pytest.approx(rank)


def test_effective_rank_of_an_encoder_that_collapsed_is_one() -> None:
    assert effective_rank(torch.ones(5, 3)) == 1
    assert effective_rank(torch.zeros(5, 3)) == 1


def test_differences_of_less_than_a_thousandth_are_rounding() -> None:
    # noise has every direction alike; a thousandth of the size of the features it would be taken for rank 8
    noise = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    assert effective_rank(noise) > 7
    assert effective_rank(10 + 0.1 * noise) > 7
    assert effective_rank(10 + 1e-4 * noise) == 1
    assert effective_rank((10 + 1e-4 * noise).half().float()) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_effective_rank_of_what_is_no_number_is_none(value: float) -> None:
    features = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    features[2, 1] = value
    assert math.isnan(effective_rank(features))


def test_a_held_out_drawing_is_found_where_the_nearest_training_drawing_shows_its_concept() -> None:
    train = drawings("train", {"cat": 1, "dog": 2, "car": 3, "key": 4, "only here": 6})
    encoder = TwoTowers(seed=0)
    found = Monitor(train, drawings("same", {"cat": 1, "dog": 2, "car": 3, "key": 4})).look(encoder)
    assert found["nearest_concept"] == 1
    assert 1 <= found["effective_rank"] <= 4
    swapped = drawings("swapped", {"cat": 2, "dog": 1, "car": 3, "key": 4, "unknown": 5})
    assert Monitor(train, swapped).look(encoder)["nearest_concept"] == 0.5  # cat and dog are swapped, car and key right


def test_without_held_out_drawings_only_collapse_is_looked_for() -> None:
    train = drawings("train", {"cat": 1, "dog": 2, "car": 3, "key": 4})
    encoder = TwoTowers(seed=0)
    beside = Monitor(train, train).look(encoder)
    assert Monitor(train, None).look(encoder) == {"effective_rank": beside["effective_rank"]}
    bare = train.labelled(lambda row: {})
    assert Monitor(bare, None).look(encoder) == {"effective_rank": beside["effective_rank"]}


def test_a_look_leaves_the_encoder_training_and_without_gradients() -> None:
    pictures = drawings("train", {"cat": 1, "dog": 2})
    encoder = TwoTowers(seed=0).train()
    Monitor(pictures, pictures).look(encoder)
    assert encoder.training and all(parameter.grad is None for parameter in encoder.parameters())


def test_no_more_concepts_are_looked_at_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "CONCEPTS", 4)
    pictures = drawings("train", {f"c{i}": i for i in range(10)})
    looked_at: list[int] = []

    class Counting(TwoTowers):
        def encode_images(self, images: torch.Tensor) -> torch.Tensor:
            looked_at.append(len(images))
            return super().encode_images(images)

    Monitor(pictures, pictures).look(Counting(seed=0))
    assert looked_at == [4, 4]  # every third of ten
    Monitor(pictures, None).look(Counting(seed=0))
    assert looked_at == [4, 4, 4]


def test_held_out_drawings_of_other_concepts_cannot_be_looked_for() -> None:
    with pytest.raises(EmbprobeError, match="'held out' and 'train' share no concept"):
        Monitor(drawings("train", {"cat": 1}), drawings("held out", {"dog": 2}))
