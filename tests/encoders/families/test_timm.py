"""timm's encoders, with random weights from a file: the vectors are timm's own, and DINO's are its CLS token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import timm.data.config
import timm.data.transforms_factory
import torch
from safetensors.torch import save_file

from embprobe.embeddings.extract import encode
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError, UsageError
from tests.conftest import Malicious, noise

TINY = "test_vit"  # 0.4 M parameters, made by timm for tests
PICTURES = [noise(0, (300, 200)), noise(1, (100, 150))]


def random_weights(name: str, folder: Path, suffix: str = "safetensors") -> Path:
    """Write random weights of an architecture into a file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = timm.create_model(name).state_dict()
    file = folder / f"random.{suffix}"
    if suffix == "safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return file


def timm_model(name: str, file: Path, **options: Any) -> Any:
    """Return timm's own model, made for features as its documentation shows."""
    return timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay={"file": str(file)}, num_classes=0, **options
    ).eval()


def inputs(model: Any) -> torch.Tensor:
    """Return the pictures through timm's own preprocessing."""
    config = timm.data.config.resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    transform: Any = timm.data.transforms_factory.create_transform(**config, is_training=False)
    return torch.stack([transform(picture) for picture in PICTURES])


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("name", [TINY, "test_vit3", "test_convnext"])  # CLS, attention and mean pooling
def test_vectors_are_timms_own(name: str, suffix: str, tmp_path: Path) -> None:
    file = random_weights(name, tmp_path, suffix)
    model = timm_model(name, file)
    with torch.inference_mode():
        expected = model(inputs(model)).numpy()
    encoder = load_encoder(f"timm/{name}:{file}")
    vectors = encode(encoder, PICTURES)
    assert vectors.shape == (2, encoder.spec.dimension) and vectors.dtype == np.float32
    assert np.abs(vectors - expected).max() < 1e-5
    # 160 / 0.95 = 168.4
    image_input = encoder.spec.require_image_input()
    assert (image_input.input_size, image_input.resize_to, image_input.resize) == (160, 168, "shortest")


def test_the_dimension_in_the_spec_is_that_of_the_vectors(tmp_path: Path) -> None:
    # a convolution comes after the pooling: 288 features become 1,024
    name = "mobilenetv3_small_050"
    encoder = load_encoder(f"timm/{name}:{random_weights(name, tmp_path)}")
    assert encode(encoder, PICTURES).shape == (2, 1024)
    assert encoder.spec.dimension == 1024


@pytest.mark.parametrize("name", ["vit_small_patch16_224.dino", "vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m"])
def test_dino_gives_its_cls_token(name: str, tmp_path: Path) -> None:
    file = random_weights(name, tmp_path)
    encoder = load_encoder(f"timm/{name}:{file}")
    model = timm_model(name, file)  # as timm pools by default
    with torch.inference_mode():
        tokens = model.forward_features(inputs(model))
        default = model(inputs(model))
    vectors = encode(encoder, PICTURES)
    assert encoder.spec.pooling == "cls"
    assert np.abs(vectors - tokens[:, 0].numpy()).max() < 1e-5
    if "dinov3" in name:  # where timm's default is the mean
        assert np.abs(vectors - default.numpy()).max() > 0.01


def test_the_input_size_of_dinov2_is_on_record(tmp_path: Path) -> None:
    name = "vit_small_patch14_dinov2.lvd142m"
    spec = load_encoder(f"timm/{name}:{random_weights(name, tmp_path)}").spec
    image_input = spec.require_image_input()
    assert (image_input.input_size, image_input.resize_to, spec.pooling, spec.dimension) == (518, 518, "cls", 384)


@pytest.mark.parametrize("name", ["convnext_tiny.dinov3_lvd1689m", "resmlp_12_224.fb_dino"])
def test_a_dino_without_a_cls_token_gives_the_mean(name: str, tmp_path: Path) -> None:
    file = random_weights(name, tmp_path)
    encoder = load_encoder(f"timm/{name}:{file}")
    assert encoder.spec.pooling == "mean"


def test_another_weights_file_is_another_encoder(tmp_path: Path) -> None:
    file = random_weights(TINY, tmp_path)
    before = load_encoder(f"timm/{TINY}:{file}").spec
    state = timm.create_model(TINY).state_dict()
    save_file(state, file)  # under the same name
    after = load_encoder(f"timm/{TINY}:{file}").spec
    assert before.name == after.name and before.fingerprint != after.fingerprint


def test_a_malicious_file_is_refused_and_does_not_run(tmp_path: Path) -> None:
    mark, file = tmp_path / "ran", tmp_path / "weights.pth"
    torch.save({"state_dict": Malicious(mark)}, file)
    with pytest.raises(EmbprobeError, match=r"weights\.pth?' holds more than weights .*refused"):
        load_encoder(f"timm/{TINY}:{file}")
    assert not mark.exists()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated", "lacking", "unrelated"])
def test_a_file_that_does_not_hold_all_the_weights_is_refused(tmp_path: Path, damage: str, suffix: str) -> None:
    whole = random_weights(TINY, tmp_path, suffix).read_bytes()
    file = tmp_path / f"damaged.{suffix}"
    content = {"garbage": b"hello " * 9, "empty": b"", "truncated": whole[: len(whole) // 2]}
    if damage in content:
        file.write_bytes(content[damage])
    else:
        state = {n: v for n, v in timm.create_model(TINY).state_dict().items() if not n.startswith("blocks.1.")}
        changed = state if damage == "lacking" else {"teacher.backbone.weight": torch.zeros(2)}
        if suffix == "pth":
            torch.save(changed, file)
        else:
            save_file(changed, file)
    with pytest.raises(EmbprobeError, match=r"damaged\."):  # the file is named
        load_encoder(f"timm/{TINY}:{file}")


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    file = random_weights("test_vit2", tmp_path)  # the same width, two blocks more
    with pytest.raises(EmbprobeError, match=f"Could not load 'timm/{TINY}"):
        load_encoder(f"timm/{TINY}:{file}")


def test_a_weights_file_without_its_classifier_is_enough(tmp_path: Path) -> None:
    whole = random_weights(TINY, tmp_path)
    bare = tmp_path / "bare.safetensors"
    save_file(timm_model(TINY, whole).state_dict(), bare)
    a, b = load_encoder(f"timm/{TINY}:{whole}"), load_encoder(f"timm/{TINY}:{bare}")
    assert np.array_equal(encode(a, PICTURES), encode(b, PICTURES))
    assert a.spec.fingerprint == b.spec.fingerprint


def test_a_missing_weights_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"There is no weights file 'nowhere\.pth'"):
        load_encoder(f"timm/{TINY}:nowhere.pth")


def test_there_is_no_text_side(tmp_path: Path) -> None:
    encoder = load_encoder(f"timm/{TINY}:{random_weights(TINY, tmp_path)}")
    with pytest.raises(UsageError, match="text"):
        encoder.encode_texts(["a cat"])


def test_published_weights_without_a_network_fail_in_one_line(offline: None) -> None:
    with pytest.raises(EmbprobeError) as failed:
        load_encoder("timm/vit_small_patch16_224.dino")
    message = str(failed.value)
    assert message == (
        "The weights of 'timm/vit_small_patch16_224.dino' could not be fetched. "
        "Without a network, give a file: 'timm/vit_small_patch16_224.dino:FILE'."
    )
