"""Checkpoints in the form in which DINO's own code writes them: the vectors are its networks', fed as it evaluates."""

from __future__ import annotations

import argparse
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from embprobe.embeddings.extract import encode
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError, UsageError
from tests.conftest import Malicious
from tests.encoders.conftest import PICTURES, SCHEDULED, as_numpy_1_wrote, settle, untrained, worst
from tests.encoders.families.vision_transformer import State, tokens, weights


def inputs(side: int = 224, resize_to: int = 256) -> Tensor:
    """Return the pictures as DINO's ``eval_knn.py`` feeds them."""
    steps = [
        Resize(resize_to, InterpolationMode.BICUBIC),
        CenterCrop(side),
        ToTensor(),
        Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    return torch.stack([Compose(steps)(picture) for picture in PICTURES])


def checkpoint(teacher: State, student: State, /, **more: Any) -> dict[str, Any]:
    """Return a checkpoint as ``main_dino.py`` writes it.

    Without batch norm, only the student is in its wrapper for several GPUs.
    """
    head = {
        "mlp.0.weight": torch.ones(8, 4),
        "last_layer.weight_g": torch.ones(9, 1),
        "last_layer.weight_v": torch.ones(9, 8),
    }
    wrapped = [
        {f"backbone.{name}": value for name, value in backbone.items()}
        | {f"head.{name}": value for name, value in head.items()}
        for backbone in (teacher, student)
    ]
    return {
        "student": {f"module.{name}": value for name, value in wrapped[1].items()},
        "teacher": wrapped[0],
        "optimizer": SCHEDULED,
        "epoch": 100,
        "args": argparse.Namespace(
            arch="vit_tiny",
            patch_size=16,
            lr=5e-4,
            clip_grad=3.0,
            use_fp16=True,
            data_path="/data",
            gpu=0,
            dist_url="env://",
        ),
        "dino_loss": {"center": torch.zeros(1, 9)},
        "fp16_scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 0},
    } | more


@pytest.fixture(scope="module")
def teacher() -> State:
    return weights(16)


@pytest.fixture(scope="module")
def student() -> State:
    return weights(16, seed=1)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, teacher: State) -> Path:
    """Return the file of the teacher's backbone alone, as DINO's authors released such backbones."""
    file = tmp_path_factory.mktemp("dino") / "dino_tiny16_pretrain.pth"
    torch.save(teacher, file)
    return file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, teacher: State, student: State) -> Path:
    file = tmp_path_factory.mktemp("dino") / "checkpoint.pth"
    torch.save(checkpoint(teacher, student), file)
    return file


@torch.inference_mode()
def test_a_training_checkpoint_gives_the_teachers_class_token(trained: Path, teacher: State) -> None:
    encoder = load_encoder(f"dino/vit_tiny:{trained}")
    spec = encoder.spec
    assert worst(encode(encoder, PICTURES), tokens(teacher, inputs())[:, 0]) < 1e-5
    image_input = spec.require_image_input()
    assert (spec.pooling, spec.dimension, image_input.input_size, image_input.resize_to) == ("cls", 192, 224, 256)


@torch.inference_mode()
def test_the_student_by_its_key(trained: Path, student: State) -> None:
    encoder = load_encoder(f"dino/vit_tiny:{trained},key=student")
    assert worst(encode(encoder, PICTURES), tokens(student, inputs())[:, 0]) < 1e-5
    assert encoder.spec.fingerprint != load_encoder(f"dino/vit_tiny:{trained}").spec.fingerprint


@torch.inference_mode()
def test_other_poolings(released: Path, teacher: State) -> None:
    states = tokens(teacher, inputs()[:2])
    cls, mean = states[:, 0], states[:, 1:].mean(1)
    for pooling, expected in {"cls": cls, "mean": mean, "cls+mean": torch.cat([cls, mean], 1)}.items():
        encoder = load_encoder(f"dino/vit_tiny:{released},pooling={pooling}")
        assert worst(encode(encoder, PICTURES[:2]), expected) < 1e-5


@torch.inference_mode()
def test_layers_are_those_of_the_blocks_and_the_norm(released: Path, teacher: State) -> None:
    batch = inputs()[:2]
    states: list[Tensor] = []
    normed = tokens(teacher, batch, each=states.append)
    for number, expected in enumerate(states, 1):
        encoder = load_encoder(f"dino/vit_tiny:{released},layer={number},pooling=cls+mean")
        assert worst(encode(encoder, PICTURES[:2]), torch.cat([expected[:, 0], expected[:, 1:].mean(1)], 1)) < 2e-5
    whole = load_encoder(f"dino/vit_tiny:{released},pooling=tokens")
    assert worst(encode(whole, PICTURES[:2]), normed) < 1e-5


