"""Whatever call of a reconcile fails, or is the last of its process: what is wanted comes about, once."""

import contextlib
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.unit.cluster.fake_cluster import FakeCluster
from tests.unit.cluster.objects import KEY, make_child
from tests.unit.handlers.reconcile_world import STATUS, World, secret, service
from tests.unit.handlers.test_obstacles import left

from safety_operator.cluster.kinds import WATCHES
from safety_operator.errors import ApiError, ApiUnreachableError, InfrastructureError
from safety_operator.state.keys import ObjectKey
from safety_operator.state.plan import Child, Plan

MANIFEST = service().manifest
WANTED = Plan(
    STATUS,
    apply=(
        *(Child(MANIFEST | {"kind": kind}) for kind in ("NetworkPolicy", "ConfigMap", "Deployment")),
        Child(MANIFEST | {"kind": "Job"}, create_only=True),
        secret(),
    ),
    delete=(ObjectKey("Job", "old"),),
)
EXIST = {(child.manifest["kind"], "server") for child in WANTED.apply} | {("SafetyEval", "base")}
MOST_CALLS = 30
WATCHED = {spec.kind.kind for spec in WATCHES}


class Killed(BaseException):
    """The process ends between two calls."""


class Interrupted:
    """A cluster whose n-th call fails, before it does anything or once it is done."""

    def __init__(self, cluster: FakeCluster, number: int, error: BaseException, *, done: bool) -> None:
        self._cluster = cluster
        self._left = number
        self._error = error
        self._done = done

    @property
    def was_interrupted(self) -> bool:
        return self._left < 0

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        call = getattr(self._cluster, name)

        async def interrupted(*args: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left != -1:
                return await call(*args, **options)
            if self._done:
                await call(*args, **options)
            raise self._error

        return interrupted


def make_world(cluster: FakeCluster, api: object = None) -> World:
    """A process on a cluster, which it has listed."""
    world = World(cluster=cluster, api=api)
    world.wanted = WANTED
    watch(world)
    return world


def watch(world: World) -> None:
    """Tell the process what the cluster has, as its watches would."""
    objects, store = world.cluster.objects, world.store
    for (kind, _), obj in objects.items():
        if kind in WATCHED:
            store.object_changed(kind, None, copy.deepcopy(obj))
    for name, obj in list(store.children.get(KEY, {}).items()):
        if name.kind in WATCHED and name not in objects:
            store.object_changed(name.kind, obj, None)


async def finish(world: World) -> None:
    """Reconcile until nothing is left to do, as the queue would."""
    for _ in range(5):
        watch(world)
        with contextlib.suppress(InfrastructureError):
            if (await world.reconcile())[1] == []:
                return
    raise AssertionError(f"it never comes to rest: {world.cluster.calls}")


FAULTS = [
    ApiUnreachableError("reset"),
    ApiError.of(409, "Conflict", "the object has been modified"),
    ApiError.of(410, "Expired", "too old"),
    ApiError.of(429, "TooManyRequests", "slow down"),
    ApiError.of(500, "InternalError", "etcdserver: request timed out"),
    Killed(),
]


@pytest.mark.parametrize("done", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: getattr(fault, "reason", type(fault).__name__))
@pytest.mark.parametrize("orphaned", [False, True], ids=["new", "with an orphan"])
async def test_any_call_may_be_the_one_that_fails(fault: BaseException, *, done: bool, orphaned: bool):
    for number in range(MOST_CALLS):
        cluster = FakeCluster()
        cluster.put("Job", make_child("old"))
        if orphaned:
            cluster.put("Deployment", left("Deployment"))
        api = Interrupted(cluster, number, fault, done=done)
        world = make_world(cluster, api)
        try:
            await world.reconcile()
        except InfrastructureError:
            pass
        except Killed:
            world = make_world(cluster)
        made = [copy.deepcopy(obj) for (kind, _), obj in cluster.objects.items() if kind in {"Job", "Secret"}]
        await finish(world)
        assert set(cluster.objects) == EXIST
        owners = [
            obj["metadata"]["ownerReferences"]
            for (_, name), obj in cluster.objects.items()
            if name == "server"
        ]
        assert [[owner["uid"] for owner in found] for found in owners] == [["uid-base"]] * len(owners)
        assert world.status == STATUS
        for obj in made:
            if obj["metadata"]["name"] != "old":
                assert cluster.objects[obj["kind"], "server"] == obj, "it is made once"
        if not api.was_interrupted:
            break
    assert 8 < number < MOST_CALLS, "each call of a reconcile was the one"
