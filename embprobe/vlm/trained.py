"""Trained vision-language models: made by a recipe, saved in a folder, loaded from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from embprobe.embeddings.session import TrainingProgress
from embprobe.encoders.spec import hash_weights
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.files import replacing, write_json
from embprobe.system.processes import Machine, Processes
from embprobe.vlm.image_tokens import TokenSource, moments
from embprobe.vlm.language import Language, load_language, save_language
from embprobe.vlm.lora import ADAPTER, has_adapters, merged, save_adapters, with_adapters
from embprobe.vlm.model import Standardised, VisionLanguageModel, build_connector
from embprobe.vlm.recipe import Recipe, Stage
from embprobe.vlm.small import small_language
from embprobe.vlm.training import TrainingData, described_in, forget, refuse_other, run_stages

BLIND = "blind"
"""The name of the model that sees no images."""
_MODEL, _LANGUAGE, _CONNECTOR = "vlm.json", "language", "connector.safetensors"


@dataclass(frozen=True)
class About:
    """What a trained model is, before its weights are loaded."""

    encoder: str
    """The name of the encoder whose tokens it reads, or :data:`BLIND`."""
    width: int
    """Of these tokens; 0 of a blind model."""
    recipe: Recipe


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained vision-language model, with what it needs to be asked."""

    model: VisionLanguageModel
    tokenizer: Any
    recipe: Recipe
    encoder: str
    """The name of the encoder whose tokens it reads, or :data:`BLIND`."""
    folder: Path


def train_language(
    recipe: Recipe,
    data: TrainingData,
    out: Path,
    *,
    seed: int = 0,
    machine: Machine | None = None,
    progress: TrainingProgress | None = None,
) -> Path:
    """Train the language model of a recipe that has one from scratch, without images: the same for all encoders.

    An interrupted run goes on from its last checkpoint; a finished one is not run again.

    Returns:
        The folder of the language model, for :func:`~embprobe.vlm.language.load_language`.

    Raises:
        UsageError: The recipe names a published language model, or ``out`` holds another run.
    """
    shape, stages = recipe.language.scratch, [stage for stage in recipe.stages if not stage.sees]
    if shape is None:
        raise UsageError(
            f"The recipe '{recipe.name}' names a language model of its own: it is not trained from scratch."
        )
    described = {
        "language": recipe.language.model_dump(),
        "stages": [stage.model_dump() for stage in stages],
        "data": data.fingerprint,
        "seed": seed,
    }
    folder = out / _LANGUAGE
    refuse_other(out, described)
    if folder.is_dir() and described_in(out) is not None:
        return folder
    language = small_language(data.texts(), shape, context=recipe.language.context, seed=seed)
    model = VisionLanguageModel(language.model, None)
    run_stages(
        model,
        stages,
        data,
        recipe,
        out,
        tokenizer=language.tokenizer,
        source=None,
        described=described,
        seed=seed,
        machine=machine,
        progress=progress,
    )
    save_language(language, folder)
    forget(out)
    return folder


def train(
    recipe: Recipe,
    data: TrainingData,
    out: Path,
    *,
    source: TokenSource | None,
    language: Language,
    seed: int = 0,
    machine: Machine | None = None,
    progress: TrainingProgress | None = None,
) -> Trained:
    """Train a vision-language model on an encoder's tokens.

    An interrupted run goes on from its last checkpoint in ``out``, with the losses of one that was never interrupted; a
    finished run is loaded.

    Args:
        recipe: Its stages that see images are gone through.
        data: Conversations and captions; those whose image has no tokens are left out.
        out: The folder of the run.
        source: The encoder's tokens; None for the blind model, which learns from the texts alone.
        language: The language model, whose weights are changed.
        seed: Of the connector's weights and of the order of the samples.
        machine: The device and its settings.
        progress: Called after each step.

    Raises:
        UsageError: ``out`` holds another run.
        EmbprobeError: There is nothing to learn from, or the loss stops being a number.
    """
    encoder = BLIND if source is None else source.name
    kept = data if source is None else data.seen_by(source)
    stages = stages_of(recipe, blind=source is None)
    described: dict[str, object] = {
        "recipe": recipe.model_dump(by_alias=True),
        "data": kept.fingerprint,
        "encoder": encoder,
        "tokens": "" if source is None else source.fingerprint,
        "language": language_fingerprint(language),
        "seed": seed,
    }
    refuse_other(out, described)
    if (out / _MODEL).is_file():
        return load_trained(out)
    connector = None
    if source is not None:
        width = language.model.get_input_embeddings().embedding_dim
        standardised = Standardised(*moments(source)) if recipe.image.standardised else None
        depth = recipe.connector.depth
        connector = build_connector(source.width, width, depth=depth, seed=seed, standardised=standardised)
    if loras := [stage.lora for stage in stages if stage.lora is not None]:
        language = with_adapters(language, loras[0], seed=seed)
    model = VisionLanguageModel(language.model, connector)
    run_stages(
        model,
        stages,
        kept,
        recipe,
        out,
        tokenizer=language.tokenizer,
        source=source,
        described=described,
        seed=seed,
        machine=machine,
        progress=progress,
    )
    processes = Processes(machine.device if machine else "cpu")
    if has_adapters(language):
        if processes.first and not (out / ADAPTER).is_dir():
            save_adapters(language, out / ADAPTER)
        language = merged(language)
        model.language = language.model
    if processes.first:
        _save(model, language, recipe, encoder, 0 if source is None else source.width, out)
        forget(out)
    processes.wait()
    return Trained(model, language.tokenizer, recipe, encoder, out)


