"""Run one program to its end, its time limit, or the end of patience, and stop all that it has started."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

POLL_SECONDS = 0.5
"""Time between two looks at the program."""

GRACE_SECONDS = 5.0
"""Time between SIGTERM and SIGKILL."""

LOG_BYTES = 4000
"""End of the log that is searched for last words."""


class Ending(StrEnum):
    """How a program ended."""

    EXITED = "exited"
    TIMED_OUT = "timed out"
    GIVEN_UP = "given up"


class Outcome(NamedTuple):
    """How a program ended and what it said last."""

    ending: Ending
    code: int | None
    """Exit code; None if it was stopped."""
    seconds: float
    log: str
    """End of what it wrote."""


def run_process(
    command: Sequence[str],
    environment: Mapping[str, str],
    log_path: Path,
    timeout_seconds: float,
    give_up: Callable[[float], bool],
) -> Outcome:
    """Run a program; ``give_up`` is asked about twice a second, with the seconds so far.

    Its output goes to ``log_path``. It gets a process group of its own, which is stopped in any case: a
    program that starts workers may leave them behind.
    """
    started = time.monotonic()
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            ending = _watch(process, started, timeout_seconds, give_up)
        finally:
            stop_group(process)
    code = process.returncode if ending is Ending.EXITED else None
    return Outcome(ending, code, time.monotonic() - started, read_tail(log_path))


def _watch(
    process: subprocess.Popen[bytes], started: float, timeout_seconds: float, give_up: Callable[[float], bool]
) -> Ending:
    while True:
        try:
            process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            seconds = time.monotonic() - started
            if seconds > timeout_seconds:
                return Ending.TIMED_OUT
            if give_up(seconds):
                return Ending.GIVEN_UP
        else:
            return Ending.EXITED


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """Stop the process and what it has started."""
    for sign, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def read_tail(path: Path) -> str:
    """End of a log as text."""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - LOG_BYTES))
        return log.read().decode("utf-8", "replace")
