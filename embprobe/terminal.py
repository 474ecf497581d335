"""What a person sees: tables on standard output; progress and notes on standard error, so that --json stays clean."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from embprobe.encoders.base import EncoderSpec, Listing
from embprobe.extraction import Progress as Advance
from embprobe.files import json_text
from embprobe.images.dataset_cards import DatasetCard
from embprobe.images.rows import visible
from embprobe.neighbors import Neighborhood
from embprobe.plots.neighbors import describe
from embprobe.results import Question, Result, Results, p_told, spanned
from embprobe.store import Store
from embprobe.verification import Checked

if TYPE_CHECKING:
    from embprobe.selftest import Verdict
    from embprobe.study.controlled import Study
    from embprobe.study.verdicts import Decision

_LISTED = 10
_COMPARED = 3
"""So many differences have columns in a table; more are in the file."""
_SAY_EVERY = 30.0
"""Seconds between two lines about progress in a log."""

notes = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)  # ':train:' is no locomotive


def note(text: str) -> None:
    """One line for people."""
    notes.print(escape(text))


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json_text(content))


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

        def tell(now: str) -> None:
            status.update(escape(f"{what}: {now}"))
            if not notes.is_terminal:
                note(f"{what}: {now}")

        yield tell


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """A line for each thing that was known beforehand, and a count."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "expected", "found"):
        table.add_column(heading, overflow="fold")
    for each in verdicts:
        table.add_row("passed" if each.passed else "FAILED", *map(escape, (each.about, each.expected, each.found)))
    width = None if sys.stdout.isatty() else 160
    Console(highlight=False, emoji=False, width=width).print(table)
    failed = sum(not each.passed for each in verdicts)
    note(f"{len(verdicts) - failed} of {len(verdicts)} passed." + (" Do not believe a probe yet." if failed else ""))


def print_stores(stores: Sequence[Store], seconds: Mapping[str, float]) -> None:
    """What was extracted, where it lies, where the time went, and what could not be read."""
    for store in stores:
        fresh = f"{store.written:,} encoded now" if store.written else "already there"
        name, folder = visible(store.spec.name), visible(str(store.folder))
        note(f"{name}: {len(store.embedded()):,} x {store.spec.dimension}, {fresh}, in {folder}")
    if (total := sum(seconds.values())) > 0:
        shares = ", ".join(f"{stage} {taken / total:.0%}" for stage, taken in seconds.items())
        note(f"Where the time went: {shares}.")
    rejected = stores[0].rejected if stores else []
    if rejected:
        note(f"{len(rejected):,} of {len(stores[0].images):,} images could not be read and were left out:")
        for row in rejected[:_LISTED]:
            note(f"  '{visible(row.key)}': {visible(row.reason)}")
        if len(rejected) > _LISTED:
            note(f"  and {len(rejected) - _LISTED:,} more, all in {stores[0].folder / 'rejected.jsonl'}")


def print_checked(checked: Sequence[Checked], root: Path, *, repaired: bool = False) -> None:
    """A line for each store, and its problems under it."""
    for store in checked:
        state = (
            f"{len(store.problems)} damaged" if store.problems else "whole" if store.complete else "whole, unfinished"
        )
        what = f"{visible(store.encoder)} x {visible(store.images)}, " if store.encoder else ""
        folder = visible(str(store.folder.relative_to(root)))
        note(f"{state}: {what}{_shards(store.shards)}, {store.bytes / 1e6:,.1f} MB, {folder}")
        for problem in store.problems[:_LISTED]:
            note(f"  {visible(problem)}")
        if len(store.problems) > _LISTED:
            note(f"  and {len(store.problems) - _LISTED:,} more")
    if not checked:
        note("There are no stores yet.")
    if any(store.damaged for store in checked):
        when = "The" if repaired else "With --repair the"
        note(f"{when} next extract makes the damaged shards again, and only those.")


