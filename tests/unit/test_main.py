"""The order in which the operator's parts live. The API server is a fake; Kopf is not started."""

import asyncio
from typing import Any

from tests.unit.cluster.fake_cluster import FakeCluster
from tests.unit.eventually import eventually

from safety_operator.main import Operator
from safety_operator.settings import Settings
from safety_operator.state.observed import Needs


class WithoutCrds(FakeCluster):
    """A Lease, and no CustomResourceDefinitions. Lists do not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_for_crds = asyncio.Event()

    async def served(self, _: str) -> frozenset[str]:
        self.asked_for_crds.set()
        return frozenset()

    async def list(self, *_: Any, **__: Any) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_the_lease_is_renewed_while_the_crds_are_missing():
    api = WithoutCrds()
    settings = Settings(lease_seconds=3, identity="me")
    operator = Operator(settings, api, lambda _: Needs(), None)  # type: ignore[arg-type]
    leading = asyncio.create_task(operator._lead())
    await asyncio.wait_for(api.asked_for_crds.wait(), 5)
    lease = ("Lease", settings.lease_name)
    first = api.objects[lease]
    await eventually(lambda: api.objects[lease] != first)
    assert not leading.done()
    leading.cancel()
    await asyncio.wait({leading})
    assert api.objects[lease]["spec"]["holderIdentity"] == "", "it is given back"
