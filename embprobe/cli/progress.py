"""Bars on a terminal, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from embprobe.cli.console import note, notes
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.embeddings.job import Progress as Advance

_LOG_EVERY = 30.0
"""Seconds between two lines about progress in a log."""


class _Speed(ProgressColumn):
    """Images per second over the last half minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.{0 if task.speed >= 10 else 1}f} images/s" if task.speed else "")


@contextmanager
def progress_bar(activity: str, total: int) -> Iterator[Advance]:
    """Show a bar on a terminal, a line every half minute in a log; yield a callback for the number of finished rows."""
    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        activity = visible(activity)
        task = bar.add_task(escape(activity), total=total)
        started = logged = time.perf_counter()
        done = cached = 0

        def advance(rows: int) -> None:
            nonlocal done, logged, cached
            done += rows
            bar.advance(task, rows)
            now = time.perf_counter()
            if now - started < 1:  # most of these were in their stores already
                cached = done
            if not notes.is_terminal and now - logged >= _LOG_EVERY and done < total:
                logged = now
                speed = max(done - cached, 1) / (now - started)
                left = timedelta(seconds=round((total - done) / speed))
                note(f"{activity}: {done:,} of {total:,} images, {speed:,.1f} images/s, {left} left")

        yield advance
    if not notes.is_terminal:
        note(f"{activity}: {total:,} images in {time.perf_counter() - started:.1f} s")


@contextmanager
def training_bar(steps: int) -> Iterator[Callable[[int, int, dict[str, float]], None]]:
    """Show a bar with the latest numbers on a terminal, a line now and then in a log; yield a callback for a step."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=notes, disable=not notes.is_terminal) as bar:
        task = bar.add_task("", total=steps)

        def show(step: int, total: int, numbers: dict[str, float]) -> None:
            text = ", ".join(f"{name} {value:.3g}" for name, value in numbers.items() if name != "step")
            bar.update(task, completed=step, description=escape(text))
            if not notes.is_terminal and (step % max(1, total // 50) == 0 or step == total):
                note(f"step {step}/{total}: {text}")

        yield show


@contextmanager
def named_training_bar(activity: str, steps: int) -> Iterator[Callable[[int, int, dict[str, float]], None]]:
    """Show the name of what is trained, then :func:`training_bar`."""
    note(f"training: {activity}")
    with training_bar(steps) as progress:
        yield progress


@contextmanager
def spinner(activity: str) -> Iterator[Callable[[str], None]]:
    """Show a moving sign on a terminal, lines in a log; yield a callback for the name of each step."""
    with notes.status(escape(activity), spinner="dots" if notes.encoding.startswith("utf") else "line") as status:

        def notify(step: str) -> None:
            status.update(escape(f"{activity}: {step}"))
            if not notes.is_terminal:
                note(f"{activity}: {step}")

        yield notify
