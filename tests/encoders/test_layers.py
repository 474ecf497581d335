"""Layers and tokens: each family's own call gives the same, and one pass gives them all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from embprobe.encoders import load_encoder, load_encoders, network_encoder
from embprobe.encoders.families.open_clip import _trunk
from embprobe.encoders.families.timm import trunk_of
from embprobe.encoders.layers import Trunk
from embprobe.encoders.network import NetworkEncoder, encode_together, share_networks
from embprobe.encoders.spec import EncoderSpec, TokenGrid
from embprobe.encoders.towers.header import IMAGE_SIZE
from embprobe.encoders.towers.two_towers import TwoTowers
from embprobe.errors import UsageError
from tests.encoders.conftest import CONFIGS, untrained, worst

RANDOM = "reference/random-vit"
"""Six blocks of 4 x 4 patches and a class token."""


def pictures(side: int, count: int = 3) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def wrap(network: Any, trunk: Trunk | None, side: int) -> NetworkEncoder:
    """Return an encoder of a network, as its family makes it."""
    return network_encoder(
        network, device="cpu", input_size=side, mean=(0,) * 3, std=(1,) * 3, pooling="none", trunk=trunk
    )


def layer(encoder: NetworkEncoder, **options: str) -> NetworkEncoder:
    (view,) = encoder.views(options)
    return view


# --- each family's own call ---------------------------------------------------------------------------------------


@torch.inference_mode()
@pytest.mark.parametrize("norm", ["none", "last"])
@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit3", "test_vit4", "eva02_tiny_patch14_224"])
def test_blocks_of_timm_are_those_of_its_own_call(name: str, norm: str) -> None:
    side = 56 if "eva" in name else 160
    network: Any = untrained(timm.create_model(name, num_classes=0, img_size=side))
    encoder, batch = wrap(network, trunk_of(network), side), pictures(side, 2)
    outputs = network.forward_intermediates(
        batch, norm=norm == "last", return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
    )
    outputs = [each if isinstance(each, tuple) else (each, None) for each in outputs]  # without a class token
    if norm == "last" and isinstance(network.norm, nn.Identity):  # timm's call leaves out the norm behind the pooling
        outputs = [tuple(None if part is None else network.fc_norm(part) for part in each) for each in outputs]
    for number, (patches, prefix) in enumerate(outputs, 1):
        mean = layer(encoder, layer=str(number), norm=norm, pooling="mean")
        assert worst(mean.encode_images(batch), patches.mean(1)) < 1e-5
        tokens = layer(encoder, layer=str(number), norm=norm, pooling="tokens")
        grid = tokens.spec.tokens
        assert grid is not None and grid.prefix == (0 if prefix is None else prefix.shape[1])
        expected = patches if prefix is None else torch.cat([prefix, patches], 1)
        assert worst(tokens.encode_images(batch), expected) < 1e-5
        if prefix is not None and network.cls_token is not None:
            own = layer(encoder, layer=str(number), norm=norm, pooling="cls")
            assert worst(own.encode_images(batch), prefix[:, 0]) < 1e-5


@torch.inference_mode()
def test_a_class_token_that_comes_behind_the_blocks_is_not_looked_for_in_them() -> None:
    network: Any = untrained(timm.create_model("cait_xxs24_224", num_classes=0, img_size=64))
    encoder, batch = wrap(network, trunk_of(network), 64), pictures(64, 2)
    expected = network.forward_intermediates(batch, indices=[1], output_fmt="NLC", intermediates_only=True)[0]
    tokens = layer(encoder, layer="2", pooling="tokens")
    assert tokens.spec.tokens == TokenGrid(prefix=0, rows=4, columns=4)
    assert worst(tokens.encode_images(batch), expected) < 1e-5
    with pytest.raises(UsageError, match="without a class token"):
        encoder.views({"layer": "2", "pooling": "cls"})


@torch.inference_mode()
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "test_byobnet", "test_nfnet"])
def test_stages_of_timm_are_those_of_its_own_call(name: str) -> None:
    network: Any = untrained(timm.create_model(name, num_classes=0))
    encoder, batch = wrap(network, trunk_of(network), 64), pictures(64, 2)
    maps = network.forward_intermediates(batch, intermediates_only=True)
    trunk = trunk_of(network)
    assert trunk is not None
    maps = maps[-len(trunk.blocks(network)) :]  # its first may be the stem, which is no stage
    for number, expected in enumerate(maps, 1):
        vectors = layer(encoder, layer=str(number)).encode_images(batch)
        assert worst(vectors, expected.mean((2, 3))) < 1e-5
        tokens = layer(encoder, layer=str(number), pooling="tokens")
        assert tokens.spec.tokens == TokenGrid(prefix=0, rows=expected.shape[2], columns=expected.shape[3])
        assert worst(tokens.encode_images(batch), expected.flatten(2).transpose(1, 2)) < 1e-5


@torch.inference_mode()
def test_feature_maps_with_their_channels_last_are_read_as_such() -> None:
    network: Any = untrained(
        timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, img_size=64, window_size=2)
    )
    encoder, batch = wrap(network, trunk_of(network), 64), pictures(64, 1)
    for number, expected in enumerate(network.forward_intermediates(batch, intermediates_only=True), 1):
        assert worst(layer(encoder, layer=str(number)).encode_images(batch), expected.mean((2, 3))) < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["vit", "resnet", "convnext", "siglip"])
def test_layers_of_open_clip_are_those_of_its_own_call(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", CONFIGS[kind])
    network: Any = untrained(open_clip.create_model("tiny"))
    side = CONFIGS[kind]["vision_cfg"]["image_size"]
    trunk, batch = _trunk(network.visual), pictures(side, 2)
    assert trunk is not None
    encoder = network_encoder(
        network,
        device="cpu",
        input_size=side,
        mean=(0,) * 3,
        std=(1,) * 3,
        pooling="projected",
        image=lambda network, batch: network.encode_image(batch),
        trunk=trunk,
    )
    visual = network.visual.trunk if kind in ("convnext", "siglip") else network.visual
    found = visual.forward_intermediates(batch, intermediates_only=True)
    maps = found["image_intermediates"] if isinstance(found, dict) else found
    maps = maps[-len(trunk.blocks(network)) :]
    for number, expected in enumerate(maps, 1):
        vectors = layer(encoder, layer=str(number), pooling="mean").encode_images(batch)
        assert worst(vectors, expected.mean((2, 3))) < 1e-5
    if kind == "vit":
        pooled = layer(encoder, layer="-1", norm="last", pooling="cls").encode_images(batch)
        assert worst(pooled @ network.visual.proj.numpy(), network.encode_image(batch)) < 1e-5


def test_layers_of_the_bundled_vit_are_its_blocks() -> None:
    vit, batch = TwoTowers(seed=0).vit.eval(), pictures(IMAGE_SIZE)
    with torch.inference_mode():
        tokens = vit.patch_embed(batch).flatten(1, 2)
        tokens = torch.cat([vit.cls_token.expand(3, -1, -1), tokens], 1) + vit.pos_embed
        mean = load_encoder(f"{RANDOM},layer=0,pooling=mean").encode_images(batch)
        assert worst(mean, tokens[:, 1:].mean(1)) < 1e-5
        for number, block in enumerate(vit.blocks, 1):
            tokens = block(tokens)
            found = load_encoder(f"{RANDOM},layer={number}")
            assert found.spec.pooling == "cls" and worst(found.encode_images(batch), tokens[:, 0]) < 1e-5
            both = load_encoder(f"{RANDOM},layer={number},norm=last,pooling=cls+mean").encode_images(batch)
            normed = vit.norm(tokens)
            assert worst(both, torch.cat([normed[:, 0], normed[:, 1:].mean(1)], 1)) < 1e-5
    own = load_encoder(RANDOM).encode_images(batch)
    assert np.array_equal(load_encoder(f"{RANDOM},layer=-1,norm=last").encode_images(batch), own)
    whole = load_encoder(f"{RANDOM},pooling=tokens")
    assert whole.spec.tokens == TokenGrid(prefix=1, rows=4, columns=4) and whole.spec.shape == (17, 128)
    assert np.array_equal(whole.encode_images(batch)[:, 0], own)


# --- one pass -----------------------------------------------------------------------------------------------------


def test_all_layers_and_poolings_of_a_network_take_one_pass() -> None:
    names = [RANDOM, f"{RANDOM},layer=*", f"{RANDOM},layer=0,pooling=mean", f"{RANDOM},pooling=tokens"]
    encoders, batch = load_encoders([*names, "reference/pixels"]), pictures(IMAGE_SIZE)
    assert len(encoders) == 10
    passes: list[int] = []
    networks = [each for each in encoders if isinstance(each, NetworkEncoder)]
    for network in {id(each.network): each.network for each in networks}.values():
        cast(TwoTowers, network).vit.norm.register_forward_hook(lambda *_: passes.append(1))
    small = pictures(12)
    batches = [batch if isinstance(each, NetworkEncoder) else small for each in encoders]
    together = encode_together(encoders, batches)
    assert sum(passes) == 1 + 1  # the pass, and the norm of the tokens that pooling=tokens asks for
    for encoder, own, vectors in zip(encoders, batches, together, strict=True):
        assert np.array_equal(encoder.encode_images(own), vectors)


def test_encoders_that_were_loaded_one_by_one_share_a_network_and_its_pass() -> None:
    apart = [load_encoder(name) for name in ("bundled/clip", "bundled/clip,pooling=cls", "bundled/clip,layer=2")]
    others = [load_encoder("bundled/dino"), load_encoder("bundled/clip,precision=bfloat16")]
    shared = [each for each in share_networks([*apart, *others]) if isinstance(each, NetworkEncoder)]
    assert [len({each.pass_key for each in group}) for group in (shared[:3], shared)] == [1, 3]
    batch = pictures(IMAGE_SIZE)
    for before, after in zip([*apart, *others], shared, strict=True):
        assert np.array_equal(before.encode_images(batch), after.encode_images(batch))


def test_threads_that_share_a_network_do_not_mix_their_layers() -> None:
    encoder = load_encoder(f"{RANDOM},layer=3")
    batches = [pictures(IMAGE_SIZE, 2) + i for i in range(24)]
    expected = [encoder.encode_images(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encoder.encode_images, batches))
    assert all(worst(a, b) < 1e-5 for a, b in zip(found, expected, strict=True))


def test_a_copy_on_another_device_gives_its_layers_too() -> None:
    encoder = load_encoder(f"{RANDOM},layer=3")
    assert isinstance(encoder, NetworkEncoder)
    copy = encoder.on("cpu")
    assert copy.network is not encoder.network
    assert np.array_equal(copy.encode_images(pictures(IMAGE_SIZE)), encoder.encode_images(pictures(IMAGE_SIZE)))


def test_layers_are_not_compiled() -> None:
    encoder = load_encoder(f"{RANDOM},layer=3")
    assert isinstance(encoder, NetworkEncoder) and encoder.compiled() is encoder


# --- names and specs ----------------------------------------------------------------------------------------------


def test_a_name_says_the_layer_counted_from_the_front() -> None:
    encoder = load_encoder(f"{RANDOM}:3,layer=-2,pooling=mean")
    assert encoder.spec.name == f"{RANDOM}:3,layer=5,pooling=mean"
    assert load_encoder(encoder.spec.name).spec.fingerprint == encoder.spec.fingerprint
    names = [each.spec.name for each in load_encoders([f"{RANDOM},layer=*", f"{RANDOM},layer=6"])]
    assert names == [f"{RANDOM},layer={i}" for i in range(1, 7)]


def test_layers_norms_poolings_and_types_are_other_stores_and_no_option_is_the_old_one() -> None:
    names = ["", ",layer=6", ",layer=5", ",layer=6,norm=last", ",layer=6,pooling=mean", ",pooling=tokens"]
    names += [",pooling=tokens,stored=float16"]
    assert len({load_encoder(f"{RANDOM}{options}").spec.fingerprint for options in names}) == len(names)
    spec = load_encoder(RANDOM).spec
    new = {"layer", "norm", "tokens", "stored", "weights", "options"}
    values: dict[str, Any] = {k: v for k, v in dataclasses.asdict(spec).items() if k not in new}
    values |= {k: v for k, v in values.pop("image_input").items() if k != "max_pixels"}
    before = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
    assert spec.fingerprint == before  # as it was computed when there were no layers


@pytest.mark.parametrize("name", [f"{RANDOM},layer=3", f"{RANDOM},pooling=tokens,stored=float16"])
def test_a_spec_is_read_back_from_its_manifest(name: str) -> None:
    spec = load_encoder(name).spec
    saved = json.loads(json.dumps(dataclasses.asdict(spec)))
    assert EncoderSpec.from_saved(saved) == spec
    with pytest.raises((TypeError, ValueError)):
        EncoderSpec.from_saved(saved | {"layer": "3"})
    with pytest.raises((TypeError, ValueError, AttributeError)):
        EncoderSpec.from_saved(saved | {"tokens": {"prefix": "1", "rows": 2, "columns": 2}})


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (f"{RANDOM},layer=7", "has 6 layers"),
        (f"{RANDOM},layer=-7", "has 6 layers"),
        (f"{RANDOM},layer=-0", "has 6 layers"),
        (f"{RANDOM},layer=last", "has 6 layers"),
        (f"{RANDOM},layer=99999999999999999999", "has 6 layers"),
        (f"{RANDOM},layer=", "has 6 layers"),
        (f"{RANDOM},layer=*", "several encoders"),
        (f"{RANDOM},layer=0", "class token is the same for every image"),
        (f"{RANDOM},layer=1,norm=first", "norm=none and norm=last"),
        (f"{RANDOM},layer=1,pooling=max", "cls, mean, cls[+]mean, tokens or patches@mask"),
        (f"{RANDOM},layer=1,stored=int8", "float32 or float16"),
        ("reference/pixels,layer=1", "has no layers"),
        ("reference/texture,pooling=tokens", "has no layers"),
    ],
)
def test_what_is_not_there_is_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        load_encoder(name)
    assert "\n" not in str(refused.value)


def test_a_network_of_convolutions_has_no_class_token_and_a_network_without_a_table_no_layers(tmp_path: Path) -> None:
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    name = f"timm/test_resnet:{tmp_path / 'w.safetensors'}"
    with pytest.raises(UsageError, match="without a class token: say pooling=mean"):
        load_encoder(f"{name},layer=2,pooling=cls")
    with pytest.raises(UsageError, match="no last norm"):
        load_encoder(f"{name},layer=2,norm=last")
    assert [each.spec.layer for each in load_encoders([f"{name},layer=*"])] == [1, 2, 3, 4]
    with pytest.raises(UsageError, match="are not known to embprobe: leave out layer=1"):
        wrap(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), None, 2).views({"layer": "1"})
