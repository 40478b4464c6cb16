"""A stage with known inputs, and the Job that is made for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from safety_operator.api.conditions import Reason, StageStatus
from safety_operator.children.network_policy import Reach
from safety_operator.children.ray_job import build_dashboard_policy, build_ray_job, ray_job_name
from safety_operator.children.service import build_rendezvous_service
from safety_operator.children.stage_spec import MAX_SPEC_BYTES, build_spec_map
from safety_operator.children.worker_job import (
    StageRun,
    build_stage_job,
    job_name,
    needs_rendezvous,
    reach_of,
    record_shape,
    run_kind,
    with_models,
)
from safety_operator.planning.engine.problems import Problem
from safety_operator.planning.engine.servers import ServerState, server_state
from safety_operator.planning.engine.stages import Run, View, Work
from safety_operator.state.keys import ObjectKey
from safety_operator.state.observed import Observed
from safety_operator.state.plan import Child
from safety_operator.state.reading import format_time, value_at

MAX_LEAVING = 20
"""Tries whose pods are looked for once their Jobs are gone."""


@dataclass(frozen=True)
class StageJob:
    """A stage with known inputs."""

    run: Run[Any]
    name: str
    work: Work
    digest: str
    """Its inputs hash."""

    @property
    def reach(self) -> Reach:
        """How far its pods may go, as :class:`View` has it."""
        return reach_of(self.work.shape)

    @cached_property
    def specification(self) -> str:
        """What the pod is told, as JSON."""
        out = self.run.folder_of(self.name, self.digest)
        return self.work.spec.model_copy(update={"inputs_hash": self.digest, "out": out}).to_json()

    @property
    def kind(self) -> str:
        """Kind of what carries the stage out: Job or RayJob."""
        return run_kind(self.work.shape)

    def build(self, attempt: int, *, kind: str = "") -> dict[str, Any]:
        """What carries out a try, from 1; a Job in place of a RayJob only asks for the record of its run."""
        run, shape, kind = self.run, self.work.shape, kind or self.kind
        if kind != self.kind:
            shape = record_shape(shape)
        shape = with_models(shape, self.specification)
        build = build_ray_job if kind == "RayJob" else build_stage_job
        return build(
            StageRun(
                run.owner,
                self.name,
                self.specification,
                inputs_hash=self.digest,
                attempt=attempt,
                versions=_versions(run.observed),
                shape=shape,
                images=run.settings.images,
                options=run.options(shape.role),
                claim=run.claim,
                queue=run.spec.queue_name or "",
            )
        )

    def spec_map(self) -> Child:
        """The ConfigMap with the specification."""
        return Child(build_spec_map(self.run.owner, self.name, self.specification), create_only=True)

    def rendezvous(self, job: str) -> tuple[Child, ...]:
        """The Service by which the pods of a Job find each other, where they have to.

        KubeRay makes its own, and has to reach the pods.
        """
        if self.kind == "RayJob":
            kuberay = self.run.settings.kuberay_peers
            return (Child(build_dashboard_policy(self.run.owner, self.name, kuberay)),)
        if not needs_rendezvous(self.work.shape):
            return ()
        return (Child(build_rendezvous_service(self.run.owner, self.name, job)),)

    def entry(self, state: str, job: str = "", **fields: Any) -> StageStatus:
        """The stage's entry in the status; its start is kept while hash or Job is the same.

        A proof's hash stands in the status once it is done.
        """
        before = self.run.before.stage(self.name)
        same = before.hash == self.digest or (job and before.job == job)
        started = before.started_at if same else ""
        if state != "Pending" and not started:
            started = format_time(self.run.now)
        entry = {"name": self.name, "state": state, "hash": self.digest, "job": job, "startedAt": started}
        return StageStatus.model_validate(entry | fields)

    def start(
        self, attempt: int, *, replaces: tuple[ObjectKey, ...] = (), text: str = "", kind: str = ""
    ) -> View:
        """Make the Job of a try, once its servers are ready; ``kind``: as :meth:`build` has it."""
        if self.run.spec.suspend:
            return View(self.entry("Pending"), text="suspended", delete=replaces)
        problem = self._too_large() or self._without_kuberay(kind)
        if problem is not None:
            return View(self.entry("Pending"), problem=problem, text=problem.message, delete=replaces)
        server = self._server()
        if server is not None and not server.ready:
            return View(
                self.entry("Pending"),
                active=server.problem is None or not server.problem.stalled,
                problem=server.problem,
                text=server.text,
                wants_server=True,
                delete=replaces,
            )
        manifest = self.build(attempt, kind=kind)
        job = manifest["metadata"]["name"]
        return View(
            self.entry("Running", job),
            active=True,
            text=text or f"{self.name}: starting",
            jobs=frozenset({job}),
            apply=(*self.rendezvous(job), self.spec_map(), Child(manifest, create_only=True)),
            delete=replaces,
            wants_server=True,
            pod="due",
            reach=self.reach,
        )

    def _too_large(self) -> Problem | None:
        size = len(self.specification.encode("utf-8", "surrogatepass"))
        if size <= MAX_SPEC_BYTES:
            return None
        return Problem(
            Reason.INVALID_SPEC,
            f"The specification of stage {self.name} has {size:,} bytes, and a ConfigMap holds "
            f"{MAX_SPEC_BYTES:,}: shorten lists and texts in spec.",
        )

    def _without_kuberay(self, kind: str) -> Problem | None:
        if (kind or self.kind) != "RayJob" or "RayJob" in self.run.observed.optional:
            return None
        return Problem(
            Reason.KUBERAY_MISSING,
            f"Stage {self.name}: spec.compute.launcher is kuberay, and this cluster has no RayJobs that the "
            "operator may see. Install KubeRay, let the operator use it (rbac.rayJobs of the chart), or set "
            "spec.compute.launcher to job.",
        )

    def _server(self) -> ServerState | None:
        """The state of the first server that is not ready, else of the last; None if none is needed."""
        servers = (self.work.server, *self.work.more_servers)
        states = [server_state(self.run.observed, item.name, self.run.now) for item in servers if item]
        return next((state for state in states if not state.ready), states[-1] if states else None)

    def wait_for_leaving(self) -> View | None:
        """The wait for a pod whose Job somebody deleted: it writes into the same files; None without one."""
        owner, leaving = self.run.owner, self.run.observed.leaving
        if not leaving or self.run.spec.suspend:
            return None
        find = ray_job_name if self.kind == "RayJob" else job_name
        names = (find(owner, self.name, self.digest, number) for number in range(1, MAX_LEAVING + 1))
        pod = next((leaving[name] for name in names if name in leaving), None)
        if pod is None:
            return None
        words = f"pod {pod}, whose Job is gone, has not ended, and the next would write into the same files"
        problem = Problem(Reason.NOT_READY, f"Stage {self.name}: {words}.", stalled=False)
        return View(
            self.entry("Pending"),
            active=True,
            problem=problem,
            text=problem.message,
            wants_server=True,
            pod="due",
            reach=self.reach,
        )


def _versions(observed: Observed) -> Mapping[str, Any]:
    """Versions of everything that the spec refers to and the operator can watch."""
    return {
        "configMaps": {
            name: value_at(found, "metadata", "resourceVersion", default="") if found else None
            for name, found in observed.config_maps.items()
        },
        "secrets": dict(observed.secrets),
    }
