"""What a person sees: tables on standard output; progress and notes on standard error, so that --json stays clean."""

from embprobe.cli.terminal.agreement import print_comparison, print_neighbors
from embprobe.cli.terminal.console import note, notes, print_json
from embprobe.cli.terminal.lists import print_datasets, print_encoders, print_spec
from embprobe.cli.terminal.progress import progress_bar, spinner, training_bar
from embprobe.cli.terminal.results import print_results, print_study, print_verdicts
from embprobe.cli.terminal.stores import print_checked, print_stores, rejections

__all__ = [
    "note",
    "notes",
    "print_checked",
    "print_comparison",
    "print_datasets",
    "print_encoders",
    "print_json",
    "print_neighbors",
    "print_results",
    "print_spec",
    "print_stores",
    "print_study",
    "print_verdicts",
    "progress_bar",
    "rejections",
    "spinner",
    "training_bar",
]
