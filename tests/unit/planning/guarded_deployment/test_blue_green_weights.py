"""Strategy BlueGreen: a share of the requests first, by weights of an HTTPRoute."""

import copy
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.planning.examples import finished_eval, finished_finetune
from tests.unit.planning.guarded_deployment.blue_green import (
    BAD,
    BLUE_GREEN,
    ROUTE,
    deployments,
    finish,
    new_model,
    promoted,
    prove_new,
    track,
)
from tests.unit.planning.guarded_deployment.guarded import GOOD, make_serving
from tests.unit.planning.world import World, digest_of

from safety_cli.simulation import take_route
from safety_operator.state.keys import ObjectKey
from safety_operator.state.reading import format_time


class TestWeights:
    """By HTTPRoute, in steps."""

    SPEC: dict[str, Any] = {
        "rollout": BLUE_GREEN | {"weights": [10, 50], "stepSeconds": 60},
        "expose": ROUTE,
        "access": {"keys": [{"name": "team", "secretRef": {"name": "team", "key": "token"}}]},
    }

    @pytest.fixture
    def world(self) -> World:
        world = make_serving(**{k: v for k, v in self.SPEC.items() if k != "access"})
        new_model(world, "newer")
        return world

    def route(self, world: World) -> dict[str, Any]:
        return next(child for key, child in world.children.items() if key.kind == "HTTPRoute")

    def weights(self, world: World) -> list[int | None]:
        return [item.get("weight") for item in self.route(world)["spec"]["rules"][0]["backendRefs"]]

    def step(self, world: World, proof: Any = GOOD) -> None:
        world.wait(61)
        world.settle()
        world.succeed("prove-candidate", proof=proof)
        world.settle()

    def test_each_step_needs_its_time_and_a_good_proof_from_after_it(self, world: World):
        assert self.weights(world) == [None]
        prove_new(world)
        assert self.weights(world) == [90, 10]
        assert track(world) == "blue"
        assert "10 % of the HTTPRoute's requests (step 1 of 2)" in promoted(world)[2]
        world.wait(59)
        world.settle()
        assert self.weights(world) == [90, 10]
        self.step(world)
        assert self.weights(world) == [50, 50]
        self.step(world)
        assert track(world) == "green"
        assert self.weights(world) == [None]
        assert world.status["rollout"]["live"]["modelDigest"] == digest_of("newer")

    def test_a_step_ends_only_for_a_proof_that_the_status_has(self, world: World):
        prove_new(world)
        world.wait(61)
        world.settle()
        world.succeed("prove-candidate", proof=GOOD)
        made = world.plan()
        world.carry_out(made)
        assert self.weights(world) == [90, 10]
        assert made.requeue_after == 1.0
        world.carry_out(world.plan())
        assert self.weights(world) == [50, 50]

    def test_a_proof_that_fails_in_a_step_gives_all_requests_back_at_once(self, world: World):
        prove_new(world)
        self.step(world, BAD)
        assert self.weights(world) == [None]
        assert promoted(world)[:2] == ("False", "RolloutFailed")
        assert len(deployments(world, "model")) == 2, "requests on their way are answered"
        world.wait(31)
        world.settle()
        assert len(deployments(world, "model")) == 1

    @pytest.mark.parametrize("change", ["model", "strategy"])
    def test_a_version_that_is_given_up_in_a_step_goes_when_its_requests_do(self, world: World, change: str):
        prove_new(world)
        if change == "model":
            new_model(world, "product")
        else:
            world.edit(rollout={"strategy": "Rolling"})
            world.settle()
        assert self.weights(world) == [None]
        assert len(deployments(world, "guardrails")) == 2, "the Gateway may not know yet"
        world.wait(31)
        world.settle()
        assert len(deployments(world, "guardrails")) == 1

    @pytest.mark.parametrize("steps", [1, 2])
    def test_the_newest_version_in_a_step_comes_up_when_no_request_leads_to_the_one_it_replaces(
        self, world: World, steps: int
    ):
        prove_new(world)
        for _ in range(steps - 1):
            self.step(world)
        before = self.other(world)
        world.refer("SafetyFinetune", "hardened", finished_finetune("third"))
        world.refer("SafetyEval", "hardened", finished_eval("third"))
        for wait in (0, 0, 1, 28):
            world.wait(wait)
            world.carry_out(world.plan())
            assert self.weights(world) == [None]
            assert self.other(world) == before, "the Gateway may not know yet"
        assert promoted(world)[:2] == ("Unknown", "RollingOut")
        assert "when requests to its track are over" in promoted(world)[2]
        assert 0 < (world.plan().requeue_after or 0) <= 2
        world.wait(2)
        world.settle()
        assert world.status["rollout"]["candidate"]["modelDigest"] == digest_of("third")
        assert (self.weights(world), track(world)) == ([None], "blue")
        prove_new(world)
        assert self.weights(world) == [90, 10]
        for _ in range(2):
            self.step(world)
        assert world.status["rollout"]["live"]["modelDigest"] == digest_of("third")

    def test_an_operator_that_ends_while_a_version_is_given_up_in_a_step_gives_it_the_same_time(
        self, world: World
    ):
        prove_new(world)
        before = self.other(world)
        world.refer("SafetyFinetune", "hardened", finished_finetune("third"))
        world.refer("SafetyEval", "hardened", finished_eval("third"))
        lost = dict(world.status)
        world.carry_out(world.plan())
        world.resource["status"] = lost
        world.carry_out(world.plan())
        assert (self.weights(world), self.other(world)) == ([None], before)

    def test_undone_in_a_step_the_version_that_serves_keeps_all_requests(self, world: World):
        prove_new(world)
        before = self.other(world)
        world.edit(rollout=self.SPEC["rollout"] | {"modelDigest": digest_of("product")})
        world.carry_out(world.plan())
        assert (self.weights(world), self.other(world)) == ([None], before)
        world.settle()
        world.wait(31)
        world.settle()
        assert len(deployments(world, "model")) == 1
        assert world.status["rollout"]["live"]["modelDigest"] == digest_of("product")
        assert promoted(world)[0] == "True"

    def other(self, world: World) -> list[Any]:
        """What the other track has that requests need: Deployments as they are told to be, and policies."""
        rails = deployments(world, "guardrails")[-1]
        suffix = rails.rsplit("-", 1)[1]
        found = [
            child["spec"]
            for key, child in sorted(world.children.items())
            if (key.kind == "Deployment" and key.name.endswith(suffix))
            or (key.kind == "NetworkPolicy" and key.name.endswith("-green"))
        ]
        return copy.deepcopy(found)

    def test_where_nothing_serves_a_proven_version_gets_all_requests_without_steps(self, world: World):
        for suspend in (True, False):
            world.edit(suspend=suspend)
            world.settle()
        prove_new(world)
        assert world.status["rollout"]["live"]["modelDigest"] == digest_of("newer")
        assert self.weights(world) == [None]

    def test_the_way_back_from_a_regression_gets_all_requests_without_steps(self):
        gate = {"evalRefs": [{"name": "hardened"}], "onRegression": "rollBack"}
        world = make_serving(rollout=self.SPEC["rollout"], expose=ROUTE, gate=gate)
        new_model(world, "newer")
        prove_new(world)
        self.step(world)
        self.step(world)
        finish(world)
        assert world.status["served"]["modelDigest"] == digest_of("newer")
        world.refer("SafetyEval", "hardened", finished_eval("newer", passed=False))
        world.settle()
        prove_new(world)
        assert world.status["served"]["modelDigest"] == digest_of("product")
        assert self.weights(world) == [None]

    def test_pods_that_are_not_ready_any_more_get_no_requests(self, world: World):
        prove_new(world)
        new = deployments(world, "model")[-1]
        world.children[ObjectKey("Deployment", new)]["status"]["readyReplicas"] = 0
        world.settle()
        assert self.weights(world) == [None]
        assert track(world) == "blue"
        assert promoted(world)[:2] == ("Unknown", "RollingOut")

    def test_without_the_kind_in_the_cluster_it_waits_and_says_so(self, world: World):
        world.optional = frozenset()
        prove_new(world)
        assert track(world) == "blue"
        assert "its weights wait for the HTTPRoute" in promoted(world)[2]

    @pytest.mark.parametrize("steps", [0, 1, 2])
    def test_a_step_begins_and_ends_only_where_the_gateway_has_taken_the_route_as_it_is(
        self, world: World, steps: int
    ):
        if steps == 0:
            self.route(world)["status"] = {}
        prove_new(world)
        for _ in range(steps - 1):
            self.step(world)
        before = self.weights(world)
        if steps:
            self.route(world)["status"]["parents"][0]["conditions"][0]["observedGeneration"] -= 1
            self.step(world)
        assert (self.weights(world), track(world)) == (before, "blue")
        assert "its weights wait for the HTTPRoute" in promoted(world)[2]
        take_route(self.route(world))
        world.settle()
        assert self.weights(world) != before
        assert (track(world) == "green") == (steps == 2)

    @pytest.mark.parametrize("how", ["one of two Gateways", "ResolvedRefs"])
    def test_a_step_waits_for_each_gateway_and_for_none_to_refuse(self, how: str):
        refs = [{"name": "gateway"}, {"name": "second"}]
        world = make_serving(rollout=self.SPEC["rollout"], expose={"httpRoute": {"parentRefs": refs}})
        new_model(world, "newer")
        parents = self.route(world)["status"]["parents"]
        if how == "ResolvedRefs":
            refused = parents[1]["conditions"][0] | {"type": "ResolvedRefs", "status": "False"}
            parents[1]["conditions"] = [*parents[1]["conditions"], refused]
        else:
            del parents[1]
        prove_new(world)
        assert self.weights(world) == [None]
        assert "its weights wait for the HTTPRoute" in promoted(world)[2]

    @pytest.mark.parametrize(
        ("known", "decided"),
        [({"step": 0, "weight": 0}, [90, 10]), ({"step": 1, "weight": 10}, [50, 50])],
    )
    def test_a_step_that_the_status_does_not_know_yet_is_decided_again_before_the_gateway_has_taken_it(
        self, world: World, known: dict[str, int], decided: list[int]
    ):
        prove_new(world)
        for _ in range(known["step"]):
            self.step(world)
        assert self.weights(world) == decided
        began = format_time(world.now - timedelta(seconds=61))
        entry = known | {"stepStartedAt": began if known["step"] else ""}
        world.resource["status"]["rollout"]["candidate"] |= entry
        self.route(world)["status"]["parents"][0]["conditions"][0]["observedGeneration"] -= 1
        (route,) = (item.manifest for item in world.plan().apply if item.manifest["kind"] == "HTTPRoute")
        assert [ref.get("weight") for ref in route["spec"]["rules"][0]["backendRefs"]] == decided
