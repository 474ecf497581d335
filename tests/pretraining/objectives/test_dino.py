from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from embprobe.pretraining.objectives.dino import PROTOTYPES, Balance, Centring, Dino, Head, koleo, sinkhorn
from tests.pretraining.conftest import CAPTIONS, at, built, views_of


def made(name: str = "dino") -> Dino:
    dino = built(name)
    assert isinstance(dino, Dino)
    return dino


# --- the teacher's outputs are balanced --------------------------------------------------------------------------


def test_sinkhorn_by_hand() -> None:
    # [[1, 3], [1, 1]]; by column sums 2 and 4: [[1/2, 3/4], [1/2, 1/4]]; by row sums 5/4 and 3/4
    weights = sinkhorn(torch.tensor([[1.0, 3.0], [1.0, 1.0]]).log(), iterations=1)
    torch.testing.assert_close(weights, torch.tensor([[2 / 5, 3 / 5], [2 / 3, 1 / 3]]))
    torch.testing.assert_close(Balance()(torch.zeros(3, 4)), torch.full((3, 4), 1 / 4))


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(2, 12))
def test_sinkhorn_balances_rows_and_columns(seed: int, n: int, k: int) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, k)))
    weights = sinkhorn(logits, iterations=300)
    torch.testing.assert_close(weights.sum(1), torch.ones(n, dtype=torch.float64))
    torch.testing.assert_close(weights.sum(0), torch.full((k,), n / k, dtype=torch.float64), rtol=1e-4, atol=0)
    assert (weights > 0).all()


def test_sinkhorn_spreads_a_teacher_that_always_gives_the_same_answer() -> None:
    # three iterations, as in training: a column that all rows prefer by e**3 is used no more than the others
    logits = 0.1 * torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    logits[:, 0] += 3
    assert logits.softmax(1).sum(0)[0] > 40
    torch.testing.assert_close(sinkhorn(logits).sum(0), torch.full((8,), 8.0), rtol=0.02, atol=0)


def test_sinkhorn_survives_the_sharpest_logits_there_are() -> None:
    # a cosine of -1 or 1 over the teacher's temperature of 0.02 is -50 or 50
    weights = Balance()(torch.tensor([[1.0, -1.0, -1.0], [1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]]))
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(1), torch.ones(3))


# --- or centred --------------------------------------------------------------------------------------------------


def test_centring_by_hand() -> None:
    # outputs (c, 0) and (-c, 2 c) with c = 0.04 log 3: over 0.04, softmax (3, 1) / 4 and (1/3, 9) -> (1, 27) / 28; then
    # the centre is a tenth of their mean (0, c). The second time 0.1 is taken from the second logit: 3 and 3^-0.1 =
    # 0.8960, 3 / 3.8960 = 0.7700; 1/3 and 3^1.9 = 8.0636, 0.0397
    c = 0.04 * math.log(3)
    centring = Centring()
    centring.center = torch.zeros(2)
    outputs = torch.tensor([[c, 0.0], [-c, 2 * c]])
    first, second = centring(outputs), centring(outputs)
    torch.testing.assert_close(first, torch.tensor([[3 / 4, 1 / 4], [1 / 28, 27 / 28]]))
    torch.testing.assert_close(second[:, 0], torch.tensor([0.7700, 0.0397]), atol=1e-4, rtol=0)
    # momentum 0.9, twice: 0.1 + 0.9 * 0.1 = 0.19 of the mean
    torch.testing.assert_close(centring.center, torch.tensor([0.0, 0.19 * c]))


def test_a_teacher_that_always_gives_the_same_answer_is_centred_to_none() -> None:
    centring = Centring()
    outputs = torch.zeros(4, PROTOTYPES)
    outputs[:, 0] = 0.5
    assert centring(outputs)[0, 0] > 0.99
    for _ in range(100):
        targets = centring(outputs)
    torch.testing.assert_close(targets, torch.full_like(targets, 1 / PROTOTYPES), rtol=0.01, atol=0)


def test_the_centre_is_kept_in_a_checkpoint() -> None:
    dino = made("dino-v1")
    dino.loss(dino(views_of(dino), CAPTIONS))
    again = made("dino-v1")
    again.load_state_dict(dino.state_dict())
    assert isinstance(again.balance, Centring) and isinstance(dino.balance, Centring)
    assert again.balance.center.abs().max() > 0 and torch.equal(again.balance.center, dino.balance.center)


# --- features are kept apart -------------------------------------------------------------------------------------


def test_koleo_by_hand() -> None:
    # 0 and 60 degrees are 2 sin 30 = 1 apart, 180 is 2 sin 60 = 1.732 from 60: -(0 + 0 + log 1.732) / 3 = -0.1831
    assert koleo(at(0, 60, 180)).item() == pytest.approx(-0.1831, abs=1e-4)
    assert koleo(at(0, 60, 180) * torch.tensor([[9.0], [0.1], [2.0]])).item() == pytest.approx(-0.1831, abs=1e-4)


def test_koleo_of_features_that_are_all_the_same_is_large_but_a_number() -> None:
    features = torch.ones(4, 3, requires_grad=True)
    loss = koleo(features)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(-math.log(1e-6), rel=0.2)
    assert features.grad is not None and features.grad.isfinite().all()


def test_koleo_pushes_neighbours_apart() -> None:
    features = at(0, 10, 180).requires_grad_()
    koleo(features).backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    moved = (features - 0.01 * features.grad).detach()
    assert F.cosine_similarity(moved[0], moved[1], dim=0) < math.cos(math.radians(10.1))


