"""The chart on the real cluster, and a namespace of its own for the flow."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.kube import Kube
from tests.until import until

REPO = Path(__file__).parents[2]
CACHE = Path(os.environ.get("MSO_CACHE", Path.home() / ".cache/model-safety-operator"))
NAMESPACE = "model-safety-e2e"
NEEDS = {"test_quickstart_flow": 1500, "test_updates_under_load": 600}
"""Seconds that a module may take on a slow machine; others: OTHERS."""
OTHERS = 450

_begun: set[str] = set()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave a module out that CI would end before it is over; TESTS_END is when, in seconds since 1970."""
    module, end = item.path.stem, os.environ.get("TESTS_END")
    if not end or module in _begun:
        return
    left = int(end) - int(time.time())
    if left < NEEDS.get(module, OTHERS):
        pytest.skip(f"NOT RUN: {left} s are left of the time that CI has")
    _begun.add(module)


def script(name: str, *args: str, seconds: float = 900) -> str:
    """Standard output of a script of hack/."""
    done = subprocess.run(
        [str(REPO / "hack" / name), *args], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"hack/{name}: {done.stderr[-3000:]}"
    return done.stdout.strip()


@pytest.fixture(scope="session")
def kube() -> Iterator[Kube]:
    """The operator installed by helm, and an empty namespace with a claim."""
    os.environ["KUBECONFIG"] = str(CACHE / "kubeconfig")
    os.environ["PATH"] = f"{CACHE / 'bin'}:{os.environ['PATH']}"
    script("install.sh")
    kube = Kube(NAMESPACE, script("images.sh", "list", "worker").split()[0])
    kube.run("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true", seconds=180)
    kube.run("create", "namespace", NAMESPACE)
    kube.run("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    until(lambda: kube.run("get", "serviceaccount", "default", check=False), "a service account for pods", 60)
    yield kube
    if not os.environ.get("E2E_KEEP"):
        kube.run("delete", "namespace", NAMESPACE, "--wait=true", seconds=180)
