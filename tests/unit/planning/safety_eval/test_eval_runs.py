"""A SafetyEval that is evaluated again and again."""

import copy
import re
from datetime import UTC, datetime

import pytest
from tests.unit.planning.engine.test_hashes import hashes
from tests.unit.planning.examples import finished_finetune, make_eval
from tests.unit.planning.shared.test_judges import stage_of
from tests.unit.planning.world import START, World

from safety_records.eval_stages import ReportStage
from safety_records.result import Drift, Paired, Score

DAILY = "0 3 * * *"
STAGES = ("generate", "judge", "score", "report")


def make(**spec) -> World:
    return make_eval(**{"security": None, "accuracy": [], "schedule": DAILY} | spec)


def score(value: float) -> Score:
    return Score(metric="contentSafety.harm", value=value, lower=value - 0.1, upper=value + 0.1, samples=100)


def go_on(world: World, value: float = 0.7, stages=STAGES) -> None:
    """The pods of all stages but the fetch do their work."""
    for stage in stages:
        world.settle()
        if stage == "generate":
            world.serve("target-server")
            world.settle()
        fields = {"scores": (score(value),)} if stage == "score" else {}
        if stage == "report":
            paired = Paired(
                baseline="run", difference=-0.1, lower=-0.2, upper=-0.01, p_value=0.03, test="t", pairs=9
            )
            fields = {
                "html": f"{stage_of(world, 'report').out}/report.html",
                "drift": (Drift(metric="contentSafety.harm", paired=paired),),
            }
        world.succeed(stage, **fields)
    world.settle()


def run(world: World, value: float = 0.7) -> None:
    world.settle()
    world.succeed("fetch", max_length=2048, output="model")
    go_on(world, value)


def tell(world: World, time: str) -> None:
    world.now = datetime.fromisoformat(time).replace(tzinfo=UTC)
    world.settle()


def first_run(**spec) -> World:
    world = make(**spec)
    run(world)
    return world


def test_the_first_run_is_in_the_history_and_the_next_time_is_known():
    world = first_run()
    made = world.settle()
    assert world.status["schedule"] == {
        "cron": DAILY, "timeZone": "UTC", "since": "2026-11-21T12:00:00Z", "next": "2026-11-22T03:00:00Z",
    }  # fmt: skip
    (entry,) = world.status["history"]
    assert (entry["state"], entry["passed"], entry.get("time")) == ("Succeeded", "True", None)
    assert entry["scores"] == [
        {"metric": "contentSafety.harm", "value": "0.7", "lower": "0.6", "upper": "0.8"}
    ]
    assert re.fullmatch(
        r"pvc://safety-artifacts/team/safetyeval/base/[^/]+/report-\w{16}/report\.html", entry["html"]
    )
    assert world.condition("UpToDate")["status"] == "True"
    assert made.requeue_after == 3600, "a clock may be set, so the pause is short"


def test_without_a_schedule_there_is_no_history():
    world = make_eval(security=None, accuracy=[])
    run(world)
    assert "history" not in world.status
    assert world.settle().requeue_after is None


def test_the_pause_ends_at_the_next_time():
    world = first_run()
    tell(world, "2026-11-22T02:59:30")
    assert world.settle().requeue_after == 30


def test_at_the_time_everything_is_measured_again_and_the_results_stay_until_then():
    world = first_run()
    before = copy.deepcopy(world.status)
    hashes_before = hashes(world)
    tell(world, "2026-11-22T03:00:10")
    assert world.status["rerun"]["time"] == "2026-11-22T03:00:00Z"
    assert world.status["scores"] == before["scores"]
    for type_ in ("Ready", "Succeeded", "SafetyPassed"):
        assert world.condition(type_)["status"] == "True"
    assert world.condition("Reconciling")["status"] == "False"
    assert world.condition("UpToDate")["status"] == "Unknown"
    assert world.status["progress"]["text"] == "again: fetch: starting"
    world.succeed("fetch", max_length=2048, output="model")
    go_on(world, 0.55)
    assert "rerun" not in world.status
    assert world.status["run"]["time"] == "2026-11-22T03:00:00Z"
    assert world.status["scores"][0]["value"] == "0.55"
    passed = world.condition("SafetyPassed")
    assert (passed["status"], passed["reason"]) == ("False", "ThresholdNotMet")
    assert [entry["passed"] for entry in world.status["history"]] == ["False", "True"]
    (drift,) = world.status["history"][0]["drift"]
    assert drift["metric"] == "contentSafety.harm"
    assert [drift["paired"][name] for name in ("difference", "lower", "upper", "pValue")] == [
        *("-0.1", "-0.2", "-0.01", "0.03")
    ]
    assert not set(hashes(world).values()) & set(hashes_before.values())
    assert world.names("Deployment") == []


def test_the_new_scores_are_compared_with_the_run_before():
    world = first_run()
    old = world.stage("score")["job"]
    tell(world, "2026-11-22T03:00:00")
    world.succeed("fetch", max_length=2048, output="model")
    go_on(world, stages=("generate", "judge"))
    spec = world.specification("score")
    assert '"previous":{"name":"run of 2026-11-21T12:00:00Z","score":"out/score-' in spec
    assert world.job("score")["metadata"]["name"] != old