# --- the loss ----------------------------------------------------------------------------------------------------


def test_the_head_gives_cosines_with_prototypes_that_are_not_trained() -> None:
    head = Head()
    cosines = head(5 * torch.randn(6, 128, generator=torch.Generator().manual_seed(0)))
    assert cosines.shape == (6, PROTOTYPES) and cosines.abs().max() <= 1 + 1e-5
    torch.testing.assert_close(head.prototypes.norm(dim=-1), torch.ones(PROTOTYPES))
    assert "prototypes" in head.state_dict() and "prototypes" not in dict(head.named_parameters())


@pytest.mark.parametrize("name", ["dino", "dino-v1"])
def test_the_loss_is_the_cross_entropy_of_the_six_pairs_of_different_crops(name: str) -> None:
    # equation 3 of Caron et al. 2021, with the soft targets written as F.cross_entropy has them
    dino = made(name)
    views = views_of(dino)
    loss, numbers = dino.loss(dino(views, CAPTIONS))
    with torch.no_grad():
        outputs = dino.teacher_head(dino.encoder.encode_images(torch.cat(views[:2])))
        teacher = sinkhorn(outputs / 0.02) if name == "dino" else (outputs / 0.04).softmax(-1)  # the centre is 0 yet
        encoded = [dino.student.encode_images(view) for view in views]
        student = dino.student_head(torch.cat(encoded)).chunk(4)
        pairs = [(t, s) for t in range(2) for s in range(4) if s != t]
        match = sum(F.cross_entropy(student[s] / 0.1, teacher.chunk(2)[t]).item() for t, s in pairs) / 6
        spread = (koleo(encoded[0]).item() + koleo(encoded[1]).item()) / 2
    assert numbers["match"] == pytest.approx(match, rel=1e-4)
    assert loss.item() == pytest.approx(match + {"dino": 0.3, "dino-v1": 0}[name] * spread, rel=1e-4)


@pytest.mark.parametrize("name", ["dino", "dino-v1"])
def test_a_student_that_knows_nothing_matches_at_log_k(name: str) -> None:
    dino = made(name)
    dino.student_head.prototypes[:] = dino.student_head.prototypes[0].clone()  # every answer is as likely
    _, numbers = dino.loss(dino(views_of(dino), CAPTIONS))
    assert numbers["match"] == pytest.approx(math.log(PROTOTYPES), rel=1e-5)


def test_the_order_of_images_does_not_matter() -> None:
    dino = made()
    views = views_of(dino)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    loss, shuffled = (dino.loss(dino(each, CAPTIONS))[0] for each in (views, [view[order] for view in views]))
    torch.testing.assert_close(loss, shuffled, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["dino", "dino-v1"])
def test_information_is_zero_for_a_collapsed_teacher_and_never_above_log_k(name: str) -> None:
    dino = made(name)
    views = views_of(dino)
    _, numbers = dino.loss(dino(views, CAPTIONS))
    assert 0.1 < numbers["information"] <= math.log(PROTOTYPES)
    same = [view[:1].expand(6, -1, -1, -1) for view in views[:1] * 2 + views[2:3] * 2]
    _, numbers = dino.loss(dino(same, CAPTIONS))
    assert numbers["information"] == pytest.approx(0, abs=1e-4)


def test_captions_say_nothing_to_dino() -> None:
    # two calls on one objective: batch normalisation in training mode uses the batch alone
    dino = made()
    views = views_of(dino)
    assert torch.equal(dino.loss(dino(views, CAPTIONS))[0], dino.loss(dino(views, CAPTIONS[::-1]))[0])


# --- the teacher -------------------------------------------------------------------------------------------------


def filled(dino: Dino) -> tuple[list[Tensor], list[Tensor]]:
    """A teacher of 3s and a student of 5s."""
    teacher = [*dino.encoder.parameters(), *dino.teacher_head.parameters()]
    student = [*dino.student.parameters(), *dino.student_head.parameters()]
    for slow, fast in zip(teacher, student, strict=True):
        slow.data.fill_(3)
        fast.data.fill_(5)
    return list(teacher), list(student)


@pytest.mark.parametrize(
    ("name", "progress", "momentum"),
    [
        ("dino", 0.0, 0.98),  # 3 * 0.98 + 5 * 0.02 = 3.04
        ("dino", 0.5, 0.99),  # 3.02
        ("dino", 1.0, 1.0),  # 3
        ("dino-v1", 0.0, 0.996),  # 3.008
        ("dino-v1", 0.5, 0.998),
        ("dino-v1", 1.0, 1.0),
    ],
)
def test_the_teacher_follows_by_the_stated_momentum(name: str, progress: float, momentum: float) -> None:
    dino = made(name)
    teacher, student = filled(dino)
    dino.after_step(progress)
    for slow, fast in zip(teacher, student, strict=True):
        torch.testing.assert_close(slow.data, torch.full_like(slow, 3 * momentum + 5 * (1 - momentum)))
        assert (fast == 5).all()


def test_the_encoder_dino_leaves_is_the_teacher_and_starts_as_the_student() -> None:
    dino = made()
    assert dino.encoder is not dino.student and not dino.encoder.has_text
    teacher, student = dino.encoder.state_dict(), dino.student.state_dict()
    assert all(torch.equal(teacher[key], student[key]) for key in student)
    assert not any(parameter.requires_grad for parameter in dino.encoder.parameters())
