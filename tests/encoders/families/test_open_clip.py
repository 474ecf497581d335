"""open_clip's encoders, with random weights from a file: the vectors are open_clip's own."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from embprobe.embeddings.extract import encode
from embprobe.encoders import Encoder, load_encoder
from embprobe.errors import EmbprobeError, UsageError
from tests.conftest import Malicious, noise
from tests.encoders.conftest import CONFIGS, PICTURES, SCHEDULED, as_numpy_1_wrote

MODEL = "ViT-S-32-alt"  # the smallest there is, with no published weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the same random weights as ``.pt`` and ``.safetensors``."""
    folder = tmp_path_factory.mktemp("open_clip")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = open_clip.create_model(MODEL).state_dict()
    torch.save(state, folder / "random.pt")
    save_file(state, folder / "random.safetensors")
    return folder


@pytest.fixture(scope="module")
def open_clip_model(weights: Path) -> tuple[Any, Any]:
    """Return open_clip's own model and preprocessing."""
    model, _, preprocess = open_clip.create_model_and_transforms(
        MODEL, pretrained=str(weights / "random.pt"), weights_only=True
    )
    return model.eval(), preprocess


@pytest.fixture(scope="module")
def encoder(weights: Path) -> Encoder:
    return load_encoder(f"open_clip/{MODEL}:{weights / 'random.pt'}")


@pytest.fixture
def tiny(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return weights of the architecture ``tiny-vit``, which is in open_clip's table during the test."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-vit", CONFIGS["vit"])
    return clips["vit"] / "open_clip_model.safetensors"


def test_image_vectors_are_open_clips_own(encoder: Encoder, open_clip_model: tuple[Any, Any]) -> None:
    model, preprocess = open_clip_model
    pictures = [noise(0, (300, 200)), noise(1, (100, 150)), noise(2, (224, 224))]
    with torch.inference_mode():
        expected = model.encode_image(torch.stack([preprocess(picture) for picture in pictures]))
    vectors = encode(encoder, pictures)
    assert vectors.shape == (3, encoder.spec.dimension) and vectors.dtype == np.float32
    assert np.abs(vectors - expected.numpy()).max() < 1e-5


def test_text_vectors_are_open_clips_own(encoder: Encoder, open_clip_model: tuple[Any, Any]) -> None:
    texts = ["a photo of a cat", "Größe: 3 €", ""]
    with torch.inference_mode():
        expected = open_clip_model[0].encode_text(open_clip.get_tokenizer(MODEL)(texts))
    assert encoder.spec.has_text
    assert np.abs(encoder.encode_texts(texts) - expected.numpy()).max() < 1e-5


def test_the_spec_holds_open_clips_settings(encoder: Encoder, open_clip_model: tuple[Any, Any]) -> None:
    spec, config = encoder.spec, open_clip_model[0].visual.preprocess_cfg
    image_input = spec.require_image_input()
    assert (image_input.input_size, image_input.resize_to) == (224, 224) == tuple(config["size"])
    assert (image_input.mean, image_input.std) == (tuple(config["mean"]), tuple(config["std"]))
    assert (spec.pooling, image_input.resize, image_input.interpolation) == ("projected", "shortest", "bicubic")


def test_the_file_format_does_not_matter(encoder: Encoder, weights: Path) -> None:
    other = load_encoder(f"open_clip/{MODEL}:{weights / 'random.safetensors'}")
    assert other.spec.name.endswith("random.safetensors")
    assert other.spec.fingerprint == encoder.spec.fingerprint
    assert np.array_equal(encode(other, [noise(0)]), encode(encoder, [noise(0)]))


@pytest.mark.parametrize("written", ["plain", "scheduled", "scheduled with numpy 1"])
def test_a_training_checkpoint_is_its_weights(tmp_path: Path, tiny: Path, written: str) -> None:
    """As open_clip's training code writes it, on several GPUs."""
    state = {f"module.{name}": value for name, value in load_file(tiny).items()}
    optimizer = SCHEDULED if "scheduled" in written else {"state": {}, "param_groups": [{"lr": 5e-4}]}
    file = tmp_path / "epoch_20.pt"
    torch.save(
        {"epoch": 20, "name": "run", "state_dict": state, "optimizer": optimizer, "scaler": {"scale": 2.0}}, file
    )
    if "numpy 1" in written:
        as_numpy_1_wrote(file)
    loaded, expected = load_encoder(f"open_clip/tiny-vit:{file}"), load_encoder(f"open_clip/tiny-vit:{tiny}")
    assert np.array_equal(encode(loaded, PICTURES), encode(expected, PICTURES))
    assert loaded.spec.fingerprint == expected.spec.fingerprint


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_malicious_file_is_refused_and_does_not_run(tmp_path: Path, tiny: Path, how: str) -> None:
    mark, file = tmp_path / "ran", tmp_path / "weights.pt"
    if how == "torch":
        torch.save({"state_dict": load_file(tiny), "optimizer": Malicious(mark)}, file)
    else:
        file.write_bytes(pickle.dumps(Malicious(mark)))
    with pytest.raises(EmbprobeError, match=r"weights\.pth?' holds more than weights .*refused"):
        load_encoder(f"open_clip/tiny-vit:{file}")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Malicious(mark)))
    assert mark.exists()  # it would have run


@pytest.mark.parametrize(
    ("damage", "suffix"),
    [("garbage", "pt"), ("empty", "safetensors"), ("truncated", "pt"), ("lacking", "safetensors"), ("other", "pt")],
)
def test_a_file_that_does_not_hold_all_the_weights_is_refused(
    tmp_path: Path, tiny: Path, damage: str, suffix: str
) -> None:
    file = tmp_path / f"damaged.{suffix}"
    state = load_file(tiny)
    if suffix == "pt":
        torch.save(state, file)
    whole = (file if suffix == "pt" else tiny).read_bytes()
    content = {"garbage": b"hello " * 9, "empty": b"", "truncated": whole[: len(whole) // 2]}
    if damage in content:
        file.write_bytes(content[damage])
    else:
        lacking = {name: value for name, value in state.items() if not name.startswith("visual.transformer")}
        changed = lacking if damage == "lacking" else {"unrelated": torch.zeros(2)}
        if suffix == "pt":
            torch.save(changed, file)
        else:
            save_file(changed, file)
    with pytest.raises(EmbprobeError, match="Could not load 'open_clip/tiny-vit:.*damaged"):
        load_encoder(f"open_clip/tiny-vit:{file}")


def test_a_missing_weights_file_is_named() -> None:
    with pytest.raises(EmbprobeError, match=r"nowhere\.pt"):
        load_encoder(f"open_clip/{MODEL}:nowhere.pt")


def test_without_weights_the_published_tags_are_listed() -> None:
    with pytest.raises(UsageError, match=r"'open_clip/ViT-B-16' needs weights: .*\bopenai\b.*laion2b"):
        load_encoder("open_clip/ViT-B-16")


def test_published_weights_without_a_network_fail_in_one_line(offline: None) -> None:
    with pytest.raises(EmbprobeError) as failed:
        load_encoder("open_clip/ViT-B-32:laion2b_s34b_b79k")
    message = str(failed.value)
    assert message == (
        "The weights of 'open_clip/ViT-B-32:laion2b_s34b_b79k' could not be fetched. "
        "Without a network, give a file: 'open_clip/ViT-B-32:FILE'."
    )
