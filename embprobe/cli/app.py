"""The command line: its commands, and how an error is printed."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from embprobe.cli.atlas import atlas
from embprobe.cli.compare import compare
from embprobe.cli.datasets import datasets
from embprobe.cli.demo import demo
from embprobe.cli.encoders import encoders
from embprobe.cli.export import export
from embprobe.cli.extract import extract
from embprobe.cli.map import draw_map
from embprobe.cli.neighbors import neighbors
from embprobe.cli.options import spread_options
from embprobe.cli.pretrain import pretrain
from embprobe.cli.preview import preview
from embprobe.cli.probe import probe
from embprobe.cli.report import report
from embprobe.cli.selftest import selftest
from embprobe.cli.study import study
from embprobe.cli.verify import verify
from embprobe.errors import EmbprobeError

COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Look and measure": {
        "demo": demo,
        "preview": preview,
        "probe": probe,
        "compare": compare,
        "neighbors": neighbors,
        "map": draw_map,
        "selftest": selftest,
    },
    "Embeddings": {"extract": extract, "verify": verify},
    "The controlled study": {"study": study, "pretrain": pretrain},
    "Share": {"report": report, "export": export, "atlas": atlas},
    "What there is": {"encoders": encoders, "datasets": datasets},
}
"""By purpose, the commands in the order in which the help lists them."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="What do image embeddings notice? Extract, probe and compare CLIP, DINO and other encoders.",
    epilog="--debug, anywhere, shows the traceback of an error.",
)
for _purpose, _commands in COMMANDS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_purpose)(spread_options(_command))


def _print_version(wanted: bool) -> None:
    if wanted:
        from embprobe import __version__

        typer.echo(f"embprobe {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


class _NoteHandler(logging.Handler):
    """Prints the library's warnings as lines for people."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(_harmless(record.getMessage()), err=True)


def main() -> None:
    """Run the command line; an error becomes one or two sentences and an exit code."""
    debug = "--debug" in sys.argv
    if not debug:
        _hush_libraries()
    log = logging.getLogger("embprobe")
    if not log.handlers:
        log.addHandler(_NoteHandler())
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != "--debug"])
    except EmbprobeError as error:
        if debug:
            raise
        typer.echo(f"embprobe: {_harmless(str(error))}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if debug:
            raise
        name = error.filename2 or error.filename
        where = f" '{_harmless(str(name))}'" if name else " a file"
        typer.echo(f"embprobe: The system says of{where}: {error.strerror or error}.", err=True)
        sys.exit(1)


def _harmless(text: str) -> str:
    """Escape characters that would steer a terminal: names of files and images are anybody's."""
    from embprobe.system.text import visible

    return "\n".join(visible(line) for line in text.split("\n"))


def _hush_libraries() -> None:
    """Keep what libraries say about damaged images and unreachable weights off the screen: embprobe says it itself.

    Pillow warns; libtiff writes a line for every line of an image, straight to the file descriptor 2.
    """
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())  # or open_clip would make one that prints
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # it announces every try
    try:
        if sys.stderr.fileno() != 2:
            return
    except (OSError, ValueError, AttributeError):
        return  # replaced by somebody else, as in a test
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    os.close(devnull)


if __name__ == "__main__":
    main()
