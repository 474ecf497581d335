"""``embprobe vlm``: encoders inside a vision-language model."""

from __future__ import annotations

from collections.abc import Callable

import typer

from embprobe.cli.options import spread_options
from embprobe.cli.vlm_compare import compare
from embprobe.cli.vlm_eval import evaluate
from embprobe.cli.vlm_questions import questions
from embprobe.cli.vlm_train import train

VLM_COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "questions": questions,
    "eval": evaluate,
    "compare": compare,
}
"""By name, in the order in which the help lists them."""

vlm = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train a language model on an encoder's tokens, put questions to it, compare the answers.",
)
for _name, _command in VLM_COMMANDS.items():
    vlm.command(_name)(spread_options(_command))
