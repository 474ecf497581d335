"""Printed lines: while a command runs, when it is done, and of names that would steer the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embprobe.cli.extract import print_stores
from embprobe.cli.probe import print_results
from embprobe.cli.progress import progress_bar, spinner
from embprobe.cli.selftest import print_verdicts
from embprobe.cli.session import unreadable_reporter
from embprobe.cli.verify import print_checked
from embprobe.embeddings.finite import finite_part
from embprobe.embeddings.keep import NO_VECTOR
from embprobe.embeddings.manifest import Rejected
from embprobe.embeddings.store import Store
from embprobe.embeddings.verify import Checked
from embprobe.probing.key import Key
from embprobe.probing.results import Check, Conclusions, Result, Results
from embprobe.selftest.promise import Verdict
from tests.conftest import Reads, make_encoder

Capture = pytest.CaptureFixture[str]
M = Key(kind="other", target="m")
HOSTILE = "\x1b[31m\x1b]0;title\x07[bold]a\x9b2J\r\nb\u202ec\u2028d\x00e"


class Clock:
    """Stands for the module ``time``."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("embprobe.cli.progress.time", made)
    return made


def store_of(folder: Path, reads: Reads, *, rejected: int = 0, name: str = "means") -> Store:
    """A complete store of twenty rows, of which the first few could not be read."""
    images = reads(20)
    store = Store(folder, make_encoder(name).spec, images, "cpu", shard_rows=20)
    torn = [Rejected(images.rows[i].key, "torn in two", i) for i in range(rejected)]
    store.write_shard(0, np.zeros((20 - rejected, 3), np.float32), images.rows[rejected:], torn)
    return store


def checked(folder: Path, **facts: object) -> Checked:
    known = Checked(folder, "test/means", "noise", 2, True, 1_250_000, (), ())
    return replace(known, **facts)  # type: ignore[arg-type]


def lines(capsys: Capture) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


# --- while it runs ---------------------------------------------------------------------------------------------------


def test_in_a_log_progress_is_a_line_every_half_minute(clock: Clock, capsys: Capture) -> None:
    with progress_bar("extracting", 3_000) as progress:
        for _ in range(30):  # 100 images in 10 s, thirty times
            clock.now += 10
            progress(100)
    logged = lines(capsys)
    assert logged[:2] == [
        "extracting: 300 of 3,000 images, 10.0 images/s, 0:04:30 left",
        "extracting: 600 of 3,000 images, 10.0 images/s, 0:04:00 left",
    ]
    assert logged[-2:] == [
        "extracting: 2,700 of 3,000 images, 10.0 images/s, 0:00:30 left",
        "extracting: 3,000 images in 300.0 s",
    ]
    assert len(logged) == 10


def test_what_takes_less_than_half_a_minute_is_said_once(clock: Clock, capsys: Capture) -> None:
    with progress_bar("extracting", 2) as progress:
        clock.now += 29
        progress(1)
        progress(1)
    assert lines(capsys) == ["extracting: 2 images in 29.0 s"]


def test_a_run_that_fails_is_not_said_to_be_done(clock: Clock, capsys: Capture) -> None:
    with pytest.raises(ZeroDivisionError), progress_bar("extracting", 2) as progress:
        progress(1)
        raise ZeroDivisionError
    assert lines(capsys) == []


def test_what_was_there_when_it_began_does_not_make_it_faster(clock: Clock, capsys: Capture) -> None:
    with progress_bar("extracting", 1_100) as progress:
        clock.now += 0.01
        progress(1_000)  # they need not be encoded again
        for _ in range(6):  # 10 in 10 s
            clock.now += 10
            progress(10)
    assert lines(capsys)[:2] == [
        "extracting: 1,030 of 1,100 images, 1.0 images/s, 0:01:10 left",
        "extracting: 1,060 of 1,100 images, 1.0 images/s, 0:00:40 left",
    ]


# --- when it is done -------------------------------------------------------------------------------------------------


def test_where_the_time_went_by_hand(tmp_path: Path, reads: Reads, capsys: Capture) -> None:
    store = store_of(tmp_path / "store", reads)
    print_stores([store], {"read": 1.0, "decode": 4.0, "encode": 2.5, "write": 2.5})
    assert lines(capsys) == [
        f"test/means: 20 x 3, 20 encoded now, in {tmp_path / 'store'}",
        "Where the time went: read 10%, decode 40%, encode 25%, write 25%.",
    ]


