"""A network is found in a checkpoint by the names of its weights, whatever is around it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from embprobe.encoders.checkpoints.fitting import drop_unused, fit, note_resampling, without_heads
from embprobe.encoders.checkpoints.formats import NotWeights
from embprobe.encoders.checkpoints.mismatch import Mismatch, load_strictly, look_like
from embprobe.errors import UsageError

NAMES = ["conv1.weight", "blocks.0.attn.weight", "blocks.0.attn.bias", "norm.weight", "norm.bias"]
WRAPPERS = ["module", "model", "backbone", "encoder", "visual", "_orig_mod", "net", "student_backbone", "a.b"]
CONTAINERS = ["state_dict", "model", "model_state_dict", "teacher", "student", "ema", "state_dict_ema", "weights", "x"]
BESIDE: dict[str, Any] = {
    "epoch": 3,
    "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    "optimizer_states": [{"state": {}}],
    "hyper_parameters": {"lr": 0.1},
    "pytorch-lightning_version": "2.1.0",
    "loss": {"center": torch.ones(1, 4)},
    "state_dict_ema": None,
}
"""Values that stand beside weights in the files of training runs."""


def network(number: float = 0.0) -> dict[str, Tensor]:
    return {name: torch.full((2,), number + i) for i, name in enumerate(NAMES)}


def values(state: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value[0]) for name, value in state.items()}


@settings(deadline=None, max_examples=60)
@given(
    prefixes=st.lists(st.sampled_from(WRAPPERS), max_size=4),
    containers=st.lists(st.sampled_from(CONTAINERS), max_size=3),
    beside=st.sets(st.sampled_from(sorted(BESIDE))),
    projector=st.booleans(),
)
def test_a_network_is_found_behind_any_wrappers_in_any_dictionaries(
    prefixes: list[str], containers: list[str], beside: set[str], projector: bool
) -> None:
    content: dict[str, Any] = {".".join([*prefixes, name]): value for name, value in network().items()}
    if projector:
        content["projector.weight"] = torch.ones(7, 2)
    for name in containers:
        content = {name: content}
    content = {name: BESIDE[name] for name in beside if name not in content} | content
    assert values(drop_unused(fit(content, NAMES), NAMES, "file")) == values(network())


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ({"student": network(1), "teacher": network(2)}, 2),
        ({"state_dict": network(1), "state_dict_ema": network(2)}, 2),
        ({"model": network(1), "model_ema": {f"module.{name}": value for name, value in network(2).items()}}, 2),
        ({"model": network(1), "momentum_encoder": network(2)}, 1),
        (
            {f"{side}.backbone.{n}": v for i, side in enumerate(["student", "teacher"]) for n, v in network(i).items()},
            1,
        ),
        ({f"encoder_{side}.{n}": v for i, side in enumerate("kq") for n, v in network(i).items()}, 1),
        ({"teacher": {"unrelated": torch.ones(1)}, "model": network(3)}, 3),
        ({"teacher": dict(list(network(1).items())[:4]), "student": network(2)}, 2),  # the whole one
    ],
)
def test_of_several_networks_the_average_over_training_is_taken(content: Any, taken: int) -> None:
    assert values(fit(content, NAMES)) == values(network(taken))


def test_a_key_takes_another_and_a_note_names_it(caplog: pytest.LogCaptureFixture) -> None:
    content = {"state_dict": network(1), "state_dict_ema": network(2), "optimizer": {}}
    fit(content, NAMES, file="x.pth")
    assert caplog.messages == [
        "'x.pth' holds several networks; 'state_dict_ema' is taken. ',key=state_dict' takes another."
    ]
    assert values(fit(content, NAMES, key="state_dict")) == values(network(1))
    assert len(caplog.messages) == 1
    with pytest.raises(UsageError, match=r"'x\.pth' has no 'optimizer'; it has state_dict_ema and state_dict\."):
        fit(content, NAMES, key="optimizer", file="x.pth")


def test_two_networks_of_one_rank_must_be_told_apart() -> None:
    content = {f"{side}.{name}": value for side in ("left", "right") for name, value in network().items()}
    with pytest.raises(NotWeights, match="several networks of the same layers, 'left' and 'right': choose one"):
        fit(content, NAMES, file="x.pth")
    assert values(fit(content, NAMES, key="right")) == values(network())


def test_names_of_another_library_are_left_for_it_to_translate() -> None:
    foreign = {"visual.conv1.w": torch.ones(1), "visual.ln.w": torch.ones(1)}
    assert list(fit({"model": {f"module.{n}": v for n, v in foreign.items()}}, NAMES)) == list(foreign)


def test_parts_of_training_are_left_out_with_a_note_and_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    beside = ("mask_token", "decoder_blocks.0.weight", "decoder_blocks.1.weight")
    kept = ("blocks.1.attn.weight", "reg_token", "norm_pre.bias", "adapter.weight", "blocks.0.ls1.gamma", "fc.bias")
    state = network() | dict.fromkeys((*beside, *kept), torch.ones(1))
    assert drop_unused(state, NAMES, "x.pth").keys() == {*NAMES, *kept}
    assert caplog.messages == ["3 weights of 'x.pth' beside the network are not used: 'decoder_blocks', 'mask_token'."]
    assert drop_unused(state, state, "x.pth").keys() == state.keys()  # the network has these parts


def test_heads_go_without_a_note_if_nothing_else_is_over(caplog: pytest.LogCaptureFixture) -> None:
    heads = dict.fromkeys(["head.weight", "fc.2.bias"], torch.ones(1))
    assert values(without_heads(network() | heads, set(heads)) or {}) == values(network())
    assert without_heads(network() | heads, {*heads, "norm.bias"}) is None
    assert without_heads(network(), {"head.fc.weight"}) is None  # a name that a library made
    assert caplog.messages == []


# --- mismatches ------------------------------------------------------------------------------------------------------


def test_a_mismatch_gives_first_names_counts_and_shapes() -> None:
    layers = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    state = {"0.weight": torch.ones(3, 5), "0.bias": torch.ones(3), "scale": torch.ones(1), "shift": torch.ones(1)}
    with pytest.raises(NotWeights) as refused:
        load_strictly(layers, state, "x.pth")
    assert str(refused.value) == (
        "'x.pth' does not fit: 2 of 4 weights are missing, first '1.weight'; 2 have no place in the network, first "
        "'scale'; 1 are of another shape, first '0.weight': 3 x 5 in the file, 3 x 2 in the network"
    )
    assert not Mismatch.read(RuntimeError("no space left"))


def test_names_of_many_known_networks_are_recognised() -> None:
    looks = {
        "ResNet-50": ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.conv3.weight", "layer3.5.conv1.weight"],
        "timm/resnet18": ["module.conv1.weight", "module.layer1.0.conv1.weight", "module.layer3.1.conv2.weight"],
        "transformers/local-dir": ["vision_model.encoder.layers.0.layer_norm1.weight"],
        "ViT, DINOv2": ["vit.embeddings.patch_embeddings.projection.weight", "vit.encoder.layer.0.attention.x"],
        "open_clip/ARCH": ["visual.conv1.weight", "token_embedding.weight", "transformer.resblocks.0.ln_1.weight"],
        "image side of an open_clip": ["visual.trunk.blocks.0.attn.qkv.weight"],
        "text side": ["token_embedding.weight", "transformer.resblocks.0.ln_1.weight"],
        "Swin": ["patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table"],
        "ConvNeXt": ["downsample_layers.0.0.weight"],
        "language model": ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"],
        "bundled/NAME": ["vit.patch_embed.backbone.0.weight"],
    }
    for guess, names in looks.items():
        assert guess in look_like(dict.fromkeys(names, torch.ones(1)))
    vit = {"blocks.11.attn.qkv.weight": torch.ones(1), "patch_embed.proj.weight": torch.ones(384, 3, 14, 14)}
    assert "12 blocks of width 384 on patches of 14 pixels: try 'timm/vit_small_patch14" in look_like(vit)
    assert look_like({"weight": torch.ones(1)}) == ""


def test_resampled_positions_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    def positions(count: int) -> dict[str, Tensor]:
        return {"pos_embed": torch.zeros(1, count, 8)}

    note_resampling(positions(197), positions(197), "x.pth")
    assert caplog.messages == []
    caplog.set_level(logging.WARNING)
    note_resampling(positions(577), positions(197), "x.pth")
    assert caplog.messages == [
        "The position embeddings of 'x.pth' are for 577 tokens, the network's for 197: they are resampled."
    ]
