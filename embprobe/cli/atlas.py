"""``embprobe atlas``: embedding-atlas on the embeddings."""

from __future__ import annotations

from typing import Annotated

import typer

from embprobe.cli.console import note
from embprobe.cli.export import NeighborsOption, begin_export
from embprobe.cli.options import EncodersOption, ImagesArgument, RunOptions, SeedOption
from embprobe.cli.progress import progress_bar


def atlas(
    images: ImagesArgument = None,
    encoder: EncodersOption = None,
    map: Annotated[str, typer.Option("--map", help="umap, tsne, pca or none.")] = "umap",
    k: NeighborsOption = 15,
    *,
    run: RunOptions,
    seed: SeedOption = 0,
) -> None:
    """Open embedding-atlas, if it is installed, on the first encoder's map, with images and neighbours."""
    import shutil
    import subprocess
    from contextlib import suppress
    from dataclasses import replace

    from embprobe.errors import EmbprobeError
    from embprobe.export import TARGETS, atlas_arguments, atlas_path
    from embprobe.search.projection import check_method

    method = check_method(map, "none")
    content, encoders, session = begin_export(images, encoder, run, to="atlas", seed=seed, method=method, neighbors=k)
    path = atlas_path(content.rows, encoders, session.workspace)
    with progress_bar("exporting", len(content.rows)) as progress:
        TARGETS["atlas"].write(replace(content, progress=progress), path)
    first, *others = TARGETS["atlas"].opens(content, path)
    program = shutil.which("embedding-atlas")
    if program is None:
        raise EmbprobeError(
            f"embedding-atlas is not installed. The file for it is '{path}': "
            f"run 'pip install embedding-atlas', then this again, or:\n{first}"
        )
    for line in others:
        note(f"The same for another encoder: {line}")
    arguments = atlas_arguments(content, path, next(iter(content.vectors)))
    with suppress(KeyboardInterrupt):  # that is how people end it
        raise typer.Exit(subprocess.run([program, *arguments]).returncode)
