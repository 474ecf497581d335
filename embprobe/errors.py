"""The errors a user can cause. Each message is one or two sentences that say what to do."""


class EmbprobeError(Exception):
    """Something failed on the data; the command line exits with 1."""

    exit_code = 1


class UsageError(EmbprobeError):
    """The request itself cannot be served (a wrong name, a wrong option); the command line exits with 2."""

    exit_code = 2
