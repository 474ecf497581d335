"""The command line: its commands, and how an error is printed."""

from __future__ import annotations

import faulthandler
import itertools
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Annotated

import typer

from embprobe.cli.atlas import atlas
from embprobe.cli.benchmark import benchmark
from embprobe.cli.compare import compare
from embprobe.cli.console import any_letters
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
from embprobe.cli.results import results
from embprobe.cli.selftest import selftest
from embprobe.cli.shape_bias import shape_bias
from embprobe.cli.study import study
from embprobe.cli.verify import verify
from embprobe.cli.vlm import vlm
from embprobe.errors import EmbprobeError

COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Look and measure": {
        "demo": demo,
        "preview": preview,
        "probe": probe,
        "benchmark": benchmark,
        "shape-bias": shape_bias,
        "compare": compare,
        "neighbors": neighbors,
        "map": draw_map,
        "selftest": selftest,
    },
    "Embeddings": {"extract": extract, "verify": verify},
    "The controlled study": {"study": study, "pretrain": pretrain},
    "Share": {"report": report, "results": results, "export": export, "atlas": atlas},
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
app.add_typer(vlm, name="vlm", rich_help_panel="The controlled study")


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
        if "--debug" in sys.argv and isinstance(error := getattr(record, "error", None), Exception):
            typer.echo("".join(traceback.format_exception(error)), err=True)


@contextmanager
def _hushed_libraries() -> Iterator[None]:
    """While it lasts, keep off the screen what embprobe reports itself: damaged images and unreachable weights.

    Pillow warns of them, libtiff prints, Hugging Face's libraries log. Everything else that a library writes is shown,
    above all the last words of native code that crashes; Python's stack is printed below them.
    """
    with ExitStack() as stack:
        if not faulthandler.is_enabled():
            with suppress(OSError, ValueError, AttributeError, RuntimeError):  # no descriptor behind sys.stderr
                faulthandler.enable()
                stack.callback(faulthandler.disable)
        if "--debug" not in sys.argv:
            from embprobe.system.libtiff import silent_libtiff

            stack.enter_context(silent_libtiff())
            stack.enter_context(warnings.catch_warnings(action="ignore"))
            root, hub = logging.getLogger(), logging.getLogger("huggingface_hub")
            nowhere = logging.NullHandler()  # or open_clip would make one that prints
            root.addHandler(nowhere)
            stack.callback(root.removeHandler, nowhere)
            stack.callback(hub.setLevel, hub.level)
            hub.setLevel(logging.CRITICAL)  # it announces every try
            if "HF_HUB_VERBOSITY" not in os.environ:  # its import, which may be still to come, sets the level anew
                os.environ["HF_HUB_VERBOSITY"] = "critical"
                stack.callback(os.environ.pop, "HF_HUB_VERBOSITY", None)
        yield


@any_letters()
@_hushed_libraries()
def main() -> None:
    """Run the command line; an error becomes one or two sentences and an exit code."""
    debug = "--debug" in sys.argv
    log = logging.getLogger("embprobe")
    if not log.handlers:
        log.addHandler(_NoteHandler())
    try:
        app(args=with_all_layers(argument for argument in sys.argv[1:] if argument != "--debug"))
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
        hint = " Set TMPDIR to a folder that can be written to." if "temporary directory" in str(error) else ""
        typer.echo(f"embprobe: The system says of{where}: {error.strerror or error}.{hint}", err=True)
        sys.exit(1)


def with_all_layers(arguments: Iterable[str]) -> list[str]:
    """Return arguments with ``all`` behind a ``--layers`` that no value follows.

    Typer has no options whose value may be left out. A negative number is a value.

    Example:
        >>> with_all_layers(["compare", "--layers", "--json"]), with_all_layers(["probe", "--layers", "-2,-1"])
        (['compare', '--layers', 'all', '--json'], ['probe', '--layers', '-2,-1'])
    """
    given = list(arguments)
    filled = []
    for argument, behind in itertools.pairwise([*given, "--"]):
        filled.append(argument)
        if argument == "--layers" and re.match(r"-(?!\d)", behind):
            filled.append("all")
    return filled


def _harmless(text: str) -> str:
    """Escape characters that would steer a terminal: names of files and images are anybody's."""
    from embprobe.system.text import visible

    return "\n".join(visible(line) for line in text.split("\n"))


if __name__ == "__main__":
    main()
