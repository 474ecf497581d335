from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embprobe.pretraining.objectives.clip import Clip, Temperature, contrastive_loss
from tests.pretraining.conftest import CAPTIONS, at, built, views_of


def test_contrastive_loss_by_hand() -> None:
    # cosines [[1, 0], [0, 1]], scale log 3: each row and column is (3, 1) / 4, the loss log(4 / 3) = 0.2877
    scale = torch.tensor(3.0).log()
    assert contrastive_loss(at(0, 90), at(0, 90), scale).item() == pytest.approx(0.2877, abs=1e-4)
    # cosines [[1, 1], [0, 0]]: both rows are even, log 2 = 0.6931; the columns are (3, 1) / 4 with the right one first
    # 0.2877 and then last 1.3863, mean 0.8370; (0.6931 + 0.8370) / 2 = 0.7651
    assert contrastive_loss(at(0, 90), at(0, 0), scale).item() == pytest.approx(0.7651, abs=1e-4)


@given(st.integers(0, 2**32 - 1))
def test_contrastive_loss_sees_neither_lengths_nor_which_side_is_which_nor_the_order_of_pairs(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images, texts = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    lengths = torch.rand(5, 1, generator=generator, dtype=torch.float64) + 0.1
    order = torch.randperm(5, generator=generator)
    loss = contrastive_loss(images, texts, torch.tensor(5.0))
    for first, second in ((images * lengths, texts / lengths), (texts, images), (images[order], texts[order])):
        torch.testing.assert_close(contrastive_loss(first, second, torch.tensor(5.0)), loss)
    assert loss > 0


@pytest.mark.parametrize("n", [2, 7, 100])
def test_contrastive_loss_is_log_n_where_all_embeddings_are_identical(n: int) -> None:
    same = torch.ones(n, 4)
    assert contrastive_loss(same, same, torch.tensor(14.0)).item() == pytest.approx(math.log(n), abs=1e-5)


def test_contrastive_loss_goes_to_zero_where_every_pair_is_alone_in_its_direction() -> None:
    assert contrastive_loss(torch.eye(6), torch.eye(6), torch.tensor(100.0)).item() == pytest.approx(0, abs=1e-6)


def test_the_inverse_temperature_starts_at_one_in_007_and_stays_at_100_or_below() -> None:
    temperature = Temperature()
    assert temperature().item() == pytest.approx(1 / 0.07)
    for before, after in ((7.0, 100.0), (3.0, math.exp(3))):
        temperature.log_scale.data.fill_(before)
        temperature.clamp()
        assert temperature().item() == pytest.approx(after, rel=1e-5)


def test_clips_loss_is_contrastive_at_its_own_temperature() -> None:
    clip = built("clip")
    assert isinstance(clip, Clip)
    (images,) = views_of(clip)
    loss, numbers = clip.loss(clip([images], CAPTIONS))
    embedded = clip.encoder.encode_images(images), clip.encoder.encode_texts(CAPTIONS)
    torch.testing.assert_close(loss, contrastive_loss(*embedded, torch.tensor(1 / 0.07)))
    assert numbers == {"scale": pytest.approx(1 / 0.07, rel=1e-5)}
    clip.temperature.log_scale.data.fill_(9)
    clip.after_step(0.5)
    assert clip.temperature().item() == pytest.approx(100)


def test_clips_loss_falls_on_a_batch_it_sees_again_and_again() -> None:
    clip = built("clip")
    optimizer = torch.optim.AdamW(clip.parameters(), lr=1e-3)
    losses = []
    for _ in range(15):
        loss, _ = clip.loss(clip(views_of(clip), CAPTIONS))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        clip.after_step(0.5)
        losses.append(loss.item())
    assert losses[0] > 0.8 * math.log(6)  # knows nothing yet
    assert losses[-1] < 0.5 * losses[0]
