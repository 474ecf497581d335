"""The vision-centric card and encoders of one fact each: who only counts, counts, and knows nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from embprobe.embeddings.workspace import Workspace
from embprobe.images import Images
from embprobe.interventions import INTERVENTIONS
from embprobe.probing.card import bundled_card
from embprobe.probing.kinds.decoding import Decoding
from embprobe.probing.run import run_probe
from embprobe.selftest.oracles import SCENES, Oracle, OracleSession
from embprobe.selftest.scenes import facts_apart

FACTS = {
    "count": "count",
    "place": "place",
    "orientation": "turn",
    "left or right of a ball:": "beside",
    "larger one left or right:": "larger",
    "occluded": "occluded",
    "one of four upside down:": "odd",
}
"""Every decoding of the card, with the factor that its oracle knows."""


def test_every_decoding_of_the_card_has_an_oracle() -> None:
    asked = [each.called or each.label for each in bundled_card("vision").measures if isinstance(each, Decoding)]
    assert sorted(FACTS) == sorted(asked)
    assert set(FACTS.values()) <= set(SCENES) == {n for n, each in INTERVENTIONS.items() if each.attribute == "scene"}


def test_an_oracle_of_one_fact_decodes_it_and_guesses_at_all_others(some_emoji: Images) -> None:
    verdicts = list(facts_apart(FACTS, some_emoji, seed=0))
    assert len(verdicts) == len(FACTS) ** 2
    assert [verdict for verdict in verdicts if not verdict.passed] == []


def test_blind_pairs_are_those_whose_difference_an_oracle_does_not_know(some_emoji: Images) -> None:
    """An oracle's vector changes with what it knows alone, and with no nuisance: then ties count half."""
    counts, places = (Oracle(name, {name: 0.4, "concept": 0.6}) for name in ("count", "beside"))
    card = bundled_card("vision")
    asked = [each for each in card.measures if each.kind == "blind-pairs" and "images" in each.model_fields_set]
    pairs = [each for each in asked if each.declared_keys()[0].target in ("quantity", "position")]
    card = card.model_copy(update={"measures": pairs, "headline": None, "must_fail": [], "materials": []})
    results = run_probe(card, some_emoji, [counts, places], [], OracleSession(Workspace(Path())))
    measured = {
        (row.encoder, row.key.target): row.estimate
        for row in results.rows
        if row.key.variant is None and not row.is_difference
    }
    assert measured[counts.spec.name, "quantity"] == measured[places.spec.name, "position"] == 0
    assert measured[counts.spec.name, "position"] == measured[places.spec.name, "quantity"] == pytest.approx(0.5)