def test_any_number_of_missed_times_gives_one_run():
    world = first_run()
    tell(world, "2026-12-24T11:00:00")
    assert world.status["rerun"]["time"] == "2026-12-24T03:00:00Z"
    world.succeed("fetch", output="model")
    go_on(world)
    assert "rerun" not in world.status
    assert len(world.status["history"]) == 2
    assert world.status["schedule"]["next"] == "2026-12-25T03:00:00Z"


def test_times_that_pass_while_a_run_goes_on_are_covered_by_it():
    world = make()
    world.settle()
    tell(world, "2026-11-25T12:00:00")
    assert "rerun" not in world.status
    run(world)
    assert "rerun" not in world.status
    tell(world, "2026-11-26T03:00:00")
    world.now = datetime(2026, 11, 28, 12, tzinfo=UTC)
    world.succeed("fetch", output="model")
    go_on(world)
    assert world.status["run"]["time"] == "2026-11-26T03:00:00Z"
    assert "rerun" not in world.status


def test_times_before_the_schedule_was_written_do_not_count():
    world = make_eval(security=None, accuracy=[])
    run(world)
    world.wait(40 * 24 * 3600)
    world.edit(schedule=DAILY)
    world.settle()
    assert "rerun" not in world.status
    assert world.status["schedule"]["next"] == "2027-01-01T03:00:00Z"
    assert len(world.status["history"]) == 1


def test_an_operator_that_was_restarted_at_any_moment_goes_on():
    """All that is remembered is in the status: a new plan from the same world is the same plan."""
    world = first_run()
    world.now = datetime(2026, 11, 22, 3, tzinfo=UTC)
    made = world.plan()
    world.carry_out(made)
    lost = copy.deepcopy(world)
    lost.resource["status"] = copy.deepcopy(world.resource["status"])
    world.settle()
    lost.wait(1)
    lost.settle()
    assert world.status["rerun"]["time"] == lost.status["rerun"]["time"]
    assert world.names("Job") == lost.names("Job")


def test_children_that_were_made_before_the_status_was_written_are_found_again():
    world = first_run()
    world.now = datetime(2026, 11, 22, 3, tzinfo=UTC)
    status = copy.deepcopy(world.resource["status"])
    world.carry_out(world.plan())
    names = world.names("Job")
    world.resource["status"] = status
    world.settle()
    assert world.names("Job") == names


def test_the_history_has_a_limit_and_the_newest_first():
    world = first_run(historyLimit=2)
    for day, value in (("22", 0.8), ("23", 0.9), ("24", 0.75)):
        tell(world, f"2026-11-{day}T03:00:00")
        world.succeed("fetch", output="model")
        go_on(world, value)
    assert [entry["scores"][0]["value"] for entry in world.status["history"]] == ["0.75", "0.9"]


def test_a_rerun_that_fails_keeps_the_results_and_says_so():
    world = first_run()
    tell(world, "2026-11-22T03:00:00")
    world.fail("fetch", reason="ModelNotFound", message="no such revision", input_=True)
    world.settle()
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("SafetyPassed")["status"] == "True"
    late = world.condition("UpToDate")
    assert (late["status"], late["reason"]) == ("False", "ModelNotFound")
    assert "no such revision" in late["message"]
    tell(world, "2026-11-23T03:00:00")
    failed, kept = world.status["history"]
    assert (failed["state"], failed["passed"], failed["time"]) == (
        "Failed", "Unknown", "2026-11-22T03:00:00Z",
    )  # fmt: skip
    assert kept["state"] == "Succeeded"
    assert world.status["rerun"]["time"] == "2026-11-23T03:00:00Z"
    world.succeed("fetch", output="model")
    go_on(world)
    assert world.condition("UpToDate")["status"] == "True"
    assert [entry["state"] for entry in world.status["history"]] == ["Succeeded", "Failed", "Succeeded"]


def test_a_failed_run_stays_in_the_shortest_history():
    world = first_run(historyLimit=1)
    tell(world, "2026-11-22T03:00:00")
    world.fail("fetch", reason="ModelNotFound", message="no such revision", input_=True)
    world.settle()
    tell(world, "2026-11-23T03:00:00")
    assert [entry["state"] for entry in world.status["history"]] == ["Failed"]


def test_suspended_nothing_starts_and_one_run_makes_up_for_it():
    world = first_run()
    world.edit(suspend=True)
    tell(world, "2026-11-30T12:00:00")
    assert "rerun" not in world.status
    world.edit(suspend=False)
    world.settle()
    assert world.status["rerun"]["time"] == "2026-11-30T03:00:00Z"


def test_suspending_stops_the_rerun_and_resuming_goes_on_with_it():
    world = first_run()
    tell(world, "2026-11-22T03:00:00")
    world.succeed("fetch", output="model")
    world.settle()
    world.edit(suspend=True)
    world.settle()
    assert world.names("Deployment") == []
    assert world.condition("Ready")["status"] == "True"
    assert world.status["rerun"]["stages"][0]["state"] == "Succeeded"
    world.edit(suspend=False)
    world.settle()
    assert len(world.names("Deployment")) == 1
    go_on(world)
    assert world.status["run"]["time"] == "2026-11-22T03:00:00Z"


