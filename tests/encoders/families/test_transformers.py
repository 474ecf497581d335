"""transformers' image encoders from a folder or a repository of the hub: the vectors are its own, or none at all."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from embprobe.embeddings.extract import encode
from embprobe.encoders import describe_encoder, list_encoders, load_encoder
from embprobe.encoders.spec import TokenGrid
from embprobe.errors import EmbprobeError, UsageError
from tests.conftest import Malicious
from tests.encoders.conftest import PICTURES, Put, untrained, worst
from tests.encoders.families.vision_transformer import State, tokens, weights

transformers = pytest.importorskip("transformers")

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = SMALL | {"vocab_size": 9, "max_position_embeddings": 4, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
NETWORKS: dict[str, Any] = {
    "clip_vision_model": lambda: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SMALL)),
    "clip": lambda: transformers.CLIPModel(transformers.CLIPConfig(text_config=TEXT, vision_config=SMALL)),
    "siglip_vision_model": lambda: transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SMALL)),
    "vit": lambda: transformers.ViTModel(transformers.ViTConfig(**SMALL)),
    "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SMALL)),
}
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIPS_FEED = {
    "do_resize": True,
    "size": {"shortest_edge": 40},
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "resample": 3,
    "image_mean": list(CLIP_MEAN),
    "image_std": list(CLIP_STD),
    "image_processor_type": "CLIPImageProcessor",
}


def save_model(kind: str, folder: Path, feed: dict[str, Any] | None = None) -> Path:
    """Write an untrained model as ``save_pretrained`` does, and return its folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        untrained(NETWORKS[kind]()).save_pretrained(folder)
    if feed is not None:
        (folder / PREPROCESSOR).write_text(json.dumps(feed))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("transformers")
    return {kind: save_model(kind, root / kind, CLIPS_FEED) for kind in NETWORKS}


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """Return a copy of the vision transformer's folder, to be damaged."""
    return shutil.copytree(folders["vit"], tmp_path / "folder")


