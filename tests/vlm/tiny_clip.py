"""Write an untrained image encoder of CLIP into a folder as ``save_pretrained`` does."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel


def tiny_clip(folder: Path, *, layers: int = 3, seed: int = 0) -> Path:
    """Write a ViT of a 4 x 4 grid of patches with tokens of width 8, and return its folder.

    It has no preprocessor's configuration, so images are fed as CLIP's authors feed them.
    """
    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        image_size=16,
        patch_size=4,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPVisionModel(config)
        for value in model.parameters():
            value.data += 0.2 * torch.randn_like(value)
        model.save_pretrained(folder)
    return folder
