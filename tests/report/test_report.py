"""The page: every number and every failed check is on it, and nothing of what it shows can act."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from embprobe import report
from embprobe.cli.app import app
from embprobe.embeddings.extract import extract
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, load_images
from embprobe.probing.key import Key
from embprobe.report import write_report
from tests.report.conftest import PAIR, fill, page_of, row, save, save_comparison


def test_everything_is_escaped_and_nothing_is_fetched(space: Workspace) -> None:
    save(space, "one")
    page = page_of(space)
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{ 7 * 7 }}" in page
    assert "http" not in page.replace("http-equiv", "")


def test_every_result_has_its_numbers_on_the_page(space: Workspace) -> None:
    save(space, "one")
    save(space, "two")
    page = page_of(space)
    assert page.count(">0.250<") == page.count(">0.125 to 0.500<") == page.count('<section id="probe-') == 2


def test_what_is_concluded_and_what_failed_is_seen_at_once(space: Workspace) -> None:
    save(space, "one")
    page = page_of(space)
    assert '<p class="said">a notices it 2.00 times as much as b.</p>' in page
    assert '<p class="small">Check passed: it failed as it should' in page
    assert '<p class="failed">CHECK FAILED: do not believe this probe here: 0.9, above the limit' in page
    assert page.index("CHECK FAILED") < page.index("<table>")


def test_without_conclusions_nothing_is_concluded(space: Workspace) -> None:
    save(space, "one", conclusions={"key": None, "numbers": {}, "sentences": [], "checks": []}, left_out=[])
    page = page_of(space)
    assert "CHECK" not in page and "Check passed" not in page and '<p class="said">' not in page
    assert "Left out" not in page


def test_what_was_left_out_is_said_with_the_details(space: Workspace) -> None:
    save(space, "one")
    assert "Left out: zero-shot: nobody reads &lt;script&gt;" in page_of(space)


def test_a_row_names_its_question_and_a_difference_both_encoders(space: Workspace) -> None:
    moved = row(key=Key(kind="displacement", target="hue", strength=120.0), encoder="a/b")
    save(
        space,
        "one",
        moved,
        row(encoder="a/b", against="c/d", estimate=0.5, p=0.01, p_adjusted=0.02),
        row(encoder="a/b", against="e/f", estimate=0.25, p=2e-5, p_adjusted=4e-4),
    )
    page = page_of(space)
    assert '<th scope="row" dir="auto">hue 120: displacement</th>' in page
    assert '<tr class="difference">' in page and "<td>a/b - c/d</td>" in page
    assert "+0.500" in page and ">0.020<" in page and ">&lt; 0.001<" in page


def test_without_results_there_is_no_page(space: Workspace) -> None:
    with pytest.raises(EmbprobeError, match="no results in"):
        page_of(space)
    assert not (space.root / "page.html").exists()


@pytest.mark.parametrize("changes", [{"version": 1}, {"version": 2}, {"results": [{"no": "result"}]}])
def test_results_of_another_time_are_named(space: Workspace, changes: dict[str, Any]) -> None:
    save(space, "old", **changes)
    with pytest.raises(EmbprobeError, match=r"old/results\.json"):
        page_of(space)


@pytest.mark.parametrize("lost", ["card", "conclusions", "images"])
def test_results_that_lost_a_part_are_named_with_it(space: Workspace, lost: str) -> None:
    save(space, "color", row())
    path = space.root / "results" / "color" / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content[lost]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(EmbprobeError, match=f"color.*results.json' is damaged: it lacks {lost}"):
        write_report(space, space.root / "report.html")


def test_results_without_a_row_are_damaged(space: Workspace) -> None:
    save(space, "color", row())
    path = space.root / "results" / "color" / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "results": []}), encoding="utf-8")
    with pytest.raises(EmbprobeError, match="is damaged"):
        write_report(space, space.root / "report.html")


def test_text_cannot_turn_the_direction_of_the_page_nor_break_its_encoding(space: Workspace) -> None:
    save(space, "one", row(key=Key(kind="geometry", target="half a pair \ud800")))
    page = page_of(space)
    assert "\u202e" not in page and "\\u202e" in page and "half a pair \\ud800" in page


def test_the_answer_follows_its_question_and_of_one_encoder_it_is_its_number(space: Workspace) -> None:
    key = Key(kind="geometry", target="accuracy")
    alone = {"key": asdict(key), "numbers": {}, "sentences": [], "checks": []}
    rows = row(key=key, encoder="a/b"), row(key=key, encoder="reference/pixels", role="reference")
    save(space, "one", *rows, conclusions=alone)
    page = page_of(space)
    answer = "a/b: 0.250 (0.125 to 0.500) at &#39;accuracy&#39;, accuracy."
    assert page.count(f'<p class="answer" dir="auto">{answer}</p>') == page.count('class="answer"') == 1


def test_the_answer_of_an_encoder_of_any_name_is_on_the_page(space: Workspace) -> None:
    key = Key(kind="geometry", target="accuracy")
    alone = {"key": asdict(key), "numbers": {}, "sentences": [], "checks": []}
    rows = row(key=key, encoder="mine"), row(key=key, encoder="python:mine:make", role="reference")
    save(space, "one", *rows, conclusions=alone)
    page = page_of(space)
    assert page.count('class="answer"') == 1 and "mine: 0.250 (0.125 to 0.500) at" in page


def test_images_that_cannot_be_opened_again_are_said_to_be_missing(space: Workspace) -> None:
    save(space, "one", images={"name": "no/such/folder", "fingerprint": "0", "count": 10})
    page = page_of(space)
    assert "The pictures of &#39;no/such/folder&#39; are missing here" in page and "report PLACE" in page
    assert "Examples are missing" in page and "<canvas" not in page and "<script" not in page


def test_images_that_changed_since_are_not_shown(space: Workspace) -> None:
    save(space, "one", images={"name": "bundled/emoji", "fingerprint": "0", "count": 10})
    assert "no longer those that were measured" in page_of(space)


def test_without_embeddings_there_is_no_map_and_the_page_says_what_to_run(space: Workspace, few: Images) -> None:
    fill(space, few, measures=[{"kind": "displacement", "intervention": "hue", "strengths": [120.0]}])
    shutil.rmtree(space.root / "stores")
    page = page_of(space, images=few)
    assert "There is no map. The workspace has no embeddings of &#39;few emoji&#39; by reference/pixels." in page
    assert "<canvas" not in page and "data:image/webp" in page  # the examples are there


def test_encoders_that_were_asked_for_and_are_not_there_are_an_error(space: Workspace, few: Images) -> None:
    fill(space, few)
    with pytest.raises(UsageError, match="-e bundled/dino' first"):
        page_of(space, images=few, encoders=["bundled/dino"])


def test_one_encoder_has_a_page_with_a_map(space: Workspace, few: Images) -> None:
    fill(space, few, encoders=["reference/pixels"])
    page = page_of(space, images=few)
    assert page.count("<canvas") == 1 and "Only one encoder was asked, reference/pixels" in page


def test_fewer_images_than_neighbours(space: Workspace, few: Images) -> None:
    fill(space, few.take(range(4)))
    page = page_of(space, images=few.take(range(4)))
    assert "Each image has only 3 neighbours, for there are 4 images." in page and page.count("<canvas") == 2


def test_two_images_have_no_map_and_the_page_says_so(space: Workspace, few: Images) -> None:
    fill(space, few.take(range(2)))
    page = page_of(space, images=few.take(range(2)))
    assert "There is no map. A map by pca needs more than 2 images; there are 2." in page and "<canvas" not in page


def test_files_that_are_gone_leave_empty_thumbnails_and_a_sentence(space: Workspace, folder: Path) -> None:
    images = load_images(str(folder))
    fill(space, images)
    (folder / "red.png").unlink()
    page = page_of(space, images=images)
    assert "1 of the 5 images of the map cannot be read any more" in page and "red.png" in page
    assert page.count("<canvas") == 2


def test_pairs_have_pictures_where_their_images_are_there_and_names_where_not(space: Workspace, few: Images) -> None:
    fill(space, few)
    save_comparison(space, few, (few.rows[2].key, few.rows[3].key), (few.rows[4].key, "gone"))
    page = page_of(space, images=few)
    half = page[page.index("Alike for <bdi>reference/pixels</bdi>") : page.index("Alike for <bdi>reference/color")]
    assert half.count("<img src=") == 3 and half.count('aria-label="No picture: gone"') == 1
    assert "cosine 0.90, more alike than 99.0% of pairs" in half and "other style, colours 0.50" in half
    assert "0.000 (0.062)" in page and "+0.250 to +0.750" in page


def test_a_comparison_alone_has_a_page(space: Workspace, few: Images) -> None:
    fill(space, few)
    shutil.rmtree(space.root / "results")
    save_comparison(space, few, (few.rows[2].key, few.rows[3].key))
    page = page_of(space, images=few)
    assert "Do the encoders agree?" in page and page.count("<canvas") == 2 and "Overview" not in page


@pytest.mark.parametrize("lost", ["images", "disagreement", "agreement"])
def test_a_comparison_that_lost_a_part_is_named(space: Workspace, few: Images, lost: str) -> None:
    save_comparison(space, few, ("a", "b"))
    path = space.root / "results" / "compare-1" / "comparison.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content[lost]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(EmbprobeError, match=r"comparison\.json' is damaged"):
        page_of(space)


@pytest.mark.parametrize(
    "damage",
    [
        {"results": [row(estimate=float("nan")).as_json()]},
        {"results": [row(low="x").as_json()]},
        {"results": [row(low="0").as_json()]},
        {"conclusions": {"key": None}},
        {"conclusions": {"key": {"no": "key"}, "numbers": {}, "sentences": [], "checks": []}},
        {"conclusions": {"key": None, "numbers": {}, "sentences": [], "checks": [{}]}},
        {"card": {"measures": "none"}},
        {"images": {"name": None, "fingerprint": "0", "count": 1}},
        {"images": {"name": "x", "fingerprint": "0", "count": "many"}},
        {"versions": ["0"]},
        {"left_out": [1]},
        {"encoders": [{"family": "timm"}]},
    ],
)
def test_results_of_the_wrong_shape_are_damaged(space: Workspace, damage: dict[str, Any]) -> None:
    save(space, "one", **damage)
    with pytest.raises(EmbprobeError, match=r"one/results\.json' is damaged"):
        page_of(space)


def test_a_card_that_is_none_is_damage(space: Workspace, few: Images) -> None:
    fill(space, few, measures=[{"intervention": "hue", "strengths": ["much"]}])
    with pytest.raises(EmbprobeError, match=r"The card in '.*one/results\.json' is damaged"):
        page_of(space, images=few)


def test_images_that_nothing_was_asked_of_are_mapped_and_the_page_says_so(space: Workspace, few: Images) -> None:
    fill(space, few, name="of all")
    some = few.take(range(30))
    extract(some, [load_encoder(name) for name in PAIR], space)
    page = page_of(space, images=some)
    assert "The map is of &#39;few emoji&#39;, and no result here is of these images." in page
    assert "30 images as each encoder lays them out" in page


def test_embeddings_of_images_that_were_decoded_fast_are_found(space: Workspace, few: Images) -> None:
    loaded = [load_encoder(name) for name in PAIR]
    extract(few, loaded, space, fast_decode=True)
    specs = [{**asdict(each.spec), "fingerprint": each.spec.fingerprint} for each in loaded]
    images = {"name": few.name, "fingerprint": few.fingerprint, "count": len(few)}
    save(space, "exact", encoders=specs, images=images)
    assert "There is no map" in page_of(space, images=few)
    save(space, "fast", encoders=specs, images=images, fast_decode=True)
    os.utime(space.results("exact") / "results.json", (0, 0))
    assert page_of(space, images=few).count("<canvas") == 2


def test_a_figure_that_is_damaged_is_left_out_and_said(space: Workspace) -> None:
    save(space, "one")
    (space.root / "results" / "one" / "figure.png").write_bytes(b"<html>")
    page = page_of(space)
    assert "figure.png&#39; is missing here: a web page, not an image." in page and "data:image" not in page


def test_the_newest_sheets_of_why_neighbours_are_near_are_on_the_page(space: Workspace) -> None:
    save(space, "one")
    assert "Which parts make them near" not in page_of(space)
    for number in range(4):
        sheet = space.figure(f"why-{number}")
        sheet.parent.mkdir(exist_ok=True)
        Image.new("RGB", (30, 20), "orange").save(sheet)
    page = page_of(space)
    assert page.count("with the parts marked that make them near") == 3 and 'href="#neighbours"' in page
    assert "Older sheets of why they are near are left out (1)" in page


def test_a_page_that_would_be_too_large_is_not_written(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    save(space, "one")
    monkeypatch.setattr(report, "LARGEST", 10_000)
    with pytest.raises(EmbprobeError, match=r"The page would have 0\.0 MB, and 0 are the most"):
        page_of(space)
    assert not (space.root / "page.html").exists()


def test_the_same_workspace_gives_the_same_page(space: Workspace, few: Images) -> None:
    fill(space, few)
    assert page_of(space, images=few) == page_of(space, images=few)


def test_the_command_opens_images_where_they_are_now(
    space: Workspace, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(space, load_images(str(folder)))
    moved = folder.rename(folder.with_name("elsewhere"))  # same names, sizes and times, so the same images
    out = space.root / "mine.html"
    with pytest.raises(SystemExit) as ended:
        app(["report", "--workspace", str(space.root), str(moved), "-e", PAIR[1], "--out", str(out)])
    page = out.read_text(encoding="utf-8")
    assert ended.value.code == 0 and f"Page: {out}" in capsys.readouterr().err
    assert page.count("<canvas") == 1 and "pictures" not in page.split("<main")[1].split("<section")[0]
