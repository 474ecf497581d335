"""Answers that other tools have recorded, in their files as their code writes them, and in files that are hostile."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from embprobe.errors import EmbprobeError, UsageError
from embprobe.vlm import xlsx
from embprobe.vlm.answers import Answer, Answers, write_answers
from embprobe.vlm.compare import compare_answers
from embprobe.vlm.lmms_eval import read_lmms_eval
from embprobe.vlm.outside import open_answers
from embprobe.vlm.responses import letter_of
from embprobe.vlm.vlmevalkit import read_vlmevalkit
from embprobe.vlm.xlsx import read_xlsx

NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def jsonl(path: Path, lines: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def sample(i: int, **metrics: object) -> dict[str, object]:
    about = {"doc_id": i, "target": "B", "filtered_resps": "B", "doc_hash": "0", "token_counts": [None], "input": "?"}
    return {**about, **metrics}


def vmcbench(i: int, category: str, main: str, score: int) -> dict[str, object]:
    value = {"question_id": 100 + i, "category": category, "score": score}
    return sample(i, **{main: value, "average": value})


def test_samples_of_vmcbench_have_groups_sets_and_its_own_ids(tmp_path: Path) -> None:
    lines = [vmcbench(0, "GQA", "reason", 1), vmcbench(1, "AI2D", "doc", 0)]
    found = open_answers(jsonl(tmp_path / "llava__clip" / "20260101_120000_samples_vmcbench.jsonl", lines))
    assert [(r.key, r.score, r.every, r.group, r.kind, r.options) for r in found.rows] == [
        ("100", 1.0, True, "reasoning", "GQA", 4),
        ("101", 0.0, False, "doc & chart", "AI2D", 4),
    ]
    assert (found.name, found.asked, found.notes) == ("llava__clip", "vmcbench", ())


def test_samples_of_mmvp_are_pairs_counted_from_one(tmp_path: Path) -> None:
    lines = [
        sample(i, mmvp_accuracy=(m := {"index": i, "pair_index": i // 2, "is_correct": i < 3}), mmvp_pair_accuracy=m)
        for i in range(4)
    ]
    found = open_answers(jsonl(tmp_path / "m" / "x_samples_mmvp.jsonl", lines), name="clip")
    assert [(r.key, r.pair, r.group) for r in found.rows] == [
        (str(i), str((i + 1) // 2), "vision-centric") for i in (1, 2, 3, 4)
    ]
    assert compare_answers([found]).accuracies[0].accuracy.estimate == 0.5  # of 1, 1 and 1, 0
    assert found.name == "clip"


def test_the_metric_that_most_samples_have_counts_or_the_one_that_is_named(tmp_path: Path) -> None:
    lines = [sample(0, acc=1.0, rare=0.0, text="no number"), sample(1, acc=0.5), sample(2, acc=float("nan"))]
    path = jsonl(tmp_path / "x_samples_t.jsonl", lines)
    found = read_lmms_eval(path)
    assert [row.score for row in found.rows] == [1.0, 0.5]
    assert found.notes == ("1 samples left out, without a score by 'acc'",)
    assert [row.score for row in read_lmms_eval(path, metric="rare").rows] == [0.0]
    with pytest.raises(UsageError, match="no metric 'cider' of single questions; it has: acc, rare"):
        read_lmms_eval(path, metric="cider")


def test_letters_are_compared_where_no_metric_is_of_single_questions(tmp_path: Path) -> None:
    lines = [sample(0, mmmu={"parsed_pred": "B"}), sample(1, filtered_resps=["C. a cat"]), sample(2, filtered_resps=[])]
    found = read_lmms_eval(jsonl(tmp_path / "x_samples_t.jsonl", lines))
    assert [row.score for row in found.rows] == [1.0, 0.0, 0.0]
    assert "letters were compared; 1 responses choose none" in found.notes[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no samples"),
        (b"\n \n", "holds no samples"),
        (b"{\n", "Line 1 of .* is no JSON"),
        (b"\xff\xfe", "Line 1 of .* is no JSON"),
        (b"[" * 100_000, "Line 1 of .* is no JSON"),
        (b"[1]\n", "lacks 'doc_id'"),
        (b'{"doc_id": 1, "acc": 1}\n{"a": 2}\n', "Line 2 of .* lacks 'doc_id'"),
        (b'{"doc_id": 1, "acc": 1}\n{"doc_id": 1, "acc": 1}\n', "two answers to the question '1'"),
        (b'{"doc_id": 1, "target": "a red car", "cider": 7.5}\n', "no metric that says"),
    ],
)
def test_other_lines_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(EmbprobeError, match=said):
        open_answers(tmp_path / "a.jsonl")


def test_a_folder_of_several_tasks_is_one_models(tmp_path: Path) -> None:
    folder = tmp_path / "llava__dino"
    jsonl(folder / "20250101_000000_samples_textvqa.jsonl", [sample(0, exact_match=0.0)])
    jsonl(folder / "20260101_000000_samples_textvqa.jsonl", [sample(i, exact_match=1.0) for i in range(2)])
    one = open_answers(folder)
    assert [(r.key, r.score, r.group) for r in one.rows] == [("0", 1.0, ""), ("1", 1.0, "")]  # of the newer file
    jsonl(folder / "20260101_000000_samples_vmcbench.jsonl", [vmcbench(0, "GQA", "reason", 0)])
    jsonl(folder / "20260101_000000_samples_coco_cap.jsonl", [{"doc_id": 0, "target": "a cat", "cider": 7.5}])
    found = open_answers(folder)
    assert [(r.key, r.group) for r in found.rows] == [
        ("textvqa/0", "textvqa"),
        ("textvqa/1", "textvqa"),
        ("vmcbench/100", "reasoning"),
    ]
    assert found.name == "llava__dino"
    assert len(found.notes) == 1 and found.notes[0].startswith("coco_cap left out: ")
    with pytest.raises(UsageError, match="no samples of lmms-eval"):
        open_answers(tmp_path)


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B", "B"),
        ("b.", "B"),
        ("(C)", "C"),
        ("D: four", "D"),
        ("The correct answer is (A).", "A"),
        ("Answer: B", "B"),
        ("A cat sits on B", ""),
        ("I do not know", ""),
        ("", ""),
    ],
)
def test_a_response_chooses_a_letter_only_where_it_is_clear(response: str, letter: str) -> None:
    assert letter_of(response) == letter


# --- VLMEvalKit ----------------------------------------------------------------------------------------------------


def tsv(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    return path


def cell(value: object, at: str, shared: list[str]) -> str:
    if isinstance(value, bool):
        return f'<c r="{at}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{at}"><v>{value}</v></c>'
    text = str(value)
    if text.startswith("="):
        return f'<c r="{at}" t="str"><f>{escape(text[1:])}</f><v>stored</v></c>'
    if text.startswith("inline"):
        return f'<c r="{at}" t="inlineStr"><is><t>{escape(text)}</t></is></c>'
    shared.append(text)
    return f'<c r="{at}" t="s"><v>{len(shared) - 1}</v></c>'


def spreadsheet(path: Path, rows: Sequence[Sequence[Any]], **parts: str) -> Path:
    shared: list[str] = []
    lines = [
        f'<row r="{i}">{"".join(cell(v, f"{chr(65 + j)}{i}", shared) for j, v in enumerate(row) if v != "")}</row>'
        for i, row in enumerate(rows, 1)
    ]
    texts = "".join(f"<si><t>{escape(text)}</t></si>" for text in shared)
    files = {
        "xl/workbook.xml": f'<workbook xmlns="{NAMESPACE}" xmlns:r="{RELATIONS}"><sheets>'
        '<sheet name="a" sheetId="1" r:id="rId7"/><sheet name="b" sheetId="2" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships><Relationship Id="rId1" Target="worksheets/sheet2.xml"/>'
        '<Relationship Id="rId7" Target="/xl/worksheets/first.xml"/></Relationships>',
        "xl/worksheets/first.xml": f'<worksheet xmlns="{NAMESPACE}"><dimension ref="A1:XFD1048576"/>'
        f"<sheetData>{''.join(lines)}</sheetData></worksheet>",
        "xl/sharedStrings.xml": f'<sst xmlns="{NAMESPACE}">{texts}</sst>',
    }
    files |= {name.replace("__", "/") + ".xml": content for name, content in parts.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_values_of_a_spreadsheet_are_those_that_are_stored(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["text", 1, 2.5, True], ["", "=1+1", "inline <x>", "a_x000D_b"], [], [" two\nlines "]]
    found = list(read_xlsx(spreadsheet(tmp_path / "a.xlsx", rows)))
    assert found == [
        {0: "text", 1: "1", 2: "2.5", 3: "1"},
        {1: "stored", 2: "inline <x>", 3: "a\rb"},
        {0: " two\nlines "},
    ]


RESULTS = [
    {"index": 1, "question": "q", "A": "x", "B": "y", "answer": "A", "prediction": "A", "hit": 1, "category": "GQA"},
    {"index": 2, "question": "r", "A": "x", "B": "y", "answer": "B", "prediction": "A", "hit": 0, "category": "DocVQA"},
]


def test_results_are_the_same_from_a_spreadsheet_and_a_table(tmp_path: Path) -> None:
    first = open_answers(tsv(tmp_path / "m_VMCBench_DEV_result.tsv", RESULTS))
    cells: list[list[Any]] = [list(RESULTS[0]), *(list(row.values()) for row in RESULTS)]
    second = open_answers(spreadsheet(tmp_path / "m_VMCBench_DEV_result.xlsx", cells))
    (tmp_path / "m.json").write_text(json.dumps(RESULTS, indent=4), encoding="utf-8")
    assert first.rows == second.rows == open_answers(tmp_path / "m.json").rows
    assert [(r.key, r.score, r.group, r.kind, r.options) for r in first.rows] == [
        ("1", 1.0, "reasoning", "GQA", 2),
        ("2", 0.0, "doc & chart", "DocVQA", 2),
    ]


def test_predictions_are_scored_by_their_letter(tmp_path: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != "hit"} for row in RESULTS]
    rows += [{**rows[0], "index": "3.0", "prediction": "x"}, {**rows[0], "index": 4, "prediction": "who knows"}]
    rows += [{**rows[0], "index": 5, "answer": ""}, {**rows[0], "index": ""}]
    found = read_vlmevalkit(tsv(tmp_path / "m.tsv", rows), name="clip")
    assert [(r.key, r.score) for r in found.rows] == [("1", 1), ("2", 0), ("3", 1), ("4", 0)]
    assert found.notes == (
        "2 rows left out, without an index or a score",
        "1 predictions choose no option clearly and count as wrong",
    )


def test_turns_of_a_question_become_one_answer(tmp_path: Path) -> None:
    turns = [{**RESULTS[0], "index": i, "hit": hit} for i, hit in ((1, 1), (1_000_001, 0), (2, 1), (1_000_002, 1))]
    found = read_vlmevalkit(tsv(tmp_path / "m.tsv", turns))
    assert [(r.key, r.score, r.every) for r in found.rows] == [("1", 0.5, False), ("2", 1.0, True)]
    named = [{**turn, "index": i, "g_index": i // 2 * 2} for i, turn in enumerate(turns)]
    assert [r.score for r in read_vlmevalkit(tsv(tmp_path / "n.tsv", named)).rows] == [0.5, 1.0]


def test_rows_of_mmvp_are_pairs_by_their_index(tmp_path: Path) -> None:
    rows = [{**RESULTS[0], "index": i, "question": f"q{i // 2}"} for i in (3, 0, 1, 2)]
    found = read_vlmevalkit(tsv(tmp_path / "m_MMVP_result.tsv", rows))
    assert [(r.key, r.pair) for r in found.rows] == [("0", "1"), ("1", "1"), ("2", "2"), ("3", "2")]
    odd = read_vlmevalkit(tsv(tmp_path / "m_MMVP_result.tsv", rows[:3]))
    assert not any(row.pair for row in odd.rows) and "no pairs that ask the same" in odd.notes[0]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"id": 1, "hit": 1}], "has no column 'index'"),
        ([{"index": 1, "prediction": "A"}], "has no column 'hit', and not both"),
        ([{"index": 1, "hit": 1}, {"index": 1, "hit": 0}], "two answers to the question '1'"),
        ([{"index": 1, "hit": ""}], "answered no question"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, rows: Sequence[Mapping[str, object]], said: str) -> None:
    with pytest.raises(EmbprobeError, match=said):
        open_answers(tsv(tmp_path / "m.tsv", rows))


@pytest.mark.parametrize("content", ["{}", "[1]", "[", "[" * 100_000, "\xff"])
def test_other_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "m.json").write_text(content, encoding="latin-1")
    with pytest.raises(EmbprobeError, match="is no JSON|no list of objects"):
        open_answers(tmp_path / "m.json")


def test_hostile_spreadsheets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[list[Any]] = [["index", "hit"], [1, 1]]
    path = tmp_path / "a.xlsx"
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><sst><si><t>&b;</t></si></sst>'
    for parts, said in (
        ({"xl__sharedStrings": bomb}, "defines a document type"),
        ({"xl__sharedStrings": "<sst>"}, "no element found"),
        ({"xl__sharedStrings": "<sst/>"}, "refers to text 0 of 0"),
        ({"xl__worksheets__first": '<c r="ZZZ1"/>'}, "no column ZZZ"),
        ({"xl__workbook": "nonsense"}, "cannot be read as a spreadsheet"),
    ):
        spreadsheet(path, rows, **parts)
        with pytest.raises(EmbprobeError, match=said):
            open_answers(path)
    spreadsheet(path, rows)
    content = path.read_bytes()
    for damaged in (b"", content[:100], content[: len(content) // 2], b"\xd0\xcf\x11\xe0" + bytes(600)):
        path.write_bytes(damaged)
        with pytest.raises(EmbprobeError, match="spreadsheet"):
            open_answers(path)
    monkeypatch.setattr(xlsx, "MAX_PART", 200)
    spreadsheet(path, [*rows, *[[2, 1]] * 50])
    with pytest.raises(EmbprobeError, match="more than the limit"):
        open_answers(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "no spreadsheet")
    with pytest.raises(EmbprobeError, match="no spreadsheet in the form .xlsx"):
        open_answers(path)


def test_our_own_answers_are_read_and_may_be_renamed(tmp_path: Path) -> None:
    own = Answers(name="bundled/clip", rows=[Answer(key="1", score=1, every=True)], asked="drawings", questions="ab")
    write_answers(tmp_path / "a.jsonl", own)
    assert open_answers(tmp_path / "a.jsonl") == own
    renamed = open_answers(tmp_path / "a.jsonl", name="clip")
    assert (renamed.name, renamed.questions) == ("clip", "ab")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file"):
        open_answers(tmp_path / "none.jsonl")
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(UsageError, match="of no known form"):
        open_answers(tmp_path / "a.pkl")
