"""What was exported is read back with what other people read it with, and compared with what went in."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from embprobe.api import write_export
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError, UsageError
from embprobe.export import TARGETS, ExportTable, check_target
from embprobe.export.huggingface import write_huggingface
from embprobe.export.table import identifiers, label_columns
from embprobe.images import Images, Row, load_images
from embprobe.images.decoding import UnreadableImage
from embprobe.system.files import making
from tests.conftest import Run, encoded, noise, solid

HOSTILE = "../../<script>alert(1)</script>\n=1+1|`x`\ud800"
PRINTED = "../../<script>alert(1)</script>\n=1+1|`x`\\ud800"


def row(key: str, content: bytes | Image.Image, **labels: str) -> Row:
    return Row(key=key, labels=labels, content=key, source=lambda: content)


@pytest.fixture
def table() -> ExportTable:
    """Four rows at 0, 10, 100 and 115 degrees: nearest are 1, 0, 3 and 2. One has no colour."""
    angles = np.deg2rad([0, 10, 100, 115])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    rows = (
        row("a", encoded(solid((255, 0, 0)), "PNG"), color="red", style="flat"),
        row("b", encoded(noise(1, (600, 300)), "JPEG"), color="mixed", style="noisy"),
        row("c", solid((0, 0, 255)), color="", style="flat"),
        row("d", encoded(noise(3), "TIFF"), style="noisy"),
    )
    return ExportTable(
        Images("four", rows), {"x/one": vectors, "x/two": np.float32(3) * vectors[:, :1]}, {"x/one": vectors * 2}
    )


def written(table: ExportTable, to: str, folder: Path) -> Path:
    path = folder / f"out{TARGETS[to].suffix}"
    TARGETS[to].write(table, path)
    return path


# --- each target, read back --------------------------------------------------------------------------------------


def test_atlas_has_labels_small_images_vectors_a_map_and_the_nearest_others(table: ExportTable, tmp_path: Path) -> None:
    table = replace(table, vectors={"x/one": table.vectors["x/one"]}, neighbors=1)
    read = pq.read_table(written(table, "atlas", tmp_path))
    assert read.column_names == [
        *("key", "color", "style", "image", "x_one_x", "x_one_y", "x_one_vector", "x_one_neighbors"),
    ]
    assert read["color"].to_pylist() == ["red", "mixed", "", None]
    assert np.array_equal(np.stack(read["x_one_vector"].to_pylist()).astype(np.float32), table.vectors["x/one"])
    assert read["x_one_x"].to_pylist()[0] == 2.0
    near = read["x_one_neighbors"].to_pylist()
    assert [each["ids"] for each in near] == [[1], [0], [3], [2]]
    # 1 - cos 10 degrees, and 1 - cos 15 degrees
    assert [each["distances"][0] for each in near] == pytest.approx([0.015192, 0.015192, 0.034074, 0.034074], abs=1e-5)
    sizes = [Image.open(io.BytesIO(each["bytes"])).size for each in read["image"].to_pylist()]
    assert sizes == [(8, 8), (256, 128), (8, 8), (8, 8)]


def test_all_others_are_neighbours_where_there_are_fewer_than_asked_for(table: ExportTable, tmp_path: Path) -> None:
    table = replace(table, vectors={"x/one": table.vectors["x/one"]})
    near = pq.read_table(written(table, "atlas", tmp_path))["x_one_neighbors"].to_pylist()
    assert table.neighbors == 15 and [each["ids"] for each in near] == [[1, 2, 3], [0, 2, 3], [3, 1, 0], [2, 1, 0]]


def test_one_image_has_no_neighbours(table: ExportTable, tmp_path: Path) -> None:
    one = ExportTable(table.rows.take([0]), {"x/one": table.vectors["x/one"][:1]})
    near = pq.read_table(written(one, "atlas", tmp_path))["x_one_neighbors"].to_pylist()
    assert near == [{"ids": [], "distances": []}]


def test_atlas_is_opened_on_the_map_that_is_there_or_makes_one_itself(table: ExportTable) -> None:
    table = replace(table, neighbors=0)
    assert list(TARGETS["atlas"].opens(table, Path("my file.parquet"))) == [
        "embedding-atlas 'my file.parquet' --x x_one_x --y x_one_y --image image",
        "embedding-atlas 'my file.parquet' --vector x_two_vector --image image",
    ]


def test_fiftyone_finds_a_file_and_fields_for_every_sample(table: ExportTable, tmp_path: Path) -> None:
    folder = written(table, "fiftyone", tmp_path)
    samples = json.loads((folder / "samples.json").read_text(encoding="utf-8"))["samples"]
    assert [sample["key"] for sample in samples] == ["a", "b", "c", "d"]
    assert [sample.get("color") for sample in samples] == ["red", "mixed", "", None]
    # as they were, but for what is in memory only and for TIFF, which browsers do not show
    assert [Path(sample["filepath"]).suffix for sample in samples] == [".png", ".jpg", ".png", ".png"]
    assert (folder / samples[1]["filepath"]).read_bytes() == table.rows.rows[1].fetch()
    assert Image.open(folder / samples[3]["filepath"]).getpixel((3, 4)) == noise(3).getpixel((3, 4))
    vectors = np.array([sample["x_one_vector"] for sample in samples], np.float32)
    assert np.array_equal(vectors, table.vectors["x/one"])
    assert (samples[0]["x_one_x"], samples[0]["x_one_y"]) == (2.0, 0.0) and "x_two_x" not in samples[0]
    read = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    assert "version" not in read and read["info"]["encoders"]["x_two_vector"] == "x/two"


def test_no_field_is_called_what_a_sample_of_fiftyone_has_itself(table: ExportTable, tmp_path: Path) -> None:
    labels = {"dataset": "1", "_id": "2", "a.b": "3", "$set": "4", "filepath": "/etc/passwd", "": "6"}
    rows = Images("odd", (row("a", solid((1, 2, 3)), **labels),))
    folder = written(ExportTable(rows, {"x/one": table.vectors["x/one"][:1]}), "fiftyone", tmp_path)
    (sample,) = json.loads((folder / "samples.json").read_text(encoding="utf-8"))["samples"]
    del sample["x_one_vector"], sample["tags"], sample["key"]
    assert sample == {
        "filepath": "data/0000/0000000.png",
        **{
            "label_dataset": "1",
            "label_id": "2",
            "a_b": "3",
            "set": "4",
            "label_filepath": "/etc/passwd",
            "label_": "6",
        },
    }


def loaded(folder: Path, cache: Path) -> dict[str, Any]:
    """What the library datasets makes of a folder, in a process elsewhere, for here 'datasets' is a folder of ours."""
    script = f"""
