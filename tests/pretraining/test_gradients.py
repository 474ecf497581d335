from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from embprobe.pretraining.gradients import backpropagate
from embprobe.pretraining.objectives import OBJECTIVES
from embprobe.pretraining.objectives.base import Features, Objective
from embprobe.system.processes import Processes
from tests.pretraining.conftest import CAPTIONS, built, views_of

N = 4
TEXTS = CAPTIONS[-N:]
EVERY = pytest.mark.parametrize("name", sorted(OBJECTIVES))
ALONE = Processes("cpu")


def parts(count: int, start: int = 0, stop: int = N) -> list[slice]:
    size = (stop - start) // count
    return [slice(start + i * size, start + (i + 1) * size) for i in range(count)]


class Calling:
    """Features of a part of the batch; it counts how often it was asked."""

    def __init__(self, objective: Objective) -> None:
        self.objective, self.views, self.calls = objective, views_of(objective, N), 0

    def __call__(self, part: slice) -> Features:
        self.calls += 1
        features: Features = self.objective([view[part] for view in self.views], TEXTS[part])
        return features


def gradients(objective: Objective) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Within 1e-4 of a parameter's largest; a gradient that is a millionth of the largest is rounding."""
    assert found.keys() == expected.keys()
    floor = 1e-6 * max(value.abs().max().item() for value in expected.values())
    for name, value in expected.items():
        size = value.abs().max().item()
        off = (found[name] - value).abs().max().item()
        assert off <= max(1e-4 * size, floor), f"the gradient of {name} is off by {off}, its largest number is {size}"


@cache
def in_one_piece(name: str) -> tuple[Objective, Tensor, dict[str, float]]:
    """The objective after torch's own backward through all of it, its loss and its numbers."""
    objective = built(name)
    loss, numbers = objective.loss(Calling(objective)(slice(0, N)))
    loss.backward()  # type: ignore[no-untyped-call]
    return objective, loss, numbers


@EVERY
def test_any_number_of_parts_gives_the_gradient_of_the_whole(name: str) -> None:
    whole, loss, numbers = in_one_piece(name)
    expected = gradients(whole)
    for count in (1, 4):
        objective = built(name)
        features_of = Calling(objective)
        found, said = backpropagate(objective, features_of, parts(count), ALONE)
        assert not found.requires_grad and found.item() == pytest.approx(loss.item(), rel=1e-4)
        assert said == pytest.approx(numbers, rel=1e-4, abs=1e-5)
        assert features_of.calls == {1: 1, 4: 8}[count]  # with one part nothing is computed twice
        assert_close(gradients(objective), expected)


@EVERY
def test_every_trained_weight_and_no_other_has_a_gradient(name: str) -> None:
    objective = built(name)
    backpropagate(objective, Calling(objective), parts(2), ALONE)
    trained = {key for key, parameter in objective.named_parameters() if parameter.requires_grad}
    found = gradients(objective)
    assert found.keys() == trained
    assert all(gradient.isfinite().all() and gradient.abs().max() > 0 for gradient in found.values())


@pytest.mark.parametrize("count", [1, 2])
def test_gradients_are_added_as_backward_does(count: int) -> None:
    objective = built("clip")
    for _ in range(2):
        backpropagate(objective, Calling(objective), parts(count), ALONE)
    assert_close(gradients(objective), {key: 2 * each for key, each in gradients(in_one_piece("clip")[0]).items()})


class OneOfTwo:
    """A process that knows what the other one has."""

    world = 2

    def __init__(self, rank: int, other: Sequence[Tensor]) -> None:
        self.rank, self._other = rank, iter(other)

    def gathered(self, features: Tensor) -> Tensor:
        both = [features, next(self._other)]
        return torch.cat(both if self.rank == 0 else both[::-1])

    def own(self, features: Tensor) -> Tensor:
        return features.chunk(2)[self.rank]


@EVERY
@pytest.mark.parametrize("count", [1, 2])
def test_the_mean_over_two_processes_is_the_gradient_of_the_whole(name: str, count: int) -> None:
    # as DDP takes the mean over processes of the networks' gradients; what only the loss has is the same in both
    whole, loss, _ = in_one_piece(name)
    halves = [slice(0, N // 2), slice(N // 2, N)]
    ranks: list[dict[str, Tensor]] = []
    for rank in range(2):
        objective = built(name)
        features_of = Calling(objective)
        with torch.no_grad():
            other = features_of(halves[1 - rank])
        own = parts(count, halves[rank].start, halves[rank].stop)
        found, _ = backpropagate(objective, features_of, own, OneOfTwo(rank, other))
        assert found.item() == pytest.approx(loss.item(), rel=1e-4)
        ranks.append(gradients(objective))
    assert_close({key: (ranks[0][key] + ranks[1][key]) / 2 for key in ranks[0]}, gradients(whole))


def test_reduction_is_held_back_until_the_last_part() -> None:
    held: list[str] = []

    @contextmanager
    def unsynchronised() -> Iterator[None]:
        held.append("held")
        yield
        held.append("let go")

    objective = built("clip")
    features_of = Calling(objective)
    backpropagate(objective, features_of, parts(4), ALONE, unsynchronised=unsynchronised)
    assert held == 3 * ["held", "let go"]
    held.clear()
    backpropagate(objective, features_of, parts(1), ALONE, unsynchronised=unsynchronised)
    assert held == []


class Square(Objective):
    """Of a feature x = w a: the loss of the whole batch is s (sum x)^2."""

    views = ()
    language = False

    def __init__(self) -> None:
        nn.Module.__init__(self)  # no towers
        self.w, self.s = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(0.5))

    def loss(self, features: Features) -> tuple[Tensor, dict[str, float]]:
        assert features[0].dtype == torch.float32
        return self.s * features[0].sum() ** 2, {"sum": features[0].sum().item()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_by_hand_in_any_precision(dtype: torch.dtype) -> None:
    # a = 1, 2, 3, 4 and w = 2: the sum of x is 20, the loss 0.5 * 400 = 200; its gradient is 20^2 = 400 by s and
    # 2 s (sum x) (sum a) = 2 * 0.5 * 20 * 10 = 200 by w; all of these are numbers of bfloat16, too
    a = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    for cut in ([slice(0, 4)], [slice(0, 2), slice(2, 4)], [slice(i, i + 1) for i in range(4)]):
        square = Square()

        def features_of(part: slice, square: Square = square) -> Features:
            return ((square.w * a[part]).to(dtype),)

        loss, numbers = backpropagate(square, features_of, cut, ALONE)
        assert (loss.item(), numbers) == (200, {"sum": 20})
        assert square.w.grad is not None and square.s.grad is not None
        assert (square.w.grad.item(), square.s.grad.item()) == (200, 400)
