"""The pair of a study: two recipes that differ in their objective alone, and folders that say which they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embprobe.claims.roles import Roles
from embprobe.embeddings.workspace import Workspace
from embprobe.images import Images
from embprobe.pretraining import pair
from embprobe.pretraining.pair import pretrained_roles
from embprobe.pretraining.recipe import Recipe


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Images, Recipe, Path]]:
    """What would be trained."""
    asked: list[tuple[Images, Recipe, Path]] = []

    def pretrain(images: Images, recipe: Recipe, out: Path, **beside: Any) -> Path:
        asked.append((images, recipe, out))
        assert beside["held_out"].name == "bundled/emoji:unseen-drawing"
        beside["progress"](1, recipe.steps, {})
        return out

    monkeypatch.setattr(pair, "pretrain", pretrain)
    return asked


def roles_of(workspace: Workspace, images_seen: int, seed: int, steps: list[int]) -> Roles:
    @contextmanager
    def bar(total: int) -> Iterator[Any]:
        yield lambda step, total, numbers: steps.append(total)

    return pretrained_roles(images_seen, workspace, seed=seed, device="cpu", progress_bar=bar)


def test_the_two_differ_in_their_objective_alone(workspace: Workspace, runs: list[tuple[Images, Recipe, Path]]) -> None:
    steps: list[int] = []
    found = roles_of(workspace, 1280, 3, steps)
    (images, clip, out), (_, dino, _) = runs
    assert images.name == "bundled/emoji:train"
    assert (clip.objective, clip.images_seen, clip.seed) == ("clip", 1280, 3)
    assert replace(dino, objective="clip") == clip
    assert steps == [20, 20]  # batches of 64
    assert out == workspace.root / "pretrained" / "clip-1280-images-seed-3"
    assert found.names == {
        name: f"bundled/{name}:{workspace.root}/pretrained/{name}-1280-images-seed-3/model.safetensors"
        for name in ("clip", "dino")
    }
    assert found.lacking.format("nclip") == "'nclip' was not pretrained"


def test_the_twin_has_the_weights_they_began_with(
    workspace: Workspace, runs: list[tuple[Images, Recipe, Path]]
) -> None:
    assert roles_of(workspace, 128, 0, []).twin == "reference/random-vit"
    assert roles_of(workspace, 128, 7, []).twin == "reference/random-vit:7"


def test_another_length_or_seed_is_another_run(workspace: Workspace, runs: list[tuple[Images, Recipe, Path]]) -> None:
    for images_seen, seed in ((128, 0), (256, 0), (128, 1)):
        roles_of(workspace, images_seen, seed, [])
    assert len({out for _, _, out in runs}) == 6
