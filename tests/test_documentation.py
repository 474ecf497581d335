"""What the documentation lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from embprobe.claims.model import bundled_claims
from embprobe.encoders import load_encoder
from embprobe.interventions import INTERVENTIONS
from embprobe.probing.card import bundled_card
from embprobe.probing.kinds.decoding import UNSEEN

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


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
    lines = (ROOT / "docs" / "study.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| \d", line)]
    claims = bundled_claims()
    assert [row[0] for row in rows] == [str(i + 1) for i in range(len(claims))]
    for (_, sentence, paper, number, pair, relation), claim in zip(rows, claims, strict=True):
        assert (sentence, pair) == (claim.sentence, f"{claim.a} - {claim.b}")
        keys = [key for measure in bundled_card(claim.card).measures for key in measure.declared_keys()]
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
    assert (spec.dimension, spec.input_size, spec.resize_to, spec.pooling) == (512, 224, 256, "mean")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
