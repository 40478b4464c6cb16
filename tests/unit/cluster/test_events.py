"""Kubernetes events in the background: they inform, and nothing rests on them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.unit.cluster.fake_cluster import FakeCluster
from tests.unit.cluster.objects import KEY, make_resource
from tests.unit.eventually import eventually

from safety_operator.cluster import events as module
from safety_operator.cluster.events import MAX_NOTE, Recorder
from safety_operator.errors import ForbiddenError
from safety_operator.state.plan import Event


@contextmanager
def sending(recorder: Recorder) -> Iterator[None]:
    task = asyncio.create_task(recorder.run())
    yield
    assert not task.done(), "no failure ends it"
    task.cancel()


def record(recorder: Recorder, *messages: str) -> None:
    recorder.record(KEY, make_resource(), [Event("Normal", "Started", message) for message in messages])


def notes(cluster: FakeCluster) -> list[str]:
    return [obj["note"] for (kind, _), obj in cluster.objects.items() if kind == "Event"]


async def test_an_operator_that_starts_again_does_not_repeat_itself():
    cluster = FakeCluster()
    for _ in range(2):
        recorder = Recorder(cluster, "me")  # type: ignore[arg-type]
        with sending(recorder):
            before = len(cluster.calls)
            record(recorder, "first")
            await eventually(lambda before=before: len(cluster.calls) > before)
    assert notes(cluster) == ["first"]


async def test_an_event_that_the_api_server_refuses_does_not_keep_the_others():
    cluster = FakeCluster()
    recorder = Recorder(cluster, "me")  # type: ignore[arg-type]
    cluster.refuse["Event"] = ForbiddenError(403, "Forbidden", "no")
    with sending(recorder):
        record(recorder, "first")
        await eventually(lambda: cluster.calls == ["create Event"])
        cluster.refuse.clear()
        record(recorder, "first", "second")
        await eventually(lambda: notes(cluster) == ["second"])


async def test_more_than_can_wait_is_dropped_and_a_long_text_is_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    cluster = FakeCluster()
    recorder = Recorder(cluster, "me")  # type: ignore[arg-type]
    record(recorder, "x" * 5000, "second", "third")
    with sending(recorder):
        await eventually(lambda: len(notes(cluster)) == 2)
        assert notes(cluster) == ["x" * MAX_NOTE, "second"]


async def test_what_is_remembered_has_a_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_SEEN", 3)
    recorder = Recorder(FakeCluster(), "me")  # type: ignore[arg-type]
    for number in range(10):
        record(recorder, str(number))
        assert len(recorder._seen) <= 3
