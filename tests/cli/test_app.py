"""The command line as a user meets it: its output, its files, and its failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image

import embprobe
import embprobe.cli.app
from embprobe.cli.app import COMMANDS
from embprobe.errors import UsageError
from embprobe.images import load_images
from tests.conftest import Run, encoded, noise, snapshot, solid

PIXELS = ("-e", "reference/pixels")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A card with one quick measure and one that needs a label no photograph has."""
    card = tmp_path / "mine.toml"
    card.write_text(
        """
schema = 1
attribute = "mine"
title = "Mine"
question = "Does it move?"
resample = "category"
headline = { kind = "displacement", target = "greyscale", says = "notices grey" }

[[measures]]
kind = "displacement"
quick = true
intervention = "greyscale"
strengths = [1]

[[measures]]
kind = "decoding"
label = "breed"
classifier = "knn"
fit = { where = { split = ["train"] } }
tests = { "unseen images" = { where = { split = ["test"] } } }
""",
        encoding="utf-8",
    )
    return card


def files(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in (snapshot(folder) or {}).items() if (folder / name).is_file()}


# --- what works --------------------------------------------------------------------------------------------------


def test_extract_makes_a_store_once_and_no_index_that_nobody_searches(run: Run, photos: Path, space: Path) -> None:
    first = run("extract", photos, *PIXELS)
    assert first.code == 0
    assert "reference/pixels: 9 x 432, 9 encoded now, in " in first.err
    (store,) = space.glob("stores/*/*")
    names = {path.name for path in store.iterdir()}
    assert {"manifest.json", "img_emb", "metadata"} <= names and "index.faiss" not in names
    before = files(space)
    second = run("extract", photos, *PIXELS)
    assert second.code == 0 and "reference/pixels: 9 x 432, already there, in " in second.err
    assert files(space) == before


def test_json_is_all_there_is_on_standard_output(run: Run, photos: Path) -> None:
    (photos / "cat" / "torn\n.png").write_bytes(b"")
    ran = run("extract", photos, *PIXELS, "-e", "reference/color-histogram", "--json")
    assert ran.code == 0
    stores = json.loads(ran.out)
    assert [(s["encoder"], s["images"], s["encoded_now"], s["dimension"]) for s in stores] == [
        ("reference/pixels", 9, 9, 432),
        ("reference/color-histogram", 9, 9, 968),
    ]
    assert stores[0]["rejected"] == [{"key": "cat/torn\n.png", "reason": "empty", "row": 5}]


def test_what_could_not_be_read_is_listed(run: Run, photos: Path) -> None:
    for i in range(12):
        (photos / f"torn [red]{i:02d}.png").write_bytes(b"")
    err = run("extract", photos, *PIXELS).err
    assert "12 of 21 images could not be read and were left out:" in err
    assert "'torn [red]00.png': empty" in err
    assert "and 2 more, all in " in err and "'torn [red]10.png'" not in err


def test_a_comparison_without_some_images_has_its_pictures_in_the_report(run: Run, photos: Path, space: Path) -> None:
    (photos / "torn.png").write_bytes(b"")
    ran = run("compare", photos, *PIXELS, "-e", "reference/color-histogram", "-k", "3", "--pairs", "1")
    assert "1 of 10 images could not be read and were left out:\n  'torn.png': empty\n" in ran.err
    assert "9 images of" in ran.out
    assert run("report", photos).code == 0
    page = (space / "report.html").read_text()
    assert "9 images of" in page and "missing here" not in page


