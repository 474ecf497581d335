"""Claims: each names a number that its card gives, its sentence is what is tested, and a wrong file is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from embprobe.claims.model import CONTENT, RANK, Claim, bundled_claims, card_of, read_claims, roles_of
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from embprobe.probing.card import bundled_card
from embprobe.probing.kinds.decoding import UNSEEN
from embprobe.probing.pattern import KeyPattern

CLAIMS = bundled_claims()
PAPERS = ("2510.11835", "2210.09304", "2312.14232", "2112.12750", "2307.05610", "2504.01017", "question)")
"""The last word of each source, in the order of the files."""


def named(claim: Claim) -> str:
    return claim.sentence


# --- those that come with embprobe -------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.number is not None], ids=named)
def test_every_claim_names_a_number_that_its_card_gives_cheaply(claim: Claim) -> None:
    card = bundled_card(claim.card)
    assert claim.number is not None
    (measure,) = card.only([claim.number]).measures
    limit = measure.images.limit
    assert limit is None or limit <= 200 or measure.kind == "attraction"  # of images as they are, embedded once
    misspelt = claim.number.model_copy(update={"target": f"{claim.number.target}s"})
    with pytest.raises(UsageError, match=f"No measure of the card '{claim.card}' gives kind"):
        card.only([misspelt])


@pytest.mark.parametrize(("attribute", "number"), [CONTENT, RANK], ids=["content", "rank"])
def test_what_shows_that_something_was_learned_is_given_by_its_card(attribute: str, number: KeyPattern) -> None:
    assert len(bundled_card(attribute).only([number]).measures) == 1


def test_the_four_attributes_are_decided_by_the_headlines_of_their_cards(emoji: Images) -> None:
    for attribute, quality in (
        ("category", "the category"),
        ("text", "embedded text"),
        ("color", "colour"),
        ("style", "style"),
    ):
        (claim,) = (
            each
            for each in CLAIMS
            if each.quality == f"sensitive to {quality}" and {each.a, each.b} == {"clip", "dino"}
        )
        headline = bundled_card(attribute).of(emoji).headline
        assert headline is not None and claim.card == attribute
        keys = [key for measure in bundled_card(attribute).measures for key in measure.declared_keys()]
        assert claim.number is not None and claim.number.find(keys, folds=UNSEEN) == headline.find(keys, folds=UNSEEN)


def test_claims_are_about_roles_that_exist_and_differ() -> None:
    roles = roles_of(CLAIMS)
    assert {role for claim in CLAIMS for role in (claim.a, claim.b)} == set(roles)
    assert all(claim.a != claim.b and claim.learned in ("", *roles) for claim in CLAIMS)
    assert len({claim.sentence for claim in CLAIMS}) == len(CLAIMS)
    assert tuple(dict.fromkeys(claim.source.rpartition(" ")[2] for claim in CLAIMS)) == PAPERS


def test_every_claim_says_how_its_question_differs_and_which_vector_answers() -> None:
    for claim in CLAIMS:
        assert claim.differs.endswith((".", "?")) and (claim.paper.endswith(".") or "embprobe's own" in claim.source)
        named = claim.number is not None and claim.number.kind == "zero-shot"
        assert claim.vectors == ("" if named or claim.questions else "class token"), claim.sentence


def test_pairs_are_asked_of_the_study_s_four_attributes_that_images_have() -> None:
    assert [(claim.pairs, claim.a, claim.relation) for claim in CLAIMS if claim.pairs] == [
        ("category", "clip", "more"),
        ("style", "dino", "more"),
        ("color", "dino", "more"),
    ]


def test_colour_and_style_are_asked_in_three_ways_each() -> None:
    asked = {
        (claim.card, claim.number.kind)
        for claim in CLAIMS
        if claim.number is not None and claim.card in ("color", "style")
    }
    assert asked == {
        ("color", "variance"), ("color", "displacement"), ("color", "attraction"),
        ("style", "attraction"), ("style", "displacement"), ("style", "decoding"),
    }  # fmt: skip


def test_what_is_undecided_before_something_is_learned() -> None:
    assert {claim.card for claim in CLAIMS if claim.learned} == {"color", "style"}
    assert all(claim.learned == "dino" == claim.a for claim in CLAIMS if claim.learned)


def test_a_margin_goes_with_what_is_similar_or_at_least_as_good() -> None:
    assert all((claim.margin > 0) == (claim.relation != "more") for claim in CLAIMS)
    weaker = {(claim.a, claim.b, claim.card): claim.margin for claim in CLAIMS if claim.relation == "at least"}
    assert weaker["xclip", "clip", "category"] == 0.02  # of zero-shot, which has fewer right; the last of two


# --- what a claim says -------------------------------------------------------------------------------------------


def claim_of(**changes: Any) -> Claim:
    facts: dict[str, Any] = {
        "a": "one",
        "b": "two",
        "relation": "more",
        "quality": "sensitive to colour",
        "card": "color",
        "number": {"kind": "displacement", "target": "hue", "strength": 120},
        "names": {"one": "Encoder One"},
    }
    return Claim.model_validate(facts | changes)


@pytest.mark.parametrize(
    ("changes", "sentence", "swapped"),
    [
        (
            {},
            "Encoder One is more sensitive to colour than two",
            "two is more sensitive to colour than Encoder One",
        ),
        (
            {"relation": "at least", "margin": 0.1},
            "Encoder One is at least as sensitive to colour as two",
            "two is at least as sensitive to colour as Encoder One",
        ),
        (
            {"relation": "similar", "margin": 0.1},
            "Encoder One and two are similarly sensitive to colour",
            "two and Encoder One are similarly sensitive to colour",
        ),
    ],
    ids=["more", "at least", "similar"],
)
def test_what_is_read_is_what_is_tested_so_a_swapped_pair_reads_otherwise(
    changes: dict[str, Any], sentence: str, swapped: str
) -> None:
    assert claim_of(**changes).sentence == sentence
    assert claim_of(**changes, a="two", b="one").sentence == swapped


def test_regions_by_hand() -> None:
    assert claim_of().region == (0, math.inf)
    assert claim_of(relation="at least", margin=0.25).region == (-0.25, math.inf)
    assert claim_of(relation="similar", margin=0.25).region == (-0.25, 0.25)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b": "one"}, "a and b must be two roles"),
        ({"margin": 0.1}, "a margin goes with 'similar' and 'at least', and only with these"),
        ({"relation": "similar"}, "a margin goes with"),
        ({"relation": "at least"}, "a margin goes with"),
        ({"relation": "similar", "margin": -0.1}, "greater than or equal to 0"),
        ({"relation": "similar", "margin": math.inf}, "finite"),
        ({"relation": "less"}, "'more', 'at least' or 'similar'"),
        ({"number": {"target": "hue"}}, "say which number is meant"),
    ],
    ids=str,
)
def test_a_claim_that_cannot_be_tested_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        claim_of(**changes)


# --- a file of one's own -----------------------------------------------------------------------------------------

MINE = """\
schema = 1
source = "A paper, 2026"

