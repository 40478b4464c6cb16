"""When events are read, and what is remembered of them."""

from typing import Any

import pytest
from tests.unit.cluster.objects import KEY
from tests.unit.cluster.test_event_words import event, normal

from safety_operator.cluster.event_reader import (
    BURST,
    ENDING_SECONDS,
    FIRST_SECONDS,
    FORBIDDEN_SECONDS,
    SILENT_SECONDS,
    Answers,
    EventReader,
    find_waits,
    with_words,
)
from safety_operator.cluster.stuck import Stuck
from safety_operator.errors import ApiUnreachableError, ForbiddenError
from safety_operator.state.keys import Key
from safety_operator.state.observed import PodFailure

JOB = Stuck("job", "uid-job", "missing pods", "job")
POD = Stuck("job", "uid-p", "pending pod", "p")
CLAIM = Stuck("job", "uid-c", "unbound claim", "c")
QUEUED = Stuck("job", "uid-job", "suspended", "job")
QUOTA = event("FailedCreate", message="exceeded quota: q")


class FakeEvents:
    """Events by field selector, and a clock."""

    def __init__(self, **events: list[dict[str, Any]]) -> None:
        self.now = 1000.0
        self.events_by = {name.replace("_", "-"): found for name, found in events.items()}
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.reader = EventReader(self, clock=lambda: self.now)  # type: ignore[arg-type]

    async def events(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        assert namespace == "team"
        self.asked.append(selector)
        if self.error is not None:
            raise self.error
        return self.events_by.get(selector.rsplit("=", 1)[1], [])

    async def ask(self, *stuck: Stuck, after: float = 0, key: Key = KEY) -> Answers:
        self.now += after
        return await self.reader.ask(key, stuck)


async def test_what_moves_costs_no_request_and_no_further_look():
    events_api = FakeEvents(uid_job=[QUOTA])
    assert await events_api.ask() == Answers()
    first = await events_api.ask(JOB)
    assert (events_api.asked, first.again) == ([], FIRST_SECONDS)
    assert await events_api.ask(after=FIRST_SECONDS) == Answers()
    await events_api.ask(JOB)
    assert events_api.asked == []


async def test_words_are_there_within_a_minute_in_the_first_minutes_and_looks_become_rare():
    events_api = FakeEvents(uid_job=[QUOTA])
    answers = await events_api.ask(JOB)
    pauses = []
    while events_api.now < 1000 + 7200:
        assert answers.again is not None
        pauses.append(answers.again)
        answers = await events_api.ask(JOB, after=answers.again)
        assert with_words({}, answers.found)["job"].message == "exceeded quota: q"
    assert max(pauses[:20]) <= 60
    assert pauses[-1] == pytest.approx(300)
    assert len(events_api.asked) < 70


async def test_what_was_said_stands_when_the_events_are_gone_and_ends_when_the_pod_goes_on():
    events_api = FakeEvents(uid_p=[event("FailedMount", 1, "no such export")])
    await events_api.ask(POD)
    await events_api.ask(POD, after=6)
    events_api.events_by.clear()
    assert with_words({}, (await events_api.ask(POD, after=60)).found)["job"].reason == "FailedMount"
    events_api.events_by["uid-p"] = [normal("Pulling", 9, "Pulling image")]
    answers = await events_api.ask(POD, after=60)
    assert with_words({}, answers.found) == {}
    assert find_waits(answers.found) == {"job": "Pulling image"}


async def test_a_thousand_stuck_children_share_a_limit():
    events_api = FakeEvents()
    for index in range(1000):
        await events_api.ask(JOB, key=Key("SafetyEval", "team", str(index)))
    events_api.now += FIRST_SECONDS
    for _ in range(10):
        for index in range(1000):
            answers = await events_api.ask(JOB, key=Key("SafetyEval", "team", str(index)))
            assert answers.again is not None
            assert answers.again >= 1
        events_api.now += 1
    assert len(events_api.asked) <= BURST + 4 * 10


async def test_without_the_right_nothing_is_claimed_and_it_is_seldom_asked():
    events_api = FakeEvents()
    events_api.error = ForbiddenError(403, "Forbidden", "no")
    await events_api.ask(POD)
    answers = await events_api.ask(POD, after=SILENT_SECONDS)
    assert answers.again == FORBIDDEN_SECONDS
    assert with_words({}, answers.found) == {}
    await events_api.ask(POD, after=60)
    assert len(events_api.asked) == 1


async def test_an_api_server_that_does_not_answer_ends_nothing():
    events_api = FakeEvents()
    events_api.error = ApiUnreachableError("reset")
    await events_api.ask(POD)
    assert with_words({}, (await events_api.ask(POD, after=SILENT_SECONDS)).found) == {}


@pytest.mark.parametrize(("scheduler", "reason"), [("volcano", "NoScheduler"), ("", "NotStarted")])
async def test_a_pending_pod_that_nobody_speaks_of_is_told_as_such(scheduler, reason):
    events_api = FakeEvents()
    pod = Stuck("job", "uid-p", "pending pod", "p", scheduler)
    await events_api.ask(pod)
    assert with_words({}, (await events_api.ask(pod, after=10)).found) == {}
    failure = with_words({}, (await events_api.ask(pod, after=SILENT_SECONDS)).found)["job"]
    assert failure.reason == reason
    assert scheduler in failure.message


async def test_a_pod_on_a_lost_node_is_told_once_no_worker_takes_so_long_to_end():
    events_api = FakeEvents(uid_p=[event("Unhealthy")])
    pod = Stuck("job", "uid-p", "ending pod", "p", node="lost")
    await events_api.ask(pod)
    assert with_words({}, (await events_api.ask(pod, after=ENDING_SECONDS - 1)).found) == {}
    failure = with_words({}, (await events_api.ask(pod, after=1)).found)["job"]
    assert (failure.pod, failure.reason) == ("p", "NotEnded")
    assert "node lost does not say" in failure.message
    assert events_api.asked == []


async def test_a_queues_words_are_those_on_its_workload():
    made = normal("CreatedWorkload", message="Created Workload: team/w")
    events_api = FakeEvents(uid_job=[made], w=[event("Pending", 3, "1 GPU more needed")])
    await events_api.ask(QUEUED)
    answers = await events_api.ask(QUEUED, after=6)
    assert find_waits(answers.found) == {"job": "1 GPU more needed"}
    assert with_words({}, answers.found) == {}


async def test_a_workload_without_events_is_named():
    events_api = FakeEvents(uid_job=[normal("CreatedWorkload", message="Created Workload: team/w")])
    await events_api.ask(QUEUED)
    await events_api.ask(QUEUED, after=6)
    answers = await events_api.ask(QUEUED, after=SILENT_SECONDS)
    assert find_waits(answers.found) == {"job": "kubectl describe workload w says why"}


async def test_a_job_that_no_queue_took_up_says_what_to_look_at():
    events_api = FakeEvents(uid_job=[normal("Suspended", message="Job suspended")])
    await events_api.ask(QUEUED)
    await events_api.ask(QUEUED, after=6)
    assert "LocalQueue" in find_waits((await events_api.ask(QUEUED, after=SILENT_SECONDS)).found)["job"]


async def test_the_clusters_words_are_newer_than_those_of_a_pod_that_is_over():
    events_api = FakeEvents(uid_job=[QUOTA], uid_c=[event("ProvisioningFailed", message="no class")])
    await events_api.ask(JOB, CLAIM)
    answers = await events_api.ask(JOB, CLAIM, after=6)
    crashed = PodFailure("before", "worker", 137, "OOMKilled", "killed")
    assert with_words({"job": crashed}, answers.found)["job"].reason == "FailedCreate"
    lacks = PodFailure("p", "", None, "Unschedulable", "0/1 nodes.")
    assert with_words({"job": lacks}, answers.found[1:])["job"] == PodFailure(
        "p", "", None, "Unschedulable", "0/1 nodes. PersistentVolumeClaim c: ProvisioningFailed: no class"
    )


@pytest.mark.parametrize("order", [(POD, CLAIM), (CLAIM, POD)], ids=["pod first", "claim first"])
@pytest.mark.parametrize(
    ("events", "reason"),
    [([event("FailedMount", message="timed out")], "FailedMount"), ([], "FailedBinding")],
    ids=["the pod's events", "silence"],
)
async def test_a_pods_events_count_before_its_claims_and_those_before_silence(order, events, reason):
    events_api = FakeEvents(uid_p=events, uid_c=[event("FailedBinding", message="no volume")])
    await events_api.ask(*order)
    answers = await events_api.ask(*order, after=SILENT_SECONDS)
    failure = with_words({}, answers.found)["job"]
    assert reason in f"{failure.reason} {failure.message}"


async def test_a_resource_that_is_gone_is_forgotten():
    events_api = FakeEvents(uid_job=[QUOTA])
    await events_api.ask(JOB)
    events_api.reader.forget(KEY)
    assert (await events_api.ask(JOB, after=6)).again == FIRST_SECONDS


async def test_a_quotas_words_are_those_on_the_cluster_of_kuberay():
    refused = event("FailedToCreateWorkerPod", message="exceeded quota: q")
    events_api = FakeEvents(c_x7=[normal("CreatedHeadPod"), refused])
    pods = Stuck("job", "uid-job", "missing ray pods", "c-x7")
    await events_api.ask(pods)
    answers = await events_api.ask(pods, after=FIRST_SECONDS)
    assert events_api.asked == ["involvedObject.kind=RayCluster,involvedObject.name=c-x7"]
    assert with_words({}, answers.found)["job"].message == "exceeded quota: q"
