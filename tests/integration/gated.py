"""A guarded endpoint behind an evaluation: what the tests of gates share. Nodes are fakes."""

from typing import Any

from tests.integration.conftest import Team
from tests.integration.fake_kubelet import DIGEST
from tests.integration.test_life_cycle import resource
from tests.integration.test_rollouts import GOOD, KIND, RAILS
from tests.until import until

from safety_operator.state.labels import LABEL_ROLE
from safety_records.result import Artifact, Score

EVALS = "safetyevals"
SCORE = Score(metric="contentSafety", value=0.9, lower=0.85, upper=0.95, samples=200, judge="refusals")
PASSED, FAILED = "0.8", "0.99"
"""Thresholds that the score reaches and does not."""


def least(share: str) -> list[dict[str, str]]:
    return [{"metric": "contentSafety", "min": share}]


def endpoint(digest: str) -> dict[str, Any]:
    """A model for an evaluation that needs no pods of its own to be asked."""
    return {"endpoint": {"url": "https://models.example.com/v1", "model": "m", "digest": digest}}


def evaluation(share: str = PASSED, digest: str = DIGEST) -> dict[str, Any]:
    spec = {
        "model": endpoint(digest),
        "judges": [{"name": "refusals", "type": "refusal-phrases"}],
        "contentSafety": [{"name": "harm", "dataset": {"preset": "harmbench"}, "judge": "refusals"}],
        "thresholds": least(share),
    }
    return resource("SafetyEval", "check", spec)


def guarded(**gate: Any) -> dict[str, Any]:
    spec = {
        "model": {"source": {"uri": "hf://org/model"}},
        "gate": {"evalRefs": [{"name": "check"}]} | gate,
        "guardrails": RAILS,
    }
    return resource("GuardedDeployment", "g", spec)


def score(team: Team, digest: str = DIGEST) -> None:
    """The evaluation asks a model, whose answers have a digest of their own; its report is still to come."""
    answers = Artifact(uri=f"{team.namespace}/answers", digest=digest, bytes=1)
    team.kubelet.succeed("check", "generate", output=answers)
    team.kubelet.succeed("check", "judge")
    team.kubelet.succeed("check", "score", scores=(SCORE,))


def report(team: Team, share: str = "") -> str:
    """The evaluation ends, or anew with another threshold; folder of its report on the claim."""
    if share:
        team.patch(EVALS, "check", {"thresholds": least(share)})
    output = team.kubelet.succeed("check", "report", html="a/report.html").output
    assert output is not None
    return output.uri


def prove(team: Team) -> None:
    team.kubelet.succeed("g", "prove", proof=GOOD)


def gate(team: Team, status: str, *words: str) -> str:
    """Wait until GatePassed has a status, and words in its message; gives that."""

    def look() -> str:
        found = team.condition(KIND, "g", "GatePassed")
        text = str(found.get("message", ""))
        return text if found.get("status") == status and all(word in text for word in words) else ""

    return str(until(look, f"GatePassed={status} with {words}", 60))


def replicas(team: Team, role: str = "model") -> list[int]:
    """Of each Deployment of a role."""
    found = team.children("/apis/apps/v1", "deployments")
    return [item["spec"]["replicas"] for item in found if item["metadata"]["labels"][LABEL_ROLE] == role]


def warnings(team: Team) -> list[str]:
    """Warning events about the endpoint."""
    path = f"/apis/events.k8s.io/v1/namespaces/{team.namespace}/events"
    items = team.server.http.get(path).json()["items"]
    about = [item for item in items if item["regarding"]["kind"] == "GuardedDeployment"]
    return [f"{item['reason']}: {item['note']}" for item in about if item["type"] == "Warning"]
