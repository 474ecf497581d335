"""Render the numbers of the README and the documentation from records, so that none is typed by hand.

    python scripts/render_docs.py                       # write every number into its page, and docs/pypi.md
    python scripts/render_docs.py --check               # fail with a diff where a page and its records differ
    python scripts/render_docs.py record                # run the commands again and rewrite the records: minutes
    python scripts/render_docs.py record category text  # these records alone
    python scripts/render_docs.py record --arms runs/arms/arms.json    # the results of scripts/arms.py

A record is a file in ``docs/records``: the command, versions, images and encoders, and the rows that the command
printed with ``--json``. A page names its numbers in comments, which Markdown does not show. A number in a sentence or a
table cell:

    <!-- n: text; word decoding, unseen concepts; clip -->0.338 (0.295 to 0.379)<!-- /n -->

It names a record; a measure; an encoder, or the difference of two (``clip - dino``); and, if not estimate and interval
are wanted, one of ``FORMS``. A block, in lines of its own, names one of ``BLOCKS`` and its arguments:

    <!-- numbers: sentences; text -->
    ...
    <!-- /numbers -->

The blocks ``benchmark`` and ``domains`` read ``results/``, which scripts/published.py fills.

A comment at the start of a line would end the paragraph, so a number in a sentence stands further on in its line.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from embprobe.benchmarking.cell import Cell
from embprobe.benchmarking.records import find_records
from embprobe.benchmarking.tasks import find_task
from embprobe.claims.model import Claim, bundled_claims, card_of
from embprobe.probing.kinds.decoding import UNSEEN

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "docs" / "records"
RESULTS = ROOT / "results"
PYPI = ROOT / "docs" / "pypi.md"
COMMANDS = {
    "category": "probe --attribute category --quick",
    "text": "probe --attribute text --quick",
    "color": "probe --attribute color --quick",
    "style": "probe --attribute style --quick",
    **{f"depth-{name}": f"probe --attribute {name} --layers all" for name in ("category", "text", "color", "style")},
    "dense": "probe --attribute dense",
    "pixels": "probe --attribute category --quick -e bundled/clip -e reference/pixels",
    "compare": "compare",
    "study": "study --vlm",
    "sizes": "study --claims probes/claims/with-more-data.toml -e clip=bundled/clip -e dino=bundled/dino "
    "-e clip-tenth=bundled/clip:runs/clip-100k/model.safetensors "
    "-e dino-tenth=bundled/dino:runs/dino-100k/model.safetensors",
    "no-words": "study --claims probes/claims/parrot-captions.toml -e clip=bundled/clip "
    "-e clip-no-words=bundled/clip:runs/clip-no-words/model.safetensors",
    "more-words": "study --claims probes/claims/web-ssl.toml -e dino=bundled/dino:runs/dino-100k/model.safetensors "
    "-e dino-words=bundled/dino:runs/dino-words-100k/model.safetensors",
}
"""By the name of a record, the command that makes it; ``--json`` and ``--workspace`` are added.

``sizes``, ``no-words`` and ``more-words`` need training runs (docs/pretraining.md), ``study`` trains vision-language
models for an hour where the workspace has none: they are made only if they are named. Records of other names are of
runs that take hours: ``curve`` comes from ``scripts/curve.py``, ``arms`` from the file of ``scripts/arms.py``;
``jitter`` and ``words`` say in ``transcribed`` where their numbers come from.
"""
IF_NAMED = ("study", "sizes", "no-words", "more-words")
"""The records that are made only if they are named."""
LEARNED = ("concept k-NN, unseen drawings", "category decoding, unseen drawings", "zero-shot name", "effective rank")
"""The measures of the study's record, beside its claims: what each encoder has learned."""
COLUMNS = ("measure", "encoder", "role", "against", "estimate", "low", "high", "p_adjusted", "groups", "unit", "key")

NUMBER = re.compile(r"<!-- n: ([^>]*?) -->(.*?)<!-- /n -->", re.DOTALL)
BLOCK = re.compile(r"<!-- numbers: ([^>]*?) -->\n(.*?)<!-- /numbers -->", re.DOTALL)
Row = Mapping[str, Any]


class RecordError(Exception):
    """A page asks for a number that no record holds, or asks for it in an unknown form."""


# Reading records


