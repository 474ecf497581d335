"""Questions of benchmarks in the files that others publish, and in files that nobody should trust."""

from __future__ import annotations

import base64
import csv
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.decoding import UnreadableImage
from embprobe.vlm import tsv
from embprobe.vlm.benchmarks import open_questions, without_images
from embprobe.vlm.vmcbench import VMCBENCH
from tests.conftest import encoded, noise, solid

COLORS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def image(color: tuple[int, int, int]) -> str:
    return base64.b64encode(encoded(solid(color), "PNG")).decode()


RED, BLUE = image(COLORS["red"]), image(COLORS["blue"])


def row(index: object, **cells: str) -> dict[str, str]:
    facts = {"image": RED, "question": "Which color?", "A": "red", "B": "blue", "C": "green", "D": "grey"}
    return {"index": str(index), **facts, "answer": "A", "category": "OCRVQA", **cells}


def write(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_vmcbench_has_twenty_sets_in_four_groups() -> None:
    groups = list(VMCBENCH.values())
    assert {name: groups.count(name) for name in set(groups)} == {
        **{"general": 7, "reasoning": 6, "ocr": 2, "doc & chart": 5}
    }


def test_questions_of_a_tsv_have_their_texts_groups_and_images(tmp_path: Path) -> None:
    rows = [row(7), row(8, image=BLUE, answer="B", category="GQA", question='two\nlines, "quoted"\tand a tab')]
    found = open_questions(write(tmp_path / "VMCBench_DEV.tsv", rows))
    assert [(q.key, q.right, q.group, q.kind) for q in found.questions] == [
        ("7", "red", "ocr", "OCRVQA"),
        ("8", "blue", "reasoning", "GQA"),
    ]
    assert found.questions[1].text == 'two\nlines, "quoted"\tand a tab'
    by_key = {each.key: each for each in found.images.rows}
    for question, color in zip(found.questions, COLORS.values(), strict=True):
        assert by_key[question.image].load().getpixel((0, 0)) == color
    assert not found.notes


def test_rows_with_one_image_share_it_and_an_index_may_stand_for_it(tmp_path: Path) -> None:
    rows = [row(1, image="3"), row(2), row(3), row(4, image="9"), row(5, image="")]
    found = open_questions(write(tmp_path / "q.tsv", rows))
    assert len(found.images) == 1 and len({each.image for each in found.questions}) == 1
    assert [each.key for each in found.questions] == ["1", "2", "3"]
    assert found.notes == ("2 questions left out without an image, the first '4'",)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"answer": ""}, "without an answer"),
        ({"answer": "E"}, "with an answer that is none of the options"),
        ({"B": "red"}, "with two options that are the same"),
        ({"B": "", "C": "", "D": ""}, "with fewer than two options"),
        ({"question": " "}, "without a text"),
        ({"image": "?" * 80}, "with an image that is not base64"),
        ({"image": base64.b64encode(b"<html>" * 30).decode()}, "with an image in no known format"),
        ({"image": f"['{RED}', '{BLUE}']"}, "with more than one image"),
        ({"index": "1"}, "with an index that an earlier one has"),
    ],
)
def test_a_row_that_is_no_question_is_left_out_and_counted(tmp_path: Path, cells: dict[str, str], reason: str) -> None:
    found = open_questions(write(tmp_path / "q.tsv", [row(1), {**row(2), **cells}]))
    assert [each.key for each in found.questions] == ["1"]
    assert found.notes[0].startswith(f"1 question left out {reason}, the first '")


def test_a_set_without_answers_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "VMCBench_TEST.tsv", [row(i, answer="") for i in range(3)])
    with pytest.raises(EmbprobeError, match="no question to ask in 'VMCBench_TEST': 3 questions left out without an"):
        open_questions(path)


