"""Metadata files that strangers wrote: other delimiters, columns, encodings and paths; lines that go wrong."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, load_images
from embprobe.images.readers.folder import load_folder
from tests.conftest import encoded, remarks, solid

PNG = encoded(solid((0, 0, 0), (1, 1)), "PNG")
ANIMALS = ["cat.jpg", "dog.jpg"]


def photos(at: Path, *names: str) -> Path:
    for name in names or ANIMALS:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(PNG)
    return at


def labels(images: Images) -> list[dict[str, str]]:
    return [dict(row.labels) for row in images.rows]


def read(at: Path, text: str, name: str = "metadata.csv") -> Images:
    (at / name).write_text(text, encoding="utf-8")
    return load_folder(at)


# --- delimiters, encodings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
@pytest.mark.parametrize("delimiter", list(",;\t|"), ids=repr)
def test_any_usual_delimiter_is_read(tmp_path: Path, delimiter: str, end: str) -> None:
    lines = [["file_name", "kind", "text"], ["cat.jpg", "pet", "a cat: small, soft; |"], ["dog.jpg", "", "x"]]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(lines)
    (photos(tmp_path) / "metadata.csv").write_bytes(text.getvalue().encode())
    images = load_folder(tmp_path)
    assert labels(images) == [{"kind": "pet", "text": "a cat: small, soft; |"}, {"text": "x"}]
    assert remarks(images) == ()


def test_the_first_line_of_excel_and_a_tsv_are_read(tmp_path: Path) -> None:
    assert labels(read(photos(tmp_path / "a"), "sep=;\nfile_name;x\ncat.jpg;1,5\n"))[0] == {"x": "1,5"}
    assert labels(read(photos(tmp_path / "b"), "file_name\tx\ncat.jpg\ta, b\n", "metadata.tsv"))[0] == {"x": "a, b"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_unicode_is_read_as_excel_writes_it(tmp_path: Path, encoding: str) -> None:
    content = "file_name\tx\r\ncat.jpg\té猫\r\n"
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    (photos(tmp_path) / "metadata.csv").write_bytes(mark + content.encode(encoding))
    assert labels(load_folder(tmp_path))[0] == {"x": "é猫"}


def test_another_encoding_is_an_error_that_says_how_to_save_it(tmp_path: Path) -> None:
    (photos(tmp_path) / "metadata.csv").write_bytes("file_name,x\ndog.jpg,b\ncat.jpg,é\n".encode("cp1252"))
    with pytest.raises(EmbprobeError, match=r"line 3 is not in UTF-8 \(byte 0xe9\); save it as UTF-8"):
        load_folder(tmp_path)


# --- which column ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["filename", "File Name", "image", "Image-ID", "path", "img_path", "FILE"])
def test_an_obvious_column_names_the_images_if_its_values_do(tmp_path: Path, column: str) -> None:
    images = read(photos(tmp_path), f"id;{column};breed\n1;cat.jpg;tabby\n2;dog.jpg;pug\n")
    assert labels(images) == [{"id": "1", "breed": "tabby"}, {"id": "2", "breed": "pug"}]
    (note,) = remarks(images)
    assert note == f"the column '{column}' of metadata.csv names the images (--key-column names another)"


@pytest.mark.parametrize(
    ("header", "advice"),
    [
        ("title;Rasse", r"Its columns: 'title', 'Rasse'\. 'title' holds names of 2 images here: --key-column 'title'"),
        ("name;id", r"'name' holds names of 2 images"),
    ],
)
def test_a_foreign_table_is_an_error_with_its_columns_and_the_likely_one(
    tmp_path: Path, header: str, advice: str
) -> None:
    with pytest.raises(EmbprobeError, match=rf"metadata\.csv' is not right: it needs a column 'file_name'.*{advice}"):
        read(photos(tmp_path), f"{header}\ncat.jpg;a\ndog.jpg;b\n")


def test_the_nearest_known_name_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match=r"--key-column COLUMN.*'flie_nam' is most like it.*'file_name'"):
        read(photos(tmp_path), "flie_nam,x\nowl.jpg,1\n")
    with pytest.raises(EmbprobeError, match=r"'filename' might, but its values are no images here, first 'owl\.jpg'"):
        read(tmp_path, "filename,x\nowl.jpg,1\n")


def test_the_user_names_the_column(tmp_path: Path) -> None:
    (photos(tmp_path) / "metadata.csv").write_text("file_name;Bild;Rasse\nx.jpg;cat.jpg;tabby\ny.jpg;dog.jpg;pug\n")
    images = load_images(str(tmp_path), key_column="Bild", labels=["category=Rasse"])
    assert labels(images) == [
        {"file_name": "x.jpg", "category": "tabby"},
        {"file_name": "y.jpg", "category": "pug"},
    ]
    with pytest.raises(UsageError, match=r"no column 'Bilt'\. Did you mean 'Bild'\? Its columns: 'file_name', 'Bild'"):
        load_images(str(tmp_path), key_column="Bilt")


def test_a_table_of_another_name_is_noted_and_read_where_the_user_names_its_column(tmp_path: Path) -> None:
    (photos(tmp_path) / "labels.csv").write_text("Datei,Art\ncat.jpg,pet\n")
    (note,) = remarks(load_folder(tmp_path))
    assert (
        note
        == "1 table not read (call it metadata.csv, or name its column of file names with --key-column): labels.csv"
    )
    assert labels(load_images(str(tmp_path), key_column="Datei"))[0] == {"Art": "pet"}
    (tmp_path / "more.tsv").write_text("")
    with pytest.raises(UsageError, match=r"more than one table .*'labels\.csv', 'more\.tsv'"):
        load_images(str(tmp_path), key_column="Datei")


def test_a_key_column_without_a_table_is_wrong_usage(tmp_path: Path) -> None:
    for place in (photos(tmp_path), tmp_path / "cat.jpg", "bundled/emoji"):
        with pytest.raises(UsageError, match="column 'x'"):
            load_images(str(place), key_column="x")


# --- paths -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "cats/café.jpg",
        "./cats/café.jpg",
        "cats\\café.jpg",
        ".\\cats\\café.jpg",
        "dogs/../cats/café.jpg",
        "CATS/Café.JPG",
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_path_names_its_image_however_it_is_written(tmp_path: Path, name: str, form: str) -> None:
    photos(tmp_path, unicodedata.normalize("NFD", "cats/café.jpg"), "dogs/café.jpg")
    images = read(tmp_path, f"file_name,x\n{unicodedata.normalize(form, name)},1\n")  # type: ignore[arg-type]
    assert [row.labels.get("x") for row in images.rows] == ["1", None]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("/home/me/photos/cats/1.jpg", "cats/1.jpg"),
        ("C:\\photos\\cats\\1.jpg", "cats/1.jpg"),
        ("https://host/photos/dogs/1.jpg", "dogs/1.jpg"),
        ("2.jpg", "dogs/2.jpg"),
        ("2", "dogs/2.jpg"),
        ("1.jpg", None),  # two could be meant
        ("1", None),
        ("s/1.jpg", None),
        ("/etc/passwd", None),
    ],
)
def test_paths_from_elsewhere_and_bare_names_are_matched_if_one_image_alone_can_be_meant(
    tmp_path: Path, name: str, key: str | None
) -> None:
    photos(tmp_path, "cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg")
    images = read(tmp_path, f"file_name,x\n{name},1\n")
    assert [row.key for row in images.rows if "x" in row.labels] == ([key] if key else [])
    assert any("matched with metadata by" in note and key in note for note in images.notes) if key else images.notes


def test_lines_for_images_that_are_not_there_are_counted_with_the_likely_reason(tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "sub/b.jpg", "c.jpg")
    images = read(tmp_path, "file_name,x\na.jpg,1\nb.jpg,2\nc.png,3\ngone.jpg,4\n")
    without, gone = remarks(images)
    assert without == "2 images without a line of metadata: c.jpg, sub/b.jpg"
    assert gone == (
        "3 lines of metadata for an image that is not there: b.jpg, c.png, gone.jpg (1 with the name of an image in "
        "another folder; 1 with the name of an image that has another ending)"
    )


# --- lines that go wrong -----------------------------------------------------------------------------------------


def test_a_comma_without_quotation_marks_costs_no_label_where_two_columns_are(tmp_path: Path) -> None:
    images = read(photos(tmp_path), "file_name,caption\ncat.jpg,a cat, on a mat\ndog.jpg,a dog\n")
    assert labels(images) == [{"caption": "a cat, on a mat"}, {"caption": "a dog"}]
    (note,) = remarks(images)
    assert note.startswith("1 line of metadata.csv with a text that holds the delimiter") and note.endswith(": cat.jpg")
    swapped = read(tmp_path, "caption,file_name\na cat, on a mat,cat.jpg\n")
    assert labels(swapped)[0] == {"caption": "a cat, on a mat"}


def test_a_line_of_too_many_values_labels_nothing_and_is_counted(tmp_path: Path) -> None:
    images = read(photos(tmp_path), "file_name,caption,kind\ncat.jpg,a cat, on a mat,pet\ndog.jpg,a dog,pet\n")
    assert labels(images) == [{}, {"caption": "a dog", "kind": "pet"}]
    (note,) = remarks(images)
    assert note == (
        "1 line of metadata.csv with more values than columns, whose labels are left out (a text that holds a comma "
        "needs quotation marks): cat.jpg"
    )
    harmless = read(tmp_path, "file_name,kind\ncat.jpg,pet,,\n,,,\n\ndog.jpg,pet\n")
    assert labels(harmless) == [{"kind": "pet"}] * 2 and harmless.notes == ()


def test_of_two_lines_for_one_image_the_last_counts_and_it_is_told(tmp_path: Path) -> None:
    images = read(photos(tmp_path), "file_name,x,y\ncat.jpg,1,1\ncat.jpg,2,\ndog.jpg,3,3\n")
    assert labels(images) == [{"x": "2", "y": "1"}, {"x": "3", "y": "3"}]
    assert remarks(images) == ("1 image with more than one line in metadata.csv, of which the last counts: cat.jpg",)


def test_a_quotation_mark_that_is_missing_is_an_error_or_told(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match="a quotation mark that opens in line 2 is never closed"):
        read(photos(tmp_path, *ANIMALS, "owl.jpg"), 'file_name,x\ncat.jpg,"a cat\ndog.jpg,a dog\n')
    swallowed = read(tmp_path, 'file_name,x\ncat.jpg,"a cat\ndog.jpg,a dog"\nowl.jpg,an owl\n')
    assert "1 value of metadata.csv with lines of other images inside: is a quotation mark missing: cat.jpg" in (
        swallowed.notes
    )
    assert "1 image without a line of metadata: dog.jpg" in swallowed.notes
    sloppy = read(tmp_path, 'file_name,x\ncat.jpg,"the "big" cat"\ndog.jpg,5" disk\nowl.jpg,\n')
    assert any("quotation marks inside a value" in note for note in sloppy.notes)


TEXTS = st.text(st.sampled_from('ab ,;|\t"é\n0.'), max_size=8).map(str.strip)


@given(
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"])
)
@settings(max_examples=60, deadline=None)
def test_what_a_csv_writer_wrote_is_read_as_it_was(texts: list[tuple[str, str]], delimiter: str, end: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        at = photos(Path(place), *(f"{i}.jpg" for i in range(len(texts))))
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
        writer.writerows([["file_name", "x", "y"], *([f"{i}.jpg", *pair] for i, pair in enumerate(texts))])
        (at / "metadata.csv").write_bytes(text.getvalue().encode())
        found = load_folder(at)
    whole = [{name: value for name, value in zip("xy", pair, strict=True) if value} for pair in texts]
    assert [{k: _number(v) for k, v in each.items()} for each in labels(found)] == [
        {k: _number(v) for k, v in each.items()} for each in whole
    ]
    assert found.notes == ()


def _number(text: str) -> str:
    """Whole numbers lose their point where a value is missing."""
    return re.sub(r"^(-?)0*(\d+)\.0+$", r"\1\2", text)


# --- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_of_pandas_has_neither_its_index_nor_nan_nor_the_decimal_point_of_missing_values(
    tmp_path: Path, kind: str
) -> None:
    frame = pd.DataFrame({"file_name": ANIMALS, "class": [3, None], "score": [1.5, float("nan")], "n": [1, 2]})
    file = photos(tmp_path) / f"metadata.{kind}"
    if kind == "csv":
        frame.to_csv(tmp_path / "first.csv")
        pd.read_csv(tmp_path / "first.csv").to_csv(file, index=False)  # now it has a column 'Unnamed: 0'
        (tmp_path / "first.csv").unlink()
    elif kind == "jsonl":
        file.write_text("".join(json.dumps(line) + "\n" for line in frame.to_dict("records")))
        assert "NaN" in file.read_text()
    else:
        frame.rename(index={0: 5}).to_parquet(file)
    assert labels(load_folder(tmp_path)) == [{"class": "3", "score": "1.5", "n": "1"}, {"n": "2"}]


def test_texts_that_stand_for_a_missing_number_are_missing_and_others_are_texts(tmp_path: Path) -> None:
    values = ["nan", "NaN", "NaT", "<NA>", "NA", "N/A", "None", "null", "Nan"]
    photos(tmp_path, *(f"{i}.jpg" for i in range(len(values))))
    images = read(tmp_path, "file_name,x\n" + "".join(f"{i}.jpg,{value}\n" for i, value in enumerate(values)))
    assert [row.labels.get("x") for row in images.rows] == [None] * 4 + values[4:]


def test_blobs_are_no_labels_and_are_counted(tmp_path: Path) -> None:
    blob, text = "QUJD" * 500, "word " * 300
    images = read(photos(tmp_path), f"file_name,thumb,text\ncat.jpg,{blob},{text}\ndog.jpg,,\n")
    assert labels(images) == [{"text": text}, {}]
    assert remarks(images) == ("1 column of metadata.csv with values too long to be labels: thumb",)
