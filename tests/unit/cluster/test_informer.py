"""List and watch: what is told of changes, gaps and errors. The API server is a script."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.cluster.objects import make_child, make_pod

from safety_operator.cluster import informer as module
from safety_operator.cluster.informer import (
    Informer,
    trim_config_map,
    trim_job,
    trim_pod,
)
from safety_operator.cluster.kinds import WATCHES
from safety_operator.errors import ApiUnreachableError


class FakeApi:
    """Answers lists and watches from a script; the last watch never ends."""

    def __init__(self, lists: list[list[dict[str, Any]]], watches: list[list[Any]]) -> None:
        self.lists = lists
        self.watches = watches
        self.since: list[str] = []
        self.newest: list[bool] = []
        self.done = asyncio.Event()

    async def list(self, *_: Any, newest: bool, **__: Any) -> dict[str, Any]:
        self.newest.append(newest)
        return {"metadata": {"resourceVersion": "100"}, "items": self.lists.pop(0)}

    async def watch(self, *_: Any, resource_version: str, **__: Any) -> AsyncIterator[dict[str, Any]]:
        self.since.append(resource_version)
        if not self.watches:
            self.done.set()
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, Exception):
                raise event
            yield event


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_SECONDS", (0.0, 0.0))


def event(kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": obj}


async def play(lists: list[list[dict[str, Any]]], watches: list[list[Any]]) -> tuple[list[str], FakeApi]:
    """Run the script to its end; gives what was told, as +name, ~name and -name."""
    told: list[str] = []

    def changed(before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        sign = "+" if before is None else "-" if after is None else "~"
        told.append(sign + (after or before or {})["metadata"]["name"])

    api = FakeApi(lists, watches)
    informer = Informer(api, WATCHES[0], "team", changed)  # type: ignore[arg-type]
    task = asyncio.create_task(informer.run())
    await asyncio.wait_for(api.done.wait(), 5)
    task.cancel()
    return told, api


async def test_what_is_listed_and_what_changes_is_told():
    watch = [event("ADDED", make_child("b", version=101)), event("MODIFIED", make_child("a", version=102))]
    watch.append(event("DELETED", make_child("a", version=103)))
    told, api = await play([[make_child("a")]], [watch])
    assert told == ["+a", "+b", "~a", "-a"]
    assert api.since == ["100", "103"]


async def test_a_bookmark_moves_the_version_and_is_not_told():
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "150"}})
    told, api = await play([[]], [[bookmark]])
    assert told == []
    assert api.since == ["100", "150"]


async def test_what_was_deleted_while_the_watch_was_away_is_told_after_the_next_list():
    gone = event("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})
    told, api = await play([[make_child("a"), make_child("b")], [make_child("b")]], [[gone]])
    assert told == ["+a", "+b", "-a"]
    assert api.newest == [False, True], "the cache of another API server may lack what is there"


async def test_a_lost_connection_goes_on_where_it_was():
    lost = [event("ADDED", make_child("a", version=101)), ApiUnreachableError("reset")]
    told, api = await play([[]], [lost])
    assert told == ["+a"]
    assert api.since == ["100", "101"]


async def test_a_watch_that_ends_at_once_has_failed(caplog: pytest.LogCaptureFixture):
    _, api = await play([[]], [[], [event("ADDED", make_child("a", version=101))]])
    assert api.since == ["100", "100", "101"]
    assert [record.message for record in caplog.records] == ["watch failed"]


async def test_a_version_that_is_known_is_not_told_again():
    told, _ = await play([[make_child("a", version=5)]], [[event("MODIFIED", make_child("a", version=5))]])
    assert told == ["+a"]


def test_a_trimmed_pod_keeps_what_is_read():
    pod = make_pod("p", "job", phase="Running", hostIP="10.0.0.1")
    pod["metadata"]["managedFields"] = [{}]
    trimmed = trim_pod(pod)
    assert trimmed["status"] == {"phase": "Running"}
    assert "managedFields" not in trimmed["metadata"]
    found = {"containers": [{"name": "worker"}], "volumes": [], "schedulerName": "", "nodeName": ""}
    assert trimmed["spec"] == found


def test_of_other_peoples_config_maps_only_their_existence_is_kept():
    foreign = make_child("c", labels={"app.kubernetes.io/managed-by": "helm"})
    foreign["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "x" * 1000}
    assert trim_config_map(foreign) == {
        "metadata": {"namespace": "team", "name": "c", "uid": "uid-c", "resourceVersion": "1"}
    }
    assert trim_config_map(make_child("ours"))["metadata"]["labels"]


def test_a_trimmed_job_loses_its_pod_template_only():
    job = make_child("j") | {"spec": {"template": {"spec": {}}, "suspend": True}}
    assert trim_job(job)["spec"] == {"suspend": True}
