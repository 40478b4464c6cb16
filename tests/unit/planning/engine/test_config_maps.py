"""Specifications of stages: ConfigMaps of their own, whatever their size, there whenever a Job is."""

import copy
import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planning.examples import finished_blend, make_eval, make_finetune
from tests.unit.planning.guarded_deployment.guarded import GOOD, make_serving
from tests.unit.planning.lives import LIVES, live
from tests.unit.planning.world import World

from safety_operator.children import server_files
from safety_operator.children.metadata import Owner
from safety_operator.children.stage_spec import MAX_SPEC_BYTES, SPEC_ROLE, build_spec_map
from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import ANNOTATION_FILES, ANNOTATION_SPEC, LABEL_ROLE
from safety_records.stages import parse_stage_spec


def maps(world: World) -> set[str]:
    return {
        key.name
        for key, child in world.children.items()
        if key.kind == "ConfigMap" and child["metadata"]["labels"][LABEL_ROLE] == SPEC_ROLE
    }


def named(world: World) -> set[str]:
    return {
        child["metadata"]["annotations"][ANNOTATION_SPEC]
        for key, child in world.children.items()
        if key.kind == "Job"
    }


def judging(judges: list[dict[str, Any]]) -> World:
    """An evaluation whose judges are about to start."""
    suites = [
        {"name": j["name"], "dataset": {"uri": "configmap://prompts/harm.jsonl"}, "judge": j["name"]}
        for j in judges
    ]
    world = make_eval(judges=judges, contentSafety=suites, security=None, accuracy=[], thresholds=[])
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    world.serve("target-server")
    world.settle()
    world.succeed("generate")
    world.settle()
    return world


@pytest.mark.parametrize("letter", ["x", "é", "字", "😀", '"', "\\", "\u0001", "$"])
def test_more_than_an_environment_variable_holds_reaches_the_worker(letter: str):
    phrases = [f"{number} {letter * 180}" for number in range(200)]
    judges = [{"name": f"j{n}", "type": "refusal-phrases", "phrases": phrases} for n in range(4)]
    world = judging(judges)
    text = world.specification("judge")
    assert len(text.encode()) > 128 * 1024
    assert [judge.phrases for judge in parse_stage_spec(text).judges] == [tuple(phrases)] * 4


def test_what_is_too_large_is_told_with_its_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("safety_operator.planning.engine.job_start.MAX_SPEC_BYTES", 9_000)
    phrases = [f"{n} {'字' * 150}" for n in range(20)]
    world = judging([{"name": "refusals", "type": "refusal-phrases", "phrases": phrases}])
    told = world.condition("Stalled")
    assert (told["status"], told["reason"]) == ("True", "InvalidSpec")
    assert "The specification of stage judge has " in told["message"]
    assert "bytes" in told["message"]
    assert "9,000" in told["message"]


@pytest.mark.parametrize("letter", ["x", "é", "字", "😀", '"', "\\", "\u0001", "\u2028"])
def test_the_request_of_the_largest_specification_is_one_that_the_api_server_takes(letter: str):
    one = json.dumps({"a": letter * 1000}, ensure_ascii=False, separators=(",", ":"))
    text = one * (MAX_SPEC_BYTES // len(one.encode()))
    owner = Owner("SafetyEval", "a" * 253, "n" * 63, "u" * 36)
    assert len(json.dumps(build_spec_map(owner, "judge", text))) < 3 * 1024 * 1024


@pytest.mark.parametrize("kind", sorted(LIVES))
def test_at_every_moment_of_a_life_the_specifications_are_those_of_the_jobs(kind: str):
    for world in live(kind):
        world.settle()
        assert maps(world) == named(world)


@pytest.mark.parametrize("kind", sorted(LIVES))
def test_an_operator_killed_between_the_two_comes_to_the_same(kind: str):
    """Of the objects that a plan makes any may exist and any not when the next operator looks."""
    for world, half in itertools.product(live(kind), ("Job", "ConfigMap")):
        made = world.plan()
        part = [child for child in made.apply if child.manifest["kind"] != half]
        before = copy.deepcopy((world.children, world.resource))
        world.carry_out(replace(made, apply=tuple(part), delete=(), status=world.status))
        world.settle()
        reached = copy.deepcopy(world.children)
        world.children, world.resource = before
        world.settle()
        assert set(reached) == set(world.children)


def test_a_specification_that_was_deleted_comes_back_while_its_pod_has_not_started():
    world = make_finetune()
    world.settle()
    (name,) = maps(world)
    del world.children[ObjectKey("ConfigMap", name)]
    world.settle()
    assert maps(world) == {name}


def test_where_it_would_be_another_one_the_job_is_made_anew():
    world = make_finetune(checkpoint={"everySteps": 5})
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    before = world.job("train")["metadata"]
    world.edit(checkpoint={"everySteps": 9})
    world.settle()
    assert world.job("train")["metadata"]["name"] == before["name"], "saving more often begins nothing anew"
    del world.children[ObjectKey("ConfigMap", before["annotations"][ANNOTATION_SPEC])]
    world.settle()
    assert world.job("train")["metadata"]["name"] != before["name"]
    assert maps(world) == named(world)


def test_further_tries_share_one():
    world = make_finetune()
    world.settle()
    before = maps(world)
    world.fail("fetch", reason="HubUnreachable", message="m")
    world.settle()
    world.wait(61)
    world.settle()
    assert maps(world) == before


def test_proofs_leave_none_behind():
    world = make_serving()
    for _ in range(3):
        world.wait(301)
        world.settle()
        world.succeed("prove", proof=GOOD)
        world.settle()
        assert maps(world) == named(world)


def test_suspending_takes_them_away():
    world = make_finetune()
    world.settle()
    world.edit(suspend=True)
    world.settle()
    assert maps(world) == set()


def test_a_change_of_only_the_specification_is_another_name():
    owner = Owner("SafetyEval", "base", "team", "u")
    one, two = (build_spec_map(owner, "judge", text)["metadata"]["name"] for text in ("{}", "{ }"))
    assert one != two


def files_of_servers(world: World) -> set[str]:
    return {name for name in world.names("ConfigMap") if "-server-files-" in name}


def test_the_files_of_a_server_are_there_before_it_and_go_when_no_server_is_left():
    world = make_eval(security=None, accuracy=[])
    world.settle()
    world.succeed("fetch", max_length=2048)
    assert files_of_servers(world) == set()
    world.settle()
    assert len(files_of_servers(world)) == 1
    world.serve("target-server")
    world.settle()
    world.succeed("generate")
    world.settle()
    assert (world.names("Deployment"), files_of_servers(world)) == ([], set())


def test_an_update_of_the_operator_leaves_old_pods_their_files(monkeypatch: pytest.MonkeyPatch):
    world = make_serving()
    before = files_of_servers(world)
    assert len(before) == 1
    monkeypatch.setattr(server_files, "read_sources", lambda: dict.fromkeys(server_files.FILES, "newer"))
    world.settle()
    world.roll("model")
    world.settle()
    assert len(files_of_servers(world)) == 2
    world.serve("model")
    world.settle()
    assert (
        files_of_servers(world)
        == {
            child["metadata"]["annotations"][ANNOTATION_FILES]
            for key, child in world.children.items()
            if key.kind == "Deployment" and child["metadata"]["labels"][LABEL_ROLE] == "model"
        }
        != before
    )
