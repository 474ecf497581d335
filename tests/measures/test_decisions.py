from __future__ import annotations

import os
from pathlib import Path

import pytest

from embprobe.errors import EmbprobeError
from embprobe.measures import decisions
from embprobe.measures.decisions import read_decisions
from embprobe.measures.shape_bias import estimate_shape_bias

HEADER = "subj,session,trial,rt,object_response,category,condition,imagename"


def line(decision: str, shape: str = "knife", image: str = "knife3-bicycle2", subject: str = "net") -> str:
    return f"{subject},1,7,0.61,{decision},{shape},0,0007_cue-conflict_xy_10_{image}.png"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "cue-conflict_net_session-1.csv"


def test_planted_shares_come_back(written: Path) -> None:
    """A network: 6 for shape, 2 for texture, 1 for a third class, 1 na, and 3 images without a conflict.

    A person decides on the same ten for the texture once, and for the shape nine times.
    """
    images = [f"knife{i}-bicycle2" for i in range(5)] + [f"dog{i}-oven1" for i in range(5)]
    shapes = ["knife"] * 5 + ["dog"] * 5
    by_net = ["knife", "knife", "knife", "bicycle", "na", "dog", "dog", "dog", "oven", "truck"]
    by_person = [*shapes[:9], "oven"]
    lines = [line(*each) for each in zip(by_net, shapes, images, strict=True)]
    lines += [line("cat", "cat", f"cat{i}-cat2") for i in range(3)]
    lines += [line(*each, subject="subject-01") for each in zip(by_person, shapes, images, strict=True)]
    written.write_text("\n".join([HEADER, *lines, ""]))
    read = read_decisions(written)
    assert len(read) == 23 and read.notes == ()
    net, person = (
        estimate_shape_bias(each.decisions, each.shape, each.texture, images=each.images.tolist())
        for each in (read.of("net"), read.of("subject-01"))
    )
    assert (net.shape, net.texture, net.neither, net.left_out) == (6, 2, 2, 3)
    assert net.bias and net.bias.estimate == pytest.approx(0.75) and net.coverage and net.coverage.estimate == 0.8
    assert person.bias and person.bias.estimate == pytest.approx(0.9)
    of_knives, of_dogs = net.by_class["knife"], net.by_class["dog"]
    assert (of_knives.shape, of_knives.texture, of_knives.neither) == (3, 1, 1) and of_knives.bias
    assert (of_dogs.shape, of_dogs.texture, of_dogs.neither) == (3, 1, 1)
    assert set(net.by_class) == {"knife", "dog"}
    both = estimate_shape_bias(read.decisions, read.shape, read.texture, images=read.images.tolist())
    assert both.bias and both.bias.groups == 10  # both decide on the same images
    with pytest.raises(EmbprobeError, match=r"no decisions of 'me'. Subjects: net, subject-01\."):
        read.of("me")


def test_the_order_of_columns_and_further_ones_do_not_matter(written: Path) -> None:
    written.write_text(
        "imagename,more,category,object_response,subj\r\n9_bird1-boat3.png,=1+1,bird,boat,net\r\n", encoding="utf-8-sig"
    )
    read = read_decisions(written)
    columns = read.subjects, read.images, read.decisions, read.shape, read.texture
    assert [column.tolist() for column in columns] == [["net"], ["bird1-boat3"], ["boat"], ["bird"], ["boat"]]


@pytest.mark.parametrize(
    "bad",
    [
        line("spoon"),  # none of the sixteen classes
        line("=HYPERLINK(0)"),
        line("knife", subject="=cmd|' /C calc'!A0"),
        line("knife", subject="@SUM(1)"),
        line("knife", subject=""),
        line("knife", "dog"),  # another shape than the name's
        line("knife", image="knife3"),
        line("knife", image="knife3-spoon2"),
        line("knife", image="penknife3-bicycle2"),
        line("knife", image="knife3-bicycle2.png/../x"),
        line("knife") + ",one too many",
        "net,1,7",
        '"knife\n\x00',
    ],
)
def test_lines_that_are_no_decision_are_left_out_and_counted(written: Path, bad: str) -> None:
    bad = bad if bad.count('"') % 2 == 0 else bad + '"'
    written.write_text("\n".join([HEADER, line("knife"), bad, line("bicycle"), ""]))
    read = read_decisions(written)
    assert read.decisions.tolist() == ["knife", "bicycle"]
    (note,) = read.notes
    assert note.startswith(f"1 of 3 lines of {written.name} left out: no decision among the sixteen classes")
    assert "first line 3 ('" in note and "\n" not in note and "\x00" not in note


def test_a_file_without_the_columns_is_refused_by_their_names(written: Path) -> None:
    written.write_text("subj,response,category,imagename\nnet,knife,knife,1_knife1-dog2.png\n")
    with pytest.raises(EmbprobeError, match="not a file of decisions: it needs the columns.*has not object_response"):
        read_decisions(written)
    written.write_text(f"{HEADER},category\n")
    with pytest.raises(EmbprobeError, match="each once, and has not category"):
        read_decisions(written)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it needs the columns"),
        (HEADER.encode(), "holds no decision"),
        (f"{HEADER}\n{line('spoon')}\n".encode(), "holds no decision.*its first is line 2"),
        (HEADER.encode() + b"\nn\xe9t,1\n", "save it as CSV in UTF-8"),
        (HEADER.encode("utf-16"), "save it as CSV in UTF-8"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "save it as CSV in UTF-8"),
        (f'{HEADER}\n"{line("knife")}\n'.encode(), "unexpected end of data"),
        (f"{HEADER}\n{'x' * 200_000}\n".encode(), "field larger than field limit"),
    ],
)
def test_what_is_no_such_file_is_an_error_in_words(written: Path, content: bytes, message: str) -> None:
    written.write_bytes(content)
    with pytest.raises(EmbprobeError, match=message):
        read_decisions(written)


def test_a_huge_file_a_pipe_and_a_folder_are_not_read(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EmbprobeError, match="There is no file"):
        read_decisions(written)
    with pytest.raises(EmbprobeError, match="There is no file"):
        read_decisions(written.parent)
    os.mkfifo(written)
    with pytest.raises(EmbprobeError, match="There is no file"):
        read_decisions(written)
    written.unlink()
    written.write_text(f"{HEADER}\n{line('knife')}\n")
    monkeypatch.setattr(decisions, "MAX_BYTES", 50)
    with pytest.raises(EmbprobeError, match="too many for decisions"):
        read_decisions(written)
