"""What the loop does with a plan: children, status, events, failures."""

import asyncio
import copy
from typing import Any

import pytest
from tests.unit.cluster.objects import KEY, ended, make_child, make_pod, make_resource
from tests.unit.eventually import eventually
from tests.unit.handlers.reconcile_world import ADMISSION, STATUS, World, secret, service

from safety_operator.cluster.event_reader import FIRST_SECONDS
from safety_operator.cluster.pods import LABEL_POD_HASH
from safety_operator.errors import ApiError, ApiUnreachableError, ForbiddenError, InvalidError, NotFoundError
from safety_operator.handlers.reconcile import (
    MISSING_SECONDS,
    REFUSED_SECONDS,
    STALLED_SECONDS,
    work,
)
from safety_operator.state.keys import Key, ObjectKey
from safety_operator.state.observed import Needs, Observed
from safety_operator.state.plan import Child, Event, Plan

OTHER = Key("SafetyEval", "team", "other")


async def test_what_is_missing_is_applied_and_then_reported():
    world = World()
    world.wanted = Plan(STATUS, apply=(service(),))
    assert await world.reconcile() == ("ok", ["get Service", "apply Service", "status SafetyEval"])
    assert ObjectKey("Service", "server") in world.seen[-1].children
    assert world.status == STATUS


async def test_a_second_look_costs_no_call():
    world = World()
    world.wanted = Plan(STATUS, apply=(service(),))
    await world.reconcile()
    assert await world.reconcile() == ("ok", [])


async def test_a_network_policy_is_posted_first_and_applied_from_then_on():
    world = World()
    policy = service().manifest | {"kind": "NetworkPolicy"}
    world.wanted = Plan(STATUS, apply=(Child(policy),))
    assert await world.reconcile() == ("ok", ["create NetworkPolicy", "status SafetyEval"])
    live = world.cluster.objects["NetworkPolicy", "server"]
    live["metadata"]["generation"] = 2
    world.store.object_changed("NetworkPolicy", None, world.cluster.put("NetworkPolicy", live))
    assert await world.reconcile() == ("ok", ["apply NetworkPolicy"])


async def test_a_network_policy_that_exists_unseen_is_applied():
    world = World()
    policy = service().manifest | {"kind": "NetworkPolicy"}
    world.cluster.put("NetworkPolicy", dict(policy))
    world.wanted = Plan(STATUS, apply=(Child(policy),))
    assert (await world.reconcile())[1][:2] == ["create NetworkPolicy", "get NetworkPolicy"]


async def test_another_wanted_manifest_is_applied():
    world = World()
    world.wanted = Plan(STATUS, apply=(service(),))
    await world.reconcile()
    world.wanted = Plan(STATUS, apply=(service("h2"),))
    assert await world.reconcile() == ("ok", ["apply Service"])


async def test_a_foreign_change_is_applied_over():
    world = World()
    world.wanted = Plan(STATUS, apply=(service(),))
    await world.reconcile()
    live = world.cluster.objects["Service", "server"]
    world.store.object_changed("Service", None, world.cluster.put("Service", live | {"spec": {"port": "x"}}))
    assert await world.reconcile() == ("ok", ["apply Service"])
    assert world.cluster.objects["Service", "server"]["spec"] == {"port": "h1"}


async def test_a_generated_secret_is_made_once_and_its_key_is_not_kept():
    world = World()
    world.wanted = Plan(STATUS, apply=(secret(),))
    assert (await world.reconcile())[1] == ["create Secret", "get Secret", "status SafetyEval"]
    key = world.cluster.objects["Secret", "server"]["stringData"]["api-key"]
    assert len(key) > 40
    assert set(world.store.children[KEY][ObjectKey("Secret", "server")]) == {"apiVersion", "kind", "metadata"}
    assert (await world.reconcile())[1] == []
    again = World()
    again.wanted = Plan(STATUS, apply=(secret(),))
    await again.reconcile()
    assert again.cluster.objects["Secret", "server"]["stringData"]["api-key"] != key


async def test_after_a_restart_a_secret_that_exists_is_as_good():
    world = World()
    world.wanted = Plan(STATUS, apply=(secret(),))
    world.cluster.put("Secret", dict(secret().manifest))
    outcome, calls = await world.reconcile()
    assert (outcome, calls[:2]) == ("ok", ["create Secret", "get Secret"])
    assert ObjectKey("Secret", "server") in world.store.children[KEY]


