from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from embprobe.encoders.towers import CLUSTERS
from embprobe.pretraining.objectives.nclip import NClip, clustering_loss
from tests.pretraining.conftest import CAPTIONS, built, views_of


def logits(*rows: tuple[float, ...]) -> Tensor:
    """Of these probabilities, up to a constant of each row, which softmax does not see."""
    return torch.tensor(rows, dtype=torch.float64).log() + torch.arange(len(rows)).view(-1, 1)


def test_the_three_terms_by_hand() -> None:
    # p = (3/4, 1/4), (1/4, 3/4) and q the same: H(p) = 0.75 log(4/3) + 0.25 log 4 = 0.5623, also H(p, q); the mean is
    # even, log 2 = 0.6931; 0.5623 + 0.5623 - 0.6931 = 0.4315
    p = logits((0.75, 0.25), (0.25, 0.75))
    loss, numbers = clustering_loss(p, p)
    assert numbers == pytest.approx({"agreement": 0.5623, "sharpness": 0.5623, "smoothness": 0.6931}, abs=1e-4)
    assert loss.item() == pytest.approx(0.4315, abs=1e-4)
    # q even: H(p, q) = log 2 = 0.6931, H(q, p) = -(log 0.75 + log 0.25) / 2 = 0.8370: agreement 0.7651;
    # sharpness (0.5623 + 0.6931) / 2 = 0.6277; both means are even; 0.7651 + 0.6277 - 0.6931 = 0.6997
    loss, numbers = clustering_loss(p, logits((0.5, 0.5), (0.5, 0.5)))
    assert numbers == pytest.approx({"agreement": 0.7651, "sharpness": 0.6277, "smoothness": 0.6931}, abs=1e-4)
    assert loss.item() == pytest.approx(0.6997, abs=1e-4)
    # p always (3/4, 1/4): its mean is that, too, of entropy 0.5623; smoothness (0.5623 + 0.6931) / 2
    _, numbers = clustering_loss(logits((0.75, 0.25), (0.75, 0.25)), logits((0.5, 0.5), (0.5, 0.5)))
    assert numbers == pytest.approx({"agreement": 0.7651, "sharpness": 0.6277, "smoothness": 0.6277}, abs=1e-4)


@pytest.mark.parametrize("k", [2, 5, 256])
def test_limits(k: int) -> None:
    alone, together = 1e4 * torch.eye(k), 1e4 * torch.eye(k)[:1].expand(k, k)
    # each pair in a cluster of its own, sharply and together; everything in one cluster; nothing in any
    for features, lowest in ((alone, -math.log(k)), (together, 0.0), (torch.zeros(k, k), math.log(k))):
        assert clustering_loss(features, features)[0].item() == pytest.approx(lowest, abs=1e-5)
    wrong = clustering_loss(10 * torch.eye(k), 10 * torch.eye(k).roll(1, 0))[0]
    assert wrong > 5 - math.log(k)  # the image is sure, and so is the caption, of something else


@given(st.integers(0, 2**32 - 1))
def test_the_loss_is_never_below_minus_log_k_and_sees_neither_order_nor_side(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images, texts = 5 * torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    pairs, clusters = torch.randperm(6, generator=generator), torch.randperm(4, generator=generator)
    loss, numbers = clustering_loss(images, texts)
    assert loss >= -math.log(4)
    assert loss.item() == pytest.approx(numbers["agreement"] + numbers["sharpness"] - numbers["smoothness"])
    for first, second in (
        (texts, images),
        (images[pairs], texts[pairs]),
        (images[:, clusters], texts[:, clusters]),
        (images + torch.arange(6).view(-1, 1), texts - 7),
    ):
        torch.testing.assert_close(clustering_loss(first, second)[0], loss)


def test_the_objective_takes_the_embedding_for_logits_of_clusters() -> None:
    nclip = built("nclip")
    assert isinstance(nclip, NClip)
    (images,) = views_of(nclip)
    features = nclip([images], CAPTIONS)
    assert torch.equal(features[0], nclip.encoder.encode_images(images))
    assert torch.equal(features[1], nclip.encoder.encode_texts(CAPTIONS))
    assert features[0].shape == features[1].shape == (len(CAPTIONS), CLUSTERS)
    assert torch.equal(nclip.loss(features)[0], clustering_loss(*features)[0])
    assert nclip.encoder.head == "clusters"
