"""What the operator does when things go wrong around it: drift, kills, two replicas, a lost API server."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.integration.apiserver import CACHE, ApiServer, running_apiserver
from tests.integration.conftest import MERGE, Starter, Team, make_team
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_life_cycle import TRAINED, evaluation, finetune
from tests.until import until

from safety_operator.state.labels import LABEL_ROLE
from safety_records.result import Score

POLICIES = "/apis/networking.k8s.io/v1"
LEASE = "model-safety-operator"


def test_a_changed_child_is_repaired(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    (policy,) = until(lambda: team.children(POLICIES, "networkpolicies"), "a NetworkPolicy")
    path = f"{POLICIES}/namespaces/{team.namespace}/networkpolicies/{policy['metadata']['name']}"
    opened = {"spec": {"egress": [{}], "podSelector": {"matchLabels": {"app": "other"}}}}
    assert team.server.http.patch(path, json=opened, headers=MERGE).is_success
    until(lambda: team.server.http.get(path).json()["spec"] == policy["spec"], "the policy of before")


def test_a_deleted_child_comes_back(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    (policy,) = until(lambda: team.children(POLICIES, "networkpolicies"), "a NetworkPolicy")
    path = f"{POLICIES}/namespaces/{team.namespace}/networkpolicies/{policy['metadata']['name']}"
    assert team.server.http.delete(path).is_success

    def again() -> bool:
        found = team.server.http.get(path)
        return found.is_success and found.json()["metadata"]["uid"] != policy["metadata"]["uid"]

    until(again, "a new policy")


def test_labels_that_were_taken_away_come_back(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    (policy,) = until(lambda: team.children(POLICIES, "networkpolicies"), "a NetworkPolicy")
    path = f"{POLICIES}/namespaces/{team.namespace}/networkpolicies/{policy['metadata']['name']}"
    bare = {"metadata": {"labels": dict.fromkeys(policy["metadata"]["labels"])}}
    assert team.server.http.patch(path, json=bare, headers=MERGE).is_success
    until(lambda: team.children(POLICIES, "networkpolicies"), "the labels")


def test_status_survives_a_kill_and_the_work_goes_on(team: Team, start_operator: Starter):
    first = start_operator()
    team.apply(finetune())
    team.kubelet.succeed("hardened", "fetch", max_length=16384)
    team.kubelet.job("hardened", "train")

    def fetched() -> bool:
        stages = team.get("safetyfinetunes", "hardened").get("status", {}).get("stages", [])
        return any(s["name"] == "fetch" and s["state"] == "Succeeded" for s in stages)

    until(fetched, "the fetch stage's record in the status")
    before = team.get("safetyfinetunes", "hardened")["status"]
    first.kill()
    team.kubelet.succeed("hardened", "train", training=TRAINED)
    start_operator("second")
    team.wait("safetyfinetunes", "hardened", "Ready", "True")
    after = team.get("safetyfinetunes", "hardened")["status"]
    assert after["stages"][0] == before["stages"][0]
    assert len(team.children("/apis/batch/v1", "jobs")) == 2


def test_a_kill_while_answers_are_judged_as_they_come_starts_nothing_twice(
    team: Team, start_operator: Starter
):
    endpoint = {"endpoint": {"url": "http://model.example/v1", "model": "m"}}
    first = start_operator()
    team.apply(evaluation(model=endpoint))
    team.kubelet.run("check", "generate")
    team.kubelet.run("check", "judge")
    first.kill()
    team.kubelet.succeed("check", "judge")
    team.kubelet.succeed("check", "generate")
    second = start_operator("second")
    team.kubelet.job("check", "score")
    second.kill()
    score = Score(metric="contentSafety.harm", value=0.9, lower=0.8, upper=0.95, samples=9)
    team.kubelet.succeed("check", "score", scores=(score,))
    start_operator("third")
    team.kubelet.succeed("check", "report")
    team.wait("safetyevals", "check", "Succeeded", "True")
    status = team.get("safetyevals", "check")["status"]
    assert [item["samples"] for item in status["scores"]] == [9]
    roles = [job["metadata"]["labels"][LABEL_ROLE] for job in team.children("/apis/batch/v1", "jobs")]
    assert sorted(roles) == ["generate", "judge", "report", "score"]


def test_one_replica_holds_the_lease_and_a_standby_takes_over(team: Team, start_operator: Starter):
    first = start_operator("first")
    until(lambda: first.logs("leading"), "a leader")
    second = start_operator("second")
    until(lambda: second.logs("standing by"), "a standby")
    assert second.get("/healthz").is_success
    assert holder(team) == "first"
    assert first.stop() < 5
    until(lambda: holder(team) == "second", "a quick hand-over", 5)
    team.apply(finetune())
    assert team.kubelet.job("hardened", "fetch")
    third = start_operator("third")
    second.kill()
    until(lambda: holder(team) == "third", "the end of the dead replica's Lease", 15)
    team.apply(finetune("another"))
    assert team.kubelet.job("another", "fetch")
    assert third.get("/healthz").is_success


def test_a_replica_that_loses_the_lease_ends(team: Team, operator: OperatorProcess):
    until(lambda: operator.logs("leading"), "a leader")
    path = f"/apis/coordination.k8s.io/v1/namespaces/{team.namespace}/leases/{LEASE}"
    thief = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 600}}
    assert team.server.http.patch(path, json=thief, headers=MERGE).is_success
    until(lambda: not operator.alive, "the operator's end", 10)
    assert operator.process is not None
    assert operator.process.returncode == 1


def test_it_ends_within_five_seconds_with_work_in_hand(team: Team, operator: OperatorProcess):
    for index in range(20):
        team.server.post(team.namespace, "safetyfinetunes", json.dumps(finetune(f"n{index}")))
    assert operator.stop() < 5
    assert operator.process is not None
    assert operator.process.returncode == 0


def test_probes_and_metrics_tell_of_every_watch(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    team.wait("safetyfinetunes", "hardened", "Reconciling", "True")
    assert operator.get("/healthz").text == "ok\n"
    text = operator.get("/metrics").text
    for plural in ("safetyevals", "safetyblends", "safetyfinetunes", "guardeddeployments"):
        assert f'/{plural}"' in text
    for name in ("jobs", "pods", "deployments", "services", "configmaps", "networkpolicies", "lease"):
        assert f'safety_watch_silence_seconds{{watch="{name}' in text
    assert 'safety_reconciles_total{kind="SafetyFinetune",outcome="ok"}' in text
    assert "safety_leader 1.0" in text


def test_a_silent_watch_fails_the_liveness_probe(team: Team, start_operator: Starter):
    operator = start_operator(SAFETY_WATCH_SILENCE_SECONDS="10", SAFETY_LEASE_SECONDS="600")
    team.apply(finetune())
    team.wait("safetyfinetunes", "hardened", "Reconciling", "True")
    answer = until(
        lambda: (a := operator.get("/healthz")).status_code == 503 and a, "the probe's failure", 25
    )
    assert "nothing heard of" in answer.text


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[ApiServer]:
    """An API server that a test may kill."""
    with running_apiserver(tmp_path / "server") as server:
        server.install_crds()
        yield server


def test_it_recovers_when_the_api_server_comes_back(mortal: ApiServer, tmp_path: Path):
    team = make_team(mortal, "mortal")
    operator = OperatorProcess(mortal.kubeconfig, tmp_path, team.namespace)
    operator.environment = {"SAFETY_LEASE_SECONDS": "120"}
    operator.start()
    try:
        team.apply(finetune(), evaluation())
        team.kubelet.job("hardened", "fetch")
        restart = kill_api_server(tmp_path / "server")
        until(lambda: operator.logs("watch failed"), "a sign that the operator noticed")
        restart()
        until(lambda: is_up(mortal), "the API server", 60)
        team.apply(finetune("after"))
        assert team.kubelet.job("after", "fetch")
        team.delete("safetyevals", "check")
        team.patch("safetyfinetunes", "hardened", {"suspend": True})
        team.wait("safetyfinetunes", "hardened", "Ready", "Unknown", reason="Suspended", seconds=60)
        assert operator.alive
        assert operator.get("/healthz").is_success
    finally:
        operator.kill()


def kill_api_server(folder: Path) -> Callable[[], None]:
    """Kill it; gives what starts it again, with the same arguments."""
    pid = int((folder / "kube-apiserver.pid").read_text())
    _, *arguments = [part.decode() for part in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]
    os.kill(pid, signal.SIGKILL)
    binary = str(CACHE / "bin/kube-apiserver")
    script = 'setsid "$@" >>"$0/kube-apiserver.log" 2>&1 </dev/null & echo $! >"$0/kube-apiserver.pid"'

    def restart() -> None:
        subprocess.run(["bash", "-c", script, str(folder), binary, *arguments], check=True)

    return restart


def is_up(server: ApiServer) -> bool:
    try:
        return server.http.get("/readyz").is_success
    except httpx.TransportError:
        return False


def holder(team: Team) -> str:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{team.namespace}/leases/{LEASE}"
    return str(team.server.http.get(path).json()["spec"]["holderIdentity"])
