"""A user's own encoder, ``python:module:function``: names, errors, and changes that make it another encoder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embprobe.embeddings.extract import encode
from embprobe.encoders import describe_encoder, list_encoders, load_encoder
from embprobe.errors import EmbprobeError, UsageError
from tests.conftest import solid
from tests.encoders.conftest import PICTURES, worst

CODE = """
from torch import nn
from embprobe.encoders import network_encoder

def means(device, factor="1", pooling="none"):
    return network_encoder(
        nn.Flatten(), device=device, input_size=2, mean=(0, 0, 0), std=(1, 1, 1), pooling=pooling,
        image=lambda network, batch: float(factor) * batch.mean((2, 3)),
    )
"""
"""An encoder of the mean red, green and blue, times a factor: three numbers one can work out by hand."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the current folder, which is empty; modules imported from it are forgotten after the test."""
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    importlib.invalidate_caches()


def write(file: Path, code: str = CODE) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code)
    importlib.invalidate_caches()


def test_a_function_in_the_current_folder(here: Path) -> None:
    write(here / "mine.py")
    before = list(sys.path)
    encoder = load_encoder("python:mine:means")
    assert sys.path == before
    # red 255, green 0, blue 51: 51 / 255 = 0.2
    assert encode(encoder, [solid((255, 0, 51))]).tolist() == [[1, 0, pytest.approx(0.2)]]
    assert (encoder.spec.name, encoder.spec.dimension, encoder.spec.has_text) == ("python:mine:means", 3, False)


def test_a_module_in_a_package(here: Path) -> None:
    write(here / "lab" / "vision" / "nets.py")
    assert load_encoder("python:lab.vision.nets:means").spec.name == "python:lab.vision.nets:means"


def test_a_slash_does_for_the_first_colon(here: Path) -> None:
    write(here / "mine.py")
    assert load_encoder("python/mine:means").spec == load_encoder("python:mine:means").spec


def test_an_installed_module(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here / "site" / "installed_nets.py")
    monkeypatch.syspath_prepend(here / "site")
    assert load_encoder("python:installed_nets:means").spec.dimension == 3


def test_a_module_in_the_current_folder_hides_no_installed_one(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here / "site" / "installed_nets.py")
    monkeypatch.syspath_prepend(here / "site")
    write(here / "installed_nets.py", "raise SystemExit('the wrong one')")
    write(here / "colorsys.py", "raise SystemExit('the wrong one')")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    write(here / "mine.py", f"import colorsys\n{CODE}")
    assert load_encoder("python:installed_nets:means").spec.dimension == 3
    assert load_encoder("python:mine:means").spec.dimension == 3


def test_options_are_the_functions_keyword_arguments(here: Path) -> None:
    write(here / "mine.py")
    name = "python:mine:means,factor=2.5,pooling=mean"
    encoder = load_encoder(name)
    assert (encoder.spec.name, encoder.spec.pooling) == (name, "mean")
    assert worst(encode(encoder, PICTURES), 2.5 * encode(load_encoder("python:mine:means"), PICTURES)) < 1e-6


@pytest.mark.parametrize("option", ["model", "weights", "device", "name", "self", "options"])
def test_an_option_may_have_any_name(option: str, here: Path) -> None:
    """But ``device``, which is given already."""
    code = CODE.replace('factor="1"', f'{option}="1"') if option != "device" else CODE
    write(here / "mine.py", code.replace("float(factor)", "1"))
    if option == "device":
        with pytest.raises(UsageError, match="'device'"):
            load_encoder("python:mine:means,device=cuda:7")
    else:
        assert load_encoder(f"python:mine:means,{option}=a").spec.options == f"{option}=a"


def test_another_option_is_another_encoder(here: Path) -> None:
    """An option may change the vectors or not; two stores are better than one of the wrong vectors."""
    write(here / "mine.py")
    names = ("python:mine:means", "python:mine:means,factor=2", "python:mine:means,factor=3")
    assert len({load_encoder(name).spec.fingerprint for name in names}) == 3


def test_loaded_twice_it_is_the_same_encoder(here: Path) -> None:
    write(here / "mine.py", CODE.replace("def means", "from functools import cache\n@cache\ndef means"))
    first, again = load_encoder("python:mine:means").spec, load_encoder("python:mine:means").spec
    assert first == again and first.fingerprint == again.fingerprint


def test_another_function_is_another_encoder(here: Path) -> None:
    write(here / "mine.py", f"{CODE}\nothers = means")
    assert load_encoder("python:mine:means").spec.fingerprint != load_encoder("python:mine:others").spec.fingerprint


PARTIAL = "\nfrom functools import partial\nfunction = partial(means)\n"
OBJECT = "\nclass Maker:\n    def __call__(self, **options):\n        return means(**options)\n\nfunction = Maker()\n"


