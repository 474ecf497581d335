"""A figure that cannot be written takes no answer with it: on the command line, and from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import embprobe as ep
from tests.conftest import Run, encoded, noise, solid

PIXELS = ("-e", "reference/pixels")
BOTH = (*PIXELS, "-e", "reference/color-histogram")
UNWRITTEN = "could not be written: "


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib fails at every figure, as on a full disk or at a font it cannot read."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "figure.png")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)


@pytest.mark.usefixtures("no_figures")
def test_neighbors_are_printed_without_their_sheet(run: Run, photos: Path) -> None:
    query = ("neighbors", photos / "cat" / "d.png", "-i", photos, *PIXELS, "-k", "2")
    ran = run(*query)
    assert ran.code == 0 and "Nearest to d.png" in ran.out
    assert "neighbors-d.png' could not be written: No space left on device." in ran.err and "Figure:" not in ran.err
    document = json.loads(run(*query, "--json").out)
    assert document["figure"] is None and len(document["neighbors"]["reference/pixels"]) == 2


@pytest.mark.usefixtures("no_figures")
def test_a_comparison_and_a_probe_are_printed_and_saved_without_their_figures(
    run: Run, photos: Path, space: Path
) -> None:
    compare = ("compare", photos, *BOTH, "-k", "3", "--pairs", "1")
    ran = run(*compare)
    assert ran.code == 0 and "Do the encoders agree?" in ran.out and UNWRITTEN in ran.err and "Figure:" not in ran.err
    assert "Numbers: " in ran.err and len(list(space.glob("results/*/comparison.json"))) == 1
    assert json.loads(run(*compare, "--json").out)["figures"] == [None]
    ran = run("probe", photos, "-a", "geometry", *PIXELS)
    assert ran.code == 0 and "effective rank" in ran.out and UNWRITTEN in ran.err and "Figure:" not in ran.err
    assert run("report").code == 0


@pytest.mark.usefixtures("no_figures")
def test_a_benchmark_is_printed_without_its_figures(run: Run, photos: Path) -> None:
    ran = run("benchmark", photos, *PIXELS, "--tasks", "knn-1")
    assert ran.code == 0 and "k-NN (1)" in ran.out and UNWRITTEN in ran.err and "Figure:" not in ran.err


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    "arguments",
    [
        ("map", "{photos}", *PIXELS, "--method", "pca"),
        ("preview", "{photos}/cat/d.png", "-a", "color", "-i", "{photos}"),
    ],
    ids=["map", "preview"],
)
def test_where_the_figure_is_the_answer_its_lack_is_a_failure(run: Run, photos: Path, arguments: list[str]) -> None:
    command = [each.replace("{photos}", str(photos)) for each in arguments]
    ran = run(*command)
    assert ran.code == 1 and "No space left on device." in ran.err
    ran = run(*command, "--json")
    assert ran.code == 1 and json.loads(ran.out)["figure"] is None


def test_results_that_cannot_be_saved_are_printed_and_the_command_fails(run: Run, photos: Path, space: Path) -> None:
    assert run("extract", photos, *BOTH).code == 0
    (space / "results").write_text("in the way")
    (space / "figures").write_text("in the way")
    ran = run("probe", photos, "-a", "geometry", *PIXELS, "--json")
    assert ran.code == 1 and json.loads(ran.out)["card"]["attribute"] == "geometry"
    assert ran.err.count(UNWRITTEN) == 2  # the results and the figure
    ran = run("compare", photos, *BOTH, "-k", "3", "--pairs", "1")
    assert ran.code == 1 and "Do the encoders agree?" in ran.out
    ran = run("neighbors", "cat/d.png", "-i", photos, *PIXELS, "-k", "2")
    assert ran.code == 0 and "Nearest to cat/d.png" in ran.out and UNWRITTEN in ran.err


@pytest.mark.usefixtures("no_figures")
def test_python_gives_results_and_logs_a_warning(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there: dict[str, Any] = {"workspace": tmp_path / "space"}
    encoders = ["reference/pixels", "reference/color-histogram"]
    assert ep.probe(str(photos), "geometry", "reference/pixels", workspace=tmp_path / "space").rows
    assert ep.compare(str(photos), encoders, k=3, pairs=1, **there).agreements
    (near,) = ep.neighbors("cat/d.png", str(photos), encoders, draw=True, **there)
    assert near.figure is None and near.by_encoder
    maps = ep.draw_map(str(photos), "reference/pixels", method="pca", **there)
    assert maps.figure is None and maps.table.exists()
    assert [UNWRITTEN in record.getMessage() for record in caplog.records] == [True] * 4


def test_a_query_does_not_overwrite_the_sheet_of_another(run: Run, photos: Path, tmp_path: Path, space: Path) -> None:
    names = ["one/0.png", "two/0.png", "two/日本.png", "two/中国.png", "two/0.bmp"]
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded(noise(i), "PNG" if name.endswith("png") else "BMP"))

    def sheets(*queries: str) -> list[Path]:
        paths = [str(tmp_path / query) for query in queries]
        content = json.loads(run("neighbors", *paths, "-i", photos, *PIXELS, "-k", "1", "--json").out)
        return [Path(each["figure"]) for each in (content if isinstance(content, list) else [content])]

    (first,) = sheets("one/0.png")
    shown = first.read_bytes()
    others = [sheets(name)[0] for name in names[1:]]
    assert first.name == "neighbors-0.png" and first.read_bytes() == shown
    assert len({first, *others}) == len(names) and all(path.exists() for path in others)
    assert all(path.name.startswith("neighbors-") and path.stem != "neighbors-" for path in others)
    assert sheets(*names) == [first, *others]  # the same query has the same sheet
    assert len(list((space / "figures").iterdir())) == len(names)
    solid((1, 2, 3)).save(tmp_path / "one" / "0.png")  # another picture of the same name
    assert sheets("one/0.png")[0] not in (first, *others)