def inputs(resize_to: int, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    steps = [Resize(resize_to, InterpolationMode.BICUBIC), CenterCrop(side), ToTensor(), Normalize(mean, std)]
    return torch.stack([Compose(steps)(picture) for picture in PICTURES])


@torch.inference_mode()
def transformers_outputs(kind: str, folder: Path, **options: bool) -> Any:
    """Return the outputs of transformers' own model for the pictures."""
    network = {"clip": "CLIPVisionModel", "vit": "ViTModel"}.get(kind, type(NETWORKS[kind]()).__name__)
    return getattr(transformers, network).from_pretrained(folder).eval()(inputs(40, 32, CLIP_MEAN, CLIP_STD), **options)


@pytest.mark.parametrize("kind", NETWORKS)
def test_vectors_are_transformers_own(kind: str, folders: dict[str, Path]) -> None:
    name = f"transformers/local-dir:{folders[kind]}"
    outputs = transformers_outputs(kind, folders[kind])
    states = outputs.last_hidden_state
    cls, mean = states[:, 0], states[:, 1:].mean(1)
    expected = {"cls": cls, "mean": mean, "cls+mean": torch.cat([cls, mean], 1)}
    if kind.startswith("clip"):
        expected["trunk"] = outputs.pooler_output
    if kind.startswith("siglip"):
        expected = {"attention": outputs.pooler_output, "mean": states.mean(1)}
    default = load_encoder(name)
    assert default.spec.pooling == next(iter(expected)) and default.spec.name == name
    assert worst(encode(default, PICTURES), next(iter(expected.values()))) < 1e-5
    for pooling, vectors in expected.items():
        encoder = load_encoder(f"{name},pooling={pooling}")
        assert encoder.spec.pooling == pooling and encoder.spec.dimension == vectors.shape[1]
        assert worst(encode(encoder, PICTURES), vectors) < 1e-5
    with pytest.raises(UsageError, match=f"has no pooling 'max'; it has {', '.join(expected)}".replace("+", r"\+")):
        load_encoder(f"{name},pooling=max")


@pytest.mark.parametrize("kind", NETWORKS)
def test_layers_are_transformers_hidden_states(kind: str, folders: dict[str, Path]) -> None:
    name = f"transformers/local-dir:{folders[kind]}"
    outputs = transformers_outputs(kind, folders[kind], output_hidden_states=True)
    prefix = 0 if kind.startswith("siglip") else 1
    for number, states in enumerate(outputs.hidden_states):  # the first is the embedding, as layer=0 is
        mean = load_encoder(f"{name},layer={number},pooling=mean")
        assert worst(encode(mean, PICTURES), states[:, prefix:].mean(1)) < 1e-5
    last = load_encoder(f"{name},layer=-1,norm=last,pooling=tokens")
    assert last.spec.tokens == TokenGrid(prefix=prefix, rows=4, columns=4) and last.spec.layer == 2
    if not kind.startswith("clip"):  # CLIP's last norm is for its class token, and it gives the tokens as they are
        assert worst(encode(last, PICTURES), outputs.last_hidden_state) < 1e-5
    else:
        assert worst(encode(last, PICTURES)[:, 0], outputs.pooler_output) < 1e-5


@pytest.mark.parametrize("written", ["today", "by transformers 4"])
def test_names_of_weights_as_older_versions_wrote_them(written: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """Keys have the prefix of the wrapper that CLIPVisionModel was; the file is a pickle in half precision."""
    folder = shutil.copytree(folders["clip_vision_model"], tmp_path / "older")
    state = {name.removeprefix("vision_model."): value for name, value in load_file(folder / WEIGHTS).items()}
    (folder / WEIGHTS).unlink()
    prefix = "" if written == "today" else "vision_model."
    torch.save({prefix + name: value.half() for name, value in state.items()}, folder / "pytorch_model.bin")
    loaded = load_encoder(f"transformers/local-dir:{folder}")
    expected = load_encoder(f"transformers/local-dir:{folders['clip_vision_model']}")
    assert 0 < worst(encode(loaded, PICTURES), encode(expected, PICTURES)) < 1e-2  # 11 bits of every weight are left
    assert loaded.spec.precision == "float32" and encode(loaded, PICTURES).dtype == np.float32


def as_vit(state: State) -> State:
    """Rename DINO's own weights to the names that transformers' ViT has in files."""
    renamed = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    inner = {
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
    }
    for i in range(12):
        for part in ("weight", "bias"):
            for dino_name, vit_name in inner.items():
                renamed[f"encoder.layer.{i}.{vit_name}.{part}"] = state[f"blocks.{i}.{dino_name}.{part}"]
            thirds = state[f"blocks.{i}.attn.qkv.{part}"].chunk(3)
            for third, name in zip(thirds, ("query", "key", "value"), strict=True):
                renamed[f"encoder.layer.{i}.attention.attention.{name}.{part}"] = third.clone()
    return renamed


@torch.inference_mode()
def test_a_converted_dino_gives_dinos_vectors_fed_as_dino_evaluates(tmp_path: Path) -> None:
    """Its weights have no pooler, and there is no preprocessor's configuration beside them."""
    state = weights(16)
    config = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "layer_norm_eps": 1e-6}
    transformers.ViTConfig(**config).save_pretrained(tmp_path)
    save_file(as_vit(state), tmp_path / WEIGHTS, metadata={"format": "pt"})
    torch.save(state, tmp_path / "dino.pth")
    encoder = load_encoder(f"transformers/local-dir:{tmp_path}")
    vectors = encode(encoder, PICTURES[:2])
    assert worst(vectors, tokens(state, inputs(256, 224, MEAN, STD)[:2])[:, 0]) < 1e-5
    original = load_encoder(f"dino/vit_tiny:{tmp_path / 'dino.pth'}")
    assert worst(vectors, encode(original, PICTURES[:2])) < 1e-5


# --- how images are fed ----------------------------------------------------------------------------------------------

SQUASHED = {"size": {"height": 32, "width": 32}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


@pytest.mark.parametrize(
    ("kind", "feed", "expected"),
    [
        ("vit", CLIPS_FEED, ("shortest", 40, 32, "bicubic", CLIP_MEAN)),
        ("vit", {"size": 40, "do_center_crop": True, "crop_size": 32}, ("shortest", 40, 32, "bicubic", MEAN)),
        ("vit", SQUASHED, ("squash", 32, 32, "bilinear", (0.5,) * 3)),
        ("vit", {"size": 32, "resample": 2}, ("squash", 32, 32, "bilinear", MEAN)),  # as ViT's first versions wrote it
        ("vit", {"size": 32, "do_normalize": False}, ("squash", 32, 32, "bicubic", (0.0,) * 3)),
        ("vit", None, ("shortest", 36, 32, "bicubic", MEAN)),  # 32 * 256 / 224 = 36.6
        ("dinov2", None, ("shortest", 36, 32, "bicubic", MEAN)),
        ("clip_vision_model", None, ("shortest", 32, 32, "bicubic", CLIP_MEAN)),
        ("siglip_vision_model", None, ("squash", 32, 32, "bicubic", (0.5,) * 3)),
    ],
)
def test_images_are_fed_as_the_preprocessor_says(
    kind: str,
    feed: dict[str, Any] | None,
    expected: tuple[Any, ...],
    folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    folder = shutil.copytree(folders[kind], tmp_path / kind)
    (folder / PREPROCESSOR).unlink()
    if feed is not None:
        (folder / PREPROCESSOR).write_text(json.dumps(feed))
    spec = load_encoder(f"transformers/local-dir:{folder}").spec
    fed = spec.require_image_input()
    assert (fed.resize, fed.resize_to, fed.input_size, fed.interpolation, fed.mean) == expected


@pytest.mark.parametrize(
    "feed",
    [
        {"do_resize": False},
        {"size": {"height": 32, "width": 48}},
        {"size": {"longest_edge": 40}},
        {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 24}},
        {"size": {"height": 40, "width": 40}, "do_center_crop": True, "crop_size": 32},
        {"size": 32, "resample": 1},
    ],
)
def test_feeds_that_are_not_supported_are_a_sentence(feed: dict[str, Any], folder: Path) -> None:
    (folder / PREPROCESSOR).write_text(json.dumps(feed))
    with pytest.raises(UsageError, match="is fed images in a way that embprobe does not support yet"):
        load_encoder(f"transformers/local-dir:{folder}")


def test_resize_is_an_option_where_images_are_cropped(folder: Path) -> None:
    assert load_encoder(f"transformers/local-dir:{folder},resize=48").spec.require_image_input().resize_to == 48
    (folder / PREPROCESSOR).write_text(json.dumps(SQUASHED))
    with pytest.raises(UsageError, match="squashed to 32 x 32"):
        load_encoder(f"transformers/local-dir:{folder},resize=48")


# --- the hub ---------------------------------------------------------------------------------------------------------


def test_the_hub_and_a_folder_give_the_same(folders: dict[str, Path], hub: Put) -> None:
    hub("owner/model", folders["vit"])
    from_folder = load_encoder(f"transformers/local-dir:{folders['vit']}")
    for name in ("transformers/hf-hub:owner/model", "transformers/hf-hub:owner/model@main"):
        from_hub = load_encoder(name)
        assert from_hub.spec.name == name and from_hub.spec.fingerprint != ""
        assert np.array_equal(encode(from_hub, PICTURES), encode(from_folder, PICTURES))
        assert from_hub.spec.weights_sha256 == from_folder.spec.weights_sha256


def test_a_repository_may_hold_a_pickle_alone(folder: Path, hub: Put) -> None:
    state = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(state, folder / "pytorch_model.bin")
    hub("owner/model", folder)
    loaded = load_encoder("transformers/hf-hub:owner/model")
    assert np.array_equal(encode(loaded, PICTURES), encode(load_encoder(f"transformers/local-dir:{folder}"), PICTURES))


def test_without_a_network_a_missing_preprocessor_must_be_on_record(folder: Path, hub: Put, tmp_path: Path) -> None:
    """A preprocessor that was never fetched is unknown; the cache records that the hub has none."""
    (folder / PREPROCESSOR).unlink()
    hub("owner/model", folder)
    with pytest.raises(EmbprobeError, match="could not be fetched. Without a network, give a folder"):
        load_encoder("transformers/hf-hub:owner/model")
    missing = tmp_path / "models--owner--model" / ".no_exist" / ("0" * 40)
    missing.mkdir(parents=True)
    (missing / PREPROCESSOR).touch()
    assert load_encoder("transformers/hf-hub:owner/model").spec.require_image_input().resize_to == 36


def test_a_repository_that_cannot_be_fetched_is_a_sentence_with_a_way_out(offline: None) -> None:
    with pytest.raises(EmbprobeError) as failed:
        load_encoder("transformers/hf-hub:owner/model")
    assert str(failed.value) == (
        "The weights of 'transformers/hf-hub:owner/model' could not be fetched. "
        "Without a network, give a folder: 'transformers/local-dir:FOLDER'."
    )


def test_a_folder_asks_nothing_of_the_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embprobe.system.hub._obstacle", lambda: pytest.fail("the hub was looked up"))
    load_encoder(f"transformers/local-dir:{folder}")


@pytest.mark.parametrize("place", ["hf-hub", "local-dir"])
def test_a_place_that_is_not_named_is_a_sentence(place: str, offline: None) -> None:
    with pytest.raises(EmbprobeError, match=f"transformers/{place}"):
        load_encoder(f"transformers/{place}")


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["truncated", "lacking", "mismatched", "unrelated", "none"])
def test_a_folder_that_does_not_hold_all_the_weights_is_refused(folder: Path, damage: str) -> None:
    """And no random number takes the place of one that lacks."""
    file = folder / WEIGHTS
    state = load_file(file)
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:1000])
    elif damage == "none":
        file.unlink()
    else:
        lacking = {name: value for name, value in state.items() if "layer.1." not in name}
        other = {"teacher.weight": torch.zeros(2)}
        cut = state | {"embeddings.cls_token": torch.zeros(1, 1, 8)}
        save_file({"lacking": lacking, "mismatched": cut, "unrelated": other}[damage], file, metadata={"format": "pt"})
    with pytest.raises(EmbprobeError, match=f"Could not load 'transformers/local-dir:{folder}'") as refused:
        load_encoder(f"transformers/local-dir:{folder}")
    assert "\n" not in str(refused.value)
    if damage == "lacking":
        assert "16 of its weights are not there" in str(refused.value)  # of one layer


