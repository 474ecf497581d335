"""Embeddings for other tools, and embedding-atlas on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embprobe.cli.options import (
    IMAGES,
    WORKSPACE,
    DeviceOption,
    EncodersOption,
    FastOption,
    ImagesArgument,
    JsonOption,
    PrecisionOption,
    SeedOption,
    WorkspaceOption,
    begin,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embprobe.embeddings.session import Session
    from embprobe.encoders import Encoder
    from embprobe.export import ExportTable
    from embprobe.images import Images

MapOption = Annotated[str, typer.Option("--map", help="umap, tsne, pca or none.")]
NeighborsOption = Annotated[int, typer.Option("-k", help="Neighbours of an image to write down, for atlas.", min=0)]


def export(
    to: Annotated[str, typer.Option(help="atlas, fiftyone, huggingface, npy or csv.")],
    out: Annotated[Path, typer.Option(help="The file (atlas) or folder to write, which must not be there yet.")],
    images: ImagesArgument = IMAGES,
    encoder: EncodersOption = None,
    map: Annotated[
        str | None, typer.Option(help="umap, tsne, pca or none. Default: umap for atlas, else none.")
    ] = None,
    k: NeighborsOption = 15,
    workspace: WorkspaceOption = WORKSPACE,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "",
    fast_decode: FastOption = False,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Write embeddings, labels and images for embedding-atlas, FiftyOne, Hugging Face, or as plain npy or csv."""
    from dataclasses import replace

    from embprobe.cli import terminal
    from embprobe.export import check_target
    from embprobe.search.projection import check_method

    target = check_target(to, out)
    method = check_method(map or ("umap" if to == "atlas" else "none"), "none")
    rows, encoders, session = begin(
        images, encoder, workspace, device, precision=precision, fast_decode=fast_decode, seed=seed
    )
    content = _content(rows, encoders, session, method, k)
    with terminal.progress_bar("exporting", len(content.rows)) as progress:
        target.write(replace(content, progress=progress), out)
    opens = list(target.opens(content, out))
    if json:
        terminal.print_json(
            {
                "to": to,
                "path": str(out),
                "images": len(content.rows),
                "encoders": content.names,
                "map": method if content.layouts else "none",
                "opens": opens,
            }
        )
    else:
        terminal.note(f"Written: {out}\nOpen it:")
        terminal.note("\n".join(f"    {line}" for line in opens))


def atlas(
    images: ImagesArgument = IMAGES,
    encoder: EncodersOption = None,
    map: MapOption = "umap",
    k: NeighborsOption = 15,
    workspace: WorkspaceOption = WORKSPACE,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "",
    fast_decode: FastOption = False,
    seed: SeedOption = 0,
) -> None:
    """Open embedding-atlas, if it is installed, on the first encoder's map, with images and neighbours."""
    import hashlib
    import shutil
    import subprocess
    from contextlib import suppress
    from dataclasses import replace

    from embprobe.cli import terminal
    from embprobe.errors import EmbprobeError
    from embprobe.export import TARGETS, atlas_arguments
    from embprobe.search.projection import check_method

    method = check_method(map, "none")
    rows, encoders, session = begin(
        images, encoder, workspace, device, precision=precision, fast_decode=fast_decode, seed=seed
    )
    content = _content(rows, encoders, session, method, k)
    of = [content.rows.fingerprint, *(each.spec.fingerprint for each in encoders)]
    mark = hashlib.sha256(" ".join(of).encode()).hexdigest()[:8]
    path = session.workspace.results(f"atlas-{mark}") / "atlas.parquet"
    with terminal.progress_bar("exporting", len(content.rows)) as progress:
        TARGETS["atlas"].write(replace(content, progress=progress), path)
    first, *others = TARGETS["atlas"].opens(content, path)
    program = shutil.which("embedding-atlas")
    if program is None:
        raise EmbprobeError(
            f"embedding-atlas is not installed. The file for it is '{path}': "
            f"run 'pip install embedding-atlas', then this again, or:\n{first}"
        )
    for line in others:
        terminal.note(f"The same for another encoder: {line}")
    arguments = atlas_arguments(content, path, next(iter(content.vectors)))
    with suppress(KeyboardInterrupt):  # that is how people end it
        raise typer.Exit(subprocess.run([program, *arguments]).returncode)


def _content(rows: Images, encoders: Sequence[Encoder], session: Session, method: str, k: int) -> ExportTable:
    """The embeddings of the rows, and their maps from the workspace or new ones; too few for a map go without."""
    from embprobe.cli import terminal
    from embprobe.export import ExportTable
    from embprobe.search.maps import make_maps
    from embprobe.search.projection import NEIGHBORS

    embedded = session.embed(rows, encoders, "extracting")
    layouts = {}
    if method != "none" and len(embedded.rows) <= NEIGHBORS:
        terminal.note(f"Without a map, which needs more than {NEIGHBORS} images; there are {len(embedded.rows)}.")
    elif method != "none":
        with terminal.spinner("maps") as notify:
            layouts = dict(make_maps(embedded, encoders, session, method=method, notify=notify).layouts)
    return ExportTable(embedded.rows, embedded.vectors, layouts, neighbors=k, device=session.device)
