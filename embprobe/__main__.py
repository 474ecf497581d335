"""``python -m embprobe``, as ``torchrun -m embprobe`` needs it."""

from embprobe.cli.app import main

main()
