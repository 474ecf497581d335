"""The table: paired differences, a baseline, and refusals to compare what is not comparable."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from embprobe.benchmarking.run import Ran, run_benchmark
from embprobe.benchmarking.table import COLUMNS, Benchmark, Line, csv_of, row_of
from embprobe.benchmarking.tasks import find_task
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError, UsageError
from embprobe.statistics import holm, resample
from tests.benchmarking.planted import encoder, flowers, session


@pytest.fixture
def ran(workspace: Workspace) -> Ran:
    dataset = flowers({"rose": 100, "iris": 100, "lily": 100})
    encoders = [
        encoder(name, dataset, noise=noise, seed=i)
        for i, (name, noise) in enumerate((("a", 0.3), ("b", 0.9), ("c", 0.95)))
    ]
    return run_benchmark([dataset], encoders, [find_task("knn-1"), find_task("gda")], session(workspace))


def test_differences_are_paired_over_images_and_corrected_over_the_split(ran: Ran) -> None:
    table = Benchmark.of(ran)
    differences = table.differences()
    assert len(differences) == 2 * 3
    line = Line("flowers", "train → test", "knn-1")
    (one,) = [each for each in differences if (each.line, each.encoder, each.against) == (line, "a", "b")]
    scores = np.stack([ran.scores[table.lines[line][name]].values for name in ("a", "b")], axis=1)
    by_hand = resample(scores, ran.scores[0].groups, seed=0).difference(0, 1)
    assert (one.estimate, one.low, one.high, one.p) == (by_hand.estimate, by_hand.low, by_hand.high, by_hand.p)
    assert [each.p_adjusted for each in differences] == holm([each.p for each in differences])
    assert one.p_adjusted < 0.05 and one.estimate > 0.2
    assert one.detectable == pytest.approx(2.8 * (one.high - one.low) / 3.92)


def test_a_baseline_is_subtracted_from_all_others(ran: Ran) -> None:
    table = Benchmark.of(ran, baseline="b")
    assert {(each.encoder, each.against) for each in table.differences()} == {("a", "b"), ("c", "b")}
    with pytest.raises(UsageError, match="The baseline 'x' is none of the encoders: a, b, c"):
        Benchmark.of(ran, baseline="x")


def test_encoders_that_were_tested_on_other_images_are_not_compared(ran: Ran) -> None:
    first = ran.scores[0]
    other = replace(first, keys=[*first.keys[1:], "another"])
    mixed = replace(ran, scores=[other, *ran.scores[1:]])
    with pytest.raises(EmbprobeError, match="Encoders were tested on other images of 'flowers'"):
        Benchmark.of(mixed).differences()


def test_an_empty_table_says_why(ran: Ran) -> None:
    with pytest.raises(EmbprobeError, match="No cell of this benchmark could be scored: no task is possible"):
        Benchmark.of(replace(ran, cells=[], scores=[], paths=[]))


def test_rows_frame_and_csv_have_the_same_numbers(ran: Ran) -> None:
    table = Benchmark.of(ran)
    frame = table.to_frame()
    assert list(frame.columns) == list(COLUMNS) and frame["estimate"].tolist() == [c.value.estimate for c in ran.cells]
    read = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [float(row["estimate"]) for row in read] == frame["estimate"].tolist()
    json = table.as_json()
    assert [cell["numbers"]["accuracy"]["estimate"] for cell in json["cells"]] == frame["estimate"].tolist()
    assert json["differences"][0].keys() >= {"dataset", "split", "task", "encoder", "against", "estimate", "detectable"}


def test_names_that_a_spreadsheet_would_run_are_quoted(ran: Ran) -> None:
    cell = ran.cells[0]
    hostile = cell.model_copy(update={"dataset": cell.dataset.model_copy(update={"name": "=HYPERLINK(1)"})})
    assert "'=HYPERLINK(1)" in csv_of([row_of(hostile)])
