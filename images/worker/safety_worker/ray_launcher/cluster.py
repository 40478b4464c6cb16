"""A Ray cluster as the driver's pod sees it: how many nodes live, and whether all that it needs still do."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safety_worker.ray_launcher import nodes as nodes_module
from safety_worker.ray_launcher.errors import EXIT_INTERRUPTED, LaunchError
from safety_worker.ray_launcher.processes import ray_environment, running
from safety_worker.ray_launcher.settings import LaunchSettings

Alive = Callable[[], int | None]
"""Gives the number of nodes that live, as last heard; None while nothing was heard. Raises LaunchError."""
NEWS_LOOKS = 2
"""Looks after which the head knows of a node whose actors it has given up."""
HeadEnded = Callable[[], int | None]
"""Gives the exit code of the head's process; None while it runs or is another pod's."""


@contextmanager
def watching(address: str, settings: LaunchSettings, python: str) -> Iterator[Alive]:
    """A function that says how many nodes live."""
    script = str(Path(nodes_module.__file__))
    command = (python, script, address, str(settings.poll_seconds))
    with running(command, ray_environment(os.environ), read=True) as child:
        yield _Counter(child, address).alive


class _Counter:
    """The newest number that the watching process printed."""

    def __init__(self, child: subprocess.Popen[str], address: str) -> None:
        assert child.stdout is not None
        self._child = child
        self._address = address
        self._output = child.stdout.fileno()
        self._text = ""
        self._last: int | None = None
        os.set_blocking(self._output, False)

    def alive(self) -> int | None:
        self._read()
        *lines, self._text = self._text.split("\n")
        numbers = [int(line) for line in lines if line.isdigit()]
        self._last = numbers[-1] if numbers else self._last
        if self._child.poll() is not None:
            raise LaunchError("RayHeadLost", f"the Ray head at {self._address} does not answer any more")
        return self._last

    def _read(self) -> None:
        try:
            while part := os.read(self._output, 65536):
                self._text += part.decode("utf-8", "replace")
        except BlockingIOError:
            return


class Cluster:
    """A cluster whose nodes have all joined."""

    def __init__(
        self, address: str, settings: LaunchSettings, alive: Alive, head_ended: HeadEnded = lambda: None
    ) -> None:
        self.address = address
        """host:port, for RAY_ADDRESS of the driver."""
        self.nodes = settings.nodes
        self._settings = settings
        self._alive = alive
        self._head_ended = head_ended
        self._missing_since: float | None = None

    def wait(self) -> None:
        """Wait until all nodes have joined. Raises LaunchError at the deadline, or where the head ends."""
        deadline = time.monotonic() + self._settings.peers_seconds
        while (found := self._joined()) is None or found < self.nodes:
            if time.monotonic() > deadline:
                raise LaunchError("PeersMissing", peers_missing(found or 0, self._settings))
            time.sleep(min(0.5, self._settings.poll_seconds))

    def check(self) -> None:
        """Look whether all nodes still live; to be called every few seconds. Raises LaunchError."""
        found = self._joined()
        if found is None or found >= self.nodes:
            self._missing_since = None
            return
        self._missing_since = self._missing_since or time.monotonic()
        if time.monotonic() - self._missing_since >= self._settings.lost_seconds:
            raise self._lost(found)

    def check_after_failure(self) -> None:
        """Look whether a node was lost, which is why a driver failed; the news may take two looks.

        Raises LaunchError.
        """
        deadline = time.monotonic() + NEWS_LOOKS * self._settings.poll_seconds
        while True:
            found = self._joined()
            if found is not None and found < self.nodes:
                raise self._lost(found)
            if time.monotonic() >= deadline:
                return
            time.sleep(min(0.5, self._settings.poll_seconds))

    def _lost(self, found: int) -> LaunchError:
        return LaunchError(
            "RayNodeLost",
            f"{found} of {self.nodes} nodes of the Ray cluster are left: the training starts again from its "
            "last checkpoint. Look at the pods and their nodes: kubectl describe pods",
            EXIT_INTERRUPTED,
        )

    def _joined(self) -> int | None:
        code = self._head_ended()
        if code is not None:
            raise LaunchError("RayHeadLost", f"the Ray head ended with exit code {code}; see its log above")
        return self._alive()


def peers_missing(found: int, settings: LaunchSettings) -> str:
    """Words for a cluster that did not come about."""
    return (
        f"{found} of {settings.nodes} nodes have joined the Ray cluster within "
        f"{settings.peers_seconds:.0f} s. Look at the pods that have not started (kubectl get pods); a Kueue "
        "queue (spec.queueName) starts all of them together or none"
    )