def print_encoders(encoders: Sequence[Listing], *, described: bool) -> None:
    """A table, or, if they are not described, the names."""
    if not described:
        sys.stdout.write("".join(f"{each.name}\n" for each in encoders))
        note(f"{len(encoders):,} encoders. For their dimensions, input sizes and sources, ask for fewer.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "dimension", "input", "text", "weights"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("dimension", "input") else "left")
    for each in encoders:
        text = "" if each.has_text is None else "yes" if each.has_text else "no"
        table.add_row(escape(each.name), _number(each.dimension), _number(each.input_size), text, escape(each.weights))
    width = None if sys.stdout.isatty() else 200
    Console(highlight=False, emoji=False, width=width).print(table)


def print_spec(spec: EncoderSpec) -> None:
    """What exactly an encoder's vectors are."""
    vectors = {
        "cls": "class token",
        "mean": "mean of the patch tokens or of the feature map",
        "cls+mean": "class token, then the mean of the patch tokens",
        "attention": "learned attention pooling",
        "projected": "projected features, in the space shared with text",
        "trunk": "features before the projection",
        "none": "the network's output",
    }
    part = "the whole image" if spec.resize == "squash" else "the shorter side"
    facts = {
        "vector": f"{vectors[spec.pooling]}: {spec.dimension:,} numbers, not normalised",
        "image": f"{part} resized to {spec.resize_to} pixels ({spec.interpolation}), the central {spec.input_size} x "
        f"{spec.input_size}, scaled to 0..1",
        "mean": ", ".join(f"{value:g}" for value in spec.mean),
        "deviation": ", ".join(f"{value:g}" for value in spec.std),
        "precision": spec.precision,
        "text": "yes" if spec.has_text else "no",
        "weights": f"sha256 of their values {spec.weights_sha256}" if spec.weights_sha256 else "none",
        "fingerprint": spec.fingerprint,
    }
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    console.print(f"[bold]{escape(spec.name)}[/bold]")
    for name, text in facts.items():
        console.print(f"  {name:<12}{escape(text)}")


def _shards(count: int) -> str:
    return f"{count:,} shard{'' if count == 1 else 's'}"


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def print_results(results: Results, *, title: str) -> None:
    """The headline; one line a question, one column an encoder, intervals under estimates; then what was checked."""
    rows = [row for row in results.rows if not row.is_difference]
    differences = [row for row in results.rows if row.is_difference]
    compared = list(dict.fromkeys(row.who for row in differences))
    columns = list(dict.fromkeys(row.who for row in rows)) + (compared if len(compared) <= _COMPARED else [])
    table = Table(
        title=escape(visible(title)),
        title_justify="left",
        caption_justify="left",
        caption=escape(_caption(rows)),
    )
    table.add_column("measure")
    for who in columns:
        table.add_column(escape(_heading(visible(who))), justify="right")
    questions: dict[Question, dict[str, Result]] = {}
    for row in results.rows:
        questions.setdefault(row.question, {})[row.who] = row
    for question, answers in questions.items():
        table.add_row(escape(visible(str(question))), *(_cell(answers.get(who)) for who in columns), end_section=True)
    width = None if sys.stdout.isatty() else 32 + 19 * len(columns)
    console = Console(highlight=False, emoji=False, width=width)
    console.print(table)
    said = Console(highlight=False, emoji=False, soft_wrap=True)
    for sentence in results.conclusions.sentences:
        said.print(f"[bold]{escape(visible(sentence))}[/bold]")
    if len(compared) > _COMPARED:
        said.print(f"The {len(compared):,} differences between encoders are in the results file.")
    _print_checks(said, results)


def print_study(study: Study) -> None:
    """A line a claim with its verdict; then what each encoder has learned, and what was checked."""
    asked = [row for each in study.decisions if (row := each.difference) is not None]
    over = f"{spanned([row.groups for row in asked])} {visible(asked[0].resampled)}s"
    table = Table(
        title=escape(visible(str(study.results.manifest["card"]["title"]))),
        title_justify="left",
        caption_justify="left",
        caption=escape(
            f"95 % bootstrap intervals over {over}, not corrected; p by sign flips, of its margin where a claim has "
            f"one, Holm-corrected over the {len(asked)} claims that were asked. A verdict needs both."
        ),
    )
    for heading in ("claim", "estimates", "difference, p", "verdict"):
        table.add_column(heading)
    for decision in study.decisions:
        table.add_row(*map(escape, _decided(decision)), end_section=True)
    console = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 140)
    console.print(table)
    said = Console(highlight=False, emoji=False, soft_wrap=True)
    for content in study.contents:
        said.print(escape(visible(content.sentence)))
    _print_checks(said, study.results)
    roles = ", ".join(f"{role} is {name}" for role, name in study.names.items())
    said.print(escape(visible(f"Roles: {roles}.")))


