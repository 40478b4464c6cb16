"""Objects that have the names of children: adopted where they are ours and nobody owns them, else told."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.cluster.objects import KEY, make_child
from tests.unit.handlers.reconcile_world import STATUS, World, secret, service

from safety_operator.handlers.reconcile import OBSTACLE_SECONDS
from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import ANNOTATION_HASH, LABEL_ROLE
from safety_operator.state.plan import Child, Plan
from safety_operator.state.reading import format_time

LONG_AGO = "2026-01-01T00:00:00Z"
CONTROLLER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": True}
ADOPTED = ("Service", "Deployment", "ConfigMap", "NetworkPolicy")


def wanted(kind: str) -> Child:
    """A child of a kind; Jobs and Secrets are made once."""
    if kind == "Secret":
        return secret()
    manifest = dict(service().manifest) | {"kind": kind}
    return Child(manifest, create_only=kind == "Job")


def left(kind: str, *, owners: list[dict[str, Any]] | None = None, **meta: Any) -> dict[str, Any]:
    """What an earlier resource left under the name of a child."""
    obj = make_child("server") | {"kind": kind, "spec": {"port": "old"}}
    obj["metadata"] |= {"ownerReferences": owners or [], "creationTimestamp": LONG_AGO} | meta
    return obj


def put(world: World, obj: dict[str, Any], *, seen: bool) -> None:
    live = world.cluster.put(obj["kind"], obj)
    if seen:
        world.store.object_changed(obj["kind"], None, live)


def earlier(uid: str = "an-earlier-one") -> dict[str, Any]:
    owner = {"apiVersion": "modelsafety.dev/v1alpha1", "kind": "SafetyEval", "name": "base", "uid": uid}
    return owner | {"controller": True}


def told(world: World) -> str:
    conditions = {item["type"]: item for item in world.status["conditions"]}
    assert conditions["Stalled"]["status"] == "True"
    assert conditions["Stalled"]["reason"] == conditions["Ready"]["reason"] == "ObjectInTheWay"
    assert conditions["Ready"]["status"] == "False"
    assert world.status["state"] == "Stalled"
    message = str(conditions["Ready"]["message"])
    assert message.startswith(world.status["progress"]["text"])
    return message


@pytest.mark.parametrize("kind", ADOPTED)
async def test_an_orphan_of_ours_is_adopted_before_anything_is_planned(kind: str):
    world = World()
    put(world, left(kind), seen=True)
    _, calls = await world.reconcile()
    assert calls[:2] == ["get SafetyEval", f"patch {kind}"]
    assert ObjectKey(kind, "server") in world.seen[0].children
    (owner,) = world.cluster.objects[kind, "server"]["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == ("uid-base", True)
    assert (await world.reconcile())[1] == []


async def test_nothing_is_adopted_by_a_resource_that_is_being_deleted_with_its_children_orphaned():
    world = World()
    put(world, left("Deployment"), seen=True)
    world.cluster.objects["SafetyEval", "base"]["metadata"]["deletionTimestamp"] = LONG_AGO
    assert await world.reconcile() == ("gone", ["get SafetyEval"])
    assert world.cluster.objects["Deployment", "server"]["metadata"]["ownerReferences"] == []


async def test_a_specification_stays_with_the_orphaned_job_that_reads_it():
    world = World()
    orphan = left("ConfigMap")
    orphan["metadata"]["labels"][LABEL_ROLE] = "specification"
    put(world, orphan, seen=True)
    assert (await world.reconcile())[1] == ["status SafetyEval"]


async def test_an_adopted_server_that_no_plan_wants_is_taken_away():
    world = World()
    put(world, left("Deployment"), seen=True)
    world.wanted = Plan(STATUS, delete=(ObjectKey("Deployment", "server"),))
    await world.reconcile()
    assert ("Deployment", "server") not in world.cluster.objects


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("kind", [*ADOPTED, "Job", "Secret"])
async def test_a_foreign_object_stays_as_it_is_and_is_told_with_what_to_do(kind: str, *, seen: bool):
    world = World()
    foreign = left(kind, owners=[CONTROLLER]) if seen else left(kind, labels={"app": "web"})
    put(world, foreign, seen=seen)
    before = dict(world.cluster.objects[kind, "server"])
    world.wanted = Plan(STATUS, apply=(wanted(kind),))
    outcome, _ = await world.reconcile()
    assert outcome == "refused"
    assert world.cluster.objects[kind, "server"] == before
    message = told(world)
    assert f"{kind} server is in the way" in message
    assert ("ReplicaSet web-1" if seen else "somebody else's") in message
    assert f"kubectl delete -n team {kind.lower()}/server, or give this resource another name." in message


@pytest.mark.parametrize("kind", [*ADOPTED, "Job", "Secret"])
async def test_it_goes_on_when_the_object_is_gone(kind: str):
    world = World()
    put(world, left(kind, labels={}), seen=False)
    world.wanted = Plan(STATUS, apply=(wanted(kind),))
    await world.reconcile()
    told(world)
    due = asyncio.get_running_loop().time() + OBSTACLE_SECONDS
    assert world.queue._later[KEY].when() <= due
    del world.cluster.objects[kind, "server"]
    assert (await world.reconcile())[0] == "ok"
    assert world.cluster.objects[kind, "server"]["metadata"]["ownerReferences"][0]["uid"] == "uid-base"
    assert world.status["conditions"] == []


async def test_an_orphaned_job_that_runs_is_told():
    world = World()
    put(world, left("Job"), seen=True)
    world.wanted = Plan(STATUS, apply=(wanted("Job"),))
    await world.reconcile()
    message = told(world)
    assert "an earlier SafetyEval base left it, it still runs" in message
    assert "kubectl delete -n team job/server." in message


@pytest.mark.parametrize("type_", ["Complete", "Failed"])
async def test_an_orphaned_job_that_is_over_makes_room(type_: str):
    world = World()
    put(world, left("Job") | {"status": {"conditions": [{"type": type_, "status": "True"}]}}, seen=True)
    world.wanted = Plan(STATUS, apply=(wanted("Job"),))
    outcome, calls = await world.reconcile()
    assert outcome == "ok"
    assert calls[:4] == ["create Job", "get Job", "delete Job", "create Job"]


async def test_a_job_that_lost_its_owner_and_does_what_is_wanted_is_adopted():
    world = World()
    same = left("Job", annotations={ANNOTATION_HASH: "h1"}) | {"spec": {"port": "h1", "defaulted": 1}}
    put(world, same, seen=True)
    world.wanted = Plan(STATUS, apply=(wanted("Job"),))
    outcome, calls = await world.reconcile()
    assert (outcome, calls[:3]) == ("ok", ["create Job", "get Job", "apply Job"])


async def test_an_orphaned_secret_is_told_since_nobody_may_read_it():
    world = World()
    put(world, left("Secret"), seen=False)
    world.wanted = Plan(STATUS, apply=(secret(),))
    await world.reconcile()
    assert "kubectl delete -n team secret/server." in told(world)


@pytest.mark.parametrize("kind", [*ADOPTED, "Job", "Secret"])
async def test_what_garbage_collection_will_take_is_waited_for_and_then_told(kind: str):
    world = World()
    born = datetime.now(UTC)
    put(world, left(kind, owners=[earlier()], creationTimestamp=format_time(born)), seen=True)
    world.wanted = Plan(STATUS, apply=(wanted(kind),))
    assert (await world.reconcile())[0] == "refused"
    conditions = {item["type"]: item["status"] for item in world.status["conditions"]}
    assert conditions == {"Ready": "Unknown", "Stalled": "False", "Reconciling": "True"}
    assert world.status["state"] == "Waiting"
    assert "garbage collection takes it away" in world.status["conditions"][0]["message"]
    live = world.cluster.objects[kind, "server"]
    live["metadata"]["creationTimestamp"] = format_time(born - timedelta(seconds=61))
    await world.reconcile()
    assert "an earlier SafetyEval base" in told(world)


async def test_an_object_that_finalizers_hold_is_told_with_their_names():
    world = World()
    held = left("Job", deletionTimestamp=LONG_AGO, finalizers=["example.org/slow"])
    put(world, held, seen=True)
    world.wanted = Plan(STATUS, apply=(wanted("Job"),))
    await world.reconcile()
    assert "finalizers hold it: example.org/slow" in told(world)


async def test_a_server_of_an_earlier_resource_is_told_though_nothing_needs_its_name_yet():
    world = World()
    put(world, left("Deployment", owners=[earlier()]), seen=True)
    assert (await world.reconcile())[0] == "refused"
    assert "Deployment server is in the way" in told(world)


async def test_all_objects_in_the_way_are_named_at_once():
    world = World()
    for kind in ("Service", "Job", "Secret"):
        put(world, left(kind, labels={}), seen=False)
    world.wanted = Plan(
        STATUS, apply=tuple(wanted(kind) for kind in ("Service", "Job", "Secret", "ConfigMap"))
    )
    await world.reconcile()
    assert "kubectl delete -n team service/server job/server secret/server" in told(world)
    assert ("ConfigMap", "server") in world.cluster.objects


async def test_a_change_between_look_and_adoption_is_left_for_the_next_look():
    world = World()
    put(world, left("Deployment"), seen=True)
    world.cluster.put("Deployment", left("Deployment", owners=[CONTROLLER]))
    await world.reconcile()
    assert world.cluster.objects["Deployment", "server"]["metadata"]["ownerReferences"] == [CONTROLLER]
