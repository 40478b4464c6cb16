"""A schedule with the real operator: it is killed, times are missed, and one run makes up for them."""

import time
from typing import Any

from tests.integration.conftest import Starter, Team
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


def test_missed_times_give_one_run_after_a_restart_and_the_results_stay_until_then(
    team: Team, start_operator: Starter
):
    first = start_operator()
    threshold = {"metric": "contentSafety.harm", "min": "0.5"}
    endpoint = {"endpoint": {"url": "http://model.example/v1", "model": "m"}}
    team.apply(evaluation(model=endpoint, thresholds=[threshold], schedule="* * * * *"))
    play(team, 0.9, {})
    team.wait("safetyevals", "check", "SafetyPassed", "True")
    team.wait("safetyevals", "check", "UpToDate", "True")  # the report is read, too
    first.kill()
    before = {role: jobs(team, role) for role in STAGES}
    time.sleep(61 - time.time() % 60)  # a minute begins while nobody is there
    start_operator("second")
    team.wait("safetyevals", "check", "UpToDate", "Unknown", seconds=40)
    status = team.get("safetyevals", "check")["status"]
    assert status["rerun"]["time"].endswith(":00Z")
    assert status["scores"][0]["value"] == "0.9"
    assert team.condition("safetyevals", "check", "Ready")["status"] == "True"
    play(team, 0.4, before)
    team.wait("safetyevals", "check", "SafetyPassed", "False")
    status = team.get("safetyevals", "check")["status"]
    assert status["run"]["time"].endswith(":00Z")
    assert [entry["passed"] for entry in status["history"]] == ["False", "True"]
    assert status["history"][0]["drift"][0]["paired"]["difference"] == "-0.2"
    assert team.condition("safetyevals", "check", "Ready")["status"] == "True"