async def test_what_is_not_wanted_is_deleted():
    world = World()
    world.store.object_changed("Job", None, world.cluster.put("Job", make_child("old")))
    world.wanted = Plan(STATUS, delete=(ObjectKey("Job", "old"), ObjectKey("Job", "long-gone")))
    _, calls = await world.reconcile()
    assert calls[0] == "delete Job"
    assert ("Job", "old") not in world.cluster.objects


async def test_what_finalizers_hold_is_not_deleted_again_and_again():
    world = World()
    held = make_child("old")
    held["metadata"] |= {"deletionTimestamp": "now", "finalizers": ["example.org/slow"]}
    world.store.object_changed("Job", None, world.cluster.put("Job", held))
    world.wanted = Plan(STATUS, delete=(ObjectKey("Job", "old"),))
    assert await world.reconcile() == ("ok", ["status SafetyEval"])


async def test_what_is_remembered_of_children_does_not_grow_with_each_run():
    world = World()
    for run in range(3):
        manifest = dict(service().manifest)
        manifest["metadata"] = manifest["metadata"] | {"name": f"run-{run}"}
        world.wanted = Plan(STATUS, apply=(Child(manifest),))
        await world.reconcile()
    assert [name.name for name in world.reconciler._applier._marks[KEY]] == ["run-2"]


async def test_children_of_an_earlier_resource_of_the_name_do_not_count():
    world = World()
    world.store.object_changed("Job", None, make_child("job", uid="uid-of-an-earlier-one"))
    await world.reconcile()
    assert world.seen[-1].children == {}


async def test_the_status_is_written_only_where_it_differs():
    world = World()
    assert (await world.reconcile())[1] == ["status SafetyEval"]
    assert (await world.reconcile())[1] == []
    world.wanted = Plan(STATUS | {"state": "Waiting"})
    assert (await world.reconcile())[1] == ["status SafetyEval"]


async def test_a_status_waits_while_others_have_nothing_yet():
    world = World()
    world.wanted = Plan(STATUS, apply=(service(),))
    world.queue.add(OTHER, urgent=True)
    assert await world.reconcile() == ("deferred", ["get Service", "apply Service"])
    assert await world.queue.get() == OTHER
    assert await asyncio.wait_for(world.queue.get(), 3) == KEY


@pytest.mark.parametrize(
    ("plan", "refuse", "seconds"),
    [
        (Plan(STATUS, requeue_after=7), {}, 7),
        (Plan(STATUS), {}, None),
        (
            Plan(STATUS, apply=(service(),)),
            {"Service": ForbiddenError(403, "Forbidden", "quota")},
            REFUSED_SECONDS,
        ),
        (Plan(STATUS, apply=(service(),)), {"Service": InvalidError(422, "Invalid", "no")}, None),
        *(
            (Plan(STATUS, apply=(service(),)), {"Service": ApiError.of(*answer)}, REFUSED_SECONDS)
            for answer in ADMISSION
        ),
    ],
)
async def test_when_it_looks_again_without_a_change(plan, refuse, seconds, monkeypatch):
    world = World()
    times: list[float] = []
    monkeypatch.setattr(world.queue, "add_after", lambda _, after: times.append(after))
    world.wanted, world.cluster.refuse = plan, refuse
    await world.reconcile()
    assert times == ([] if seconds is None else [seconds])


@pytest.mark.parametrize(
    ("status", "seconds"),
    [
        ({"startTime": "2026-11-21T12:00:00Z"}, [FIRST_SECONDS]),
        ({"startTime": "2026-11-21T12:00:00Z", "conditions": [{"type": "Complete", "status": "True"}]}, []),
    ],
    ids=["refused", "finished"],
)
async def test_only_a_job_that_does_not_move_is_looked_at_again(status, seconds, monkeypatch):
    world = World()
    job = make_child("job") | {"spec": {}, "status": status}
    world.store.object_changed("Job", None, world.cluster.put("Job", job))
    times: list[float] = []
    monkeypatch.setattr(world.queue, "add_after", lambda _, after: times.append(after))
    assert (await world.reconcile())[1] == ["status SafetyEval"]
    assert times == seconds


async def test_a_missing_secret_is_looked_for_again(monkeypatch):
    world = World(needs=Needs(secrets=frozenset({"token"})))
    times: list[float] = []
    monkeypatch.setattr(world.queue, "add_after", lambda _, after: times.append(after))
    await world.reconcile()
    assert world.seen[-1].secrets == {"token": None}
    assert times == [MISSING_SECONDS]


