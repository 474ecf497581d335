"""Linear probe: logistic regression at every strength of regularisation on a grid, as one path instead of many fits.

    F(W, b) = mean over rows of -log softmax(x W + b)[label] + ||W||^2 / (2 C n)

on centred features over one common scale (so that a rotation of the features changes nothing), the bias free:
scikit-learn's objective divided by C n. For two classes that is, as there, the penalty on w_1 - w_0, twice as strong
as the formula. What makes the path fast:

- Features are rotated once into the eigenbasis of X'X. The Hessian is close to M (x) X'X / n, where the [c, c] matrix
  M is the mean of diag(p) - pp' over rows: Kronecker factors as in Martens and Grosse 2015, where Böhning 1992 has the
  bound 1/2 (I - 11'/c). In the eigenbases of both its inverse, with 1 / (C n) added, is a division.
- That inverse starts the two-loop recursion of L-BFGS (Nocedal and Wright 2006, algorithm 7.4). The penalty's part of
  every curvature pair is known exactly, so pairs stay valid when C changes and are carried along the path.
- A fit begins at the line through the last two solutions, as a function of log C, where that is better than the last.
- x W is kept and is linear in the step, so a step costs two products with X however long its line search is.
- A fit has thousands of small products, so it runs on one thread unless its products are large: it then also gives
  the same numbers however many cores there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.blocks import Blocks, blocks_of, rows_at
from embprobe.measures.held_out import hold_out
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors, check_finite, check_labels
from embprobe.system.threads import threads_for

if TYPE_CHECKING:
    from torch import Tensor

Positions = NDArray[np.int64]

C_GRID: tuple[float, ...] = tuple(np.logspace(-6, 5, 45).tolist())
"""Inverse strengths of regularisation: 45 from 1e-6 to 1e5, as DINOv2 searches (its ``eval/log_regression.py``)."""
TOLERANCE = 3e-5
"""A fit stops when the estimated remaining gain relative to the objective is below this: see :func:`logistic_path`."""
PATIENCE = 12
"""Steps of the grid, four a decade, without a better C after which :func:`predict_logistic` looks no further."""
MEMORY = 20
"""Curvature pairs kept."""
MAX_STEPS = 500
"""Steps for one C; two to five are usual."""
ROWS = 16_384
"""Rows converted at a time."""


class NotConverged(EmbprobeError):
    """A fit that did not converge at one C; those at smaller C may have."""

    def __init__(self, c: float) -> None:
        super().__init__(
            f"Logistic regression did not converge at C = {c:g}. Use float64 embeddings, or a grid that ends earlier."
        )
        self.c = c


@dataclass(frozen=True, eq=False)
class Logistic:
    """A fitted linear classifier of raw features: their centre and scale are folded into its weights and bias.

    Attributes:
        classes: The labels ``[c]``, sorted.
        weights: ``[d, c]``.
        bias: ``[c]``.
        c: The inverse strength of regularisation, C.
        objective: F at the solution.
    """

    classes: LabelArray
    weights: ScoreArray
    bias: ScoreArray
    c: float
    objective: float

    def predict(self, vectors: Vectors) -> LabelArray:
        """Return the most probable class of each row. ``[m, d] -> [m]``."""
        predicted: LabelArray = self.classes[self._logits(vectors).argmax(1)]
        return predicted

    def log_likelihood(self, vectors: Vectors, labels: LabelArray) -> float:
        """Return the sum of the log-probabilities of labels ``[m]``; rows of a class it does not know count 0."""
        known = np.isin(labels, self.classes)
        logits = self._logits(vectors)[known]
        own = logits[np.arange(len(logits)), np.searchsorted(self.classes, labels[known])]
        largest = logits.max(1, initial=0.0)
        return float((own - largest - np.log(np.exp(logits - largest[:, None]).sum(1))).sum())

    def _logits(self, vectors: Vectors) -> ScoreArray:
        logits = np.empty((len(vectors), len(self.classes)))
        for start, block in blocks_of(vectors, ROWS):
            logits[start : start + len(block)] = np.asarray(block, np.float64) @ self.weights + self.bias
        return logits


def logistic_path(
    train: Vectors,
    labels: LabelArray,
    *,
    grid: Sequence[float] = C_GRID,
    tolerance: float = TOLERANCE,
    device: str = "cpu",
) -> list[Logistic]:
    """Fit multinomial logistic regression at every C of a grid.

    A fit stops when half the Newton decrement g'H^-1 g, the estimate of the remaining gain, is below ``tolerance``
    times the smaller of the objective and of the gain so far over the classifier that knows the labels' frequencies
    alone. H is the L-BFGS approximation, so this is an estimate, not a bound.

    Args:
        train: Training vectors, ``[n, d]``. Sums run in their precision, float32 at least.
        labels: Their labels, ``[n]``.
        grid: Inverse strengths of regularisation.
        tolerance: See above.
        device: "cpu", or a device of torch.

    Returns:
        One classifier per C, from the strongest regularisation to the weakest.

    Raises:
        NotConverged: A fit does not converge.
        EmbprobeError: For fewer than two labels, numbers that are not finite, and a C that is not positive.

    Example:
        >>> x = np.array([[-1.0], [1.0]])
        >>> (fit,) = logistic_path(x, np.array(["left", "right"]), grid=[1.0])
        >>> (fit.weights[0, 1] - fit.weights[0, 0]).round(3)  # w, where C = 1 and two rows make w = 2 / (1 + exp(w))
        np.float64(0.675)
        >>> fit.predict(np.array([[-3.0], [0.5]])).tolist()
        ['left', 'right']
    """
    check_labels(labels)
    check_finite(train)
    if not len(grid) or not all(np.isfinite(c) and c > 0 for c in grid):
        raise EmbprobeError("The grid needs inverse strengths of regularisation (C), all of them positive numbers.")
    with threads_for(_multiplications(train, labels)):
        return list(_walk(train, labels, sorted(grid), tolerance, device))


def predict_logistic(
    train: Vectors,
    labels: LabelArray,
    groups: LabelArray,
    tests: Sequence[Vectors],
    *,
    seed: int = 0,
    device: str = "cpu",
    on_unconverged: Callable[[float], None] = lambda c: None,
) -> list[LabelArray]:
    """Fit a linear probe with regularisation chosen on held-out groups, and predict the labels of each test set.

    C is chosen from ``C_GRID`` by accuracy on a fifth of the training *groups* (concepts), never on test data, and
    among ties by the likelihood of their labels: of classes that every C tells apart, the strongest regularisation
    knows little more than their shares, and a refit on other shares would follow those. Then the classifier is fitted
    again on all rows. (DINOv2 holds out a tenth of the images.) The search ends three decades of C after its best, once
    anything was learned at all.

    It also ends at the first C whose fit does not converge, because larger ones are harder to fit: C is chosen among
    those before. If the last fit, on all rows, does not reach the chosen C, it stays at the last one that converged.

    Args:
        train: Training vectors, ``[n, d]``.
        labels: Their labels, ``[n]``.
        groups: Their groups, such as concepts, ``[n]``.
        tests: Test sets, ``[m, d]`` each; the probe is fitted once for all of them.
        seed: Decides which groups are held out.
        device: "cpu", or a device of torch.
        on_unconverged: Called with every C whose fit does not converge, at most one in the search and one after it.

    Returns:
        The predicted labels of each test set, ``[m]``.

    Raises:
        TooFewGroups: Fewer than two groups, or fewer than two labels outside the held-out groups, are left to fit on.
        NotConverged: Not even the fit at the smallest C converges.
        EmbprobeError: As :func:`logistic_path` does for labels and numbers.

    Example:
        >>> x = np.array([[-2.0], [-1.5], [-1.0], [1.0], [1.5], [2.0]])
        >>> labels, groups = np.array(["left"] * 3 + ["right"] * 3), np.array(list("abcdef"))
        >>> [predicted] = predict_logistic(x, labels, groups, [np.array([[-3.0], [0.5]])])
        >>> predicted.tolist()
        ['left', 'right']
    """
    check_labels(labels)
    check_finite(train, *tests)
    fit, held_out = hold_out(labels, groups, seed=seed, choosing="the regularisation")
    with threads_for(_multiplications(train, labels)):
        final = _fit_chosen(train, labels, fit, held_out, device, on_unconverged)
        return [final.predict(test) for test in tests]


def _multiplications(train: Vectors, labels: LabelArray) -> int:
    """Return the number of multiplications of a product of all rows with the weights, which each step has two of."""
    return train.size * len(np.unique(labels))


def _fit_chosen(
    train: Vectors,
    labels: LabelArray,
    fit: Positions,
    held_out: Positions,
    device: str,
    on_unconverged: Callable[[float], None],
) -> Logistic:
    """Choose C by fits to the rows ``fit`` and accuracy on those that are held out, then fit all rows."""
    right: list[tuple[int, float]] = []
    fitted, held = rows_at(train, fit), rows_at(train, held_out)
    for classifier in _converged(_walk(fitted, labels[fit], C_GRID, TOLERANCE, device), on_unconverged):
        correct = int((classifier.predict(held) == labels[held_out]).sum())
        right.append((correct, classifier.log_likelihood(held, labels[held_out])))
        since_best = len(right) - 1 - right.index(max(right))
        learned = max(right)[0] > right[0][0] or (classifier.predict(fitted) == labels[fit]).all()
        if since_best >= PATIENCE and learned:
            break
    chosen = right.index(max(right))
    *_, final = _converged(_walk(train, labels, C_GRID[: chosen + 1], TOLERANCE, device), on_unconverged)
    return final


def _converged(path: Iterator[Logistic], on_unconverged: Callable[[float], None]) -> Iterator[Logistic]:
    """Yield the classifiers of a path up to the first C that does not converge; that raises if it is the first of all.

    A later fit starts at the one before and is harder, so nothing after it is tried.
    """
    first = True
    while True:
        try:
            classifier = next(path)
        except StopIteration:
            return
        except NotConverged as failure:
            if first:
                raise
            on_unconverged(failure.c)
            return
        first = False
        yield classifier


def _walk(
    train: Vectors, labels: LabelArray, grid: Sequence[float], tolerance: float, device: str
) -> Iterator[Logistic]:
    """Yield the classifiers of the path one at a time, so that the caller may stop early."""
    classes, coded = np.unique(labels, return_inverse=True)
    path = _Path(_problem(train, coded, len(classes), device))
    for c in grid:
        yield path.fit(float(c), classes, tolerance)


# --- the problem, in the eigenbasis ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Problem:
    """Scaled features in the eigenbasis of their covariance, with a column of ones at the end."""

    x: Tensor
    """``[n, r + 1]``"""
    eigenvalues: Tensor
    """Eigenvalues of X'X / n, ``[r + 1, 1]``; 1 for the column of ones."""
    penalised: Tensor
    """1 for every coefficient but the bias, which has 0: ``[r + 1, 1]``."""
    labels: Tensor
    classes: int
    mean: ScoreArray
    to_raw: ScoreArray
    """Matrix from coefficients in the eigenbasis to those of raw features, ``[d, r]``."""

    def residual(self, logits: Tensor) -> tuple[Tensor, float]:
        """Compute softmax - one-hot, ``[n, c]``, and the mean loss, without cancellation at probabilities near 1."""
        import torch

        own = self.labels[:, None]
        probability = torch.softmax(logits, 1)
        right = probability.gather(1, own)
        probability.scatter_(1, own, 0.0)
        wrong = probability.sum(1, keepdim=True)
        probability.scatter_(1, own, -wrong)
        tiny = torch.finfo(logits.dtype).tiny
        loss = torch.where(wrong < 0.5, -torch.log1p(-wrong.clamp_max(0.5)), -right.clamp_min(tiny).log())
        return probability, float(loss.double().mean())

    def gradient(self, residual: Tensor) -> Tensor:
        """Compute the gradient of the mean loss, ``[r + 1, c]``."""
        return self.x.T @ residual / len(self.x)

    def spread(self, residual: Tensor) -> Tensor:
        """Average diag(p) - pp' over rows, ``[c, c]``."""
        import torch

        own = self.labels[:, None]
        probability = residual.scatter_add(1, own, torch.ones_like(own, dtype=residual.dtype))
        # Its rows sum to 0; so the diagonal needs no p - p^2, which cancels where p is nearly 0 or 1.
        between = (probability.T @ probability / len(self.x)).fill_diagonal_(0.0)
        return torch.diag(between.sum(1)) - between


