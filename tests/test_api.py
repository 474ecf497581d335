"""The Python API: what it has, that it is light, and that it does what the commands do."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import embprobe as ep
from embprobe.errors import EmbprobeError, UsageError
from embprobe.probing.context import NotApplicable
from tests.conftest import Run

NAMES = {
    "EmbeddingSet", "Results", "__version__", "benchmark", "check_claims", "compare", "draw_map", "embed",
    "embed_tokens", "intervene",
    "list_encoders", "load_encoder", "load_images", "measures", "neighbors", "probe", "shape_bias", "statistics",
    "write_export", "write_report",
}  # fmt: skip
N = 150


def labelled() -> tuple[dict[str, list[str]], NDArray[np.float64]]:
    """A table of two kinds in two styles, and vectors that differ between the kinds."""
    rng = np.random.default_rng(0)
    kinds, styles = rng.choice(["cat", "dog"], N), rng.choice(["ink", "oil"], N)
    x = rng.normal(size=(N, 16)) + 1.5 * (kinds == "cat")[:, None]
    return {"key": [f"{i:02d}" for i in range(N)], "category": kinds.tolist(), "style": styles.tolist()}, x


@pytest.fixture
def mine() -> ep.EmbeddingSet:
    table, x = labelled()
    return ep.EmbeddingSet.from_arrays({"mine": x, "noise": np.random.default_rng(1).normal(size=(N, 5))}, labels=table)


# --- what there is -----------------------------------------------------------------------------------------------


def test_the_names_are_these() -> None:
    assert set(vars(ep)["__all__"]) == NAMES and set(dir(ep)) >= NAMES


def test_the_import_loads_nothing() -> None:
    code = "import embprobe, sys; print([m for m in ('torch', 'numpy', 'pydantic', 'faiss') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__", "measures", "statistics"}))
def test_every_function_says_what_it_takes_and_gives(name: str) -> None:
    function = getattr(ep, name)
    document = inspect.getdoc(function) or ""
    assert document.splitlines()[0].endswith(".")
    if inspect.isfunction(function):
        parameters = [name for name in inspect.signature(function).parameters if name != "settings"]
        assert [name for name in parameters if f"{name}:" not in document] == []


# --- an embedding set of arrays goes through everything ----------------------------------------------------------


def test_a_probe_of_ones_own_vectors(mine: ep.EmbeddingSet, tmp_path: Path) -> None:
    results = ep.probe(mine, "category", workspace=tmp_path / "space")
    estimates = [row for row in results.rows if not row.is_difference]
    found = {row.encoder: row for row in estimates if str(row.key) == "category decoding, unseen images"}
    assert found["mine"].estimate > 0.9 and found["noise"].estimate < 0.6
    assert {row.role for row in results.rows} == {"subject", "baseline"}
    assert any("reference/pixels, which reads pictures" in reason for reason in results.left_out)
    assert "mine tells the category" in results.headline()
    (folder,) = (tmp_path / "space" / "results").iterdir()
    assert ep.Results.load(folder).headline() == results.headline()
    assert (folder / "figure.png").exists()


def test_what_changes_images_cannot_be_asked_of_vectors_and_the_reason_is_named(
    mine: ep.EmbeddingSet, tmp_path: Path
) -> None:
    with pytest.raises(NotApplicable, match="displacement: it changes images, and 'mine.noise' has vectors and no pic"):
        ep.probe(mine, "color", workspace=tmp_path / "space")
    results = ep.probe(mine, "style", workspace=tmp_path / "space")  # what needs labels alone
    assert {row.key.kind for row in results.rows} == {"attraction", "decoding"}


def test_a_comparison_a_map_neighbours_an_export_and_a_report(mine: ep.EmbeddingSet, tmp_path: Path) -> None:
    space = tmp_path / "space"
    comparison = ep.compare(mine, k=5, workspace=space)
    assert "more with category" in comparison.sentence("mine", "noise")
    maps = ep.draw_map(mine, method="pca", workspace=space)
    assert maps.figure is not None and maps.figure.exists() and maps.layouts["mine"].shape == (N, 2)
    (near,) = ep.neighbors("03", mine, k=3, workspace=space)
    kind = dict(zip(mine.keys(), mine.label("category"), strict=True))["03"]
    assert [n.row.labels["category"] for n in near.by_encoder["mine"]] == [kind] * 3
    assert "03" not in [n.row.key for n in near.by_encoder["mine"]]
    ep.write_export("npy", tmp_path / "out", mine, workspace=space)
    assert np.array_equal(np.load(tmp_path / "out" / "vectors-mine.npy"), mine.vectors["mine"])
    page = ep.write_report(workspace=space).read_text(encoding="utf-8")
    assert "has vectors and no pictures" in page and "<canvas" in page


def test_with_images_what_reads_pictures_is_asked_too(tmp_path: Path) -> None:
    emoji = ep.load_images("bundled/emoji:unseen-drawing").take(range(0, 1200, 20))
    mine = ep.embed(emoji, ["reference/pixels"], workspace=tmp_path / "space")
    brought = ep.EmbeddingSet.from_arrays({"mine": mine.vectors["reference/pixels"]}, keys=mine.keys(), images=emoji)
    results = ep.probe(brought, "geometry", quick=True, workspace=tmp_path / "space")
    rank = {row.encoder: row.estimate for row in results.rows if row.key.target == "effective rank"}
    assert rank["mine"] == pytest.approx(rank["reference/pixels"])  # the card's reference, on the same images


# --- by command --------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    table, x = labelled()
    labels: dict[str, Any] = table
    np.savez(tmp_path / "mine.npz", vectors=x, keys=labels.pop("key"), **labels)
    return tmp_path / "mine.npz"


def test_vectors_of_a_file_go_through_the_commands(run: Run, file: Path, space: Path) -> None:
    name = f"vectors:{file}"
    found = run("probe", "-a", "category", "--quick", "-e", name, "--json")
    assert found.code == 0, found.err
    rows = json.loads(found.out)["results"]
    assert {row["encoder"]: row["estimate"] for row in rows}[name] > 0.9
    assert run("map", "-e", name, "--method", "pca").code == 0
    assert run("neighbors", "03", "-e", name, "-k", "3").code == 0
    assert run("compare", "-e", name, "-e", f"{name},column=vectors").code == 2  # one encoder under two names
    ran = run("report")
    assert ran.code == 0 and (space / "report.html").exists(), ran.err


def test_vectors_beside_images_are_matched_by_key(run: Run, tmp_path: Path, space: Path) -> None:
    folder = tmp_path / "photos"
    for i in range(9):
        path = folder / ("warm" if i % 2 else "cold") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (200, 20 * i, 9 * i * i % 250)).save(path)
    keys = [row.key for row in ep.load_images(str(folder)).rows]
    np.savez(
        tmp_path / "x.npz",
        vectors=np.random.default_rng(0).normal(size=(8, 4)),
        keys=np.array([*keys[:7], "nobody.png"]),
    )
    found = run("compare", str(folder), "-e", f"vectors:{tmp_path / 'x.npz'}", "-e", "reference/pixels", "-k", "2")
    assert "2 of 9 images have no vector in 'vectors:" in found.err and found.err.count("have no vector") == 1
    assert found.code == 0, found.err


def test_careless_requests_are_sentences(run: Run, tmp_path: Path, file: Path) -> None:
    for arguments, message in [
        (("probe", "-a", "category", "-e", "vectors:"), "There is no"),
        (("probe", "-a", "category", "-e", f"vectors:{tmp_path / 'no.npy'}"), "There is no file or folder of vectors"),
        (("probe", "bundled/emoji", "-a", "category", "-e", f"vectors:{file}"), "No image has a vector in"),
        (("neighbors", "nobody", "-e", f"vectors:{file}"), "no image of that key"),
        (("neighbors", "--text", "a cat", "-e", f"vectors:{file}"), "None of the encoders takes text"),
    ]:
        found = run(*arguments)
        assert found.code in (1, 2) and message in found.err and "Traceback" not in found.err, found.err


def test_wrong_names_leave_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean"):
        ep.embed("bundled/emoji", "bundled/clipp", workspace=tmp_path / "space")
    with pytest.raises(EmbprobeError, match="There is no workspace"):
        ep.write_report(workspace=tmp_path / "space")
    assert not (tmp_path / "space").exists()
