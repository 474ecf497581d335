from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from embprobe.pretraining.gradients import backpropagate
from embprobe.pretraining.objectives.base import Features
from embprobe.pretraining.objectives.clip import contrastive_loss
from embprobe.pretraining.objectives.declip import NEIGHBOR_WEIGHT, QUEUE, DeClip, TextQueue
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.trainer import pretrain
from embprobe.system.processes import Processes
from tests.pretraining.conftest import CAPTIONS, at, built, drawings, views_of


def made() -> DeClip:
    declip = built("declip")
    assert isinstance(declip, DeClip)
    return declip


# --- the queue ---------------------------------------------------------------------------------------------------


def test_the_nearest_by_hand() -> None:
    # 0, 90 and 200 degrees are in the queue; 30 is nearest to 0, 80 to 90, 179 to 200 and -100 (260) to 200
    queue = TextQueue(8, 2).double()
    assert queue.nearest(at(30)) is None
    queue.append(at(0, 90, 200) * torch.tensor([[5.0], [0.1], [1.0]]))  # lengths do not count
    torch.testing.assert_close(queue.nearest(3 * at(30, 80, 179, -100)), at(0, 90, 200, 200))


def test_the_oldest_leave_the_queue() -> None:
    queue = TextQueue(3, 2).double()
    queue.append(at(0, 90))
    assert int(queue.filled) == 2
    queue.append(at(180))
    torch.testing.assert_close(queue.nearest(at(0)), at(0))
    queue.append(at(270))  # the last of the first batch, 90, is the oldest
    assert int(queue.filled) == 3
    torch.testing.assert_close(queue.nearest(at(0, 89)), at(0, 0))
    queue.append(at(45, 135, 225, 315))  # more than there is room for
    torch.testing.assert_close(queue.nearest(at(0, 300)), at(45, 225))


def test_an_empty_place_is_no_neighbor_even_where_all_captions_point_away() -> None:
    # cosine with a row of zeros would be 0, above the -1 of the only caption there is
    queue = TextQueue(5, 2).double()
    queue.append(at(180))
    torch.testing.assert_close(queue.nearest(at(0)), at(180))


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_the_queue_is_the_latest_captions(seed: int, sizes: list[int]) -> None:
    rng, queue, past = np.random.default_rng(seed), TextQueue(7, 3).double(), list[np.ndarray]()
    for size in sizes:
        texts = rng.normal(size=(size, 3))
        queue.append(torch.from_numpy(texts))
        past = [*texts, *past][
            :7
        ]  # a batch's own order does not matter: it comes and goes by batches, but for the last
    kept = queue.features[: int(queue.filled)].numpy()
    assert len(kept) == min(7, sum(sizes))
    np.testing.assert_allclose(kept, [text / np.linalg.norm(text) for text in past])


# --- the loss ----------------------------------------------------------------------------------------------------


def test_the_loss_by_hand() -> None:
    # images at 0 and 90, captions too, scale log 3: CLIP's is log(4 / 3) = 0.2877. In the queue only 0: both neighbours
    # are at 0, of which test_clip has 0.7651. 0.8 * 0.2877 + 0.2 * 0.7651 = 0.3832
    declip = made()
    declip.queue = TextQueue(4, 2).double()
    declip.queue.append(at(0))
    declip.temperature.log_scale.data = torch.tensor(math.log(math.log(3)), dtype=torch.float64)
    loss, numbers = declip.loss((at(0, 90), at(0, 90)))
    assert numbers == pytest.approx({"contrast": 0.2877, "neighbor": 0.7651, "scale": math.log(3)}, abs=1e-4)
    assert loss.item() == pytest.approx(0.3832, abs=1e-4)


