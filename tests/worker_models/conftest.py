"""Tests with the real libraries. ``hack/test-models.sh`` runs each folder inside the image of its name."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.unit.worker.conftest import Workplace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture
def worker_environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": f"{ROOT / 'operator'}{os.pathsep}{ROOT / 'images/worker'}",
        "HF_HUB_OFFLINE": "1",
        "SAFETY_TERMINATION_LOG": str(tmp_path / "termination-log"),
    }


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Start a server and wait for a path of it; all are stopped at the end."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(command: list[str], environment: dict[str, str], ready: str, seconds: float = 120) -> None:
        log = tmp_path / f"server-{len(processes)}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )
        processes.append(process)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if httpx.get(ready, timeout=5).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.2)
        pytest.fail(f"no answer from {ready}:\n{log.read_text(encoding='utf-8')[-3000:]}")

    yield start
    for process in processes:
        process.terminate()
        process.wait(20)
