"""Load and save the causal language models that read an encoder's tokens."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from embprobe.encoders.spec import Precision
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.files import making
from embprobe.system.hub import cache_if_unreachable, unreachable_reason
from embprobe.system.text import visible
from embprobe.system.text_models import (
    CONFIG,
    READING,
    not_readable,
    quiet,
    read_text_model,
    readable_as_text_model,
    transformers_library,
)

_SMALL_FILES = ("*.json", "*.jinja", "tokenizer.model", "spiece.model", "merges.txt", "vocab.txt")
_WEIGHTS = "*.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_PICKLED = (
    "its weights are pickled, and could run code; if you trust them, load and save them once with transformers, which "
    "writes safetensors"
)
_DEFAULT_CONTEXT = 2048
"""Positions of a model that names no limit, such as a recurrent one: the context of LLaVA-1.5."""


@dataclass(frozen=True)
class Language:
    """A causal language model and its tokenizer."""

    model: Any
    """A model of transformers with a head over its vocabulary, in evaluation mode; its weights may be trained."""
    tokenizer: Any
    """The tokenizer of transformers that belongs to it."""
    name: str
    """The name of its folder, or ``OWNER/NAME`` of a repository of the hub."""
    context: int
    """The number of positions, those of image tokens among them."""


def load_language(
    name_or_folder: str | Path, *, device: str = "cpu", precision: str = "float32", revision: str | None = None
) -> Language:
    """Load a causal language model and its tokenizer; no code of theirs is run, and nothing is unpickled.

    Args:
        name_or_folder: A folder as ``save_pretrained`` writes it, or ``OWNER/NAME`` of a repository of the hub, which
            is fetched into the hub's cache.
        device: The torch device of the weights.
        precision: The type of the weights, ``float32``, ``bfloat16`` or ``float16``.
        revision: The branch, tag or commit of a repository.

    Raises:
        UsageError: There is no such model, the precision is unknown, or the package transformers is missing.
        EmbprobeError: The repository cannot be fetched, or the files cannot be read, are pickled, lack a tokenizer or
            weights, need code of their own, or hold another kind of model than a causal language model.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"There is no precision '{precision}'; there are {', '.join(get_args(Precision))}.")
    with READING:  # its submodules are imported when they are first used, and two threads would see halves
        library = transformers_library()
        name, folder = _place(name_or_folder, revision)
        _check_files(library, folder)
    dtype = getattr(torch, precision)
    # the argument has had its new name since version 4.56
    keyword = "dtype" if int(library.__version__.partition(".")[0]) >= 5 else "torch_dtype"
    model, tokenizer = read_text_model("AutoModelForCausalLM", folder, options={keyword: dtype})
    with readable_as_text_model(folder):
        model.to(device)
    _check_vocabulary(folder, model, tokenizer)
    _check_causal(folder, model)
    return Language(model, tokenizer, name, _context(model, tokenizer))


def read_configuration(name_or_folder: str | Path, *, revision: str | None = None) -> tuple[Any, Any]:
    """Return the configuration and the tokenizer of a language model, without its weights: enough for a plan.

    Raises:
        UsageError: There is no such model, or the package transformers is missing.
        EmbprobeError: It cannot be fetched or read, or is no causal language model.
    """
    library = transformers_library()
    _, folder = _place(name_or_folder, revision, weights=False)
    _check_files(library, folder, weights=False)
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with readable_as_text_model(folder), quiet(library):
        tokenizer = library.AutoTokenizer.from_pretrained(folder, **local)
        return library.AutoConfig.from_pretrained(folder, **local), tokenizer


def save_language(language: Language, folder: Path) -> None:
    """Write a language model and its tokenizer into a new folder, which :func:`load_language` reads.

    Raises:
        EmbprobeError: The folder is not empty, or cannot be written.
    """
    try:
        with making(folder) as temporary, quiet(transformers_library()):
            language.model.save_pretrained(temporary)
            language.tokenizer.save_pretrained(temporary)
    except OSError as error:
        raise EmbprobeError(f"The language model could not be written to '{folder}': {error.strerror}.") from None


# --- fetching ------------------------------------------------------------------------------------------------------


