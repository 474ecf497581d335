"""Who plays which role: what is bundled, what was typed, and what is refused."""

from __future__ import annotations

import pytest

from embprobe.claims import roles
from embprobe.claims.roles import Roles, bundled_roles, load_cast, parse_roles
from embprobe.errors import UsageError


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
        (["timm/vit,size=224"], "with one of clip, dino, siglip, clip-lm, "),
        (["clip=a", "clip=a"], "The role 'clip' is given 'a' twice"),
        (["clip=a", "clip=b", "clip=b"], "The role 'clip' is given 'b' twice"),
        (["twin=a", "twin=b"], "The role 'twin' is given twice"),
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
    assert found.names == {"clip": "bundled/clip", "xclip": "bundled/xclip", "slip": "bundled/slip"}
    assert found.lacking.format("nclip") == "bundled/nclip is not trained"


def test_a_cast_has_each_encoder_once_and_says_who_is_missing() -> None:
    pixels = "reference/pixels"
    cast = load_cast(Roles({"clip": pixels, "dino": pixels}, "nobody is {}", "reference/random-vit:3"), device="cpu")
    assert cast.encoders["clip"] is cast.encoders["dino"] is cast.references[-1]
    assert cast.names() == {"clip": pixels, "dino": pixels, "twin": "reference/random-vit:3"}
    assert [encoder.spec.name for encoder in cast.references] == [
        "reference/random-vit:3", "reference/random-vit", pixels
    ]  # fmt: skip
    assert cast.lacking == {role: f"nobody is {role}" for role in roles.known_roles() if role not in ("clip", "dino")}
    assert not cast.class_tokens  # pixels have none


def test_class_tokens_answer_where_an_encoder_has_another_vector_of_its_own() -> None:
    names = {"clip": "bundled/clip", "dino": "bundled/dino", "xclip": "bundled/xclip,pooling=projected"}
    cast = load_cast(Roles(names, "nobody is {}"), device="cpu")
    answering = {role: [each.spec.name for each in cast.answering(role, "class token")] for role in names}
    assert answering == {
        "clip": ["bundled/clip,pooling=cls"],
        "dino": ["bundled/dino"],  # its own vector is the class token
        "xclip": ["bundled/xclip,pooling=projected"],  # what was typed
    }
    assert cast.answering("clip", "own") == [cast.encoders["clip"]]
    own = load_cast(Roles(names, "nobody is {}"), device="cpu", class_tokens=False)
    assert own.answering("clip", "class token") == [own.encoders["clip"]]


def test_a_role_may_have_several_training_runs() -> None:
    found = parse_roles(["clip=bundled/clip", "dino=bundled/dino", "clip=reference/pixels"])
    assert found.names == {"clip": "bundled/clip", "dino": "bundled/dino"}
    assert found.more == {"clip": ["reference/pixels"]}
    cast = load_cast(found, device="cpu")
    assert [each.spec.name for each in cast.answering("clip", "class token")] == [
        "bundled/clip,pooling=cls", "reference/pixels"
    ]  # fmt: skip
    assert cast.names()["clip"] == "bundled/clip"


def test_the_roles_may_be_those_of_ones_own_claims() -> None:
    known = ("small", "large")
    assert parse_roles(["small=a", "large=b"], known).names == {"small": "a", "large": "b"}
    with pytest.raises(UsageError, match="one of small, large or twin"):
        parse_roles(["clip=a"], known)
    cast = load_cast(Roles({"small": "reference/pixels"}, "nobody is {}"), device="cpu", known=known)
    assert cast.lacking == {"large": "nobody is large"}
