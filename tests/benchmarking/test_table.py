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
from embprobe.encoders.given import given_vectors
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


def test_letters_are_shared_by_the_undecided(ran: Ran) -> None:
    table = Benchmark.of(ran)
    letters = table.letters()
    for each in table.differences():
        shared = set(letters[each.line][each.encoder]) & set(letters[each.line][each.against])
        assert bool(shared) == (each.p_adjusted >= 0.05)
    assert not Benchmark.of(ran, baseline="b").letters()


def test_the_mean_over_data_sets_counts_each_the_same(workspace: Workspace) -> None:
    datasets = [flowers({"rose": 20 * i, "iris": 20 * i}, name=f"set {i}") for i in (1, 2, 3, 4, 5)]
    keys = [key for dataset in datasets for key in dataset.images.keys]
    encoders = []
    for name, noise in (("a", 0.4), ("b", 1.2)):
        parts = [np.asarray(encoder(name, dataset, noise=noise, seed=i).vectors) for i, dataset in enumerate(datasets)]
        encoders.append(given_vectors(name, np.concatenate(parts), keys))
    ran = run_benchmark(datasets, encoders, [find_task("knn-1")], session(workspace))
    of_a, of_b = Benchmark.of(ran).means()
    by_hand = np.mean([cell.value.estimate for cell in ran.cells if cell.encoder.name == "a"])
    assert of_a.over_images.estimate == pytest.approx(by_hand) and len(of_a.datasets) == 5
    assert of_a.over_datasets is not None and of_a.rank is not None and of_b.rank is not None
    assert of_a.rank.estimate + of_b.rank.estimate == pytest.approx(3)  # ranks of two add up to 1 + 2
    few = run_benchmark(datasets[:2], encoders, [find_task("knn-1")], session(workspace))
    assert all(mean.over_datasets is None for mean in Benchmark.of(few).means())
    one = run_benchmark(datasets[:1], encoders, [find_task("knn-1")], session(workspace))
    assert Benchmark.of(one).means() == []


def test_recipes_are_compared_over_seeds_too(workspace: Workspace) -> None:
    dataset = flowers({"rose": 60, "iris": 60})
    encoders = [encoder(f"{of}{i}", dataset, noise=noise, seed=10 * noise_seed + i)
                for noise_seed, (of, noise) in enumerate((("a", 0.5), ("b", 0.8))) for i in range(3)]  # fmt: skip
    table = Benchmark.of(run_benchmark([dataset], encoders, [find_task("knn-1")], session(workspace)))
    recipes = {"a": ["a0", "a1", "a2"], "b": ["b0", "b1", "b2"]}
    (gap,) = table.recipe_gaps(recipes)
    value = {cell.encoder.name: cell.value.estimate for cell in table.cells}
    by_hand = np.mean([value[name] for name in recipes["a"]]) - np.mean([value[name] for name in recipes["b"]])
    assert gap.difference.both.estimate == pytest.approx(by_hand)
    width = {name: getattr(gap.difference, name).high - getattr(gap.difference, name).low for name in ("both", "seeds")}
    assert width["both"] > 0 and width["seeds"] > 0
    with pytest.raises(UsageError, match="The recipe 'b' names 'x', which is none of the encoders"):
        table.recipe_gaps({"a": ["a0", "a1"], "b": ["x"]})
    with pytest.raises(UsageError, match="name two"):
        table.recipe_gaps({"a": ["a0", "a1"]})