def _decided(decision: Decision) -> tuple[str, str, str, str]:
    """The cells of a claim."""
    claim = decision.claim
    margin = f", margin {claim.margin:g}" if claim.margin else ""
    verdict = decision.verdict + (f": {visible(decision.because)}" if decision.because else "")
    roles = zip((claim.a, claim.b), decision.estimates or (), strict=False)
    estimates = "\n".join(f"{role} {row.estimate:.3f}" for role, row in roles)
    return f"{claim.sentence}\n({claim.question}{margin})", estimates, _cell(decision.difference), verdict


def _print_checks(console: Console, results: Results) -> None:
    """Whether the probes count, and what could not be asked."""
    for check in results.conclusions.checks:
        console.print(escape(visible(f"{'Check passed' if check.passed else 'CHECK FAILED'}: {check.text}")))
    for reason in results.left_out:
        console.print(escape(visible(f"Left out: {reason}.")))


def print_neighbors(found: Neighborhood) -> None:
    """Each encoder's neighbours in a column, nearest first, and the overlap of every two."""
    table = Table(title=escape(f"Nearest to {visible(found.query.key)}"), title_justify="left")
    table.add_column("rank", justify="right")
    for encoder in found.by_encoder:
        table.add_column(escape(encoder))
    for rank in range(max(len(neighbors) for neighbors in found.by_encoder.values())):
        cells = [
            f"{neighbors[rank].similarity:.3f} {escape(', '.join(describe(neighbors[rank].row)))}"
            if rank < len(neighbors)
            else ""
            for neighbors in found.by_encoder.values()
        ]
        table.add_row(str(rank + 1), *cells)
    console = Console(highlight=False, emoji=False)
    console.print(table)
    for (a, b), share in found.overlap.items():
        console.print(escape(f"{a} and {b} share {share:.0%} of their neighbours."))


def print_datasets(cards: Sequence[DatasetCard]) -> None:
    """A line for each set, or all about one."""
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    if len(cards) == 1:
        _print_dataset(console, cards[0])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "what it is", "what is needed"):
        table.add_column(heading, overflow="fold")
    for card in cards:
        table.add_row(f"[bold]{escape(card.name)}[/bold]", escape(card.title), escape(card.needs))
    Console(highlight=False, emoji=False).print(table)
    note("All about one: embprobe datasets NAME. One of your own copies: embprobe extract NAME@FOLDER.")


def _print_dataset(console: Console, card: DatasetCard) -> None:
    console.print(f"[bold]{escape(card.name)}[/bold]  {escape(card.title)}")
    classes = f"{len(card.class_names):,}: {', '.join(card.class_names[:5])}, …" if card.class_names else ""
    facts = {
        "": card.description,
        "Needs": card.needs,
        "Opened at": card.location or f"a place you name: {card.name}@FOLDER",
        "Labels": ", ".join(card.labels),
        "Classes": classes,
        "Templates": f"{len(card.templates)}, such as '{card.templates[0]}'" if card.templates else "",
        "Licence": card.licence,
        "Citation": card.citation,
        "Homepage": card.homepage,
    }
    for name, text in facts.items():
        if text:
            console.print(f"  {name}: {escape(text)}" if name else f"  {escape(text)}")
    for split, meaning in card.splits.items():
        console.print(f"  {escape(card.name)}:{escape(split)}: {escape(meaning)}")


def _heading(who: str) -> str:
    """A column's heading in short lines."""
    return who.replace(" - ", "\n- ") if " - " in who else who.replace("/", "/\n", 1)


def _cell(row: Result | None) -> str:
    if row is None:
        return ""
    sign = "+" if row.is_difference else ""
    p = "" if row.p_adjusted is None else f", {p_told(row.p_adjusted)}"
    return f"{row.estimate:{sign}.3f}{p}\n{row.low:{sign}.3f} to {row.high:{sign}.3f}"


def _caption(rows: Sequence[Result]) -> str:
    units: dict[str, list[str]] = {}
    for row in rows:
        names = units.setdefault(row.unit, [])
        if row.measure not in names:
            names.append(row.measure)
    units.pop("accuracy", None)
    told = [f"{', '.join(names)}: {unit}." for unit, names in units.items()]
    what = "".join(f"\n{visible(line)}" for line in told)
    over = f"{spanned([row.groups for row in rows])} {visible(rows[0].resampled)}s"
    return (
        f"95 % bootstrap intervals over {over}; p of a difference by sign flips, of a variance share by permutation, "
        f"Holm-corrected over the card.{what}"
    )
