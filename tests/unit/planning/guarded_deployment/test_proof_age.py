"""A proof is believed for three of its periods; what does not concern it neither starts nor stops it."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.planning.guarded_deployment.guarded import (
    GOOD,
    deployment,
    make_open,
    make_serving,
    serve_all,
)
from tests.unit.planning.world import START, World

from safety_operator.children.worker_job import QUEUE_LABEL
from safety_operator.state.keys import ObjectKey
from safety_operator.state.reading import format_time

DAYS = 2 * 86_400


def proven(world: World) -> list[str]:
    return [world.condition(type_)["status"] for type_ in ("RailsProven", "BypassClosed")]


def due(**spec: Any) -> World:
    """A guarded model whose second proof has just begun."""
    world = make_serving(**spec)
    world.wait(301)
    world.settle()
    return world


def suspend(world: World) -> None:
    world.job("prove")["status"] = {"conditions": [{"type": "Suspended", "status": "True"}]}


def fail(world: World) -> None:
    world.fail("prove", reason="TargetUnreachable", message="the endpoint did not answer")


def hold(world: World) -> None:
    world.cannot_start("prove", "Unschedulable", "0/3 nodes are available")


def cannot_pull(world: World) -> None:
    world.cannot_start("prove", "ImagePullBackOff", 'Back-off pulling image "worker:1"')


def remove(world: World) -> None:
    """Somebody takes the Job away; another one takes its place."""
    del world.children[ObjectKey("Job", world.job("prove")["metadata"]["name"])]


@pytest.mark.parametrize(
    ("accident", "words"),
    [
        (cannot_pull, "ImagePullBackOff"),
        (remove, "prove: starting"),
        (suspend, "its Job is suspended"),
        (fail, "the endpoint did not answer"),
        (hold, "0/3 nodes"),
        (lambda _: None, "prove: starting"),
    ],
)
def test_a_proof_that_does_not_finish_for_two_days_is_not_believed(accident: Any, words: str):
    world = due()
    accident(world)
    world.settle()
    assert proven(world) == ["True", "True"]
    world.wait(DAYS)
    world.settle()
    assert proven(world) == ["Unknown", "Unknown"]
    found = world.condition("RailsProven")
    assert found["reason"] == "ProofOverdue"
    assert "No proof since 2026-11-21T12:00:00Z" in found["message"]
    assert "(5m)" in found["message"]
    if accident is not fail:  # which has been tried again by now
        assert words in found["message"]
    assert world.condition("Ready")["status"] == "Unknown"


def test_without_any_event_it_is_looked_at_when_the_proof_becomes_too_old():
    world = make_serving()
    world.settings = replace(world.settings, progress_seconds=1e6)
    deployment(world, "model")["status"] = {}
    pauses = []
    while proven(world) == ["True", "True"]:
        pauses.append(world.settle().requeue_after)
        world.wait(pauses[-1] or 0)
        world.settle()
    assert sum(pauses) == 900


@pytest.mark.parametrize("accident", [suspend, hold, lambda _: None])
def test_a_first_proof_that_waits_is_not_written_down_again_and_again(accident: Any):
    world = make_open()
    world.settle()
    serve_all(world)
    accident(world)
    world.settle()
    before = world.status
    assert before["stages"][-1]["state"] == "Running"
    world.wait(60)
    world.settle()
    assert world.status == before


def test_what_is_suspended_is_not_proved():
    world = make_serving()
    world.edit(suspend=True)
    world.settle()
    assert proven(world) == ["Unknown", "Unknown"]


def test_just_below_three_periods_it_is_believed():
    world = due()
    suspend(world)
    world.now = START + timedelta(seconds=899)
    world.settle()
    assert proven(world) == ["True", "True"]


def test_what_an_old_proof_saw_wrong_stays_wrong():
    world = make_open()
    world.settle()
    serve_all(world)
    world.succeed("prove", proof=GOOD.model_copy(update={"bypass_closed": False}))
    world.settle()
    world.wait(301)
    world.settle()
    suspend(world)
    world.wait(DAYS)
    world.settle()
    assert proven(world) == ["Unknown", "False"]
    assert "No proof since" in world.condition("BypassClosed")["message"]


def test_a_new_proof_is_believed_at_once():
    world = due()
    world.wait(DAYS)
    world.settle()
    assert proven(world) == ["Unknown", "Unknown"]
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert proven(world) == ["True", "True"]


def test_a_proof_counts_from_its_end_not_from_when_it_was_seen():
    world = due()
    world.succeed("prove", proof=GOOD)
    ended = format_time(world.now)
    world.wait(DAYS)
    world.carry_out(world.plan())
    assert world.status["proof"]["at"] == ended
    world.settle()
    assert proven(world) == ["Unknown", "Unknown"]


def test_servers_that_are_away_are_the_reason_given():
    world = make_serving()
    deployment(world, "model")["status"] = {}
    world.wait(DAYS)
    world.settle()
    assert "model and guardrails are not ready" in world.condition("RailsProven")["message"]


def test_no_queue_decides_when_proofs_run():
    world = due(queueName="team")
    assert QUEUE_LABEL not in world.job("prove")["metadata"]["labels"]


def test_an_annotation_on_a_deployment_does_not_begin_a_running_proof_again():
    world = due()
    before = world.start("prove")
    child = deployment(world, "guardrails")
    child["metadata"]["annotations"]["example.org/note"] = "x"
    child["metadata"]["generation"] += 1  # as the API server counts annotations of Deployments
    world.carry_out(world.plan())
    assert before in world.names("Job")
    world.serve("guardrails")
    world.settle()
    assert before in world.names("Job")
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert world.stage("prove")["job"] == before


def test_a_proof_that_ends_while_pods_are_replaced_counts():
    world = due()
    world.start("prove")
    deployment(world, "guardrails")["status"]["readyReplicas"] = 0
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert world.status["proof"]["at"] == format_time(world.now)


def test_another_model_begins_the_proof_again():
    world = due()
    before = world.start("prove")
    world.edit(proof={"unsafe": ["Another one"]})
    world.settle()
    assert before not in world.names("Job")


def test_a_proof_asks_the_models_pods_and_draws_in_the_languages_of_the_spec():
    world = due(proof={"languages": ["de", "zh"], "draw": 2})
    told = json.loads(world.specification("prove"))
    assert (told["languages"], told["each"]) == (["de", "zh"], 2)
    name = told["podsUrl"].removeprefix("http://").partition(".")[0]
    (service,) = (child for key, child in world.children.items() if (key.kind, key.name) == ("Service", name))
    assert service["spec"]["clusterIP"] == "None"
    assert "languages" not in json.loads(due().specification("prove"))


def test_each_proof_has_a_number_of_its_own_by_which_it_draws():
    world = due(proof={"languages": ["de"]})
    first = json.loads(world.specification("prove"))["inputsHash"]
    world.wait(60)
    world.succeed("prove", proof=GOOD)
    world.settle()
    world.wait(301)
    world.settle()
    assert json.loads(world.specification("prove"))["inputsHash"] != first