def _moments(train: Vectors) -> tuple[ScoreArray, float]:
    """Return the mean of the rows ``[d]`` and the root of the mean variance of a dimension, both in float64."""
    if not isinstance(train, Blocks):
        return np.asarray(train.mean(0, dtype=np.float64)), float(np.sqrt(train.var(0, dtype=np.float64).mean()))
    mean = np.sum([block.sum(0, dtype=np.float64) for _, block in blocks_of(train)], axis=0) / len(train)
    squares = sum(float(np.square(np.asarray(block, np.float64) - mean).sum()) for _, block in blocks_of(train))
    return mean, float(np.sqrt(squares / train.size))


def _problem(train: Vectors, labels: NDArray[np.int64], classes: int, device: str) -> _Problem:
    """Scale the features and rotate them into the eigenbasis of their covariance."""
    import torch

    n, d = train.shape
    mean, scale = _moments(train)
    rounding = max(float(np.finfo(train.dtype).eps), n * float(np.finfo(np.float64).eps))
    if scale <= rounding * float(np.abs(mean).max()):
        scale = np.inf  # all rows are alike but for rounding: weights are 0

    def scaled() -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, n, ROWS):
            rows = slice(start, start + ROWS)
            yield rows, torch.from_numpy((train[rows] - mean) / scale).to(device)

    if n < d:  # a basis of the rows' span first: everything orthogonal to it stays 0
        whole = torch.cat([part for _, part in scaled()])
        basis = torch.linalg.qr(whole.T)[0]
    else:
        basis = torch.eye(d, dtype=torch.float64, device=device)
    gram = torch.zeros(basis.shape[1], basis.shape[1], dtype=torch.float64, device=device)
    for _, part in scaled():
        spanned = part @ basis if n < d else part
        gram += spanned.T @ spanned / n
    eigenvalues, rotation = torch.linalg.eigh(gram)
    basis = basis @ rotation
    kind = torch.float64 if train.dtype == np.float64 else torch.float32
    x = torch.ones(n, basis.shape[1] + 1, dtype=kind, device=device)
    for rows, part in scaled():
        x[rows, :-1] = part.to(kind) @ basis.to(kind)
    one = torch.ones(1, dtype=torch.float64, device=device)
    return _Problem(
        x=x,
        eigenvalues=torch.cat([eigenvalues.clamp_min(0), one]).to(kind)[:, None],
        penalised=torch.cat([torch.ones_like(eigenvalues), 0 * one]).to(kind)[:, None],
        labels=torch.from_numpy(labels.astype(np.int64)).to(device),
        classes=classes,
        mean=np.asarray(mean),
        to_raw=np.asarray(basis.cpu().numpy() / scale),
    )


