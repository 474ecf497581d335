"""The loss curve of a training run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from embprobe.plots.style import figure, save


def plot_losses(losses: Path, out: Path) -> None:
    """Draw the loss per step with its running mean, and beside it the monitor's accuracy on held-out drawings."""
    with losses.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    steps, loss = np.array([(float(row["step"]), float(row["loss"])) for row in rows if row["loss"]]).T
    accuracies = [(float(row["step"]), float(row["nearest_concept"])) for row in rows if row.get("nearest_concept")]
    with figure(width=8, height=3, columns=2 if accuracies else 1) as (canvas, axes):
        axes[0].plot(steps, loss, color="0.8", linewidth=0.8)
        window = max(1, len(loss) // 50)
        smooth = np.convolve(loss, np.ones(window) / window, mode="valid")
        axes[0].plot(steps[window - 1 :], smooth, color="black", linewidth=1.2)
        axes[0].set(xlabel="step", ylabel="loss")
        if accuracies:
            axes[1].plot(*zip(*accuracies, strict=True), color="black", marker="o", markersize=3)
            axes[1].set(
                xlabel="step", ylabel="held-out drawings whose\nnearest drawing has the same concept", ylim=(0, None)
            )
        save(canvas, out, vector=True)
