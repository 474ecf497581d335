"""The file of a pair of towers: safetensors, and in its metadata what they look like."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import shorten
from typing import Any, get_args

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from embprobe.encoders.towers.language import LanguageModel
from embprobe.encoders.towers.two_towers import Head, TextTower, TwoTowers
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.files import replacing


def save_towers(towers: TwoTowers, path: Path) -> None:
    """Write them in float16; of a frozen language model only the name."""
    language = "" if towers.language is None else towers.language.name
    metadata = {
        "vocabulary": json.dumps([] if towers.text is None else towers.text.tokenizer.words),
        "head": towers.head,
        "language_model": language,
    }
    weights = {name: value.detach().half().cpu().contiguous() for name, value in towers.state_dict().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(_in_order(save(weights, metadata=metadata)))


def load_towers(path: Path, language: LanguageModel | None = None) -> TwoTowers:
    """Read them, in float32. Towers beside a language model encode images alone unless it is given again.

    Raises :class:`UsageError` if there is no such file or the language model is not wanted, :class:`EmbprobeError` if
    it holds something else.
    """
    if not path.is_file():
        raise UsageError(f"There is no weights file '{path}'.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
        vocabulary, head = _words(json.loads(metadata.get("vocabulary", "[]"))), metadata.get("head", "none")
        if head not in get_args(Head):
            raise ValueError(f"there is no head '{head}'")
        wanted = metadata.get("language_model", "")
        if language is not None and language.name != wanted:
            raise UsageError(
                f"'{path}' was trained with the language model '{wanted or 'none'}', not '{language.name}'."
            )
        with_tower = any(key.startswith("text.") for key in state)
        text = TextTower(seed=0, vocabulary=vocabulary) if with_tower else language
        towers = TwoTowers(seed=0, text=text, head=head)
        if not towers.has_text:
            state = {key: value for key, value in state.items() if not key.startswith("text_projection.")}
        towers.load_state_dict(state)
    except (SafetensorError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        lines = [line for line in str(error).splitlines() if not line.startswith("Error(s) in loading state_dict")]
        reason = shorten("".join(lines[:1]).rstrip("."), 160, placeholder=" ...")
        raise EmbprobeError(f"'{path}' is not a weights file of embprobe's own ViT: {reason}.") from None
    return towers


def _words(vocabulary: Any) -> list[str]:
    if not isinstance(vocabulary, list) or not all(isinstance(word, str) for word in vocabulary):
        raise ValueError("its vocabulary is no list of words")
    return vocabulary


def _in_order(file: bytes) -> bytes:
    """The same file, its header sorted: safetensors writes metadata in the order of a hash, another one every time."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + file[end:]
