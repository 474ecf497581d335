"""What holds for every objective; the losses themselves are in ``objectives/``."""

from __future__ import annotations

import math

import pytest
import torch

from embprobe.encoders.towers.two_towers import CLUSTERS, TwoTowers
from embprobe.encoders.towers.vit import IMAGE_SIZE, WIDTH
from embprobe.pretraining.objectives import OBJECTIVES, build_objective
from tests.pretraining.conftest import CAPTIONS, built, views_of

EVERY = pytest.mark.parametrize("name", sorted(OBJECTIVES))


@EVERY
def test_an_objective_asks_for_the_views_of_its_paper(name: str) -> None:
    sizes = [view.size for view in OBJECTIVES[name].views]
    crops = 2 * [IMAGE_SIZE] + 2 * [IMAGE_SIZE // 2]
    assert sizes == {"dino": crops, "dino-v1": crops, "slip": 3 * [IMAGE_SIZE]}.get(name, [IMAGE_SIZE])


@EVERY
def test_an_objective_is_made_from_its_seed_alone(name: str) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = built(name, seed=4).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = (built(name, seed=seed).state_dict() for seed in (4, 5))
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert not torch.equal(other["encoder.vit.blocks.0.attn.qkv.weight"], first["encoder.vit.blocks.0.attn.qkv.weight"])


@EVERY
def test_every_objective_starts_from_the_same_vit(name: str) -> None:
    twin, start = TwoTowers(seed=3).vit.state_dict(), built(name, seed=3).encoder.vit.state_dict()
    assert twin.keys() == start.keys() and all(torch.equal(twin[key], start[key]) for key in twin)


@EVERY
def test_there_is_a_text_side_where_there_is_language_and_it_knows_the_words(name: str) -> None:
    encoder = built(name).encoder
    assert encoder.has_text == OBJECTIVES[name].language == (not name.startswith("dino"))
    assert encoder.dimension == (CLUSTERS if name == "nclip" else WIDTH)
    if encoder.text is not None:
        assert {"cat", "animals", "hat"} <= set(encoder.text.tokenizer.words)


@EVERY
def test_features_are_of_each_image_and_caption_by_itself(name: str) -> None:
    # so that a batch may be cut: those of a part are those of the whole, and the rows follow the images
    objective = built(name)
    views = views_of(objective)
    whole = objective(views, CAPTIONS)
    part = objective([view[2:5] for view in views], CAPTIONS[2:5])
    assert len(whole) == len(part)
    for all_rows, some_rows in zip(whole, part, strict=True):
        assert len(all_rows) == len(CAPTIONS)
        torch.testing.assert_close(some_rows, all_rows[2:5], rtol=1e-4, atol=1e-5)


@EVERY
def test_the_gradient_reaches_every_trained_weight_and_no_other(name: str) -> None:
    objective = built(name)
    loss, numbers = objective.loss(objective(views_of(objective), CAPTIONS))
    loss.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(loss.item()) and all(math.isfinite(number) for number in numbers.values())
    for key, parameter in objective.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        else:
            assert parameter.grad is None, key


def test_objectives_are_what_their_names_say() -> None:
    kinds = {name: type(build_objective(name, seed=0, captions=CAPTIONS)).__name__.lower() for name in OBJECTIVES}
    assert kinds == {name: name.replace("-", "") for name in OBJECTIVES}
