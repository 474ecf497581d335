"""Save a pair of towers as a safetensors file, whose metadata describe them, and load it again."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import shorten
from typing import Any, get_args

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from embprobe.encoders.checkpoints.fitting import unwrapped
from embprobe.encoders.checkpoints.formats import NotWeights, recognise
from embprobe.encoders.checkpoints.mismatch import load_strictly
from embprobe.encoders.towers.language import LanguageModel
from embprobe.encoders.towers.two_towers import Head, TextTower, TwoTowers
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.files import replacing


def save_towers(towers: TwoTowers, path: Path) -> None:
    """Write a pair of towers in float16, and the name alone of a frozen language model."""
    language = "" if towers.language is None else towers.language.name
    metadata = {
        "vocabulary": json.dumps([] if towers.text is None else towers.text.tokenizer.words),
        "head": towers.head,
        "language_model": language,
    }
    weights = {name: value.detach().half().cpu().contiguous() for name, value in towers.state_dict().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(_with_sorted_header(save(weights, metadata=metadata)))


def load_towers(path: Path, language: LanguageModel | None = None) -> TwoTowers:
    """Read a pair of towers in float32.

    Args:
        path: A file that :func:`save_towers` wrote.
        language: The language model that they were trained with, if any; without it they encode images alone.

    Raises:
        UsageError: There is no such file, or the towers were trained with another language model.
        EmbprobeError: The file holds something else.
    """
    if not path.is_file():
        raise UsageError(f"There is no weights file '{path}'.")
    try:
        if recognise(path) != "safetensors":
            raise NotWeights(f"'{path.name}' is no safetensors file, whose header describes the network")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
        state = unwrapped(state)
        vocabulary, head = _checked_words(json.loads(metadata.get("vocabulary", "[]"))), metadata.get("head", "none")
        if head not in get_args(Head):
            raise ValueError(f"there is no head '{head}'")
        trained_with = metadata.get("language_model", "")
        if language is not None and language.name != trained_with:
            raise UsageError(
                f"'{path}' was trained with the language model '{trained_with or 'none'}', not '{language.name}'."
            )
        has_text_tower = any(key.startswith("text.") for key in state)
        text = TextTower(seed=0, vocabulary=vocabulary) if has_text_tower else language
        towers = TwoTowers(seed=None, text=text, head=head)
        if not towers.has_text:
            state = {key: value for key, value in state.items() if not key.startswith("text_projection.")}
        load_strictly(towers, state, path.name)
    except NotWeights as error:
        raise EmbprobeError(f"'{path}' is not a weights file of embprobe's own ViT: {error}.") from None
    except (SafetensorError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = shorten(str(error).partition("\n")[0].rstrip("."), 160, placeholder=" ...")
        raise EmbprobeError(f"'{path}' is not a weights file of embprobe's own ViT: {reason}.") from None
    return towers


def _checked_words(vocabulary: Any) -> list[str]:
    """Return the vocabulary; ValueError if it is no list of words."""
    if not isinstance(vocabulary, list) or not all(isinstance(word, str) for word in vocabulary):
        raise ValueError("its vocabulary is no list of words")
    return vocabulary


def _with_sorted_header(file: bytes) -> bytes:
    """Return a safetensors file with its header sorted.

    safetensors writes metadata in the order of a hash that differs between runs, so equal towers would differ as files.
    """
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + file[end:]
