"""The half of a proof that another namespace gives: when its Job is wanted, and what comes of it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planning.guarded_deployment.guarded import GOOD, make_open, serve_all
from tests.unit.planning.restricted import violations
from tests.unit.planning.world import World

from safety_operator.children.worker_job import CONTAINER
from safety_operator.state.labels import ANNOTATION_HASH, LABEL_KIND, LABEL_NAME, LABEL_ROLE
from safety_operator.state.observed import Outside, OutsideJob, OutsideRefusal, PodFailure
from safety_operator.state.reading import format_time
from safety_records.result import OutsideProbe, StageResult
from safety_records.stages import SPEC_VARIABLE, ProbeStage, parse_stage_spec

CLOSED = OutsideProbe(namespace="system", closed=True, detail="no connection (ConnectTimeout)")
OPEN = OutsideProbe(namespace="system", closed=False, detail="port 8000 of a model's pod answered")
UNKNOWN = OutsideProbe(namespace="system", closed=None, detail="the guarded endpoint cannot be reached")


def proving(namespace: str = "system", **spec: Any) -> World:
    """A guarded model whose first proof runs."""
    world = make_open(**spec)
    world.settings = replace(world.settings, probe_namespace=namespace)
    world.settle()
    serve_all(world)
    return world


def look(world: World, *, seen: OutsideProbe | None = None, status: Any = None, failure: Any = None) -> None:
    """The Job is there, as the API server has it."""
    wanted = world.plan().outside
    assert wanted is not None
    job = dict(wanted) | {"status": status or {}}
    job["metadata"] = dict(job["metadata"]) | {"uid": "u", "creationTimestamp": format_time(world.now)}
    digest = job["metadata"]["annotations"][ANNOTATION_HASH]
    result = StageResult(stage="probe", inputs_hash=digest, outside=seen) if seen else None
    world.outside = Outside({job["metadata"]["name"]: OutsideJob(job, result, failure)})


def bypass(world: World) -> tuple[str, str]:
    found = world.condition("BypassClosed")
    return found["status"], found["message"]


def conditions(type_: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": type_, "status": "True", "message": message}]}


def test_a_proof_wants_a_pod_in_the_operators_namespace_and_is_over_when_both_are():
    world = proving()
    wanted = world.plan().outside
    assert wanted is not None
    assert wanted["metadata"]["namespace"] == "system"
    look(world)
    world.succeed("prove", proof=GOOD)
    plan = world.settle()
    assert bypass(world)[0] == "Unknown"
    assert "the bypass probe from namespace system" in world.status["progress"]["text"]
    assert (plan.outside, plan.outside_over) == (None, ())
    name, found = next(iter(world.outside.jobs.items()))
    record = StageResult(
        stage="probe", inputs_hash=found.job["metadata"]["annotations"][ANNOTATION_HASH], outside=CLOSED
    )
    world.outside = Outside({name: replace(found, result=record)})
    plan = world.plan()
    assert plan.outside_over == (found.job,)
    world.carry_out(plan)
    world.outside = Outside()
    world.settle()
    status, message = bypass(world)
    assert status == "True"
    assert "the model answers its guardrails only. From namespace system, too: no connection (" in message
    assert world.condition("Ready")["status"] == "True"
    assert world.stage("prove")["result"]["proof"]["outside"]["closed"] is True


def test_its_pod_is_restricted_and_has_nothing_of_the_resource_but_addresses():
    pod = {"labels": {"app.kubernetes.io/name": "operator"}, "env": [{"name": "X", "value": "tenant"}]}
    world = proving(pod=pod, proof={"unsafe": ["a secret canary"]})
    wanted = world.plan().outside
    assert wanted is not None
    template = wanted["spec"]["template"]
    assert list(violations(template)) == []
    assert template["spec"]["automountServiceAccountToken"] is False
    assert [volume["name"] for volume in template["spec"]["volumes"]] == ["tmp"]
    text = json.dumps(wanted)
    for word in ("tenant", "secret canary", "secretKeyRef", "ownerReferences"):
        assert word not in text
    labels = template["metadata"]["labels"]
    assert "app.kubernetes.io/name" not in labels
    assert not {LABEL_KIND, LABEL_NAME, LABEL_ROLE} & {*labels, *wanted["metadata"]["labels"]}
    assert wanted["spec"]["ttlSecondsAfterFinished"] > wanted["spec"]["activeDeadlineSeconds"] > 0
    (container,) = template["spec"]["containers"]
    assert container["name"] == CONTAINER
    (told,) = [one["value"] for one in container["env"] if one["name"] == SPEC_VARIABLE]
    spec = parse_stage_spec(told)
    assert isinstance(spec, ProbeStage)
    assert spec.from_namespace == "system"
    assert ".team.svc" in spec.direct.base_url


def test_two_resources_of_one_name_have_jobs_of_their_own():
    first, second = proving(), proving()
    second.resource["metadata"]["namespace"] = "other"
    names = {str(world.plan().outside["metadata"]["name"]) for world in (first, second)}  # type: ignore[index]
    assert len(names) == 2


@pytest.mark.parametrize(
    ("namespace", "words"),
    [
        ("", "the operator has no other namespace to try it from"),
        ("team", "team is the operator's namespace"),
    ],
)
def test_without_another_namespace_the_condition_says_so(namespace: str, words: str):
    world = proving(namespace)
    assert world.plan().outside is None
    world.succeed("prove", proof=GOOD)
    world.settle()
    status, message = bypass(world)
    assert status == "True"
    assert f"It was tried from this namespace only: {words}" in message
    assert "proof.probeNamespace" in message


def test_without_a_right_there_the_condition_says_so():
    world = proving()
    name = str(world.plan().outside["metadata"]["name"])  # type: ignore[index]
    denied = OutsideRefusal('User "x" cannot create resource "jobs"', no_right=True)
    world.outside = Outside(refusals={name: denied})
    world.succeed("prove", proof=GOOD)
    world.settle()
    status, message = bypass(world)
    assert status == "True"
    assert "from this namespace only: the operator may not start Jobs in namespace system" in message


def test_what_refuses_its_job_otherwise_has_to_be_fixed():
    world = proving()
    name = str(world.plan().outside["metadata"]["name"])  # type: ignore[index]
    world.outside = Outside(refusals={name: OutsideRefusal("exceeded quota: q")})
    world.succeed("prove", proof=GOOD)
    world.settle()
    status, message = bypass(world)
    assert status == "Unknown"
    assert "The bypass probe from namespace system failed: exceeded quota: q" in message


def test_an_answer_to_the_other_namespace_is_a_bypass_whatever_the_own_one_saw():
    for own in (True, None):
        world = proving()
        look(world, seen=OPEN, status=conditions("Complete"))
        world.succeed("prove", proof=GOOD.model_copy(update={"bypass_closed": own}))
        world.settle()
        assert bypass(world)[0] == "False"
        assert "The model answered a pod of namespace system" in bypass(world)[1]
        assert world.condition("Ready")["status"] == "False"
        assert world.status["proof"]["bypass"] == "Open"


def test_a_bypass_in_the_own_namespace_stays_one():
    world = proving()
    look(world, seen=CLOSED, status=conditions("Complete"))
    world.succeed("prove", proof=GOOD.model_copy(update={"bypass_closed": False}))
    world.settle()
    assert bypass(world)[0] == "False"


PULL = PodFailure("p", CONTAINER, None, "ImagePullBackOff", 'Back-off pulling image "w"')


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seen": UNKNOWN, "status": conditions("Complete")}, "cannot be reached"),
        ({"status": conditions("Complete")}, "its pod left no result"),
        ({"status": conditions("Failed", "Job was active longer than the deadline")}, "longer than"),
        ({"failure": PULL}, "ImagePullBackOff: Back-off pulling image"),
    ],
)
def test_a_probe_that_comes_to_nothing_is_no_pass(given: dict[str, Any], words: str):
    world = proving()
    look(world, **given)
    world.succeed("prove", proof=GOOD)
    world.wait(61)
    world.settle()
    status, message = bypass(world)
    assert status == "Unknown"
    assert words in message
    assert "proof.probeNamespace" in message
    assert (world.status["proof"]["bypass"], words in world.status["proof"]["detail"]) == ("Unknown", True)
    assert world.condition("RailsProven")["status"] == "True"


def test_a_pod_that_has_just_begun_to_pull_is_waited_for():
    world = proving()
    look(world, failure=PULL)
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert "proof" not in world.status


def test_the_record_of_another_proof_is_none():
    world = proving()
    look(world, seen=CLOSED, status=conditions("Complete"))
    ((name, found),) = world.outside.jobs.items()
    assert found.result is not None
    other = found.result.model_copy(update={"inputs_hash": "another"})
    world.outside = Outside({name: replace(found, result=other)})
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert bypass(world)[0] == "Unknown"


def test_a_proof_without_its_probe_grows_old_with_the_reason():
    world = proving()
    look(world, seen=CLOSED, status=conditions("Complete"))
    world.succeed("prove", proof=GOOD)
    world.settle()
    world.outside = Outside()
    world.wait(301)
    world.settle()
    look(world)
    world.succeed("prove", proof=GOOD)
    world.wait(900)
    world.settle()
    status, message = bypass(world)
    assert status == "Unknown"
    assert "waiting for the bypass probe from namespace system" in message


def test_what_is_suspended_is_not_probed():
    world = proving()
    world.edit(suspend=True)
    assert world.plan().outside is None
