"""The loop with a planner of a few lines and a fake API server."""

from datetime import datetime
from typing import Any

from tests.unit.cluster.fake_cluster import FakeCluster
from tests.unit.cluster.objects import KEY, make_child, make_resource

from safety_operator.cluster.events import Recorder
from safety_operator.cluster.store import Store
from safety_operator.handlers.queue import KeyedQueue
from safety_operator.handlers.reconcile import Reconciler
from safety_operator.state.labels import ANNOTATION_HASH
from safety_operator.state.observed import Needs, Observed
from safety_operator.state.plan import Child, Plan
from safety_operator.state.settings import Images, PlanSettings

SETTINGS = PlanSettings(images=Images("w", "s", "g"))
STATUS = {"state": "Running", "conditions": []}

SILENT_HOOK = 'Internal error occurred: failed calling webhook "mjob.kb.io": connection refused'
DENIED = 'admission webhook "validate.kyverno.svc-fail" denied the request: no cost centre'
ADMISSION = [
    (
        422,
        "Invalid",
        "jobs.batch \"j\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request",
    ),
    *((status, "Denied", DENIED) for status in (400, 403, 404, 409, 418, 500)),
    (500, "InternalError", SILENT_HOOK),
]
"""Answers of webhooks and policies: the status is theirs to choose."""


def service(content: str = "h1") -> Child:
    made = make_child("server")
    del (
        made["status"],
        made["metadata"]["uid"],
        made["metadata"]["resourceVersion"],
        made["metadata"]["generation"],
    )
    made |= {"apiVersion": "v1", "kind": "Service", "spec": {"port": content}}
    made["metadata"]["annotations"] = {ANNOTATION_HASH: content}
    return Child(made)


def secret() -> Child:
    made = service().manifest | {"kind": "Secret"}
    return Child(made, create_only=True, secret_key="api-key")


class World:
    """Everything wired, with a plan that a test sets; ``api`` stands between the operator and the cluster."""

    def __init__(
        self, *, needs: Needs | None = None, cluster: FakeCluster | None = None, api: object = None
    ) -> None:
        self.cluster = cluster or FakeCluster()
        self.queue = KeyedQueue()
        self.store = Store(lambda _: needs or Needs(), self.queue.add)
        resource = self.cluster.objects.get(("SafetyEval", "base"), make_resource())
        self.store.put_resource(self.cluster.put("SafetyEval", resource))
        self.wanted = Plan(STATUS)
        self.seen: list[Observed] = []
        self.recorder = Recorder(self.cluster, "me")  # type: ignore[arg-type]
        self.reconciler = Reconciler(
            api=api or self.cluster,  # type: ignore[arg-type]
            store=self.store,
            queue=self.queue,
            recorder=self.recorder,
            plan=self.plan,
            settings=SETTINGS,
        )

    def plan(self, observed: Observed, _: PlanSettings, __: datetime) -> Plan:
        self.seen.append(observed)
        return self.wanted

    async def reconcile(self) -> tuple[str, list[str]]:
        """Reconcile once; gives the outcome and the calls it made."""
        self.cluster.calls.clear()
        outcome = await self.reconciler.reconcile(KEY)
        return outcome, list(self.cluster.calls)

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.objects["SafetyEval", "base"].get("status", {})
        return found
