"""Errors that are meant for people: one line, what was got, what was expected, what to do."""


class PrismError(Exception):
    """Something could not be done; the `prism` command ends with exit code 1."""

    exit_code = 1


class UsageError(PrismError):
    """The request itself cannot be met as it was made; exit code 2, nothing is written."""

    exit_code = 2
