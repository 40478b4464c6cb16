"""kubectl safety with the real kubectl, a real API server, and no more rights than it says it needs.

There is no kubelet here, so a forwarded port ends at the API server: the way through is in tests/e2e.
"""

import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.apiserver import API, CACHE, REPO, ApiServer, running_apiserver
from tests.unit.cli.support import finished_resources

CHART = REPO / "charts/model-safety-operator"
PLURALS = {
    "SafetyEval": "safetyevals",
    "SafetyBlend": "safetyblends",
    "SafetyFinetune": "safetyfinetunes",
    "GuardedDeployment": "guardeddeployments",
}
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running_apiserver(tmp_path_factory.mktemp("apiserver")) as server:
        yield server


@pytest.fixture(scope="module")
def empty(server: ApiServer) -> ApiServer:
    """The server before anything is installed; only for what comes first."""
    return server


@pytest.fixture(scope="module")
def installed(server: ApiServer) -> ApiServer:
    """With the chart's roles and report server, and the quickstart's resources as they end."""
    server.install_crds()
    server.kubectl("create", "namespace", "team")
    server.kubectl("label", "namespace", "team", "pod-security.kubernetes.io/enforce=restricted")
    if not (CACHE / "bin/helm").exists():
        subprocess.run([str(REPO / "hack/tools.sh"), "helm"], check=True)
    sets = ["--set", "reports.create=always,artifacts.create=false,reports.namespaces={team}"]
    command = [str(CACHE / "bin/helm"), "template", "mso", str(CHART), "--namespace", "team", *sets]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    wanted = {"Role", "ClusterRole", "StatefulSet"}
    objects = [found for found in yaml.safe_load_all(rendered) if found and found["kind"] in wanted]
    server.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
    for resource in finished_resources():
        create(server, resource)
    return server


def create(server: ApiServer, resource: dict[str, Any]) -> None:
    """A resource with the status that the operator leaves."""
    path = f"{API}/namespaces/team/{PLURALS[resource['kind']]}"
    metadata = {"name": resource["metadata"]["name"], "namespace": "team"}
    made = server.http.post(path, json=resource | {"metadata": metadata, "status": {}})
    assert made.is_success, made.text
    status = {"status": resource["status"] | {"observedGeneration": made.json()["metadata"]["generation"]}}
    answer = server.http.patch(f"{path}/{metadata['name']}/status", json=status, headers=MERGE)
    assert answer.is_success, answer.text


