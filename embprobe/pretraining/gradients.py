"""Compute the gradient of a whole batch's loss from a part of the batch at a time, on any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from embprobe.pretraining.objectives.base import Features, Objective


class Gather(Protocol):
    """The exchange of features among processes; :class:`embprobe.system.processes.Processes` is one."""

    world: int

    def gathered(self, features: Tensor) -> Tensor:
        """Collect the features of all processes, ``[n, d] -> [world n, d]``."""

    def own(self, features: Tensor) -> Tensor:
        """Pick the rows of this process, ``[world n, d] -> [n, d]``."""


def backpropagate(
    objective: Objective,
    features_of: Callable[[slice], Features],
    parts: Sequence[slice],
    processes: Gather,
    *,
    unsynchronised: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[Tensor, dict[str, float]]:
    """Compute the loss of the whole batch and add its gradients to those of the parameters, as ``backward`` does.

    A contrastive loss needs the features of the whole batch, but not their networks' activations. So features are
    computed part by part without them, the loss gives its gradient with respect to features, and each part is computed
    once more to carry it on: the same gradient at the memory of one part (Gao et al. 2021, "Scaling Deep Contrastive
    Learning Batch Size under Memory Limited Setup"). With one part nothing is computed twice. With several processes,
    each has its ``parts`` of the batch and the loss of all of it; DDP's mean over processes is undone. The loss's own
    parameters have the same gradient in every process; it is added last and without ``backward``, because DDP takes one
    signal of each parameter only.

    Args:
        objective: The loss, and the parameters that it trains itself.
        features_of: Computes the features of a part of the batch.
        parts: This process's rows of the batch, cut into parts.
        processes: Exchanges features among processes.
        unsynchronised: Holds back DDP's reduction until the last part.

    Returns:
        The loss, and the numbers that the objective logs.
    """
    once = len(parts) == 1
    with torch.set_grad_enabled(once):
        computed = [features_of(part) for part in parts]
    whole = [processes.gathered(torch.cat(pieces).detach().float()) for pieces in zip(*computed, strict=True)]
    leaves = tuple(features.requires_grad_() for features in whole)
    loss, numbers = objective.loss(leaves)
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    all_gradients = torch.autograd.grad(loss, [*leaves, *trained], allow_unused=True)
    of_features, of_parameters = all_gradients[: len(leaves)], all_gradients[len(leaves) :]
    gradients = [None if gradient is None else processes.own(gradient) * processes.world for gradient in of_features]
    start = 0
    for part in parts:
        last = part is parts[-1]
        with nullcontext() if last else unsynchronised():
            features = computed[0] if once else features_of(part)
            stop = start + len(features[0])
            pairs = [
                (feature, gradient[start:stop].to(feature.dtype))
                for feature, gradient in zip(features, gradients, strict=True)
                if gradient is not None and feature.requires_grad
            ]
            torch.autograd.backward([feature for feature, _ in pairs], [gradient for _, gradient in pairs])
        start = stop
    for parameter, gradient in zip(trained, of_parameters, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    return loss.detach(), numbers
