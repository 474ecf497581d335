"""Give a language model low-rank adapters by the package peft, and save them apart from its own weights."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.files import making
from embprobe.vlm.language import Language
from embprobe.vlm.recipe import Lora

ADAPTER = "adapter"
"""The folder of adapters within that of a trained model."""


def with_adapters(language: Language, lora: Lora, *, seed: int) -> Language:
    """Put adapters beside all linear layers of a language model but its head, as LLaVA-1.5's code does.

    A layer's output ``W x`` becomes ``W x + alpha / rank * B A dropout(x)``; ``B`` is zero at first, so the model is
    unchanged (Hu et al. 2021, "LoRA", section 4.1). The model's own weights are frozen.

    Args:
        language: The language model; its layers are changed in place.
        lora: Rank, alpha and dropout.
        seed: Of the weights of ``A``; the global random state is left as it was.

    Raises:
        UsageError: The package peft is not installed.
    """
    peft = _library()
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules="all-linear",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return replace(language, model=peft.get_peft_model(language.model, config))


def has_adapters(language: Language) -> bool:
    """Return whether a language model has adapters of :func:`with_adapters`."""
    return hasattr(language.model, "peft_config")


def save_adapters(language: Language, folder: Path) -> None:
    """Write the adapters into a new folder, as safetensors that ``peft.PeftModel.from_pretrained`` reads.

    Raises:
        EmbprobeError: The folder is not empty, or cannot be written.
    """
    try:
        with making(folder) as temporary:
            language.model.save_pretrained(temporary, safe_serialization=True, save_embedding_layers=False)
    except OSError as error:
        raise EmbprobeError(f"The adapters could not be written to '{folder}': {error.strerror}.") from None


def merged(language: Language) -> Language:
    """Return the language model with its adapters added to its own weights; its layers are changed in place."""
    model: Any = language.model.merge_and_unload()
    return replace(language, model=model)


def _library() -> ModuleType:
    try:
        return import_module("peft")
    except ImportError:
        raise UsageError("LoRA needs the package peft: pip install 'embprobe[vlm]'.") from None
