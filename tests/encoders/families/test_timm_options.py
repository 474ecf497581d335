"""timm's encoders with options: other poolings by hand, other sizes as timm itself builds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import timm.data.config
import timm.data.transforms_factory
import torch
from safetensors.torch import save_file
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from embprobe.embeddings.extract import encode
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError, UsageError
from tests.encoders.conftest import PICTURES, untrained, worst
from tests.encoders.families.vision_transformer import tokens, weights

REGISTERS = "vit_small_patch14_reg4_dinov2.lvd142m"
DINOV3 = "vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m"
AUGREG = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
CNN = "mobilenetv3_small_050.lamb_in1k"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return files of untrained weights, as timm's own state dicts."""
    folder = tmp_path_factory.mktemp("timm")
    paths = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name in (REGISTERS, DINOV3, AUGREG, CNN, "test_vit", "test_vit4", "test_convnext"):
            paths[name] = folder / f"{name}.safetensors"
            save_file(untrained(timm.create_model(name)).state_dict(), paths[name])
    return paths


def timm_model(name: str, file: Path, *, size: int | None = None, fixed: bool = True) -> tuple[Any, torch.Tensor]:
    """Return timm's own model for features, and the pictures through its own preprocessing.

    A network that is built for one size (``fixed``) is given the size.
    """
    built: Any = {"img_size": size} if size and fixed else {}
    model = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay={"file": str(file)}, num_classes=0, **built
    ).eval()
    config = timm.data.config.resolve_data_config({"img_size": size}, model=model)  # type: ignore[no-untyped-call]
    transform: Any = timm.data.transforms_factory.create_transform(**config, is_training=False)
    return model, torch.stack([transform(picture) for picture in PICTURES])


