"""What people see of a resource from its birth to its end, with the real operator and a fake node."""

from typing import Any

from tests.integration.conftest import Team
from tests.integration.operator_process import OperatorProcess
from tests.until import until

from safety_records.result import Training

MODEL = {"source": {"uri": "hf://org/model@main"}}
BATCH = "/apis/batch/v1"
TRAINED = Training(step=10, steps=10, epoch=1.0, loss=0.5)


def finetune(name: str = "hardened", **spec: Any) -> dict[str, Any]:
    base = {"model": MODEL, "data": {"uri": "pvc://safety-artifacts/train.jsonl"}}
    return resource("SafetyFinetune", name, base | spec)


def evaluation(name: str = "check", **spec: Any) -> dict[str, Any]:
    base = {
        "model": {"finetuneRef": {"name": "hardened"}},
        "judges": [{"name": "refusals", "type": "refusal-phrases"}],
        "contentSafety": [{"name": "harm", "dataset": {"preset": "harmbench"}, "judge": "refusals"}],
    }
    return resource("SafetyEval", name, base | spec)


def resource(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "modelsafety.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def test_conditions_from_the_first_visit_to_the_finished_model(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    first = team.wait("safetyfinetunes", "hardened", "Reconciling", "True")
    assert first["observedGeneration"] == 1
    assert team.condition("safetyfinetunes", "hardened", "Ready")["status"] == "Unknown"
    assert team.condition("safetyfinetunes", "hardened", "Stalled")["status"] == "False"
    team.kubelet.run("hardened", "fetch")
    team.kubelet.succeed("hardened", "fetch", max_length=16384)
    team.kubelet.succeed("hardened", "train", training=TRAINED)
    ready = team.wait("safetyfinetunes", "hardened", "Ready", "True")
    assert ready["reason"] == "Completed"
    found = team.get("safetyfinetunes", "hardened")["status"]
    assert {stage["name"]: stage["state"] for stage in found["stages"]} == {
        "fetch": "Succeeded",
        "train": "Succeeded",
    }
    assert found["output"]["digest"].startswith("sha256:")
    assert team.condition("safetyfinetunes", "hardened", "Succeeded")["status"] == "True"
    assert team.condition("safetyfinetunes", "hardened", "Reconciling")["status"] == "False"


def test_events_tell_of_each_change_once(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    team.kubelet.succeed("hardened", "fetch", max_length=16384)
    team.kubelet.succeed("hardened", "train", training=TRAINED)
    team.wait("safetyfinetunes", "hardened", "Ready", "True")

    def events() -> list[tuple[str, str]]:
        path = f"/apis/events.k8s.io/v1/namespaces/{team.namespace}/events"
        items = team.server.http.get(path).json()["items"]
        return [(e["reason"], e["note"]) for e in items if e["regarding"]["kind"] == "SafetyFinetune"]

    until(lambda: len(events()) > 2, "events")
    assert len(events()) == len(set(events()))


def test_references_resolve_in_any_order_of_applying(team: Team, operator: OperatorProcess):
    team.apply(evaluation())
    waiting = team.wait("safetyevals", "check", "Ready", "Unknown", reason="WaitingForReference")
    assert "SafetyFinetune hardened" in waiting["message"]
    assert not team.children(BATCH, "jobs")
    team.apply(finetune())
    team.kubelet.succeed("hardened", "fetch", max_length=16384)
    team.kubelet.succeed("hardened", "train", training=TRAINED)
    team.wait("safetyevals", "check", "Ready", "Unknown", reason="Running")


def test_a_workers_last_words_are_in_the_condition(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    words = "spec.model.source.uri: no such revision main2. Name one that exists."
    team.kubelet.fail("hardened", "fetch", reason="ModelNotFound", message=words)
    stalled = team.wait("safetyfinetunes", "hardened", "Stalled", "True", reason="ModelNotFound")
    assert words in stalled["message"]
    assert team.condition("safetyfinetunes", "hardened", "Ready")["status"] == "False"


def test_a_pod_that_cannot_start_says_why(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    team.kubelet.cannot_start("hardened", "fetch", "ImagePullBackOff", "no such image: worker:1")

    def told() -> bool:
        found = team.condition("safetyfinetunes", "hardened", "Ready")
        return "ImagePullBackOff" in f"{found.get('reason')} {found.get('message')}"

    until(told, "the pull error in the condition")


def test_a_missing_secret_stalls_with_field_and_remedy_and_recovers(team: Team, operator: OperatorProcess):
    source = {"uri": "hf://org/gated", "tokenSecretRef": {"name": "hub", "key": "token"}}
    team.apply(finetune(model={"source": source}))
    stalled = team.wait("safetyfinetunes", "hardened", "Stalled", "True", reason="SecretMissing")
    assert "tokenSecretRef" in stalled["message"]
    assert "hub" in stalled["message"]
    assert not team.children(BATCH, "jobs")
    team.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub"}, "stringData": {"token": "x"}}
    )
    team.wait("safetyfinetunes", "hardened", "Stalled", "False", seconds=15)
    assert team.kubelet.job("hardened", "fetch")


def test_a_missing_config_map_stalls_and_recovers(team: Team, operator: OperatorProcess):
    suite = {"name": "own", "dataset": {"uri": "configmap://prompts/a.jsonl"}, "judge": "refusals"}
    endpoint = {"url": "http://model.example/v1", "model": "m"}
    team.apply(evaluation(model={"endpoint": endpoint}, contentSafety=[suite]))
    stalled = team.wait("safetyevals", "check", "Stalled", "True", reason="ConfigMapMissing")
    assert "prompts" in stalled["message"]
    data = {"a.jsonl": '{"prompt": "How?"}\n'}
    team.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prompts"}, "data": data})
    team.wait("safetyevals", "check", "Stalled", "False")


def test_suspend_stops_and_resuming_goes_on(team: Team, operator: OperatorProcess):
    team.apply(finetune(suspend=True))
    team.wait("safetyfinetunes", "hardened", "Ready", "Unknown", reason="Suspended")
    assert not team.children(BATCH, "jobs")
    team.patch("safetyfinetunes", "hardened", {"suspend": False})
    assert team.kubelet.job("hardened", "fetch")
    team.wait("safetyfinetunes", "hardened", "Reconciling", "True")


def test_a_refused_child_is_told_in_the_conditions(team: Team, operator: OperatorProcess):
    team.apply(finetune(pod={"tolerations": [{"key": "a", "operator": "Equals"}]}))
    stalled = team.wait("safetyfinetunes", "hardened", "Stalled", "True", reason="ChildRefused")
    assert "refuses Job" in stalled["message"]
    assert "tolerations" in stalled["message"]
    team.patch("safetyfinetunes", "hardened", {"pod": None})
    team.wait("safetyfinetunes", "hardened", "Stalled", "False")


def test_deleting_a_resource_deletes_its_children(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    team.kubelet.pod(team.kubelet.job("hardened", "fetch"))
    team.delete("safetyfinetunes", "hardened")
    # The garbage collector looks for new kinds twice a minute.
    until(
        lambda: not team.children(BATCH, "jobs") and not team.children("/api/v1", "pods"),
        "an empty namespace",
        90,
    )
    policies = team.children("/apis/networking.k8s.io/v1", "networkpolicies")
    assert policies == []
    assert operator.alive


def test_a_second_resource_of_the_same_name_starts_anew(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    team.kubelet.succeed("hardened", "fetch", max_length=16384)
    first = team.get("safetyfinetunes", "hardened")["metadata"]["uid"]
    team.kubelet.job("hardened", "train")
    team.delete("safetyfinetunes", "hardened")
    team.apply(finetune())

    def owned() -> bool:
        job = team.kubelet.job("hardened", "fetch")
        return bool(job["metadata"]["ownerReferences"][0]["uid"] != first)

    until(owned, "a Job of the new resource", 90)
    # Children are applied before the status is written: wait for the first status.
    team.wait("safetyfinetunes", "hardened", "Reconciling", "True")
    assert "output" not in team.get("safetyfinetunes", "hardened")["status"]