import json, datasets
found = datasets.load_dataset({str(folder)!r}, split="train")
print(json.dumps({{
    "kinds": {{name: str(kind) for name, kind in found.features.items()}},
    "sizes": [image.size for image in found["image"]],
    "rows": found.remove_columns("image").to_list(),
}}))
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cache)}
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=folder.parent, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    read: dict[str, Any] = json.loads(ran.stdout)
    return read


def test_huggingfaces_library_reads_the_folder_and_what_takes_its_place(table: ExportTable, tmp_path: Path) -> None:
    folder = written(table, "huggingface", tmp_path)
    read = loaded(folder, tmp_path / "cache")
    assert read["kinds"]["x_one_vector"] == "List(Value('float32'), length=2)"
    assert read["kinds"]["image"].startswith("Image(") and read["sizes"] == [[8, 8], [600, 300], [8, 8], [8, 8]]
    assert [each["color"] for each in read["rows"]] == ["red", "mixed", "", None]
    vectors = np.array([each["x_one_vector"] for each in read["rows"]], np.float32)
    assert np.array_equal(vectors, table.vectors["x/one"])
    shutil.rmtree(folder)
    written(ExportTable(table.rows.take([1]), {"x/one": table.vectors["x/one"][1:2]}), "huggingface", tmp_path)
    assert [each["key"] for each in loaded(folder, tmp_path / "cache")["rows"]] == ["b"]