@pytest.mark.parametrize(
    ("name", "size", "prefix"),
    [
        (REGISTERS, 56, 5),
        (DINOV3, 64, 5),
        ("test_vit", 160, 1),
    ],  # five: the class token, four registers
)
@torch.inference_mode()
def test_poolings_by_hand(name: str, size: int, prefix: int, files: dict[str, Path]) -> None:
    model, batch = timm_model(name, files[name], size=size)
    states = model.forward_features(batch)
    assert states.shape[1] == prefix + (size // model.patch_embed.patch_size[0]) ** 2
    cls, mean = states[:, 0], states[:, prefix:].mean(1)
    for pooling, expected in {"": cls, "mean": mean, "cls+mean": torch.cat([cls, mean], 1)}.items():
        option = f",pooling={pooling}" if pooling else ""
        encoder = load_encoder(f"timm/{name}:{files[name]},size={size}{option}")
        assert (encoder.spec.pooling, encoder.spec.dimension) == (pooling or "cls", expected.shape[1])
        assert worst(encode(encoder, PICTURES), expected) < 1e-5


@torch.inference_mode()
def test_registers_without_a_class_token_are_left_out_of_the_mean(files: dict[str, Path]) -> None:
    model, batch = timm_model("test_vit4", files["test_vit4"])  # one register; a norm behind the pooling
    assert model.num_prefix_tokens == 1 and model.cls_token is None
    expected = model.fc_norm(model.forward_features(batch)[:, 1:].mean(1))
    for option in ("", ",pooling=mean"):
        encoder = load_encoder(f"timm/test_vit4:{files['test_vit4']}{option}")
        assert worst(encode(encoder, PICTURES), expected) < 1e-5
    with pytest.raises(UsageError, match=r"has no pooling 'cls'; it has mean\."):
        load_encoder(f"timm/test_vit4:{files['test_vit4']},pooling=cls")


@pytest.mark.parametrize("name", [CNN, "test_convnext"])
@torch.inference_mode()
def test_a_convolutional_network_has_its_mean_only(name: str, files: dict[str, Path]) -> None:
    model, batch = timm_model(name, files[name])
    for option in ("", ",pooling=mean"):
        encoder = load_encoder(f"timm/{name}:{files[name]}{option}")
        assert worst(encode(encoder, PICTURES), model(batch)) < 1e-5
    for pooling in ("cls", "cls+mean", "nonsense"):
        with pytest.raises(UsageError) as refused:
            load_encoder(f"timm/{name}:{files[name]},pooling={pooling}")
        assert str(refused.value) == f"'timm/{name}' has no pooling '{pooling}'; it has mean."


@pytest.mark.parametrize(("name", "size"), [(AUGREG, 96), (AUGREG, 256), ("test_vit", 96)])
@torch.inference_mode()
def test_size_is_timms_img_size(name: str, size: int, files: dict[str, Path]) -> None:
    """Position embeddings are resampled, and timm's own share of the image is kept."""
    model, batch = timm_model(name, files[name], size=size)
    encoder = load_encoder(f"timm/{name}:{files[name]},size={size},pooling=cls")
    assert encoder.spec.require_image_input().input_size == batch.shape[-1] == size
    assert worst(encode(encoder, PICTURES), model.forward_features(batch)[:, 0]) < 1e-5


@pytest.mark.parametrize("name", [CNN, "test_convnext"])
@torch.inference_mode()
def test_a_convolutional_network_takes_any_size(name: str, files: dict[str, Path]) -> None:
    model, batch = timm_model(name, files[name], size=97, fixed=False)
    encoder = load_encoder(f"timm/{name}:{files[name]},size=97")
    assert encoder.spec.require_image_input().input_size == batch.shape[-1] == 97
    assert worst(encode(encoder, PICTURES), model(batch)) < 1e-5


@torch.inference_mode()
def test_resize_is_the_shorter_side_before_the_crop(files: dict[str, Path]) -> None:
    model, _ = timm_model(AUGREG, files[AUGREG])
    steps = [Resize(256, InterpolationMode.BICUBIC), CenterCrop(224), ToTensor(), Normalize([0.5] * 3, [0.5] * 3)]
    expected = model(torch.stack([Compose(steps)(picture) for picture in PICTURES]))
    encoder = load_encoder(f"timm/{AUGREG}:{files[AUGREG]},resize=256")
    image_input = encoder.spec.require_image_input()
    assert (image_input.resize_to, image_input.input_size) == (256, 224)
    assert worst(encode(encoder, PICTURES), expected) < 1e-5


@pytest.mark.parametrize("option", ["size", "resize"])
@pytest.mark.parametrize("value", ["0", "-3", "1e9", "abc", "1000000000000", "224.0", " 224", "²"])
def test_a_size_that_is_no_number_of_pixels_is_a_sentence(option: str, value: str, files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=f"'{option}={value}': give a side in pixels, 1 to 4096"):
        load_encoder(f"timm/test_vit:{files['test_vit']},{option}={value}")


@pytest.mark.parametrize(("name", "size"), [(AUGREG, 225), ("test_vit", 161), ("test_vit", 15), ("test_convnext", 15)])
def test_a_size_that_a_network_cannot_take_is_a_sentence(name: str, size: int, files: dict[str, Path]) -> None:
    with pytest.raises(EmbprobeError, match=f"'timm/{name}") as refused:
        load_encoder(f"timm/{name}:{files[name]},size={size}")
    assert "\n" not in str(refused.value)


@torch.inference_mode()
def test_mae_gives_its_class_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published for the base size and larger only: 86 million weights, which timm need not draw first."""
    monkeypatch.setattr("timm.models.vision_transformer.VisionTransformer.init_weights", lambda *_, **__: None)
    name, file = "vit_base_patch16_224.mae", tmp_path / "mae.safetensors"
    state = weights(16, dim=768, side=32)
    save_file(state, file)
    encoder = load_encoder(f"timm/{name}:{file},size=32")
    assert (encoder.spec.pooling, encoder.spec.dimension) == ("cls", 768)
    assert encoder.spec.require_image_input().resize_to == 35  # 32 / 0.9
    steps = [Resize(35, InterpolationMode.BICUBIC), CenterCrop(32), ToTensor()]
    batch = torch.stack(
        [Compose([*steps, Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)])(p) for p in PICTURES]
    )
    assert worst(encode(encoder, PICTURES), tokens(state, batch)[:, 0]) < 1e-5
