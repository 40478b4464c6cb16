"""Short memories of what is not watched."""

import asyncio
from typing import Any

import pytest
from tests.unit.cluster.objects import KEY, make_pod

from safety_operator.cluster import lookups as module
from safety_operator.cluster.lookups import (
    ABSENT_SECONDS,
    PRESENT_SECONDS,
    UNREADABLE,
    Lookups,
    Secret,
    parse_progress,
)
from safety_operator.errors import ApiUnreachableError, ForbiddenError, NotFoundError
from safety_records.progress import Progress


class FakeApi:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls = 0

    async def get(self, *_: Any, **__: Any) -> Any:
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    log_tail = get


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(answer: Any) -> tuple[Lookups, FakeApi, Clock]:
    api, clock = FakeApi(answer), Clock()
    return Lookups(api, progress_seconds=3, clock=clock), api, clock  # type: ignore[arg-type]


MISSING = NotFoundError(404, "NotFound", "no such secret")


async def test_a_secret_that_exists_is_asked_for_seldom():
    lookups, api, clock = make({"metadata": {"resourceVersion": "5"}})
    assert await lookups.secret("team", "s") == Secret("5")
    clock.now = PRESENT_SECONDS - 1
    assert await lookups.secret("team", "s") == Secret("5")
    assert api.calls == 1
    clock.now = PRESENT_SECONDS + 1
    await lookups.secret("team", "s")
    assert api.calls == 2


async def test_why_a_secret_is_withheld_is_known_with_its_version():
    labelled = {"name": "s", "namespace": "team", "resourceVersion": "5", "labels": {"usable": "true"}}
    for meta, withheld in ((labelled, False), (labelled | {"labels": {}}, True)):
        api = FakeApi({"metadata": meta})
        lookups = Lookups(api, progress_seconds=3, secret_label="usable=true")  # type: ignore[arg-type]
        found = await lookups.secret("team", "s")
        assert (found.version, bool(found.withheld)) == ("5", withheld)


async def test_secrets_whose_labels_cannot_be_read_are_withheld_where_a_label_is_asked_for():
    forbidden = ForbiddenError(403, "Forbidden", "no")
    for label, withheld in (("usable=true", True), ("", False)):
        lookups = Lookups(FakeApi(forbidden), progress_seconds=3, secret_label=label)  # type: ignore[arg-type]
        found = await lookups.secret("team", "s")
        assert (found.version, bool(found.withheld)) == (UNREADABLE, withheld)


async def test_a_secret_stays_withheld_though_the_memory_is_emptied(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 1)
    api = FakeApi({"metadata": {"name": "s", "namespace": "team", "resourceVersion": "5"}})
    lookups = Lookups(api, progress_seconds=3, secret_label="usable")  # type: ignore[arg-type]
    first, second = await asyncio.gather(lookups.secret("team", "s"), lookups.secret("team", "t"))
    assert first.withheld
    assert second.withheld


async def test_a_missing_secret_is_asked_for_again_soon():
    lookups, api, clock = make(MISSING)
    assert await lookups.secret("team", "s") == Secret(None)
    assert await lookups.secret("team", "s") == Secret(None)
    assert api.calls == 1
    clock.now = ABSENT_SECONDS + 0.1
    api.answer = {"metadata": {"resourceVersion": "5"}}
    assert await lookups.secret("team", "s") == Secret("5")


async def test_a_config_map_is_read_once_a_version():
    lookups, api, _ = make({"metadata": {"resourceVersion": "5"}, "data": {"a": "b"}})
    known = {"metadata": {"resourceVersion": "5"}}
    assert (await lookups.config_map("team", "c", known) or {})["data"] == {"a": "b"}
    await lookups.config_map("team", "c", known)
    assert api.calls == 1
    await lookups.config_map("team", "c", {"metadata": {"resourceVersion": "6"}})
    assert api.calls == 2
    assert await lookups.config_map("team", "c", None) is None


async def test_large_config_maps_of_many_resources_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_DATA", 100)
    lookups, api, _ = make({"metadata": {"resourceVersion": "5"}, "data": {"a": "x" * 40}})
    known = {"metadata": {"resourceVersion": "5"}}
    for name in ("first", "second", "third"):
        await lookups.config_map("team", name, known)
    assert [name for _, name in lookups._data] == ["second", "third"]
    await lookups.config_map("team", "third", known)
    assert api.calls == 3
    assert await lookups.config_map("team", "first", known) is not None
    assert api.calls == 4
    api.answer = {"metadata": {"resourceVersion": "5"}, "data": {"a": "x" * 400}}
    assert await lookups.config_map("team", "huge", known) == api.answer
    assert lookups._data == {}


async def test_empty_config_maps_do_not_fill_the_memory_either(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    lookups, _, _ = make({"metadata": {"resourceVersion": "5"}})
    for index in range(10):
        await lookups.config_map("team", f"map-{index}", {"metadata": {"resourceVersion": "5"}})
    assert len(lookups._data) <= 3


async def test_progress_is_read_at_most_every_few_seconds_and_kept_when_the_node_is_busy():
    line = Progress(stage="train", done=3, total=9).to_json()
    lookups, api, clock = make(f"noise\n{line}\nmore noise\n")
    pod = make_pod("p", "job", phase="Running")
    first = await lookups.progress(KEY, pod)
    assert first is not None
    assert first.done == 3
    await lookups.progress(KEY, pod)
    assert api.calls == 1
    clock.now, api.answer = 5.0, ApiUnreachableError("timeout")
    assert await lookups.progress(KEY, pod) == first
    assert api.calls == 2


@pytest.mark.parametrize(
    "text", ["", "loading\n", '{"event": "progress"', '{"event": "progress", "stage": 1}']
)
def test_other_lines_are_no_progress(text):
    assert parse_progress(text) is None


def test_the_last_progress_line_counts():
    lines = [Progress(stage="train", done=n, total=9).to_json() for n in (1, 2)]
    found = parse_progress("\n".join([*lines, "Saving checkpoint"]))
    assert found is not None
    assert found.done == 2
