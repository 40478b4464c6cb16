"""What earlier resources and other people left under the names of children, on a real API server."""

import json

from tests.integration.conftest import Starter, Team
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_life_cycle import BATCH, finetune, resource
from tests.until import until

APPS = "/apis/apps/v1"
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "busy"}}
"""A pod with a node goes when that says so, and there is none."""
GUARDED = {
    "model": {"source": {"uri": "hf://org/model@main"}},
    "gate": {"none": True},
    "guardrails": {"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}},
}


def orphan(team: Team, plural: str, name: str) -> None:
    team.server.kubectl("delete", "-n", team.namespace, f"{plural}/{name}", "--cascade=orphan")


def stalled(team: Team, plural: str, name: str, *words: str) -> str:
    def look() -> str | None:
        found = team.condition(plural, name, "Stalled")
        message = str(found.get("message", ""))
        told = found.get("status") == "True" and found.get("reason") == "ObjectInTheWay"
        return message if told and all(word in message for word in words) else None

    found: str = until(look, f"the objects in the way of {name}: {words}")
    return found


def obey(team: Team, message: str) -> None:
    """Run the command that a message names."""
    command = message.partition("kubectl ")[2].partition(".")[0].partition(",")[0]
    team.server.kubectl(*command.split(), "--wait=false")


def test_an_orphaned_job_is_told_and_what_is_said_helps(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    team.kubelet.run("hardened", "fetch")
    (before,) = team.children(BATCH, "jobs")
    orphan(team, "safetyfinetunes", "hardened")
    until(lambda: not team.children(BATCH, "jobs")[0]["metadata"].get("ownerReferences"), "an orphan")
    team.apply(finetune())
    message = stalled(team, "safetyfinetunes", "hardened", before["metadata"]["name"], "still runs")
    obey(team, message)
    team.wait("safetyfinetunes", "hardened", "Stalled", "False")
    after = until(
        lambda: [j for j in team.children(BATCH, "jobs") if j["metadata"].get("ownerReferences")], "a Job"
    )
    assert after[0]["metadata"]["uid"] != before["metadata"]["uid"]


def test_an_orphaned_job_that_is_over_makes_room_by_itself(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    team.kubelet.succeed("hardened", "fetch")
    (before, *_) = team.children(BATCH, "jobs")
    until(lambda: len(team.children(BATCH, "jobs")) == 2, "the next stage")
    orphan(team, "safetyfinetunes", "hardened")
    train = team.kubelet.job("hardened", "train")["metadata"]["name"]
    team.server.kubectl("delete", "-n", team.namespace, f"job/{train}")
    team.apply(finetune())

    def renewed() -> bool:
        jobs = team.children(BATCH, "jobs")
        return bool(jobs) and all(
            job["metadata"]["uid"] != before["metadata"]["uid"] and job["metadata"].get("ownerReferences")
            for job in jobs
        )

    until(renewed, "a new Job")
    # The Job's controller may have said only after the first look that the Job is over.
    team.wait("safetyfinetunes", "hardened", "Stalled", "False")


def test_an_orphaned_guarded_model_is_taken_over_and_its_key_is_told(team: Team, operator: OperatorProcess):
    guarded = resource("GuardedDeployment", "chat", GUARDED)
    team.apply(guarded)
    team.kubelet.succeed("chat", "fetch")
    before = until(lambda: len(d := team.children(APPS, "deployments")) == 3 and d, "the servers")
    orphan(team, "guardeddeployments", "chat")
    until(
        lambda: not any(d["metadata"].get("ownerReferences") for d in team.children(APPS, "deployments")),
        "orphans",
    )
    team.apply(guarded)
    uid = team.get("guardeddeployments", "chat")["metadata"]["uid"]

    def adopted() -> bool:
        owners = [d["metadata"].get("ownerReferences") for d in team.children(APPS, "deployments")]
        return all(o and [ref["uid"] for ref in o] == [uid] for o in owners)

    until(adopted, "adoption")
    after = team.children(APPS, "deployments")
    assert {d["metadata"]["uid"] for d in after} == {d["metadata"]["uid"] for d in before}
    message = stalled(team, "guardeddeployments", "chat", "Secret chat-api-key")
    obey(team, message)
    # Then its claim may be what stands still, as there is no storage class.
    until(
        lambda: team.condition("guardeddeployments", "chat", "Stalled").get("reason") != "ObjectInTheWay",
        "nothing to be in the way",
    )


def test_foreign_objects_stay_and_are_told(team: Team, start_operator: Starter):
    first = start_operator()
    guarded = resource("GuardedDeployment", "chat", GUARDED)
    team.apply(guarded)
    team.kubelet.succeed("chat", "fetch")
    until(lambda: len(team.children(APPS, "deployments")) == 3, "the servers")
    services = [s["metadata"]["name"] for s in team.children("/api/v1", "services")]
    every = [c["metadata"]["name"] for c in team.children("/api/v1", "configmaps")]
    maps = [name for name in every if "-rails-config-" in name]
    team.delete("guardeddeployments", "chat")
    until(
        lambda: not team.children(APPS, "deployments") and not team.children("/api/v1", "services"), "an end"
    )
    first.stop()
    port = {"ports": [{"port": 80}]}
    for name in services:
        team.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": port})
    for name in maps:
        team.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}})
    team.apply(guarded)
    start_operator("second")
    team.kubelet.succeed("chat", "fetch")
    message = stalled(team, "guardeddeployments", "chat", *services, *maps, "give this resource another name")
    found = team.server.http.get(f"/api/v1/namespaces/{team.namespace}/services/{services[0]}").json()
    assert "ownerReferences" not in found["metadata"]
    assert found["spec"]["ports"][0]["port"] == 80
    obey(team, message)
    team.wait("guardeddeployments", "chat", "Stalled", "False")