@pytest.mark.parametrize("seconds", [{}, {"read": 0.0, "encode": 0.0}])
def test_nothing_is_said_of_time_that_was_not_spent(
    tmp_path: Path, reads: Reads, capsys: Capture, seconds: dict[str, float]
) -> None:
    store = store_of(tmp_path / "store", reads)
    store.written = 0
    print_stores([store], seconds)
    assert lines(capsys) == [f"test/means: 20 x 3, already there, in {tmp_path / 'store'}"]


def test_what_could_not_be_read_is_said_once_for_all_encoders(tmp_path: Path, reads: Reads, capsys: Capture) -> None:
    print_stores([store_of(tmp_path / name, reads, rejected=12, name=name) for name in "ab"], {})
    assert lines(capsys) == [
        f"test/a: 8 x 3, 8 encoded now, in {tmp_path / 'a'}",
        f"test/b: 8 x 3, 8 encoded now, in {tmp_path / 'b'}",
        "12 of 20 images could not be read and were left out:",
        *(f"  '{i:03d}': torn in two" for i in range(10)),
        f"  and 2 more, all in {tmp_path / 'a' / 'rejected.jsonl'}",
    ]


def test_an_image_that_any_store_lacks_is_told_once(tmp_path: Path, reads: Reads, capsys: Capture) -> None:
    notify = unreadable_reporter()
    notify([store_of(tmp_path / "a", reads)])
    notify([store_of(tmp_path / "a", reads), store_of(tmp_path / "b", reads, rejected=2, name="b")])
    notify(
        [store_of(tmp_path / "c", reads, rejected=3, name="c"), store_of(tmp_path / "b", reads, rejected=2, name="b")]
    )
    assert lines(capsys) == [
        "2 of 20 images could not be read and were left out:",
        "  '000': torn in two",
        "  '001': torn in two",
        "1 of 20 images could not be read and were left out:",
        "  '002': torn in two",
    ]


def test_what_was_checked_is_a_line_a_store_and_its_problems(tmp_path: Path, capsys: Capture) -> None:
    stores = [
        checked(tmp_path / "a"),
        checked(tmp_path / "b", complete=False, shards=1),
        checked(tmp_path / "c", damaged=(0, 1), problems=("img_emb/x has changed", "metadata/y is gone")),
        checked(tmp_path / "d", encoder="", images="", shards=0, bytes=0, problems=("It is damaged.",)),
    ]
    print_checked(stores, tmp_path)
    assert lines(capsys) == [
        "whole: test/means x noise, 2 shards, 1.2 MB, a",
        "whole, unfinished: test/means x noise, 1 shard, 1.2 MB, b",
        "2 damaged: test/means x noise, 2 shards, 1.2 MB, c",
        "  img_emb/x has changed",
        "  metadata/y is gone",
        "1 damaged: 0 shards, 0.0 MB, d",
        "  It is damaged.",
        "With --repair the next extract makes the damaged shards again, and only those.",
    ]
    print_checked([], tmp_path)
    assert lines(capsys) == ["There are no stores yet."]
    many = checked(tmp_path / "a", damaged=(0,), problems=tuple(f"{i} is gone" for i in range(12)))
    print_checked([many], tmp_path)
    assert lines(capsys)[-3:-1] == ["  9 is gone", "  and 2 more"]


# --- results of a probe ----------------------------------------------------------------------------------------------


def result(**changes: Any) -> Result:
    facts: dict[str, Any] = {
        "attribute": "color",
        "key": Key(kind="displacement", target="hue", strength=60.0),
        "encoder": "bundled/clip",
        "role": "subject",
        "resampled": "concept",
        "groups": 50,
        "images": 50,
        "estimate": 0.5,
        "low": 0.25,
        "high": 0.75,
        "unit": "distance to an unrelated image",
    }
    return Result(**facts | changes)


def conclusions(sentences: Sequence[str] = (), checks: Sequence[Check] = ()) -> Conclusions:
    return Conclusions(key=None, numbers={}, sentences=sentences, checks=checks)


def results(*rows: Result, **changes: Any) -> Results:
    return replace(Results(manifest={}, rows=rows, scores=[], conclusions=conclusions()), **changes)


