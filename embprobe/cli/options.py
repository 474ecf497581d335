"""What the commands take: the types of their options, and what was typed made into images, devices and encoders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from embprobe.embeddings.session import Session
    from embprobe.encoders import Encoder
    from embprobe.images import Images

PAIR = ["bundled/clip", "bundled/dino"]
IMAGES, TRAIN = "bundled/emoji", "bundled/emoji:train"
WORKSPACE = Path("embprobe-workspace")
_IMAGES_HELP = (
    "A folder of images, tars or parquet files (path, pattern or URL), hf:OWNER/NAME, a data set that "
    "'embprobe datasets' lists, or bundled images."
)

ImagesArgument = Annotated[str, typer.Argument(help=_IMAGES_HELP, metavar="[IMAGES]", show_default=True)]
ImagesOption = Annotated[str, typer.Option("--images", "-i", help=_IMAGES_HELP)]
EncodersOption = Annotated[
    list[str] | None,
    typer.Option("--encoder", "-e", help="As 'embprobe encoders' lists them. Default: the bundled pair."),
]
WorkspaceOption = Annotated[
    Path, typer.Option(envvar="EMBPROBE_WORKSPACE", help="Folder for stores, results, figures.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda (every GPU), cuda:0 (one) or mps.")]
PrecisionOption = Annotated[
    str, typer.Option(help="In what the networks compute: float32, bfloat16 or float16. Other vectors, other stores.")
]
SeedOption = Annotated[int, typer.Option(help="Same seed, same numbers.", min=0)]
FastOption = Annotated[
    bool, typer.Option("--fast-decode", help="Decode large JPEGs at reduced scale: faster, slightly different vectors.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def open_rows(images: str) -> Images:
    """The rows of what was typed; what their reader has to say about them is said at once."""
    from embprobe.cli import terminal
    from embprobe.images import load_images

    rows = load_images(images)
    for note in rows.notes:
        terminal.note(f"{note}.")
    return rows


def choose_device(asked: str) -> str:
    """The device to compute on; a GPU that will not be used is said aloud."""
    from embprobe.cli import terminal
    from embprobe.system.devices import resolve_device, unused_gpu

    device = resolve_device(asked)
    if unused := unused_gpu(device):
        terminal.note(f"{unused}.")
    return device


def begin(
    images: str,
    encoders: list[str] | None,
    workspace: Path,
    device: str,
    *,
    precision: str = "",
    fast_decode: bool = False,
    seed: int = 0,
) -> tuple[Images, list[Encoder], Session]:
    """The rows, the encoders and the session of a command that embeds images; it shows its progress."""
    from embprobe.cli import terminal
    from embprobe.embeddings.session import Session
    from embprobe.embeddings.workspace import Workspace

    rows, where = open_rows(images), choose_device(device)
    loaded = load_encoders(encoders, where, precision)
    space, bar, notify = Workspace.open(workspace), terminal.progress_bar, terminal.rejections()
    return rows, loaded, Session(space, where, seed, fast_decode, progress=bar, extracted=notify)


def load_encoders(names: list[str] | None, device: str, precision: str = "") -> list[Encoder]:
    """The encoders asked for, each once, or the bundled pair."""
    from embprobe.encoders import load_encoder

    wanted = dict.fromkeys(PAIR if names is None else names)
    return [load_encoder(name, device=device, **({"precision": precision} if precision else {})) for name in wanted]


def reading(encoders: list[Encoder]) -> list[Encoder]:
    """Those that take text; of the others it is said that they are left out."""
    from embprobe.cli import terminal
    from embprobe.errors import UsageError

    found = [encoder for encoder in encoders if encoder.spec.has_text]
    if not found:
        names = ", ".join(encoder.spec.name for encoder in encoders)
        raise UsageError(f"None of the encoders takes text ({names}). Try -e bundled/clip or one of open_clip's.")
    for encoder in encoders:
        if not encoder.spec.has_text:
            terminal.note(f"{encoder.spec.name} takes no text and is left out.")
    return found
