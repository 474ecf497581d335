"""Every bundled card names a reference that lacks what is asked for; on real images it must fail."""

from __future__ import annotations

import pytest

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.images import Images
from embprobe.probing.card import attributes, bundled_card
from embprobe.probing.run import run_probe


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.open(tmp_path_factory.mktemp("references"))


CHECKED = {
    "background": "decoding",
    "category": "decoding",
    "color": "variance",
    "geometry": "decoding",
    "style": "attraction",
    "text": "decoding",
    "typographic": "preference",
}
"""The kind of the measure that each card's check is about."""


def test_every_card_has_a_check() -> None:
    assert set(CHECKED) == set(attributes())
    assert all(bundled_card(name).must_fail for name in CHECKED)


@pytest.mark.parametrize("attribute", CHECKED)
def test_the_reference_that_must_fail_does(attribute: str, some_emoji: Images, space: Workspace) -> None:
    card = bundled_card(attribute)
    (check,) = card.must_fail
    assert check.kind == CHECKED[attribute]
    names = [name for name in (check.encoder, check.no_better_than) if name]
    small = card.only([check])
    results = run_probe(small, some_emoji, [load_encoder(name) for name in names], [], Session(space))
    (found,) = results.conclusions.checks
    assert found.passed, found.text