def test_a_leftover_with_the_uid_of_an_earlier_resource_goes_and_work_begins(
    team: Team, start_operator: Starter
):
    first = start_operator()
    team.apply(finetune())
    job = team.kubelet.job("hardened", "fetch")
    first.stop()
    team.delete("safetyfinetunes", "hardened")
    until(lambda: not team.children(BATCH, "jobs"), "an end")
    stale = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {k: job["metadata"][k] for k in ("name", "labels", "annotations", "ownerReferences")},
        "spec": {"template": job["spec"]["template"] | {"metadata": {"labels": {}}}, "backoffLimit": 0},
    }
    stale["spec"]["template"]["metadata"] = {"labels": {"app": "restored"}}
    team.apply(finetune(suspend=True))
    answer = team.server.http.post(f"{BATCH}/namespaces/{team.namespace}/jobs", json=stale)
    assert answer.is_success, answer.text
    team.patch("safetyfinetunes", "hardened", {"suspend": False})
    start_operator("second")
    uid = team.get("safetyfinetunes", "hardened")["metadata"]["uid"]
    until(
        lambda: [
            j for j in team.children(BATCH, "jobs") if j["metadata"]["ownerReferences"][0]["uid"] == uid
        ],
        "a Job of its own",
        seconds=60,
    )


def test_a_job_that_is_deleted_by_hand_comes_back_once_its_pod_has_ended(
    team: Team, operator: OperatorProcess
):
    team.server.kubectl("apply", "-f", "-", stdin=json.dumps(NODE))
    team.apply(finetune())
    job = team.kubelet.job("hardened", "fetch")
    pod = team.kubelet.pod(job)
    path = f"/api/v1/namespaces/{team.namespace}/pods/{pod['metadata']['name']}/binding"
    binding = {"metadata": {"name": pod["metadata"]["name"]}, "target": {"kind": "Node", "name": "busy"}}
    assert team.server.http.post(path, json=binding).is_success
    team.kubelet.run("hardened", "fetch")
    team.server.kubectl("delete", "-n", team.namespace, f"job/{job['metadata']['name']}")
    found = team.wait("safetyfinetunes", "hardened", "Ready", "Unknown", reason="NotReady")
    assert f"pod {pod['metadata']['name']}, whose Job is gone, has not ended" in found["message"]
    assert team.children(BATCH, "jobs") == []
    team.kubelet.bury(pod)
    assert team.kubelet.job("hardened", "fetch")["metadata"]["uid"] != job["metadata"]["uid"]
