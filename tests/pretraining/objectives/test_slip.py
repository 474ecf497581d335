from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from embprobe.pretraining.objectives.clip import contrastive_loss
from embprobe.pretraining.objectives.slip import Slip, simclr_loss
from tests.pretraining.conftest import CAPTIONS, at, built, views_of


def test_nt_xent_of_two_images_by_hand() -> None:
    # features a 0, b 90, a' 0, b' 90 degrees; a temperature at which e^(1 / t) = 3: each finds its other view (3) among
    # that and two at right angles (1 each): log(5 / 3) = 0.5108
    t = 1 / math.log(3)
    assert simclr_loss(at(0, 90), at(0, 90), temperature=t).item() == pytest.approx(0.5108, abs=1e-4)
    # b' at 0 instead: a and a' have 3 of 3 + 3 + 1, log(7 / 3) = 0.8473 each; b has 1 of 3, log 3 = 1.0986; b' has
    # 1 of 3 + 3 + 1, log 7 = 1.9459; the mean is 1.1848
    assert simclr_loss(at(0, 90), at(0, 0), temperature=t).item() == pytest.approx(1.1848, abs=1e-4)


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_nt_xent_as_the_equation_says(seed: int, n: int) -> None:
    # equation 1 of Chen et al. 2020, term by term
    views = torch.randn(2, n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    z = F.normalize(views.flatten(0, 1), dim=-1)
    terms = []
    for i in range(2 * n):
        similar = (z @ z[i] / 0.1).exp()
        terms.append(-torch.log(similar[(i + n) % (2 * n)] / (similar.sum() - similar[i])))
    torch.testing.assert_close(simclr_loss(*views), torch.stack(terms).mean())


@given(st.integers(0, 2**32 - 1))
def test_nt_xent_sees_neither_lengths_nor_which_view_is_which_nor_the_order_of_images(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    lengths = torch.rand(5, 1, generator=generator, dtype=torch.float64) + 0.1
    order = torch.randperm(5, generator=generator)
    loss = simclr_loss(first, second)
    for one, other in ((first * lengths, second / lengths), (second, first), (first[order], second[order])):
        torch.testing.assert_close(simclr_loss(one, other), loss)


@pytest.mark.parametrize("n", [2, 7, 50])
def test_limits(n: int) -> None:
    same = torch.ones(n, 4)
    assert simclr_loss(same, same).item() == pytest.approx(math.log(2 * n - 1), abs=1e-5)
    assert simclr_loss(torch.eye(n), torch.eye(n), temperature=0.01).item() == pytest.approx(0, abs=1e-6)


def test_the_loss_is_clips_of_the_first_view_and_simclrs_of_the_two_others() -> None:
    slip = built("slip")
    assert isinstance(slip, Slip)
    views = views_of(slip)
    loss, numbers = slip.loss(slip(views, CAPTIONS))
    embedded = slip.encoder.encode_images(views[0]), slip.encoder.encode_texts(CAPTIONS)
    contrast = contrastive_loss(*embedded, torch.tensor(1 / 0.07))
    projected = slip.projector(slip.encoder.vit(torch.cat(views[1:]))).chunk(2)  # both views in one batch norm
    alike = simclr_loss(*projected)
    torch.testing.assert_close(loss, contrast + alike)
    assert numbers == pytest.approx({"contrast": contrast.item(), "alike": alike.item(), "scale": 1 / 0.07}, rel=1e-4)
    assert not any("projector" in name for name in slip.encoder.state_dict())


def test_captions_are_of_the_first_view_alone() -> None:
    slip = built("slip")
    first, second, third = views_of(slip)
    _, numbers = slip.loss(slip([first, second, third], CAPTIONS))
    _, others = slip.loss(slip([first, third, second.flip(-1)], CAPTIONS))
    _, swapped = slip.loss(slip([second, first, third], CAPTIONS))
    assert others["contrast"] == pytest.approx(numbers["contrast"], rel=1e-5)
    assert abs(swapped["contrast"] - numbers["contrast"]) > 1e-3
    assert abs(others["alike"] - numbers["alike"]) > 1e-3


def test_the_inverse_temperature_stays_at_100_or_below() -> None:
    slip = built("slip")
    assert isinstance(slip, Slip)
    slip.temperature.log_scale.data.fill_(9)
    slip.after_step(0.5)
    assert slip.temperature().item() == pytest.approx(100)