@pytest.mark.parametrize(
    ("condition", "exists", "seconds"),
    [
        ({"type": "Ready", "status": "True"}, False, []),
        ({"type": "Stalled", "status": "True"}, True, [STALLED_SECONDS]),
        ({"type": "Ready", "status": "Unknown"}, True, []),
    ],
)
async def test_a_secret_is_looked_at_only_while_somebody_may_mend_it(condition, exists, seconds, monkeypatch):
    world = World(needs=Needs(secrets=frozenset({"token"})))
    if exists:
        world.cluster.put("Secret", make_child("token"))
    times: list[float] = []
    monkeypatch.setattr(world.queue, "add_after", lambda _, after: times.append(after))
    world.wanted = Plan({"state": "x", "conditions": [condition | {"reason": "R", "message": ""}]})
    await world.reconcile()
    assert times == seconds


async def test_a_resource_that_vanished_with_its_children_is_not_built_again():
    world = World()
    world.wanted = Plan(STATUS, apply=(service(),))
    await world.reconcile()
    world.store.object_changed("Service", world.cluster.objects.pop(("Service", "server")), None)
    del world.cluster.objects["SafetyEval", "base"]
    assert await world.reconcile() == ("gone", ["get SafetyEval"])
    assert KEY not in world.store.resources


async def test_a_resource_that_is_being_deleted_is_left_alone():
    world = World()
    world.wanted = Plan(STATUS, apply=(service(),))
    resource = world.cluster.objects["SafetyEval", "base"]
    resource["metadata"] |= {"deletionTimestamp": "now", "resourceVersion": "999"}
    world.store.put_resource(resource)
    assert await world.reconcile() == ("gone", [])


async def test_in_a_namespace_that_goes_nothing_is_made_and_nothing_is_tried_again():
    world = World()
    world.cluster.refuse["Service"] = NotFoundError(404, "NotFound", 'namespaces "team" not found')
    world.wanted = Plan(STATUS, apply=(service(),))
    assert (await world.reconcile())[0] == "gone"
    assert world.status == {}
    assert world.queue._later == {}


async def test_a_resource_that_goes_while_its_children_are_made_is_forgotten():
    world = World()
    del world.cluster.objects["SafetyEval", "base"]
    world.wanted = Plan(STATUS, apply=(service(),), events=(Event("Normal", "Started", "It started."),))
    assert await world.reconcile() == ("ok", ["get Service", "apply Service", "status SafetyEval"])
    assert KEY not in world.store.resources
    assert world.recorder._queue.empty()
    assert await world.reconcile() == ("gone", [])


async def test_a_resource_whose_deletion_is_told_while_its_children_are_made_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
):
    world = World()
    world.wanted = Plan(STATUS, apply=(service(),))
    apply = world.cluster.apply

    async def delete_meanwhile(*args: Any) -> dict[str, Any]:
        world.store.drop_resource(KEY, "uid-base")
        world.reconciler.forget(KEY)
        return await apply(*args)

    monkeypatch.setattr(world.cluster, "apply", delete_meanwhile)
    await world.reconcile()
    assert world.reconciler._applier._marks == {}
    assert not world.store.children


async def test_each_event_is_sent_once():
    world = World()
    world.wanted = Plan(STATUS, events=(Event("Normal", "Started", "Stage fetch started."),) * 2)
    sending = asyncio.create_task(world.recorder.run())
    await world.reconcile()
    await world.reconcile()
    await asyncio.sleep(0.01)
    sending.cancel()
    events = [obj for (kind, _), obj in world.cluster.objects.items() if kind == "Event"]
    assert [e["note"] for e in events] == ["Stage fetch started."]
    assert events[0]["regarding"]["uid"] == "uid-base"


async def run_workers(world: World) -> list[asyncio.Task[None]]:
    allowed = asyncio.Event()
    allowed.set()
    return [asyncio.create_task(work(world.queue, world.reconciler, allowed)) for _ in range(2)]


async def test_a_change_that_comes_while_the_lease_is_not_renewed_waits_for_it():
    world, allowed = World(), asyncio.Event()
    allowed.set()
    worker = asyncio.create_task(work(world.queue, world.reconciler, allowed))
    await asyncio.sleep(0)  # it waits for a key
    allowed.clear()
    world.queue.add(KEY)
    for _ in range(20):
        await asyncio.sleep(0)
    assert world.cluster.calls == []
    allowed.set()
    await eventually(lambda: world.status == STATUS)
    worker.cancel()


