from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from embprobe.encoders.towers import IMAGE_SIZE
from embprobe.pretraining.objectives import OBJECTIVES
from embprobe.pretraining.objectives.base import Objective
from embprobe.pretraining.objectives.clip import Clip, contrastive_loss
from embprobe.pretraining.objectives.dino import KOLEO_WEIGHT, Dino, koleo, sinkhorn

CAPTIONS = ["cat, animals", "dog, animals", "car, travel", "pear, food", "key, objects", 'flag, flags, "HAT"']
EVERY = pytest.mark.parametrize("name", sorted(OBJECTIVES))


def at(*degrees: float) -> Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def made(name: str, seed: int = 0) -> Objective:
    return OBJECTIVES[name](seed=seed, captions=CAPTIONS)


def views_of(objective: Objective, n: int = len(CAPTIONS)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(n, 3, view.size, view.size, generator=generator) * 2 - 1 for view in objective.views]


def test_contrastive_loss_by_hand() -> None:
    # cosines [[1, 0], [0, 1]], scale log 3: each row and column is (3, 1) / 4, the loss log(4 / 3) = 0.2877
    scale = torch.tensor(3.0).log()
    assert contrastive_loss(at(0, 90), at(0, 90), scale).item() == pytest.approx(0.2877, abs=1e-4)
    # cosines [[1, 1], [0, 0]]: both rows are even, log 2 = 0.6931; the columns are (3, 1) / 4 with the right one first
    # 0.2877 and then last 1.3863, mean 0.8370; (0.6931 + 0.8370) / 2 = 0.7651
    assert contrastive_loss(at(0, 90), at(0, 0), scale).item() == pytest.approx(0.7651, abs=1e-4)


def test_contrastive_loss_sees_neither_lengths_nor_which_side_is_which() -> None:
    images, texts = at(0, 50, 200), at(10, 80, 170)
    lengths = torch.tensor([[0.1], [3.0], [40.0]])
    loss = contrastive_loss(images, texts, torch.tensor(5.0))
    torch.testing.assert_close(contrastive_loss(images * lengths, texts / lengths, torch.tensor(5.0)), loss)
    torch.testing.assert_close(contrastive_loss(texts, images, torch.tensor(5.0)), loss)


@pytest.mark.parametrize("n", [2, 7, 100])
def test_contrastive_loss_is_log_n_where_all_embeddings_are_identical(n: int) -> None:
    same = torch.ones(n, 4)
    assert contrastive_loss(same, same, torch.tensor(14.0)).item() == pytest.approx(math.log(n), abs=1e-5)


def test_sinkhorn_by_hand() -> None:
    # [[1, 3], [1, 1]]; by column sums 2 and 4: [[1/2, 3/4], [1/2, 1/4]]; by row sums 5/4 and 3/4
    weights = sinkhorn(torch.tensor([[1.0, 3.0], [1.0, 1.0]]).log(), iterations=1)
    torch.testing.assert_close(weights, torch.tensor([[2 / 5, 3 / 5], [2 / 3, 1 / 3]]))


@settings(deadline=None)
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
    weights = sinkhorn(torch.tensor([[50.0, -50.0, -50.0], [50.0, -50.0, 50.0], [-50.0, 50.0, -50.0]]))
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(1), torch.ones(3))


def test_koleo_by_hand() -> None:
    # 0 and 60 degrees are 2 sin 30 = 1 apart, 180 is 2 sin 60 = 1.732 from 60: -(0 + 0 + log 1.732) / 3 = -0.1831
    assert koleo(at(0, 60, 180)).item() == pytest.approx(-0.1831, abs=1e-4)
    assert koleo(at(0, 60, 180) * torch.tensor([[9.0], [0.1], [2.0]])).item() == pytest.approx(-0.1831, abs=1e-4)


def test_koleo_pushes_neighbours_apart() -> None:
    features = at(0, 10, 180).requires_grad_()
    koleo(features).backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    moved = (features - 0.01 * features.grad).detach()
    assert F.cosine_similarity(moved[0], moved[1], dim=0) < math.cos(math.radians(10.1))