def test_a_folder_with_malicious_weights_is_refused_and_they_do_not_run(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (folder / WEIGHTS).unlink()
    torch.save({"state_dict": Malicious(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(EmbprobeError, match="holds more than weights .*refused"):
        load_encoder(f"transformers/local-dir:{folder}")
    assert not mark.exists()


def test_code_in_a_folder_is_not_run(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    config = json.loads((folder / CONFIG).read_text())
    config["auto_map"] = {"AutoModel": "modeling.Model", "AutoConfig": "modeling.Config"}
    (folder / CONFIG).write_text(json.dumps(config))
    (folder / "modeling.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    load_encoder(f"transformers/local-dir:{folder}")
    assert not mark.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"model_type": "bert"}', '{"model_type": ["vit"]}'])
def test_a_configuration_that_is_no_image_encoders_is_a_sentence(folder: Path, content: str) -> None:
    (folder / CONFIG).write_text(content)
    with pytest.raises(EmbprobeError, match="transformers/local-dir:") as refused:
        load_encoder(f"transformers/local-dir:{folder}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", ["", "[]", '{"image_mean": "red"}', '{"image_mean": [0.5, 0.5]}'])
def test_a_broken_preprocessor_is_a_sentence(folder: Path, content: str) -> None:
    (folder / PREPROCESSOR).write_text(content)
    with pytest.raises(EmbprobeError, match="Could not load 'transformers/local-dir:"):
        load_encoder(f"transformers/local-dir:{folder}")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    for name in ("nowhere", "offline", "connectome"):  # names that look like reasons of network errors too
        with pytest.raises(EmbprobeError, match=f"Could not load .*{name}") as failed:
            load_encoder(f"transformers/local-dir:{tmp_path / name}")
        assert "network" not in str(failed.value)


def test_without_the_package_the_names_are_listed_and_loading_is_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert list_encoders("transformers/") == ["transformers/hf-hub:OWNER/NAME", "transformers/local-dir:FOLDER"]
    assert describe_encoder("transformers/local-dir:FOLDER").weights == "that folder"
    with pytest.raises(EmbprobeError, match=r"pip install 'embprobe\[transformers\]'"):
        load_encoder(f"transformers/local-dir:{folder}")


# --- the spec --------------------------------------------------------------------------------------------------------


def test_the_configuration_counts_but_not_the_version_that_wrote_it(folder: Path) -> None:
    """The activation decides vectors; the version of the library that saved them does not."""
    name = f"transformers/local-dir:{folder}"
    before = load_encoder(name)
    config = json.loads((folder / CONFIG).read_text())
    for change, same in (({"transformers_version": "4.30.0"}, True), ({"hidden_act": "quick_gelu"}, False)):
        (folder / CONFIG).write_text(json.dumps(config | change))
        after = load_encoder(name)
        assert (worst(encode(before, PICTURES), encode(after, PICTURES)) == 0) == same
        assert (before.spec.fingerprint == after.spec.fingerprint) == same


def test_the_name_a_spec_has_is_the_name_of_that_spec(folder: Path) -> None:
    name = f"transformers/local-dir:{folder},pooling=mean,resize=48,precision=bfloat16"
    spec = load_encoder(name).spec
    assert spec.name == name and load_encoder(spec.name).spec == spec
    typed_defaults = load_encoder(f"transformers/local-dir:{folder},pooling=cls,resize=40,precision=float32").spec
    assert typed_defaults.fingerprint == load_encoder(f"transformers/local-dir:{folder}").spec.fingerprint


def test_nothing_is_printed_while_loading(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """transformers would draw a progress bar, and report that the pooler is missing."""
    load_encoder(f"transformers/local-dir:{folder}")
    assert capfd.readouterr() == ("", "")
