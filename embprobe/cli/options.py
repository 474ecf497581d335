"""What the commands take: options that several of them share are declared here, once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from embprobe.system.pixels import MAX_PIXELS

PAIR = ["bundled/clip", "bundled/dino"]
IMAGES, TRAIN = "bundled/emoji", "bundled/emoji:train"
WORKSPACE = Path("embprobe-workspace")
_IMAGES_HELP = (
    "A folder of images, tars or parquet files (path, pattern or URL), hf:OWNER/NAME, a data set that "
    "'embprobe datasets' lists, or bundled images. Without any, vectors:FILE has rows of its own."
)

ImagesArgument = Annotated[str | None, typer.Argument(help=_IMAGES_HELP, metavar="[IMAGES]", show_default=f"{IMAGES}")]
ImagesOption = Annotated[str | None, typer.Option("--images", "-i", help=_IMAGES_HELP, show_default=f"{IMAGES}")]
EncodersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder",
        "-e",
        help="As 'embprobe encoders' lists them, or vectors:FILE; repeatable. Default: the bundled pair.",
    ),
]
WorkspaceOption = Annotated[
    Path, typer.Option(envvar="EMBPROBE_WORKSPACE", help="Folder for stores, results, figures.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda (every GPU), cuda:0 (one) or mps.")]
SeedOption = Annotated[int, typer.Option(help="Same seed, same numbers.", min=0)]
KeyColumnOption = Annotated[
    str | None,
    typer.Option(help="Column that names the images in a metadata file, or holds the keys of a table.", metavar="NAME"),
]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        help="Label to keep, or NAME=COLUMN to rename one; repeatable. Where all are renamed, the others stay.",
        metavar="COLUMN",
    ),
]
MAX_UNLABELLED = 0.2
MaxUnlabelledOption = Annotated[
    float,
    typer.Option(
        help="The largest share of the images that may lack a label that is needed; they are left out.",
        min=0.0,
        max=1.0,
    ),
]
IndexMemoryOption = Annotated[
    str | None,
    typer.Option(
        help="The most that the index of a large store may take: 2GB, 800MB. Default: a fourth of the available "
        "memory, at most 1.5GB.",
        metavar="SIZE",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


FoldersOption = Annotated[
    str | None,
    typer.Option(
        help="The labels that folders give, outermost first: split,category; - for a level that gives none; none for "
        "no labels from folders. Default: guessed, as a note says.",
        metavar="NAMES",
    ),
]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where stores lie and how vectors are computed: the options of every command that embeds images."""

    workspace: WorkspaceOption = WORKSPACE
    device: DeviceOption = "auto"
    precision: Annotated[
        str,
        typer.Option(
            help="Precision of the networks: float32, bfloat16 or float16. Another one makes other vectors and stores."
        ),
    ] = ""
    fast_decode: Annotated[
        bool,
        typer.Option("--fast-decode", help="Decode large JPEGs at reduced scale: faster, slightly different vectors."),
    ] = False
    folders: FoldersOption = None
    key_column: KeyColumnOption = None
    label: LabelsOption = None
    max_pixels: Annotated[
        int | None,
        typer.Option(
            help="Leave out images of more pixels; a core needs 4 bytes for each. Another limit makes other stores.",
            min=1,
            show_default=f"{MAX_PIXELS}",
        ),
    ] = None


def spread_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with a parameter for each field of its dataclass parameters, as Typer reads it.

    >>> def extract(images: str, *, run: RunOptions) -> None:
    ...     print(images, run.device)
    >>> list(inspect.signature(spread_options(extract)).parameters)
    ['images', 'workspace', 'device', 'precision', 'fast_decode', 'folders', 'key_column', 'label', 'max_pixels']
    >>> values = {field.name: field.default for field in fields(RunOptions)}
    >>> spread_options(extract)(images="photos", **values | {"device": "cpu"})
    photos cpu
    """
    parameters = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, Any] = {name: p.annotation for name, p in parameters.items() if is_dataclass(p.annotation)}
    spread: list[Parameter] = []
    for name, parameter in parameters.items():
        spread += _parameters_of(groups[name]) if name in groups else [parameter]

    @wraps(command)
    def gather(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    # Typer reads both; wraps has copied the annotations of the command itself.
    gather.__dict__["__signature__"] = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in spread])
    gather.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    return gather


def _parameters_of(group: Any) -> list[Parameter]:
    types = get_type_hints(group, include_extras=True)
    defaults = {field.name: Parameter.empty if field.default is MISSING else field.default for field in fields(group)}
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=types[name])
        for name, default in defaults.items()
    ]
