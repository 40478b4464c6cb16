"""One name for several things: objects of others under the names of children, resources of two namespaces."""

from typing import Any

import pytest
from tests.integration.conftest import Starter, Team, make_team
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_life_cycle import resource
from tests.integration.test_orphans import APPS, GUARDED, obey, stalled
from tests.until import until

from safety_operator.children.metadata import Owner, child_name

NETWORKING = "/apis/networking.k8s.io/v1"
HOST = "assistant.example.com"
EXPOSED = GUARDED | {"expose": {"ingress": {"host": HOST}}}


def name_of(role: str, namespace: str) -> str:
    return child_name(Owner("GuardedDeployment", "chat", namespace, ""), role, "")


def deployment(name: str) -> dict[str, Any]:
    labels = {"app": "web"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def ingress(name: str) -> dict[str, Any]:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    spec = {"rules": [{"host": "web.example.com", "http": {"paths": paths}}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": spec,
    }


def test_a_deployment_and_an_ingress_of_others_stay_and_are_told(team: Team, operator: OperatorProcess):
    taken = {
        "Deployment": name_of("guardrails", team.namespace),
        "Ingress": name_of("exposure", team.namespace),
    }
    team.apply(deployment(taken["Deployment"]), ingress(taken["Ingress"]))
    team.apply(resource("GuardedDeployment", "chat", EXPOSED))
    team.kubelet.succeed("chat", "fetch")
    told = [f"{kind} {name}" for kind, name in taken.items()]
    message = stalled(team, "guardeddeployments", "chat", *told, "give this resource another name")
    for path, found in ((APPS, "deployments"), (NETWORKING, "ingresses")):
        kind = {"deployments": "Deployment", "ingresses": "Ingress"}[found]
        url = f"{path}/namespaces/{team.namespace}/{found}/{taken[kind]}"
        left = team.server.http.get(url).json()
        assert "ownerReferences" not in left["metadata"]
        assert "web" in str(left["spec"])
    obey(team, message)
    for kind, name in taken.items():
        team.server.kubectl("delete", "-n", team.namespace, f"{kind.lower()}/{name}", "--ignore-not-found")
    team.wait("guardeddeployments", "chat", "Stalled", "False")


@pytest.fixture
def other(team: Team, request: pytest.FixtureRequest) -> Team:
    return make_team(team.server, f"{request.node.name}-as-well")


def test_two_of_one_name_in_two_namespaces_live_and_end_by_themselves(
    team: Team, other: Team, start_operator: Starter
):
    start_operator("first", SAFETY_NAMESPACES=f"{team.namespace},{other.namespace}")
    for each in (team, other):
        each.apply(resource("GuardedDeployment", "chat", EXPOSED))
        each.kubelet.succeed("chat", "fetch")
    for each in (team, other):
        until(lambda each=each: len(each.children(APPS, "deployments")) == 3, "the servers of both")
        (found,) = until(lambda each=each: each.children(NETWORKING, "ingresses"), "an Ingress of each")
        assert found["spec"]["rules"][0]["host"] == HOST
    kept = {d["metadata"]["uid"] for d in other.children(APPS, "deployments")}
    team.delete("guardeddeployments", "chat")
    until(lambda: not team.children(APPS, "deployments"), "an end")
    assert {d["metadata"]["uid"] for d in other.children(APPS, "deployments")} == kept
    assert other.get("guardeddeployments", "chat")["status"]["state"] in {"Running", "Stalled"}
