"""Bars on a terminal, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from embprobe.cli.terminal.console import note, notes
from embprobe.embeddings.job import Progress as Advance
from embprobe.system.text import visible

_SAY_EVERY = 30.0
"""Seconds between two lines about progress in a log."""


class _Speed(ProgressColumn):
    """Images per second over the last half minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.{0 if task.speed >= 10 else 1}f} images/s" if task.speed else "")


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Advance]:
    """A bar on a terminal, a line every half minute in a log; gives what to call with the number of rows just done."""
    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        what = visible(what)
        task = bar.add_task(escape(what), total=total)
        started = said = time.perf_counter()
        done = there = 0

        def advance(rows: int) -> None:
            nonlocal done, said, there
            done += rows
            bar.advance(task, rows)
            now = time.perf_counter()
            if now - started < 1:  # most of these were there already
                there = done
            if not notes.is_terminal and now - said >= _SAY_EVERY and done < total:
                said = now
                speed = max(done - there, 1) / (now - started)
                left = timedelta(seconds=round((total - done) / speed))
                note(f"{what}: {done:,} of {total:,} images, {speed:,.1f} images/s, {left} left")

        yield advance
    if not notes.is_terminal:
        note(f"{what}: {total:,} images in {time.perf_counter() - started:.1f} s")


@contextmanager
def training_bar(steps: int) -> Iterator[Callable[[int, int, dict[str, float]], None]]:
    """A bar with the latest numbers on a terminal; in a log, a line now and then."""
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
def spinner(what: str) -> Iterator[Callable[[str], None]]:
    """What is being done now: a moving sign on a terminal, lines in a log; gives what to call with it."""
    with notes.status(escape(what)) as status:

        def notify(now: str) -> None:
            status.update(escape(f"{what}: {now}"))
            if not notes.is_terminal:
                note(f"{what}: {now}")

        yield notify