@torch.inference_mode()
def test_patches_of_eight_pixels(tmp_path: Path) -> None:
    state, file = weights(8), tmp_path / "tiny8.pth"
    torch.save(state, file)
    encoder = load_encoder(f"dino/vit_tiny:{file}")
    assert worst(encode(encoder, PICTURES[3:4]), tokens(state, inputs()[3:4])[:, 0]) < 1e-5


@torch.inference_mode()
def test_a_small_vit(tmp_path: Path) -> None:
    state, file = weights(16, dim=384), tmp_path / "small.pth"
    torch.save(state, file)
    encoder = load_encoder(f"dino/vit_small:{file}")
    assert worst(encode(encoder, PICTURES[:2]), tokens(state, inputs()[:2])[:, 0]) < 1e-5


@pytest.mark.parametrize("size", [96, 320])
@torch.inference_mode()
def test_another_size_resamples_positions_as_dinos_code_does(size: int, released: Path, teacher: State) -> None:
    resize_to = size * 256 // 224
    encoder = load_encoder(f"dino/vit_tiny:{released},size={size}")
    image_input = encoder.spec.require_image_input()
    assert (image_input.input_size, image_input.resize_to) == (size, resize_to)
    expected = tokens(teacher, inputs(size, resize_to)[:2])[:, 0]
    assert worst(encode(encoder, PICTURES[:2]), expected) < 1e-5


@torch.inference_mode()
def test_resize_is_the_shorter_side_before_the_crop(released: Path, teacher: State) -> None:
    encoder = load_encoder(f"dino/vit_tiny:{released},resize=224")
    assert worst(encode(encoder, PICTURES), tokens(teacher, inputs(224, 224))[:, 0]) < 1e-5


