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


REFERENCES = ("reference/random-vit", "reference/pixels")
"""Where every encoder must fail, these stand for them."""


@pytest.mark.parametrize("attribute", attributes())
def test_the_references_that_must_fail_do(attribute: str, some_emoji: Images, space: Workspace) -> None:
    card = bundled_card(attribute).of(some_emoji)
    assert card.must_fail
    named = {name for check in card.must_fail for name in (check.encoder, check.no_better_than) if name}
    every = any(check.encoder is None for check in card.must_fail)
    encoders = [load_encoder(name) for name in sorted(named.union(REFERENCES if every else ()))]
    results = run_probe(card.only(card.must_fail), some_emoji, encoders, [], Session(space))
    checks = [check for check in results.conclusions.checks if check.passed is not None]
    assert len(checks) == len(card.must_fail)
    assert [check.text for check in checks if not check.passed] == []


@pytest.mark.parametrize("attribute", ["category", "color", "style", "text"])
def test_the_check_of_a_headline_is_about_its_number(attribute: str, some_emoji: Images) -> None:
    card = bundled_card(attribute).of(some_emoji)
    assert card.headline is not None
    about = {(check.kind, check.target) for check in card.must_fail}
    assert (card.headline.kind, card.headline.target) in about
