"""One network class serves every family: precision, memory layout, copies, the compiler, and refusals."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from embprobe.embeddings.extract import encode
from embprobe.encoders import load_encoder, network_encoder
from embprobe.encoders.network import NetworkEncoder
from embprobe.errors import EmbprobeError, UsageError
from tests.encoders.conftest import PICTURES, untrained, worst

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, groups=2), nn.ReLU()]
    return untrained(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()))  # type: ignore[no-any-return]


def linear(side: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 16), nn.GELU(), nn.Linear(16, 5))


def build(network: nn.Module, *, side: int = 32, **options: Any) -> NetworkEncoder:
    return network_encoder(network, device="cpu", input_size=side, mean=MEAN, std=STD, pooling="none", **options)


def test_by_hand() -> None:
    """A picture of two pixels' sides through one row of weights: every red by 1, every green by 10, plus 3."""
    layer = nn.Linear(12, 1)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([[1.0] * 4 + [10.0] * 4 + [0.0] * 4])
        layer.bias[:] = 3
    encoder = build(nn.Sequential(nn.Flatten(), layer), side=2)
    batch = torch.stack([torch.full((2, 2), value) for value in (1.0, 2.0, 5.0)])[None]
    assert encoder.encode_images(batch).tolist() == [[4 * 1 + 4 * 20 + 3]]  # = 87
    assert (encoder.spec.dimension, encoder.spec.has_text, encoder.spec.precision) == (1, False, "float32")
    image_input = encoder.spec.require_image_input()
    assert (image_input.mean, image_input.std, image_input.resize_to) == (MEAN, STD, 2)


@pytest.mark.parametrize("network", [linear(), convolutions()], ids=["linear", "convolutions"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_less_precision_is_near_and_still_float32_outside(network: nn.Module, precision: str) -> None:
    exact, rounded = build(network), build(network, precision=precision)
    vectors, expected = encode(rounded, PICTURES), encode(exact, PICTURES)
    assert vectors.dtype == np.float32 and rounded.spec.precision == precision
    size = np.abs(expected).max()
    assert 1e-5 * size < worst(vectors, expected) < 0.02 * size  # bfloat16 has eight bits: one in 256, float16 eleven
    assert exact.spec.fingerprint != rounded.spec.fingerprint
    assert all(value.dtype == torch.float32 for value in network.parameters())


def test_an_unknown_precision_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="There is no precision 'int8'; there are float32, bfloat16, float16"):
        build(linear(), precision="int8")


@torch.inference_mode()
def test_convolutions_get_the_layout_they_are_fast_in_and_give_the_same() -> None:
    plain, encoder = convolutions(), build(convolutions())
    assert encoder.network.get_parameter("3.weight").is_contiguous(memory_format=torch.channels_last)
    batch = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert worst(encoder.encode_images(batch), plain(batch)) < 1e-5


def test_the_layout_is_no_part_of_the_hash() -> None:
    network = convolutions()
    before = build(network).spec
    assert build(network).spec == before  # its weights have the other layout now


def test_a_network_is_put_into_evaluation_mode() -> None:
    """Dropout and batch norm must not depend on the other pictures of a batch, nor is anything trained."""
    network = nn.Sequential(convolutions(), nn.Dropout(0.9)).train()
    encoder = build(network)
    assert not network.training and not any(value.requires_grad for value in network.parameters())
    together = encode(encoder, PICTURES)
    assert worst(together[1:2], encode(encoder, PICTURES[1:2])) < 1e-6
    assert np.array_equal(together, encode(encoder, PICTURES))


def test_a_copy_on_a_device_is_independent() -> None:
    encoder = build(linear())
    copy = encoder.on("cpu")
    assert copy.spec == encoder.spec
    before = encode(encoder, PICTURES)
    assert np.array_equal(encode(copy, PICTURES), before)
    with torch.no_grad():
        for value in copy.network.parameters():
            value.zero_()
    assert np.array_equal(encode(encoder, PICTURES), before)
    assert not encode(copy, PICTURES).any()


def test_a_copy_has_the_text_side_too() -> None:
    encoder = load_encoder("bundled/clip")
    assert isinstance(encoder, NetworkEncoder)
    texts = ["a cat", "two dogs"]
    assert np.array_equal(encoder.on("cpu").encode_texts(texts), encoder.encode_texts(texts))


def test_the_compiled_network_gives_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the compiler reads the network; generating and compiling C++ from that would take half a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    encoder = build(linear())
    compiled = encoder.compiled()
    assert compiled.spec == encoder.spec
    assert worst(encode(compiled, PICTURES), encode(encoder, PICTURES)) < 1e-4


@pytest.mark.parametrize("side", [31, 1])
def test_images_of_a_size_that_a_network_cannot_take_are_a_sentence(side: int) -> None:
    with pytest.raises(EmbprobeError, match=f"takes no images of {side} x {side} pixels") as refused:
        build(linear(32) if side > 1 else convolutions(), side=side, family="lab", model="net")
    assert str(refused.value).startswith("'lab/net' takes no images") and "\n" not in str(refused.value)


def feature_map(network: nn.Module, batch: Tensor) -> Tensor:
    return batch


@pytest.mark.parametrize(
    "image",
    [
        feature_map,
        lambda network, batch: batch.mean((1, 2, 3)),
        lambda network, batch: (batch.mean((2, 3)), None),
        lambda network, batch: {"features": batch.mean((2, 3))},
        lambda network, batch: batch.mean((0, 2, 3))[None].expand(7, 3),
    ],
    ids=["feature map", "one number", "tuple", "dictionary", "more rows than images"],
)
def test_an_output_that_is_not_one_vector_an_image_is_a_sentence(image: Any) -> None:
    with pytest.raises(EmbprobeError, match=r"\[n, d\]|vector"):
        build(linear(), image=image)


def test_weights_in_half_precision_are_computed_as_they_are() -> None:
    """A user's own network may round as it likes, and nothing is converted silently; the vectors are float32."""
    encoder = build(linear().bfloat16(), image=lambda network, batch: network(batch.bfloat16()))
    assert encode(encoder, PICTURES).dtype == np.float32


# --- TF32 --------------------------------------------------------------------------------------------------------


def test_tf32_is_off_only_while_an_encoder_computes_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is only called a GPU here: the switch is the process's own, with or without one."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    switches: list[bool] = []

    def image(network: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        switches.append(torch.backends.cudnn.allow_tf32)
        return batch.flatten(1)

    encoder = build(nn.Identity(), side=2, image=image)
    switches.clear()
    with replace(encoder, device="cuda")._exact_convolutions():
        encoder.encode_images(torch.zeros(1, 3, 2, 2))
    encoder.encode_images(torch.zeros(1, 3, 2, 2))
    assert switches == [False, True] and torch.backends.cudnn.allow_tf32 is True


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch has one switch for all of cuDNN")
def test_tf32_that_was_set_for_convolutions_alone_is_restored() -> None:
    cudnn: Any = torch.backends.cudnn
    before = cudnn.allow_tf32
    encoder = replace(build(nn.Flatten(), side=2), device="cuda")
    try:
        cudnn.allow_tf32 = True
        cudnn.rnn.fp32_precision = "ieee"  # from now on allow_tf32 cannot be read
        with encoder._exact_convolutions():
            assert cudnn.conv.fp32_precision == "ieee"
        assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == ("tf32", "ieee")
    finally:
        cudnn.allow_tf32 = before
