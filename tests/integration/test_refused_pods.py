"""Pods that the cluster refuses or does not start: its own words reach the conditions, and go again.

Real: API server, quotas, LimitRanges, admission policies, the controllers of Jobs and Deployments, and the
operator. Fakes: the node, and what a test calls a fake, by events as a node or a controller writes them.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.conftest import MERGE, Team
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_life_cycle import finetune, resource
from tests.until import until

POLICY = "/apis/admissionregistration.k8s.io/v1"
SECONDS = 60
"""Words of the cluster are in the condition within a minute."""


def told(team: Team, *words: str, plural: str = "safetyfinetunes", name: str = "hardened") -> dict[str, Any]:
    """Wait until Ready's message holds all words; gives the condition."""

    def look() -> dict[str, Any] | None:
        found = team.condition(plural, name, "Ready")
        return found if all(word in found.get("message", "") for word in words) else None

    found: dict[str, Any] = until(look, f"{words} in Ready of {name}", SECONDS)
    return found


def goes_on(team: Team) -> None:
    """Wait for the pod, which the Job's controller tries to make once a minute; let it run; see it told."""
    path = f"/api/v1/namespaces/{team.namespace}/pods"
    until(lambda: team.server.http.get(path).json()["items"], "a pod", 2 * SECONDS)
    team.kubelet.run("hardened", "fetch")
    team.wait("safetyfinetunes", "hardened", "Ready", "Unknown", reason="Running", seconds=SECONDS)


def quota(name: str = "q", **hard: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}}


def test_a_quota_of_no_pods_is_told_and_forgotten_when_it_is_raised(team: Team, operator: OperatorProcess):
    team.apply(quota(pods="0"), finetune())
    found = told(team, "exceeded quota: q, requested: pods=1", "raise it")
    assert (found["status"], found["reason"]) == ("False", "PodCannotStart")
    assert team.condition("safetyfinetunes", "hardened", "Stalled")["status"] == "True"
    team.apply(quota(pods="10"))
    goes_on(team)
    assert team.condition("safetyfinetunes", "hardened", "Stalled")["status"] == "False"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"min": {"memory": "999Gi"}}, "minimum memory usage per Container is 999Gi"),
        ({"max": {"memory": "16Mi"}}, "must be less than or equal to memory limit"),
    ],
    ids=["min", "max"],
)
def test_a_limit_range_that_refuses_pods_is_told(
    team: Team, operator: OperatorProcess, limits: dict[str, Any], words: str
):
    meta = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "odd"}}
    team.apply(meta | {"spec": {"limits": [{"type": "Container"} | limits]}}, finetune())
    told(team, words, "LimitRange")


def test_an_admission_policy_that_refuses_pods_is_told(team: Team, operator: OperatorProcess):
    name = f"no-pods-{team.namespace}"[:60]
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    own = {"matchLabels": {"kubernetes.io/metadata.name": team.namespace}}
    policy = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": own},
        "validations": [{"expression": "false", "message": "pods need a cost centre"}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    kinds = (("ValidatingAdmissionPolicy", policy), ("ValidatingAdmissionPolicyBinding", binding))
    api = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    for kind, spec in kinds:
        team.server.kubectl("apply", "-f", "-", stdin=json.dumps(api | {"kind": kind, "spec": spec}))
    until(lambda: is_refused(team), "the policy to be enforced", SECONDS)
    team.apply(finetune())
    found = told(team, "pods need a cost centre", "An admission policy of the cluster")
    assert found["status"] == "False"


JOBS = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
JOB = {
    "metadata": {"name": "probe"},
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}},
}


def test_a_webhook_that_keeps_jobs_from_being_made_is_told(team: Team, operator: OperatorProcess):
    """As Kueue's does while Kueue is down."""
    name = f"down-{team.namespace}"[:60]
    hook = {
        "name": "down.example.com",
        "rules": [JOBS],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": 2,
        "admissionReviewVersions": ["v1"],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": team.namespace}},
        "clientConfig": {"url": "https://127.0.0.1:9/none"},
    }
    meta = {"apiVersion": POLICY.removeprefix("/apis/"), "metadata": {"name": name}, "webhooks": [hook]}
    body = json.dumps(meta | {"kind": "ValidatingWebhookConfiguration"})
    team.server.kubectl("apply", "-f", "-", stdin=body)
    path = f"/apis/batch/v1/namespaces/{team.namespace}/jobs?dryRun=All"
    until(lambda: not team.server.http.post(path, json=JOB).is_success, "the webhook to be asked", SECONDS)
    team.apply(finetune())
    found = told(team, "failed calling webhook", "down.example.com", "does not answer: fix it")
    assert (found["status"], found["reason"]) == ("Unknown", "ChildRefused")
    team.server.kubectl("delete", "validatingwebhookconfigurations", name)
    until(lambda: team.children("/apis/batch/v1", "jobs"), "a Job", SECONDS)


