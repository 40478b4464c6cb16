"""What was in service is remembered, and can be gone back to: by a regression, or by a person."""

from typing import Any

import pytest
from tests.unit.planning.examples import finished_eval, finished_finetune
from tests.unit.planning.guarded_deployment.test_guarded_deployment import (
    GOOD,
    deployment,
    make_serving,
    serve_all,
)
from tests.unit.planning.world import World, digest_of

from safety_operator.api.guarded_rollout import MAX_REVISIONS

REFS = [{"name": "hardened"}]


def revisions(world: World) -> list[dict[str, Any]]:
    return list(world.status["revisions"])


def prove(world: World) -> None:
    serve_all(world)
    world.succeed("prove", proof=GOOD)
    world.settle()


def train(world: World, product: str) -> None:
    world.refer("SafetyFinetune", "hardened", finished_finetune(product))
    world.refer("SafetyEval", "hardened", finished_eval(product))
    world.settle()


def make_newer(policy: str = "rollBack", **gate: Any) -> World:
    """A second model in service, and proven."""
    world = make_serving(gate={"evalRefs": REFS, "onRegression": policy} | gate)
    world.wait(60)
    train(world, "newer")
    prove(world)
    return world


def regress(world: World, product: str = "newer") -> None:
    world.results.clear()  # those of the first proof are gone with its Job
    world.refer("SafetyEval", "hardened", finished_eval(product, passed=False))
    world.settle()


def served(world: World) -> str:
    return str(world.status["served"]["modelDigest"])


def test_what_was_in_service_is_remembered_with_digests_times_and_why():
    world = make_newer()
    newest, first = revisions(world)
    assert (first["number"], newest["number"]) == (1, 2)
    assert first["modelDigest"] == digest_of("product")
    assert newest["modelDigest"] == digest_of("newer")
    assert newest["modelUri"].startswith("pvc://safety-artifacts/")
    assert newest["why"] == "new model"
    assert "hardened passed for" in newest["gate"]
    assert first["provenAt"] == "2026-11-21T12:00:00Z"
    assert newest["servedAt"] == newest["provenAt"] == "2026-11-21T12:01:00Z"
    world.edit(
        guardrails={"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}, "refusal": "No."}
    )
    world.settle()
    prove(world)
    assert [item["why"] for item in revisions(world)] == ["new guardrails", "new model", "new model"]


def test_a_regression_goes_back_to_the_last_proven_revision():
    world = make_newer()
    regress(world)
    gate = world.condition("GatePassed")
    assert gate["status"] == "False"
    assert f"Rolled back to {digest_of('product')} (revision 1" in gate["message"]
    serve_all(world)
    assert served(world) == digest_of("product")
    assert deployment(world, "model")["spec"]["replicas"] == 1
    assert world.condition("ModelReady")["status"] == "True"
    assert world.condition("RailsProven")["status"] == "Unknown", "it is proved anew"
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert revisions(world)[0]["why"] == "rolled back: its gate is shut"
    assert world.condition("Ready")["status"] == "False"
    world.wait(301)
    world.settle()
    assert served(world) == digest_of("product"), "it stays"


def test_when_the_evaluation_passes_again_the_model_of_the_spec_is_back():
    world = make_newer()
    regress(world)
    serve_all(world)
    world.refer("SafetyEval", "hardened", finished_eval("newer"))
    world.settle()
    prove(world)
    assert served(world) == digest_of("newer")
    assert world.condition("Ready")["status"] == "True"


def test_where_nothing_else_was_proven_a_regression_ends_the_pods():
    world = make_serving(gate={"evalRefs": REFS, "onRegression": "rollBack"})
    regress(world, "product")
    assert deployment(world, "model")["spec"]["replicas"] == 0
    assert "No other revision was proven" in world.condition("GatePassed")["message"]


def test_a_revision_that_was_never_proven_is_not_gone_back_to():
    world = make_serving(gate={"evalRefs": REFS, "onRegression": "rollBack"})
    train(world, "unproven")
    serve_all(world)
    world.succeed("prove", proof=GOOD.model_copy(update={"unsafe_blocked": 0}))
    world.settle()
    train(world, "newer")
    prove(world)
    regress(world)
    serve_all(world)
    assert served(world) == digest_of("product")


def test_a_new_model_that_does_not_pass_leaves_the_one_in_service():
    world = make_newer()
    world.refer("SafetyFinetune", "hardened", finished_finetune("third"))
    regress(world, "third")
    assert served(world) == digest_of("newer")
    assert deployment(world, "model")["spec"]["replicas"] == 1


def test_a_revision_whose_evaluation_is_too_old_is_not_gone_back_to():
    world = make_newer(maxAge="2h")
    world.wait(3700)
    newer = finished_eval("newer", passed=False)
    newer["status"]["conditions"][1]["lastTransitionTime"] = "2026-11-21T13:00:00Z"
    world.refer("SafetyEval", "hardened", newer)
    world.settle()
    assert deployment(world, "model")["spec"]["replicas"] == 0


def test_a_person_goes_back_and_forth():
    world = make_newer("keep")
    world.edit(rollout={"modelDigest": digest_of("product")})
    world.settle()
    gate = world.condition("GatePassed")
    assert gate["status"] == "True"
    assert "spec.rollout.modelDigest" in gate["message"]
    prove(world)
    assert served(world) == digest_of("product")
    assert revisions(world)[0]["why"] == "spec.rollout.modelDigest"
    assert world.condition("Ready")["status"] == "True"
    world.edit(rollout={})
    world.settle()
    prove(world)
    assert served(world) == digest_of("newer")


def test_an_evaluation_of_the_pinned_model_that_failed_since_shuts_its_gate():
    world = make_newer("keep")
    world.edit(rollout={"modelDigest": digest_of("product")})
    regress(world, "product")
    assert world.condition("GatePassed")["status"] == "False"
    assert served(world) == digest_of("newer")


def test_a_digest_that_was_never_proven_is_refused_with_those_that_were():
    world = make_newer("keep")
    world.edit(rollout={"modelDigest": digest_of("other")})
    world.settle()
    message = world.condition("Ready")["message"]
    assert "spec.rollout.modelDigest: no revision of" in message
    assert digest_of("product") in message
    assert served(world) == digest_of("newer")


@pytest.mark.parametrize("policy", ["keep", "rollBack"])
def test_the_history_is_bounded_and_keeps_the_last_way_back(policy: str):
    world = make_newer(policy)
    for number in range(MAX_REVISIONS + 2):
        refusal = f"No {number}."
        model = {"classifier": "prompt-harm-minilm"}
        world.edit(guardrails={"contentSafety": {"model": model}, "refusal": refusal})
        world.settle()
        prove(world)
    found = revisions(world)
    assert len(found) == MAX_REVISIONS
    assert found[-1]["modelDigest"] == digest_of("product")
