"""Judging follows generating: when its pod comes, when it stays, and when it is taken away."""

from typing import Any

import pytest
from tests.unit.planning.examples import make_blend, make_eval
from tests.unit.planning.world import World

from safety_operator.state.observed import PodFailure
from safety_records.eval_stages import JudgeStage
from safety_records.stages import StageSpec, parse_stage_spec


def generating(**spec: Any) -> World:
    """An evaluation whose generating is about to start: there is a Job, and no pod yet."""
    world = make_eval(security=None, accuracy=[], **spec)
    world.settle()
    world.succeed("fetch", output="model")
    world.settle()
    world.serve("target-server")
    world.settle()
    return world


def judging(**spec: Any) -> World:
    """An evaluation whose generating and judging both run."""
    world = generating(**spec)
    world.start("generate")
    world.settle()
    world.start("judge")
    world.settle()
    return world


def has_job(world: World, stage: str) -> bool:
    return any(name.startswith(f"base-{stage}-") for name in world.names("Job"))


def spec_of(world: World, stage: str) -> StageSpec:
    """What a stage's pod is told."""
    return parse_stage_spec(world.specification(stage))


def judge_spec(world: World) -> JudgeStage:
    spec = spec_of(world, "judge")
    assert isinstance(spec, JudgeStage)
    return spec


def test_judging_starts_when_the_pod_that_generates_runs_and_not_before():
    world = generating()
    assert has_job(world, "generate")
    assert not has_job(world, "judge"), "it would hold the room that the other pod needs"
    world.start("generate")
    world.settle()
    assert world.stage("judge")["state"] == "Running"
    assert world.stage("generate")["state"] == "Running"


def test_the_server_of_a_judge_is_there_before_the_pod_that_generates():
    judge = {"name": "refusals", "type": "wildguard", "model": {"source": {"uri": "hf://org/guard"}}}
    world = make_eval(security=None, accuracy=[], judges=[judge])
    world.settle()
    for stage in ("fetch", "fetch-judge-0"):
        world.succeed(stage, output=stage)
    world.settle()
    assert len(world.names("Deployment")) == 2
    world.serve("target-server")
    world.settle()
    assert has_job(world, "generate")
    assert len(world.names("Deployment")) == 2, "it stays while the pod is due"


def test_the_judge_is_told_where_the_rows_will_be():
    world = judging()
    told = spec_of(world, "generate")
    spec = judge_spec(world)
    assert (spec.generated, spec.generated_hash) == (told.out, told.inputs_hash)


def test_the_end_of_generating_does_not_start_judging_again():
    world = judging()
    before = world.names("Job")
    world.succeed("generate")
    world.settle()
    assert has_job(world, "judge")
    assert set(world.names("Job")) <= set(before)


def test_scores_wait_for_both_whoever_ends_first():
    world = judging()
    world.succeed("judge")
    world.settle()
    assert not has_job(world, "score"), "the record of generating has not been read yet"
    world.succeed("generate")
    world.settle()
    assert has_job(world, "score")


def test_a_pod_that_is_being_replaced_keeps_the_judge():
    world = judging()
    world.job("generate")["status"] = {"active": 1, "failed": 1}
    world.settle()
    assert has_job(world, "judge")


def test_generating_that_fails_takes_the_judge_along_and_both_come_again():
    world = judging()
    world.fail("generate", reason="ModelServerFailing", message="HTTP 500")
    world.settle()
    assert not has_job(world, "judge")
    assert world.stage("judge")["state"] == "Pending"
    world.wait(61)
    world.settle()
    world.serve("target-server")
    world.settle()
    world.start("generate")
    world.settle()
    assert has_job(world, "judge")


def test_a_queue_that_takes_the_room_of_generating_gets_that_of_the_judge_too():
    world = judging(queueName="q")
    world.job("generate")["status"] = {"suspended": True}
    world.job("generate")["status"]["conditions"] = [{"type": "Suspended", "status": "True"}]
    world.settle()
    assert not has_job(world, "judge"), "it would wait for rows and hold the quota that they need"


def test_generating_without_a_place_gets_that_of_the_judge():
    world = judging()
    world.job("generate")["status"] = {"active": 1}
    world.cannot_start("generate", "Unschedulable", "0/1 nodes are available")
    world.settle()
    assert not has_job(world, "judge")


@pytest.mark.parametrize("kind", ["eval", "blend"])
def test_models_that_take_turns_are_judged_afterwards(kind: str):
    if kind == "eval":
        world, stage = generating(serving={"placement": "sequential"}), "generate"
    else:
        stage = "answer"
        model = {"source": {"uri": "hf://org/model"}}
        world = make_blend(onPolicy={"model": model, "serving": {"placement": "sequential"}})
        world.settle()
        world.succeed("collect")
        world.succeed("fetch", output="model")
        world.settle()
        world.serve("target-server")
        world.settle()
    world.start(stage, done=1, total=2)
    world.settle()
    assert world.stage("judge")["state"] == "Pending"
    world.succeed(stage)
    world.settle()
    assert world.stage("judge")["state"] == "Running"


def test_models_that_take_turns_wait_for_every_shard_of_a_scan():
    garak = {"probes": ["dan.Dan_11_0", "dan.Ablation_Dan_11_0"], "shards": 2}
    model = {"source": {"uri": "hf://org/guard"}}
    world = make_eval(
        serving={"placement": "sequential"},
        security={"garak": garak},
        accuracy=[],
        judges=[{"name": "refusals", "type": "wildguard", "model": model}],
    )
    world.settle()
    for stage in ("fetch", "fetch-judge-0"):
        world.succeed(stage, output=stage)
    world.settle()
    world.serve("target-server")
    world.settle()
    world.succeed("generate")
    world.succeed("scan-1")
    world.settle()
    assert not [name for name in world.names("Deployment") if "judge-server" in name]
    world.succeed("scan-2")
    world.settle()
    world.serve("judge-server")
    world.settle()
    assert has_job(world, "judge")


def test_answers_of_a_blend_are_judged_as_they_come():
    world = make_blend()
    world.settle()
    world.succeed("collect")
    world.succeed("fetch", output="model")
    world.settle()
    world.serve("target-server")
    world.settle()
    world.start("answer", done=1, total=9)
    world.settle()
    assert world.stage("judge")["state"] == "Running"
    spec = judge_spec(world)
    assert spec.generated.endswith(f"/answer-{spec.generated_hash[:16]}")


def test_an_eviction_of_the_pod_that_generates_leaves_the_one_that_judges():
    world = judging()
    name = world.job("generate")["metadata"]["name"]
    world.job("generate")["status"] = {"ready": 0}
    world.failures[name] = PodFailure(f"{name}-x1", "", None, "Evicted", "low on memory", ended=True)
    world.settle()
    assert has_job(world, "judge")