# --- the path ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Point:
    """Coefficients and the logits, residual and loss there; logits are linear in the coefficients."""

    weights: Tensor
    logits: Tensor
    residual: Tensor
    loss: float


class _Path:
    """Fits one C after another, and keeps the last two solutions and the curvature pairs for the next."""

    def __init__(self, problem: _Problem) -> None:
        import torch

        self.problem = problem
        frequency = torch.bincount(problem.labels, minlength=problem.classes).to(problem.x.dtype)
        weights = torch.zeros(problem.x.shape[1], problem.classes, dtype=problem.x.dtype, device=problem.x.device)
        weights[-1] = frequency.log() - frequency.log().mean()
        self.solutions = [(-np.inf, self._at(weights, weights[-1:].repeat(len(problem.x), 1)))]
        self.loss_of_frequencies = self.solutions[0][1].loss
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self.steps = 0

    def fit(self, c: float, classes: LabelArray, tolerance: float) -> Logistic:
        """Return the solution at ``c``, which should not be below the one before."""
        problem = self.problem
        ridge = (2 if problem.classes == 2 else 1) / (c * len(problem.x)) * problem.penalised
        point = self._start(c, ridge)
        gradient = problem.gradient(point.residual)
        inverse = _kronecker_inverse(problem.spread(point.residual), problem.eigenvalues, ridge)
        for _ in range(MAX_STEPS):
            slope = gradient + ridge * point.weights
            step = -_two_loops(slope, [(s, y + ridge * s) for s, y in self.pairs], inverse)
            penalty = _penalty(ridge, point.weights)
            objective = point.loss + penalty
            gain = max(self.loss_of_frequencies - objective, penalty)
            remaining = -_dot(slope, step) / 2
            if remaining <= tolerance * min(objective, gain) + 1e-12 * objective:
                self.solutions = [*self.solutions[-1:], (np.log(c), point)]
                return self._logistic(point, objective, c, classes)
            moved = self._search(point, step, ridge, -2 * remaining)
            if moved is None:
                if not self.pairs:
                    break
                self.pairs.clear()
                continue
            previous, point, previous_gradient = point, moved, gradient
            gradient = problem.gradient(point.residual)
            self._remember(point.weights - previous.weights, gradient - previous_gradient, ridge)
            self.steps += 1
        raise NotConverged(c)

    def _at(self, weights: Tensor, logits: Tensor) -> _Point:
        return _Point(weights, logits, *self.problem.residual(logits))

    def _start(self, c: float, ridge: Tensor) -> _Point:
        """Extrapolate the last two solutions over log C, and return that point if it is better than the last one."""
        (_, last) = self.solutions[-1]
        if len(self.solutions) < 2 or not np.isfinite(self.solutions[0][0]):
            return last
        (older, before), (newer, _) = self.solutions
        if newer <= older:
            return last
        t = (np.log(c) - newer) / (newer - older)
        weights = last.weights + t * (last.weights - before.weights)
        ahead = self._at(weights, last.logits + t * (last.logits - before.logits))
        better = ahead.loss + _penalty(ridge, ahead.weights) < last.loss + _penalty(ridge, last.weights)
        return ahead if better else last

    def _search(self, point: _Point, step: Tensor, ridge: Tensor, slope: float) -> _Point | None:
        """Search along ``step`` for a slope between 0.9 and -0.25 of that at its start; None after 25 tries."""
        problem = self.problem
        change = problem.x @ step
        low, at_low, high, at_high = 0.0, slope, 0.0, 0.0
        t = 1.0
        for _ in range(25):
            tried = self._at(point.weights + t * step, point.logits + t * change)
            tried_slope = _dot(tried.residual, change) / len(problem.x) + _dot(ridge * tried.weights, step)
            if tried_slope < 0.9 * slope:
                low, at_low = t, tried_slope
            elif tried_slope > -0.25 * slope:
                high, at_high = t, tried_slope
            else:
                return tried
            if high == 0:
                t *= 3
            else:  # the secant's root, kept off the ends
                t = low + (high - low) * min(max(at_low / (at_low - at_high), 0.1), 0.9)
        return None

    def _remember(self, step: Tensor, change: Tensor, ridge: Tensor) -> None:
        """Keep a curvature pair if its curvature is positive."""
        if _dot(step, change + ridge * step) > 0:
            self.pairs = [*self.pairs[-MEMORY + 1 :], (step, change)]

    def _logistic(self, point: _Point, objective: float, c: float, classes: LabelArray) -> Logistic:
        coefficients = point.weights.double().cpu().numpy()
        weights = self.problem.to_raw @ coefficients[:-1]
        return Logistic(classes, weights, coefficients[-1] - self.problem.mean @ weights, c, objective)