def test_the_first_batch_has_clips_loss_and_the_second_finds_the_first() -> None:
    declip = made()
    features = declip(views_of(declip), CAPTIONS)
    images, texts = features
    contrast = contrastive_loss(images, texts, torch.tensor(1 / 0.07))
    first, _ = declip.loss(features)
    torch.testing.assert_close(first, contrast)
    # the same captions again: each is its own nearest, so the neighbours' loss is CLIP's
    second, numbers = declip.loss(features)
    torch.testing.assert_close(second, contrast)
    # another order of captions: the neighbour is still each caption's own
    shuffled, numbers = declip.loss((images, texts.flip(0)))
    expected = contrastive_loss(images, texts.flip(0), torch.tensor(1 / 0.07))
    torch.testing.assert_close(shuffled, expected)
    assert numbers["neighbor"] == pytest.approx(numbers["contrast"], rel=1e-5)
    declip.queue.append(torch.randn(QUEUE, texts.shape[1], generator=torch.Generator().manual_seed(0)))
    loss, numbers = declip.loss(features)
    near = F.normalize(torch.randn(QUEUE, texts.shape[1], generator=torch.Generator().manual_seed(0)), dim=-1)
    near = near[(F.normalize(texts, dim=-1) @ near.T).argmax(1)]
    expected = (1 - NEIGHBOR_WEIGHT) * contrast + NEIGHBOR_WEIGHT * contrastive_loss(
        images, near, torch.tensor(1 / 0.07)
    )
    torch.testing.assert_close(loss, expected)


def test_a_neighbor_carries_no_gradient() -> None:
    declip = made()
    declip.queue = TextQueue(4, 2)
    declip.queue.append(at(0, 120).float())
    images, texts = (at(*degrees).float().requires_grad_() for degrees in ((10, 80), (20, 100)))
    loss, _ = declip.loss((images, texts))
    loss.backward()  # type: ignore[no-untyped-call]
    from_neighbors, of_texts = images.grad, texts.grad
    assert from_neighbors is not None and of_texts is not None
    again = at(20, 100).float().requires_grad_()
    clips = (1 - NEIGHBOR_WEIGHT) * contrastive_loss(at(10, 80).float(), again, torch.tensor(1 / 0.07))
    clips.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(of_texts, again.grad)


def test_a_batch_in_parts_enters_the_queue_once() -> None:
    whole, cut = made(), made()
    (images,) = views_of(whole)
    losses = []
    for declip, parts in ((whole, [slice(0, 6)]), (cut, [slice(0, 2), slice(2, 4), slice(4, 6)])):

        def features_of(part: slice, declip: DeClip = declip) -> Features:
            return declip.forward([images[part]], CAPTIONS[part])

        for _ in range(2):
            losses.append(backpropagate(declip, features_of, parts, Processes("cpu"))[0].item())
    assert losses[2:] == pytest.approx(losses[:2], rel=1e-5)
    assert int(cut.queue.filled) == int(whole.queue.filled) == 12
    torch.testing.assert_close(cut.queue.features, whole.queue.features)


# --- a run that is interrupted -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_the_queue_is_kept_so_that_a_resumed_run_has_the_same_losses(tmp_path: Path) -> None:
    class Interrupted(KeyboardInterrupt):
        pass

    def stop(step: int, *_: object) -> None:
        if step == 5:
            raise Interrupted

    recipe = Recipe("declip", images_seen=8 * 4, batch_size=4, seed=3)
    whole = pretrain(drawings(), recipe, tmp_path / "whole")
    with pytest.raises(Interrupted):
        pretrain(drawings(), recipe, tmp_path / "stopped", progress=stop)
    checkpoint = torch.load(tmp_path / "stopped" / "checkpoint.pt", weights_only=True)
    assert int(checkpoint["objective"]["queue.filled"]) == 4 * 4  # of the four steps before it
    resumed = pretrain(drawings(), recipe, tmp_path / "stopped")
    for file in ("losses.csv", "model.safetensors"):
        assert (resumed / file).read_bytes() == (whole / file).read_bytes()
