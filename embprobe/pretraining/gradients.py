"""The gradient of a loss of the whole batch, by a part of the batch at a time and on any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from embprobe.pretraining.objectives.base import Features, Objective


class Gather(Protocol):
    """How processes share features; :class:`embprobe.pretraining.processes.Processes` does it."""

    world: int

    def gathered(self, features: Tensor) -> Tensor:
        """Those of all processes, ``[n, d] -> [world n, d]``."""

    def own(self, features: Tensor) -> Tensor:
        """The rows of this process, ``[world n, d] -> [n, d]``."""


def backpropagate(
    objective: Objective,
    features_of: Callable[[slice], Features],
    parts: Sequence[slice],
    processes: Gather,
    *,
    unsynchronised: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of the whole batch and its numbers; gradients are added to the parameters' as ``backward`` does.

    A contrastive loss needs the features of the whole batch, but not their networks' activations. So features are
    computed part by part without them, the loss gives its gradient with respect to features, and each part is computed
    once more to carry it on: the same gradient at the memory of one part (Gao et al. 2021, "Scaling Deep Contrastive
    Learning Batch Size under Memory Limited Setup"). With one part nothing is computed twice. With several processes,
    each has its ``parts`` of the batch and the loss of all of it; ``unsynchronised`` holds back DDP's reduction until
    the last part, and DDP's mean over processes is undone. What the loss itself trains has the same gradient in every
    process; it is added last and without ``backward``, because DDP takes one signal of each parameter only.
    """
    once = len(parts) == 1
    with torch.set_grad_enabled(once):
        computed = [features_of(part) for part in parts]
    whole = [processes.gathered(torch.cat(each).detach().float()) for each in zip(*computed, strict=True)]
    leaves = tuple(features.requires_grad_() for features in whole)
    loss, numbers = objective.loss(leaves)
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, [*leaves, *trained], allow_unused=True)
    gradients = [None if each is None else processes.own(each) * processes.world for each in found[: len(leaves)]]
    start = 0
    for part in parts:
        last = part is parts[-1]
        with nullcontext() if last else unsynchronised():
            features = computed[0] if once else features_of(part)
            stop = start + len(features[0])
            pairs = [
                (each, gradient[start:stop].to(each.dtype))
                for each, gradient in zip(features, gradients, strict=True)
                if gradient is not None and each.requires_grad
            ]
            torch.autograd.backward([each for each, _ in pairs], [gradient for _, gradient in pairs])
        start = stop
    for parameter, gradient in zip(trained, found[len(leaves) :], strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    return loss.detach(), numbers
