"""Find training runs by the recipe in their folder, however the folder is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from embprobe.errors import EmbprobeError
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.run import described_in

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class TrainingRun:
    """A folder with the ``recipe.json`` of a training run, which may have been interrupted."""

    recipe: Recipe
    images: str
    """The fingerprint of the training images."""
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether the run has its weights."""
        return (self.folder / WEIGHTS).is_file()

    @property
    def encoder(self) -> str:
        """The name under which the trained encoder is loaded."""
        return f"bundled/{self.recipe.objective}:{self.folder / WEIGHTS}"


def bundled_folder() -> Path:
    """Return the folder of the runs whose encoders come with embprobe."""
    with as_file(files("embprobe.encoders") / "bundled_weights") as folder:
        return folder


def find_runs(*folders: Path) -> list[TrainingRun]:
    """List the runs in the subfolders of some folders, folder by folder, by name.

    A recipe without a setting, as an earlier version wrote it, has that setting's default. A subfolder whose recipe
    names an objective or an augmentation that this version lacks is passed over.

    Raises:
        EmbprobeError: A folder is missing, or a recipe is damaged.
    """
    runs = []
    for folder in folders:
        if not folder.is_dir():
            raise EmbprobeError(f"There is no folder '{folder}' with training runs: choose the --out of earlier runs.")
        for path in sorted(folder.iterdir()):
            described = described_in(path) if path.is_dir() else None
            recipe = None if described is None else _recipe(described)
            if described is not None and recipe is not None:
                runs.append(TrainingRun(recipe, str(described.get("images_fingerprint", "")), path))
    return runs


def runs_of(runs: Sequence[TrainingRun], objective: str, varied: str) -> dict[Any, TrainingRun]:
    """Pick the runs of an objective that depart from the default recipe in the setting ``varied`` at most.

    Args:
        runs: Runs as :func:`find_runs` lists them; of two with the same recipe the first finished one is taken.
        objective: The objective.
        varied: The name of a field of :class:`embprobe.pretraining.recipe.Recipe`, such as ``images_seen``.

    Returns:
        Runs by the value of the setting, in its order.
    """
    default = Recipe(objective)
    matching = [run for run in runs if replace(run.recipe, **{varied: getattr(default, varied)}) == default]
    by_value: dict[Any, TrainingRun] = {}
    for run in sorted(matching, key=lambda run: not run.finished):
        by_value.setdefault(getattr(run.recipe, varied), run)
    return dict(sorted(by_value.items()))


def _recipe(described: Mapping[str, Any]) -> Recipe | None:
    """Return the recipe that a run's file describes; None if this version has no such recipe."""
    known = {field.name for field in fields(Recipe)}
    try:
        return Recipe(**{name: value for name, value in described.items() if name in known})
    except (EmbprobeError, TypeError):
        return None
