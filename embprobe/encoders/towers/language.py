"""A pre-trained language encoder from a local folder, used as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor

from embprobe.errors import EmbprobeError, UsageError

_LONGEST = 512
"""Tokens of a text, where the model knows no limit of its own."""
_REMEMBERED = 500_000
"""Texts whose features are kept, 1.5 kB each at a width of 384."""
_AT_ONCE = 256


class LanguageModel:
    """Texts to the mean over their tokens of the last hidden state, ``n texts -> [n, width]``; nothing is trained.

    ``folder`` is a model as Hugging Face's ``save_pretrained`` writes it, with its tokenizer. Only safetensors are read
    and no code in the folder is run. The mean over tokens is what sentence encoders are trained for (Reimers and
    Gurevych 2019, section 3). It is no module, so its weights are neither in the optimizer nor in a file. Raises
    :class:`UsageError` if there is no such folder, :class:`EmbprobeError` if what is in it is not all there.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError:
            raise UsageError("A language model needs 'transformers': pip install 'embprobe[transformers]'.") from None
        if not (folder / "config.json").is_file():
            raise UsageError(f"'{folder}' is no language model: it has no config.json.")
        self.name, self._device = folder.resolve().name, device
        self._known: dict[str, Tensor] = {}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            self._model, found = AutoModel.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True
            )
            self._model.eval().requires_grad_(False).to(device)
            self._longest = min(
                self._tokenizer.model_max_length, getattr(self._model.config, "max_position_embeddings", _LONGEST)
            )
            self.width: int = self(["a", "a text"]).shape[1]
        except Exception as error:  # a stranger's files can fail in any way
            raise _unreadable(folder, str(error)) from None
        # where there are none, the library takes an empty vocabulary and random numbers
        if not any((folder / name).is_file() for name in self._tokenizer.vocab_files_names.values()):
            raise _unreadable(folder, "it has no tokenizer")
        if lacking := sorted(name for name in found["missing_keys"] if not name.startswith("pooler.")):
            raise _unreadable(folder, f"its weights lack '{lacking[0]}'")

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """A text that was met before is looked up: in training most captions are."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        found = {text: row for part in self._parts(new) for text, row in zip(part, self._encoded(part), strict=True)}
        rows = [found[text] if text in found else self._known[text] for text in texts]
        if len(self._known) < _REMEMBERED:
            self._known.update(found)
        return torch.stack(rows)

    def _parts(self, texts: list[str]) -> list[list[str]]:
        """On a CPU each by itself, so that its features do not depend, not even in rounding, on what is beside it."""
        size = 1 if self._device == "cpu" else _AT_ONCE
        return [texts[start : start + size] for start in range(0, len(texts), size)]

    @torch.no_grad()
    def _encoded(self, texts: list[str]) -> Tensor:
        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
        ).to(self._device)
        hidden = self._model(**tokens).last_hidden_state
        kept = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        features: Tensor = (hidden * kept).sum(1) / kept.sum(1)
        return features


def _unreadable(folder: Path, reason: str) -> EmbprobeError:
    first = shorten(reason.strip().partition("\n")[0].rstrip("."), 300, placeholder=" ...")
    return EmbprobeError(f"'{folder}' could not be read as a language model: {first}.")
