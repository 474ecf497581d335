from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Floats
from embprobe.images import Images
from embprobe.images.rows import MissingLabel
from embprobe.search import maps
from embprobe.search.maps import Maps, choose_label, make_maps
from embprobe.selftest.oracles import Oracle, OracleSession
from tests.conftest import Reads

A, B = Oracle("a", {"category": 0.5}), Oracle("b", {"style": 0.5})


@pytest.fixture
def few(emoji: Images) -> Images:
    return emoji.take(range(60))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the encoders that were laid out, each time."""
    kept: list[str] = []

    def layouts(vectors: dict[str, Floats], **options: object) -> dict[str, Floats]:
        kept.append(" ".join(vectors))
        return {name: each[:, :2] for name, each in vectors.items()}

    monkeypatch.setattr(maps, "layouts", layouts)
    return kept


def test_a_map_is_made_once_and_kept_as_a_table(few: Images, workspace: Workspace, made: list[str]) -> None:
    session = OracleSession(workspace)
    found = make_maps(session.embed(few, [A, B], ""), [A, B], session)
    table = pq.read_table(found.table)
    assert table.column_names == ["key", "encoder", "x", "y"] and len(table) == 120
    assert table["key"].to_pylist() == [row.key for row in few.rows] * 2
    assert table["x"].to_pylist()[60:] == B.vectors(few)[:, 0].tolist()
    again = make_maps(session.embed(few, [A, B], ""), [A, B], session)
    assert made == ["oracle/a oracle/b"]
    assert all(np.array_equal(again.layouts[name], each) for name, each in found.layouts.items())


def test_other_encoders_images_methods_and_seeds_are_other_maps(
    few: Images, workspace: Workspace, made: list[str]
) -> None:
    session = OracleSession(workspace)
    found = [
        make_maps(session.embed(few, [A, B], ""), [A, B], session),
        make_maps(session.embed(few, [B, A], ""), [B, A], session),
        make_maps(session.embed(few, [A, B], ""), [A, B], session, method="pca"),
        make_maps(session.embed(few.take(range(40)), [A, B], ""), [A, B], session),
        make_maps(session.embed(few, [A, B], ""), [A, B], OracleSession(workspace, seed=1)),
    ]
    assert len({each.folder for each in found}) == len(made) == 5


@pytest.mark.parametrize("damage", [b"", b"PAR1 but no more", None])
def test_a_damaged_table_is_made_again(
    few: Images, workspace: Workspace, made: list[str], damage: bytes | None
) -> None:
    session = OracleSession(workspace)
    found = make_maps(session.embed(few, [A, B], ""), [A, B], session)
    whole = found.table.read_bytes()
    if damage is None:  # a row too few
        pq.write_table(pq.read_table(found.table).slice(1), found.table)
    else:
        found.table.write_bytes(damage)
    make_maps(session.embed(few, [A, B], ""), [A, B], session)
    assert len(made) == 2 and found.table.read_bytes() == whole


def test_points_are_coloured_by_a_label_that_every_row_has(reads: Reads) -> None:
    labelled = reads(2, labels={"category": ["a", "b"], "style": ["x", "y"]})
    assert choose_label(labelled) == ("category", labelled, ()) and choose_label(labelled, "style")[0] == "style"
    assert choose_label(reads(2))[0] == ""
    with pytest.raises(MissingLabel, match="'mood'"):
        choose_label(labelled, "mood")


def test_a_few_points_without_the_label_are_not_drawn_and_of_many_it_is_no_label(reads: Reads) -> None:
    images = reads(10, labels={"category": list("aabbccddee")})
    stray = Images("stray", (*images.rows[:9], replace(images.rows[9], labels={})))
    label, drawn, notes = choose_label(stray)
    assert (label, len(drawn)) == ("category", 9)
    assert notes == ("1 of 10 images lack the label 'category' and are left out: '009' (--max-unlabelled 0.2)",)
    assert choose_label(stray, max_unlabelled=0) == ("", stray, ())
    with pytest.raises(MissingLabel, match=r"which 1 of the 10 .* first '009'; up to 0% .*--max-unlabelled 0.1 "):
        choose_label(stray, "category", max_unlabelled=0)


def test_the_places_of_some_rows_are_theirs(workspace: Workspace, reads: Reads) -> None:
    laid_out = Maps(workspace.root, reads(3), "pca", 0, {"a": np.arange(6, dtype=np.float32).reshape(3, 2)})
    some = laid_out.at(["002", "gone", "000"])
    assert [row.key for row in some.rows.rows] == ["000", "002"] and some.layouts["a"].tolist() == [[0, 1], [4, 5]]
