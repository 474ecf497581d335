"""``embprobe export``: embeddings for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embprobe.cli.console import note, print_json
from embprobe.cli.options import EncodersOption, ImagesArgument, JsonOption, RunOptions, SeedOption
from embprobe.cli.progress import progress_bar, spinner
from embprobe.cli.session import begin

if TYPE_CHECKING:
    from embprobe.embeddings.session import Session
    from embprobe.encoders import Encoder
    from embprobe.export import ExportTable

NeighborsOption = Annotated[int, typer.Option("-k", help="Neighbours of an image to write down, for atlas.", min=0)]


def export(
    to: Annotated[str, typer.Option(help="atlas, fiftyone, huggingface, npy or csv.")],
    out: Annotated[Path, typer.Option(help="The file (atlas) or folder to write, which must not be there yet.")],
    images: ImagesArgument = None,
    encoder: EncodersOption = None,
    map: Annotated[
        str | None, typer.Option(help="umap, tsne, pca or none. Default: umap for atlas, else none.")
    ] = None,
    k: NeighborsOption = 15,
    *,
    run: RunOptions,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Write embeddings, labels and images for embedding-atlas, FiftyOne, Hugging Face, or as plain npy or csv."""
    from dataclasses import replace

    from embprobe.export import check_target
    from embprobe.search.projection import check_method

    target = check_target(to, out)
    method = check_method(map or ("umap" if to == "atlas" else "none"), "none")
    content, *_ = begin_export(images, encoder, run, to=to, seed=seed, method=method, neighbors=k)
    with progress_bar("exporting", len(content.rows)) as progress:
        target.write(replace(content, progress=progress), out)
    commands = list(target.opens(content, out))
    if json:
        print_json(
            {
                "to": to,
                "path": str(out),
                "images": len(content.rows),
                "encoders": content.names,
                "map": method if content.layouts else "none",
                "opens": commands,
            }
        )
    else:
        note(f"Written: {out}\nOpen it:")
        note("\n".join(f"    {line}" for line in commands))


def begin_export(
    images: str | None, encoders: list[str] | None, run: RunOptions, *, to: str, seed: int, method: str, neighbors: int
) -> tuple[ExportTable, list[Encoder], Session]:
    """Embed the images and lay them out; print a note if there are too few for a map."""
    from embprobe.export import collect_content, needs_directions
    from embprobe.search.projection import NEIGHBORS

    subjects = begin(images, encoders, run, seed=seed)
    loaded, session = subjects.encoders, subjects.session
    embedded = session.embed(subjects.images, loaded, "extracting")
    embedded = session.directed(embedded) if needs_directions(to, method) else embedded
    with spinner("maps") as notify:
        content = collect_content(embedded, loaded, session, method=method, neighbors=neighbors, notify=notify)
    if method != "none" and len(content.rows) <= NEIGHBORS:
        note(f"Without a map, which needs more than {NEIGHBORS} images; there are {len(content.rows)}.")
    return content, loaded, session