def _place(name_or_folder: str | Path, revision: str | None, *, weights: bool = True) -> tuple[str, Path]:
    """Return the name of a model and the folder of its files, which are fetched if they are in the hub."""
    folder = Path(name_or_folder)
    if not folder.is_dir() and _is_repository(str(name_or_folder)):
        return str(name_or_folder), _fetch(str(name_or_folder), revision, weights=weights)
    if revision is not None:
        raise UsageError(f"'{folder}' is a folder, and only a repository of the hub has revisions.")
    return folder.resolve().name, folder


def _is_repository(name: str) -> bool:
    """Return whether a text has the form ``OWNER/NAME``, and is no path."""
    owner, slash, rest = name.partition("/")
    return bool(owner and slash and rest) and not set(f"{os.sep}/\\") & set(rest) and not owner.startswith((".", "~"))


def _fetch(repository: str, revision: str | None, *, weights: bool) -> Path:
    """Fetch a repository's configuration, tokenizer and safetensors; return their folder in the hub's cache."""
    from huggingface_hub import snapshot_download

    try:
        with cache_if_unreachable():
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(_SMALL_FILES)))
            if not weights:
                return folder
            _check_files(transformers_library(), folder, weights=False)  # before gigabytes are fetched
            return Path(snapshot_download(repository, revision=revision, allow_patterns=[*_SMALL_FILES, _WEIGHTS]))
    except EmbprobeError:
        raise
    except Exception as error:  # the hub's library raises many kinds
        reason = unreachable_reason(error) or visible(str(error).partition("\n")[0]).rstrip(".")
        raise EmbprobeError(
            f"The language model '{repository}' could not be fetched: {reason}. It may also be a folder: give its path."
        ) from None


# --- checking ------------------------------------------------------------------------------------------------------


def _check_files(library: Any, folder: Path, *, weights: bool = True) -> None:
    """Check that a folder has a causal model's configuration and, if ``weights``, safetensors.

    Raises:
        UsageError: There is no configuration.
        EmbprobeError: The configuration is damaged, or of another kind of model, or the weights are pickled or missing.
    """
    if not (folder / CONFIG).is_file():
        raise UsageError(f"'{folder}' is no language model: it has no {CONFIG}.")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        known = library.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        kind, classes = config.get("model_type"), config.get("architectures") or []
        expected = known.get(kind, ())
        expected = {expected} if isinstance(expected, str) else set(expected)
        fits = bool(expected & set(classes))
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise not_readable(folder, f"its {CONFIG} is damaged") from None
    if not expected and config.get("auto_map"):
        raise not_readable(
            folder, f"its type '{visible(str(kind))}' needs code of its own, which embprobe does not run"
        )
    if not fits:
        named = visible(str(classes[0] if classes else kind))
        raise not_readable(folder, f"it holds a model '{named}', which is no causal language model")
    if weights and not any(folder.glob(_WEIGHTS)):
        if any(any(folder.glob(pattern)) for pattern in _PICKLES):
            raise not_readable(folder, _PICKLED)
        raise not_readable(folder, f"it has no weights ({_WEIGHTS})")


def _check_vocabulary(folder: Path, model: Any, tokenizer: Any) -> None:
    """Check that the model has an embedding for every token; EmbprobeError otherwise."""
    rows = model.get_input_embeddings().weight.shape[0]
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest < 0:
        raise not_readable(folder, "its tokenizer is empty")
    if largest >= rows:
        raise not_readable(
            folder, f"its tokenizer has tokens up to number {largest:,}, and the model embeddings of {rows:,}"
        )


def _check_causal(folder: Path, model: Any) -> None:
    """Check that no logit depends on later tokens; EmbprobeError otherwise.

    Models such as BERT have a head over the vocabulary, too, and see all tokens unless they are set up as decoders.
    """
    with torch.no_grad(), readable_as_text_model(folder):
        ids = torch.tensor([[0, 0, 0], [0, 1, 2]], device=model.device) % model.get_input_embeddings().weight.shape[0]
        first = model(input_ids=ids).logits[:, 0].float()
        rounding = 1e-4 if model.dtype == torch.float32 else 0.05
        seen = (first[0] - first[1]).abs().max() > rounding * first.std()
    if seen:
        raise not_readable(folder, "it is no causal language model: its outputs depend on later tokens")


def _context(model: Any, tokenizer: Any) -> int:
    """Return the number of positions of a model, or of its tokenizer if that has fewer."""
    positions = getattr(model.config, "max_position_embeddings", None) or _DEFAULT_CONTEXT
    return int(min(positions, tokenizer.model_max_length))
