"""What pods say: records and last words."""

from typing import Any

import pytest
from tests.unit.cluster.objects import ended, make_child, make_pod, waiting

from safety_operator.cluster.pods import (
    MAX_MESSAGE,
    child_of,
    failure_of,
    newest_of,
    record_of,
    refused_pods,
    unready,
)
from safety_operator.state.labels import LABEL_INSTANCE, LABEL_TEMPLATE
from safety_operator.state.reading import parse_message
from safety_records.result import FailureClass, StageFailure, StageResult


def record(
    rows: int | None = None, *, failure: bool = False, class_: FailureClass = FailureClass.INPUT
) -> str:
    words = StageFailure(failure=class_, reason="BadData", message="row 3 has no prompt")
    return StageResult(
        stage="generate", inputs_hash="h", rows=rows, failure=words if failure else None
    ).to_json()


def test_a_pod_belongs_to_its_job_or_its_deployment():
    assert child_of(make_pod("p", "job")) == "job"
    pod = make_child("server-abc-x1", labels={"pod-template-hash": "abc"})
    pod["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "base-target-1234-abc"}]
    assert child_of(pod) == "base-target-1234"
    assert child_of(make_child("stray")) == ""


def test_a_pod_of_a_ray_cluster_belongs_to_the_ray_job_that_its_label_names():
    labels = {"ray.io/cluster": "train-x7k", LABEL_INSTANCE: "train"}
    assert child_of(make_child("train-x7k-head-1", labels=labels)) == "train"
    assert child_of(make_child("somebody-elses", labels={"ray.io/cluster": "theirs"})) == ""


def test_a_log_tail_or_an_unknown_field_is_no_record():
    assert parse_message("Traceback (most recent call last):") is None
    assert parse_message('{"event": "progress"}') is None
    assert parse_message(record(3)) == StageResult(stage="generate", inputs_hash="h", rows=3)


def test_a_success_counts_more_than_a_later_failure():
    good = make_pod("a", "job", born="2026-11-21T12:00:00Z", **ended(0, record(3)))
    bad = make_pod("b", "job", born="2026-11-21T13:00:00Z", **ended(42, record(failure=True)))
    found = record_of([good, bad])
    assert found is not None
    assert found.rows == 3


def test_the_record_of_index_zero_counts():
    pods = [make_pod(str(i), "job", index=i, **ended(0, record(i))) for i in (2, 0, 1)]
    found = record_of(pods)
    assert found is not None
    assert found.rows == 0


def test_an_index_that_is_no_number_counts_as_the_first():
    pod = make_pod("a", "job", **ended(0, record(3)))
    pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] = "x"
    found = record_of([pod])
    assert found is not None
    assert found.rows == 3


def test_the_latest_of_several_failures_counts():
    early = make_pod("a", "job", born="2026-11-21T12:00:00Z", **ended(1, record(1, failure=True)))
    late = make_pod("b", "job", born="2026-11-21T13:00:00Z", **ended(1, record(2, failure=True)))
    found = record_of([late, early])
    assert found is not None
    assert found.rows == 2
    assert record_of([]) is None


@pytest.mark.parametrize(("cause", "class_"), [(42, FailureClass.INPUT), (1, FailureClass.INFRASTRUCTURE)])
def test_what_ended_one_pod_counts_before_the_interruption_of_the_others(cause, class_):
    lost = record(0, failure=True, class_=FailureClass.INFRASTRUCTURE)
    first = make_pod("a", "job", index=0, **ended(143, lost))
    other = make_pod("b", "job", index=1, **ended(cause, record(1, failure=True, class_=class_)))
    for pods in ([first, other], [other, first]):
        found, failure = record_of(pods), failure_of(pods)
        assert found is not None
        assert failure is not None
        assert (found.rows, failure.exit_code) == (1, cause)


def test_a_pod_without_a_node_counts_before_the_one_that_waited_for_it_in_vain():
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    pending = make_pod("b", "job", index=1, phase="Pending", conditions=[condition])
    waited = make_pod("a", "job", index=0, **ended(1, "PeersMissing: 1 of 2 pods came"))
    for pods in ([pending, waited], [waited, pending]):
        failure = failure_of(pods)
        assert failure is not None
        assert (failure.pod, failure.reason) == ("b", "Unschedulable")


def test_the_workers_own_words_are_the_failure():
    failure = failure_of([make_pod("a", "job", **ended(42, record(failure=True)))])
    assert failure is not None
    assert (failure.exit_code, failure.message) == (42, "row 3 has no prompt")


def test_the_end_of_a_long_log_is_kept():
    failure = failure_of([make_pod("a", "job", **ended(137, "x" * 5000 + "the cause", "OOMKilled"))])
    assert failure is not None
    assert failure.reason == "OOMKilled"
    assert failure.message.endswith("the cause")
    assert len(failure.message) == MAX_MESSAGE


@pytest.mark.parametrize("code", [137, 143])
def test_the_log_of_a_container_that_somebody_ended_is_not_told_as_the_reason(code: int):
    failure = failure_of([make_pod("a", "job", **ended(code, "step 3 of 12", "Error"))])
    assert failure is not None
    assert (failure.exit_code, failure.message) == (code, "")


