"""Why a Ray cluster did not come about or broke, with the exit code that says whether to try again."""

EXIT_RETRY = 1
"""Something around the training failed: try again."""
EXIT_INPUT = 42
"""A person must act; the same as ``safety_records.result.EXIT_INPUT``, which needs pydantic."""
EXIT_INTERRUPTED = 143
"""Ended by SIGTERM, as shells have it, or because another pod is gone, which tells why: not counted."""


class LaunchError(Exception):
    """The cluster cannot be used.

    Parameters
    ----------
    reason
        CamelCase, becomes the condition's reason.
    message
        What happened, with numbers, and what helps.
    code
        Exit code of the pod.
    """

    def __init__(self, reason: str, message: str, code: int = EXIT_RETRY) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.code = code
