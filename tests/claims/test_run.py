"""A study of encoders that are always right or always wrong: p, Holm and what must be learned first, by hand."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from embprobe.claims import model, numbers
from embprobe.claims.model import Claim, read_claims
from embprobe.claims.roles import Cast
from embprobe.claims.run import Study, run_study
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import UsageError
from embprobe.images import Images, Row
from embprobe.probing.card import Card
from embprobe.probing.context import NotApplicable
from embprobe.probing.results import Results
from tests.conftest import make_encoder
from tests.probing.conftest import Told, card_of, painted

NEAREST = {"kind": "decoding", "target": "concept", "variant": "k-NN", "test": "unseen drawings"}
CATEGORY: dict[str, Any] = {
    "kind": "decoding",
    "label": "concept",
    "classifier": "knn",
    "k": 1,
    "fit": {"where": {"split": ["train"]}},
    "tests": {"unseen drawings": {"where": {"split": ["unseen-drawing"]}}},
}
NAMED: dict[str, Any] = {"kind": "zero-shot", "label": "name"}
SPREAD: dict[str, Any] = {"kind": "geometry", "statistics": ["effective rank"]}


def drawn(concepts: int, **labels: Sequence[str]) -> Images:
    """Two drawings of every concept, one to be fitted on."""
    names = [f"{i:02d}" for i in range(concepts) for _ in range(2)]
    splits = ["train", "unseen-drawing"] * concepts
    return painted([(i, i, i) for i in range(2 * concepts)], concept=names, name=names, split=splits, **labels)


@dataclass(frozen=True)
class Knows:
    """An axis for every concept; of so many (the first ones) the unseen drawing has the axis of the next."""

    concepts: int
    wrong: int

    def __call__(self, row: Row) -> list[float]:
        concept = int(row.labels["concept"])
        at = (concept + (row.labels["split"] != "train" and concept < self.wrong)) % self.concepts
        return [float(i == at) for i in range(self.concepts)]


def claim_of(**changes: Any) -> Claim:
    facts: dict[str, Any] = {
        "a": "clip",
        "b": "dino",
        "relation": "more",
        "quality": "sure of concepts",
        "card": "category",
        "number": NEAREST,
        "source": "nobody",
    }
    return Claim.model_validate(facts | changes)


@pytest.fixture(autouse=True)
def cards(monkeypatch: pytest.MonkeyPatch) -> dict[str, Card]:
    """What stands for the bundled cards; a test may put other ones in."""
    found = {"category": card_of(CATEGORY, NAMED), "geometry": card_of(SPREAD)}
    monkeypatch.setattr(numbers, "card_of", lambda name: found[name])
    return found


def studied(
    workspace: Workspace,
    claims: Sequence[Claim],
    wrong: Mapping[str, int],
    *,
    concepts: int = 6,
    twin: int | None = None,
    lacking: Mapping[str, str] | None = None,
    **labels: Sequence[str],
) -> Study:
    """``wrong`` says by role at how many concepts an encoder errs; the twin errs at all, unless told otherwise."""
    encoders = {role: make_encoder(role) for role in wrong}
    untrained = make_encoder("untrained")
    knows = {f"test/{role}": Knows(concepts, number) for role, number in wrong.items()}
    knows["test/untrained"] = Knows(concepts, concepts if twin is None else twin)
    session = Told(workspace, vectors=knows)
    cast = Cast(encoders, [untrained], lacking or {})
    return run_study(cast, drawn(concepts, **labels), session, claims=claims)


def verdicts(study: Study) -> list[str]:
    return [decision.verdict for decision in study.decisions]


# --- p and Holm --------------------------------------------------------------------------------------------------


def test_one_claim_by_hand(workspace: Workspace) -> None:
    # Right at all six concepts against wrong at all: of 64 flips two are as far, p = 0.03125.
    study = studied(workspace, [claim_of()], {"clip": 0, "dino": 6})
    (decision,) = study.decisions
    assert decision.difference is not None and decision.estimates is not None
    assert [row.estimate for row in decision.estimates] == [1, 0]
    assert (decision.difference.estimate, decision.difference.p, decision.difference.p_adjusted) == (1, 2 / 64, 2 / 64)
    assert verdicts(study) == ["reproduced"]


def test_the_other_way_round_it_is_not_reproduced(workspace: Workspace) -> None:
    assert verdicts(studied(workspace, [claim_of()], {"clip": 6, "dino": 0})) == ["not reproduced"]


def test_two_claims_are_corrected_for_two(workspace: Workspace) -> None:
    # 2 x 0.03125 = 0.0625: not sure enough any more.
    other = claim_of(a="xclip")
    study = studied(workspace, [claim_of(), other], {"clip": 0, "dino": 6, "xclip": 0})
    assert [decision.difference.p_adjusted for decision in study.decisions if decision.difference] == [0.0625] * 2
    assert verdicts(study) == ["undecided", "undecided"]


def test_holm_steps_down_over_claims_of_all_kinds(workspace: Workspace) -> None:
    # Ten concepts. CLIP knows all, DINO none: 2 / 1024. nCLIP knows all but one: against CLIP nine differences of 0 and
    # one of 1, of which no flip is nearer: p = 1. Similar within 0.2: differences less 0.2 are nine of -0.2 and one of
    # 0.8, sum -1; plus 0.2 nine of 0.2 and one of 1.2, sum 3, as far as a sum can be.
    # Sums of -0.2 s + 0.8 t with |.| >= 1: t = 1 needs s >= 9 or s <= -1, t = -1 the opposite; s of nine signs is odd,
    # and s <= -1 in half of the 512: of the 1,024 flips 2 x (256 + 1).
    claims = [
        claim_of(),
        claim_of(a="clip", b="nclip"),
        claim_of(a="clip", b="nclip", relation="similar", margin=0.2),
    ]
    study = studied(workspace, claims, {"clip": 0, "dino": 10, "nclip": 1}, concepts=10)
    rows = [decision.difference for decision in study.decisions if decision.difference is not None]
    similar = 2 * (256 + 1) / 1024
    assert [row.p for row in rows] == pytest.approx([2 / 1024, 1, similar])
    assert [row.p_adjusted for row in rows] == pytest.approx([3 * 2 / 1024, 1, 1])  # 2 x 0.502 is more than 1
    assert verdicts(study) == ["reproduced", "undecided", "undecided"]


def test_what_was_not_asked_is_not_corrected_for(workspace: Workspace) -> None:
    other = claim_of(a="xclip")
    lacking = {"xclip": "bundled/xclip is not trained"}
    study = studied(workspace, [claim_of(), other], {"clip": 0, "dino": 6}, lacking=lacking)
    assert verdicts(study) == ["reproduced", "not asked"]
    assert study.decisions[1].because == "bundled/xclip is not trained"


# --- what must be learned first ----------------------------------------------------------------------------------

AFTER = claim_of(a="dino", b="clip", learned="dino")


@pytest.mark.parametrize(
    ("concepts", "wrong", "twin", "because"),
    [
        # Axes of 24 concepts: 23 equal directions are left when they are centred.
        (24, 0, 24, ""),
        (24, 12, 12, "dino does not beat its untrained twin at 'concept k-NN, unseen drawings' (+0.000, +0.000 to"),
        (12, 0, 12, "the effective rank of dino is 11.0, not above 16"),
    ],
)
def test_nothing_is_said_of_who_has_not_learned(
    workspace: Workspace, concepts: int, wrong: int, twin: int, because: str
) -> None:
    study = studied(workspace, [AFTER], {"dino": wrong, "clip": concepts}, concepts=concepts, twin=twin)
    (decision,) = study.decisions
    assert decision.difference is not None and (decision.difference.p_adjusted or 0) < 0.01  # sure, by itself
    assert decision.because.startswith(because) and bool(decision.because) is bool(because)
    assert decision.verdict == ("undecided" if because else "reproduced")


def test_a_claim_that_needs_nothing_learned_is_decided_all_the_same(workspace: Workspace) -> None:
    study = studied(workspace, [AFTER.model_copy(update={"learned": ""})], {"dino": 0, "clip": 12}, concepts=12)
    assert verdicts(study) == ["reproduced"]


def test_where_it_cannot_be_asked_what_was_learned_it_is_undecided(
    workspace: Workspace, cards: dict[str, Card]
) -> None:
    cards["category"] = card_of(CATEGORY | {"label": "breed", "called": "concept"})
    cards["mine"] = card_of(CATEGORY)
    study = studied(workspace, [AFTER.model_copy(update={"card": "mine"})], {"dino": 0, "clip": 24}, concepts=24)
    (decision,) = study.decisions
    assert decision.verdict == "undecided"
    assert decision.because == "whether dino has learned content could not be asked"
    assert study.learned == [] and "it needs the label 'breed'" in " ".join(study.results.left_out)


def test_each_encoder_is_set_beside_its_twin(workspace: Workspace) -> None:
    study = studied(workspace, [claim_of()], {"clip": 0, "dino": 24}, concepts=24, twin=12)
    clip, dino = (learning.sentence for learning in study.learned)
    assert clip == (
        "clip is better than its untrained twin at 'concept k-NN, unseen drawings': 1.000 against 0.500, "
        f"+0.500 ({study.learned[0].difference.low:+.3f} to {study.learned[0].difference.high:+.3f}); "
        "effective rank 23.0."
    )
    assert dino.startswith("dino is worse than its untrained twin at")
    same = studied(workspace, [claim_of()], {"clip": 12, "dino": 24}, concepts=24, twin=12).learned[0].sentence
    assert same.startswith("clip is not surely better or worse than its untrained twin")


# --- what cannot be asked ----------------------------------------------------------------------------------------


def test_who_has_no_text_is_named(workspace: Workspace) -> None:
    zero_shot = claim_of(number={"kind": "zero-shot", "target": "name", "variant": "accuracy"})
    study = studied(workspace, [claim_of(), zero_shot], {"clip": 0, "dino": 6})
    assert verdicts(study) == ["reproduced", "not asked"]
    assert study.decisions[1].because == (
        "test/clip and test/dino cannot be asked for kind 'zero-shot', target 'name', variant 'accuracy' "
        "(zero-shot: none of the encoders has a text side)"
    )


def test_a_card_that_these_images_cannot_be_asked_is_a_reason(workspace: Workspace, cards: dict[str, Card]) -> None:
    cards["mine"] = card_of(CATEGORY | {"label": "breed"})
    other = claim_of(card="mine", number=NEAREST | {"target": "breed"})
    study = studied(workspace, [claim_of(), other], {"clip": 0, "dino": 6})
    assert verdicts(study) == ["reproduced", "not asked"]
    assert "it needs the label 'breed', which none of the images in 'painted' has" in study.decisions[1].because
    with pytest.raises(NotApplicable, match="None of the claims can be asked of 'painted': .*'breed'"):
        studied(workspace, [other], {"clip": 0, "dino": 6})


def test_without_two_roles_there_is_nothing_to_compare(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="No claim has both its encoders: no encoder was named for 'dino'"):
        studied(workspace, [claim_of()], {"clip": 0}, lacking={"dino": "no encoder was named for 'dino'"})


def test_a_misspelt_claim_is_named(workspace: Workspace) -> None:
    number = NEAREST | {"variant": "kNN"}
    with pytest.raises(
        UsageError, match="No measure of the card 'mine' gives kind 'decoding', target 'concept', .*kNN"
    ):
        studied(workspace, [claim_of(number=number)], {"clip": 0, "dino": 6})


# --- pairs, vectors, training runs ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sees:
    """An axis for every value of a label, and one of its own that all rows share in part."""

    label: str
    values: Sequence[str]

    def __call__(self, row: Row) -> list[float]:
        at = self.values.index(row.labels[self.label])
        own = int(row.key.encode().hex(), 16) % 997 / 997
        return [float(i == at) for i in range(len(self.values))] + [0.3 * own]


def seen(workspace: Workspace, claims: Sequence[Claim], *runs: tuple[str, str], **sees: str) -> Study:
    """Study encoders that see one label each; ``runs`` are more training runs: a role and the label it sees."""
    styles, kinds = ["ink", "oil", "pen", "wax"], ["cat", "dog", "hen", "owl"]
    rng = random.Random(0)
    labels = {"style": [rng.choice(styles) for _ in range(80)], "category": [rng.choice(kinds) for _ in range(80)]}
    values = {"style": styles, "category": kinds}
    encoders = {role: make_encoder(role) for role in sees}
    more = {role: [make_encoder(f"{role}-{i}")] for i, (role, _) in enumerate(runs, 1)}
    told = {f"test/{role}": Sees(label, values[label]) for role, label in sees.items()}
    told |= {f"test/{role}-{i}": Sees(label, values[label]) for i, (role, label) in enumerate(runs, 1)}
    told["test/untrained"] = Sees("style", styles)
    session = Told(workspace, vectors=told)
    cast = Cast(encoders, [make_encoder("untrained")], {}, more)
    return run_study(cast, drawn(40, **labels), session, claims=claims)


def pairs_of(attribute: str, **changes: Any) -> Claim:
    facts = {"a": "clip", "b": "dino", "relation": "more", "pairs": attribute, "source": "nobody"}
    return Claim.model_validate(facts | changes)


def test_pairs_near_for_one_only_have_in_common_what_it_sees(workspace: Workspace) -> None:
    claims = [pairs_of("category"), pairs_of("style"), pairs_of("breed")]
    study = seen(workspace, claims, clip="category", dino="style")
    assert verdicts(study) == ["reproduced", "not reproduced", "not asked"]
    kind, style, breed = study.decisions
    assert kind.estimates is not None and kind.difference is not None
    assert kind.estimates[0].estimate > 0.5 > 0 > kind.estimates[1].estimate  # all of one kind, none of one kind
    assert str(kind.difference.key) == "pairs near for it only: the same category, beyond random pairs"
    assert (
        kind.claim.sentence
        == "Pairs near for clip only are more often of the same category than pairs near for dino only"
    )
    assert breed.because == "no two of the images have a label 'breed' in common"
    folder = workspace.results("study")
    study.results.save(folder)
    assert Results.load(folder).rows == study.results.rows  # those of pairs as well


def test_encoders_that_see_the_same_have_too_few_pairs(workspace: Workspace) -> None:
    claims = [pairs_of("category"), claim_of()]
    study = seen(workspace, claims, clip="style", dino="style")
    assert study.decisions[0].verdict == "not asked" and "too few" in study.decisions[0].because


def test_several_runs_of_both_roles_widen_the_interval(workspace: Workspace) -> None:
    one = seen(workspace, [pairs_of("category")], clip="category", dino="style")
    runs = ("clip", "category"), ("dino", "style")
    several = seen(workspace, [pairs_of("category"), claim_of()], *runs, clip="category", dino="style")
    pairs, decoding = several.decisions
    assert pairs.runs == decoding.runs == (2, 2) and pairs.spread is not None and decoding.spread == (0.0, 0.0)
    assert one.decisions[0].runs == (1, 1) and one.decisions[0].spread is None
    assert several.names["clip"] == "test/clip and test/clip-1"
    assert several.results.manifest["more_runs"] == {"clip": ["test/clip-1"], "dino": ["test/dino-2"]}
    assert "2 and 2 runs" in pairs.sentence and pairs.as_json()["runs"] == [2, 2]
    assert decoding.estimates is not None and decoding.estimates[0].encoder == "mean of test/clip and test/clip-1"


def test_the_other_vector_stands_beside_and_decides_nothing(workspace: Workspace) -> None:
    knows = {
        "test/clip": Knows(6, 0),
        "test/token": Knows(6, 3),
        "test/dino": Knows(6, 6),
        "test/untrained": Knows(6, 6),
    }
    encoders = {"clip": make_encoder("clip"), "dino": make_encoder("dino")}
    cast = Cast(encoders, [make_encoder("untrained")], {}, {}, {"test/clip": make_encoder("token")})
    for vectors, main, beside in (("class token", 0.5, 1.0), ("own", 1.0, 0.5)):
        study = run_study(cast, drawn(6), Told(workspace, vectors=knows), claims=[claim_of(vectors=vectors)])
        (decision,) = study.decisions
        assert decision.difference is not None and decision.beside is not None
        assert (decision.difference.estimate, decision.beside.estimate) == (main, beside)
        assert decision.beside.p is None and decision.as_json()["beside"]["estimate"] == beside
    (alone,) = run_study(cast, drawn(6), Told(workspace, vectors=knows), claims=[claim_of()]).decisions
    assert alone.beside is None and alone.difference is not None and alone.difference.estimate == 1.0


# --- what is saved -----------------------------------------------------------------------------------------------


def test_what_is_saved_holds_claims_rows_and_scores(workspace: Workspace) -> None:
    claims = [claim_of(), claim_of(relation="similar", margin=0.5)]
    study = studied(workspace, claims, {"clip": 0, "dino": 6})
    folder = workspace.results("study")
    study.results.save(folder)
    loaded = Results.load(folder)
    manifest, rows = loaded.manifest, loaded.rows
    assert [claim["verdict"] for claim in loaded.claims] == verdicts(study)
    assert loaded.claims == json.loads(json.dumps([decision.as_json() for decision in study.decisions]))
    assert rows == study.results.rows and loaded.as_json() == json.loads(json.dumps(study.results.as_json()))
    assert manifest["roles"] == {"clip": "test/clip", "dino": "test/dino", "twin": "test/untrained"}
    assert {encoder["model"] for encoder in manifest["encoders"]} == {"clip", "dino", "untrained"}
    assert loaded.conclusions.sentences == [
        *(decision.sentence for decision in study.decisions),
        *(learning.sentence for learning in study.learned),
    ]
    differences = [(row.label, row.p_adjusted) for row in rows if row.is_difference]
    assert differences == [
        ("test/clip - test/dino", 2 * 2 / 64),
        ("test/clip - test/dino", None),  # p is of the margin there
        ("test/clip - test/untrained", None),
        ("test/dino - test/untrained", None),
    ]
    assert pq.read_table(folder / "scores.parquet").num_rows == sum(len(each.keys) for each in study.results.scores)


def test_the_same_again_gives_the_same_and_other_roles_another_folder(workspace: Workspace) -> None:
    first, again, other = (
        studied(workspace, [claim_of()], {"clip": 0, "dino": 6, **more}).results for more in ({}, {}, {"xclip": 3})
    )
    assert json.dumps(first.as_json()) == json.dumps(again.as_json())
    assert first.fingerprint == again.fingerprint != other.fingerprint


CARD = """\
schema = 1
attribute = "mine"
title = "Mine"
question = "Does it?"
resample = "concept"