@torch.inference_mode()
def test_a_resnet_is_torchvisions(tmp_path: Path) -> None:
    """Its classifier is an identity while it is trained; with batch norm, the teacher is in the wrapper, too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torchvision.models.resnet50(zero_init_residual=True)  # or untrained blocks add up to large numbers
    network.fc = nn.Identity()
    settle(untrained(network), 64)
    state, file = network.state_dict(), tmp_path / "checkpoint.pth"
    teacher = {f"module.backbone.{name}": value for name, value in state.items()}
    torch.save(checkpoint({}, {}, teacher=teacher), file)
    encoder = load_encoder(f"dino/resnet50:{file}")
    assert (encoder.spec.pooling, encoder.spec.dimension) == ("mean", 2048)
    assert worst(encode(encoder, PICTURES[:2]), network(inputs()[:2])) < 1e-5
    for model in ("vit_tiny", "vit_small"):
        with pytest.raises(EmbprobeError, match="not the weights of a vision transformer"):
            load_encoder(f"dino/{model}:{file}")


def test_a_resnet_has_no_class_token(tmp_path: Path) -> None:
    file = tmp_path / "resnet50.pth"  # as the released ones: the backbone alone
    torch.save({k: v for k, v in torchvision.models.resnet50().state_dict().items() if not k.startswith("fc.")}, file)
    with pytest.raises(UsageError, match=r"'dino/resnet50' has no pooling 'cls'; it has mean\."):
        load_encoder(f"dino/resnet50:{file},pooling=cls")


def test_the_form_of_the_file_does_not_matter(trained: Path, released: Path, teacher: State, tmp_path: Path) -> None:
    safe, compiled, half = (tmp_path / name for name in ("a.safetensors", "b.pth", "c.pth"))
    save_file(teacher, safe)
    torch.save({"teacher": {f"_orig_mod.module.backbone.{name}": value for name, value in teacher.items()}}, compiled)
    specs = [load_encoder(f"dino/vit_tiny:{file}").spec for file in (trained, released, safe, compiled)]
    assert len({spec.fingerprint for spec in specs}) == 1
    torch.save({name: value.half() for name, value in teacher.items()}, half)
    vectors = [encode(load_encoder(f"dino/vit_tiny:{file}"), PICTURES[:2]) for file in (half, safe)]
    assert 1e-6 < worst(*vectors) < 0.02  # of numbers around 1


def test_a_checkpoint_with_numbers_of_numpy_1_is_read(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pth"
    file.write_bytes(trained.read_bytes())
    loaded = load_encoder(f"dino/vit_tiny:{as_numpy_1_wrote(file)}")
    assert loaded.spec.fingerprint == load_encoder(f"dino/vit_tiny:{trained}").spec.fingerprint


# --- refusals ----------------------------------------------------------------------------------------------------


def test_a_missing_key_is_a_sentence(trained: Path, released: Path) -> None:
    with pytest.raises(UsageError, match=r"checkpoint\.pth' has no 'momentum'; it has teacher and student\."):
        load_encoder(f"dino/vit_tiny:{trained},key=momentum")
    with pytest.raises(
        UsageError, match=r"pretrain\.pth' has no 'student'; it holds one network only: leave out 'key'"
    ):
        load_encoder(f"dino/vit_tiny:{released},key=student")
    with pytest.raises(UsageError, match="has no 'optimizer'"):
        load_encoder(f"dino/vit_tiny:{trained},key=optimizer")


@pytest.mark.parametrize("place", ["args", "inside args", "teacher", "whole", "pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_malicious_checkpoint_is_refused_and_does_not_run(
    place: str, tmp_path: Path, teacher: State, student: State
) -> None:
    mark, file = tmp_path / "ran", tmp_path / "checkpoint.pth"
    evil = Malicious(mark)
    if place == "pickle":
        file.write_bytes(pickle.dumps({"teacher": evil}))
    elif place == "whole":
        torch.save(evil, file)
    else:
        inside = argparse.Namespace(data_path=evil)
        more = {"args": inside} if place == "inside args" else {place: evil}
        torch.save(checkpoint(teacher, student, **more), file)
    with pytest.raises(EmbprobeError, match=r"checkpoint\.pth' holds more than weights .*refused"):
        load_encoder(f"dino/vit_tiny:{file}")
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [Path("/data"), defaultdict(list), np.random.default_rng(0), len, nn.Linear],  # not print, which Ray replaces
    ids=["path", "defaultdict", "generator", "function", "class"],
)
def test_arguments_that_are_more_than_plain_values_are_refused(
    value: Any, tmp_path: Path, teacher: State, student: State
) -> None:
    file = tmp_path / "checkpoint.pth"
    torch.save(checkpoint(teacher, student, args=argparse.Namespace(value=value)), file)
    with pytest.raises(EmbprobeError, match="holds more than weights"):
        load_encoder(f"dino/vit_tiny:{file}")


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated", "lacking", "extra", "reshaped", "not square"])
def test_a_file_that_does_not_hold_exactly_the_weights_is_refused(
    damage: str, tmp_path: Path, released: Path, teacher: State
) -> None:
    file = tmp_path / "damaged.pth"
    whole = released.read_bytes()
    bytes_ = {"garbage": b"hello " * 9, "empty": b"", "truncated": whole[: len(whole) // 2]}
    states = {
        "lacking": {name: value for name, value in teacher.items() if name != "blocks.7.norm2.bias"},
        "extra": teacher | {"blocks.0.ls1.gamma": torch.ones(192)},  # as DINOv2 has them
        "reshaped": teacher | {"norm.bias": torch.zeros(191)},
        "not square": teacher | {"pos_embed": torch.zeros(1, 190, 192)},
    }
    if damage in bytes_:
        file.write_bytes(bytes_[damage])
    else:
        torch.save(states[damage], file)
    with pytest.raises(EmbprobeError, match=r"damaged\.pth") as refused:
        load_encoder(f"dino/vit_tiny:{file}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [[1, 2], torch.zeros(3), {}, {"teacher": {}}, {"epoch": 3}, {1: torch.zeros(2)}, {"teacher": {1: torch.zeros(2)}}],
)
def test_a_file_that_is_no_checkpoint_is_a_sentence(content: Any, tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(content, file)
    with pytest.raises(EmbprobeError, match=r"other\.pth") as refused:
        load_encoder(f"dino/vit_tiny:{file}")
    assert "\n" not in str(refused.value)


def test_a_checkpoint_of_another_size_of_network_is_refused(released: Path) -> None:
    for model in ("vit_small", "resnet50"):
        with pytest.raises(EmbprobeError, match=f"Could not load 'dino/{model}:"):
            load_encoder(f"dino/{model}:{released}")


def test_a_file_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'dino/vit_tiny' needs a weights file: 'dino/vit_tiny:FILE'"):
        load_encoder("dino/vit_tiny")
    with pytest.raises(UsageError, match=r"needs a weights file: there is no 'nowhere\.pth'"):
        load_encoder("dino/vit_tiny:nowhere.pth")
    with pytest.raises(EmbprobeError, match=f"'{tmp_path.name}' is a folder with no file of weights"):
        load_encoder(f"dino/vit_tiny:{tmp_path}")


@pytest.mark.parametrize("option", ["size=0", "size=abc", "resize=-1", "size=225", "size=8", "pooling=all"])
def test_an_option_that_makes_no_sense_is_a_sentence(option: str, released: Path) -> None:
    with pytest.raises(EmbprobeError, match="dino/vit_tiny|size|resize") as refused:
        load_encoder(f"dino/vit_tiny:{released},{option}")
    assert "\n" not in str(refused.value)
