"""A scan over several Jobs, and what its verdict rests on."""

import json
from datetime import timedelta

import pytest
from tests.unit.planning.examples import make_eval
from tests.unit.planning.world import World

from safety_operator.api.eval_status import SafetyEvalStatus
from safety_operator.planning.shared.garak_probes import select_probes
from safety_operator.state.labels import ANNOTATION_HASH
from safety_records.eval_stages import ScanStage, ScoreStage
from safety_records.result import Score
from safety_records.stages import StageSpec, parse_stage_spec

TIERS = {"garak": {"probes": ["tier1", "tier2"], "shards": 4, "downloads": "allow"}}


def specification(world: World, stage: str) -> StageSpec:
    return parse_stage_spec(world.specification(stage))


def scanning(**spec) -> World:
    fields = {"contentSafety": [], "accuracy": [], "judges": [], "thresholds": [], "security": TIERS}
    world = make_eval(**fields | spec)
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    return world


def shards(world: World) -> list[str]:
    return [stage["name"] for stage in world.status["stages"] if stage["name"].startswith("scan")]


def test_each_shard_is_a_job_with_its_own_probes():
    world = scanning()
    assert shards(world) == ["scan-1", "scan-2", "scan-3", "scan-4"]
    assert {world.stage(name)["state"] for name in shards(world)} == {"Running"}
    parts = [specification(world, name) for name in shards(world)]
    assert all(isinstance(part, ScanStage) for part in parts)
    assert sorted(name for part in parts for name in part.probes) == sorted(
        select_probes(["tier1", "tier2"]).probes
    )
    assert len({part.out for part in parts}) == 4


def test_the_status_has_room_for_all_shards_of_a_scheduled_run():
    world = scanning(security={"garak": TIERS["garak"] | {"shards": 32}}, schedule="0 3 * * *")
    for name in (*shards(world), "score", "report"):
        world.succeed(name, output=name)
        world.settle()
    world.now += timedelta(days=1)
    world.settle()
    status = SafetyEvalStatus.model_validate(world.status)
    assert len(status.stages) > 32
    assert status.rerun is not None
    assert len(status.rerun.stages) == len(status.stages)


def test_the_scores_read_all_shards_and_wait_for_the_last():
    world = scanning()
    for name in shards(world)[:3]:
        world.succeed(name, output=name)
    world.settle()
    assert world.stage("score")["state"] == "Pending"
    assert len(world.names("Deployment")) == 1
    world.succeed("scan-4", output="scan-4")
    world.settle()
    assert world.names("Deployment") == []
    spec = specification(world, "score")
    assert isinstance(spec, ScoreStage)
    hashes = [world.stage(name)["hash"] for name in shards(world)]
    assert spec.scanned == tuple(f"out/scan-{number}-{hash_[:8]}" for number, hash_ in enumerate(hashes, 1))


def test_a_shard_that_failed_is_tried_again_alone():
    world = scanning()
    world.fail("scan-2", reason="TargetUnreachable", message="no answer")
    world.settle()
    assert world.stage("scan-2")["state"] == "Failed"
    assert {world.stage(name)["state"] for name in ("scan-1", "scan-3", "scan-4")} == {"Running"}
    before = world.stage("scan-2")["job"]
    world.wait(61)
    world.settle()
    assert world.stage("scan-2")["state"] == "Running"
    assert world.stage("scan-2")["job"] != before


@pytest.mark.parametrize(("number", "names"), [(1, ["scan"]), (2, ["scan-1", "scan-2"])])
def test_other_shards_replace_the_jobs_of_the_ones_before(number, names):
    world = scanning()
    before = world.names("Job")
    world.edit(security={"garak": {"probes": ["tier1", "tier2"], "shards": number}})
    world.settle()
    assert shards(world) == names
    jobs = [name for name in world.names("Job") if "scan" in name]
    assert len(jobs) == number
    assert not set(jobs) & set(before)
    world.edit(security=TIERS)
    world.settle()
    assert world.names("Job") == before


def test_another_result_of_one_shard_scores_again():
    def score_hash(last: str) -> str:
        world = scanning()
        for name in shards(world):
            world.succeed(name, output=last if name == "scan-4" else name)
        world.settle()
        return world.job("score")["metadata"]["annotations"][ANNOTATION_HASH]

    assert score_hash("a") == score_hash("a") != score_hash("b")


@pytest.mark.parametrize(
    ("security", "sampling", "expected"),
    [
        ({}, {"maxTokens": 80}, (150, "", 0.0)),
        ({"maxTokens": 99}, {"maxTokens": 80}, (99, "", 0.0)),
        ({}, {"maxTokens": 4096, "reasoningEnd": "</think>"}, (4096, "</think>", 0.0)),
        ({"maxTokens": 99}, {"maxTokens": 4096, "reasoningEnd": "</think>"}, (99, "</think>", 0.0)),
        ({}, {"temperature": "0.6"}, (150, "", 0.6)),
    ],
)
def test_a_reasoning_model_gets_the_tokens_to_reach_its_answer(security, sampling, expected):
    world = scanning(security={"garak": {"probes": ["dan"]} | security}, sampling=sampling)
    spec = specification(world, "scan")
    assert isinstance(spec, ScanStage)
    assert (spec.max_tokens, spec.reasoning_end, spec.temperature) == expected


