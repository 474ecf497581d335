from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from embprobe.encoders.towers.two_towers import CLUSTERS, ClusterHead
from embprobe.pretraining.objectives.nclip import NClip, clustering_loss, clustering_loss_of_heads
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


def shared(size: float, n: int = 8, k: int = 16) -> tuple[Tensor, Tensor]:
    """Nearly even assignments of images and captions that differ between pairs, and all like one cluster a bit more."""
    logits = 0.01 * torch.randn(2, n, k, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits -= logits.mean(1, keepdim=True)
    logits[:, :, 3] += size
    return logits[0], logits[1]


def test_what_all_have_in_common_lowers_the_loss_so_it_is_taken_out() -> None:
    # m = 1/K (1 - 1/K) s of one cluster and -1/K^2 s of the others, so |m|^2 = s^2 / K^2 (1 - 1/K); for K = 16 and
    # s = 0.1 the loss falls by K |m|^2 / 2 = 0.01 / 32 * 15 / 16 = 0.000293, and in the end to 0, one cluster of all
    even, liked, alone = (clustering_loss(*shared(size))[0].item() for size in (0, 0.1, 100))
    assert even == pytest.approx(math.log(16), abs=1e-4)
    assert even - liked == pytest.approx(0.000293, rel=0.1)
    assert alone == pytest.approx(0, abs=1e-6)
    image_head, text_head = ClusterHead(4), ClusterHead(4)
    for head in (image_head, text_head):
        head.register_buffer("mean", torch.zeros(16, dtype=torch.float64))
        head.register_buffer("variance", torch.ones(16, dtype=torch.float64))
    first, *others = (
        clustering_loss_of_heads(image_head, images, text_head, texts)[0].item()
        for images, texts in (shared(0), shared(0.1), shared(100))
    )
    assert others == pytest.approx(2 * [first], abs=1e-6) and first > 1


def test_the_objective_takes_the_embedding_for_logits_of_clusters_and_standardises_them() -> None:
    nclip = built("nclip")
    assert isinstance(nclip, NClip)
    (images,) = views_of(nclip)
    features = nclip([images], CAPTIONS)
    assert torch.equal(features[0], nclip.encoder.encode_images(images))
    assert torch.equal(features[1], nclip.encoder.encode_texts(CAPTIONS))
    assert features[0].shape == features[1].shape == (len(CAPTIONS), CLUSTERS)
    standardised = [(x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() for x in features]
    torch.testing.assert_close(nclip.loss(features)[0], clustering_loss(*standardised)[0])
    assert nclip.encoder.head == "clusters"