def stages_of(recipe: Recipe, *, blind: bool) -> list[Stage]:
    """Return the stages that see images; a blind model has no connector to train alone."""
    return [stage for stage in recipe.stages if stage.sees and not (blind and stage.trains == "connector")]


def read_about(folder: Path) -> About:
    """Read what a model that :func:`train` saved is.

    Raises:
        UsageError: The folder has none.
        EmbprobeError: The file is damaged.
    """
    path = folder / _MODEL
    if not path.is_file():
        raise UsageError(f"'{folder}' holds no trained vision-language model: it has no {_MODEL}.")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return About(str(facts["encoder"]), int(facts["width"]), Recipe.model_validate(facts["recipe"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise EmbprobeError(f"'{folder}' is damaged: {_first_line(error)}. Remove it and train again.") from None


def load_trained(folder: Path, *, device: str = "cpu", precision: str = "float32") -> Trained:
    """Load a model that :func:`train` saved.

    Raises:
        UsageError: The folder has none.
        EmbprobeError: Its files are damaged.
    """
    from safetensors.torch import load_file

    about = read_about(folder)
    recipe = about.recipe
    language = load_language(str(folder / _LANGUAGE), device=device, precision=precision)
    try:
        connector = None
        if about.width:
            width = language.model.get_input_embeddings().embedding_dim
            unknown = Standardised(torch.zeros(about.width), torch.ones(about.width))  # read with the weights
            standardised, depth = unknown if recipe.image.standardised else None, recipe.connector.depth
            connector = build_connector(about.width, width, depth=depth, seed=0, standardised=standardised)
            connector.load_state_dict(load_file(folder / _CONNECTOR))
            connector.to(device)
        model = VisionLanguageModel(language.model, connector).eval()
        return Trained(model, language.tokenizer, recipe, about.encoder, folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise EmbprobeError(f"'{folder}' is damaged: {_first_line(error)}. Remove it and train again.") from None
    except Exception as error:  # safetensors has an error class of its own
        raise EmbprobeError(f"'{folder}' is damaged: {type(error).__name__}. Remove it and train again.") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".:")


def language_fingerprint(language: Language) -> str:
    """Return sixteen hex digits that change with a language model's weights and with its vocabulary."""
    digest = hashlib.sha256(hash_weights(language.model).encode())
    digest.update(json.dumps(language.tokenizer.get_vocab(), sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _save(model: VisionLanguageModel, language: Language, recipe: Recipe, encoder: str, width: int, out: Path) -> None:
    """Write the language model, the connector and, last, what they are."""
    from safetensors.torch import save_file

    if not (out / _LANGUAGE).is_dir():
        save_language(language, out / _LANGUAGE)
    if model.connector is not None:
        weights = {name: value.detach().cpu().contiguous() for name, value in model.connector.state_dict().items()}
        with replacing(out / _CONNECTOR) as path:
            save_file(weights, path)
    facts = {
        "schema": 1,
        "encoder": encoder,
        "width": width,
        "recipe": recipe.model_dump(by_alias=True),
    }
    write_json(out / _MODEL, facts)
