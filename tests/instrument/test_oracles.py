"""Encoders with planted sensitivities: the bundled cards must find what was planted, in whatever basis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Encoder, Floats
from embprobe.images import Images
from embprobe.probing.card import attributes, bundled_card
from embprobe.probing.key import Key
from embprobe.probing.results import Results
from embprobe.probing.run import run_probe
from embprobe.selftest.oracles import DIMENSION, Oracle, OracleSession
from embprobe.selftest.planted import ORDERED, planted

NOWHERE = Workspace(Path())
MIXED = Oracle("mixed", {"category": 0.2, "concept": 0.2, "text": 0.1, "color": 0.2, "style": 0.2})
BLIND = Oracle("blind", {"category": 0.2, "concept": 0.3, "text": 0.1, "color": 0.0, "style": 0.2})


def estimates(results: Results) -> dict[tuple[Key, str], float]:
    """By key, without the name of the images, and encoder or pair."""
    return {(replace(row.key, dataset=None), row.label): row.estimate for row in results.rows}


@pytest.mark.parametrize("attribute", ORDERED)
def test_every_measure_recovers_the_planted_order_and_the_shares(attribute: str, some_emoji: Images) -> None:
    verdicts = list(planted(attribute, some_emoji, seed=0))
    assert len(verdicts) >= len(ORDERED[attribute])
    assert [verdict for verdict in verdicts if not verdict.passed] == []


def test_an_oracle_without_colour_is_not_moved_by_it(few_emoji: Images) -> None:
    found = estimates(run_probe(bundled_card("color"), few_emoji, [BLIND, MIXED], [], OracleSession(NOWHERE)))
    for strength in (60, 120, 180):
        # vectors are the sum of directions of length sqrt(share): of d = 1 - cos only colour's 0.2 moves, over the mean
        # distance of unrelated images, about 1: those of one category or style are nearer
        moved = Key(kind="displacement", target="hue", strength=strength)
        assert found[moved, "oracle/blind"] == pytest.approx(0, abs=1e-6)
        assert found[moved, "oracle/mixed"] == pytest.approx(0.2, abs=0.05)
        assert found[replace(moved, variant="under noise 0.05"), "oracle/mixed"] == pytest.approx(0)
    share = Key(kind="variance", target="color")
    assert found[share, "oracle/blind"] == pytest.approx(0, abs=0.005)
    assert found[share, "oracle/mixed"] == pytest.approx(0.2, abs=0.02)


# --- the basis does not matter -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turned(OracleSession):
    """Every oracle's vectors multiplied by a matrix ``[256, 256]``."""

    matrix: Floats | None = None

    def embed(self, images: Images, encoders: Sequence[Encoder], what: str) -> EmbeddingSet:
        found = super().embed(images, encoders, what)
        assert self.matrix is not None
        return replace(
            found, vectors={name: np.asarray(each @ self.matrix, np.float32) for name, each in found.vectors.items()}
        )


def rotation() -> Floats:
    q, r = np.linalg.qr(np.random.default_rng(0).standard_normal((DIMENSION, DIMENSION)))
    return np.asarray(q * np.sign(np.diag(r)), np.float32)


def permutation() -> Floats:
    return np.asarray(np.eye(DIMENSION)[np.random.default_rng(0).permutation(DIMENSION)], np.float32)


def scaling() -> Floats:
    return np.asarray(7.25 * np.eye(DIMENSION), np.float32)


def _in_the_basis(key: Key) -> bool:
    """What is about single dimensions by its definition."""
    return (key.condition or "").startswith(("truncate", "int8", "binary"))


NOT_ASKED = ("dense", "typographic")
"""Cards that are not asked here; ``dense`` is of patches, which these oracles have not."""


@pytest.fixture(scope="module")
def plain(few_emoji: Images) -> dict[str, dict[tuple[Key, str], float]]:
    session = OracleSession(NOWHERE)
    return {
        name: estimates(run_probe(bundled_card(name), few_emoji, [MIXED, BLIND], [], session))
        for name in attributes()
        if name not in NOT_ASKED
    }


@pytest.mark.parametrize("change", [rotation, permutation, scaling], ids=lambda change: change.__name__)
@pytest.mark.parametrize("attribute", [name for name in attributes() if name not in NOT_ASKED])
def test_another_basis_changes_no_result(
    attribute: str, change: object, few_emoji: Images, plain: dict[str, dict[tuple[Key, str], float]]
) -> None:
    assert callable(change)
    session = Turned(NOWHERE, matrix=change())
    found = estimates(run_probe(bundled_card(attribute), few_emoji, [MIXED, BLIND], [], session))
    assert found.keys() == plain[attribute].keys()
    moved = {
        key: (plain[attribute][key], value)
        for key, value in found.items()
        if not _in_the_basis(key[0]) and abs(value - plain[attribute][key]) > 1e-6 * max(1, abs(plain[attribute][key]))
    }
    assert moved == {}