def _kronecker_inverse(spread: Tensor, eigenvalues: Tensor, ridge: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the inverse of diag(eigenvalues) (x) ``spread`` + ridge as a function of a gradient."""
    import torch

    wide = spread.double()
    # Adding the same to all classes changes no probability: no curvature that way, but no gradient either.
    wide = wide + wide.trace() / len(wide)
    curvature, basis = torch.linalg.eigh(wide)
    curvature = curvature.clamp_min(1e-6 * float(curvature.max())).to(spread.dtype)
    basis = basis.to(spread.dtype)
    divisor = eigenvalues * curvature + ridge
    return lambda gradient: ((gradient @ basis) / divisor) @ basis.T


def _two_loops(gradient: Tensor, pairs: Sequence[tuple[Tensor, Tensor]], inverse: Callable[[Tensor], Tensor]) -> Tensor:
    """Multiply ``gradient`` by L-BFGS's inverse Hessian, from ``inverse`` and pairs (step, change of the gradient)."""
    reduced, shares = gradient, []
    for step, change in reversed(pairs):
        share = _dot(step, reduced) / _dot(step, change)
        reduced = reduced - share * change
        shares.append(share)
    product = inverse(reduced)
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        product = product + (share - _dot(change, product) / _dot(step, change)) * step
    return product


def _penalty(ridge: Tensor, weights: Tensor) -> float:
    return _dot(ridge * weights, weights) / 2


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())
