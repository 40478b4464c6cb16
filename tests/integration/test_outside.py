"""Bypass probes from another namespace, with the real API server and Job controller; nodes are fakes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import Starter, Team, make_team
from tests.integration.fake_kubelet import FakeKubelet
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_manifests_rights import as_service_account, install_rights
from tests.integration.test_rollouts import GOOD, KIND, guarded, message
from tests.until import until

from safety_operator.state.labels import ANNOTATION_HASH, LABEL_PROBE_OF
from safety_records.result import OutsideProbe, StageResult


def bring_up(team: Team) -> None:
    """Until the proof in the model's own namespace has ended well."""
    team.apply(guarded())
    team.kubelet.succeed("g", "fetch")
    for role in ("model", "classifier", "guardrails"):
        for pod in team.kubelet.server_pods("g", role):
            team.kubelet.serve(pod)
    team.kubelet.succeed("g", "prove", proof=GOOD)


def jobs(team: Team, namespace: str) -> list[dict[str, Any]]:
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    found: list[dict[str, Any]] = team.server.http.get(path, params={"labelSelector": LABEL_PROBE_OF}).json()[
        "items"
    ]
    return found


def the_job(team: Team, namespace: str) -> dict[str, Any]:
    (job,) = until(lambda: jobs(team, namespace), f"a probe's Job in {namespace}")
    return dict(job)


def end(team: Team, namespace: str, *, closed: bool, detail: str) -> None:
    job = the_job(team, namespace)
    seen = OutsideProbe(namespace=namespace, closed=closed, detail=detail)
    digest = job["metadata"]["annotations"][ANNOTATION_HASH]
    record = StageResult(stage="probe", inputs_hash=digest, outside=seen)
    FakeKubelet(team.server.http, namespace).finish(job, record)


@pytest.fixture
def elsewhere(team: Team) -> str:
    name = f"{team.namespace[:55].rstrip('-')}-system"
    team.server.kubectl("create", "namespace", name)
    return name


def test_an_operator_that_is_killed_meanwhile_finds_the_probe_again_and_removes_it(
    team: Team, elsewhere: str, start_operator: Starter
):
    first = start_operator(SAFETY_PROBE_NAMESPACE=elsewhere)
    bring_up(team)
    job = the_job(team, elsewhere)
    first.kill()
    end(team, elsewhere, closed=True, detail="no connection (ConnectTimeout)")
    start_operator("second", SAFETY_PROBE_NAMESPACE=elsewhere)
    team.wait(KIND, "g", "Ready", "True", seconds=60)
    assert f"From namespace {elsewhere}, too: no connection" in message(team, "BypassClosed", elsewhere)
    until(lambda: not jobs(team, elsewhere), "the end of the Job")
    assert "ownerReferences" not in job["metadata"]


def test_an_answer_to_a_pod_of_another_namespace_is_a_bypass(
    team: Team, elsewhere: str, start_operator: Starter
):
    start_operator(SAFETY_PROBE_NAMESPACE=elsewhere)
    bring_up(team)
    end(team, elsewhere, closed=False, detail="port 8000 of a model's pod answered without a key")
    found = team.wait(KIND, "g", "BypassClosed", "False", reason="ProofFailed", seconds=60)
    assert f"The model answered a pod of namespace {elsewhere}: port 8000" in found["message"]


class TestRights:
    """An operator of one namespace, with the chart's rights for it."""

    @pytest.fixture
    def team(self, request: pytest.FixtureRequest) -> Team:
        return make_team(request.getfixturevalue("live_server"), request.node.name)

    @pytest.fixture
    def operator(self, team: Team, elsewhere: str, tmp_path: Path) -> Iterator[OperatorProcess]:
        install_rights(team.server, elsewhere, team.namespace)
        replica = as_service_account(team.server, tmp_path, elsewhere, team.namespace)
        yield replica
        replica.kill()

    def test_the_charts_rights_are_enough_in_the_releases_namespace(
        self, team: Team, elsewhere: str, operator: OperatorProcess
    ):
        operator.environment["SAFETY_PROBE_NAMESPACE"] = elsewhere
        operator.start()
        bring_up(team)
        end(team, elsewhere, closed=True, detail="no connection (ConnectTimeout)")
        message(team, "BypassClosed", f"From namespace {elsewhere}, too")
        until(lambda: not jobs(team, elsewhere), "the end of the Job")
        assert "forbidden" not in operator.log_file.read_text().lower()

    def test_without_a_right_elsewhere_the_condition_says_that_it_was_tried_from_here_only(
        self, team: Team, operator: OperatorProcess
    ):
        operator.environment["SAFETY_PROBE_NAMESPACE"] = "default"
        operator.start()
        bring_up(team)
        team.wait(KIND, "g", "BypassClosed", "True", seconds=60)
        words = "tried from this namespace only: the operator may not start Jobs in namespace default"
        message(team, "BypassClosed", words)
        assert jobs(team, "default") == []
