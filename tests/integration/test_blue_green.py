"""A new version next to the old one, with the real API server and controllers; nodes are fakes."""

from datetime import UTC, datetime
from typing import Any

from tests.integration.conftest import Starter, Team
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_rollouts import GOOD, KIND, RAILS, bring_up, message, served
from tests.until import until

from safety_operator.state.labels import LABEL_INSTANCE
from safety_operator.state.reading import format_time
from safety_records.result import Artifact

BLUE_GREEN = {"strategy": "BlueGreen"}
NEW = "sha256:" + "2" * 64


def selected(team: Team) -> str:
    """The Deployment of the guardrails that the endpoint's Service leads to."""
    service = team.server.http.get(f"/api/v1/namespaces/{team.namespace}/services/g").json()
    return str(service["spec"]["selector"][LABEL_INSTANCE])


def switched_at(team: Team) -> str:
    return str(team.get(KIND, "g")["status"]["rollout"]["switchedAt"])


def fetch_new(team: Team) -> None:
    """Another model is asked for, and there."""
    team.patch(KIND, "g", {"model": {"source": {"uri": "hf://org/other"}}})
    other = Artifact(uri=f"{team.namespace}/models/other", digest=NEW, bytes=1)
    team.kubelet.succeed("g", "fetch", output=other)


def serve_new(team: Team) -> list[dict[str, Any]]:
    """The new pods become ready; gives the old ones."""
    old = []
    for role in ("model", "classifier", "guardrails"):
        new, before = team.kubelet.server_pods("g", role, 2)
        team.kubelet.serve(new)
        old.append(before)
    return old


def deployments(team: Team) -> list[str]:
    path = f"/apis/apps/v1/namespaces/{team.namespace}/deployments"
    return [item["metadata"]["name"] for item in team.server.http.get(path).json()["items"]]


def is_going(team: Team, pod: dict[str, Any]) -> bool:
    path = f"/api/v1/namespaces/{team.namespace}/pods/{pod['metadata']['name']}"
    found = team.server.http.get(path)
    return found.status_code == 404 or "deletionTimestamp" in found.json()["metadata"]


def test_a_new_model_is_proved_next_to_the_old_one_takes_its_place_and_the_old_one_goes(
    team: Team, start_operator: Starter
):
    """The operator is killed at each point."""
    operator = start_operator()
    bring_up(team, rollout=BLUE_GREEN)
    first, before = served(team), selected(team)
    fetch_new(team)
    old_model, _, old_rails = serve_new(team)
    until(lambda: team.kubelet.job("g", "prove-candidate"), "the proof")
    assert (served(team), selected(team)) == (first, before)
    operator.kill()
    team.kubelet.succeed("g", "prove-candidate", proof=GOOD)
    operator = start_operator("second")
    until(lambda: selected(team) != before, "the Service changes over", 60)
    operator.kill()
    operator = start_operator("third")
    until(lambda: served(team) == NEW, "the new model in service", 60)
    assert not is_going(team, old_rails)
    until(lambda: switched_at(team) < format_time(datetime.now(UTC)), "a proof ends after the change-over")
    team.kubelet.succeed("g", "prove", proof=GOOD)
    until(lambda: is_going(team, old_rails), "the old guardrails go", 90)
    operator.kill()
    start_operator("fourth")
    until(lambda: is_going(team, old_model), "the old model goes", 60)
    team.wait(KIND, "g", "Ready", "True", seconds=60)
    assert len(deployments(team)) == 3
    assert team.condition(KIND, "g", "Promoted")["status"] == "True"


def test_new_guardrails_whose_proof_fails_go_and_the_quota_that_held_them_was_told(
    team: Team, operator: OperatorProcess
):
    bring_up(team, rollout=BLUE_GREEN)
    before = selected(team)
    hard = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}}
    team.apply(hard | {"spec": {"hard": {"count/pods": "4"}}})
    team.patch(KIND, "g", {"guardrails": RAILS | {"refusal": "No."}})
    message(team, "Ready", "exceeded quota: q", "The version before serves on", "spec.rollout.strategy")
    assert team.condition(KIND, "g", "Available")["status"] == "True"
    team.apply(hard | {"spec": {"hard": {"count/pods": "20"}}})
    serve_new(team)
    bad = GOOD.model_copy(update={"unsafe_blocked": 1})
    team.kubelet.succeed("g", "prove-candidate", proof=bad)
    team.wait(KIND, "g", "Promoted", "False", reason="RolloutFailed", seconds=60)
    until(lambda: len(deployments(team)) == 3, "the new Deployments are gone", 60)
    assert selected(team) == before
    for kind in ("Available", "RailsProven", "GuardrailsReady", "ModelReady"):
        assert team.condition(KIND, "g", kind)["status"] == "True", kind
