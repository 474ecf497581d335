"""Claims: each names a number that its card gives, and its sentence says what is tested."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from embprobe.claims.model import CONTENT, RANK, Claim, bundled_claims, card_of, read_claims, roles_of
from embprobe.errors import EmbprobeError, UsageError
from embprobe.probing.card import bundled_card
from embprobe.probing.kinds.decoding import UNSEEN
from embprobe.probing.pattern import KeyPattern

CLAIMS = bundled_claims()
FILE = """\
schema = 1
source = "A Paper, arXiv 0000.00000"

[roles]
big = "Big"
small = "Small"

[[claims]]
a = "big"
b = "small"
relation = "more"
quality = "sensitive to noise"
card = "category"
number = { kind = "variance", target = "concept" }
"""


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.sentence)
def test_every_claim_names_a_number_that_its_card_gives_cheaply(claim: Claim) -> None:
    card = card_of(claim.card)
    (measure,) = card.only([claim.number]).measures
    selection = measure.model_dump()["images"]
    assert selection["limit"] is None or selection["limit"] <= 200
    misspelt = claim.number.model_copy(update={"target": f"{claim.number.target}s"})
    with pytest.raises(UsageError, match="No measure of the card"):
        card.only([misspelt])


@pytest.mark.parametrize(("card", "number"), [CONTENT, RANK], ids=["content", "rank"])
def test_the_numbers_that_show_learning_are_given_by_their_cards(card: str, number: KeyPattern) -> None:
    assert len(bundled_card(card).only([number]).measures) == 1


def test_the_four_attributes_are_decided_by_the_headlines_of_their_cards() -> None:
    for claim in CLAIMS[:4]:
        card = bundled_card(claim.card)
        keys = [key for measure in card.measures for key in measure.declared_keys()]
        assert card.headline is not None
        assert claim.number.find(keys, folds=UNSEEN) == card.headline.find(keys, folds=UNSEEN) is not None
    assert [claim.card for claim in CLAIMS[:4]] == ["category", "text", "color", "style"]


def test_claims_are_about_roles_that_exist_and_differ() -> None:
    assert roles_of(CLAIMS) == ("clip", "dino", "siglip", "clip-lm", "nclip", "xclip")
    assert len({claim.sentence for claim in CLAIMS}) == len(CLAIMS) == 11


def test_a_sentence_is_made_of_the_fields_so_a_swapped_pair_shows() -> None:
    claim = CLAIMS[0]
    assert claim.sentence == "CLIP is more sensitive to the category than DINO"
    swapped = claim.model_copy(update={"a": claim.b, "b": claim.a})
    assert swapped.sentence == "DINO is more sensitive to the category than CLIP"
    similar = claim.model_copy(update={"relation": "similar", "quality": "accurate"})
    assert similar.sentence == "CLIP and DINO are similarly accurate"
    assert similar.model_copy(update={"relation": "at least"}).sentence == "CLIP is at least as accurate as DINO"


def test_regions_by_hand() -> None:
    def region(relation: str) -> tuple[float, float]:
        return CLAIMS[0].model_copy(update={"relation": relation, "margin": 0.25}).region

    assert region("more") == (0, math.inf)
    assert region("at least") == (-0.25, math.inf)
    assert region("similar") == (-0.25, 0.25)


# --- claims of one's own -----------------------------------------------------------------------------------------


def test_a_file_of_ones_own_may_name_a_card_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text((Path(__file__).parents[2] / "probes" / "category.toml").read_text())
    (tmp_path / "claims.toml").write_text(FILE.replace('card = "category"', 'card = "mine.toml"'))
    (claim,) = read_claims(tmp_path / "claims.toml")
    assert claim.sentence == "Big is more sensitive to noise than Small" and claim.source.startswith("A Paper")
    assert card_of(claim.card).attribute == "category"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('relation = "more"', 'relation = "more"\nmargin = 0.1'), "a margin goes with 'similar' and 'at least'"),
        (('relation = "more"', 'relation = "similar"'), "a margin goes with 'similar' and 'at least'"),
        (('relation = "more"', 'relation = "less"'), "at 'claims.0.relation'"),
        (('b = "small"', 'b = "big"'), "a and b must be two roles"),
        (('b = "small"', 'b = "tiny"'), "the table 'roles' lacks tiny"),
        (('quality = "', 'colour = "'), "at 'claims.0.quality'"),
        (("number = {", "number = { colour = 3,"), "at 'claims.0.number.colour': there is no such key here"),
        (("schema = 1", "schema = 2"), "at 'schema'"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(FILE.replace(*change))
    with pytest.raises(EmbprobeError) as refused:
        read_claims(path)
    assert str(path) in str(refused.value) and message in str(refused.value)