@pytest.mark.parametrize(("downloads", "egress"), [("refuse", "namespace"), ("allow", "internet")])
def test_only_a_scan_that_may_download_reaches_the_internet(downloads, egress):
    world = scanning(security={"garak": {"probes": ["dan"], "downloads": downloads}})
    template = world.job("scan")["spec"]["template"]
    assert template["metadata"]["labels"]["modelsafety.dev/egress"] == egress
    offline = {item["name"] for item in template["spec"]["containers"][0]["env"]} & {"HF_HUB_OFFLINE"}
    assert bool(offline) == (downloads == "refuse")


@pytest.mark.parametrize(
    ("garak", "words"),
    [
        ({"probes": ["dan.Dan_11_1"]}, "Did you mean dan.Dan_11_0?"),
        ({"probes": ["tier1"], "exclude": ["tier1"]}, "nothing is left"),
    ],
)
def test_a_scan_that_cannot_work_is_refused_before_anything_runs(garak, words):
    world = make_eval(security={"garak": garak})
    world.settle()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert words in ready["message"]
    assert world.names("Job") == []


@pytest.mark.parametrize(
    ("probes", "metric", "known"),
    [
        (["tier1"], "security.dan.DanInTheWild", True),
        (["tier1"], "security.lmrc.Bullying", False),
        (["lmrc"], "security.lmrc.Bullying", True),
        (["lmrc.Bullying"], "security.lmrc.SlurUsage", False),
    ],
)
def test_a_threshold_names_a_probe_that_is_in_the_list(probes, metric, known):
    garak = {"probes": probes, "downloads": "allow"}
    world = make_eval(security={"garak": garak}, thresholds=[{"metric": metric, "min": "0.5"}])
    world.settle()
    assert (world.condition("Ready")["reason"] != "InvalidSpec") == known


def scored(*scores: Score, thresholds: list[dict[str, str]], omitted: int = 0) -> World:
    world = scanning(thresholds=thresholds)
    for name in shards(world):
        world.succeed(name)
    world.settle()
    world.succeed("score", scores=scores, omitted_scores=omitted)
    world.settle()
    return world


RESILIENCE = {"metric": "security.resilience", "min": "0"}
SINGLE = {"metric": "security.dan.DanInTheWild", "min": "0"}
NEVER_RAN = "3 probes did not run: no verdict without them"


@pytest.mark.parametrize("bound", ["lower", "point"])
def test_a_threshold_over_missing_probes_never_passes(bound):
    world = scored(
        Score(metric="security.resilience", samples=72, missing=NEVER_RAN),
        Score(metric="security.dan.DanInTheWild", samples=0, missing="not finished within 1800 s, 2 times"),
        thresholds=[RESILIENCE | {"bound": bound}, SINGLE | {"bound": bound}],
    )
    found = world.condition("SafetyPassed")
    assert [item["passed"] for item in world.status["thresholds"]] == ["False", "False"]
    assert (found["status"], found["reason"]) == ("Unknown", "ScoreMissing")
    assert NEVER_RAN in found["message"]
    assert "not finished within 1800 s" in found["message"]


def test_a_probe_without_a_score_of_its_own_never_passes():
    world = scored(
        Score(metric="security.resilience", value=0.9, lower=0.8, upper=0.95, samples=75),
        thresholds=[RESILIENCE, SINGLE],
    )
    assert world.condition("SafetyPassed")["status"] == "Unknown"
    assert "omittedScores" not in world.status


def test_the_status_says_how_many_scores_have_no_room_in_it():
    whole = Score(metric="security.resilience", value=0.9, lower=0.8, upper=0.95, samples=75)
    world = scored(whole, thresholds=[RESILIENCE, SINGLE], omitted=62)
    assert world.status["omittedScores"] == 62
    assert [item["passed"] for item in world.status["thresholds"]] == ["True", "Unknown"]
    assert "see the report" in world.status["thresholds"][1]["got"]


def test_scores_of_probes_that_a_threshold_names_are_asked_for():
    world = scanning(thresholds=[RESILIENCE, SINGLE])
    for name in shards(world):
        world.succeed(name)
    world.settle()
    spec = specification(world, "score")
    assert isinstance(spec, ScoreStage)
    assert spec.keep == ("security.dan.DanInTheWild",)


def test_a_specification_stays_far_below_the_size_of_a_variable():
    everything = sorted({name.partition(".")[0] for name in select_probes(["tier1", "tier2"]).probes})
    world = scanning(security={"garak": {"probes": [*everything, "tier1", "tier2"]}})
    assert len(json.dumps(world.job("scan"))) < 20_000