@dataclass
class Person:
    """Somebody at a terminal, with a kubeconfig."""

    kubeconfig: Path

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{CACHE / 'bin'}:/usr/bin:/bin",
            "KUBECONFIG": str(self.kubeconfig),
            "PYTHONPATH": str(REPO / "operator"),
            "HOME": str(self.kubeconfig.parent),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }

    def run(self, *args: str, code: int = 0) -> tuple[str, str]:
        """Output and errors in a pipe."""
        done = subprocess.run(
            [sys.executable, "-m", "safety_cli.main", *args],
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout, done.stderr

    def look(self, *args: str, width: int = 100, **environment: str) -> str:
        """What a terminal of a width is sent."""
        leader, follower = pty.openpty()
        ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
        with subprocess.Popen(
            [sys.executable, "-m", "safety_cli.main", *args],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=self.environment() | environment,
        ) as process:
            os.close(follower)
            chunks = []
            while True:
                try:
                    chunks.append(os.read(leader, 4096))
                except OSError:
                    break
            assert process.wait(60) == 0
        os.close(leader)
        return b"".join(chunks).decode()


def make_person(server: ApiServer, folder: Path, name: str, *bindings: str) -> Person:
    """A service account with role bindings in the namespace, as ``kubectl create rolebinding`` takes them."""
    server.kubectl("create", "serviceaccount", name, "-n", "team")
    for role in bindings:
        binding = f"{name}-{role.rpartition('=')[2]}"
        server.kubectl("create", "rolebinding", binding, "-n", "team", role, f"--serviceaccount=team:{name}")
    token = server.kubectl("create", "token", name, "-n", "team").strip()
    config: dict[str, Any] = yaml.safe_load(server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    config["contexts"][0]["context"]["namespace"] = "team"
    kubeconfig = folder / f"{name}.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    return Person(kubeconfig)


VIEW = "--clusterrole=mso-model-safety-operator-view"
READER = "--role=safety-reports-reader"


@pytest.fixture(scope="module")
def viewer(installed: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """May get and list the four kinds in one namespace; nothing else."""
    return make_person(installed, tmp_path_factory.mktemp("viewer"), "viewer", VIEW)


@pytest.fixture(scope="module")
def reader(installed: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """May forward a port to the report server besides."""
    return make_person(installed, tmp_path_factory.mktemp("reader"), "reader", VIEW, READER)


def test_a_cluster_without_the_operator_is_told_from_one_with_nothing_in_it(empty, tmp_path) -> None:
    administrator = Person(empty.kubeconfig)
    assert "the operator is not installed" in administrator.run("status", code=1)[1]


def test_get_and_list_are_enough_to_see_everything(viewer) -> None:
    out, _ = viewer.run("status")
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        "safetyeval/base",
        "safetyeval/hardened",
        "safetyblend/blend",
        "safetyfinetune/hardened",
        "guardeddeployment/assistant",
    ]
    assert "\x1b" not in out
    assert "Stages" in viewer.run("status", "sblend/blend")[0]
    assert "safetyfinetune/hardened Succeeded" in viewer.run("watch", "--until-done")[0]
    assert "A  safetyeval/base" in viewer.run("compare", "base", "hardened")[0]


def test_other_namespaces_stay_closed_and_the_message_says_so(viewer) -> None:
    _, err = viewer.run("status", "-A", code=1)
    assert "Your rights do not suffice" in err
    _, err = viewer.run("status", "-n", "kube-system", code=1)
    assert "ask for the role view" in err


def test_a_name_that_is_not_there_is_said(viewer) -> None:
    assert '"nobody" not found' in viewer.run("compare", "base", "nobody", code=1)[1]
    assert "There is no resource nobody" in viewer.run("status", "nobody", code=1)[1]


def test_a_cluster_that_is_not_there_is_said(tmp_path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "x", "cluster": {"server": f"https://127.0.0.1:{port}"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    _, err = Person(tmp_path / "config").run("status", code=1)
    assert "The API server does not answer" in err


@pytest.mark.parametrize("width", [44, 70, 120])
def test_a_terminal_gets_colours_and_whole_lines(viewer, width) -> None:
    text = viewer.look("status", width=width)
    assert "\x1b[32m" in text
    plain = viewer.look("status", width=width, NO_COLOR="1")
    assert "\x1b[32m" not in plain
    rows = [line for line in plain.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines() if line.strip()]
    assert len(rows) == 6
    assert all(len(row) <= width for row in rows)


def test_watch_draws_bars_and_ends_when_all_is_done(viewer) -> None:
    text = viewer.look("watch", "--until-done", width=120)
    assert "━" in text
    assert "Serving" in text


HEED_CTRL_C = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""What is started in the background, as CI may be, ignores Ctrl-C, and so do its children."""


def test_ctrl_c_ends_a_watch_without_a_traceback(viewer) -> None:
    command = [sys.executable, "-c", HEED_CTRL_C, sys.executable, "-m", "safety_cli.main", "watch"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=viewer.environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            while "guardeddeployment/assistant" not in process.stdout.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_a_dumb_terminal_gets_no_escapes(viewer) -> None:
    assert "\x1b" not in viewer.look("status", TERM="dumb")


@pytest.fixture(scope="module")
def named_report(installed: ApiServer) -> None:
    """The evaluation says where its report is."""
    report = {
        "uri": "pvc://safety-artifacts/team/safetyeval/base/0f9a8b7c/report-0123456789abcdef",
        "digest": "sha256:" + "1" * 64,
    }
    path = f"{API}/namespaces/team/safetyevals/base/status"
    answer = installed.http.patch(path, json={"status": {"report": report}}, headers=MERGE)
    assert answer.is_success, answer.text


@pytest.fixture(scope="module")
def pod(installed: ApiServer, named_report: None) -> str:
    """What the StatefulSet's controller would make; the namespace admits restricted pods only."""
    found = json.loads(installed.kubectl("get", "statefulset", "safety-reports", "-n", "team", "-o", "json"))
    template = found["spec"]["template"]
    manifest = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]}
    manifest["metadata"] = {"name": "safety-reports-0", "labels": template["metadata"]["labels"]}
    installed.kubectl("apply", "-n", "team", "-f", "-", stdin=json.dumps(manifest))
    return "safety-reports-0"


@pytest.mark.usefixtures("named_report")
def test_no_report_server_is_said(reader) -> None:
    _, err = reader.run("report", "base", code=1)
    assert "There is no report server in this namespace" in err


@pytest.mark.usefixtures("pod")
def test_a_viewer_may_not_forward_and_learns_whom_to_ask(viewer) -> None:
    _, err = viewer.run("report", "base", code=1)
    assert "ask for the Role safety-reports-reader" in err


@pytest.mark.usefixtures("pod")
def test_a_server_that_does_not_run_is_said(reader) -> None:
    _, err = reader.run("hits", "base", code=1)
    assert "The report server does not run yet" in err


def test_the_role_lets_a_reader_through_to_that_pod_only(installed, reader, pod) -> None:
    path = f"/api/v1/namespaces/team/pods/{pod}/status"
    running = {"status": {"phase": "Running"}}
    assert installed.http.patch(path, json=running, headers=MERGE).is_success
    _, err = reader.run("report", "base", code=1)
    assert "does not have a host assigned" in err, "only a kubelet is missing"
    review: dict[str, Any] = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "system:serviceaccount:team:reader",
            "resourceAttributes": {
                "namespace": "team",
                "verb": "create",
                "resource": "pods",
                "subresource": "portforward",
            },
        },
    }
    allowed = {}
    for name in (pod, "guardrails"):
        review["spec"]["resourceAttributes"]["name"] = name
        answer = installed.http.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json=review)
        allowed[name] = answer.json()["status"]["allowed"]
    assert allowed == {pod: True, "guardrails": False}