def printed(capsys: Capture, content: Results, title: str = "Colour: does it move?") -> str:
    print_results(content, title=title)
    out, err = capsys.readouterr()
    assert err == ""
    return out


def row_of_table(out: str, measure: str) -> list[str]:
    """The first line of a question, and the line with its intervals, cell by cell."""
    lines = [line[1:-1].split("│") for line in out.splitlines() if line[:1] in "┃│"]
    at = next(i for i, cells in enumerate(lines) if cells[0].strip() == measure)
    return [cell.strip() for cells in lines[at : at + 2] for cell in cells[-2:]]


def test_a_line_is_a_question_and_a_column_an_encoder(capsys: Capture) -> None:
    other = result(encoder="bundled/dino", estimate=0.125, low=0.0625, high=0.25)
    difference = result(against="bundled/dino", estimate=0.375, low=0.1, high=0.5, p=0.0001, p_adjusted=0.0002)
    out = printed(
        capsys,
        results(
            result(),
            other,
            difference,
            result(key=Key(kind="decoding", target="category", variant="k-NN", test="unseen"), unit="accuracy"),
        ),
    )
    assert out.startswith("Colour: does it move?")
    assert row_of_table(out, "hue 60: displacement") == [
        "0.125",
        "+0.375, p < 0.001",
        "0.062 to 0.250",
        "+0.100 to +0.500",
    ]
    assert row_of_table(out, "category k-NN, unseen") == ["", "", "", ""]  # no result, no text
    caption = " ".join(out.split())
    assert "95 % bootstrap intervals over 50 concepts" in caption
    assert caption.endswith("displacement: distance to an unrelated image.")  # that decoding is accuracy goes unsaid


def test_p_is_never_shown_as_zero(capsys: Capture) -> None:
    for adjusted, shown in ((0.00099, "p < 0.001"), (0.001, "p = 0.001"), (0.0449, "p = 0.045"), (1.0, "p = 1.000")):
        assert f"0.500, {shown}" in printed(capsys, results(result(p=adjusted, p_adjusted=adjusted)))


def test_the_numbers_of_groups_are_named_from_the_fewest(capsys: Capture) -> None:
    out = printed(capsys, results(result(groups=1234), result(key=M, groups=7)))
    assert "over 7 to 1,234 concepts" in " ".join(out.split())


def test_what_is_concluded_stands_under_the_table(capsys: Capture) -> None:
    concluded = conclusions(
        ["bundled/clip notices hue 2.00 times as much as bundled/dino."],
        [
            Check(encoder="reference/pixels", key=M, passed=True, text="it failed."),
            Check(encoder="reference/pixels", key=M, passed=False, text="0.9 is too much."),
        ],
    )
    out = printed(capsys, results(result(), conclusions=concluded, left_out=["zero-shot: none has a text side"]))
    assert out.splitlines()[-4:] == [
        "bundled/clip notices hue 2.00 times as much as bundled/dino.",
        "Check passed: it failed.",
        "CHECK FAILED: 0.9 is too much.",
        "Left out: zero-shot: none has a text side.",
    ]


@pytest.mark.parametrize(("encoders", "columns"), [(3, True), (4, False)])
def test_many_differences_are_counted_not_shown(capsys: Capture, encoders: int, columns: bool) -> None:
    names = [f"test/{name}" for name in "abcd"[:encoders]]
    rows = [result(encoder=name) for name in names]
    rows += [result(encoder=a, against=b, p_adjusted=1.0) for a in names for b in names if a < b]
    out = printed(capsys, results(*rows))
    assert ("+0.500, p = 1.000" in out) is columns
    assert ("The 6 differences between encoders are in the results file." in out) is not columns


# --- the instrument, tested ------------------------------------------------------------------------------------------


def test_verdicts_are_lines_and_a_count(capsys: Capture) -> None:
    good = Verdict("color: share", "0.12", "0.121", True, "planted colour")
    bad = Verdict("[red] alarms", "5 %", "50 %", False, "units")
    print_verdicts([good, bad, good])
    out, err = capsys.readouterr()
    cells = [line.split("  ")[0].strip() for line in out.splitlines()]
    assert cells == ["", "passed", "FAILED", "passed"]
    assert "units" in out and "colour" in out
    assert "[red] alarms" in out and "50 %" in out
    assert err == "2 of 3 passed. Do not believe a probe yet.\n"
    print_verdicts([good])
    assert capsys.readouterr().err == "1 of 1 passed.\n"


