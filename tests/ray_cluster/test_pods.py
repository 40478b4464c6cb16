"""Two pods of a training on a real Ray, as processes of one host: how they come together and end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WORKER = HERE.parent.parent / "images/worker"


class Pods:
    """Pods of one training; ``offset`` keeps the ports of tests apart."""

    def __init__(self, folder: Path, offset: int) -> None:
        self.folder = folder
        self.offset = offset
        self.started: list[subprocess.Popen[bytes]] = []

    def start(
        self, node: int, driver: str, *, run: str = "first", address: str = "", **values: float
    ) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            str(HERE / "pod.py"),
            str(self.folder),
            str(node),
            "2",
            run,
            str(self.offset),
        ]
        command += [str(HERE / "drivers" / f"{driver}.py"), *(f"{k}={v}" for k, v in values.items())]
        with self.log(node).open("ab") as log:
            pod = subprocess.Popen(
                command,
                env=os.environ
                | {"PYTHONPATH": str(WORKER), "WANDB_API_KEY": "not-to-be-seen"}
                | ({"RAY_ADDRESS": address} if address else {}),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(pod)
        return pod

    def log(self, node: int) -> Path:
        return self.folder / f"node-{node}.log"

    def words(self, node: int) -> str:
        return self.log(node).read_text()

    def kill(self, node: int) -> None:
        """As the kernel ends a container: everything at once."""
        mark = f"/tmp/r{self.offset}n{node}"
        for pod in self.started:
            if pod.args[3] == str(node) and pod.poll() is None:  # type: ignore[index]
                pod.kill()
                pod.wait()
        for found in processes(mark):
            os.kill(found, signal.SIGKILL)


def processes(mark: str) -> list[int]:
    """Processes whose command line names a folder of a node."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdigit() else ""
        except OSError:
            continue
        if f"{mark}/" in words or f"{mark}\0" in words:
            found.append(int(entry.name))
    return found


def until(look: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, look
        time.sleep(0.2)


@pytest.fixture
def pods(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pods]:
    number = [item.name for item in request.session.items].index(request.node.name)
    found = Pods(tmp_path, 1000 + 500 * number)
    yield found
    for node in (0, 1, 2):
        found.kill(node)
        shutil.rmtree(f"/tmp/r{found.offset}n{node}", ignore_errors=True)


def test_two_pods_make_a_cluster_train_on_both_and_end_well(pods: Pods) -> None:
    worker = pods.start(1, "uses_both_nodes")
    head = pods.start(0, "uses_both_nodes")
    assert head.wait(180) == 0, pods.words(0)
    assert worker.wait(30) == 0, pods.words(1)
    assert (pods.folder / "result").read_text() == "2 nodes"
    assert "not-to-be-seen" not in pods.words(0) + pods.words(1)
    until(lambda: not processes(f"/tmp/r{pods.offset}n0") + processes(f"/tmp/r{pods.offset}n1"), 30)


def test_a_worker_leaves_a_killed_head_and_the_next_pods_make_a_cluster_of_their_own(pods: Pods) -> None:
    head, worker = pods.start(0, "never_ends"), pods.start(1, "never_ends")
    until((pods.folder / "driving").exists)
    pods.kill(0)
    assert head.wait(10) == -signal.SIGKILL
    assert worker.wait(60) == 143
    assert "RayHeadLost" in pods.words(1)
    worker = pods.start(1, "uses_both_nodes")
    head = pods.start(0, "uses_both_nodes")
    assert head.wait(180) == 0, pods.words(0)
    assert worker.wait(30) == 0, pods.words(1)


def test_a_driver_uses_a_cluster_that_is_there_already_as_under_kuberay(pods: Pods) -> None:
    head = pods.start(0, "never_ends")
    pods.start(1, "never_ends")
    until((pods.folder / "driving").exists)
    driver = pods.start(2, "uses_both_nodes", address=f"127.0.0.1:{26379 + pods.offset}")
    assert driver.wait(120) == 0, pods.words(2)
    assert (pods.folder / "result").read_text() == "2 nodes"
    assert head.poll() is None


def test_sigterm_to_the_head_ends_all_pods_as_an_interruption(pods: Pods) -> None:
    head, worker = pods.start(0, "never_ends"), pods.start(1, "never_ends")
    until((pods.folder / "driving").exists)
    head.terminate()
    assert head.wait(60) == 143
    assert worker.wait(60) == 143
    until(lambda: not processes(f"/tmp/r{pods.offset}n0"), 30)


def test_a_killed_worker_ends_the_training_with_the_number_of_nodes_that_are_left(pods: Pods) -> None:
    head = pods.start(0, "never_ends")
    pods.start(1, "never_ends")
    until((pods.folder / "driving").exists)
    pods.kill(1)
    assert head.wait(90) == 143
    assert "RayNodeLost: 1 of 2 nodes" in pods.words(0)


def test_a_driver_that_fails_ends_all_pods_with_a_failure(pods: Pods) -> None:
    head, worker = pods.start(0, "fails"), pods.start(1, "fails")
    assert head.wait(180) == 42, pods.words(0)
    assert worker.wait(60) == 143
    assert "RayHeadFailed" in pods.words(1)


def test_a_peer_that_never_comes_ends_the_wait_with_numbers(pods: Pods) -> None:
    head = pods.start(0, "never_ends", peers_seconds=30)
    assert head.wait(120) == 1
    # On a busy machine the head's own node may not have joined by then.
    assert re.search(r"PeersMissing: [01] of 2 nodes have joined the Ray cluster within 30 s", pods.words(0))
