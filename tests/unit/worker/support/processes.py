"""Real worker processes for tests that kill them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.unit.worker.conftest import Workplace

from safety_records.stages import StageSpec

REPOSITORY = Path(__file__).parents[4]


class Worker:
    """A real worker process on a specification, as a pod starts it."""

    def __init__(self, workplace: Workplace, spec: StageSpec) -> None:
        self.message = workplace.artifacts.parent / f"termination-{spec.stage}"
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{REPOSITORY / 'operator'}:{REPOSITORY / 'images/worker'}",
            "SAFETY_STAGE_SPEC": spec.to_json(),
            "SAFETY_TERMINATION_LOG": str(self.message),
            "SAFETY_INPUTS": str(workplace.inputs),
        }

    def start(self, *before: str) -> subprocess.Popen:
        """Start it, behind the words of another command."""
        return subprocess.Popen(
            [*before, sys.executable, "-m", "safety_worker", "run"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


class ServerProcess:
    """A model server that can be killed: the fake, in a process of its own, always at the same port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._log = folder / "asked.txt"
        self.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def asked(self) -> list[str]:
        """Prompts in the order in which they came."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def start(self) -> None:
        """Start, and wait until it listens."""
        script = Path(__file__).parents[1] / "fake_model_server.py"
        command = [sys.executable, str(script), str(self.port), str(self._log)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()
