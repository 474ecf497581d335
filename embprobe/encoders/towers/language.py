"""Encode texts with a pre-trained language model from a local folder, without training it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from embprobe.encoders.texts import CutText, cut_by
from embprobe.system.text_models import read_text_model, readable_as_text_model

_LONGEST = 512
"""Most tokens of a text, where the model has no limit of its own."""
_REMEMBERED = 500_000
"""Texts whose features are kept, 1.5 kB each at a width of 384."""
_BATCH = 256
"""Texts that are encoded together on a GPU."""


class LanguageModel:
    """A frozen language model: the mean over a text's tokens of the last hidden state, ``n texts -> [n, width]``.

    Sentence encoders are trained for the mean over tokens (Reimers and Gurevych 2019, section 3). This class is no
    torch module, so that its weights enter neither the optimizer nor the file of a pair of towers.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        """Load the model and its tokenizer.

        Args:
            folder: A model and its tokenizer as Hugging Face's ``save_pretrained`` writes them. Only safetensors are
                read, and no code in the folder is run.
            device: The torch device to compute on.

        Raises:
            UsageError: There is no such model, or the package transformers is missing.
            EmbprobeError: The folder cannot be read, or lacks a tokenizer or some of the weights.
        """
        self._model, self._tokenizer = read_text_model("AutoModel", folder, optional=("pooler.",))
        self.name, self._device = folder.resolve().name, device
        self._known: dict[str, Tensor] = {}
        with readable_as_text_model(folder):
            self._model.requires_grad_(False).to(device)
            self._longest = min(
                self._tokenizer.model_max_length, getattr(self._model.config, "max_position_embeddings", _LONGEST)
            )
            self.width: int = self(["a", "a text"]).shape[1]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return features ``[n, width]`` of ``n`` texts.

        Features of earlier calls are remembered, because most captions come again in training.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        encoded = {text: row for part in self._parts(new) for text, row in zip(part, self._encode(part), strict=True)}
        rows = [encoded[text] if text in encoded else self._known[text] for text in texts]
        if len(self._known) < _REMEMBERED:
            self._known.update(encoded)
        return torch.stack(rows)

    def cut(self, text: str) -> CutText | None:
        """Return a text that is longer than the model's context; None if the whole is read."""
        return cut_by(self._tokenizer, text, self._longest)

    def _parts(self, texts: list[str]) -> list[list[str]]:
        """Split texts into batches.

        On a CPU a batch is one text, so that its features do not depend, not even in rounding, on other texts.
        """
        size = 1 if self._device == "cpu" else _BATCH
        return [texts[start : start + size] for start in range(0, len(texts), size)]

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> Tensor:
        """Return features ``[n, width]`` of a batch: the mean over the tokens that are no padding."""
        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
        ).to(self._device)
        hidden = self._model(**tokens).last_hidden_state
        kept = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        features: Tensor = (hidden * kept).sum(1) / kept.sum(1)
        return features