def test_a_shard_that_is_full_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embprobe.export.huggingface.SHARD_BYTES", 1)
    rows = Images("many", tuple(row(f"{i:03}", solid((i, 0, 0))) for i in range(250)))
    vectors = np.arange(250, dtype=np.float32)[:, None]
    write_huggingface(ExportTable(rows, {"x/one": vectors}), tmp_path / "out")
    shards = sorted((tmp_path / "out" / "data").iterdir())
    assert [path.name for path in shards] == ["train-00000.parquet", "train-00001.parquet", "train-00002.parquet"]
    assert [pq.read_metadata(path).num_rows for path in shards] == [100, 100, 50]
    keys = [key for path in shards for key in pq.read_table(path)["key"].to_pylist()]
    assert keys == [each.key for each in rows.rows]


def test_large_images_have_row_groups_of_their_own(
    table: ExportTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embprobe.export.huggingface.GROUP_BYTES", len(encoded(noise(1, (600, 300)), "JPEG")))
    file = pq.ParquetFile(written(table, "huggingface", tmp_path) / "data" / "train-00000.parquet")
    groups = [file.read_row_group(i)["key"].to_pylist() for i in range(file.num_row_groups)]
    assert groups == [["a", "b"], ["c", "d"]]


def test_what_huggingface_got_embprobe_reads_again(table: ExportTable, tmp_path: Path) -> None:
    folder = written(table, "huggingface", tmp_path)
    again = load_images(str(folder / "data"))
    assert [each.labels.get("style") for each in again.rows] == ["flat", "noisy", "flat", "noisy"]
    assert again.rows[0].load().getpixel((0, 0)) == (255, 0, 0)


def test_npy_and_its_rows(table: ExportTable, tmp_path: Path) -> None:
    folder = written(table, "npy", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["rows.csv", "vectors-x_one.npy", "vectors-x_two.npy"]
    assert np.array_equal(np.load(folder / "vectors-x_two.npy"), table.vectors["x/two"])
    with (folder / "rows.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [each["key"] for each in rows] == ["a", "b", "c", "d"]
    assert [each["style"] for each in rows] == ["flat", "noisy", "flat", "noisy"]
    assert rows[0]["x_one_x"] == "2"


def test_csv_gives_every_float_back(table: ExportTable, tmp_path: Path) -> None:
    folder = written(table, "csv", tmp_path)
    for encoder, name in (("x/one", "x_one"), ("x/two", "x_two")):
        with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        numbers = [[float(each[v]) for v in each if v.startswith("v")] for each in rows]
        assert np.array_equal(np.array(numbers, np.float32), table.vectors[encoder])
    assert ',"",' in (folder / "x_two.csv").read_text(encoding="utf-8")  # a label that is empty, and below none
    assert '"d",,"noisy",' in (folder / "x_two.csv").read_text(encoding="utf-8")


# --- rows without pictures ---------------------------------------------------------------------------------------


@pytest.fixture
def pictureless(table: ExportTable) -> ExportTable:
    """The same rows, keys and labels alone: reading an image of theirs fails."""

    def nothing() -> bytes:
        raise UnreadableImage("these rows have no pictures")

    rows = tuple(replace(row, source=nothing) for row in table.rows.rows)
    return replace(table, rows=Images("vectors", rows, has_pictures=False))


def test_atlas_without_pictures_has_no_image_column(pictureless: ExportTable, tmp_path: Path) -> None:
    table = replace(pictureless, vectors={"x/one": pictureless.vectors["x/one"]}, neighbors=1)
    path = written(table, "atlas", tmp_path)
    columns = ["key", "color", "style", "x_one_x", "x_one_y", "x_one_vector", "x_one_neighbors"]
    assert pq.read_table(path).column_names == columns
    (line,) = TARGETS["atlas"].opens(table, path)
    assert line == f"embedding-atlas {path} --x x_one_x --y x_one_y --neighbors x_one_neighbors"


def test_huggingface_without_pictures_has_no_image_column(pictureless: ExportTable, tmp_path: Path) -> None:
    folder = written(pictureless, "huggingface", tmp_path)
    read = pq.read_table(folder / "data" / "train-00000.parquet")
    assert read.column_names == ["key", "color", "style", "x_one_x", "x_one_y", "x_one_vector", "x_two_vector"]
    assert read["key"].to_pylist() == ["a", "b", "c", "d"]
    features = json.loads(read.schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == read.column_names
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "4 rows with embeddings" in card and "| `key` | the row's name |" in card and "`image`" not in card


@pytest.mark.parametrize("to", ["npy", "csv"])
def test_plain_files_are_the_same_without_pictures(
    table: ExportTable, pictureless: ExportTable, tmp_path: Path, to: str
) -> None:
    expected, folder = written(table, to, tmp_path / "with"), written(pictureless, to, tmp_path / "without")
    names = sorted(path.name for path in expected.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all((folder / name).read_bytes() == (expected / name).read_bytes() for name in names)


def test_fiftyone_refuses_rows_without_pictures_and_names_the_others(pictureless: ExportTable, tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match="'vectors' has none: export it to atlas, huggingface, npy or csv"):
        written(pictureless, "fiftyone", tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", TARGETS)
def test_hostile_names_are_text_and_never_paths(table: ExportTable, tmp_path: Path, to: str) -> None:
    labels = {HOSTILE: HOSTILE, "v0": "a", "Key": "b", "IMAGE": "c", "x_one_vector": "d"}
    rows = Images(HOSTILE, tuple(row(f"{HOSTILE}{i}", solid((i, 0, 0)), **labels) for i in range(4)))
    inside = tmp_path / "a" / "b" / "c"
    path = written(replace(table, rows=rows), to, inside)
    below = sorted(each for each in tmp_path.rglob("*") if each.is_file())
    assert all(each.is_relative_to(path) for each in below) and not any("script" in str(each) for each in below)
    if to == "atlas":
        read = pq.read_table(path)
        names, values = read.column_names, read[PRINTED].to_pylist()
    elif to == "huggingface":
        read = pq.read_table(path / "data" / "train-00000.parquet")
        names, values = read.column_names, read[PRINTED].to_pylist()
        card = (path / "README.md").read_text(encoding="utf-8")
        assert "<script>" not in card.partition("\n---\n")[2]
        assert json.loads(card.split("---\n")[1])["pretty_name"] == PRINTED
    elif to == "fiftyone":
        names = [*json.loads((path / "samples.json").read_text(encoding="utf-8"))["samples"][0]]
        values = [PRINTED] * 4
        assert "script_alert_1_script_1_1_x_ud800" in names
    else:
        with (path / ("rows.csv" if to == "npy" else "x_one.csv")).open(newline="", encoding="utf-8") as lines:
            found = list(csv.DictReader(lines))
        names, values = list(found[0]), [each[PRINTED] for each in found]
    assert values == [PRINTED] * 4
    assert len({name.casefold() for name in names}) == len(names)
    assert "label_Key" in names and "label_x_one_vector" in names


def test_names_are_made_different() -> None:
    assert list(identifiers(["a/b", "a_b", "A:b", "é"]).values()) == ["a_b", "a_b_2", "A_b_3", "encoder"]
    assert label_columns(["", "label_", "KEY"], ["key"]) == {"": "label_", "label_": "label_label_", "KEY": "label_KEY"}


# --- what must not happen ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", TARGETS)
def test_nothing_is_overwritten(tmp_path: Path, to: str) -> None:
    path = tmp_path / f"out{TARGETS[to].suffix}"
    check_target(to, path)
    path.write_text("mine")
    with pytest.raises(UsageError, match="is there already and is not overwritten"):
        check_target(to, path)
    path.unlink()
    path.mkdir()
    if to == "atlas":
        with pytest.raises(UsageError, match="is there already"):
            check_target(to, path)
    else:
        check_target(to, path)  # an empty folder is nobody's
        (path / "mine").write_text("")
        with pytest.raises(UsageError, match="is there already"):
            check_target(to, path)


def test_a_broken_link_is_something_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is there already"):
        check_target("npy", tmp_path / "out")


def test_every_target_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == list(TARGETS)


def test_unknown_targets_and_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There are: atlas, fiftyone, huggingface, npy, csv"):
        check_target("atlsa", tmp_path / "out")
    with pytest.raises(UsageError, match=r"must end in \.parquet"):
        check_target("atlas", tmp_path / "out")


@pytest.mark.parametrize("to", ["atlas", "fiftyone", "huggingface"])
def test_an_image_that_is_gone_is_named_and_leaves_nothing(table: ExportTable, tmp_path: Path, to: str) -> None:
    def gone() -> bytes:
        raise UnreadableImage("torn in two")

    broken = replace(table.rows.rows[2], key="gone\n.png", source=gone)
    rows = Images("broken", (*table.rows.rows[:2], broken, table.rows.rows[3]))
    with pytest.raises(EmbprobeError, match=r"'gone\\n.png' cannot be read any more \(torn in two\)"):
        written(replace(table, rows=rows), to, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_image_any_more_is_named(table: ExportTable, tmp_path: Path) -> None:
    rows = Images("broken", (row("page", b"<html>"), *table.rows.rows[1:]))
    with pytest.raises(EmbprobeError, match="'page' cannot be read any more"):
        written(replace(table, rows=rows), "huggingface", tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("to", ["atlas", "fiftyone", "huggingface"])
def test_a_process_that_is_killed_leaves_nothing_that_looks_finished(tmp_path: Path, to: str) -> None:
    script = f"""
import os, signal, numpy
from pathlib import Path
from PIL import Image
from embprobe.export import TARGETS, ExportTable
from embprobe.images import Images, Row
def killed():
    os.kill(os.getpid(), signal.SIGKILL)
def row(i):
    return Row(key=str(i), labels={{}}, content=str(i), source=killed if i == 600 else lambda: Image.new("RGB", (2, 2)))
vectors = numpy.random.default_rng(0).standard_normal((700, 2)).astype("float32")
TARGETS[{to!r}].write(ExportTable(Images("x", tuple(map(row, range(700)))), {{"x/y": vectors}}), Path(sys.argv[1]))
"""
    path = tmp_path / f"out{TARGETS[to].suffix}"
    ran = subprocess.run([sys.executable, "-c", f"import sys{script}", path], capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert all(each.name.startswith(".") for each in tmp_path.iterdir())
    assert not path.exists()


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), making(out) as folder:
        (folder / "half").write_text("")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    with making(out) as folder:
        (folder / "whole").write_text("")
        assert list(out.iterdir()) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "whole"]
    with pytest.raises(OSError), making(out) as folder:  # somebody else was faster
        (folder / "other").write_text("")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "whole"]


def test_numbers_that_json_cannot_hold_are_refused(table: ExportTable, tmp_path: Path) -> None:
    vectors = table.vectors["x/one"].copy()
    vectors[2, 0] = np.nan
    with pytest.raises(EmbprobeError, match="The embedding of 'c' by x/one is not finite"):
        written(replace(table, vectors={"x/one": vectors}), "fiftyone", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_images_are_read_a_block_at_a_time(tmp_path: Path) -> None:
    on_disk: list[int] = []

    def source(i: int) -> Callable[[], Image.Image]:
        def read() -> Image.Image:
            (folder,) = tmp_path.glob(".out.*.tmp")
            on_disk.append(sum(path.stat().st_size for path in folder.rglob("*.parquet")))
            return noise(i, (32, 32))

        return read

    rows = tuple(Row(key=str(i), labels={}, content="", source=source(i)) for i in range(300))
    write_huggingface(ExportTable(Images("x", rows), {"x/y": np.ones((300, 2), np.float32)}), tmp_path / "out")
    # 32 x 32 pixels of three bytes, of noise that PNG makes hardly smaller: the first 200 are there before the last
    assert on_disk[0] == 0 and on_disk[299] > 200 * 32 * 32


# --- the commands ------------------------------------------------------------------------------------------------


PIXELS = ("-e", "reference/pixels")


def test_export_says_how_to_open_it(run: Run, photos: Path, tmp_path: Path) -> None:
    code, out, _ = run("export", photos, *PIXELS, "--to", "npy", "--out", tmp_path / "out", "--json")
    read = json.loads(out)
    assert code == 0 and read["images"] == 9 and read["encoders"] == {"reference/pixels": "reference_pixels"}
    assert read["opens"][0] == f"numpy.load('{tmp_path}/out/vectors-reference_pixels.npy')"
    assert np.load(tmp_path / "out" / "vectors-reference_pixels.npy").shape == (9, 432)
    code, _, err = run("export", photos, *PIXELS, "--to", "npy", "--out", tmp_path / "out")
    assert code == 2 and "is there already and is not overwritten" in err


def test_export_draws_the_map_it_is_asked_for(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "noise"
    folder.mkdir()
    for i in range(20):
        noise(i).save(folder / f"{i:02}.png")
    path = tmp_path / "out.parquet"
    code, _, err = run("export", folder, *PIXELS, "--to", "atlas", "--out", path, "--map", "pca", "-k", "3")
    assert code == 0 and f"embedding-atlas {path} --x reference_pixels_x" in err
    table = pq.read_table(path)
    places = np.stack([table["reference_pixels_x"].to_numpy(), table["reference_pixels_y"].to_numpy()], axis=1)
    assert np.isfinite(places).all() and places.std() == pytest.approx(1, abs=0.01)
    assert {len(each["ids"]) for each in table["reference_pixels_neighbors"].to_pylist()} == {3}


def test_what_is_wrong_is_said_before_anything_is_extracted(run: Run, photos: Path, tmp_path: Path) -> None:
    code, _, err = run("export", photos, *PIXELS, "--to", "csv", "--out", tmp_path / "out", "--map", "som")
    assert code == 2 and "There are: umap, tsne, pca, none." in err
    assert not (tmp_path / "space").exists() and not (tmp_path / "out").exists()


def test_atlas_that_is_not_installed_leaves_the_file_and_says_so(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run("atlas", photos, *PIXELS)
    (path,) = tmp_path.rglob("atlas.parquet")
    assert code == 1 and "pip install embedding-atlas" in err and str(path) in err
    assert "needs more than 15 images; there are 9" in err
    assert len(pq.read_table(path)) == 9


@pytest.mark.skipif(os.name != "posix", reason="a script with a shebang")
def test_atlas_is_run_on_the_first_encoders_map(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "embedding-atlas"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{tmp_path}/asked"\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    code, _, err = run("atlas", photos, *PIXELS, "-e", "reference/color-histogram")
    (path,) = tmp_path.rglob("atlas.parquet")
    neighbors = ["--neighbors", "reference_pixels_neighbors", "--image", "image"]
    assert (tmp_path / "asked").read_text().splitlines() == [
        str(path),
        "--vector",
        "reference_pixels_vector",
        *neighbors,
    ]
    assert code == 3 and f"embedding-atlas {path} --vector reference_color_histogram_vector" in err


@pytest.mark.skipif(os.name != "posix", reason="a script with a shebang")
def test_ending_atlas_from_the_keyboard_is_no_failure(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "embedding-atlas"
    program.write_text("#!/bin/sh\nkill -INT $PPID\nsleep 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    code, _, err = run("atlas", photos, *PIXELS)
    assert code == 0 and "Abort" not in err


def test_zeros_are_left_out_where_cosines_are_written_and_kept_elsewhere(tmp_path: Path) -> None:
    """One number an image has no map, and its neighbours can be written."""
    vectors = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    vectors[4] = 0
    mine = EmbeddingSet.from_arrays({"three": vectors, "one": vectors[:, :1]}, keys=[f"{i}" for i in range(20)])
    noted: list[str] = []
    session = Session(Workspace.open(tmp_path / "space"), note=noted.append)
    write_export("atlas", tmp_path / "x.parquet", mine, method="pca", session=session)
    table = pq.read_table(tmp_path / "x.parquet")
    assert table["key"].to_pylist() == [f"{i}" for i in range(20) if i != 4]
    assert (
        "three_x" in table.column_names and "one_x" not in table.column_names and "one_neighbors" in table.column_names
    )
    assert noted == [
        "1 of 20 images have a vector of zeros by three and are left out: '4'",
        "1 of 20 images have a vector of zeros by one and are left out: '4'",
        "one has no map: its embeddings are of one number each",
    ]
    write_export("npy", tmp_path / "npy", mine, session=session)
    assert len(noted) == 3 and sorted(len(np.load(path)) for path in (tmp_path / "npy").rglob("*.npy")) == [20, 20]
