"""What this project trains: the one ViT for all, and a text side where there is language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.encoders.towers.language import LanguageModel
from embprobe.encoders.towers.vit import WIDTH, build_vit

CLUSTERS, HIDDEN = 256, 256
"""Dimension of an embedding of clusters, and the width of the layer before it."""
MEAN = STD = (0.5, 0.5, 0.5)

Head = Literal["none", "linear", "clusters"]
"""What stands between a tower and the embedding: nothing, a linear map, or a :class:`ClusterHead`."""


class Tokenizer:
    """Known words are one token each, also where they are quoted; an unknown one is spelled letter by letter.

    So a word has one meaning whether it is said or seen written, as with the byte pairs of a large model.
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
        """Token ids ``[n, t]``, padded with 0 to the longest text; what is longer than ``CONTEXT`` is cut."""
        found = [[self._ids.get(token, self._ids[self.OTHER]) for token in self._tokens(text)] for text in texts]
        longest = min(max(map(len, found), default=1), self.CONTEXT)
        ids = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, tokens in zip(ids, found, strict=True):
            row[: len(tokens)] = torch.tensor(tokens[:longest])
        return ids

    def _tokens(self, text: str) -> list[str]:
        tokens = [self.START]
        for found in re.findall(r'"|[^\W_]+', text.lower()):
            tokens += [found] if found in self._ids else list(found)
        return tokens


def words_of(texts: Iterable[str]) -> set[str]:
    """The words a tokenizer should know to read these texts without spelling."""
    return {word for text in texts for word in re.findall(r"[^\W_]+", text.lower())}


class TextTower(nn.Module):
    """A one-layer transformer over the tokens of known words, read at the start token. ``n texts -> [n, WIDTH]``."""

    width = WIDTH

    def __init__(self, *, seed: int, vocabulary: Iterable[str]) -> None:
        super().__init__()
        self.tokenizer = Tokenizer(vocabulary)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tokens = nn.Embedding(len(self.tokenizer), WIDTH, padding_idx=0)
            self.positions = nn.Parameter(0.02 * torch.randn(Tokenizer.CONTEXT, WIDTH))
            layer = nn.TransformerEncoderLayer(
                WIDTH,
                nhead=2,
                dim_feedforward=4 * WIDTH,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            self.blocks = nn.TransformerEncoder(layer, num_layers=1, enable_nested_tensor=False)
            self.norm = nn.LayerNorm(WIDTH)
            nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, texts: Sequence[str]) -> Tensor:
        ids = self.tokenizer(texts).to(self.positions.device)
        embedded = self.tokens(ids) + self.positions[: ids.shape[1]]
        hidden = self.blocks(embedded, src_key_padding_mask=ids == 0)
        pooled: Tensor = self.norm(hidden[:, 0])
        return pooled


class ClusterHead(nn.Module):
    """Two layers onto the logits of ``CLUSTERS`` clusters, ``[n, width] -> [n, CLUSTERS]``, each logit standardised.

    While it trains, its output is not standardised yet: only the loss sees the whole batch, and calls
    :meth:`standardised`. Afterwards it is, by the mean and variance that batches had in training.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, CLUSTERS, bias=False))
        self.register_buffer("mean", torch.zeros(CLUSTERS))
        self.register_buffer("variance", torch.ones(CLUSTERS))

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layers(features)
        return logits if self.training else self.standardised(logits)

    def standardised(self, logits: Tensor) -> Tensor:
        """Over the batch while training, and a hundredth of its mean and variance is remembered; else by these."""
        return F.batch_norm(logits, self.mean, self.variance, training=self.training, momentum=0.01)


class TwoTowers(nn.Module):
    """What a bundled weights file holds: the ViT, and where there is language a text side, with a head on each.

    A :class:`LanguageModel` as the text side is used as it is: it is neither trained nor saved. ``text`` may be None
    beside a head where images alone are to be encoded.
    """

    def __init__(self, *, seed: int, text: TextTower | LanguageModel | None = None, head: Head = "none") -> None:
        super().__init__()
        self.head = head
        self.vit = build_vit(seed)
        self.text = text if isinstance(text, TextTower) else None
        self.language = text if isinstance(text, LanguageModel) else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.image_projection = build_head(head, WIDTH)
            self.text_projection = nn.Identity() if text is None else build_head(head, text.width)

    @property
    def has_text(self) -> bool:
        return self.text is not None or self.language is not None

    @property
    def dimension(self) -> int:
        """Of the embedding."""
        return CLUSTERS if self.head == "clusters" else WIDTH

    @property
    def text_width(self) -> int:
        """Of the text side's features. Raises ValueError if there is none."""
        return self._text_side.width

    def encode_images(self, images: Tensor) -> Tensor:
        """``[n, 3, size, size] -> [n, d]``, the CLS token after the head, not normalised."""
        embedding: Tensor = self.image_projection(self.vit(images))
        return embedding

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """``[n, width]``, what the text side makes of texts, before the head. Raises ValueError if there is none."""
        features: Tensor = self._text_side(texts)
        return features

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """``[n, d]``, after the head, not normalised."""
        embedding: Tensor = self.text_projection(self.text_features(texts))
        return embedding

    @property
    def _text_side(self) -> TextTower | LanguageModel:
        side = self.language if self.text is None else self.text
        if side is None:
            raise ValueError("these towers have no text side")
        return side


def build_head(head: Head, width: int) -> nn.Module:
    """A head with fresh weights on features of this width, ``[n, width] -> [n, d]``."""
    if head == "linear":
        return nn.Linear(width, WIDTH, bias=False)
    if head == "clusters":
        return ClusterHead(width)
    return nn.Identity()