def record(name: str) -> dict[str, Any]:
    """Return a record by its name."""
    path = RECORDS / f"{name}.json"
    if not path.exists():
        raise RecordError(f"there is no record '{name}' in {RECORDS.relative_to(ROOT)}")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def find_row(name: str, measure: str, subject: str) -> dict[str, Any]:
    """Return the row of a measure and an encoder, or of a difference in the order that ``subject`` names.

    Encoders are named in full or by the end of their name: ``clip`` is ``bundled/clip``.
    """
    encoder, _, against = (part.strip() for part in subject.partition(" - "))
    rows = [row for row in record(name)["rows"] if row["measure"] == measure]
    matches = [row for row in rows if _named(row["encoder"], encoder) and _named(row.get("against"), against)]
    turned = [row for row in rows if _named(row["encoder"], against) and _named(row.get("against"), encoder)]
    if len(matches) == 1:
        return dict(matches[0])
    if not matches and len(turned) == 1:
        row = turned[0]
        return {**row, "encoder": row["against"], "against": row["encoder"]} | _negative(row)
    measures = sorted({row["measure"] for row in record(name)["rows"]})
    raise RecordError(f"record '{name}' has {len(matches)} rows of '{measure}' for '{subject}'; it measures {measures}")


def _named(encoder: str | None, name: str) -> bool:
    return encoder == name or encoder is not None and encoder.rpartition("/")[2] == name if name else not encoder


def _negative(row: Row) -> dict[str, float]:
    return {"estimate": -row["estimate"], "low": -row["high"], "high": -row["low"]}


# Forms of one number


def _three(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}"


def _full(row: Row) -> str:
    sign = "+" if row.get("against") else ""
    if row["low"] is None:
        return _three(row["estimate"], sign)
    return f"{_three(row['estimate'], sign)} ({_three(row['low'], sign)} to {_three(row['high'], sign)})"


def _size(row: Row) -> str:
    row = row if row["estimate"] >= 0 else {**row, **_negative(row)}
    return f"{_three(row['estimate'])} ({_three(row['low'])} to {_three(row['high'])})"


def _p(row: Row) -> str:
    return f"p = {row['p_adjusted']:.3f}" if row["p_adjusted"] >= 0.001 else "p < 0.001"


FORMS: Mapping[str, Callable[[Row], str]] = {
    "full": _full,
    "estimate": lambda row: _three(row["estimate"], "+" if row.get("against") else ""),
    "interval": lambda row: f"{_three(row['low'])} to {_three(row['high'])}",
    "size": _size,
    "whole": lambda row: f"{row['estimate']:.0f}",
    "chance": lambda row: _three(row["chance"]),
    "verdict": lambda row: str(row["verdict"]),
    "p": _p,
    "groups": lambda row: f"{row['groups']:,}",
}


def number(expression: str) -> str:
    """Return the number that an expression names: ``record; measure; encoder; form``."""
    name, measure, subject, form = (*_parts(expression), "full")[:4]
    if form not in FORMS:
        raise RecordError(f"there is no form '{form}'; there are {', '.join(FORMS)}")
    return FORMS[form](find_row(name, measure, subject))


def _parts(expression: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in expression.split(";"))
    if len(parts) < 3:
        raise RecordError(f"'{expression}' is no 'record; measure; encoder; form'")
    return parts


# Blocks


def overview() -> str:
    """Return the headlines of four probes as a table: the bundled pair, raw pixels, and the difference of the pair."""
    lines = ["| probe | CLIP | DINO | raw pixels | CLIP - DINO |", "|---|---|---|---|---|"]
    for name, title in (
        ("category", "**category** of unseen concepts, beyond trivial encoders"),
        ("text", "**text**: four anagrams told apart, beyond shuffled ink"),
        ("color", "**colour**: variance between a red and a blue tint"),
        ("style", "**style**: nearer to the same style (blind: 0.5)"),
    ):
        measure = record(name)["headline"]
        cells = [number(f"{name}; {measure}; {encoder}; estimate") for encoder in ("clip", "dino", "pixels")]
        lines.append(f"| {title} | {' | '.join(cells)} | {number(f'{name}; {measure}; clip - dino')} |")
    return "\n".join(lines)


def sentences(*names: str) -> str:
    """Return the sentences that the records' commands print under their tables, as a list."""
    return "\n".join(f"- {sentence}" for name in names for sentence in record(name)["sentences"])


def checks(*names: str) -> str:
    """Return as a list whether the reference that must fail a probe does fail."""
    verdicts = {True: "Check passed", False: "CHECK FAILED", None: "Unchecked here"}
    return "\n".join(
        f"- {verdicts[check['passed']]}: {check['text']}" for name in names for check in record(name)["checks"]
    )


