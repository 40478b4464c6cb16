"""What goes wrong in a way that a person can fix. The message says how."""

EXIT_FAILED = 1
"""The command could not do what it should, or what it checked does not hold."""
EXIT_USAGE = 2
"""A wrong command line, as argparse has it."""
EXIT_INTERRUPTED = 130
"""Ended with Ctrl-C, as shells count it."""


class CliError(Exception):
    """Told to the user without a traceback."""

    exit_code = EXIT_FAILED


class UsageError(CliError):
    """Options that do not go together, which argparse cannot see."""

    exit_code = EXIT_USAGE
