"""Every bundled card names a reference that lacks what is asked for; on real images it must fail."""

from __future__ import annotations

import pytest

from embprobe.cards import attributes, bundled_card
from embprobe.encoders import load_encoder
from embprobe.images import Images
from embprobe.study import Session, run_probe
from embprobe.workspace import Workspace


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.open(tmp_path_factory.mktemp("references"))


@pytest.mark.parametrize("attribute", attributes())
def test_the_reference_that_must_fail_does(attribute: str, some_emoji: Images, space: Workspace) -> None:
    card = bundled_card(attribute)
    assert card.must_fail
    asked = {check.measure.split(",")[0].split(" ")[0] for check in card.must_fail}
    needed = [
        measure
        for measure in card.measures
        if any(word in measure.model_dump_json() for word in asked) or measure.kind == "preference"
    ]
    names = {name for check in card.must_fail for name in (check.encoder, check.no_better_than) if name}
    small = card.model_copy(update={"measures": needed})
    results = run_probe(small, some_emoji, [load_encoder(name) for name in sorted(names)], [], Session(space))
    assert [check.text for check in results.conclusions.checks if not check.passed] == []
    assert len(results.conclusions.checks) == len(card.must_fail)
