"""Build the networks that embprobe trains: the one ViT for all objectives, beside a text side where texts are used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.encoders.texts import CutText, may_be_cut
from embprobe.encoders.towers.language import LanguageModel
from embprobe.encoders.towers.vit import WIDTH, build_vit

CLUSTERS, HIDDEN = 256, 256
"""Dimension of a :class:`ClusterHead`'s embedding, and the width of the layer before it."""
MEAN = STD = (0.5, 0.5, 0.5)
"""Of each channel of the input, which is in 0..1 before it is normalised."""

Head = Literal["none", "linear", "clusters"]
"""The layers between a tower and the embedding: none, a linear map, or a :class:`ClusterHead`."""


class Tokenizer:
    """Texts to token ids: a known word is one token, in quotes too; an unknown one is a token for each letter.

    So a word is the same token whether a caption names a thing with it or quotes it, as with the byte pairs of a large
    model.
    """

    START, QUOTE, OTHER = "<start>", '"', "<other>"
    LETTERS = tuple("abcdefghijklmnopqrstuvwxyz0123456789")
    CONTEXT = 24

    def __init__(self, words: Iterable[str]) -> None:
        """Make a tokenizer that knows these words, in lower case."""
        known = sorted(set(words) - set(self.LETTERS))
        self.words = tuple(known)
        tokens = ("<pad>", self.START, self.QUOTE, self.OTHER, *self.LETTERS, *known)
        self._ids = {token: i for i, token in enumerate(tokens)}

    def __len__(self) -> int:
        return len(self._ids)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return token ids ``[n, t]``, padded with 0 to the longest text and cut after ``CONTEXT`` tokens."""
        sequences = [[self._ids.get(token, self._ids[self.OTHER]) for token in self._tokens(text)] for text in texts]
        longest = min(max(map(len, sequences), default=1), self.CONTEXT)
        ids = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, tokens in zip(ids, sequences, strict=True):
            row[: len(tokens)] = torch.tensor(tokens[:longest])
        return ids

    def _tokens(self, text: str) -> list[str]:
        """Split a text into the start token, quotes, known words, and the letters of unknown ones."""
        return [self.START, *(token for _, token in self._placed(text))]

    def _placed(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield quotes, known words and the letters of unknown ones, with the places where these pieces begin."""
        for match in re.finditer(r'"|[^\W_]+', text.lower()):
            pieces = [match[0]] if match[0] in self._ids else list(match[0])
            yield from ((match.start(), piece) for piece in pieces)

    def cut(self, text: str) -> CutText | None:
        """Return a text that is cut after ``CONTEXT`` tokens, with the rest from the first word that is not whole."""
        placed = list(self._placed(text)) if may_be_cut(text, self.CONTEXT) else []
        if len(placed) + 1 <= self.CONTEXT:
            return None
        return CutText(text, len(placed) + 1, self.CONTEXT, text.lower()[placed[self.CONTEXT - 1][0] :])


def words_of(texts: Iterable[str]) -> set[str]:
    """Return the words in these texts: a :class:`Tokenizer` that knows them never falls back to letters."""
    return {word for text in texts for word in re.findall(r"[^\W_]+", text.lower())}


class TextTower(nn.Module):
    """A one-layer transformer over a text's tokens, read at the start token. ``n texts -> [n, WIDTH]``."""

    width = WIDTH

    def __init__(self, *, seed: int, vocabulary: Iterable[str]) -> None:
        """Draw weights from a seed; ``vocabulary`` holds the words that are one token each."""
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
        """Return features ``[n, WIDTH]`` of ``n`` texts."""
        ids = self.tokenizer(texts).to(self.positions.device)
        embedded = self.tokens(ids) + self.positions[: ids.shape[1]]
        hidden = self.blocks(embedded, src_key_padding_mask=ids == 0)
        pooled: Tensor = self.norm(hidden[:, 0])
        return pooled


class ClusterHead(nn.Module):
    """Two layers onto the logits of ``CLUSTERS`` clusters, ``[n, width] -> [n, CLUSTERS]``, each logit standardised.

    In training mode the output is not standardised yet: only the loss has the whole batch, and it calls
    :meth:`standardised`. In evaluation mode it is, by the running mean and variance of the batches in training.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, CLUSTERS, bias=False))
        self.register_buffer("mean", torch.zeros(CLUSTERS))
        self.register_buffer("variance", torch.ones(CLUSTERS))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``[n, CLUSTERS]`` of features ``[n, width]``."""
        logits: Tensor = self.layers(features)
        return logits if self.training else self.standardised(logits)

    def standardised(self, logits: Tensor) -> Tensor:
        """Return logits ``[n, CLUSTERS]`` with mean 0 and variance 1 in each column.

        In training mode by the batch's mean and variance, which enter the running ones with a weight of 0.01; in
        evaluation mode by the running ones.
        """
        return F.batch_norm(logits, self.mean, self.variance, training=self.training, momentum=0.01)


class TwoTowers(nn.Module):
    """The ViT, and a text side where texts are used, with a head on each: the contents of a bundled weights file."""

    def __init__(self, *, seed: int | None, text: TextTower | LanguageModel | None = None, head: Head = "none") -> None:
        """Draw the weights of the ViT and the heads from a seed.

        Args:
            seed: Of the weights; the global random state is left as it was. None where weights are to be loaded.
            text: The text side, which may be None whatever the head is if images alone are to be encoded. A
                :class:`LanguageModel` is neither trained nor saved.
            head: The kind of head, the same on both sides.
        """
        super().__init__()
        self.head = head
        self.vit = build_vit(seed)
        self.text = text if isinstance(text, TextTower) else None
        self.language = text if isinstance(text, LanguageModel) else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed or 0)
            self.image_projection = build_head(head, WIDTH)
            self.text_projection = nn.Identity() if text is None else build_head(head, text.width)

    @property
    def has_text(self) -> bool:
        """Whether texts can be encoded."""
        return self.text is not None or self.language is not None

    @property
    def dimension(self) -> int:
        """Dimension of the embedding."""
        return CLUSTERS if self.head == "clusters" else WIDTH

    @property
    def text_width(self) -> int:
        """Dimension of the text side's features. Raises ValueError if there is no text side."""
        return self._text_side.width

    def encode_images(self, images: Tensor) -> Tensor:
        """Return the CLS token after the head, not normalised: ``[n, 3, size, size] -> [n, d]``."""
        embedding: Tensor = self.image_projection(self.vit(images))
        return embedding

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Return texts before the head, ``[n, text_width]``. Raises ValueError if there is no text side."""
        features: Tensor = self._text_side(texts)
        return features

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return texts after the head, ``[n, d]``, not normalised. Raises ValueError if there is no text side."""
        embedding: Tensor = self.text_projection(self.text_features(texts))
        return embedding

    def cut_text(self, text: str) -> CutText | None:
        """Return a text that is longer than the text side's context; None if the whole is read."""
        side = self._text_side
        return side.cut(text) if isinstance(side, LanguageModel) else side.tokenizer.cut(text)

    @property
    def _text_side(self) -> TextTower | LanguageModel:
        """The text side; ValueError if there is none."""
        side = self.language if self.text is None else self.text
        if side is None:
            raise ValueError("these towers have no text side")
        return side


def build_head(head: Head, width: int) -> nn.Module:
    """Build a head with fresh weights on features of this width, ``[n, width] -> [n, d]``."""
    if head == "linear":
        return nn.Linear(width, WIDTH, bias=False)
    if head == "clusters":
        return ClusterHead(width)
    return nn.Identity()
