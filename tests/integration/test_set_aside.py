"""``hack/set-aside.sh`` against a real API server: the cores go to one namespace, and back to the others."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.apiserver import API, CACHE, REPO, ApiServer, running_apiserver
from tests.integration.conftest import MERGE, Team, make_team
from tests.integration.test_life_cycle import finetune
from tests.until import until

MARK = "modelsafety.dev/set-aside"
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "server", "labels": {"app.kubernetes.io/managed-by": "model-safety-operator"}},
    "spec": {"containers": [{"name": "server", "image": "server"}]},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    """Of its own: the script looks into all namespaces."""
    with running_apiserver(tmp_path / "server") as server:
        yield server


def start(server: ApiServer, *arguments: str) -> "subprocess.Popen[str]":
    """The script with a cache folder of its own, where it looks for its kubeconfig."""
    cache = server.kubeconfig.parent / "cache"
    cache.mkdir(exist_ok=True)
    (cache / "kubeconfig").write_bytes(server.kubeconfig.read_bytes())
    environment = os.environ | {"MSO_CACHE": str(cache), "PATH": f"{CACHE / 'bin'}:{os.environ['PATH']}"}
    command = [str(REPO / "hack/set-aside.sh"), *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def run(server: ApiServer, *arguments: str) -> str:
    """What the script says, once it has done its work."""
    process = start(server, *arguments)
    words = process.communicate(timeout=60)[1]
    assert process.returncode == 0, words
    return words


def suspended(team: Team, name: str) -> tuple[bool, bool]:
    """Whether a resource is suspended, and whether it is marked as set aside."""
    found = team.get("safetyfinetunes", name)
    return bool(found["spec"].get("suspend")), MARK in found["metadata"].get("annotations", {})


def write_status(team: Team, plural: str, name: str, status: dict[str, Any], *, api: str) -> None:
    path = f"{api}/namespaces/{team.namespace}/{plural}/{name}/status"
    answer = team.server.http.patch(path, json={"status": status}, headers=MERGE)
    assert answer.is_success, answer.text


def test_what_is_set_aside_is_what_comes_back(server: ApiServer):
    server.install_crds()
    demo, tests = make_team(server, "demo", claim=False), make_team(server, "tests", claim=False)
    mine = finetune("mine", suspend=True)
    mine["metadata"]["annotations"] = {MARK: "true"}  # of a run that was killed
    tests.apply(mine)
    demo.apply(finetune("serves"), finetune("done"), finetune("paused", suspend=True), POD)
    write_status(demo, "safetyfinetunes", "done", {"state": "Succeeded"}, api=API)

    process = start(server, "aside", tests.namespace)
    until(lambda: suspended(demo, "serves") == (True, True), "the demonstration to be suspended")
    assert suspended(tests, "mine") == (False, False)
    assert process.poll() is None, "it waits for the pods to end"
    write_status(demo, "pods", "server", {"phase": "Succeeded"}, api="/api/v1")
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert suspended(demo, "done") == (False, False)
    assert suspended(demo, "paused") == (True, False)

    assert "resumed: SafetyFinetune" in run(server, "back")
    assert suspended(demo, "serves") == (False, False)
    assert suspended(demo, "paused") == (True, False), "a person's own suspension is theirs"


def test_before_the_first_installation_there_is_nothing_to_set_aside(server: ApiServer):
    assert run(server, "aside", "tests") == ""


@pytest.mark.parametrize("arguments", [(), ("aside",), ("back", "tests"), ("forth",)])
def test_a_wrong_call_says_how_to_call_it(tmp_path: Path, arguments: tuple[str, ...]):
    process = start(unreachable(tmp_path), *arguments)
    assert "Usage: hack/set-aside.sh" in process.communicate(timeout=30)[1]
    assert process.returncode == 1


@pytest.mark.parametrize("arguments", [("aside", "tests"), ("back",)])
def test_an_api_server_that_is_not_there_is_an_error(tmp_path: Path, arguments: tuple[str, ...]):
    process = start(unreachable(tmp_path), *arguments)
    process.communicate(timeout=30)
    assert process.returncode == 1


def unreachable(folder: Path) -> ApiServer:
    """A kubeconfig of a server that is not there."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: none\n"
        'clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]\n'
        "contexts: [{name: none, context: {cluster: none}}]\n",
        encoding="utf-8",
    )
    return ApiServer(kubeconfig, None)  # type: ignore[arg-type]
