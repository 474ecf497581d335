"""``embprobe vlm questions``: questions with known answers over scenes of cut-outs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embprobe.cli.console import note, output, print_json
from embprobe.cli.options import TRAIN, FoldersOption, JsonOption, LabelsOption, RunOptions, SeedOption
from embprobe.cli.session import open_rows

_SHOWN = 24
"""Scenes on the sheet of examples."""


def questions(
    out: Annotated[Path, typer.Option(help="A new folder for questions, images and conversations.")],
    images: Annotated[
        str, typer.Argument(help="Cut-outs with labels: name, concept, category, style.", metavar="[IMAGES]")
    ] = TRAIN,
    scenes: Annotated[int, typer.Option(help="The number of images; each has one to five questions.", min=1)] = 1000,
    names: Annotated[
        bool, typer.Option(help="Ask for the names of things; not where a model cannot know them, of unseen concepts.")
    ] = True,
    word: Annotated[
        list[str] | None,
        typer.Option(help="A word to write, repeatable, four or more. Default: those that bundled encoders saw."),
    ] = None,
    side: Annotated[int, typer.Option(help="Side of an image in pixels.", min=32, max=2048)] = 128,
    folders: FoldersOption = None,
    label: LabelsOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Generate multiple-choice questions whose answers are known, and which language alone cannot answer."""
    from embprobe.plots.questions import plot_questions
    from embprobe.vlm.generate import WORDS, generate
    from embprobe.vlm.question_files import shown, summary, write_questions

    rows = open_rows(images, RunOptions(folders=folders, label=label))
    generated = generate(
        rows, scenes=scenes, seed=seed, names=None if names else (), words=tuple(word or WORDS), side=side
    )
    asked = generated.questions
    for remark in asked.notes:
        note(f"{remark}.")
    folder = write_questions(
        generated, out, preview=lambda path: plot_questions(asked, shown(asked, _SHOWN), path / "examples.png")
    )
    counts = summary(asked)
    if json:
        print_json({"folder": str(folder), "scenes": scenes, "questions": len(asked), "groups": counts})
        return
    console = output(width=100)
    for group, kinds in counts.items():
        parts = ", ".join(f"{kind} {number:,}" for kind, number in kinds.items())
        console.print(f"{group:<16}{sum(kinds.values()):>8,}  {parts}", markup=False)
    note(f"{len(asked):,} questions about {scenes:,} images: {folder}")
