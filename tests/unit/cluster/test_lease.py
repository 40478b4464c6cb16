"""The Lease: taken, renewed, waited for, given back. The API server is played, with its resource versions."""

import asyncio
import copy
from typing import Any

import pytest
from tests.unit.eventually import eventually

from safety_operator.cluster import lease as module
from safety_operator.cluster.lease import Lease
from safety_operator.errors import ApiUnreachableError, ConflictError, LeaseLostError, NotFoundError


class PlayedApi:
    """One Lease object; ``away`` makes every call fail."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.away = False
        self.answers = asyncio.Event()
        """Cleared: renewals are done, and their answers do not come."""
        self.answers.set()

    async def get(self, *_: Any, **__: Any) -> dict[str, Any]:
        self._answer()
        if self.lease is None:
            raise NotFoundError(404, "NotFound", "no Lease")
        return copy.deepcopy(self.lease)

    async def create(self, _: Any, __: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        if self.lease is not None:
            raise ConflictError(409, "AlreadyExists", "there is one")
        self.lease = copy.deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] = "1"
        return copy.deepcopy(self.lease)

    async def replace(self, _: Any, __: str, ___: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        assert self.lease is not None
        if manifest["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ConflictError(409, "Conflict", "another version")
        written = copy.deepcopy(self.write(manifest["spec"]))
        await self.answers.wait()
        return written

    def write(self, spec: dict[str, Any]) -> dict[str, Any]:
        assert self.lease is not None
        version = int(self.lease["metadata"]["resourceVersion"]) + 1
        self.lease |= {"spec": spec, "metadata": self.lease["metadata"] | {"resourceVersion": str(version)}}
        return self.lease

    def _answer(self) -> None:
        if self.away:
            raise ApiUnreachableError("refused")

    @property
    def holder(self) -> str:
        return self.lease["spec"]["holderIdentity"] if self.lease else ""


def make(api: PlayedApi, name: str, seconds: float = 0.3) -> Lease:
    return Lease(api, namespace="ns", name="lease", identity=name, seconds=seconds)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STANDBY_SECONDS", 0.02)


async def test_the_first_takes_it_and_the_second_waits():
    api = PlayedApi()
    first, second = make(api, "first"), make(api, "second")
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    waiting = asyncio.create_task(second.acquire())
    # Two lengths of real renewals. The recorded length is a whole number of seconds, which is more.
    await asyncio.sleep(0.6)
    assert api.holder == "first"
    assert not waiting.done()
    holding.cancel()
    await first.release()
    await asyncio.wait_for(waiting, 2)
    assert api.holder == "second"
    assert api.lease is not None
    assert api.lease["spec"]["leaseTransitions"] == 2


async def test_a_lease_that_nobody_renews_is_taken():
    api = PlayedApi()
    await make(api, "dead").acquire()
    await asyncio.wait_for(make(api, "next").acquire(), 3)
    assert api.holder == "next"


async def test_a_lost_lease_ends_the_work():
    api = PlayedApi()
    mine = make(api, "mine")
    await mine.acquire()
    api.write({"holderIdentity": "thief", "leaseDurationSeconds": 60})
    with pytest.raises(LeaseLostError, match="thief"):
        await asyncio.wait_for(mine.hold(), 2)
    assert not mine.fresh.is_set()


async def test_an_answer_that_does_not_come_in_time_pauses_the_work():
    api = PlayedApi()
    mine = make(api, "mine")
    await mine.acquire()
    holding = asyncio.create_task(mine.hold())
    api.answers.clear()
    await eventually(lambda: not mine.fresh.is_set())
    api.answers.set()
    await eventually(mine.fresh.is_set)
    assert not holding.done()
    holding.cancel()


async def test_an_api_server_that_was_away_costs_a_pause_and_no_restart():
    api = PlayedApi()
    mine = make(api, "mine")
    await mine.acquire()
    holding = asyncio.create_task(mine.hold())
    api.away = True
    await eventually(lambda: not mine.fresh.is_set())
    api.away = False
    await asyncio.wait_for(mine.fresh.wait(), 2)
    assert not holding.done()
    assert api.holder == "mine"
    holding.cancel()


async def test_a_lease_that_was_taken_while_the_api_server_was_away_ends_the_work():
    api = PlayedApi()
    mine = make(api, "mine")
    await mine.acquire()
    api.away = True
    holding = asyncio.create_task(mine.hold())
    await asyncio.sleep(0.3)
    assert not mine.fresh.is_set()
    api.write({"holderIdentity": "another", "leaseDurationSeconds": 60})
    api.away = False
    with pytest.raises(LeaseLostError, match="another"):
        await asyncio.wait_for(holding, 2)