def test_a_map_is_coloured_by_what_there_is(run: Run, photos: Path, tmp_path: Path, space: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for i in range(4):
        noise(i).save(flat / f"{i}.png")
    for folder, name in ((photos, "by-category.png"), (flat, "plain.png")):
        ran = run("map", folder, *PIXELS, "--method", "pca", "--json")
        assert ran.code == 0 and Path(json.loads(ran.out)["figure"]).name == name
        assert Path(json.loads(ran.out)["figure"]).stat().st_size > 2_000


@pytest.mark.parametrize("command", ["map", "compare"])
def test_a_label_that_no_image_has_is_said_before_anything_is_extracted(
    run: Run, photos: Path, space: Path, command: str
) -> None:
    ran = run(command, photos, *PIXELS, "-e", "reference/random-vit", "--by", "mood")
    assert ran.code != 0 and "the label 'mood', which no image in 'photos' has" in ran.err
    assert not (space / "stores").exists()


def test_an_encoder_named_twice_is_used_once(run: Run, photos: Path) -> None:
    assert len(json.loads(run("extract", photos, *PIXELS, *PIXELS, "--json").out)) == 1


def test_probe_prints_what_it_saves(run: Run, photos: Path, space: Path, mine: Path) -> None:
    arguments = ("probe", photos, "--card", mine, *PIXELS, "-e", "reference/color-histogram")
    printed = json.loads(run(*arguments, "--json").out)
    (folder,) = (space / "results").iterdir()
    assert folder.name.startswith("mine-")
    assert printed == json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert {path.name for path in folder.iterdir()} == {"figure.png", "figure.svg", "results.json", "scores.parquet"}
    with Image.open(folder / "figure.png") as figure:
        assert figure.width > 400
    assert printed["card"]["title"] == "Mine"
    assert printed["conclusions"]["numbers"].keys() == {"reference/pixels", "reference/color-histogram"}
    assert printed["left_out"] == [
        "decoding: it needs the label 'breed', which none of the images in 'photos' has",
    ]

    before = files(space)
    table = run(*arguments)
    assert table.code == 0 and str(folder / "figure.png") in table.err
    assert "Mine: Does it move?" in table.out and "over 3 categorys" in table.out.replace("\n", " ")
    (sentence,) = printed["conclusions"]["sentences"]
    assert sentence in table.out and f"Left out: {printed['left_out'][0]}." in table.out
    assert files(space) == before  # the same question gives the same bytes, in the same place
    assert run(*arguments, "--seed", "1").code == 0
    assert len(list((space / "results").iterdir())) == 2


def test_a_check_that_failed_is_seen_in_the_table_and_on_the_page(
    run: Run, photos: Path, space: Path, mine: Path
) -> None:
    must_fail = """
references = ["reference/pixels"]
[[must_fail]]
encoder = "reference/pixels"
measure = "displacement"
below = -1
because = "it was set up to"

[[measures]]"""
    mine.write_text(mine.read_text(encoding="utf-8").replace("[[measures]]", must_fail, 1), encoding="utf-8")
    ran = run("probe", photos, "--card", mine, "-e", "reference/color-histogram")
    expected = "CHECK FAILED: reference/pixels must fail at 'greyscale 1: displacement', because it was set up to: "
    assert ran.code == 0 and expected in ran.out
    assert run("report").code == 0
    page = (space / "report.html").read_text(encoding="utf-8")
    assert "CHECK FAILED: do not believe this probe here: reference/pixels must fail at" in page


def test_only_what_is_quick(run: Run, photos: Path, mine: Path) -> None:
    quick = json.loads(run("probe", photos, "--card", mine, *PIXELS, "--quick", "--json").out)
    assert {row["measure"] for row in quick["results"]} == {
        "greyscale 1: displacement", "greyscale 1: displacement percentile"
    }  # fmt: skip
    assert {row["key"]["variant"] for row in quick["results"]} == {None, "percentile"}
    assert {row["key"]["dataset"] for row in quick["results"]} == {"photos"}
    assert quick["left_out"] == [] and len(quick["card"]["measures"]) == 1


def test_all_goes_on_past_what_cannot_be_asked_and_says_so(
    run: Run, photos: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of the bundled cards; the others take longer."""
    monkeypatch.setattr("embprobe.probing.card.attributes", lambda: ["typographic", "geometry"])
    for path in sorted(photos.glob("*/*")):
        path.rename(photos / path.name)  # no subfolders, so no categories, and no words for what is shown
    ran = run("probe", photos, "-a", "all", *PIXELS, "--json")
    assert ran.code == 0
    note = next(line for line in ran.err.splitlines() if line.startswith("Nothing of the probe"))
    assert note.startswith(
        "Nothing of the probe 'Typographic attack' can be asked of 'photos': preference: fewer than two images"
    )
    (only,) = json.loads(ran.out)  # a list, for several were asked for
    assert only["card"]["attribute"] == "geometry"
    assert [path.name.split("-")[0] for path in (space / "results").iterdir()] == ["geometry"]
    alone = run("probe", photos, "-a", "typographic", *PIXELS)
    assert alone.code == 1 and alone.out == ""
    assert "embprobe: Nothing of the probe 'Typographic attack'" in alone.err.splitlines()[-1]
    lost = photos.parent / "lost.toml"
    lost.write_text(
        'schema = 1\nattribute = "lost"\ntitle = "Lost"\nquestion = "Which?"\nresample = "image"\n'
        '[[measures]]\nkind = "decoding"\nlabel = "genus"\nclassifier = "knn"\nfit = {}\ntests = { x = {} }\n'
    )
    none = run("probe", photos, "-a", "typographic", "--card", lost, *PIXELS, "--json")
    assert none.code == 1 and none.out == ""
    assert none.err.splitlines()[-1] == "embprobe: None of the probes can be asked of 'photos'."


def test_an_attribute_and_cards_of_ones_own_are_asked_together(run: Run, photos: Path, mine: Path) -> None:
    ran = run("probe", photos, "-a", "geometry", "-a", "geometry", "--card", mine, *PIXELS, "--json")
    assert ran.code == 0
    assert [each["card"]["attribute"] for each in json.loads(ran.out)] == ["geometry", "mine"]


def test_a_reference_that_is_asked_about_is_a_subject(run: Run, photos: Path, mine: Path) -> None:
    mine.write_text('references = ["reference/pixels"]\n' + mine.read_text(encoding="utf-8"), encoding="utf-8")
    results = json.loads(run("probe", photos, "--card", mine, *PIXELS, "--json").out)
    assert [encoder["model"] for encoder in results["encoders"]] == ["pixels"]
    assert list(results["conclusions"]["numbers"]) == ["reference/pixels"]


@pytest.mark.parametrize(("passed", "code"), [([True, True], 0), ([True, False], 1)])
def test_selftest_exits_with_one_if_an_expectation_failed(
    run: Run, monkeypatch: pytest.MonkeyPatch, passed: list[bool], code: int
) -> None:
    from embprobe.selftest.promise import Verdict

    calls: list[tuple[list[str], int, int]] = []

    def planted(names: Sequence[str], *, studies: int, seed: int, notify: Callable[[str], None]) -> Iterator[Verdict]:
        calls.append((list(names), studies, seed))
        notify("planted color")
        for each in passed:
            yield Verdict("color: variance share", "0.12", "0.121", each)

    monkeypatch.setattr("embprobe.selftest.run.selftest", planted)
    ran = run("selftest", "units", "planted color", "--studies", "100", "--seed", "7", "--json")
    assert ran.code == code and calls == [(["units", "planted color"], 100, 7)]
    assert [verdict["passed"] for verdict in json.loads(ran.out)] == passed
    assert "selftest: planted color" in ran.err
    table = run("selftest", "--studies", "100")
    assert table.code == code and ("FAILED" in table.out) is not all(passed)
    assert f"{sum(passed)} of 2 passed." in table.err
    assert run("selftest", "--studies", "99").code == 2


def test_selftest_checks_the_promises_that_are_named(run: Run) -> None:
    ran = run("selftest", "rotation", "correction", "--json")
    assert ran.code == 0
    assert list(dict.fromkeys(verdict["promise"] for verdict in json.loads(ran.out))) == ["correction", "rotation"]
    unknown = run("selftest", "rotatoin")
    assert unknown.code == 2 and "There is no promise 'rotatoin'. Did you mean rotation?" in unknown.err


def test_neighbors_of_a_photograph_make_a_sheet(run: Run, photos: Path, space: Path) -> None:
    query = photos / "cat" / "d.png"
    ran = run("neighbors", query, "--images", photos, *PIXELS, "-e", "reference/color-histogram", "-k", "3", "--json")
    assert ran.code == 0
    content = json.loads(ran.out)
    assert content["query"] == "d.png"
    assert [len(near) for near in content["neighbors"].values()] == [3, 3]
    assert "cat/d.png" not in [near["key"] for near in content["neighbors"]["reference/pixels"]]
    with Image.open(content["figure"]) as sheet:
        assert Path(content["figure"]) == space / "figures" / "neighbors-d.png" and sheet.width > 300
    printed = run("neighbors", query, "--images", photos, *PIXELS, "-k", "3")
    assert printed.code == 0 and "Nearest to d.png" in printed.out and "neighbors-d.png" in printed.err


def test_a_folder_of_queries_has_a_sheet_each_and_a_mean(run: Run, photos: Path, space: Path) -> None:
    both = (*PIXELS, "-e", "reference/color-histogram", "-k", "2")
    ran = run("neighbors", photos / "cat", "--images", photos, *both, "--json")
    content = json.loads(ran.out)
    assert [each["query"] for each in content] == ["c.jpeg", "d.png", "e.webp"]
    assert [Path(each["figure"]).name for each in content] == [f"neighbors-{name}.png" for name in "cde"]
    assert all((space / "figures" / f"neighbors-{name}.png").exists() for name in "cde")
    printed = run("neighbors", photos / "cat", "--images", photos, *both)
    assert printed.out.count("Nearest to") == 3 and "mean over 3 queries" in printed.out
    assert "are shown" not in printed.err
    twice = run("neighbors", photos / "cat" / "d.png", photos / "cat" / "d.png", "--images", photos, *both, "--json")
    assert [Path(each["figure"]).name for each in json.loads(twice.out)] == ["neighbors-d.png", "neighbors-d-2.png"]


def test_many_queries_are_summarised(run: Run, photos: Path) -> None:
    both = (*PIXELS, "-e", "reference/color-histogram", "-k", "2")
    printed = run("neighbors", photos, "--images", photos, *both)
    assert printed.out.count("Nearest to") == 3
    summary = " ".join(printed.out.split())
    assert "reference/pixels and reference/color-histogram, mean over 9 queries: " in summary
    assert summary.endswith("; by chance 22.22%).")  # two of nine images
    assert "The first 3 of 9 queries are shown; --json prints all." in printed.err
    assert len(json.loads(run("neighbors", photos, "--images", photos, *both, "--json").out)) == 9


def test_an_encoder_without_text_is_left_out_of_a_question_in_words(run: Run, photos: Path) -> None:
    ran = run("neighbors", "-t", "cat", "-i", photos, *PIXELS, "-e", "bundled/clip", "-k", "2", "--json")
    assert ran.code == 0 and "reference/pixels takes no text and is left out." in ran.err
    content = json.loads(ran.out)
    assert content["query"] == '"cat"' and list(content["neighbors"]) == ["bundled/clip"]


def test_the_memory_of_an_index_is_a_size_and_its_recall_is_told(
    run: Run, photos: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = ("neighbors", "cat/d.png", "-i", photos, *PIXELS, "-k", "3", "--json")
    ran = run(*search, "--index-memory", "lots")
    assert ran.code == 2 and "'lots' is no size of memory. Write a number and a unit: 800MB" in ran.err
    assert not space.exists()
    exact = json.loads(run(*search, "--index-memory", "1KB").out)  # few images need no index
    assert "approximate" not in exact
    monkeypatch.setattr("embprobe.search.index.EXACT_UP_TO", 5)
    ran = run(*search, "--index-memory", "1KB")
    assert (
        ran.code == 2 and "No index of 9 vectors of 432 numbers fits 1KB. The least that works is --index-m" in ran.err
    )
    ran = run(*search, "--index-memory", "1GB")
    found, told = json.loads(ran.out), json.loads(ran.out)["approximate"]["reference/pixels"]
    assert found["neighbors"] == exact["neighbors"] and told["index"] == "IVF3,Flat" and told["recall_at_10"] > 0.95
    assert f"recall@10 {told['recall_at_10']:.3f} against exact search" in ran.err
    assert run(*search, "--exact", "--index-memory", "1KB").code == 0


def test_neighbors_in_a_folder_of_three_images(run: Run, tmp_path: Path) -> None:
    for name, color in {"a": (250, 0, 0), "b": (200, 0, 0), "c": (0, 0, 250)}.items():
        (tmp_path / "three").mkdir(exist_ok=True)
        solid(color).save(tmp_path / "three" / f"{name}.png")
    ran = run("neighbors", tmp_path / "three" / "a.png", "--images", tmp_path / "three", *PIXELS, "--json")
    assert ran.code == 0, ran.err
    assert [near["key"] for near in json.loads(ran.out)["neighbors"]["reference/pixels"]] == ["b.png", "c.png"]


def test_names_that_no_encoding_holds_can_be_printed(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "images" / "na\udcefve"
    folder.mkdir(parents=True)
    for i in range(3):
        solid((80 * i, 9, 9)).save(folder / f"{i}\udce9.png")
    query = folder / "0\udce9.png"
    for json_option in ((), ("--json",)):
        ran = run("neighbors", query, "--images", tmp_path / "images", *PIXELS, "-k", "1", *json_option)
        assert ran.code == 0, ran.err
        assert "\\xe9" in ran.out.encode("utf-8").decode()


def test_a_card_with_a_hostile_title_is_probed(run: Run, photos: Path, tmp_path: Path) -> None:
    card = tmp_path / "mine.toml"
    card.write_text(
        """
        schema = 1
        attribute = "color"
        title = '[/bold] <b> :train:'
        question = '[red]Does $\\frac{$ move?'
        resample = "category"
        measures = [{ kind = "displacement", intervention = "greyscale", strengths = [1.0] }]
        """,
        encoding="utf-8",
    )
    ran = run("probe", photos, "--card", card, *PIXELS)
    assert ran.code == 0
    assert r"[/bold] <b> :train:: [red]Does $\frac{$ move?" in " ".join(ran.out.split())


def test_encoders_and_datasets_are_listed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    assert run("encoders", "reference/p*").out.splitlines()[1].split() == [
        "reference/pixels",
        "432",
        "12",
        "no",
        "none",
    ]
    listed = json.loads(run("encoders", "reference/", "--json").out)
    assert [(each["name"], each["dimension"]) for each in listed] == [
        ("reference/color-and-pixels", 1400),
        ("reference/color-histogram", 968),
        ("reference/grey-pixels", 144),
        ("reference/lightness-histogram", 8),
        ("reference/pixels", 432),
        ("reference/random-vit", 128),
        ("reference/texture", 28),
    ]
    many = run("encoders", "timm/").out.splitlines()
    assert "timm/vit_base_patch16_224.dino" in many and len(many) > 1000  # the names alone
    assert "bundled/emoji" in [card["name"] for card in json.loads(run("datasets", "--json").out)]
    text = run("datasets").out
    assert "imagenet-1k" in text and "nothing; it comes with embprobe" in text
    assert "bundled/emoji:unseen-drawing" in run("datasets", "bundled/emoji").out
    described = run("datasets", "imagenet-v2").out
    assert "Measured: fitted on imagenet-1k, tested on all images; main number: accuracy" in described
    described = run("datasets", "oxford-pets").out
    assert "Measured: fitted on train, tested on test; main number: mean accuracy per class" in described
    assert "Domains: style" in run("datasets", "pacs").out
    assert "Captions: caption, those of test" in run("datasets", "flickr30k").out
    assert all(pair in text for pair in ("train / validation", "imagenet-1k / all", "no official split", "captions"))
    assert "Classes: 10: airplane, automobile, bird, cat, deer, …" in run("datasets", "cifar-10").out
    assert [card["name"] for card in json.loads(run("datasets", "cifar-1*", "--json").out)] == [
        "cifar-10",
        "cifar-10.1",
        "cifar-100",
    ]


def test_what_a_reader_has_to_say_is_said_before_the_work_begins(run: Run, photos: Path) -> None:
    (photos / "cat" / "c.json").write_text("{")
    (photos / "cat" / "phone.nef").write_bytes(b"0")
    lines = run("extract", photos, *PIXELS).err.splitlines()
    assert lines[0] == "1 sidecar that could not be understood: cat/c.json."
    assert lines[1] == "1 file passed over, of a format that is not read: cat/phone.nef."


def test_fast_decoding_makes_a_store_of_its_own(run: Run, photos: Path, space: Path) -> None:
    (exact,) = json.loads(run("extract", photos, *PIXELS, "--json").out)
    (fast,) = json.loads(run("extract", photos, *PIXELS, "--fast-decode", "--json").out)
    assert exact["folder"] != fast["folder"] and fast["encoded_now"] == 9
    manifests = [json.loads((Path(store["folder"]) / "manifest.json").read_text()) for store in (exact, fast)]
    assert [manifest["encoder"]["image_input"]["decoding"] for manifest in manifests] == ["exact", "fast"]


def test_preview_draws_a_sheet_of_a_file_or_of_a_row(run: Run, photos: Path, space: Path) -> None:
    ran = run("preview", photos / "cat" / "c.jpeg", "-a", "text", "--word", "cat")
    assert ran.code == 0 and ran.out == ""
    figure = space / "figures" / "preview-text-c.jpeg.png"
    assert f"text: {figure}" in ran.err and figure.is_file()
    rows = json.loads(run("preview", "bird/a.png", "-i", photos, "-a", "nuisance", "-a", "color", "--json").out)
    assert [(sheet["attribute"], sheet["image"]) for sheet in rows] == [
        ("nuisance", "bird/a.png"),
        ("color", "bird/a.png"),
    ]
    assert all(Path(sheet["figure"]).is_file() for sheet in rows)


def test_what_pretraining_leaves_is_an_encoder(run: Run, photos: Path, tmp_path: Path) -> None:
    captions = ["a cat", "a red dog", "three birds", "an apple", "my house", "the sea"]
    pictures = [encoded(noise(i, (60, 40)), "PNG") for i in range(len(captions))]
    mine, out = tmp_path / "mine.parquet", tmp_path / "run"
    pq.write_table(pa.table({"image": pictures, "caption": captions}), mine)
    command = ["pretrain", "--objective", "siglip", "--images", mine, "--out", out, "--device", "cpu", "--threads", "1"]
    command += ["--images-seen", "8", "--batch-size", "4", "--parrot-rate", "0.5", "--accumulate", "2"]
    ran = run(*command)
    assert ran.code == 0 and ran.out == ""
    notes = "".join(ran.err.split())  # in lines as wide as a terminal
    assert f"-ebundled/siglip:{out}/model.safetensors" in notes and "step2/2:loss" in notes
    recipe = json.loads((out / "recipe.json").read_text())
    assert (recipe["objective"], recipe["images_seen"], recipe["parrot_rate"]) == ("siglip", 8, 0.5)
    before = snapshot(out)
    assert run(*command).code == 0 and snapshot(out) == before  # it is not run again
    other = run(*command, "--seed", "1")
    assert other.code == 2 and "holds a run of another recipe (seed)" in " ".join(other.err.split())
    encoder = f"bundled/siglip:{out / 'model.safetensors'}"
    (stored,) = json.loads(run("extract", photos, "-e", encoder, "--json").out)
    assert stored["encoder"] == encoder


def test_the_program_is_a_module_too() -> None:
    # as "torchrun -m embprobe" needs it
    ran = subprocess.run([sys.executable, "-m", "embprobe", "pretrain"], capture_output=True, text=True)
    assert ran.returncode == 2 and "Missing option '--objective'" in " ".join(ran.stderr.split())


def test_the_help_names_every_command_under_its_purpose(run: Run) -> None:
    ran = run("--help")
    assert ran.code == 0
    listed = ran.out
    for purpose, commands in COMMANDS.items():
        _, heading, listed = listed.partition(f" {purpose} ")
        panel = listed.partition("╰")[0]
        assert heading and all(f"│ {command} " in panel for command in commands)
    assert sum(map(len, COMMANDS.values())) == 19


def test_every_argument_and_option_is_explained() -> None:
    program = typer.main.get_command(embprobe.cli.app.app)
    commands: dict[str, Any] = dict(program.commands)  # type: ignore[attr-defined]
    for command in [*commands.values(), *commands["vlm"].commands.values()]:
        assert command.help and all(parameter.help for parameter in command.params)


def test_options_that_commands_share_reach_each_of_them(run: Run) -> None:
    for command in ("extract", "probe", "compare", "neighbors", "map", "export", "atlas"):
        explained = run(command, "--help").out
        shared = ("--workspace", "--device", "--precision", "--fast-decode", "--folders")
        assert all(option in explained for option in shared)


def test_the_version_is_the_packages(run: Run) -> None:
    ran = run("--version")
    assert (ran.code, ran.out) == (0, f"embprobe {embprobe.__version__}\n")


def test_a_shell_completes_commands_and_options() -> None:
    script = "import sys; sys.argv = ['embprobe']; from embprobe.cli.app import main; main()"
    for words, expected in {"embprobe ne": "neighbors", "embprobe extract --pre": "--precision"}.items():
        request = {"_EMBPROBE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, **request}
        )
        assert ended.stdout.split() == [expected]


def test_the_program_loads_nothing_heavy_before_it_knows_the_command() -> None:
    script = """
import sys, embprobe.cli.app
heavy = {"torch", "numpy", "faiss", "matplotlib", "sklearn", "umap", "PIL", "pyarrow", "open_clip", "timm", "scipy"}
heavy |= {"skimage", "fsspec", "pydantic"}
print(sorted(heavy & set(sys.modules)))
"""
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"


# --- what fails --------------------------------------------------------------------------------------------------

CLIP = ("pretrain", "--objective", "clip", "--out", "{tmp}/space")
FAILURES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "missing path": (("extract", "{tmp}/nowhere", *PIXELS), 2, "There is no folder or file '{tmp}/nowhere'"),
    "empty folder": (("extract", "{tmp}/empty", *PIXELS), 1, "There are no images in '{tmp}/empty'"),
    "no image": (("extract", "{tmp}/note.txt", *PIXELS), 1, "not an image in a known format"),
    "all torn": (("extract", "{tmp}/torn", *PIXELS), 1, "None of the 2 images in 'torn' can be read"),
    "unknown images": (("extract", "bundled/emojis", *PIXELS), 2, "bundled/emoji:train"),
    "nearly a data set": (("extract", "cifar-1O", *PIXELS), 2, "Did you mean 'cifar-10'?"),
    "data set without a place": (("extract", "rta-100", *PIXELS), 2, "rta-100@FOLDER"),
    "no hub data set": (("extract", "hf:", *PIXELS), 2, "hf:OWNER/NAME"),
    "compressed": (("extract", "{tmp}/images.tar.gz", *PIXELS), 2, "is compressed; unpack it first"),
    "no tar": (("extract", "{tmp}/note.tar", *PIXELS), 1, "is not a tar"),
    "no parquet": (("extract", "{tmp}/note.parquet", *PIXELS), 1, "cannot be read as parquet"),
    "no match": (("extract", "{tmp}/*.tar.gone", *PIXELS), 1, "No file matches"),
    "braces": (("extract", "{tmp}/{{000..010.tar", *PIXELS), 2, "braces"),
    "an empty name": (("extract", "", *PIXELS), 2, "The name of the images is empty"),
    "a level twice": (("extract", "{photos}", "--folders", "a,a", *PIXELS), 2, "need different names"),
    "levels that are not there": (("extract", "{photos}", "--folders", "a,b", *PIXELS), 2, "The most is 1."),
    "levels of no folders": (("extract", "--folders", "a", *PIXELS), 2, "'bundled/emoji' has no folders"),
    "a workspace": (("extract", "{tmp}/old", *PIXELS), 2, "{tmp}/old' is a workspace of embprobe"),
    "protocol": (("extract", "nowhere://a/b.tar", *PIXELS), 2, "Protocol not known"),
    "preview of nothing": (("preview", "{tmp}/gone.png", "-i", "{photos}"), 2, "no image of that key in 'photos'"),
    "preview of what": (("preview", "-a", "colour", "bird/a.png", "-i", "{photos}"), 2, "No intervention changes"),
    "no such data set": (("datasets", "imagenet-22k"), 2, "No data set's name matches 'imagenet-22k'"),
    "unknown encoder": (("extract", "{photos}", "-e", "reference/pixel"), 2, "Did you mean reference/pixels"),
    "no weights": (("extract", "{photos}", "-e", "bundled/clip:gone.safetensors"), 2, "no weights file 'gone.saf"),
    "unknown device": (("extract", "{photos}", *PIXELS, "--device", "tpu"), 2, "no device 'tpu'"),
    "unknown attribute": (("probe", "{photos}", "-a", "colour", *PIXELS), 2, "Did you mean color?"),
    "all and a wrong one": (("probe", "{photos}", "-a", "all", "-a", "colour", *PIXELS), 2, "Did you mean color?"),
    "nearly all": (("probe", "{photos}", "-a", "al", *PIXELS), 2, "There is no probe of 'al'"),
    "no attribute": (("probe", "{photos}", *PIXELS), 2, "text, typographic, vision, all; or --card FILE"),
    "missing label": (("probe", "{photos}", "--card", "{tmp}/breed.toml", *PIXELS), 1, "it needs the label 'breed'"),
    "wrong key": (("probe", "{photos}", "--card", "{tmp}/key.toml", *PIXELS), 1, "right at 'measures.0.hue': there is"),
    "wrong treatment": (("probe", "{photos}", "--card", "{tmp}/do.toml", *PIXELS), 2, "no intervention 'hew'"),
    "missing card": (("probe", "{photos}", "--card", "{tmp}/gone.toml", *PIXELS), 2, "gone.toml' cannot be read"),
    "wrong card": (("probe", "{photos}", "--card", "{tmp}/note.txt", *PIXELS), 1, "note.txt' is not valid TOML"),
    "missing query": (("neighbors", "{tmp}/gone.png", "-i", "{photos}", *PIXELS), 2, "no image file '{tmp}/gone.png'"),
    "torn query": (("neighbors", "{tmp}/note.txt", "-i", "{photos}", *PIXELS), 1, "note.txt' cannot be read as an"),
    "nothing as query": (("neighbors", "-i", "{photos}", *PIXELS), 2, "Say what to look for"),
    "text for an encoder without": (
        ("neighbors", "-t", "x", "-i", "{photos}", *PIXELS),
        2,
        "None of the encoders takes",
    ),
    "no such label": (("neighbors", "{photos}", "-i", "{photos}", *PIXELS, "--where", "a=b"), 2, "has a label 'a'"),
    "no workspace": (("report",), 1, "There is no workspace at '{tmp}/space'"),
    "unknown objective": (("pretrain", "--objective", "mae", "--out", "{tmp}/space"), 2, "mae"),
    "unknown augmentation": (
        (*CLIP, "--augmentation", "strong"),
        2,
        "There are: published, dino, no-jitter, planckian",
    ),
    "training in eight bits": ((*CLIP, "--precision", "float8"), 2, "no precision 'float8' to train in"),
    "training without captions": ((*CLIP, "--images", "{photos}"), 1, "needs a label 'caption' or 'name'"),
    "no captions to understand": (
        ("pretrain", "--objective", "dino", "--text", "{tmp}/minilm", "--out", "{tmp}/space"),
        2,
        "'dino' reads no captions",
    ),
    "no such encoders": (("encoders", "no-such-encoder"), 1, "No encoder's name matches 'no-such-encoder'"),
}


def test_commands_typed_among_the_photographs_find_the_same_images_again(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workspace lies among the images, with its figures, when no other is named."""
    monkeypatch.chdir(photos)
    here = ("--workspace", "embprobe-workspace")
    assert run("extract", ".", *PIXELS, *here).code == 0
    for command in ("map", "neighbors"):
        arguments = (".", "--method", "pca") if command == "map" else ("cat/d.png", "-i", ".")
        assert run(command, *arguments, *PIXELS, *here).code == 0
    assert list((photos / "embprobe-workspace").rglob("*.png"))
    again = run("extract", ".", *PIXELS, *here)
    assert again.code == 0 and "9 x 432, already there" in again.err
    assert "1 folder passed over, with output of embprobe: embprobe-workspace." in again.err


def test_the_labels_of_folders_are_told_and_can_be_named(run: Run, photos: Path) -> None:
    guessed = run("probe", str(photos), "-a", "category", "--explain")
    assert "Labels guessed from folders: category (3: bird, cat, dog)" in guessed.err
    named = run("probe", str(photos), "-a", "category", "--explain", "--folders", "animal")
    assert "guessed" not in named.err and "animal (3)" in named.out


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_a_sentence_and_an_exit_code_and_leaves_nothing(
    name: str, run: Run, photos: Path, tmp_path: Path, space: Path, mine: Path
) -> None:
    card = mine.read_text(encoding="utf-8")
    before, quick, last = card.partition("[[measures]]")[0], *card.split("[[measures]]")[1:]
    (tmp_path / "breed.toml").write_text(f"{before}[[measures]]{last}", encoding="utf-8")
    (tmp_path / "key.toml").write_text(f"{before}[[measures]]{quick}hue = 3", encoding="utf-8")
    (tmp_path / "do.toml").write_text(card.replace("greyscale", "hew"), encoding="utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "embprobe.json").write_text('{"schema": 1}')
    for note in ("note.txt", "note.tar", "note.parquet"):
        (tmp_path / note).write_text("no image, no card")
    for torn in "ab":
        (tmp_path / "torn" / f"{torn}.png").write_bytes(b"")
    arguments, code, message = FAILURES[name]
    names = {"tmp": str(tmp_path), "photos": str(photos)}
    ran = run(*(argument.format(**names) for argument in arguments))
    assert ran.code == code
    assert ran.out.strip() == ""
    last = ran.err.rstrip("\n").splitlines()[-1]
    assert last.startswith("embprobe: ") and message.format(**names) in last
    assert last.endswith(".") and "Traceback" not in ran.err
    assert set(files(space)) <= {"embprobe.json"}  # at most an empty workspace


def test_a_workspace_that_cannot_be_used_is_left_as_it_is(run: Run, photos: Path, space: Path) -> None:
    space.mkdir()
    for content, message in {
        '{"schema": 99}': "was written with schema 99; this embprobe reads schema",
        "not json": "is damaged",
    }.items():
        (space / "embprobe.json").write_text(content)
        before = snapshot(space)
        ran = run("extract", photos, *PIXELS)
        assert ran.code == 1 and message in ran.err and "Traceback" not in ran.err
        assert snapshot(space) == before


def test_a_workspace_may_not_be_a_file_or_hold_other_things(run: Run, photos: Path, tmp_path: Path) -> None:
    before = snapshot(photos)
    for place, message in {photos: "holds other things", photos / "cat" / "d.png": "is a file"}.items():
        ran = run("extract", photos, *PIXELS, "--workspace", place)
        assert ran.code == 1 and message in ran.err
    assert snapshot(photos) == before


def test_failures_leave_a_workspace_in_use_as_it_is(
    run: Run, photos: Path, space: Path, tmp_path: Path, mine: Path
) -> None:
    mine.write_text(mine.read_text(encoding="utf-8").replace("greyscale", "hew"), encoding="utf-8")
    assert run("extract", photos, *PIXELS).code == 0
    before = files(space)
    (tmp_path / "note.txt").write_text("no image")
    for arguments in (
        ("extract", tmp_path / "note.txt", *PIXELS),
        ("neighbors", tmp_path / "note.txt", "-i", photos, *PIXELS),
        ("probe", photos, "--card", mine, *PIXELS),
        ("extract", photos, "-e", "reference/pixel"),
    ):
        assert run(*arguments).code != 0
    assert files(space) == before


def test_a_damaged_store_is_a_sentence(run: Run, photos: Path, space: Path) -> None:
    query = photos / "cat" / "d.png"
    assert run("extract", photos, *PIXELS).code == 0
    (shard,) = space.glob("stores/*/*/img_emb/*.npy")
    shard.write_bytes(shard.read_bytes()[:-9])
    ran = run("neighbors", query, "-i", photos, *PIXELS)
    assert ran.code == 0 and "is damaged or gone. It is made again." in ran.err
    assert not [*space.glob("stores/*/*/index.faiss")]  # few rows are searched without an index
    whole = shard.read_bytes()
    shard.write_bytes(b"hello " * (len(whole) // 6) + b"." * (len(whole) % 6))  # of the same size
    ran = run("neighbors", query, "-i", photos, *PIXELS)
    assert ran.code == 1 and "is damaged" in ran.err and "embprobe verify --repair" in ran.err
    ran = run("verify")
    assert ran.code == 1 and "img_emb/img_emb_00000.npy has changed" in ran.err
    assert run("verify", "--repair").code == 0
    assert run("neighbors", query, "-i", photos, *PIXELS).code == 0
    assert shard.read_bytes() == whole and run("verify").code == 0
    (manifest,) = space.glob("stores/*/*/manifest.json")
    manifest.write_text("{")
    ran = run("extract", photos, *PIXELS)
    assert ran.code == 1 and "manifest.json' is damaged. Remove" in ran.err


@pytest.mark.parametrize("option", [("-k", "0"), ("-k", "few"), ("--no-such-option",)])
def test_a_wrong_option_is_wrong_usage(run: Run, photos: Path, space: Path, option: tuple[str, ...]) -> None:
    ran = run("neighbors", photos / "cat" / "d.png", "-i", photos, *option)
    assert ran.code == 2 and option[0] in ran.err and "Traceback" not in ran.err
    assert not space.exists()


def test_what_the_system_refuses_is_a_sentence(run: Run, tmp_path: Path) -> None:
    ran = run("extract", tmp_path / ("x" * 300), *PIXELS)
    assert ran.code in (1, 2) and "x" * 300 in ran.err and "Traceback" not in ran.err


def test_debug_shows_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["embprobe", "extract", str(tmp_path / "nowhere"), "--debug"])
    with pytest.raises(UsageError):  # nothing catches it
        embprobe.cli.app.main()


def test_the_program_shows_the_traceback_too_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "embprobe", "--debug", "probe", "-a", "colour"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode != 0 and ended.stdout == ""
    assert "Traceback" in ended.stderr and "UsageError: There is no probe of 'colour'" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_bundled_images_are_what_is_extracted_unless_told_otherwise(run: Run) -> None:
    assert "[default: (bundled/emoji)]" in run("extract", "--help").out
    assert load_images().name == "bundled/emoji"


def test_no_name_in_an_error_steers_the_terminal(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "red\x1b[31m"
    folder.mkdir()
    ran = run("extract", folder, *PIXELS)
    assert ran.code == 1 and "\x1b" not in ran.err and "red\\x1b[31m" in ran.err
