"""What helps, by the words that clusters really use."""

import pytest

from safety_operator.planning.engine.problems import pod_problem, pod_words, start_problem
from safety_operator.planning.engine.remedies import remedy_of
from safety_operator.state.observed import PodFailure

CREATE = 'Error creating: pods "x-fetch-1a2b" is forbidden: '
QUOTA = CREATE + "exceeded quota: q, "
CASES = [
    ("NotEnded", "it is to end, and node lost does not say that it has", "kubectl describe node", False),
    (
        "FailedCreate",
        CREATE + "exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0",
        "raise it",
        True,
    ),
    (
        "FailedCreate",
        QUOTA + "requested: requests.memory=5Gi, used: requests.memory=0, limited: requests.memory=4Gi",
        "too small for even one",
        True,
    ),
    (
        "FailedCreate",
        CREATE
        + "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=8, "
        "limited: requests.nvidia.com/gpu=8",
        "when others free the quota",
        False,
    ),
    (
        "FailedCreate",
        CREATE + "failed quota: team: must specify limits.cpu for: worker; limits.memory for: worker",
        "LimitRange",
        True,
    ),
    ("FailedCreate", CREATE + "maximum memory usage per Pod is 1Gi, but limit is 2Gi", "LimitRange", True),
    (
        "FailedCreate",
        CREATE + 'violates PodSecurity "restricted:latest": seccompProfile (pod must not set ...)',
        "Pod Security level",
        True,
    ),
    (
        "FailedCreate",
        CREATE + "unable to validate against any security context constraint: [provider restricted-v2: "
        ".spec.securityContext.fsGroup: Invalid value: []int64{1000}: 1000 is not an allowed group]",
        "security context constraint",
        True,
    ),
    (
        "FailedCreate",
        'Error creating: admission webhook "validate.kyverno.svc-fail" denied the request: no team label',
        "admission policy",
        True,
    ),
    (
        "FailedCreate",
        CREATE + "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression",
        "admission policy",
        True,
    ),
    (
        "FailedCreate",
        'Error creating: Internal error occurred: failed calling webhook "istio": no endpoints available',
        "does not answer",
        False,
    ),
    ("FailedCreate", CREATE + "no PriorityClass with name high was found", "spec.pod", True),
    (
        "FailedAttachVolume",
        'Multi-Attach error for volume "pvc-1"',
        "ReadWriteMany",
        False,
    ),
    (
        "FailedMount",
        'MountVolume.SetUp failed for volume "x" : secret "hub" not found',
        "Create what is",
        True,
    ),
    (
        "FailedMount",
        "Unable to attach or mount volumes: timed out waiting for the condition",
        "the claim",
        False,
    ),
    ("FailedCreatePodSandBox", "plugin type=calico failed: no IPs", "network plugin", False),
    ("Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", "add a node", False),
    (
        "Unschedulable",
        "0/1 nodes are available: 1 had untolerated taint.",
        "tolerations",
        False,
    ),
    ("Unschedulable", "pod has unbound immediate PersistentVolumeClaims.", "describe pvc", False),
    (
        "Unschedulable",
        "unbound immediate PersistentVolumeClaims. PersistentVolumeClaim a: ProvisioningFailed: no class",
        "StorageClass",
        True,
    ),
    ("ImagePullBackOff", "Back-off pulling image: unauthorized", "imagePullSecrets", True),
    ("CreateContainerConfigError", 'secret "hub" not found', "Create what is missing", True),
    (
        "CreateContainerConfigError",
        'failed to create subPath directory for volumeMount "start-cache" of container "clean-start-cache"',
        "cannot be written",
        True,
    ),
    ("CreateContainerConfigError", "container has runAsNonRoot and image will run as root", "not root", True),
    ("SomethingNew", "words that no rule knows", "", False),
]


@pytest.mark.parametrize(("reason", "message", "text", "stalled"), CASES)
def test_words_of_a_cluster_have_a_remedy_and_say_whether_waiting_helps(reason, message, text, stalled):
    failure = PodFailure("", "", None, reason, message)
    found = remedy_of(failure)
    assert text in found.text
    assert found.stalled is stalled
    problem = pod_problem(failure, "Stage fetch")
    assert message.rstrip(".") in problem.message
    assert problem.message.endswith(found.text)


def test_what_a_program_wrote_before_it_ended_has_no_remedy_of_the_clusters():
    log = PodFailure("p", "server", 1, "Error", "exceeded quota: q, requested: a=2, used: a=0, limited: a=1")
    assert not remedy_of(log).text
    assert not remedy_of(log).stalled
    assert "memory limit" in remedy_of(PodFailure("p", "server", 137, "OOMKilled", "")).text


def test_a_pod_that_ran_has_no_problem_with_its_start():
    assert start_problem(PodFailure("p", "worker", 1, "Error", ""), "Stage x") is None
    assert start_problem(PodFailure("p", "", None, "Evicted", "disk", ended=True), "Stage x") is None
    assert start_problem(PodFailure("p", "", None, "AnythingElse", ""), "Stage x") is not None


def test_words_without_a_pod_say_so():
    assert pod_words(PodFailure("", "", None, "FailedCreate", "no")) == "no pod: FailedCreate: no"
    assert (
        pod_words(PodFailure("p", "c", 2, "Error", "no")) == "pod p, container c: Error with exit code 2: no"
    )