def test_a_pod_that_lost_another_does_not_hide_why_that_one_ended():
    killed = make_pod("a", "job", born="2026-11-21T12:00:00Z", **ended(137, "", "OOMKilled"))
    lost = make_pod("b", "job", born="2026-11-21T13:00:00Z", **ended(143))
    for pods, name in (([killed, lost], "a"), ([lost], "b")):
        failure = failure_of(pods)
        assert failure is not None
        assert failure.pod == name


def test_a_pod_that_cannot_start_says_why():
    failure = failure_of([make_pod("a", "job", **waiting("ImagePullBackOff", "no such image"))])
    assert failure is not None
    assert (failure.reason, failure.exit_code, failure.message) == ("ImagePullBackOff", None, "no such image")
    assert failure_of([make_pod("a", "job", **waiting("ContainerCreating", ""))]) is None


def test_a_crash_loop_shows_what_crashed():
    status = waiting("CrashLoopBackOff", "back-off 10s restarting")
    status["containerStatuses"][0]["lastState"] = {"terminated": {"exitCode": 1, "message": "no GPU"}}
    failure = failure_of([make_pod("a", "job", **status)])
    assert failure is not None
    assert (failure.exit_code, failure.message) == (1, "no GPU")


@pytest.mark.parametrize("reason", ["Unschedulable", "SchedulingGated"])
def test_a_pod_without_a_node_shows_the_schedulers_words(reason):
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/1 nodes"}
    failure = failure_of([make_pod("a", "job", phase="Pending", conditions=[condition])])
    assert failure is not None
    assert (failure.reason, failure.message) == (reason, "0/1 nodes")


def test_a_pod_that_is_kept_from_its_scheduler_says_so():
    message = "Scheduling is blocked due to non-empty scheduling gates"
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message}
    failure = failure_of([make_pod("a", "job", phase="Pending", conditions=[gated])])
    assert failure is not None
    assert (failure.reason, failure.message, failure.ended) == ("SchedulingGated", message, False)


def test_an_eviction_counts_before_the_signal_that_its_container_got():
    pod = make_pod("a", "job", **ended(137) | {"reason": "Evicted", "message": "low on memory"})
    failure = failure_of([pod])
    assert failure is not None
    assert (failure.reason, failure.message, failure.exit_code) == ("Evicted", "low on memory", None)


def test_an_evicted_pod_shows_its_reason():
    failure = failure_of([make_pod("a", "job", phase="Failed", reason="Evicted", message="disk pressure")])
    assert failure is not None
    assert (failure.reason, failure.message) == ("Evicted", "disk pressure")


def test_a_pod_that_works_has_no_failure():
    running = {"phase": "Running", "containerStatuses": [{"name": "worker", "state": {"running": {}}}]}
    assert failure_of([make_pod("a", "job", **running)]) is None


def replica(name: str, template: str, pod_hash: str, born: str, **status: Any) -> dict[str, Any]:
    labels = {LABEL_TEMPLATE: template, "pod-template-hash": pod_hash}
    pod = make_child(name, labels=labels) | {"status": status}
    pod["metadata"]["creationTimestamp"] = born
    return pod


def deployment(template: str) -> dict[str, Any]:
    labels = {"metadata": {"labels": {LABEL_TEMPLATE: template}}}
    return make_child("server") | {"spec": {"template": labels}}


def test_only_pods_of_the_present_template_speak_for_an_update():
    old = replica("old", "t1", "aaa", "2026-11-21T14:00:00Z", **waiting("ImagePullBackOff", "of the old"))
    new = replica("new", "t2", "bbb", "2026-11-21T13:00:00Z", **waiting("ErrImagePull", "typo"))
    assert newest_of(deployment("t2"), [old, new]) == [new]
    assert newest_of(deployment("t1"), [old, new]) == [old]
    assert newest_of(deployment("t3"), [old, new]) == []


def test_after_a_restart_by_hand_the_youngest_replica_set_speaks():
    before = replica("a", "t1", "aaa", "2026-11-21T12:00:00Z")
    after = [replica(name, "t1", "bbb", f"2026-11-21T13:0{i}:00Z") for i, name in enumerate("bc")]
    assert newest_of(deployment("t1"), [before, *after]) == after


def test_a_pod_that_is_ready_again_or_goes_says_nothing():
    crashed = {"name": "server", "lastState": {"terminated": {"exitCode": 1, "message": "once"}}}
    ready = replica("a", "t1", "aaa", "1", containerStatuses=[crashed])
    ready["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    going = replica("b", "t1", "aaa", "2", containerStatuses=[crashed])
    going["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    slow = replica("c", "t1", "aaa", "3", conditions=[{"type": "Ready", "status": "False"}])
    assert unready([ready, going, slow]) == [slow]


@pytest.mark.parametrize(
    "condition",
    [
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"},
        {"type": "Progressing", "status": "False", "reason": "ReplicaSetCreateError"},
    ],
    ids=lambda condition: condition["type"],
)
def test_a_deployment_that_may_make_no_pods_says_so(condition):
    words = {"message": "exceeded quota: q"}
    found = refused_pods(make_child("server") | {"status": {"conditions": [condition | words]}})
    assert found is not None
    assert (found.pod, found.reason, found.message) == ("", condition["reason"], "exceeded quota: q")
    assert refused_pods(make_child("server")) is None
