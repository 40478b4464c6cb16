"""Children that admission refuses, or does not let go."""

import pytest
from tests.unit.handlers.reconcile_world import ADMISSION, SILENT_HOOK, STATUS, World, secret, service

from safety_operator.errors import ApiError, InvalidError
from safety_operator.state.keys import ObjectKey
from safety_operator.state.plan import Plan


@pytest.mark.parametrize("create", [True, False], ids=["created", "applied"])
@pytest.mark.parametrize("answer", ADMISSION)
async def test_what_admission_refuses_is_told_whatever_its_status(answer, create):
    world = World()
    child = secret() if create else service()
    world.cluster.refuse[child.manifest["kind"]] = ApiError.of(*answer)
    world.wanted = Plan(STATUS, apply=(child,))
    outcome, _ = await world.reconcile()
    assert outcome == "refused"
    conditions = {c["type"]: c for c in world.status["conditions"]}
    assert answer[2] in conditions["Ready"]["message"]
    silent = answer[2] == SILENT_HOOK
    assert conditions["Stalled"]["status"] == ("False" if silent else "True")
    assert ("does not answer: fix it" in conditions["Ready"]["message"]) == silent


@pytest.mark.parametrize("answer", ADMISSION)
async def test_what_admission_does_not_let_go_is_told(answer):
    world = World()
    world.wanted = Plan(STATUS, apply=(service(),))
    await world.reconcile()
    world.cluster.refuse["Service"] = ApiError.of(*answer)
    world.wanted = Plan(STATUS, delete=(ObjectKey("Service", "server"),))
    if answer[0] in {404, 409}:  # which say that it is gone, or another by now: the watch will tell
        assert (await world.reconcile())[0] == "ok"
        return
    assert (await world.reconcile())[0] == "refused"
    conditions = {c["type"]: c for c in world.status["conditions"]}
    assert answer[2] in conditions["Ready"]["message"]


async def test_an_api_server_in_trouble_is_no_refusal():
    world = World()
    world.cluster.refuse["Service"] = ApiError.of(500, "InternalError", "etcdserver: request timed out")
    world.wanted = Plan(STATUS, apply=(service(),))
    with pytest.raises(ApiError):
        await world.reconcile()


async def test_a_refused_child_is_told_and_the_others_are_made():
    world = World()
    world.cluster.refuse["Secret"] = InvalidError(422, "Invalid", "spec.x: must be positive")
    world.wanted = Plan(STATUS, apply=(secret(), service()))
    outcome, _ = await world.reconcile()
    assert outcome == "refused"
    assert ("Service", "server") in world.cluster.objects
    conditions = {c["type"]: c for c in world.status["conditions"]}
    assert conditions["Stalled"]["status"] == "True"
    assert "spec.x: must be positive" in conditions["Ready"]["message"]
