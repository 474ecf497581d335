"""Short names of different encoders differ, and keep only the parts of a path in which encoders differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.encoders.naming import fold, short_names

PART = st.text("ab.-_", min_size=1, max_size=4)
NAMES = st.builds(
    lambda parts, end, options: f"bundled/clip:{'/'.join(parts)}{end}{options}",
    st.lists(PART, min_size=1, max_size=4),
    st.sampled_from(["", "/model.safetensors", "/weights.pth", ".pt"]),
    st.sampled_from(["", ",pooling=cls", ",size=64,pooling=mean"]),
)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("bundled/clip", "bundled/clip"),
        ("timm/vit_base_patch16_224.dino", "timm/vit_base_patch16_224.dino"),
        ("open_clip/ViT-B-16:openai", "open_clip/ViT-B-16:openai"),
        ("open_clip/ViT-B-16:/data/weights/mine.safetensors", "open_clip/ViT-B-16:mine"),
        ("timm/hf-hub:timm/vit_base_patch16_224.dino", "timm/hf-hub:vit_base_patch16_224.dino"),
        ("bundled/dino:runs/long/model.safetensors,pooling=cls", "bundled/dino:long,pooling=cls"),
        ("bundled/dino:/model.safetensors", "bundled/dino:model"),
        ("python:my.module:encoder", "python:my.module:encoder"),
        ("bundled/clip:runs/\u202ea\n/model.pt", "bundled/clip:\\u202ea\\n"),
    ],
)
def test_a_path_is_cut_to_its_last_part_that_is_no_usual_name(name: str, short: str) -> None:
    assert short_names([name]) == {name: short}


def test_no_more_parts_of_a_path_are_kept_than_differ() -> None:
    names = [f"bundled/clip:/runs/{run}/{seed}/model.safetensors" for run in "ab" for seed in "01"]
    assert list(short_names([*names, "bundled/clip:x/y/z.pt"]).values()) == [
        *(f"bundled/clip:{run}/{seed}" for run in "ab" for seed in "01"),
        "bundled/clip:z",
    ]
    apart = ["bundled/clip:a/model.pt", "bundled/clip:a/model.pth"]  # only the endings differ
    assert list(short_names(apart).values()) == apart


@given(st.lists(NAMES, max_size=6, unique=True))
def test_different_encoders_have_different_names(names: list[str]) -> None:
    shortened = short_names(names)
    assert list(shortened) == names and len(set(shortened.values())) == len(names)
    assert all(len(short) <= len(name) for name, short in shortened.items())


@given(NAMES, st.integers(5, 40))
def test_lines_are_short_and_hold_the_whole_name(name: str, width: int) -> None:
    lines = fold(name, width, most=99).split("\n")
    assert "".join(lines) == name and max(map(len, lines)) <= width


def test_both_ends_of_a_name_that_is_too_long_are_kept() -> None:
    folded = fold(f"open_clip/ViT-B-16:{'x' * 500}-the-end", 20)
    assert folded.startswith("open_clip/") and folded.endswith("the-end") and "…" in folded
    assert len(folded.replace("\n", "")) <= 60
