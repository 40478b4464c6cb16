"""Which children count as not moving."""

from typing import Any

import pytest
from tests.unit.cluster.objects import ended, make_child, make_pod, waiting

from safety_operator.cluster.stuck import find_stuck, wanted_pods
from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import QUEUE_LABEL

STARTED = {"startTime": "2026-11-21T12:00:00Z"}
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}


def make_job(spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return make_child("job") | {"spec": spec or {}, "status": STARTED | status}


def found(job: dict[str, Any], *pods: dict[str, Any], claims: dict[str, Any] | None = None) -> list[str]:
    stuck = find_stuck({ObjectKey("Job", "job"): job}, {"job": list(pods)}, (claims or {}).get)
    return [f"{one.what} {one.name}" for one in stuck]


def pending(name: str = "p", **more: Any) -> dict[str, Any]:
    return make_pod(name, "job", phase="Pending", **more)


def test_a_job_without_the_pods_that_it_should_have_does_not_move():
    assert found(make_job()) == ["missing pods job"]
    assert found(make_job(), make_pod("p", "job", **ended(1))) == ["missing pods job"]
    assert found(make_job(), make_pod("p", "job", phase="Running")) == []
    two = make_job({"parallelism": 2, "completions": 2})
    assert found(two, make_pod("p", "job", phase="Running")) == ["missing pods job"]
    assert wanted_pods(make_job({"parallelism": 2, "completions": 2}, succeeded=1)) == 1


def test_a_pod_that_is_to_end_is_what_its_job_waits_for():
    ending = make_pod("p", "job", phase="Running")
    ending["metadata"]["deletionTimestamp"] = "2026-11-21T12:05:00Z"
    ending["spec"]["nodeName"] = "lost"
    assert found(make_job(), ending) == ["ending pod p"]
    assert found(make_job(), ending, make_pod("q", "job", phase="Running")) == []
    ending["status"]["phase"] = "Failed"
    assert found(make_job(), ending) == ["missing pods job"]


@pytest.mark.parametrize(
    "job",
    [
        make_job(conditions=[{"type": "Complete", "status": "True"}]),
        make_job(conditions=[{"type": "Failed", "status": "True"}]),
        make_child("job") | {"spec": {}, "status": {}},
        make_job() | {"metadata": make_job()["metadata"] | {"deletionTimestamp": "now"}},
    ],
    ids=["complete", "failed", "not seen by its controller", "going"],
)
def test_a_job_that_is_over_or_new_costs_no_question(job):
    assert found(job) == []


def test_a_suspended_job_waits_for_its_queue_and_without_one_for_nobody():
    job = make_job({"suspend": True})
    assert found(job) == []
    job["metadata"]["labels"][QUEUE_LABEL] = "team-a"
    assert found(job) == ["suspended job"]


def test_a_pending_pod_does_not_move_unless_it_says_why_itself():
    assert found(make_job(), pending()) == ["pending pod p"]
    pull = make_pod("p", "job", **waiting("ImagePullBackOff", "no such image"))
    assert found(make_job(), pull) == []
    assert found(make_job(), pending(conditions=[UNSCHEDULABLE])) == []


def test_a_claim_without_a_volume_is_asked_about_and_a_bound_one_is_not():
    pod = pending(conditions=[UNSCHEDULABLE])
    pod["spec"]["volumes"] = [{"persistentVolumeClaim": {"claimName": name}} for name in ("a", "b", "gone")]
    claims = {
        name: make_child(name) | {"status": {"phase": p}} for name, p in (("a", "Bound"), ("b", "Pending"))
    }
    assert found(make_job(), pod, claims=claims) == ["unbound claim b"]


def test_a_pod_whose_claim_waits_for_a_volume_on_a_chosen_node_is_not_called_overlooked():
    pod = pending()
    pod["spec"]["volumes"] = [{"persistentVolumeClaim": {"claimName": "a"}}]
    claim = make_child("a") | {"status": {"phase": "Pending"}}
    assert found(make_job(), pod, claims={"a": claim}) == ["pending pod p", "unbound claim a"]
    claim["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": "n1"}
    assert found(make_job(), pod, claims={"a": claim}) == ["unbound claim a"]


def test_of_many_pending_pods_the_youngest_two_are_asked_about():
    pods = [make_pod(f"p{i}", "job", born=f"2026-11-21T12:00:0{i}Z", phase="Pending") for i in range(5)]
    five = make_job({"parallelism": 5, "completions": 5})
    assert found(five, *pods) == ["pending pod p4", "pending pod p3"]


def test_of_a_deployment_only_pods_of_the_present_template_count():
    labels = {"modelsafety.dev/template": "new", "pod-template-hash": "b"}
    server = make_child("server") | {"spec": {"template": {"metadata": {"labels": labels}}}}
    new, old = pending("new"), pending("old")
    new["metadata"]["labels"] |= labels
    old["metadata"]["labels"] |= {"modelsafety.dev/template": "old", "pod-template-hash": "a"}
    stuck = find_stuck({ObjectKey("Deployment", "server"): server}, {"server": [new, old]}, {}.get)
    assert [one.name for one in stuck] == ["new"]
