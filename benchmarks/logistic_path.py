"""Logistic regression at 45 values of C: embprobe's path beside scikit-learn's fits, in time and in objective.

python benchmarks/logistic_path.py [--rows 20000] [--dimensions 768] [--classes 100] [--every 1] [--repeats 3]

Both get float32 and the same cores. scikit-learn (tol=1e-6) gets features that are centred and scaled already; ours
does that itself. With --every K, scikit-learn fits every K-th C only and its time is multiplied by 45 over
their number: an estimate, and too long for warm starts, whose steps along the grid are then wider.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from embprobe.measures.logistic import C_GRID, Logistic, logistic_path

Floats = NDArray[np.floating]

KINDS = {"overlapping": (0.12, 0.15), "nearly separable": (0.5, 0.0)}
"""How far apart class means are, in standard deviations of a dimension; and the share of labels drawn at random."""


def data(kind: str, rows: int, dimensions: int, classes: int) -> tuple[Floats, NDArray[np.int64]]:
    """Draw Gaussian classes, four near each other in each family, with the decaying spectrum of embeddings, rotated."""
    apart, wrong = KINDS[kind]
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, rows)
    families = np.repeat(rng.normal(size=(classes // 4 + 1, dimensions)), 4, axis=0)[:classes]
    means = apart * (families + rng.normal(size=(classes, dimensions)))
    vectors = (means[truth] + rng.normal(size=(rows, dimensions))) * np.arange(1, dimensions + 1) ** -0.5
    rotation = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
    labels = np.where(rng.random(rows) < wrong, rng.integers(0, classes, rows), truth)
    return (vectors @ rotation + 0.3).astype(np.float32), labels


def objective(logits: Floats, weights: Floats, labels: NDArray[np.int64], c: float) -> float:
    """Compute the mean loss + squared weights / (2 C n), in float64."""
    loss = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()
    return float(loss + (weights**2).sum() / (2 * c * len(labels)))


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Return seconds by the clock, and of all threads' processor time, which suffers less from other programs."""
    clock, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - clock, time.process_time() - processor


def compare(kind: str, rows: int, dimensions: int, classes: int, every: int, repeats: int) -> None:
    """Print both tables for one kind of data."""
    vectors, labels = data(kind, rows, dimensions, classes)
    names = np.char.mod("%04d", labels)
    grid = C_GRID[::every]
    mean, scale = vectors.mean(0, dtype=np.float64), float(np.sqrt(vectors.var(0, dtype=np.float64).mean()))
    x = ((vectors - mean) / scale).astype(np.float32)
    path: list[Logistic] = []
    models: dict[bool, list[tuple[Floats, Floats, int]]] = {False: [], True: []}

    def ours() -> None:
        path[:] = logistic_path(vectors, names)

    def sklearns(warm: bool) -> None:
        model = LogisticRegression(tol=1e-6, max_iter=10_000, warm_start=True)
        models[warm] = []
        for c in grid:
            if not warm:
                model = LogisticRegression(tol=1e-6, max_iter=10_000)
            model.set_params(C=c).fit(x, labels)
            models[warm].append((model.coef_.T.copy(), model.intercept_.copy(), int(model.n_iter_[0])))

    runs: dict[str, list[tuple[float, float]]] = {"embprobe": [], "cold": [], "warm": []}
    for _ in range(repeats):  # in turn, so that a busy minute does not fall on one alone
        runs["embprobe"].append(timed(ours))
        runs["cold"].append(timed(lambda: sklearns(False)))
        runs["embprobe"].append(timed(ours))
        runs["warm"].append(timed(lambda: sklearns(True)))

    print(
        f"\n{kind}: {rows:,} x {dimensions}, {classes} classes, {len(C_GRID)} values of C; scikit-learn at {len(grid)}"
    )
    factors = {"embprobe": 1.0, "cold": len(C_GRID) / len(grid), "warm": len(C_GRID) / len(grid)}
    middle = {
        name: [statistics.median(seconds) * factors[name] for seconds in zip(*runs[name], strict=True)] for name in runs
    }
    scaled = "" if every == 1 else ", scaled"
    print(f"{'':34}  seconds (lowest .. highest)    of processor    over embprobe's: clock, processor")
    titles = {"embprobe": "embprobe", "cold": f"scikit-learn{scaled}", "warm": f"scikit-learn, warm_start{scaled}"}
    for name, title in titles.items():
        clock = [seconds * factors[name] for seconds, _ in runs[name]]
        ratios = [a / b for a, b in zip(middle[name], middle["embprobe"], strict=True)]
        spread = f"{middle[name][0]:9.2f} ({min(clock):.2f} .. {max(clock):.2f})"
        print(f"{title:34}{spread:32}{middle[name][1]:12.2f}{ratios[0]:20.1f}{ratios[1]:12.1f}")

    print(
        f"{'C':>10}  accuracy   objective    over scikit-learn's: cold    warm    its iterations    other predictions"
    )
    fitted = dict(zip(C_GRID, path, strict=True))
    wide = x.astype(np.float64)
    worst = -np.inf
    for i, c in enumerate(grid):
        fit = fitted[c]
        logits = vectors @ fit.weights + fit.bias
        own_objective = objective(logits, fit.weights * scale, labels, c)
        others = [wide @ weights + bias for weights, bias, _ in (models[False][i], models[True][i])]
        over = [
            own_objective / objective(other, models[warm][i][0].astype(np.float64), labels, c) - 1
            for warm, other in zip((False, True), others, strict=True)
        ]
        worst = max(worst, *over)
        accuracy = (logits.argmax(1) == labels).mean()
        differ = (logits.argmax(1) != others[0].argmax(1)).mean()
        steps = f"{models[False][i][2]}, {models[True][i][2]}"
        print(
            f"{c:10.1e}{accuracy:10.3f}{own_objective:12.6f}{over[0]:+25.4%}{over[1]:+12.4%}{steps:>14}{differ:18.2%}"
        )
    print(f"worst: {worst:+.4%} (below 0: ours is the better fit)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both kinds of data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kind", choices=list(KINDS), action="append")
    chosen = parser.parse_args(arguments)
    logistic_path(np.eye(4, dtype=np.float32), np.array(["a", "b"] * 2))  # loads torch
    for kind in chosen.kind or KINDS:
        compare(kind, chosen.rows, chosen.dimensions, chosen.classes, chosen.every, chosen.repeats)


if __name__ == "__main__":
    main()
