"""The small networks this project trains itself: one ViT for all, and a text tower where there is language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

IMAGE_SIZE = 48
"""Side of the input, in pixels."""
WIDTH = 128
"""Width of both towers, and dimension of the embedding."""
PATCH_SIZE = 8
MEAN = STD = (0.5, 0.5, 0.5)


def build_vit(seed: int) -> VisionTransformer:
    """The bundled ViT with fresh weights: patch 8 at 48 px, width 128, depth 6, 2 heads, CLS pooling, 1.2 M parameters.

    ``dynamic_img_size`` lets multi-crop objectives feed smaller crops. The same seed always gives the same weights, and
    the global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vit = VisionTransformer(
            img_size=IMAGE_SIZE,
            patch_size=PATCH_SIZE,
            embed_dim=WIDTH,
            depth=6,
            num_heads=2,
            num_classes=0,
            global_pool="token",
            dynamic_img_size=True,
        )
    for module in vit.modules():
        if isinstance(module, Attention):
            # with so few tokens the plain product is a tenth faster on a CPU
            module.fused_attn = False  # type: ignore[misc]
    return vit


class Tokenizer:
    """Known words are one token each; a word in double quotes, or an unknown one, is spelled letter by letter.

    So a rendered word is always spelled, and a word never met in training still becomes letters the tower knows.
    """

    START, QUOTE, OTHER = "<start>", '"', "<other>"
    LETTERS = tuple("abcdefghijklmnopqrstuvwxyz0123456789")
    CONTEXT = 24

    def __init__(self, words: Iterable[str]) -> None:
        known = sorted(set(words) - set(self.LETTERS))
        self.words = tuple(known)
        tokens = ("<pad>", self.START, self.QUOTE, self.OTHER, *self.LETTERS, *known)
        self._ids = {token: i for i, token in enumerate(tokens)}

    def __len__(self) -> int:
        return len(self._ids)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Token ids ``[n, CONTEXT]``, padded with 0; longer texts are cut."""
        ids = torch.zeros(len(texts), self.CONTEXT, dtype=torch.long)
        for row, text in zip(ids, texts, strict=True):
            found = [self._ids.get(token, self._ids[self.OTHER]) for token in self._tokens(text)][: self.CONTEXT]
            row[: len(found)] = torch.tensor(found)
        return ids

    def _tokens(self, text: str) -> list[str]:
        tokens = [self.START]
        for quoted, word in re.findall(r'"([^"]*)"|([^\W_]+)', text.lower()):
            if quoted:
                tokens += [self.QUOTE, *quoted, self.QUOTE]
            elif word in self._ids:
                tokens.append(word)
            else:
                tokens += list(word)
        return tokens


def words_of(texts: Iterable[str]) -> set[str]:
    """The words a tokenizer should know to read these texts without spelling (quoted words stay spelled)."""
    return {word for text in texts for word in re.findall(r"[^\W_]+", re.sub(r'"[^"]*"', " ", text.lower()))}


class TextTower(nn.Module):
    """A two-layer transformer over tokens; the embedding is read at the start token. ``[n, CONTEXT] -> [n, WIDTH]``."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary_size, WIDTH, padding_idx=0)
        self.positions = nn.Parameter(0.02 * torch.randn(Tokenizer.CONTEXT, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, nhead=2, dim_feedforward=4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.blocks(self.tokens(ids) + self.positions, src_key_padding_mask=ids == 0)
        pooled: Tensor = self.norm(hidden[:, 0])
        return pooled


class TwoTowers(nn.Module):
    """What a bundled weights file holds: the ViT, and with a vocabulary also a text tower and both projections."""

    def __init__(self, *, seed: int, vocabulary: Sequence[str] = ()) -> None:
        super().__init__()
        self.vit = build_vit(seed)
        self.vocabulary = tuple(vocabulary)
        if self.vocabulary:
            self.tokenizer = Tokenizer(self.vocabulary)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.text = TextTower(len(self.tokenizer))
                self.image_projection = nn.Linear(WIDTH, WIDTH, bias=False)
                self.text_projection = nn.Linear(WIDTH, WIDTH, bias=False)

    @property
    def has_text(self) -> bool:
        return bool(self.vocabulary)

    def encode_images(self, images: Tensor) -> Tensor:
        """``[n, 3, size, size] -> [n, WIDTH]``: projected if there is language, else the CLS token; not normalised."""
        features: Tensor = self.vit(images)
        return self.image_projection(features) if self.has_text else features

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """``[n, WIDTH]``, not normalised."""
        ids = self.tokenizer(texts).to(self.text_projection.weight.device)
        projected: Tensor = self.text_projection(self.text(ids))
        return projected