[[measures]]
kind = "decoding"
label = "concept"
classifier = "knn"
k = 1
fit = { where = { split = ["train"] } }
tests = { "unseen drawings" = { where = { split = ["unseen-drawing"] } } }
"""
MINE = """\
schema = 1
source = "A paper, 2026"

[roles]
small = "Small"
large = "Large"

[[claims]]
a = "large"
b = "small"
relation = "more"
quality = "sure of concepts"
card = "mine.toml"
number = { kind = "decoding", target = "concept", variant = "k-NN", test = "unseen drawings" }
"""


def test_a_file_of_ones_own_with_a_card_of_ones_own_is_checked(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cards: dict[str, Card]
) -> None:
    """The card measures what another one does, too: each keeps its rows and its scores."""
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "mine.toml").write_text(CARD)
    (tmp_path / "claims" / "claims.toml").write_text(MINE)
    monkeypatch.setattr(numbers, "card_of", lambda name: cards.get(name) or model.card_of(name))
    claims = read_claims(tmp_path / "claims" / "claims.toml")
    study = studied(workspace, claims, {"large": 0, "small": 6})
    (decision,) = study.decisions
    assert decision.sentence.startswith(
        "Reproduced: Large is more sure of concepts than Small (large - small at 'concept"
    )
    assert decision.difference is not None
    same = [row for row in study.results.rows if (row.key, row.label) == (decision.difference.key, "test/large")]
    assert len(same) == 2
    study.results.save(tmp_path)
    loaded = Results.load(tmp_path)
    assert loaded.rows == study.results.rows and len(loaded.scores) == len(study.results.scores)
    for after, before in zip(loaded.scores, study.results.scores, strict=True):
        assert (after.key, after.encoder, after.role) == (before.key, before.encoder, before.role)
        assert after.values.tolist() == before.values.tolist()
    assert verdicts(studied(workspace, claims, {"large": 6, "small": 0})) == ["not reproduced"]


def test_roles_are_stored_whatever_the_encoders_are_called(workspace: Workspace) -> None:
    study = studied(workspace, [claim_of()], {"clip": 0, "dino": 6})
    roles = {row.encoder: row.role for row in study.results.rows if not row.is_difference}
    assert roles == {
        "test/clip": "subject", "test/dino": "subject", "test/untrained": "reference", "guessing": "baseline"
    }  # fmt: skip
