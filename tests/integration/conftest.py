"""One API server for the session, one namespace and one operator for each test."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.apiserver import API, ApiServer, running_apiserver
from tests.integration.fake_kubelet import FakeKubelet
from tests.integration.operator_process import OperatorProcess
from tests.until import until

CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "safety-artifacts"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """API server, etcd and controllers: garbage collection and Jobs are real."""
    with running_apiserver(tmp_path_factory.mktemp("live"), "--controllers") as server:
        server.install_crds()
        yield server


@pytest.fixture(scope="session")
def bare_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """API server and etcd alone, with the CRDs: for what is refused and what is stored."""
    with running_apiserver(tmp_path_factory.mktemp("bare")) as server:
        server.install_crds()
        yield server


@dataclass
class Team:
    """A namespace, and what tests do there."""

    server: ApiServer
    namespace: str

    @property
    def kubelet(self) -> FakeKubelet:
        return FakeKubelet(self.server.http, self.namespace)

    def apply(self, *manifests: dict[str, Any]) -> None:
        text = yaml.safe_dump_all(manifests)
        self.server.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=text)

    def delete(self, plural: str, name: str) -> None:
        answer = self.server.http.delete(f"{API}/namespaces/{self.namespace}/{plural}/{name}")
        assert answer.is_success, answer.text

    def patch(self, plural: str, name: str, spec: dict[str, Any]) -> None:
        path = f"{API}/namespaces/{self.namespace}/{plural}/{name}"
        answer = self.server.http.patch(path, json={"spec": spec}, headers=MERGE)
        assert answer.is_success, answer.text

    def get(self, plural: str, name: str) -> dict[str, Any]:
        answer = self.server.http.get(f"{API}/namespaces/{self.namespace}/{plural}/{name}")
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def condition(self, plural: str, name: str, kind: str) -> dict[str, Any]:
        """A condition for the present generation; empty while there is none."""
        resource = self.get(plural, name)
        for condition in resource.get("status", {}).get("conditions", []):
            if (
                condition["type"] == kind
                and condition["observedGeneration"] == resource["metadata"]["generation"]
            ):
                found: dict[str, Any] = condition
                return found
        return {}

    def wait(
        self, plural: str, name: str, kind: str, status: str, *, reason: str = "", seconds: float = 20
    ) -> dict[str, Any]:
        """Wait for a condition; gives it."""

        def look() -> dict[str, Any] | None:
            found = self.condition(plural, name, kind)
            right = found.get("status") == status and reason in {"", found.get("reason")}
            return found if right else None

        found: dict[str, Any] = until(look, f"{kind}={status} {reason} of {plural}/{name}", seconds)
        return found

    def children(self, api: str, plural: str) -> list[dict[str, Any]]:
        """Objects that the operator made."""
        selector = {"labelSelector": "app.kubernetes.io/managed-by=model-safety-operator"}
        answer = self.server.http.get(f"{api}/namespaces/{self.namespace}/{plural}", params=selector)
        assert answer.is_success, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


def make_team(server: ApiServer, test: str, *, claim: bool = True) -> Team:
    name = "t-" + re.sub(r"[^a-z0-9]+", "-", test.lower()).strip("-")[-50:].strip("-")
    team = Team(server, name)
    server.kubectl("create", "namespace", name)
    if claim:
        team.apply(CLAIM)
    return team


@pytest.fixture
def team(live_server: ApiServer, request: pytest.FixtureRequest) -> Team:
    return make_team(live_server, request.node.name)


Starter = Callable[..., OperatorProcess]


@pytest.fixture
def start_operator(team: Team, tmp_path: Path) -> Iterator[Starter]:
    """Starts replicas for the test's namespace; ends what still runs."""
    started: list[OperatorProcess] = []

    def start(identity: str = "first", **environment: str) -> OperatorProcess:
        replica = OperatorProcess(team.server.kubeconfig, tmp_path, team.namespace, identity, environment)
        started.append(replica)
        return replica.start()

    yield start
    for replica in started:
        if replica.alive:
            replica.kill()


@pytest.fixture
def operator(start_operator: Starter) -> OperatorProcess:
    return start_operator()
