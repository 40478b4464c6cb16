"""A schedule with the real operator: it is killed, times are missed, and one run makes up for them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.conftest import API, MERGE, Starter, Team
from tests.integration.test_life_cycle import BATCH, evaluation
from tests.until import until

from safety_operator.state.labels import LABEL_ROLE
from safety_records.result import Drift, Paired, Score

STAGES = ("generate", "judge", "score", "report")


def jobs(team: Team, role: str) -> set[str]:
    found = team.children(BATCH, "jobs")
    return {job["metadata"]["name"] for job in found if job["metadata"]["labels"][LABEL_ROLE] == role}


def play(team: Team, value: float, before: dict[str, set[str]]) -> None:
    """The pods of all stages do their work, in Jobs that were not there before."""
    paired = Paired(
        baseline="run", difference=-0.2, lower=-0.3, upper=-0.1, p_value=0.01, test="t", pairs=100
    )
    metric = "contentSafety.harm"
    fields: dict[str, dict[str, Any]] = {
        "score": {"scores": (Score(metric=metric, value=value, lower=value, upper=value, samples=100),)},
        "report": {"drift": (Drift(metric=metric, paired=paired),)},
    }
    for stage in STAGES:
        until(lambda role=stage: jobs(team, role) - before.get(role, set()), f"a new Job of {stage}", 30)
        team.kubelet.succeed("check", stage, **fields.get(stage, {}))


def age_by_two_months(team: Team, name: str) -> None:
    """The status as it would be if its run had ended two months ago."""
    status = team.get("safetyevals", name)["status"]
    then = (datetime.now(UTC) - timedelta(days=62)).strftime("%Y-%m-%dT%H:%M:%SZ")
    stages = [stage | dict.fromkeys(stage.keys() & {"finishedAt"}, then) for stage in status["stages"]]
    aged = {"schedule": {"since": then}, "stages": stages}
    path = f"{API}/namespaces/{team.namespace}/safetyevals/{name}/status"
    answer = team.server.http.patch(path, json={"status": aged}, headers=MERGE)
    assert answer.is_success, answer.text


def test_missed_times_give_one_run_after_a_restart_and_the_results_stay_until_then(
    team: Team, start_operator: Starter
):
    first = start_operator()
    threshold = {"metric": "contentSafety.harm", "min": "0.5"}
    endpoint = {"endpoint": {"url": "http://model.example/v1", "model": "m"}}
    team.apply(evaluation(model=endpoint, thresholds=[threshold], schedule="0 0 1 * *"))
    play(team, 0.9, {})
    team.wait("safetyevals", "check", "SafetyPassed", "True")
    team.wait("safetyevals", "check", "UpToDate", "True")  # the report is read, too
    first.kill()
    before = {role: jobs(team, role) for role in STAGES}
    age_by_two_months(team, "check")  # the first of a month came twice while nobody was there
    start_operator("second")
    team.wait("safetyevals", "check", "UpToDate", "Unknown", seconds=40)
    status = team.get("safetyevals", "check")["status"]
    assert status["rerun"]["time"].endswith("-01T00:00:00Z")
    assert status["scores"][0]["value"] == "0.9"
    assert team.condition("safetyevals", "check", "Ready")["status"] == "True"
    play(team, 0.4, before)
    team.wait("safetyevals", "check", "SafetyPassed", "False")
    status = team.get("safetyevals", "check")["status"]
    assert status["run"]["time"].endswith("-01T00:00:00Z")
    assert [entry["passed"] for entry in status["history"]] == ["False", "True"]
    assert status["history"][0]["drift"][0]["paired"]["difference"] == "-0.2"
    assert team.condition("safetyevals", "check", "Ready")["status"] == "True"
