"""Kinds of others are watched while the API server has them, and the operator runs without."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tests.unit.eventually import eventually

from safety_operator.cluster.kinds import OPTIONAL, RAY_JOB
from safety_operator.cluster.optional import OptionalWatch
from safety_operator.errors import ForbiddenError, NotFoundError
from safety_operator.state.keys import OPTIONAL_KINDS


class FakeApi:
    """An API server that may have RayJobs; a watch of them tells nothing new."""

    def __init__(self) -> None:
        self.plurals: frozenset[str] = frozenset()
        self.forbidden = False
        self.listed = 0
        self.gone_after = 1_000
        """Lists after which there are no RayJobs any more."""

    async def served(self, _: str) -> frozenset[str]:
        return self.plurals

    async def list(self, *_: Any, **__: Any) -> dict[str, Any]:
        if self.forbidden:
            raise ForbiddenError(403, "Forbidden", "no")
        self.listed += 1
        if self.listed > self.gone_after:
            self.plurals = frozenset()
            raise NotFoundError(404, "NotFound", "no")
        meta = {"name": "r", "namespace": "team", "uid": "u", "resourceVersion": "1"}
        return {"items": [{"metadata": meta}], "metadata": {"resourceVersion": "1"}}

    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[dict[str, Any]]:
        await asyncio.Event().wait()
        yield {}


class Seen:
    def __init__(self, api: FakeApi) -> None:
        self.kuberay: list[bool] = []
        self.names: set[str] = set()
        self.watch = OptionalWatch(
            api,  # type: ignore[arg-type]
            RAY_JOB,
            (None,),
            self.changed,
            lambda _, found: self.kuberay.append(found),
            look_seconds=0.01,
        )

    def changed(self, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        if after is not None:
            self.names.add(after["metadata"]["name"])
        elif before is not None:
            self.names.discard(before["metadata"]["name"])


def test_planners_and_watches_mean_the_same_kinds():
    assert set(OPTIONAL) == OPTIONAL_KINDS


async def test_without_kuberay_nothing_is_watched_and_nobody_waits():
    seen = Seen(FakeApi())
    task = asyncio.create_task(seen.watch.run())
    await seen.watch.looked.wait()
    task.cancel()
    assert seen.kuberay == []


async def test_kuberay_is_noticed_when_it_comes_and_when_it_goes():
    api = FakeApi()
    seen = Seen(api)
    task = asyncio.create_task(seen.watch.run())
    await seen.watch.looked.wait()
    api.plurals = frozenset({"rayjobs"})
    await eventually(lambda: seen.kuberay == [True])
    assert seen.names == {"r"}
    api.plurals = frozenset()
    await eventually(lambda: seen.kuberay == [True, False])
    task.cancel()
    assert seen.names == set()


async def test_ray_jobs_that_may_not_be_read_are_as_good_as_none():
    api = FakeApi()
    api.plurals, api.forbidden = frozenset({"rayjobs"}), True
    seen = Seen(api)
    task = asyncio.create_task(seen.watch.run())
    await seen.watch.looked.wait()
    task.cancel()
    assert seen.kuberay == []


async def test_nobody_waits_for_ray_jobs_that_went_before_they_were_listed():
    api = FakeApi()
    api.plurals, api.gone_after = frozenset({"rayjobs"}), 1
    seen = Seen(api)
    task = asyncio.create_task(seen.watch.run())
    async with asyncio.timeout(5):
        await seen.watch.looked.wait()
    task.cancel()
    assert seen.names == set()
    assert True not in seen.kuberay