def png_of(width: int, height: int) -> bytes:
    """A PNG that declares more pixels than it has."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png_of(60_000, 60_000), "pixels, more than the limit"),
        (encoded(noise(0), "PNG")[:90], "damaged or unreadable"),
    ],
)
def test_hostile_images_are_refused_when_they_are_read(tmp_path: Path, content: bytes, reason: str) -> None:
    rows = [row(1), row(2, image=base64.b64encode(content).decode())]
    found = open_questions(write(tmp_path / "q.tsv", rows))
    broken = found.images.rows[1]
    with pytest.raises(UnreadableImage, match=reason):
        broken.read()
    left = without_images(found, [broken.key])
    assert [each.key for each in left.questions] == ["1"]
    assert left.notes == ("1 question left out because of images that cannot be read",)
    assert without_images(found, []) is found
    with pytest.raises(EmbprobeError, match="No image of 'q' can be read"):
        without_images(found, found.images.keys)


def test_an_image_of_a_file_that_has_changed_is_unreadable(tmp_path: Path) -> None:
    found = open_questions(write(tmp_path / "q.tsv", [row(1)]))
    write(tmp_path / "q.tsv", [row(10, image=BLUE)])
    with pytest.raises(UnreadableImage, match="has changed since"):
        found.images.rows[0].read()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column 'question'"),
        (b"index\tquestion\n1\tx\n", "has no column 'image'"),
        ("index\timage\tquestion\n1\tx\tgr\xfcn\n".encode("latin-1"), "Line 2 of .* is not UTF-8"),
        (b"index\timage\tquestion\n1\tx\ty\rz\n", "Line 2 of .* is no row of a table"),
        (b"index\timage\tquestion\n1\t" + b"x" * 3000 + b"\ty\n", "Line 2 of .* has more than"),
        (b'index\timage\tquestion\n1\t"' + b"x\n" * 3000, "field larger than field limit"),
    ],
)
def test_files_that_are_no_tables_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    monkeypatch.setattr(tsv, "MAX_CELL", 2000)
    limit = csv.field_size_limit()
    (tmp_path / "q.tsv").write_bytes(content)
    with pytest.raises(EmbprobeError, match=said):
        open_questions(tmp_path / "q.tsv")
    assert csv.field_size_limit() == limit


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_text_of_a_question_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tsv"
    rows = [row(i, question=f"x{text}x", image=(RED, BLUE)[i % 2]) for i, text in enumerate(texts)]
    found = open_questions(write(path, rows))
    assert [each.text for each in found.questions] == [f"x{text}x" for text in texts]
    assert all(each.read().size == (8, 8) for each in found.images.rows)


def test_parquet_files_of_hugging_face_are_read(tmp_path: Path) -> None:
    for shard, color in enumerate(COLORS):
        content = {"bytes": encoded(solid(COLORS[color]), "PNG"), "path": None}
        cells = {**row(shard, answer="AB"[shard]), "image": content}
        pq.write_table(pa.Table.from_pylist([cells]), tmp_path / f"dev-{shard}-of-2.parquet")
    found = open_questions(tmp_path)
    assert [(each.key, each.right) for each in found.questions] == [("0", "red"), ("1", "blue")]
    keys = [each.image for each in found.questions]
    pictures = [found.images.rows[found.images.keys.index(key)].load().getpixel((0, 0)) for key in keys]
    assert pictures == list(COLORS.values())
    assert open_questions(tmp_path / "dev-0-of-2.parquet").questions[0].group == "ocr"


def mmvp_folder(tmp_path: Path, rows: Sequence[tuple[str, str, str]], images: int) -> Path:
    with (tmp_path / "Questions.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Index", "Question", "Options", "Correct Answer"])
        writer.writerows([i, *cells] for i, cells in enumerate(rows, 1))
    (tmp_path / "MMVP Images").mkdir()
    for i in range(1, images + 1):
        (tmp_path / "MMVP Images" / f"{i}.jpg").write_bytes(encoded(noise(i), "JPEG"))
    return tmp_path


def test_every_two_rows_of_mmvp_are_a_pair(tmp_path: Path) -> None:
    rows = [("Open?", "(a) Yes (b) No", "(a)"), ("Open?", "(a) Yes (b) No", "(b)")] * 6
    found = open_questions(mmvp_folder(tmp_path, rows, 12))
    assert [each.pair for each in found.questions] == [str(i // 2 + 1) for i in range(12)]
    assert [each.right for each in found.questions[:2]] == ["Yes", "No"]
    assert found.questions[9].image == "MMVP Images/10.jpg"  # not the second by the alphabet
    assert found.groups == ["vision-centric"]


def test_neither_of_a_pair_is_asked_where_one_cannot_be(tmp_path: Path) -> None:
    rows = [("Open?", "(a) Yes (b) No", "(a)"), ("open? ", "(a) Yes (b) No", "(b)")] * 2
    found = open_questions(mmvp_folder(tmp_path, rows, 3))
    assert [each.key for each in found.questions] == ["1", "2"]
    assert found.notes[-2:] == (
        "1 question left out without an image, the first '4'",
        "1 question left out because the other of their pair is, the first '3'",
    )


def test_rows_that_are_no_pairs_are_refused(tmp_path: Path) -> None:
    rows = [("Open?", "(a) Yes (b) No", "(a)"), ("Shut?", "(a) Yes (b) No", "(b)")]
    with pytest.raises(EmbprobeError, match="rows 1 and 2 do not ask the same"):
        open_questions(mmvp_folder(tmp_path, rows, 2))


def test_mmvp_in_a_tsv_has_pairs_and_a_broken_image_takes_its_partner_along(tmp_path: Path) -> None:
    rows = [row(i, image=(RED, BLUE)[i % 2], question=f"q{i // 2}", category="") for i in range(4)]
    rows[3]["image"] = image((0, 255, 0))
    found = open_questions(write(tmp_path / "MMVP.tsv", rows))
    assert [each.pair for each in found.questions] == ["1", "1", "2", "2"]
    left = without_images(found, [found.questions[3].image])
    assert [each.key for each in left.questions] == ["0", "1"]


def test_the_swapped_answers_of_mmvp_are_noted(tmp_path: Path) -> None:
    rows = [row(i, question=f"q{i // 2}", answer="AB"[i % 2]) for i in range(300)]
    for i in (98, 99):
        rows[i]["question"] = "Does the elephant have long or short tusks?"
    assert "as first published" in open_questions(write(tmp_path / "MMVP.tsv", rows)).notes[-1]
    rows[98]["answer"], rows[99]["answer"] = "B", "A"
    assert not open_questions(write(tmp_path / "MMVP.tsv", rows)).notes


def test_other_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file or folder"):
        open_questions(tmp_path / "none.tsv2")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        open_questions(tmp_path / "none.tsv")
    with pytest.raises(UsageError, match="no questions of a known form"):
        open_questions(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(EmbprobeError, match="cannot be read as parquet"):
        open_questions(tmp_path / "a.parquet")