@pytest.mark.parametrize("error", [ApiUnreachableError("reset"), ValueError("a bug")], ids=["network", "bug"])
async def test_a_failure_is_tried_again_and_harms_no_other_key(error, monkeypatch):
    world = World()
    world.store.put_resource(world.cluster.put("SafetyEval", make_resource("other")))
    failures = [error, error]

    def plan(observed: Observed, _: Any, __: Any) -> Plan:
        if observed.resource["metadata"]["name"] == "base" and failures:
            raise failures.pop()
        return Plan(STATUS)

    monkeypatch.setattr(world.reconciler, "_plan", plan)
    monkeypatch.setattr("safety_operator.handlers.queue.FIRST_BACKOFF_SECONDS", 0.01)
    workers = await run_workers(world)
    world.queue.add(KEY)
    world.queue.add(OTHER)
    await eventually(lambda: world.status == STATUS)
    assert world.cluster.objects["SafetyEval", "other"]["status"] == STATUS
    assert not any(worker.done() for worker in workers)
    for worker in workers:
        worker.cancel()


async def test_deployments_whose_pods_are_told_to_end_are_seen_until_these_are_over():
    world = World()
    pod = make_child("server-ab1-x1", labels={LABEL_POD_HASH: "ab1"})
    pod["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "server-ab1"}]
    pod |= {"spec": {"containers": [{"name": "worker"}]}, "status": {"phase": "Running"}}
    seen = []
    for deleted, phase in ((False, "Running"), (True, "Running"), (True, "Succeeded")):
        pod["metadata"] |= {"deletionTimestamp": "2026-11-21T12:01:00Z"} if deleted else {}
        pod["status"] = {"phase": phase}
        world.store.object_changed("Pod", None, copy.deepcopy(pod))
        await world.reconcile()
        seen.append((set(world.seen[-1].with_pods), set(world.seen[-1].draining)))
    assert seen == [({"server"}, set()), ({"server"}, {"server"}), (set(), set())]


@pytest.mark.parametrize(
    ("born", "status", "leaving"),
    [
        ("2026-11-21T12:00:00Z", {"phase": "Pending"}, {"job": "p"}),
        ("2026-11-21T11:00:00Z", {"phase": "Pending"}, {}),
        ("2026-11-21T12:00:00Z", ended(0), {}),
        ("2026-11-21T12:00:00Z", ended(1) | {"phase": "Pending"}, {}),
    ],
    ids=["works", "of an earlier resource", "over", "its worker is over"],
)
async def test_pods_whose_job_is_gone_are_seen_while_they_may_write(born, status, leaving):
    world = World()
    world.store.resources[KEY]["metadata"]["creationTimestamp"] = "2026-11-21T11:30:00Z"
    world.store.object_changed("Pod", None, make_pod("p", "job", born=born, **status))
    await world.reconcile()
    assert world.seen[-1].leaving == leaving
    # Times have no fractions of a second: a resource can be as old as the pod of the one before it, whose Job
    # was orphaned and is there.
    orphan = make_child("job") | {"kind": "Job", "spec": {}}
    del orphan["metadata"]["ownerReferences"]
    world.store.object_changed("Job", None, orphan)
    await world.reconcile()
    assert world.seen[-1].leaving == {}


async def test_a_pod_of_a_job_of_the_resource_is_not_left_over():
    world = World()
    world.store.object_changed("Pod", None, make_pod("p", "job", phase="Pending"))
    await world.reconcile()
    assert world.seen[-1].leaving == {"job": "p"}
    job = make_child("job") | {"kind": "Job", "spec": {}}
    world.store.object_changed("Job", None, world.cluster.put("Job", job))
    await world.reconcile()
    assert world.seen[-1].leaving == {}


async def test_a_probe_elsewhere_is_made_with_the_children_and_removed_once_the_status_has_its_result():
    world = World()
    job = service().manifest | {"kind": "Job"}
    world.wanted = Plan(STATUS, apply=(service(),), outside=job)
    calls = (await world.reconcile())[1]
    assert calls == ["get Service", "apply Service", "create Job", "create Job", "status SafetyEval"]
    live = world.cluster.objects["Job", "server"]
    world.wanted = Plan(STATUS | {"state": "Serving"}, apply=(service("h2"),), outside_over=(live,))
    assert (await world.reconcile())[1] == ["apply Service", "status SafetyEval", "delete Job"]
