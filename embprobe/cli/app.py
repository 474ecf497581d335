"""The command line: which commands there are, and how what went wrong is said."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import typer

from embprobe.cli import demo, exporting, lists, pictures, probes, stores, training
from embprobe.errors import EmbprobeError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="What do image embeddings notice? Extract, probe and compare CLIP, DINO and other encoders.",
    epilog="--debug, anywhere, shows the traceback of an error.",
)
app.command()(stores.extract)
app.command()(stores.verify)
app.command()(probes.probe)
app.command()(probes.study)
app.command()(probes.selftest)
app.command()(pictures.preview)
app.command()(pictures.neighbors)
app.command()(pictures.compare)
app.command(name="map")(pictures.draw_map)
app.command()(pictures.report)
app.command()(exporting.export)
app.command()(exporting.atlas)
app.command()(demo.demo)
app.command()(training.pretrain)
app.command()(lists.encoders)
app.command()(lists.datasets)


class _Aloud(logging.Handler):
    """What the library warns of, as a line for people."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(_harmless(record.getMessage()), err=True)


def main() -> None:
    """Run the command line; an error becomes one or two sentences and an exit code."""
    debug = "--debug" in sys.argv
    if not debug:
        _hush_libraries()
    log = logging.getLogger("embprobe")
    if not log.handlers:
        log.addHandler(_Aloud())
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
    """Without what steers a terminal: names of files and images are anybody's."""
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
        return  # somebody else's, as in a test
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


if __name__ == "__main__":
    main()
