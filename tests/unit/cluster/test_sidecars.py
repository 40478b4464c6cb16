"""What injected containers do to the pods of Jobs, as cached pods show it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.cluster.objects import make_pod

from safety_operator.cluster.pods import failure_of
from safety_operator.cluster.sidecars import held_of

AT = "2026-11-21T12:00:00Z"
RUNS: dict[str, Any] = {"running": {"startedAt": AT}}


def end(code: int = 0, message: str = "", at: str = AT) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, "finishedAt": at}}


def pod(
    name: str = "p", phase: str = "Running", *, index: int | None = None, **states: Any
) -> dict[str, Any]:
    statuses = [{"name": key.replace("_", "-"), "state": state} for key, state in states.items()]
    return make_pod(name, "j", index=index, phase=phase, containerStatuses=statuses)


def test_a_worker_that_is_over_beside_a_proxy_that_runs():
    held = held_of([pod(istio_proxy=RUNS, worker=end())])
    assert held is not None
    assert (held.since, held.failed, held.over) == (datetime(2026, 11, 21, 12, tzinfo=UTC), (), True)


@pytest.mark.parametrize("proxy", [RUNS, {"waiting": {"reason": "ImagePullBackOff"}}, {}])
def test_a_worker_that_failed_beside_something_that_has_not_ended(proxy: dict[str, Any]):
    held = held_of([pod(worker=end(1), vault_agent=proxy)])
    assert held is not None
    assert held.failed == ("p",)


@pytest.mark.parametrize(
    "harmless",
    [
        pod(worker=RUNS, istio_proxy=RUNS),
        pod(worker=RUNS, istio_proxy=end(1)),
        pod(worker=end()),
        pod(worker=end(1)),
        pod(worker=end(), istio_proxy=end()),
        pod(phase="Succeeded", worker=end(), istio_proxy=end()),
        pod(phase="Failed", worker=end(1), istio_proxy=end(143)),
        pod(phase="Pending"),
    ],
)
def test_what_kubernetes_sees_by_itself(harmless: dict[str, Any]):
    assert held_of([harmless]) is None


def test_a_sidecar_that_kubernetes_knows_ends_by_itself():
    known = pod(worker=end())
    known["status"]["initContainerStatuses"] = [{"name": "istio-proxy", "state": RUNS}]
    assert held_of([known]) is None


def test_a_proxy_that_ends_badly_spoils_a_pod_whose_worker_did_its_work():
    held = held_of([pod("a", "Failed", worker=end(), istio_proxy=end(1)), pod("b", worker=RUNS)])
    assert held is not None
    assert (held.failed, held.over) == ((), True)


def test_of_several_pods_that_share_a_job_all_workers_have_to_be_over():
    first = pod("a", index=0, worker=end(), istio_proxy=RUNS)
    held = held_of([first, pod("b", index=1, worker=RUNS, istio_proxy=RUNS)])
    assert held is not None
    assert not held.over
    held = held_of([first, pod("b", index=1, worker=end(at="2026-11-21T12:05:00Z"), istio_proxy=RUNS)])
    assert held is not None
    assert held.over
    assert held.since == datetime(2026, 11, 21, 12, 5, tzinfo=UTC)


def test_a_pod_that_is_already_being_taken_away_is_not_taken_again():
    leaving = pod(worker=end(1), istio_proxy=RUNS)
    leaving["metadata"]["deletionTimestamp"] = AT
    held = held_of([leaving])
    assert held is not None
    assert held.failed == ()


def test_the_words_of_the_worker_count_before_those_of_the_proxy():
    found = failure_of([pod(phase="Failed", istio_proxy=end(143, "drained"), worker=end(137, "no memory"))])
    assert found is not None
    assert (found.container, found.message) == ("worker", "no memory")
    found = failure_of([pod(istio_proxy=end(255, "no certificate"), worker=RUNS)])
    assert found is not None
    assert found.container == "istio-proxy"