def is_refused(team: Team) -> bool:
    pod = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    path = f"/api/v1/namespaces/{team.namespace}/pods?dryRun=All"
    return not team.server.http.post(path, json=pod).is_success


def test_pod_security_that_refuses_pods_is_told(team: Team, operator: OperatorProcess):
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    answer = team.server.http.patch(
        f"/api/v1/namespaces/{team.namespace}", json={"metadata": {"labels": label}}, headers=MERGE
    )
    assert answer.is_success
    unconfined = {"container.apparmor.security.beta.kubernetes.io/worker": "unconfined"}
    team.apply(finetune(pod={"annotations": unconfined}))
    told(team, 'violates PodSecurity "restricted', "Change spec.pod")
    team.patch("safetyfinetunes", "hardened", {"pod": None})
    goes_on(team)


def test_a_quota_of_replica_sets_is_told(team: Team, operator: OperatorProcess):
    guard = {"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}}
    spec = {"model": {"source": {"uri": "hf://org/model"}}, "gate": {"none": True}, "guardrails": guard}
    team.apply(quota(**{"count/replicasets.apps": "0"}), resource("GuardedDeployment", "g", spec))
    team.kubelet.succeed("g", "fetch")
    told(
        team, "exceeded quota: q, requested: count/replicasets.apps=1", plural="guardeddeployments", name="g"
    )


Hinder = Callable[[Team, dict[str, Any]], None]
NODE_SAYS = [
    (
        "FailedAttachVolume",
        'Multi-Attach error for volume "pvc-1": already used by pod(s) other',
        "ReadWriteMany",
    ),
    (
        "FailedMount",
        'MountVolume.SetUp failed for volume "c": configmap "gone" not found',
        "Create what is missing",
    ),
    ("FailedMount", "mount.nfs: Connection timed out for nfs.example.com:/export", "look at the claim"),
    ("FailedCreatePodSandBox", "failed to set up pod network: no IP addresses left", "network plugin"),
]


@pytest.mark.parametrize(
    ("reason", "words", "remedy"), NODE_SAYS, ids=[f"{r}{i}" for i, (r, *_) in enumerate(NODE_SAYS)]
)
def test_what_a_fake_node_says_is_told_until_the_pod_runs(
    team: Team, operator: OperatorProcess, reason: str, words: str, remedy: str
):
    team.apply(finetune())
    pod = team.kubelet.pod(team.kubelet.job("hardened", "fetch"))
    team.kubelet.place(pod)
    team.kubelet.tell(pod, reason, words)
    told(team, pod["metadata"]["name"], reason, words, remedy)
    team.kubelet.run("hardened", "fetch")
    team.wait("safetyfinetunes", "hardened", "Ready", "Unknown", reason="Running", seconds=SECONDS)


def test_a_claim_without_a_volume_is_told(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    team.kubelet.place(team.kubelet.pod(team.kubelet.job("hardened", "fetch")))
    told(
        team, "PersistentVolumeClaim safety-artifacts: FailedBinding", "no persistent volumes", "StorageClass"
    )


def test_a_job_that_a_queue_holds_back_says_so_and_is_no_fault(team: Team, operator: OperatorProcess):
    """Kueue is a fake: it suspends the Job, makes a Workload, and says on it what it waits for."""
    team.apply(finetune(queueName="team-a"))
    job = team.kubelet.job("hardened", "fetch")
    path = f"/apis/batch/v1/namespaces/{team.namespace}/jobs/{job['metadata']['name']}"
    assert team.server.http.patch(path, json={"spec": {"suspend": True}}, headers=MERGE).is_success
    team.kubelet.tell(
        job, "CreatedWorkload", f"Created Workload: {team.namespace}/job-fetch-1a2b3", type_="Normal"
    )
    workload = {"kind": "Workload", "metadata": {"name": "job-fetch-1a2b3", "uid": "4711"}}
    words = (
        "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu, 1 more needed"
    )
    team.kubelet.tell(workload, "Pending", words)
    found = told(team, "waiting in queue team-a", words)
    assert (found["status"], found["reason"]) == ("Unknown", "Queued")
    assert team.condition("safetyfinetunes", "hardened", "Stalled")["status"] == "False"
    assert team.get("safetyfinetunes", "hardened")["status"]["state"] == "Waiting"
    assert team.server.http.patch(path, json={"spec": {"suspend": False}}, headers=MERGE).is_success
    assert team.kubelet.run("hardened", "fetch")
    team.wait("safetyfinetunes", "hardened", "Ready", "Unknown", reason="Running", seconds=SECONDS)
