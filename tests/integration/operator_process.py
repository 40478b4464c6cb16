"""The operator as a process of its own, as a pod would run it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.integration.apiserver import REPO
from tests.until import until

START_SECONDS = 30
"""Longest wait for probes: the machine may be busy with other tests."""


AS_IN_IMAGE = """
import runpy, sys
sys.modules["kubernetes"] = None
runpy.run_module("safety_operator", run_name="__main__")
"""
"""Runs the operator without the official client, which tests have and the image has not."""


@dataclass
class OperatorProcess:
    """One replica; started by ``start``, ended by ``stop`` or ``kill``."""

    kubeconfig: Path
    folder: Path
    namespace: str
    """The only one that it watches; its Lease is there too."""
    identity: str = "first"
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0

    def start(self) -> "OperatorProcess":
        """Start and wait for the probes."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPO / "operator"),
            "KUBECONFIG": str(self.kubeconfig),
            "SAFETY_NAMESPACES": self.namespace,
            "SAFETY_OPERATOR_NAMESPACE": self.namespace,
            "SAFETY_IDENTITY": self.identity,
            "SAFETY_HTTP_PORT": str(self.port),
            "SAFETY_DEVICE": "cpu",
            "SAFETY_PROGRESS_SECONDS": "0.5",
            "SAFETY_LEASE_SECONDS": "6",
        } | self.environment
        command = [sys.executable, "-c", AS_IN_IMAGE]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        until(self._answers, f"the operator's probes; {self.log_file} tells why", START_SECONDS)
        return self

    @property
    def log_file(self) -> Path:
        return self.folder / f"operator-{self.identity}.log"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}")

    def logs(self, message: str) -> list[dict[str, Any]]:
        """The log's lines with a message; every line must be JSON."""
        lines = [json.loads(line) for line in self.log_file.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line["message"] == message]

    def stop(self) -> float:
        """End it as a node would; seconds that it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)
        return time.monotonic() - began

    def kill(self) -> None:
        """End it without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)

    def _answers(self) -> bool:
        assert self.alive, f"the operator has ended: {self.log_file.read_text(encoding='utf-8')[-2000:]}"
        try:
            return self.get("/readyz").is_success
        except httpx.TransportError:
            return False