[roles]
small = "the small network"
large = "the large network"

[[claims]]
a = "large"
b = "small"
relation = "more"
quality = "sensitive to colour"
card = "color"
number = { kind = "displacement", target = "hue", variant = "beyond control", strength = 120 }

[[claims]]
a = "small"
b = "large"
relation = "similar"
margin = 0.05
quality = "accurate at decoding"
learned = "small"
card = "cards/mine.toml"
number = { measure = "category k-NN, new" }
"""
CARD = """\
schema = 1
attribute = "mine"
title = "Mine"
question = "Does it?"
resample = "concept"

[[measures]]
kind = "decoding"
label = "category"
classifier = "knn"
fit = { where = { split = ["a"] } }
tests = { new = { where = { split = ["b"] } } }
"""


def write(folder: Path, text: str = MINE) -> Path:
    (folder / "cards").mkdir(exist_ok=True)
    (folder / "cards" / "mine.toml").write_text(CARD, encoding="utf-8")
    path = folder / "claims.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_claims_of_ones_own_have_the_source_and_the_names_of_their_file(tmp_path: Path) -> None:
    path = write(tmp_path)
    first, second = read_claims(path)
    assert read_claims(str(path)) == (first, second)
    assert first.sentence == "the large network is more sensitive to colour than the small network"
    assert second.sentence == "the small network and the large network are similarly accurate at decoding"
    assert {claim.source for claim in (first, second)} == {"A paper, 2026"}
    assert roles_of((first, second)) == ("small", "large")
    assert (first.learned, second.learned, second.margin) == ("", "small", 0.05)


def test_a_swapped_pair_in_a_file_changes_the_sentence(tmp_path: Path) -> None:
    swapped = MINE.replace('a = "large"\nb = "small"', 'a = "small"\nb = "large"')
    assert read_claims(write(tmp_path, swapped))[0].sentence == (
        "the small network is more sensitive to colour than the large network"
    )


def test_a_card_of_ones_own_is_sought_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "some where"
    folder.mkdir()
    write(folder)
    monkeypatch.chdir(tmp_path)  # not where the file lies
    for path in (Path("some where/claims.toml"), folder / "claims.toml"):
        bundled, mine = read_claims(path)
        assert card_of(bundled.card) == bundled_card("color")
        card = card_of(mine.card)
        assert mine.number is not None
        assert card.attribute == "mine" and len(card.only([mine.number]).measures) == 1
    elsewhere = MINE.replace("cards/mine.toml", str(folder / "cards" / "mine.toml"))
    _, absolute = read_claims(write(tmp_path, elsewhere))
    assert absolute.card == str(folder / "cards" / "mine.toml") and card_of(absolute.card).attribute == "mine"


def test_a_card_that_is_not_there_is_named(tmp_path: Path) -> None:
    _, mine = read_claims(write(tmp_path))
    (tmp_path / "cards" / "mine.toml").unlink()
    with pytest.raises(UsageError, match=r"cards/mine\.toml' cannot be read: No such file"):
        card_of(mine.card)
    with pytest.raises(UsageError, match=r"no probe of 'colour'\. Did you mean color"):
        card_of("colour")


@pytest.mark.parametrize(
    ("old", "new", "key", "expected"),
    [
        ("schema = 1", "schema = 2", "schema", "1"),
        ('source = "A paper, 2026"\n', "", "source", "this key is missing"),
        ('large = "the large network"\n', "", "roles", "at least 2"),
        ('large = "the large network"', 'larger = "the large network"', "the top", "the table 'roles' lacks large"),
        ('learned = "small"', 'learned = "medium"', "the top", "the table 'roles' lacks medium"),
        ('a = "large"', 'a = "huge"', "the top", "the table 'roles' lacks huge"),
        ('a = "large"', 'a = "small"', "claims.0", "a and b must be two roles"),
        ('relation = "more"', 'relation = "more"\nmargin = 0.1', "claims.0", "a margin goes with 'similar'"),
        ("margin = 0.05\n", "", "claims.1", "a margin goes with 'similar' and 'at least', and only with these"),
        ("margin = 0.05", "margin = -1", "claims.1.margin", "greater than or equal to 0"),
        ("margin = 0.05", 'margin = "some"', "claims.1.margin", "number"),
        ('relation = "more"', 'relation = "less"', "claims.0.relation", "'more', 'at least' or 'similar'"),
        ("quality =", "qualities =", "claims.0.qualities", "there is no such key"),
        ('card = "color"', 'card = "color"\nhue = 1', "claims.0.hue", "there is no such key"),
        ("strength = 120", "strenght = 120", "claims.0.number.strenght", "there is no such key"),
        ("strength = 120", "strength = nan", "claims.0.number.strength", "finite"),
        ('kind = "displacement", ', "", "claims.0.number", "say which number is meant"),
        ('card = "color"', 'card = "color"\nsource = "else"', "the top", "and names are those of the file"),
        ('card = "color"', 'card = "color"\nsource = ""', "the top", "and names are those of the file"),
        ('card = "color"', 'card = "color"\nnames = { large = "x" }', "the top", "names are those of the file"),
        ("[roles]", "[rolls]", "roles", "this key is missing"),
        (MINE[MINE.index("[[claims]]") :], "claims = []", "roles.claims", "string"),
    ],
)  # fmt: skip
def test_a_wrong_file_names_itself_the_key_and_what_was_expected(
    tmp_path: Path, old: str, new: str, key: str, expected: str
) -> None:
    assert old in MINE
    path = write(tmp_path, MINE.replace(old, new, 1))
    with pytest.raises(EmbprobeError) as wrong:
        read_claims(path)
    message = str(wrong.value)
    assert f"'{path}'" in message and f"'{key}'" in message and expected in message.split(f"'{key}'", 1)[1]
    assert "\n" not in message


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match=r"claims\.toml' is not valid TOML"):
        read_claims(write(tmp_path, "schema ="))
    with pytest.raises(UsageError, match=r"gone\.toml' cannot be read: No such file"):
        read_claims(tmp_path / "gone.toml")


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutilated_file_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    lines = MINE.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        changed = [f"{lines[at].split('=')[0]}= {value}" for value in ("[]", "{}", "true", "nan", "1", '"x"')]
        lines[at] = data.draw(st.sampled_from(["", lines[at] * 2, lines[at].replace('"', ""), *changed, *lines]))
    try:
        claims = read_claims(write(tmp_path, "\n".join(lines)))
    except EmbprobeError as wrong:
        assert "claims.toml" in str(wrong) and "\n" not in str(wrong)
    else:
        assert all(claim.sentence and claim.source is not None for claim in claims)
