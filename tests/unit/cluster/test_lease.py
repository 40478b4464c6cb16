"""The Lease: taken, renewed, waited for, given back. The API server is a fake."""

import asyncio
from typing import Any

import pytest
from tests.unit.cluster.fake_cluster import FakeCluster
from tests.unit.eventually import eventually

from safety_operator.cluster import lease as module
from safety_operator.cluster.kinds import ApiKind
from safety_operator.cluster.lease import Lease
from safety_operator.errors import LeaseLostError


class LeaseCluster(FakeCluster):
    """One Lease. ``answers`` cleared: renewals are done, and their answers do not come."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()

    async def replace(self, kind: ApiKind, _: str, name: str, manifest: dict[str, Any]) -> dict[str, Any]:
        written = await super().replace(kind, _, name, manifest)
        await self.answers.wait()
        return written

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.objects["Lease", "lease"]["spec"]
        return found

    @property
    def holder(self) -> str:
        return str(self.spec["holderIdentity"])

    def steal(self, thief: str) -> None:
        """Another replica writes its name."""
        spec = {"holderIdentity": thief, "leaseDurationSeconds": 60}
        self.put("Lease", self.objects["Lease", "lease"] | {"spec": spec})


def make(api: FakeCluster, name: str, seconds: float = 0.3) -> Lease:
    return Lease(api, namespace="ns", name="lease", identity=name, seconds=seconds)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STANDBY_SECONDS", 0.02)


async def test_the_first_takes_it_and_the_second_waits():
    api = LeaseCluster()
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
    assert api.spec["leaseTransitions"] == 2


async def test_a_lease_that_nobody_renews_is_taken():
    api = LeaseCluster()
    await make(api, "dead").acquire()
    await asyncio.wait_for(make(api, "next").acquire(), 3)
    assert api.holder == "next"


async def test_a_lost_lease_ends_the_work():
    api = LeaseCluster()
    mine = make(api, "mine")
    await mine.acquire()
    api.steal("thief")
    with pytest.raises(LeaseLostError, match="thief"):
        await asyncio.wait_for(mine.hold(), 2)
    assert not mine.fresh.is_set()


async def test_an_answer_that_does_not_come_in_time_pauses_the_work():
    api = LeaseCluster()
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
    api = LeaseCluster()
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
    api = LeaseCluster()
    mine = make(api, "mine")
    await mine.acquire()
    api.away = True
    holding = asyncio.create_task(mine.hold())
    await asyncio.sleep(0.3)
    assert not mine.fresh.is_set()
    api.steal("another")
    api.away = False
    with pytest.raises(LeaseLostError, match="another"):
        await asyncio.wait_for(holding, 2)


async def test_a_renewal_whose_answer_was_lost_is_ours():
    api = LeaseCluster()
    mine = make(api, "mine")
    await mine.acquire()
    api.put("Lease", api.objects["Lease", "lease"])  # written, and nobody learned its version
    holding = asyncio.create_task(mine.hold())
    before = len(api.calls)
    await eventually(lambda: len(api.calls) >= before + 3)
    assert not holding.done()
    assert api.calls[before : before + 3] == ["replace Lease", "get Lease", "replace Lease"]
    holding.cancel()


async def test_a_lease_that_somebody_deleted_is_made_again():
    api = LeaseCluster()
    mine = make(api, "mine")
    await mine.acquire()
    holding = asyncio.create_task(mine.hold())
    del api.objects["Lease", "lease"]
    await eventually(lambda: ("Lease", "lease") in api.objects)
    assert not holding.done()
    holding.cancel()


async def test_of_two_that_make_the_lease_at_once_one_leads():
    api = LeaseCluster()
    first, second = make(api, "first", 60), make(api, "second", 60)
    await first.acquire()
    assert await second._create() == "another"
    assert not second.held


@pytest.mark.parametrize("gone", [True, False], ids=["the Lease is gone", "nobody answers"])
async def test_a_lease_that_cannot_be_given_back_ends_all_the_same(gone: bool):
    api = LeaseCluster()
    mine = make(api, "mine")
    await mine.acquire()
    if gone:
        del api.objects["Lease", "lease"]
    else:
        api.away = True
    await mine.release()
    assert not mine.held
    assert not mine.fresh.is_set()
