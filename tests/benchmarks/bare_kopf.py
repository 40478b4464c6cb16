"""The baseline: the least that a Kopf operator with a keyed queue can do: one Job for each resource.

Started by ``operator_latency.py`` as a process of its own, against an API server of its own. No status, no
plan, no drift, no health: what is slower in the real operator is what those cost.
"""

import asyncio
import logging
from typing import Any

import kopf

from safety_operator.api import GROUP, VERSION
from safety_operator.cluster.access import find_access
from safety_operator.cluster.client import Api
from safety_operator.cluster.kinds import BUILT_IN
from safety_operator.errors import ConflictError, InfrastructureError
from safety_operator.handlers.queue import KeyedQueue
from safety_operator.handlers.watch import kopf_settings
from safety_operator.state.keys import Key
from safety_operator.state.labels import LABEL_KIND, LABEL_MANAGED_BY, LABEL_NAME, MANAGED_BY

KIND, PLURAL = "SafetyFinetune", "safetyfinetunes"
WORKERS = 24


def job(key: Key) -> dict[str, Any]:
    """One Job that never runs: there is no node."""
    container = {"name": "main", "image": "none"}
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_KIND: key.kind, LABEL_NAME: key.name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{key.name}-bare", "namespace": key.namespace, "labels": labels},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


async def main() -> None:
    """Run until killed."""
    logging.basicConfig(level=logging.WARNING)
    api = Api(find_access())
    queue = KeyedQueue()
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**kwargs: Any) -> Any:
        return kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def event(namespace: str, name: str, type: str | None, **_: Any) -> None:  # noqa: A002 - Kopf's name
        if type != "DELETED":
            queue.add(Key(KIND, namespace, name))

    async def work() -> None:
        while True:
            key = await queue.get()
            try:
                await api.create(BUILT_IN["Job"], key.namespace, job(key))
            except ConflictError:
                pass
            except InfrastructureError:
                queue.add_failed(key)
            finally:
                queue.done(key)

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work())
        group.create_task(kopf.operator(registry=registry, settings=kopf_settings(), clusterwide=True))


if __name__ == "__main__":
    asyncio.run(main())
