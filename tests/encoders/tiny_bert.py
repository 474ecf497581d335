"""Write an untrained language model into a folder as ``save_pretrained`` does."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "##s", "a"]
VOCABULARY += [*"bcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "abcdefghijklmnopqrtuvwxyz"), *'",&']


def tiny_bert(folder: Path, *, width: int = 16, seed: int = 0) -> Path:
    """Write a BERT of two layers over a few word pieces, for texts of at most 12 tokens, and return its folder."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=12).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config)
        for value in model.parameters():
            value.data += 0.2 * torch.randn_like(value)
        model.save_pretrained(folder)
    return folder
