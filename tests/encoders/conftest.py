"""Pictures of every shape, untrained networks and an offline hub, for the tests of several families."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import ArrayLike
from open_clip.push_to_hf_hub import save_config_for_hf
from safetensors.torch import save_file
from torch import nn

from tests.conftest import noise

PICTURES = [
    noise(seed, size) for seed, size in enumerate([(300, 200), (100, 150), (64, 64), (17, 31), (500, 40), (33, 400)])
]
"""Wide, tall, square; the fourth smaller than any input, the last two long."""

Put = Callable[[str, Path], None]
"""Puts a folder into the hub's cache under a repository's name."""


def worst(actual: ArrayLike, expected: ArrayLike) -> float:
    """Return the largest difference between two arrays of the same shape."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape and np.isfinite(expected).all()
    return float(np.abs(actual - expected).max())


def untrained(network: nn.Module, seed: int = 0) -> Any:
    """Add chance to every weight of a network, also where a fresh one has zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value += 0.02 * torch.randn(value.shape, generator=generator)
    return network.eval()


@torch.no_grad()
def settle(network: nn.Module, side: int) -> None:
    """Feed batch norms some pictures, or all vectors of an untrained network would be nearly the same."""
    generator = torch.Generator().manual_seed(0)
    colors, noises = (torch.randn(8, 3, s, s, generator=generator) for s in (1, side))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches
    network.train()(colors + 0.2 * noises)
    network.eval()


SCHEDULED = {"state": {}, "param_groups": [{"lr": np.float64(5e-4), "weight_decay": 0.2, "params": [0]}]}
"""An optimizer's state where the learning rate came from numpy's cosine, as in open_clip's and DINO's training code."""


def as_numpy_1_wrote(file: Path) -> Path:
    """Rewrite a checkpoint with numpy's numbers under the module they had before numpy 2."""
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as rewritten:
        for name, data in content.items():
            rewritten.writestr(name, data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    return file


@pytest.fixture
def hub(offline: None, tmp_path: Path) -> Put:
    """Return a function that puts a folder into the hub's cache, as if it had been fetched; there is no network."""

    def put(repository: str, folder: Path) -> None:
        place = tmp_path / f"models--{repository.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("0" * 40)
        shutil.copytree(folder, place / "snapshots" / ("0" * 40))

    return put


VIT = {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "vit": {"embed_dim": 32, "vision_cfg": VIT, "text_cfg": TEXT},
    "openai": {"embed_dim": 32, "vision_cfg": VIT, "text_cfg": TEXT, "quick_gelu": True},
    "resnet": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
        "text_cfg": TEXT,
    },
    "attention": {
        "embed_dim": 32,
        "vision_cfg": {"timm_model_name": "test_byobnet", "timm_pool": "abs_attn", "timm_proj": "", "image_size": 160},
        "text_cfg": TEXT,
    },
    "convnext": {
        "embed_dim": 32,
        "vision_cfg": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear", "image_size": 64},
        "text_cfg": TEXT,
    },
    "siglip": {
        "embed_dim": 96,  # the trunk's: there is no projection
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
        "text_cfg": TEXT
        | {"hf_tokenizer_name": "owner/siglip", "tokenizer_kwargs": {"clean": "canonicalize"}}
        | {"vocab_size": 4, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    },
    "mobileclip": {
        "embed_dim": 32,
        "custom_text": True,
        "vision_cfg": {"timm_model_name": "fastvit_t8", "timm_pool": "avg", "timm_proj": None, "image_size": 64},
        "text_cfg": TEXT | {"no_causal_mask": True},
    },
    "coca": {
        "embed_dim": 32,
        "custom_text": True,
        "multimodal_cfg": TEXT | {"layers": 1, "dim_head": 16},
        "vision_cfg": VIT | {"output_tokens": True, "attentional_pool": True, "attn_pooler_heads": 4},
        "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True},
    },
}
"""The smallest open_clip model of each kind, in the form of its own ``model_configs``."""
PREPROCESSING: dict[str, dict[str, Any]] = {
    "siglip": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"},
    "mobileclip": {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear", "resize_mode": "shortest"},
}
"""Preprocessing of the kinds that are not fed as CLIP is, as their published weights have it."""
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"<pad>": 0, "<unk>": 1, "cat": 2, "dog": 3}, "unk_token": "<unk>"},
}
"""A Hugging Face tokenizer that knows two words."""


def open_clip_folder(kind: str, folder: Path) -> Path:
    """Write a model in the form in which open_clip puts one on the hub, and return its folder."""
    config = folder / "open_clip_config.json"
    folder.mkdir()
    config.write_text(json.dumps({"model_cfg": CONFIGS[kind]}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(
            f"local-dir:{folder}", load_weights=False, force_preprocess_cfg=PREPROCESSING.get(kind)
        )
        settle(untrained(model).visual, CONFIGS[kind]["vision_cfg"]["image_size"])
    save_config_for_hf(model, config, CONFIGS[kind])
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    if "hf_tokenizer_name" in CONFIGS[kind]["text_cfg"]:
        (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        (folder / "config.json").write_text("{}")  # transformers would ask the network whether there is none
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return by kind of open_clip model a folder that holds one."""
    root = tmp_path_factory.mktemp("clips")
    return {kind: open_clip_folder(kind, root / kind) for kind in CONFIGS}
