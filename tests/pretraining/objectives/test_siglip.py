from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from embprobe.pretraining.objectives.siglip import SigLip, sigmoid_loss
from tests.pretraining.conftest import CAPTIONS, at, built, views_of


def test_the_loss_by_hand() -> None:
    # cosines [[1, 0], [0, 1]], scale log 3, bias log 2: logits log 6 and log 2. -log sigmoid(log 6) = log(7 / 6) =
    # 0.1542 for the pair that is one, -log sigmoid(-log 2) = log 3 = 1.0986 for the one that is none: 1.2528 an image
    scale, bias = torch.tensor(3.0).log(), torch.tensor(2.0).log()
    assert sigmoid_loss(at(0, 90), at(0, 90), scale, bias).item() == pytest.approx(1.2528, abs=1e-4)
    # cosines [[1, 1], [0, 0]]: the first row log 7 / 6 and log 7 = 1.9459, the second log 3 and log 3 / 2 = 0.4055:
    # (0.1542 + 1.9459 + 1.0986 + 0.4055) / 2 = 1.8021
    assert sigmoid_loss(at(0, 90), at(0, 0), scale, bias).item() == pytest.approx(1.8021, abs=1e-4)


@given(st.integers(0, 2**32 - 1))
def test_the_loss_is_binary_cross_entropy_of_all_pairs_summed_over_an_images(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images, texts = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    scale, bias = torch.tensor(7.0), torch.tensor(-3.0)
    logits = scale * F.cosine_similarity(images[:, None], texts[None], dim=-1) + bias
    expected = F.binary_cross_entropy_with_logits(logits, torch.eye(5, dtype=torch.float64), reduction="sum") / 5
    torch.testing.assert_close(sigmoid_loss(images, texts, scale, bias), expected)


@given(st.integers(0, 2**32 - 1))
def test_the_loss_sees_neither_lengths_nor_which_side_is_which_nor_the_order_of_pairs(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images, texts = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    lengths = torch.rand(5, 1, generator=generator, dtype=torch.float64) + 0.1
    order = torch.randperm(5, generator=generator)
    scale, bias = torch.tensor(5.0), torch.tensor(-1.0)
    loss = sigmoid_loss(images, texts, scale, bias)
    for first, second in ((images * lengths, texts / lengths), (texts, images), (images[order], texts[order])):
        torch.testing.assert_close(sigmoid_loss(first, second, scale, bias), loss)


@pytest.mark.parametrize("n", [2, 7])
def test_limits(n: int) -> None:
    eye, ten = torch.eye(n), torch.tensor(10.0)
    # nothing is known: log 2 for each of the n pairs an image is in
    assert sigmoid_loss(eye, eye, 0 * ten, 0 * ten).item() == pytest.approx(n * math.log(2), rel=1e-5)
    # all are told apart: +50 where they belong together, -50 elsewhere
    assert sigmoid_loss(eye, eye, 10 * ten, -5 * ten).item() == pytest.approx(0, abs=1e-6)
    # at the start, cosines are near 0: the pair costs log(1 + e^10) = 10.00005, the n - 1 others 0.00005 each
    apart = torch.eye(2 * n)
    assert sigmoid_loss(apart[:n], apart[n:], ten, -ten).item() == pytest.approx(10 + n * math.exp(-10), abs=1e-4)


def test_the_objective_starts_at_scale_10_and_bias_minus_10_and_trains_both() -> None:
    siglip = built("siglip")
    assert isinstance(siglip, SigLip)
    (images,) = views_of(siglip)
    features = siglip([images], CAPTIONS)
    assert torch.equal(features[0], siglip.encoder.encode_images(images))
    assert torch.equal(features[1], siglip.encoder.encode_texts(CAPTIONS))
    loss, numbers = siglip.loss(features)
    assert numbers == {"scale": pytest.approx(10), "bias": -10}
    torch.testing.assert_close(loss, sigmoid_loss(features[0], features[1], torch.tensor(10.0), torch.tensor(-10.0)))
    loss.backward()  # type: ignore[no-untyped-call]
    assert siglip.bias.grad is not None and siglip.log_scale.grad is not None
    assert siglip.bias.grad < 0  # nearly all of the loss is of pairs that belong together