@pytest.mark.parametrize(
    "way", ["\nfunction = means\n", PARTIAL, OBJECT, "imported"], ids=["plain", "partial", "object", ""]
)
def test_a_changed_source_is_another_encoder(way: str, here: Path) -> None:
    """However the function is made, and wherever; a new process imports the new source."""
    fingerprints = set()
    for factor in (1, 2):
        code = CODE.replace("float(factor)", f"{factor} * float(factor)")
        write(here / "theirs.py", code)
        write(here / "mine.py", "from theirs import means as function" if way == "imported" else code + way)
        for module in ("mine", "theirs"):
            sys.modules.pop(module, None)
        fingerprints.add(load_encoder("python:mine:function").spec.fingerprint)
    assert len(fingerprints) == 2


def test_a_function_of_a_script_that_was_run_and_not_imported(here: Path) -> None:
    write(here / "script.py")
    write(here / "mine.py", "from runpy import run_path\nfunction = run_path('script.py')['means']\n")
    assert load_encoder("python:mine:function").spec.dimension == 3


def test_the_source_that_was_imported_is_hashed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook, an edited module is still the old one until it is imported anew."""
    monkeypatch.syspath_prepend(here)
    write(here / "mine.py")
    before = load_encoder("python:mine:means")
    write(here / "mine.py", CODE.replace("float(factor)", "2 * float(factor)"))
    after = load_encoder("python:mine:means")
    same_vectors = np.array_equal(encode(before, PICTURES), encode(after, PICTURES))
    assert same_vectors == (before.spec.fingerprint == after.spec.fingerprint)
    importlib.reload(sys.modules["mine"])
    anew = load_encoder("python:mine:means")
    assert worst(encode(anew, PICTURES), 2 * encode(before, PICTURES)) < 1e-6
    assert anew.spec.fingerprint != before.spec.fingerprint


def test_changed_weights_are_another_encoder(here: Path) -> None:
    write(
        here / "mine.py",
        CODE.replace("nn.Flatten()", "linear()")
        + "\nfrom pathlib import Path\nimport torch\ndef linear():\n    network = nn.Linear(1, 1)\n"
        + "    nn.init.constant_(network.weight, float(Path('weight').read_text()))\n"
        + "    nn.init.zeros_(network.bias)\n    return network\n",
    )
    fingerprints = []
    for weight in ("1", "2", "1"):
        (here / "weight").write_text(weight)
        fingerprints.append(load_encoder("python:mine:means").spec.fingerprint)
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


# --- errors are sentences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:", "names no function"),
        ("python:mine", "names no function"),
        ("python:mine:", "names no function"),
        ("python:nowhere:means", "cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("python:mine.deeper:means", "cannot be imported: ModuleNotFoundError"),
        ("python:.mine:means", "cannot be imported"),
        ("python:..:means", "cannot be imported"),
        ("python::means", "cannot be imported"),
        ("python:mine:nothing", "The module 'mine' has no function 'nothing'"),
        ("python:mine:CONSTANT", "The module 'mine' has no function 'CONSTANT'"),
        ("python:mine:means:more", "The module 'mine' has no function 'means:more'"),
        ("python:broken:means", "cannot be imported: SyntaxError"),
        ("python:failing:means", "cannot be imported: RuntimeError: no licence"),
        ("python:mine:fails", "'python:mine:fails' failed: ZeroDivisionError: division by zero"),
        ("python:mine:means,size=224", "'python:mine:means' failed: TypeError: .*'size'"),
        ("python:mine:no_arguments", "'python:mine:no_arguments' failed: TypeError"),
        ("python:mine:nothing_back", "'python:mine:nothing_back' gave a NoneType, not an encoder"),
        ("python:mine:a_network", "'python:mine:a_network' gave a Flatten, not an encoder"),
        ("python:mine:picky", "the file 'x' is missing"),
    ],
)
def test_errors_are_sentences(name: str, message: str, here: Path) -> None:
    write(
        here / "mine.py",
        f"""{CODE}
from embprobe.errors import EmbprobeError

CONSTANT = 3

def fails(device):
    return 1 / 0

def no_arguments():
    return None

def nothing_back(device):
    return None

def a_network(device):
    return nn.Flatten()

def picky(device):
    raise EmbprobeError("the file 'x' is missing")
""",
    )
    write(here / "broken.py", "def means(:\n")
    write(here / "failing.py", "raise RuntimeError('no licence')")
    with pytest.raises(EmbprobeError, match=message) as failed:
        load_encoder(name)
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "import sys; sys.exit('bye')"])
def test_a_module_that_would_end_the_process_is_a_sentence(code: str, here: Path) -> None:
    """A script without ``if __name__ == "__main__"``, say."""
    write(here / "leaving.py", code)
    with pytest.raises(UsageError, match="cannot be imported: SystemExit"):
        load_encoder("python:leaving:means")


def test_the_form_of_the_name_is_listed() -> None:
    assert list_encoders("python*") == ["python:PACKAGE.MODULE:FUNCTION"]
    listing = describe_encoder("python:PACKAGE.MODULE:FUNCTION")
    assert (listing.name, listing.dimension, listing.has_text) == ("python:PACKAGE.MODULE:FUNCTION", None, None)
