"""``gate.onRegression: rollBack`` on a real API server; evaluations and nodes are fakes."""

from tests.integration.conftest import Starter, Team
from tests.integration.fake_kubelet import DIGEST
from tests.integration.gated import (
    EVALS,
    FAILED,
    PASSED,
    endpoint,
    evaluation,
    gate,
    guarded,
    prove,
    replicas,
    report,
    score,
    warnings,
)
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_rollouts import KIND, replace_model, served
from tests.until import until

from safety_records.result import Artifact

NEW = "sha256:" + "2" * 64


def bring_up(team: Team) -> None:
    team.apply(evaluation(), guarded(onRegression="rollBack"))
    score(team)
    report(team)
    team.kubelet.succeed("g", "fetch")
    for role in ("model", "classifier", "guardrails"):
        for pod in team.kubelet.server_pods("g", role):
            team.kubelet.serve(pod)
    prove(team)
    team.wait(KIND, "g", "Ready", "True", seconds=60)


def train_new(team: Team) -> None:
    """Another model is asked for, evaluated, and takes the place of the first."""
    team.patch(KIND, "g", {"model": {"source": {"uri": "hf://org/other"}}})
    other = Artifact(uri=f"{team.namespace}/models/other", digest=NEW, bytes=1)
    team.kubelet.succeed("g", "fetch", output=other)
    team.patch(EVALS, "check", {"model": endpoint(NEW)})
    score(team, NEW)
    report(team)
    replace_model(team, NEW)


def test_a_model_that_regresses_gives_way_to_the_one_before_until_it_passes_again(
    team: Team, start_operator: Starter
):
    """The operator is killed on the way back, twice."""
    operator = start_operator()
    bring_up(team)
    train_new(team)
    report(team, FAILED)
    gate(team, "False", "check did not pass", f"back to {DIGEST} (revision 1, proven at ")
    operator.kill()
    new, _ = team.kubelet.server_pods("g", "model", 2)
    team.kubelet.serve(new)
    operator = start_operator("second")
    until(lambda: served(team) == DIGEST, "the model before in service", 60)
    prove(team)
    operator.kill()
    start_operator("third")
    gate(team, "False", "check did not pass", f"Rolled back to {DIGEST} (revision 1, proven at ")
    team.wait(KIND, "g", "RailsProven", "True", seconds=60)
    assert team.condition(KIND, "g", "Ready")["status"] == "False"
    (newest, *_) = team.get(KIND, "g")["status"]["revisions"]
    assert (newest["modelDigest"], newest["why"]) == (DIGEST, "rolled back: its gate is shut")
    report(team, PASSED)
    replace_model(team, NEW)
    gate(team, "True", f"check passed for {NEW}")


def test_where_nothing_else_was_proven_the_pods_go_until_the_evaluation_passes_again(
    team: Team, operator: OperatorProcess
):
    bring_up(team)
    assert warnings(team) == [], "a first start is nothing to worry about"
    report(team, FAILED)
    gate(team, "False", "check did not pass", "No other revision was proven, so nothing is served.")
    until(lambda: replicas(team) == [0], "no pods", 60)
    report(team, PASSED)
    (pod,) = until(lambda: team.kubelet.server_pods("g", "model"), "the pod again", 60)
    team.kubelet.serve(pod)
    team.wait(KIND, "g", "Ready", "True", seconds=60)
    gate(team, "True", f"check passed for {DIGEST}")