def test_in_a_log_what_is_being_done_is_a_line(capsys: Capture) -> None:
    with spinner("selftest") as notify:
        notify("planted color")
        notify("400 [bold] studies")
    assert lines(capsys) == ["selftest: planted color", "selftest: 400 [bold] studies"]


# --- names that would rather speak to the terminal -------------------------------------------------------------------


def bar(text: str, folder: Path, reads: Reads) -> None:
    with progress_bar(text, 1) as progress:
        progress(1)


def stores(text: str, folder: Path, reads: Reads) -> None:
    print_stores([store_of(folder, reads, name=text)], {})


def rejected(text: str, folder: Path, reads: Reads) -> None:
    store = store_of(folder, reads, rejected=1)
    store.shards[0] = store.shards[0].model_copy(update={"rejected": (Rejected(text, text, 0),)})
    print_stores([store], {})


def verified(text: str, folder: Path, reads: Reads) -> None:
    print_checked([checked(folder, encoder=text, images=text, damaged=(0,), problems=(text,))], folder.parent)


def probed(text: str, folder: Path, reads: Reads) -> None:
    key = Key(kind="natural-pairs", target=text, variant=text, test=text, condition=text, dataset=text)
    rows = [result(encoder=text, key=key, resampled=text, unit=text)]
    concluded = conclusions([text], [Check(encoder=text, key=key, passed=False, text=text)])
    print_results(results(*rows, conclusions=concluded, left_out=[text]), title=text)


SHOWN: dict[str, tuple[Callable[[str, Path, Reads], None], int]] = {
    "progress": (bar, 1),
    "stores": (stores, 1),
    "rejected": (rejected, 3),
    "verified": (verified, 3),
}


@pytest.mark.parametrize("shown", SHOWN)
def test_no_name_steers_the_terminal_or_breaks_its_line(
    shown: str, tmp_path: Path, reads: Reads, capsys: Capture
) -> None:
    show, expected = SHOWN[shown]
    show(HOSTILE, tmp_path / "store", reads)
    out, err = capsys.readouterr()
    assert out == ""
    assert not {c for c in err if unicodedata.category(c) in ("Cc", "Zl", "Zp")} - {"\n"}
    assert "\u202e" not in err
    assert len(err.splitlines()) == expected
    assert "[bold]a" in err  # as it is written, not as a style


def test_no_name_in_a_result_steers_the_terminal(tmp_path: Path, reads: Reads, capsys: Capture) -> None:
    probed(HOSTILE, tmp_path, reads)
    out, err = capsys.readouterr()
    assert err == ""
    assert not {c for c in out if unicodedata.category(c) in ("Cc", "Zl", "Zp")} - {"\n"}
    assert "\u202e" not in out
    assert "[bold]" in out  # as it is written, not as a style


def test_a_vector_that_is_not_finite_is_told_once_with_its_encoder(
    tmp_path: Path, reads: Reads, capsys: Capture
) -> None:
    images, spec = reads(20), make_encoder("half").spec
    store = Store(tmp_path / "half", replace(spec, precision="float16"), images, "cpu", shard_rows=20)
    vectors = np.ones((20, 3), np.float32)
    vectors[2:6] = np.inf
    kept, rows, rejected = finite_part(vectors, images.rows, range(20), store.spec)
    store.write_shard(0, kept, rows, rejected)
    notify = unreadable_reporter()
    for _ in range(2):
        notify([store_of(tmp_path / "whole", reads), store])
    assert lines(capsys) == [
        "4 of 20 images have a vector by test/half that is not finite (nan or inf) and are left out: '002', '003', "
        "'004', …; it computes in float16, which overflows early: try --precision bfloat16 or float32. All are in "
        f"{tmp_path / 'half' / 'rejected.jsonl'}."
    ]


def test_vectors_that_a_user_lacks_are_not_called_unreadable(tmp_path: Path, reads: Reads, capsys: Capture) -> None:
    images = reads(3)
    store = Store(tmp_path / "mine", make_encoder("mine").spec, images, "cpu", shard_rows=3)
    store.write_shard(0, np.ones((2, 3), np.float32), images.rows[:2], [Rejected("002", NO_VECTOR, 2)])
    unreadable_reporter()([store])
    assert lines(capsys) == ["1 of 3 images have no vector in 'test/mine' and are left out: '002'."]
