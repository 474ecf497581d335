"""Kinds of measure that other packages add: one that works, and whatever may be wrong with one.

Cards know their kinds once they are imported, so each test has a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from embprobe.probing.kinds import kinds, name_of
from embprobe.probing.measure import Measure

ROOT = Path(__file__).parents[2]
OWN = ["displacement", "decoding", "zero-shot", "preference", "variance", "natural-pairs", "geometry"]
OWN += ["attraction", "blind-pairs", "dense"]


def printed_in_docs() -> str:
    """The kind of one's own as docs/probes.md prints it."""
    text = (ROOT / "docs" / "probes.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text.partition("## A kind of measure of your own")[2], re.S)
    return str(code)


def install(folder: Path, entry_points: str, **modules: str) -> None:
    """A distribution as pip would leave it on sys.path."""
    info = folder / "plug-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[embprobe.measures]\n{entry_points}\n")
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code, encoding="utf-8")


def run(folder: Path, code: str) -> tuple[str, str]:
    """What a fresh Python prints that has the distribution on its path."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


LIST = "from embprobe.probing.kinds import kinds; import embprobe.probing.card; print(*kinds())"
PROBE = """
import json, tempfile
from pathlib import Path
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.probing.card import Card, read_card
from embprobe.probing.results import Results
from embprobe.probing.run import run_probe
from embprobe.errors import EmbprobeError
from tests.conftest import make_encoder
from tests.probing.conftest import painted

folder = Path(tempfile.mkdtemp())
(folder / "mine.toml").write_text('''
schema = 1
attribute = "mine"
title = "Mine"
question = "How long?"
resample = "concept"
headline = { kind = "length", target = "length", says = "is long" }

[[measures]]
kind = "length"
images = { where = { half = ["left"] } }
''')
card = read_card(folder / "mine.toml")
images = painted([(255, 0, 0), (0, 255, 0), (0, 0, 0)], concept=list("abc"), half=["left", "left", "right"])
twice = make_encoder("twice", lambda batch: 2 * batch.mean((2, 3)))
results = run_probe(card, images, [make_encoder(), twice], [], Session(Workspace.open(folder / "space")))
results.save(folder)
loaded = Results.load(folder)
assert loaded.rows == results.rows
text = (folder / "mine.toml").read_text()
(folder / "wrong.toml").write_text(text.replace('kind = "length"\\nimages', 'kind = "len"\\nimages'))
try:
    read_card(folder / "wrong.toml")
except EmbprobeError as error:
    wrong = str(error)
print(json.dumps({
    "estimates": [[row.label, str(row.key), row.key.kind, row.estimate, row.unit] for row in loaded.rows],
    "headline": loaded.headline(),
    "wrong": wrong,
}))
"""


def test_ours_are_those_of_their_classes() -> None:
    assert list(kinds())[: len(OWN)] == OWN
    assert all(issubclass(kind, Measure) and name_of(kind) == name for name, kind in kinds().items())


def test_an_installed_package_adds_a_kind_as_it_is_printed_in_the_docs(tmp_path: Path) -> None:
    install(tmp_path, "length = my_measures:Length", my_measures=printed_in_docs())
    out, err = run(tmp_path, PROBE)
    told = json.loads(out)
    # Of red and green every channel mean is 1 or 0, so both vectors are 1 long, and 2 where they are doubled.
    assert told["estimates"] == [
        ["test/means", "length", "length", 1.0, "length"],
        ["test/twice", "length", "length", 2.0, "length"],
        ["test/means - test/twice", "length", "length", -1.0, "length"],
    ]
    # Two concepts give no p below 2 / 4.
    assert told["headline"].startswith("Undecided whether test/means or test/twice is long more")
    assert (
        "kind must be one of attraction, blind-pairs, decoding, dense, displacement, geometry, length, natural-pairs"
        in told["wrong"]
    )
    assert "warn" not in err.lower() and "cannot be imported" not in err


BROKEN = """
from typing import Literal
from embprobe.probing.measure import Measure

class NoMeasure:
    kind = "no-measure"

class WithoutKind(Measure):
    def check(self): ...
    def declared_keys(self): return []
    def scores(self, context): yield from ()

class Abstract(Measure):
    kind: Literal["abstract"]

class Another(WithoutKind):
    kind: Literal["another"]

class Two(WithoutKind):
    kind: Literal["two", "three"]

class Unknown(WithoutKind):
    kind: Literal["unknown"]
    size: "Nowhere"

class Displacement(WithoutKind):
    kind: Literal["displacement"]

class Good(WithoutKind):
    kind: Literal["good"]
"""


@pytest.mark.parametrize(
    ("point", "warning"),
    [
        (
            "gone = nowhere:Measure",
            "The measure 'gone' (nowhere:Measure) cannot be imported: No module named 'nowhere'",
        ),
        ("gone = broken:Gone", "The measure 'gone' (broken:Gone) cannot be imported: "),
        ("raises = raising:X", "The measure 'raises' (raising:X) cannot be imported: division by zero"),
        ("no-measure = broken:NoMeasure", "'broken:NoMeasure' is no measure whose kind is 'no-measure'."),
        ("module = broken", "'broken' is no measure whose kind is 'module'."),
        ("without = broken:WithoutKind", "'broken:WithoutKind' is no measure whose kind is 'without'."),
        ("abstract = broken:Abstract", "'broken:Abstract' is no measure whose kind is 'abstract'."),
        ("mine = broken:Another", "'broken:Another' is no measure whose kind is 'mine'."),
        ("two = broken:Two", "'broken:Two' is no measure whose kind is 'two'."),
        ("unknown = broken:Unknown", "The measure 'unknown' (broken:Unknown) cannot be imported: "),
        ("circle = circle:Circle", "The measure 'circle' (circle:Circle) cannot be imported: "),
    ],
)
def test_a_broken_one_is_left_out_with_a_warning_and_the_others_stay(tmp_path: Path, point: str, warning: str) -> None:
    circle = "from embprobe.probing.card import Card\n"  # which is about to be imported
    install(tmp_path, f"{point}\ngood = broken:Good", broken=BROKEN, raising="1 / 0", circle=circle)
    out, err = run(tmp_path, LIST)
    assert out.split() == [*OWN, "good"]
    assert len(err.splitlines()) == 1 and warning in err


def test_none_takes_the_place_of_ours(tmp_path: Path) -> None:
    install(tmp_path, "displacement = broken:Displacement", broken=BROKEN)
    code = f"{LIST}; print(kinds()['displacement'].__module__)"
    out, err = run(tmp_path, code)
    assert out.split() == [*OWN, "embprobe.probing.kinds.displacement"] and err == ""
