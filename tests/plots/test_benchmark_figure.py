"""The figures of a benchmark: panels, lines of tasks, markers, chance, and accuracy under a shift."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embprobe.benchmarking.cell import Cell, DatasetFacts, EncoderFacts, SplitFacts, Value
from embprobe.benchmarking.split import Kind
from embprobe.benchmarking.table import Benchmark
from embprobe.embeddings.workspace import Workspace
from embprobe.plots import benchmark, robustness
from embprobe.plots.benchmark import save_benchmark
from embprobe.plots.robustness import ShiftedAccuracy
from embprobe.plots.style import MARKERS, PALETTE, figure
from embprobe.statistics import Robustness

A, B, C = "a/x", "b/y", "reference/pixels"


def cell(
    encoder: str,
    estimate: float,
    *,
    dataset: str = "pets",
    split: str = "train → test",
    kind: Kind = "official",
    task: str = "linear-probe",
    main: str = "accuracy",
    card: str = "",
    fitted_on: str = "",
    classes: int = 4,
) -> Cell:
    """A cell of 100 images with an interval of ± 0.05, and chance at 0.25 unless it is of retrieval."""
    value = Value(estimate=estimate, low=estimate - 0.05, high=estimate + 0.05)
    return Cell(
        fingerprint="f",
        dataset=DatasetFacts(name=dataset, card=card, fingerprint="f", images=200, label="category", classes=classes),
        split=SplitFacts(
            name=split, kind=kind, fitted=100, tested=100, groups=90, resampled="image", fitted_on=fitted_on
        ),
        encoder=EncoderFacts(name=encoder, fingerprint=encoder, dimension=3),
        task=task,
        unit="accuracy" if main != "recall@1" else main,
        main=main,
        numbers={main: value} if main == "recall@1" else {main: value, "accuracy": value},
        chance=None if main == "recall@1" else 0.25,
        seed=0,
        seconds=1,
        device="cpu",
        versions={},
    )


def table(*cells: Cell) -> Benchmark:
    return Benchmark(cells, [], [])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Figure, list[Axes]]]:
    """The panels that are drawn, and their figure."""
    kept: list[tuple[Figure, list[Axes]]] = []

    @contextmanager
    def keep(**options: Any) -> Iterator[tuple[Figure, list[Axes]]]:
        with figure(**options) as (canvas, axes):
            yield canvas, axes
            kept.append((canvas, canvas.axes))

    monkeypatch.setattr(benchmark, "figure", keep)
    return kept


def points(axis: Axes) -> list[tuple[float, float]]:
    return [tuple(float(np.ravel(of)[0]) for of in bar[0].get_data()) for bar in axis.containers]  # type: ignore[misc]


def chances(axis: Axes) -> list[list[float]]:
    """The heights between which upright lines lie at 0.25, the chance of all cells."""
    found = [segment for lines in axis.collections for segment in lines.get_segments()]  # type: ignore[attr-defined]
    return [segment[:, 1].tolist() for segment in found if np.array_equal(segment[:, 0], [0.25, 0.25])]


def test_a_panel_has_a_line_a_task_and_on_it_every_encoder_with_its_interval_beside_chance(
    workspace: Workspace, drawn: list[tuple[Figure, list[Axes]]]
) -> None:
    cells = [cell(A, 0.9), cell(B, 0.7), cell(A, 0.6, task="zero-shot")]
    [path] = save_benchmark(table(*cells), workspace)
    assert path.name == "benchmark-pets.png" and path.is_file() and path.with_suffix(".svg").is_file()
    [(canvas, [axis])] = drawn
    assert axis.get_title(loc="left") == "pets: train → test" and axis.get_xlabel() == "accuracy"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["linear probe", "zero-shot"]
    # two encoders lie 0.64 / 2 apart: 0.16 above and below their task's line
    assert np.allclose(points(axis), [(0.9, -0.16), (0.7, 0.16), (0.6, 0.84)])
    ends = sorted(float(np.ravel(cap.get_xdata())[0]) for cap in axis.containers[0][1])
    assert ends == pytest.approx([0.85, 0.95])
    assert chances(axis) == [[-0.5, 0.5], [0.5, 1.5]]
    assert [text.get_text() for text in canvas.legends[0].get_texts()] == [A, B]
    assert "95 % intervals over 90 images" in canvas.get_suptitle()


def test_every_data_set_has_a_panel_of_its_main_split_and_retrieval_has_no_chance(
    workspace: Workspace, drawn: list[tuple[Figure, list[Axes]]]
) -> None:
    cells = [
        cell(A, 0.9),
        cell(A, 0.5, split="ink, fitted on the other styles", kind="domain"),
        cell(A, 0.8, dataset="birds", main="mean per class"),
        cell(A, 0.4, dataset="scenes", split="all images", task="image-to-text", main="recall@1"),
    ]
    save_benchmark(table(*cells), workspace)
    [(canvas, axes)] = drawn
    assert [axis.get_title(loc="left").partition(":")[0] for axis in axes] == ["pets", "birds", "scenes"]
    assert [axis.get_xlabel() for axis in axes] == ["accuracy", "mean accuracy per class", "recall@1"]
    assert [[round(x, 2) for x, _ in points(axis)] for axis in axes] == [[0.9], [0.8], [0.4]]
    assert [len(chances(axis)) for axis in axes] == [1, 1, 0]


def test_ten_encoders_on_ten_data_sets_all_look_different(
    workspace: Workspace, drawn: list[tuple[Figure, list[Axes]]]
) -> None:
    names = [*(f"family/model-of-a-rather-long-name-{i}" for i in range(9)), "_private/x"]
    cells = [cell(name, 0.5, dataset=f"set-{i}") for i in range(10) for name in names]
    [path] = save_benchmark(table(*cells), workspace)
    assert path.name == "benchmark-10-data-sets.png"
    [(canvas, axes)] = drawn
    assert len(axes) == 10 and len(canvas.legends[0].get_texts()) == 10
    looks = {(bar[0].get_color(), bar[0].get_marker()) for bar in axes[0].containers}
    assert len(looks) == 10 and (PALETTE[0], MARKERS[0]) in looks


def test_another_ten_data_sets_keep_the_figure_of_the_first(workspace: Workspace) -> None:
    def of(name: str) -> Benchmark:
        return table(*(cell(A, 0.5, dataset=f"{name}-{i}") for i in range(4)))

    [first], [second], [again] = [save_benchmark(of(name), workspace) for name in ("one", "two", "one")]
    assert first == again != second and first.is_file() and second.is_file()


@pytest.fixture
def shifts(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """What each robustness figure is given."""
    given: list[Mapping[str, Any]] = []

    def keep(points: Sequence[ShiftedAccuracy], line: Robustness | None, *arguments: object, **names: str) -> None:
        given.append({"points": points, "line": line, **names})
        robustness.plot_robustness(points, line, *arguments, **names)  # type: ignore[arg-type]

    monkeypatch.setattr(benchmark, "plot_robustness", keep)
    return given


def test_a_domain_is_drawn_against_the_main_split_by_the_first_task_that_all_encoders_have(
    workspace: Workspace, shifts: list[Mapping[str, Any]]
) -> None:
    domain: Any = {"split": "ink, fitted on the other styles", "kind": "domain"}
    cells = [cell(A, 0.9), cell(A, 0.4, **domain)]  # the linear probe failed for the others
    for name, inside, shifted in [(A, 0.8, 0.5), (B, 0.7, 0.3), (C, 0.6, 0.2)]:
        cells += [cell(name, inside, task="gda", main="mean per class"), cell(name, shifted, task="gda", **domain)]
    paths = save_benchmark(table(*cells), workspace)
    assert [path.name.partition("-")[0] for path in paths] == ["benchmark", "robustness"] and paths[1].is_file()
    [given] = shifts
    assert given["inside"] == "pets, train → test"
    assert given["shifted"] == "pets, ink, fitted on the other styles (GDA)"
    assert [(p.encoder, p.inside.estimate, p.shifted.estimate) for p in given["points"]] == [
        (A, 0.8, 0.5),
        (B, 0.7, 0.3),
        (C, 0.6, 0.2),
    ]
    assert (given["points"][0].inside.images, given["points"][0].inside.groups) == (100, 90)
    assert given["line"] is not None and {p.role for p in given["points"]} == {"subject"}


def test_a_set_that_was_tested_by_anothers_images_is_drawn_against_that_one_without_a_line_of_two(
    workspace: Workspace, shifts: list[Mapping[str, Any]]
) -> None:
    elsewhere: Any = {"dataset": "cifar-10.1", "split": "fitted on cifar-10", "kind": "elsewhere"}
    cells = []
    for name, inside, shifted in [(A, 0.9, 0.8), (B, 0.8, 0.6)]:
        cells += [
            cell(name, 0.1),  # another data set
            cell(name, inside, dataset="mine", card="cifar-10"),
            cell(name, shifted, card="cifar-10.1", fitted_on="cifar-10", **elsewhere),
        ]
    save_benchmark(table(*cells), workspace)
    [given] = shifts
    assert [(p.inside.estimate, p.shifted.estimate) for p in given["points"]] == [(0.9, 0.8), (0.8, 0.6)]
    assert given["line"] is None and given["inside"] == "mine, train → test"


def test_numbers_of_classes_stand_beside_sets_that_differ_in_them(
    workspace: Workspace, shifts: list[Mapping[str, Any]]
) -> None:
    elsewhere: Any = {"dataset": "imagenet-r", "split": "fitted on imagenet-1k", "kind": "elsewhere", "classes": 200}
    cells = [
        cell(A, 0.8, dataset="imagenet-1k", card="imagenet-1k", classes=1000),
        cell(A, 0.6, card="imagenet-r", fitted_on="imagenet-1k", **elsewhere),
    ]
    save_benchmark(table(*cells), workspace)
    assert [(given["inside"], given["shifted"]) for given in shifts] == [
        ("imagenet-1k, train → test, 1,000 classes", "imagenet-r, fitted on imagenet-1k, 200 classes (linear probe)")
    ]


def test_encoders_of_the_same_accuracy_have_no_line_and_a_task_that_one_lacks_no_figure(
    workspace: Workspace, shifts: list[Mapping[str, Any]]
) -> None:
    domain: Any = {"split": "ink, fitted on the other styles", "kind": "domain"}
    same = [each for name in (A, B, C) for each in (cell(name, 0.5), cell(name, 0.5, **domain))]
    save_benchmark(table(*same), workspace)
    assert [given["line"] for given in shifts] == [None]
    assert len(save_benchmark(table(*same[:-1]), workspace)) == 1  # C has no cell of the domain


def test_figures_that_cannot_be_written_are_left_out_with_a_warning(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with caplog.at_level(logging.WARNING):
        assert save_benchmark(table(cell(A, 0.5)), workspace) == []
    assert "could not be written: No space left on device" in caplog.text
