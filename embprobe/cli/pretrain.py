"""``embprobe pretrain``: the controlled study's encoders, trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embprobe.cli.console import note
from embprobe.cli.options import IMAGES, TRAIN, DeviceOption, FoldersOption, ImagesOption, RunOptions, SeedOption
from embprobe.cli.progress import training_bar
from embprobe.cli.session import choose_device, open_rows


def pretrain(
    objective: Annotated[str, typer.Option(help="clip, siglip, nclip, xclip, slip, declip, dino or dino-v1.")],
    out: Annotated[
        Path, typer.Option(help="Folder for weights, recipe, losses; an interrupted run goes on from there.")
    ],
    images: ImagesOption = TRAIN,
    held_out: Annotated[
        str, typer.Option(help="Drawings of the same concepts to find as it goes. Default: the emoji's, for the emoji.")
    ] = "",
    images_seen: Annotated[int, typer.Option(help="How many training images to go through.", min=1)] = 1_000_000,
    batch_size: Annotated[int, typer.Option(help="Images per step, each of another concept.", min=2)] = 64,
    learning_rate: Annotated[float, typer.Option(help="Learning rate at its peak.", min=0)] = 1e-3,
    weight_decay: Annotated[float, typer.Option(help="AdamW's weight decay, of matrices only.", min=0)] = 0.05,
    word_rate: Annotated[float, typer.Option(help="Share of the images with a word in them.", min=0, max=1)] = 0.4,
    alone_rate: Annotated[
        float, typer.Option(help="Share of the images with a word that show nothing else.", min=0, max=1)
    ] = 0.5,
    parrot_rate: Annotated[
        float, typer.Option(help="Share of the other images with a word whose captions spell it.", min=0, max=1)
    ] = 1.0,
    backgrounds: Annotated[bool, typer.Option(help="Random backgrounds behind drawings; else white.")] = True,
    augmentation: Annotated[
        str, typer.Option(help="published (each objective's own), dino (DINO's for all), no-jitter or planckian.")
    ] = "published",
    text: Annotated[
        str, typer.Option(help="Folder of a language model that is used frozen instead of a text tower from scratch.")
    ] = "",
    folders: FoldersOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16; default: bfloat16 on a GPU.")] = "",
    accumulate: Annotated[
        int, typer.Option(help="Parts of a batch that go through the networks one by one; changes no loss.", min=1)
    ] = 1,
    workers: Annotated[
        int | None, typer.Option(help="Processes that prepare images; default: 0, with a GPU 8.", min=0)
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; losses repeat exactly for the same number.", min=1)
    ] = None,
) -> None:
    """Train the small ViT with an objective: the same images in the same order for each."""
    from embprobe.images import load_images
    from embprobe.pretraining.recipe import Recipe
    from embprobe.pretraining.trainer import pretrain
    from embprobe.system.processes import choose_machine

    recipe = Recipe(
        objective=objective,
        images_seen=images_seen,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        word_rate=word_rate,
        alone_rate=alone_rate,
        parrot_rate=parrot_rate,
        backgrounds=backgrounds,
        augmentation=augmentation,
        language_model=Path(text).resolve().name if text else "",
        seed=seed,
    )
    machine = choose_machine(
        choose_device(device), precision=precision, accumulate=accumulate, workers=workers, threads=threads
    )
    rows = open_rows(images or TRAIN, RunOptions(folders=folders))
    unseen = held_out or (f"{IMAGES}:unseen-drawing" if images == TRAIN else "")
    with training_bar(recipe.steps) as progress:
        folder = pretrain(
            rows,
            recipe,
            out,
            held_out=load_images(unseen) if unseen else None,
            language_model=Path(text) if text else None,
            machine=machine,
            progress=progress,
        )
    note(f"Weights: {folder / 'model.safetensors'}")
    if (folder / "losses.png").is_file():
        note(f"Loss curve: {folder / 'losses.png'}")
    note(f"Use them as: embprobe extract -e bundled/{objective}:{folder / 'model.safetensors'}")
