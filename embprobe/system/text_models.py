"""Read pre-trained models of texts and their tokenizers from folders, running no code and unpickling nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from threading import RLock
from types import ModuleType
from typing import Any

from embprobe.errors import EmbprobeError, UsageError

CONFIG = "config.json"
READING = RLock()
"""While a model is read, transformers changes settings of the whole process: two threads would lose weights."""


def transformers_library() -> ModuleType:
    """Import the package transformers.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise UsageError("A language model needs 'transformers': pip install 'embprobe[transformers]'.") from None
    return transformers


def read_text_model(
    auto: str, folder: Path, *, options: dict[str, Any] | None = None, optional: tuple[str, ...] = ()
) -> tuple[Any, Any]:
    """Return a model and its tokenizer, as Hugging Face's ``save_pretrained`` writes them, in evaluation mode.

    Args:
        auto: The class of transformers that picks the model's own: ``AutoModel``, ``AutoModelForCausalLM``.
        folder: Where they lie. Only safetensors are read.
        options: Further arguments of ``from_pretrained``.
        optional: The starts of names of weights that may be missing.

    Raises:
        UsageError: The folder has no ``config.json``, or the package transformers is missing.
        EmbprobeError: A file cannot be read, or the folder lacks a tokenizer or some of the weights.
    """
    library = transformers_library()
    if not (folder / CONFIG).is_file():
        raise UsageError(f"'{folder}' is no language model: it has no {CONFIG}.")
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with READING, readable_as_text_model(folder), quiet(library):
        tokenizer = library.AutoTokenizer.from_pretrained(folder, **local)
        model, report = getattr(library, auto).from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **local, **(options or {})
        )
    # without them, the library silently takes an empty vocabulary and random weights
    if not any((folder / name).is_file() for name in tokenizer.vocab_files_names.values()):
        raise not_readable(folder, "it has no tokenizer")
    if missing := sorted(name for name in report["missing_keys"] if not name.startswith(optional or ("\0",))):
        raise not_readable(folder, f"its weights lack '{missing[0]}'")
    return model.eval(), tokenizer


@contextmanager
def readable_as_text_model(folder: Path) -> Iterator[None]:
    """Within this context, turn every failure into one sentence about the folder: its files can fail in any way."""
    try:
        yield
    except Exception as error:
        raise not_readable(folder, str(error) or type(error).__name__) from None


def not_readable(folder: Path, reason: str) -> EmbprobeError:
    """Return the error that a folder holds no readable language model, with the first line of the reason."""
    first_line = shorten(reason.strip().partition("\n")[0].rstrip("."), 300, placeholder=" ...")
    return EmbprobeError(f"'{folder}' could not be read as a language model: {first_line}.")


@contextmanager
def quiet(library: ModuleType) -> Iterator[None]:
    """Within this context, silence transformers' progress bars and reports: errors name what is wrong."""
    logging = library.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