def test_an_edit_during_a_rerun_measures_the_new_spec_at_once():
    world = first_run()
    tell(world, "2026-11-22T03:00:00")
    world.succeed("fetch", output="model")
    world.settle()
    world.edit(sampling={"maxTokens": 99})
    world.settle()
    assert "rerun" not in world.status
    assert world.condition("Ready")["status"] == "Unknown"
    assert world.condition("SafetyPassed")["status"] == "Unknown"
    go_on(world)
    assert world.condition("Ready")["status"] == "True"
    assert world.status["history"][0]["generation"] == 2
    assert "run" not in world.status


def test_an_edit_of_the_thresholds_after_a_rerun_only_reports_again():
    world = first_run()
    tell(world, "2026-11-22T03:00:00")
    world.succeed("fetch", output="model")
    go_on(world)
    before = hashes(world)
    world.edit(thresholds=[])
    world.settle()
    after = hashes(world)
    assert {name for name in before if before[name] != after[name]} == {"report"}


def test_a_schedule_that_is_taken_away_stops_the_rerun_and_keeps_the_results():
    world = first_run()
    tell(world, "2026-11-22T03:00:00")
    world.edit(schedule=None)
    world.settle()
    assert "rerun" not in world.status
    assert "schedule" not in world.status
    assert len(world.status["history"]) == 1
    assert world.condition("Ready")["status"] == "True"
    assert [c["type"] for c in world.status["conditions"] if c["type"] == "UpToDate"] == []


def test_another_product_of_the_finetune_is_not_what_the_old_results_are_about():
    world = make(model={"finetuneRef": {"name": "hardened"}})
    world.refer("SafetyFinetune", "hardened", finished_finetune())
    go_on(world)
    tell(world, "2026-11-22T03:00:00")
    assert world.status["rerun"]
    world.refer("SafetyFinetune", "hardened", finished_finetune("another"))
    world.settle()
    assert "rerun" not in world.status
    assert world.condition("SafetyPassed")["status"] == "Unknown"


@pytest.mark.parametrize("broken", [{"schedule": 5}, {"run": "x"}, {"rerun": {"stages": 3}}, {"history": 1}])
def test_an_odd_status_gives_a_plan(broken):
    world = first_run()
    tell(world, "2026-11-22T03:00:00")
    world.resource["status"] |= broken
    world.settle()
    assert world.condition("UpToDate")["status"] in {"Unknown", "True"}


def test_a_wrong_time_zone_is_stalled_with_the_field():
    world = make(timeZone="Europe/Zurch")
    world.settle()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert "spec.timeZone" in ready["message"]


def test_a_day_has_its_place_in_the_time_zone():
    world = first_run(timeZone="Europe/Zurich")
    assert world.status["schedule"]["next"] == "2026-11-22T02:00:00Z"
    assert datetime(2026, 11, 21, 12, tzinfo=UTC) == START


def reported(world: World) -> ReportStage:
    world.settle()
    spec = stage_of(world, "report")
    assert isinstance(spec, ReportStage)
    return spec


def daily(world: World, days: int) -> None:
    """Further runs, up to the report of the last one, whose pod has not run yet."""
    for day in range(2, 2 + days):
        tell(world, f"2026-12-{day:02d}T03:00")
        world.succeed("fetch", max_length=2048, output="model")
        go_on(world, stages=STAGES if day < 1 + days else STAGES[:-1])


def test_the_first_report_deletes_nothing_and_says_what_belongs_to_it():
    world = make()
    world.settle()
    world.succeed("fetch", max_length=2048, output="model")
    go_on(world, stages=STAGES[:-1])
    spec = reported(world)
    assert spec.kept is None
    assert [name.rpartition("-")[0] for name in spec.folders] == ["fetch", "generate", "judge", "score"]


@pytest.mark.parametrize(("limit", "kept"), [(1, 1), (2, 1), (3, 2), (5, 3)])
def test_a_report_keeps_those_of_the_history_that_are_kept_with_it(limit, kept):
    world = first_run(historyLimit=limit)
    daily(world, 3)
    spec = reported(world)
    stored = [item["html"].split("/")[-2] for item in world.status["history"]]
    assert list(spec.kept) == stored[:kept]
    assert len(set(spec.kept)) == kept
    assert stored[0] == world.status["report"]["html"].split("/")[-2], "the shown run's"


def test_the_scores_that_a_run_was_compared_with_belong_to_it():
    world = first_run()
    daily(world, 1)
    previous = world.status["rerun"]["previous"]["uri"].rpartition("/")[2]
    assert previous in reported(world).folders


def test_a_report_that_is_elsewhere_lets_nothing_be_deleted():
    world = first_run()
    world.status["history"][0]["html"] = "pvc://another/out/report.html"
    daily(world, 1)
    assert reported(world).kept is None
