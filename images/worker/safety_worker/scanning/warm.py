"""A warm garak: imported once, run once per probe, stopped with all that it has started.

A launcher holds garak imported (see ``launcher``); each probe runs in a child of it that has a process group
of its own. A launcher that dies is started again with the next probe.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from safety_worker import subprocesses
from safety_worker.subprocesses import Ending, Outcome

LAUNCHER = (sys.executable, "-P", str(Path(__file__).with_name("launcher.py")))
"""``-P``: without the folder of this package on the path, whose names are not for the top level."""


class ProbeOrder(NamedTuple):
    """One run of garak."""

    configuration: Path
    log: Path
    reasoning_end: str = ""

    @property
    def silence(self) -> Path:
        """Where answers without text are noted, one line each."""
        return self.log.with_name("silence.txt")


class Launcher:
    """Runs garak, once per probe, with the same environment.

    Parameters
    ----------
    environment
        Environment of garak.
    log
        File for what the launcher itself writes: why garak could not be imported.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._child = 0
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.stop()

    def run(self, order: ProbeOrder, timeout_seconds: float, give_up: Callable[[float], bool]) -> Outcome:
        """Run garak to its end, its time limit, or the end of patience.

        ``give_up`` is asked about twice a second, with the seconds so far; what it raises stops garak, too.
        The time includes that of importing garak, where the launcher has to be started.
        """
        started = time.monotonic()
        order.log.unlink(missing_ok=True)
        order.silence.unlink(missing_ok=True)
        ending, code = Ending.EXITED, None
        try:
            self._send(order)
            while True:
                message = self._receive(subprocesses.POLL_SECONDS)
                seconds = time.monotonic() - started
                if message is None:
                    break
                if "code" in message:
                    code = int(message["code"])
                    break
                self._child = int(message.get("pid", self._child))
                if seconds > timeout_seconds or give_up(seconds):
                    ending = Ending.TIMED_OUT if seconds > timeout_seconds else Ending.GIVEN_UP
                    break
        finally:
            self._stop_child(answered=code is not None)
        words = subprocesses.read_tail(order.log if order.log.is_file() else self._log)
        return Outcome(ending, code, time.monotonic() - started, words)

    def stop(self) -> None:
        """Stop the launcher; what it has started is stopped already."""
        launcher, self._process = self._process, None
        if launcher is None:
            return
        for pipe in (launcher.stdin, launcher.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        launcher.kill()
        launcher.wait()

    def _send(self, order: ProbeOrder) -> None:
        launcher = self._running()
        assert launcher.stdin is not None
        line = {
            "configuration": str(order.configuration),
            "log": str(order.log),
            "reasoning_end": order.reasoning_end,
            "silence": str(order.silence),
        }
        with contextlib.suppress(BrokenPipeError):  # it died: reading finds the end of its output
            launcher.stdin.write(json.dumps(line).encode() + b"\n")
            launcher.stdin.flush()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        self._unread = b""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                LAUNCHER,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        return self._process

    def _receive(self, seconds: float) -> dict[str, int] | None:
        """The launcher's next message, an empty one if none came in time, None if it died.

        One that closed its output is stopped, so that no order goes to one that is about to end.
        """
        if self._process is None:
            return None
        if b"\n" not in self._unread:
            assert self._process.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(self._process.stdout, selectors.EVENT_READ)
                if not selector.select(seconds):
                    return {}
            found = os.read(self._process.stdout.fileno(), 65536)
            if not found:
                self.stop()
                return None
            self._unread += found
        line, newline, rest = self._unread.partition(b"\n")
        if not newline:
            return {}
        self._unread = rest
        message: dict[str, int] = json.loads(line)
        return message

    def _stop_child(self, *, answered: bool) -> None:
        """Stop a probe and what it has started: politely first, for its report's sake."""
        child, self._child = self._child, 0
        if child == 0:
            self.stop()  # still importing garak, or dead
            return
        if not answered:
            _signal_group(child, signal.SIGTERM)
            ended = self._await_end(subprocesses.GRACE_SECONDS)
            _signal_group(child, signal.SIGKILL)
            if not ended and not self._await_end(subprocesses.GRACE_SECONDS):
                self.stop()  # the kernel keeps the child: let it be, with its launcher
        _signal_group(child, signal.SIGKILL)

    def _await_end(self, seconds: float) -> bool:
        """Read until the launcher reports the end of its child, or dies."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = self._receive(subprocesses.POLL_SECONDS)
            if message is None or "code" in message:
                return True
        return False


def _signal_group(group: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, sign)
