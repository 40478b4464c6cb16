"""Kopf's events: what is put on the queue, and what is only an echo. Kopf itself is not started."""

import asyncio
import time
from typing import Any

import kopf
import pytest
from tests.unit.cluster.objects import KEY, make_resource

from safety_operator.cluster.store import Store
from safety_operator.errors import ApiError, ApiUnreachableError
from safety_operator.handlers.queue import KeyedQueue
from safety_operator.handlers.watch import ResourceWatch, kopf_settings
from safety_operator.handlers.watch_health import WatchHealth
from safety_operator.state.keys import Key
from safety_operator.state.observed import Needs


class FakeApi:
    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []

    async def list(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {"items": self.items}


def make() -> tuple[ResourceWatch, KeyedQueue, Store, list[Key], FakeApi]:
    queue, forgotten, api = KeyedQueue(), [], FakeApi()
    store = Store(lambda _: Needs(), queue.add)
    watch = ResourceWatch(api, store, queue, forgotten.append, ())  # type: ignore[arg-type]
    return watch, queue, store, forgotten, api


async def deliver(watch: ResourceWatch, kind: str | None, resource: dict[str, Any]) -> None:
    """Do what Kopf does with an event: index first, then the handler."""
    if kind != "DELETED":
        await watch._index(body=resource)
    await watch._event(event={"type": kind, "object": resource})


async def test_a_new_resource_goes_first():
    watch, queue, *_ = make()
    await deliver(watch, None, make_resource("old", status={"state": "Running"}))
    await deliver(watch, "ADDED", make_resource("new"))
    assert (await queue.get()).name == "new"
    assert (await queue.get()).name == "old"
    assert watch.listed.is_set()


async def test_the_echo_of_our_own_status_patch_wakes_nobody():
    watch, queue, store, *_ = make()
    await deliver(watch, "ADDED", make_resource())
    queue.done(await queue.get())
    store.put_resource(make_resource(version=2, status={"state": "Running"}))
    await deliver(watch, "MODIFIED", make_resource(version=2, status={"state": "Running"}))
    assert len(queue) == 0
    await deliver(watch, "MODIFIED", make_resource(version=3))
    assert len(queue) == 1


async def test_a_deleted_resource_is_forgotten():
    watch, _, store, forgotten, _ = make()
    await deliver(watch, "ADDED", make_resource())
    await deliver(watch, "DELETED", make_resource(version=2))
    assert KEY not in store.resources
    assert forgotten == [KEY]


async def test_what_was_deleted_while_the_watch_was_away_is_found_after_a_second_list():
    watch, _, store, forgotten, api = make()
    await deliver(watch, None, make_resource())
    await deliver(watch, None, make_resource("kept"))
    api.items = [make_resource("kept")]
    path = "/apis/modelsafety.dev/v1alpha1/safetyevals"
    watch.health.listed(path)
    assert not watch._purges
    watch.health.listed(path)
    await asyncio.gather(*watch._purges)
    assert forgotten == [KEY]
    assert list(store.resources) == [Key("SafetyEval", "team", "kept")]


async def test_deletions_are_looked_for_until_the_api_server_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("safety_operator.handlers.watch.PURGE_RETRY_SECONDS", 0)
    watch, _, store, forgotten, api = make()
    await deliver(watch, None, make_resource())
    failures = [ApiError.of(500, "InternalError", "no"), ApiUnreachableError("reset")]

    async def fail_twice(*_: Any, **__: Any) -> dict[str, Any]:
        if failures:
            raise failures.pop()
        return {"items": []}

    monkeypatch.setattr(api, "list", fail_twice)
    await watch._purge("SafetyEval")
    assert forgotten == [KEY]
    assert not store.resources


def test_each_watch_has_its_own_sign_of_life():
    health = WatchHealth({"safetyevals": "SafetyEval"}, lambda _: None)
    health.heard("/apis/modelsafety.dev/v1alpha1/safetyevals")
    assert time.monotonic() - health.heard_at["/apis/modelsafety.dev/v1alpha1/safetyevals"] < 1


async def test_kopf_writes_nothing_to_the_resources():
    watch, *_ = make()
    registry = watch.registry()
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()
    settings = kopf_settings()
    assert settings.queueing.worker_limit is None
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    assert settings.persistence.diffbase_storage.fetch(body=kopf.Body({})) is None


@pytest.mark.parametrize("timeout", ["request_timeout", "connect_timeout"])
def test_no_wait_of_kopf_is_endless(timeout):
    assert getattr(kopf_settings().networking, timeout) is not None
    assert kopf_settings().watching.server_timeout is not None
    assert kopf_settings().watching.inactivity_timeout is not None


async def test_an_echo_that_comes_before_the_answer_wakes_nobody_but_a_new_generation_does():
    watch, queue, store, *_ = make()
    await deliver(watch, "ADDED", make_resource())
    queue.done(await queue.get())
    store.writing[KEY] = set()
    await deliver(watch, "MODIFIED", make_resource(version=2, status={"state": "Running"}))
    assert len(queue) == 0
    await deliver(watch, "MODIFIED", make_resource(version=3, metadata={"generation": 2}))
    assert len(queue) == 1


async def test_an_annotation_that_people_write_while_we_write_is_no_echo():
    watch, queue, store, *_ = make()
    await deliver(watch, "ADDED", make_resource())
    queue.done(await queue.get())
    store.writing[KEY] = set()
    await deliver(watch, "MODIFIED", make_resource(version=2, metadata={"annotations": {"retry": "1"}}))
    assert len(queue) == 1
