"""What the documentation lists is what there is."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from embprobe.claims.model import bundled_claims, card_of
from embprobe.encoders import load_encoder
from embprobe.interventions import INTERVENTIONS
from embprobe.probing.kinds.decoding import UNSEEN

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def render_docs() -> Any:
    """Load the script as a module."""
    script = ROOT / "scripts" / "render_docs.py"
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module
    spec.loader.exec_module(module)
    return module


RENDER = render_docs()


def test_every_intervention_is_documented_with_its_unit_and_its_range() -> None:
    lines = (ROOT / "docs" / "interventions.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    found = {row[0].strip("`"): (row[1], row[2]) for row in rows}
    assert found == {
        each.name: (
            each.unit,
            "0 or 1" if each.whole else "{:g} to {:g}".format(*each.range),
        )
        for each in INTERVENTIONS.values()
    }


def test_every_control_is_documented() -> None:
    text = (ROOT / "docs" / "interventions.md").read_text(encoding="utf-8")
    assert all(f"`{control}`" in text for each in INTERVENTIONS.values() for control in each.controls)


def test_every_claim_is_documented_as_it_is_decided() -> None:
    (section,) = re.findall(r"(?ms)^## The claims\n(.*?)^## ", (ROOT / "docs" / "study.md").read_text(encoding="utf-8"))
    lines = section.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| \d", line)]
    claims = bundled_claims()
    assert [row[0] for row in rows] == [str(i + 1) for i in range(len(claims))]
    for (_, sentence, paper, number, pair, relation), claim in zip(rows, claims, strict=True):
        keys = [key for measure in card_of(claim.card).measures for key in measure.declared_keys()]
        assert (sentence, pair) == (claim.sentence, f"{claim.a} - {claim.b}")
        assert number == f"{claim.card}: {str(claim.number.find(keys, folds=UNSEEN)).replace(': ', ', ')}"
        assert claim.source.endswith({"A": "2510.11835", "B": "2210.09304"}[paper])
        assert relation.partition(",")[0] == claim.relation and bool(claim.learned) == ("learned" in relation)
        assert not claim.margin or relation == f"{claim.relation}, margin {claim.margin:g}"


def test_the_encoder_of_ones_own_works_as_it_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8"), re.S)
    (tmp_path / "my_encoders.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    spec = load_encoder("python:my_encoders:resnet,layers=34").spec
    assert spec.name == "python:my_encoders:resnet,layers=34"
    image_input = spec.require_image_input()
    assert (spec.dimension, image_input.input_size, image_input.resize_to, spec.pooling) == (512, 224, 256, "mean")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_number_in_a_page_is_its_record_s() -> None:
    assert RENDER.differences() == ""


def test_every_record_holds_the_command_that_prints_it() -> None:
    for name, command in RENDER.COMMANDS.items():
        content = RENDER.record(name)
        assert content["command"] == f"embprobe {command}"
        assert content["versions"]["embprobe"] and content["images"]["name"] and content["encoders"] and content["rows"]
    for path in RENDER.RECORDS.glob("*.json"):
        content = RENDER.record(path.stem)
        assert content["command"] and ("versions" in content) != ("transcribed" in content)


def test_what_the_arms_script_writes_becomes_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    difference = {"attribute": "text", "estimate": 0.25, "low": 0.125, "high": 0.5, "p_adjusted": 0.03}
    claim = {"a": "clip", "b": "dino", "verdict": "reproduced", "difference": difference}
    (tmp_path / "found.json").write_text(json.dumps([{"arm": "seed 0", "claims": [claim]}]))
    (tmp_path / "arms.json").write_text(json.dumps(RENDER.record("arms")))
    monkeypatch.setattr(RENDER, "RECORDS", tmp_path)
    RENDER.write_arms(tmp_path / "found.json")
    assert RENDER.arms().splitlines()[0] == "| arm | text (clip - dino) |"
    assert RENDER.arms().splitlines()[-1] == "| seed 0 | +0.250 (+0.125 to +0.500), reproduced |"


def test_a_number_that_differs_is_shown_beside_its_record_s() -> None:
    wrong = "is <!-- n: text; word decoding, unseen concepts; clip; estimate -->0.999<!-- /n --> of"
    right = RENDER.render(wrong)
    measured = [row for row in RENDER.record("text")["rows"] if row["measure"] == "word decoding, unseen concepts"]
    (row,) = [row for row in measured if row["encoder"] == "bundled/clip" and not row["against"]]
    assert right == wrong.replace("0.999", f"{row['estimate']:.3f}") != wrong


def test_a_difference_is_found_in_either_order() -> None:
    one, other = (
        RENDER.find_row("style", "same style nearer, another concept", pair) for pair in ("clip - dino", "dino - clip")
    )
    assert (one["estimate"], one["low"], one["high"]) == (-other["estimate"], -other["high"], -other["low"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a <!-- n: nothing; x; clip -->1<!-- /n -->", "there is no record 'nothing'"),
        ("a <!-- n: text; smell; clip -->1<!-- /n -->", "has 0 rows of 'smell' for 'clip'"),
        ("a <!-- n: text; clip -->1<!-- /n -->", "is no 'record; measure; encoder; form'"),
        ("a\n<!-- n: text; smell; clip -->1<!-- /n -->", "line 2 begins with a comment"),
        ("a <!-- n: text; word decoding, unseen concepts; clip -->1", "is not closed"),
        ("<!-- numbers: graph; text -->\n<!-- /numbers -->", "there is no block 'graph'"),
    ],
)
def test_a_number_that_no_record_holds_is_an_error(text: str, message: str) -> None:
    with pytest.raises(RENDER.RecordError, match=re.escape(message)):
        RENDER.render(text)