def table(name: str, *measures: str) -> str:
    """Return a table of measures by encoders with intervals, and the difference of the bundled pair.

    Without measures, all of the record.
    """
    rows = record(name)["rows"]
    encoders = list(dict.fromkeys(row["encoder"] for row in rows if not row["against"]))
    heads = [encoder.removeprefix("reference/") for encoder in encoders]
    chosen = measures or tuple(dict.fromkeys(row["measure"] for row in rows))
    lines = [f"| measure | {' | '.join(heads)} | CLIP - DINO |", "|---" * (len(heads) + 2) + "|"]
    for measure in chosen:
        cells = [_cell(rows, measure, encoder) for encoder in encoders]
        compared = any(row["measure"] == measure and row["against"] for row in rows)  # else one encoder has no number
        difference = find_row(name, measure, "clip - dino") if compared else None
        last = "" if difference is None else f"{_full(difference)}, {_p(difference)}"
        lines.append(f"| {measure} | {' | '.join(cells)} | {last} |")
    return "\n".join(lines)


def depth(name: str) -> str:
    """Return a table of a profile: a line a layer, a column an encoder that has layers."""
    rows = record(name)["rows"]
    cells = {(row["key"].get("layer"), row["encoder"]): row for row in rows}
    encoders = list(dict.fromkeys(encoder for layer, encoder in cells if layer is not None))
    layers = [*sorted({layer for layer, _ in cells if layer is not None}), None]
    lines = [f"| layer | {' | '.join(f'`{encoder}`' for encoder in encoders)} |", "|---|" + "---|" * len(encoders)]
    for layer in layers:
        numbers = [_full(cells[layer, encoder]) if (layer, encoder) in cells else "" for encoder in encoders]
        lines.append(f"| {'output' if layer is None else layer} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def claims() -> str:
    """Return a numbered list of the bundled claims by paper: its finding, the question here, how it differs."""
    lines: list[str] = []
    source = ""
    for i, claim in enumerate(bundled_claims(), 1):
        if claim.source != source:
            source = claim.source
            lines += ["", f"### {source}", ""]
        lines.append(f"{i}. **{claim.sentence}.**")
        if claim.paper:
            published = f" ({claim.published})" if claim.published else ""
            lines.append(f"    The paper: {claim.paper.removesuffix('.')}{published}.")
        margin = f", margin {claim.margin:g}" if claim.margin else ""
        learned = f", if {claim.names[claim.learned]} has learned content" if claim.learned else ""
        vectors = {"class token": "; class tokens", "own": "; own vectors"}.get(claim.vectors, "; own vectors")
        vectors = "" if claim.questions else vectors
        lines.append(
            f"    Asked: {_question(claim)}; {claim.a} - {claim.b}, {claim.relation}{margin}{learned}{vectors}."
        )
        lines.append(f"    Differs: {claim.differs}")
    return "\n".join(lines).strip()


def _question(claim: Claim) -> str:
    """Return the card and the number of a claim in words, or what of pairs or questions it asks."""
    if claim.questions:
        return f"questions about {claim.questions}, unseen drawings, to a small vision-language model on its tokens"
    if claim.number is None:
        return f"pairs near for only one of the two, what they have in common in {claim.pairs} beyond random pairs"
    keys = [key for measure in card_of(claim.card).measures for key in measure.declared_keys()]
    return f"card `{claim.card}`, {claim.number.find(keys, folds=UNSEEN)}"


def curve() -> str:
    """Return a table of what more training images do, a line a run."""
    rows = [row for row in record("curve")["rows"] if row["against"] is None]
    measures = list(dict.fromkeys(row["measure"] for row in rows))
    lines = ["| run | " + " | ".join(measures) + " |", "|---" * (len(measures) + 1) + "|"]
    for run in dict.fromkeys(row["encoder"] for row in rows):
        cells = [
            next((_full(row) for row in rows if (row["measure"], row["encoder"]) == (m, run)), "") for m in measures
        ]
        lines.append(f"| {run} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts(name: str = "study") -> str:
    """Return a table of a study's claims with difference and verdict; by default of the bundled encoders."""
    lines = ["| | claim | a - b | p | verdict | with own vectors |", "|---|---|---|---|---|---|"]
    for i, claim in enumerate(record(name)["claims"], 1):
        if "estimate" not in claim:
            lines.append(f"| {i} | {claim['sentence']} | | | not asked | |")
            continue
        own = _full({**claim["beside"], "against": claim["against"]}) if "beside" in claim else ""
        cells = (claim["sentence"], _full(claim), _p(claim), f"**{claim['verdict']}**", own)
        lines.append(f"| {i} | {' | '.join(cells)} |")
    return "\n".join(lines)


def learned() -> str:
    """Return a table of the numbers that show how much each encoder of the study has learned."""
    content = record("study")
    lines = [f"| encoder | {' | '.join(LEARNED)} |", "|---" * 5 + "|"]
    for encoder in content["encoders"]:
        if "," in encoder:  # class tokens, which have a number here and there
            continue
        cells = [_cell(content["rows"], measure, encoder) for measure in LEARNED]
        lines.append(f"| {encoder.removeprefix('bundled/')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def inside(test: str) -> str:
    """Return a table of the accuracy of a language model on each encoder's tokens, a line an encoder."""
    rows = [row for row in record("study")["rows"] if row["key"]["kind"] == "questions" and row["key"]["test"] == test]
    groups = list(dict.fromkeys(row["key"]["target"] for row in rows))
    lines = [f"| tokens of | {' | '.join(groups)} |", "|---" * (len(groups) + 1) + "|"]
    for encoder in dict.fromkeys(row["encoder"] for row in rows):
        found = {row["key"]["target"]: row for row in rows if row["encoder"] == encoder}
        cells = [_full(found[group]) for group in groups]
        lines.append(f"| {encoder.removeprefix('bundled/')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(rows: Iterable[Row], measure: str, encoder: str) -> str:
    """Return one encoder's number as text, empty if it was not measured."""
    for row in rows:
        if (row["measure"], row["encoder"], row["against"]) == (measure, encoder, None):
            return f"{row['estimate']:.0f}" if measure == "effective rank" else _full(row)
    return ""


def agreement() -> str:
    """Return a table of the agreement of the bundled pair beside chance."""
    lines = ["| measure | CLIP and DINO | chance |", "|---|---|---|"]
    for row in record("compare")["rows"]:
        if "chance" in row:
            interval = f"{_three(row['low'])} to {_three(row['high'])}"
            lines.append(f"| {row['measure']} | {_three(row['estimate'])} ({interval}) | {_three(row['chance'])} |")
    return "\n".join(lines)


def explanation() -> str:
    """Return a table of the attributes that explain the similarities of each encoder of the bundled pair."""
    rows = record("compare")["rows"]
    attributes = dict.fromkeys(
        row["measure"] for row in rows if "chance" not in row and not row["measure"].startswith("pairs: ")
    )
    lines = ["| similarity goes with | CLIP | DINO | CLIP - DINO |", "|---|---|---|---|"]
    for attribute in attributes:
        cells = [number(f"compare; {attribute}; {subject}") for subject in ("clip", "dino", "clip - dino")]
        lines.append(f"| {attribute} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shared() -> str:
    """Return a table of what pairs near for only one encoder of the bundled pair share, beside random pairs."""
    rows = [row for row in record("compare")["rows"] if row["measure"].startswith("pairs: ")]
    lines = ["| pairs have in common | near for CLIP only | near for DINO only | CLIP - DINO |", "|---|---|---|---|"]
    for measure in dict.fromkeys(row["measure"] for row in rows):
        clip, dino = (find_row("compare", measure, subject) for subject in ("clip", "dino"))
        difference = find_row("compare", measure, "clip - dino")
        cells = [f"{_full(row)}, random {_three(row['matched'])}" for row in (clip, dino)]
        label = "distance in" if clip["distance"] else "the same"
        lines.append(f"| {label} {measure.removeprefix('pairs: ')} | {' | '.join(cells)} | {_full(difference)} |")
    return "\n".join(lines)


def arms() -> str:
    """Return a table of the four claims about CLIP and DINO by arm of the controlled study."""
    rows = record("arms")["rows"]
    columns = {row["measure"].rpartition(": ")[2]: f"{row['encoder']} - {row['against']}" for row in rows}
    lines = [
        "| arm | " + " | ".join(f"{column} ({pair})" for column, pair in columns.items()) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for arm in dict.fromkeys(row["measure"].rpartition(": ")[0] for row in rows):
        cells = [find_row("arms", f"{arm}: {column}", pair) for column, pair in columns.items()]
        lines.append(f"| {arm} | " + " | ".join(f"{_full(cell)}, {cell['verdict']}" for cell in cells) + " |")
    return "\n".join(lines)


def seeds() -> str:
    """Return a table of the smallest and largest difference over seeds for each of the four claims."""
    rows = [row for row in record("arms")["rows"] if row["measure"].startswith("seed ")]
    lines = ["| over seeds | smallest | largest |", "|---|---|---|"]
    for column in dict.fromkeys(row["measure"].rpartition(": ")[2] for row in rows):
        estimates = [row["estimate"] for row in rows if row["measure"].endswith(f": {column}")]
        lines.append(f"| {column} | {_three(min(estimates), '+')} | {_three(max(estimates), '+')} |")
    return "\n".join(lines)


def pairs(name: str, one: str, other: str, *titles: str) -> str:
    """Return a table of every measure of a record for two encoders and their difference, under four column titles."""
    lines = [f"| {' | '.join(titles)} |", "|---|---|---|---|"]
    for measure in dict.fromkeys(row["measure"] for row in record(name)["rows"]):
        cells = [number(f"{name}; {measure}; {subject}") for subject in (one, other, f"{one} - {other}")]
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    return "\n".join(lines)


def source(*names: str) -> str:
    """Return the commands of records, and their images, versions and files."""
    contents = [record(name) for name in names]
    first = contents[0]
    commands = "\n".join(f"    {content['command']}" for content in contents)
    versions = ", ".join(f"{package} {version}" for package, version in first["versions"].items())
    files = ", ".join(f"`docs/records/{name}.json`" for name in names)
    return (
        f"{commands}\n\n"
        f"Printed on {first['images']['count']:,} images of {first['images']['name']} "
        f"(fingerprint {first['images']['fingerprint']}) with {versions}; kept in {files}."
    )


def benchmark(dataset: str) -> str:
    """Return a table of the records of a data set's main split: a row a task, a column an encoder; and their facts."""
    cells = [cell for cell in _benchmarked(dataset) if cell.split.kind != "domain"]
    encoders = _encoders(cells)
    lines = [f"| task | chance | {' | '.join(encoders)} |", "|---|---:|" + "---:|" * len(encoders)]
    for task in dict.fromkeys(cell.task for cell in cells):
        of_task = [cell for cell in cells if cell.task == task]
        lines.append(f"| {_task_title(task)} | {_chance_of(of_task)} | {' | '.join(_values(of_task, encoders))} |")
    return "\n".join([*lines, "", _facts(cells)])


def domains(dataset: str, task: str) -> str:
    """Return a table of the records of a task on a data set: a row a split, a column an encoder."""
    cells = [cell for cell in _benchmarked(dataset) if cell.task == task]
    if not cells:
        raise RecordError(f"results/ has no record of the task '{task}' on '{dataset}'")
    encoders = _encoders(cells)
    head = f"| {_task_title(task)} | images | chance | {' | '.join(encoders)} |"
    lines = [head, "|---|---:|---:|" + "---:|" * len(encoders)]
    for split in dict.fromkeys(cell.split.name for cell in cells):
        of_split = [cell for cell in cells if cell.split.name == split]
        cells_of_row = [split, f"{of_split[0].split.tested:,}", _chance_of(of_split), *_values(of_split, encoders)]
        lines.append(f"| {' | '.join(cells_of_row)} |")
    return "\n".join(lines)


def _benchmarked(dataset: str) -> list[Cell]:
    """Return the records of a data set in ``results/``, by its name there."""
    found = [cell for cell in find_records([RESULTS]).cells if cell.dataset.name == dataset]
    if not found:
        names = dict.fromkeys(cell.dataset.name for cell in find_records([RESULTS]).cells)
        raise RecordError(f"results/ has no record of '{dataset}'; it has {', '.join(names)}")
    versions = {(cell.dataset.fingerprint, cell.seed) for cell in found}
    if len(versions) > 1:
        raise RecordError(f"results/ has records of {len(versions)} versions or seeds of '{dataset}'")
    return found


def _encoders(cells: Iterable[Cell]) -> list[str]:
    """Return the names of encoders, those first that others are read against: untrained and hand-made ones last."""
    names = dict.fromkeys(cell.encoder.name for cell in cells)
    return sorted(names, key=lambda name: (name.startswith("reference/"), name))


def _task_title(task: str) -> str:
    return find_task(task).title


def _chance_of(cells: Sequence[Cell]) -> str:
    return "" if cells[0].chance is None else _three(cells[0].chance)


def _values(cells: Iterable[Cell], encoders: Iterable[str]) -> list[str]:
    by_encoder = {cell.encoder.name: cell.value for cell in cells}
    return [_full(by_encoder[name].model_dump()) if name in by_encoder else "" for name in encoders]


def _facts(cells: Sequence[Cell]) -> str:
    """Return a sentence on the split, the images and the versions behind a table."""
    split, dataset = cells[0].split, cells[0].dataset
    fitted = "each tested by what the other folds fitted" if split.kind == "folds" else f"{split.fitted:,} to fit on"
    resampled = "" if split.resampled == "image" else f", {split.groups:,} {split.resampled}s, which intervals resample"
    versions = ", ".join(f"{package} {version}" for package, version in cells[0].versions.items())
    return (
        f"{split.name}: {split.tested:,} images to test, {fitted}{resampled}; {dataset.classes:,} classes. "
        f"Main number: {cells[0].main}, with 95 % intervals. Measured with {versions}."
    )


RATES: Mapping[str, float] = {
    "core seconds to decode and resize a JPEG of 500 x 375": 0.003,
    "images of ViT-B/16 a second on one GPU": 1000,
    "dollars a core hour": 0.05,
    "dollars a GPU hour": 2.5,
}
"""Assumptions of docs/scale.md; its text says where each comes from."""


def scale() -> str:
    """Return a table of what images cost by their number: the first row measured, the others computed from it."""
    content = record("scale")
    count, steps, disk = content["count"], content["steps"], content["disk"]
    decode, rate, core, gpu = RATES.values()
    lines = [
        "| images | list | read, write, small pictures | decode | encode | store | index of codes | dollars |",
        "|---" * 8 + "|",
    ]
    listing, extracting = (steps[name]["processor_seconds"] for name in ("list", "extract"))
    row_bytes = sum(disk[part] for part in ("labels", "marks")) / count
    for images in (10**6, 10**8, 10**9):
        times = images / count
        core_hours = (extracting * times + decode * images) / 3600
        gpu_hours = images / rate / 3600
        cells = (
            f"10{_SUPERSCRIPT[len(str(images)) - 1]}",
            _duration(listing * times),
            f"{_duration(extracting * times)} of a core",
            f"{_duration(decode * images)} of a core",
            f"{_duration(images / rate)} of a GPU",
            _bytes(images * (4 * 768 + row_bytes)),
            _bytes(1.25 * images * (96 + 8)),
            f"{core_hours * core + gpu_hours * gpu:,.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    side, named = content["picture_side"], {name: _bytes(size) for name, size in disk.items()}
    took = {name: _duration(step["seconds"]) for name, step in steps.items()}
    memory = {name: f"{step['peak_mib']:,.0f} MiB" for name, step in steps.items()}
    measured = (
        f"Measured: {count:,} JPEGs of {side} x {side} in one tar, by `{content['encoder']}` (432 numbers), on "
        f"{content['cores']} cores.",
        f"Listing took {took['list']} and {memory['list']};",
        f"extracting, with the listing, {took['extract']} and {memory['extract']} at its peak;",
        f"the first search, with listing and index, {took['index']} and {memory['index']};",
        f"another search {took['search']}, most of it listing.",
        f"On the disk: vectors {named['vectors']}, keys and labels {named['labels']}, marks {named['marks']}, index "
        f"{named['index']}.",
    )
    assumed = (
        f"Assumed, for vectors of 768 numbers: {'; '.join(f'{value:,g} {name}' for name, value in RATES.items())}.",
        "The core seconds were measured on the machine of benchmarks/RESULTS.md.",
        "The rate of a GPU is a round number below what others publish (clip-retrieval 1,100 images a second from",
        "files on an A100; timm 2,841 a second without decoding on an RTX 4090); no GPU was at hand to measure it.",
        "Prices are round numbers that vary threefold between providers, for cores and GPUs that are never idle.",
    )
    return "\n".join([*lines, "", " ".join(measured), "", " ".join(assumed)])


_SUPERSCRIPT = {6: "⁶", 8: "⁸", 9: "⁹"}


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} bytes"


BLOCKS: Mapping[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        overview,
        sentences,
        checks,
        table,
        depth,
        claims,
        curve,
        shared,
        verdicts,
        inside,
        learned,
        agreement,
        explanation,
        arms,
        seeds,
        scale,
        pairs,
        source,
        benchmark,
        domains,
    )
}


def block(expression: str) -> str:
    """Return the block that an expression names: ``function; argument; ...``."""
    name, *arguments = (part.strip() for part in expression.split(";"))
    if name not in BLOCKS:
        raise RecordError(f"there is no block '{name}'; there are {', '.join(BLOCKS)}")
    return BLOCKS[name](*arguments)


# Pages


def render(text: str) -> str:
    """Return a page with the numbers of the records in the place of those it has."""
    split = re.search(r"(?m)^ *<!-- n: ", text)
    if split is not None:
        line = text.count("\n", 0, split.start()) + 1
        raise RecordError(f"line {line} begins with a comment, which would end the paragraph: break it elsewhere")
    text = NUMBER.sub(lambda match: f"<!-- n: {match[1]} -->{number(match[1])}<!-- /n -->", text)
    text = BLOCK.sub(lambda match: f"<!-- numbers: {match[1]} -->\n\n{block(match[1])}\n\n<!-- /numbers -->", text)
    for mark in ("n", "numbers"):
        if text.count(f"<!-- {mark}: ") != text.count(f"<!-- /{mark} -->"):
            raise RecordError(f"a comment '{mark}:' is not closed by '/{mark}', or one is closed that is not open")
    return text


def for_pypi(readme: str) -> str:
    """Return the README as a package index can show it: without pictures, and files named instead of linked.

    An index shows the text alone. It has none of the repository's files, and the project has no public address to
    link them from; an index also drops pictures that are embedded as ``data:`` addresses.
    """
    text = re.sub(r"<!--.*?-->\n?", "", readme, flags=re.DOTALL)
    text = re.sub(r"!\[[^\]]*\]\((?!https?://)[^)]*\)\n*", "", text)

    def named(link: re.Match[str]) -> str:
        label, path = link[1].strip("`"), link[2]
        return f"`{path}`" if label in (path, Path(path).name) else f"{link[1]} (`{path}`)"

    text = re.sub(r"\[([^\]]+)\]\((?!https?://|#)([^)]+)\)", named, text)
    return re.sub(r"\n{3,}", "\n\n", text)


def pages() -> list[Path]:
    """Return the pages that may hold numbers."""
    documentation = sorted(page for page in (ROOT / "docs").glob("**/*.md") if page != PYPI)
    return [ROOT / "README.md", *documentation, ROOT / "embprobe" / "encoders" / "bundled_weights" / "README.md"]


def rendered() -> dict[Path, str]:
    """Return every page as the records have it.

    Raises:
        RecordError: A page asks for a number that no record holds; the message names the page.
    """
    texts = {}
    for page in pages():
        try:
            texts[page] = render(page.read_text(encoding="utf-8"))
        except RecordError as error:
            raise RecordError(f"{page.relative_to(ROOT)}: {error}") from None
    return {**texts, PYPI: for_pypi(texts[ROOT / "README.md"])}


def differences() -> str:
    """Return the pages' differences from their records as one diff, empty if there are none."""
    lines: list[str] = []
    for page, text in rendered().items():
        name = str(page.relative_to(ROOT))
        now = page.read_text(encoding="utf-8") if page.exists() else ""
        lines += difflib.unified_diff(now.splitlines(), text.splitlines(), name, f"{name} (records)", lineterm="", n=0)
    return "\n".join(lines)


# Making records


def make_record(name: str, workspace: Path) -> None:
    """Run the command of a record and write the record."""
    command = [*COMMANDS[name].split(), "--json", "--workspace", str(workspace)]
    done = subprocess.run([sys.executable, "-m", "embprobe", *command], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"embprobe {COMMANDS[name]} failed:\n{done.stderr}")
    write_record(name, json.loads(done.stdout))


def write_record(name: str, result: Mapping[str, Any]) -> None:
    """Write a record from the JSON that its command printed."""
    if name == "compare":
        encoders, rows = dict(result["encoders"]), list(_comparison_rows(result))
    else:
        every = {_encoder_name(spec): spec["fingerprint"] for spec in result["encoders"]}
        encoders = {name: mark for name, mark in every.items() if "layers" not in result or ",layer=" not in name}
        rows = [
            _kept(row)
            for row in result["results"]
            if not COMMANDS[name].startswith("study")
            or row["measure"] in LEARNED
            or (row["key"]["kind"] == "questions" and row["against"] is None)
        ]
    conclusions = result.get("conclusions", {})
    content: dict[str, Any] = {
        "command": f"embprobe {COMMANDS[name]}",
        "versions": result.get("versions") or _versions(),
        "images": result["images"],
        "encoders": encoders,
        "seed": result["seed"],
    }
    if conclusions.get("key"):
        headline = [row["measure"] for row in rows if row["key"] == _plain(conclusions["key"])]
        content["headline"] = headline[0]
    if conclusions:
        content["sentences"] = conclusions["sentences"]
        content["checks"] = [{"passed": check["passed"], "text": check["text"]} for check in conclusions["checks"]]
    if "claims" in result:
        content["claims"] = [
            {"sentence": claim["sentence"], "verdict": claim["verdict"]}
            | ({} if claim["difference"] is None else _kept(claim["difference"]))
            | ({} if claim["beside"] is None else {"beside": _interval(claim["beside"])})
            for claim in result["claims"]
        ]
    _write(name, content, rows)


def write_arms(path: Path) -> None:
    """Write the record of the arms from the file that ``scripts/arms.py`` wrote."""
    rows = [
        {"measure": f"{arm['arm']}: {claim['difference']['attribute']}", "encoder": claim["a"], "against": claim["b"]}
        | {name: round(claim["difference"][name], 6) for name in ("estimate", "low", "high", "p_adjusted")}
        | {"verdict": claim["verdict"]}
        for arm in json.loads(path.read_text(encoding="utf-8"))
        for claim in arm["claims"]
    ]
    _write("arms", {"command": record("arms")["command"], "versions": _versions()}, rows)


def _write(name: str, content: Mapping[str, Any], rows: Iterable[Row]) -> None:
    """Write a record with one row a line, so that a change of one number is a change of one line."""
    head = json.dumps(content, indent=1, ensure_ascii=False)[:-2]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    RECORDS.mkdir(exist_ok=True)
    (RECORDS / f"{name}.json").write_text(f'{head},\n "rows": [\n{lines}\n ]\n}}\n', encoding="utf-8")


def _kept(row: Row) -> dict[str, Any]:
    """Return the columns of a row that pages show, numbers with six digits."""
    kept = {column: row[column] for column in COLUMNS}
    numbers = {name: round(value, 6) for name, value in kept.items() if isinstance(value, float)}
    return {**kept, **numbers, "key": _plain(row["key"])}


def _interval(row: Row) -> dict[str, float]:
    """Return an estimate with its interval, with six digits."""
    return {name: round(row[name], 6) for name in ("estimate", "low", "high")}


def _plain(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if value is not None}


def _comparison_rows(result: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Make rows of ``embprobe compare`` like those of a probe."""

    def row(measure: str, encoder: str, against: str | None, estimate: Row) -> dict[str, Any]:
        numbers = {name: round(estimate[name], 6) for name in ("estimate", "low", "high")}
        return {"measure": measure, "encoder": encoder, "against": against, **numbers, "groups": estimate["groups"]}

    for pair in result["agreement"]:
        yield {**row(pair["measure"], pair["a"], pair["b"], pair["found"]), "chance": round(pair["chance"], 6)}
    for half in result["disagreement"]:
        for shared in half["sharing"]:
            of_pairs = row(f"pairs: {shared['attribute']}", half["near"], None, shared["share"])
            yield {**of_pairs, "matched": round(shared["matched"], 6), "distance": shared["distance"]}
    for pair in result["contrast"]:
        yield row(f"pairs: {pair['attribute']}", pair["a"], pair["b"], pair["difference"])
    for pair in result["explanation"]:
        yield row(pair["attribute"], pair["a"], None, pair["of_a"])
        yield row(pair["attribute"], pair["b"], None, pair["of_b"])
        yield row(pair["attribute"], pair["a"], pair["b"], pair["difference"])


def _encoder_name(spec: Mapping[str, Any]) -> str:
    name = f"{spec['family']}/{spec['model']}"
    return f"{name},{spec['options']}" if spec.get("options") else name


def _versions() -> dict[str, str]:
    """Return the versions behind a command that prints none."""
    from importlib.metadata import version

    import embprobe

    return {"embprobe": embprobe.__version__, **{name: version(name) for name in ("torch", "numpy", "scikit-learn")}}


def main() -> None:
    """Parse the command line, and render, check or record."""
    parser = argparse.ArgumentParser(description="Render the numbers of the documentation from records.")
    parser.add_argument("action", nargs="?", choices=("render", "record"), default="render")
    parser.add_argument("names", nargs="*", choices=[[], *COMMANDS], metavar="RECORD", help=", ".join(COMMANDS))
    parser.add_argument("--check", action="store_true", help="write nothing, fail with a diff")
    parser.add_argument("--workspace", type=Path, default=Path("embprobe-workspace"), help="of the commands")
    parser.add_argument("--arms", type=Path, help="record this arms.json alone")
    arguments = parser.parse_args()
    try:
        if arguments.arms:
            write_arms(arguments.arms)
        elif arguments.action == "record":
            for name in arguments.names or [name for name in COMMANDS if name not in IF_NAMED]:
                print(f"embprobe {COMMANDS[name]}", flush=True)
                make_record(name, arguments.workspace.resolve())
        if arguments.check:
            if diff := differences():
                raise SystemExit(f"{diff}\nThe pages differ from docs/records: python scripts/render_docs.py")
            return
        for page, text in rendered().items():
            if not page.exists() or page.read_text(encoding="utf-8") != text:
                page.write_text(text, encoding="utf-8")
                print(page.relative_to(ROOT))
    except RecordError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