@EVERY
def test_an_objective_asks_for_the_views_of_its_paper(name: str) -> None:
    sizes = [view.size for view in OBJECTIVES[name](seed=0, captions=CAPTIONS).views]
    assert sizes == {"clip": [IMAGE_SIZE], "dino": 2 * [IMAGE_SIZE] + 2 * [IMAGE_SIZE // 2]}[name]


@EVERY
def test_an_objective_is_made_from_its_seed_alone(name: str) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = made(name, seed=4).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again = made(name, seed=4).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in first.items())


@EVERY
def test_the_gradient_reaches_every_trained_weight_and_no_other(name: str) -> None:
    objective = made(name)
    loss, numbers = objective.loss(views_of(objective), CAPTIONS)
    loss.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(loss.item()) and all(math.isfinite(number) for number in numbers.values())
    for key, parameter in objective.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        else:
            assert parameter.grad is None, key


def test_clips_loss_falls_on_a_batch_it_sees_again_and_again() -> None:
    objective = made("clip")
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    losses = []
    for _ in range(15):
        loss, _ = objective.loss(views_of(objective), CAPTIONS)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        objective.after_step(0.5)
        losses.append(loss.item())
    assert losses[0] > 0.8 * math.log(6)  # knows nothing yet
    assert losses[-1] < 0.5 * losses[0]


def test_clips_loss_is_contrastive_at_its_own_temperature() -> None:
    objective = made("clip").eval()
    assert isinstance(objective, Clip)
    (images,) = views_of(objective)
    loss, numbers = objective.loss([images], CAPTIONS)
    embedded = objective.encoder.encode_images(images), objective.encoder.encode_texts(CAPTIONS)
    torch.testing.assert_close(loss, contrastive_loss(*embedded, torch.tensor(1 / 0.07)))
    assert numbers == {"scale": pytest.approx(1 / 0.07, rel=1e-5)}


def test_clips_inverse_temperature_stays_at_100_or_below() -> None:
    objective = made("clip")
    assert isinstance(objective, Clip)
    for before, after in ((7.0, 100.0), (3.0, math.exp(3))):
        objective.log_scale.data.fill_(before)
        objective.after_step(0.1)
        assert objective.log_scale.exp().item() == pytest.approx(after, rel=1e-5)


def test_dinos_loss_is_the_cross_entropy_of_the_six_pairs_of_different_crops() -> None:
    # equation 3 of Caron et al. 2021, with the soft targets written as F.cross_entropy has them
    objective = made("dino")
    assert isinstance(objective, Dino)
    views = views_of(objective)
    loss, numbers = objective.loss(views, CAPTIONS)
    with torch.no_grad():
        teacher = sinkhorn(objective.teacher_head(objective.encoder.encode_images(torch.cat(views[:2]))) / 0.02)
        encoded = [objective.student.encode_images(view) for view in views]
        student = objective.student_head(torch.cat(encoded)).chunk(4)
        pairs = [(t, s) for t in range(2) for s in range(4) if s != t]
        match = sum(F.cross_entropy(student[s] / 0.1, teacher.chunk(2)[t]).item() for t, s in pairs) / 6
        spread = (koleo(encoded[0]).item() + koleo(encoded[1]).item()) / 2
    assert numbers["match"] == pytest.approx(match, rel=1e-4)
    assert loss.item() == pytest.approx(match + KOLEO_WEIGHT * spread, rel=1e-4)


def test_information_is_zero_for_a_collapsed_teacher_and_never_above_log_k() -> None:
    objective = made("dino")
    views = views_of(objective)
    _, numbers = objective.loss(views, CAPTIONS)
    assert 0.1 < numbers["information"] <= math.log(256)
    same = [view[:1].expand(6, -1, -1, -1) for view in views[:1] * 2 + views[2:3] * 2]
    _, numbers = objective.loss(same, CAPTIONS)
    assert numbers["information"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("progress", "momentum"), [(0.0, 0.98), (0.5, 0.99), (1.0, 1.0)])
def test_the_teacher_follows_by_the_stated_momentum(progress: float, momentum: float) -> None:
    # a teacher of 3s and a student of 5s: at 0.98, 3 * 0.98 + 5 * 0.02 = 3.04; at 0.99, 3.02; at 1, 3
    objective = made("dino")
    assert isinstance(objective, Dino)
    teacher = [*objective.encoder.parameters(), *objective.teacher_head.parameters()]
    student = [*objective.student.parameters(), *objective.student_head.parameters()]
    for slow, fast in zip(teacher, student, strict=True):
        slow.data.fill_(3)
        fast.data.fill_(5)
    objective.after_step(progress)
    for slow, fast in zip(teacher, student, strict=True):
        torch.testing.assert_close(slow.data, torch.full_like(slow, 3 * momentum + 5 * (1 - momentum)))
        assert (fast == 5).all()


def test_the_encoder_dino_leaves_is_the_teacher_and_starts_as_the_student() -> None:
    objective = made("dino")
    assert isinstance(objective, Dino)
    assert objective.encoder is not objective.student and not objective.encoder.has_text
    teacher, student = objective.encoder.state_dict(), objective.student.state_dict()
    assert all(torch.equal(teacher[key], student[key]) for key in student)
    assert not any(parameter.requires_grad for parameter in objective.encoder.parameters())


def test_captions_say_nothing_to_dino() -> None:
    # two calls on one objective: batch normalisation in training mode uses the batch alone
    objective = made("dino")
    views = views_of(objective)
    assert torch.equal(objective.loss(views, CAPTIONS)[0], objective.loss(views, CAPTIONS[::-1])[0])
