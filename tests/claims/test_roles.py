"""Who plays which role: what is bundled, what was typed, and what is refused."""

from __future__ import annotations

import pytest

from embprobe.claims import roles
from embprobe.claims.roles import Cast, Roles, bundled_roles, load_cast, parse_roles
from embprobe.errors import UsageError
from tests.conftest import make_encoder


def test_what_was_typed_becomes_roles() -> None:
    found = parse_roles(["clip=open_clip/ViT-B-16:openai,pooling=trunk", "dino=timm/x", "twin=timm/y,pretrained=no"])
    assert found.names == {"clip": "open_clip/ViT-B-16:openai,pooling=trunk", "dino": "timm/x"}
    assert found.twin == "timm/y,pretrained=no"
    assert parse_roles(["clip=a"]).twin == "reference/random-vit"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["bundled/clip"], "'bundled/clip' gives no role an encoder: write ROLE=ENCODER"),
        (["clip="], "'clip=' gives no role"),
        (["=bundled/clip"], "'=bundled/clip' gives no role"),
        (["siglib=a"], "Did you mean siglip?"),
        (["timm/vit,size=224"], "one of clip, dino, siglip, clip-lm, nclip, xclip or twin"),
        (["clip=a", "clip=b"], "The role 'clip' is given twice"),
    ],
)
def test_what_gives_no_role_an_encoder_is_refused(typed: list[str], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_roles(typed)
    assert message in str(refused.value)


def test_bundled_encoders_play_the_roles_they_are_trained_for(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ["bundled/clip", "bundled/slip", "bundled/xclip"]
    monkeypatch.setattr(roles, "list_encoders", lambda pattern: there if pattern == "bundled/*" else [])
    found = bundled_roles()
    assert found.names == {"clip": "bundled/clip", "xclip": "bundled/xclip"}
    assert found.lacking.format("nclip") == "bundled/nclip is not trained"


def test_a_cast_has_each_encoder_once_and_says_who_is_missing() -> None:
    pixels = "reference/pixels"
    cast = load_cast(Roles({"clip": pixels, "dino": pixels}, "nobody is {}", "reference/random-vit:3"), device="cpu")
    assert cast.encoders["clip"] is cast.encoders["dino"] is cast.references[-1]
    assert cast.names() == {"clip": pixels, "dino": pixels, "twin": "reference/random-vit:3"}
    assert [encoder.spec.name for encoder in cast.references] == [
        "reference/random-vit:3", "reference/random-vit", pixels
    ]  # fmt: skip
    assert cast.lacking == {role: f"nobody is {role}" for role in ("siglip", "clip-lm", "nclip", "xclip")}


def test_those_in_some_roles_are_each_there_once() -> None:
    a, b, twin = make_encoder("a"), make_encoder("b"), make_encoder("twin")
    cast = Cast({"clip": a, "dino": b, "nclip": a}, [twin])
    assert cast.answering("dino", "class token") is b  # it has no other vector
    assert cast.answering("clip", "own") is cast.answering("nclip", "own") is a
    assert cast.twin is twin  # a reference: it is measured beside them, and in no role that a claim names


def test_the_roles_may_be_those_of_ones_own_claims() -> None:
    known = ("small", "large")
    assert parse_roles(["small=a", "large=b"], known).names == {"small": "a", "large": "b"}
    with pytest.raises(UsageError, match="one of small, large or twin"):
        parse_roles(["clip=a"], known)
    cast = load_cast(Roles({"small": "reference/pixels"}, "nobody is {}"), device="cpu", known=known)
    assert cast.lacking == {"large": "nobody is large"}
