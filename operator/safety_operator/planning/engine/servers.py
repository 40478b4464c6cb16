"""Servers that a resource runs: whether they are ready, what they say if not, and which to take away."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from safety_operator.api.common import Serving
from safety_operator.api.conditions import Reason
from safety_operator.children.model_server import build_model_server
from safety_operator.children.network_policy import build_server_policy, owner_pods
from safety_operator.children.runtimes.runtime import ModelServer
from safety_operator.children.server_files import build_files_map
from safety_operator.children.service import build_pods_service, build_service, pods_service_name
from safety_operator.planning.engine.problems import Problem, capital, pod_problem
from safety_operator.state.keys import Manifest, ObjectKey
from safety_operator.state.labels import LABEL_ROLE
from safety_operator.state.observed import Observed
from safety_operator.state.plan import Child
from safety_operator.state.reading import condition_of, integer, is_terminating, parse_time, value_at

TARGET_ROLE = "target-server"
"""Role of the temporary server of the model that is asked."""
JUDGE_ROLE = "judge-server"
"""Role of the temporary servers of models that judge."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """Whether a Deployment serves."""

    ready: bool
    text: str = ""
    problem: Problem | None = None


def server_state(observed: Observed, name: str, now: datetime) -> ServerState:
    """How the Deployment of a temporary model server is: ready once one pod of its present template is.

    ``now``: for the time that it has been waited for.
    """
    child, what = observed.children.get(ObjectKey("Deployment", name)), "the model server"
    if child is None or is_terminating(child):
        return ServerState(ready=False, text=f"starting {what}")
    if is_rolled_out(child):
        return ServerState(ready=True)
    text = f"waiting for {what} ({_age_seconds(child, now)} s)"
    problem = deployment_problem(observed, child, what)
    if problem is None:
        wait = observed.waits.get(name, "")
        return ServerState(ready=False, text=f"{text}: {wait}" if wait else text)
    if name not in observed.failures:
        return ServerState(ready=False, text=problem.message, problem=problem)
    return ServerState(ready=False, text=f"{text}: {observed.failures[name].reason}", problem=problem)


def deployment_problem(observed: Observed, child: Manifest, what: str) -> Problem | None:
    """Why the newest pods of a Deployment do not become ready; None while they may.

    It is stalled once a person has to act: at the Deployment's deadline, or before where waiting is no help.
    """
    name = str(value_at(child, "metadata", "name", default=""))
    hung = is_seen(child) and condition_of(child, "Progressing").get("status") == "False"
    failure = observed.failures.get(name)
    if failure is None:
        message = f"{capital(what)} did not become ready in time; Deployment {name}."
        return Problem(Reason.NOT_READY, message) if hung else None
    problem = pod_problem(failure, capital(what))
    return replace(problem, stalled=problem.stalled or hung)


def is_seen(deployment: Manifest) -> bool:
    """Whether the Deployment's controller has seen its present spec."""
    seen = integer(value_at(deployment, "status", "observedGeneration"), -1)
    return seen >= integer(value_at(deployment, "metadata", "generation"))


@dataclass(frozen=True, slots=True)
class PodCounts:
    """Pods of a Deployment, as its status has them."""

    wanted: int
    new: int
    """Of the present template, ready or not."""
    old: int
    """Of earlier templates, ready or not; all of them until the controller has seen the present one."""
    ready: int
    """Of any template."""

    @property
    def new_ready(self) -> int:
        """Pods of the present template that are certainly ready: the status counts ready ones of all."""
        return max(0, min(self.new, self.ready - self.old))


def count_pods(deployment: Manifest) -> PodCounts:
    """The counts of a Deployment."""
    status = value_at(deployment, "status", default={})
    total, updated, ready = (
        max(0, integer(value_at(status, key))) for key in ("replicas", "updatedReplicas", "readyReplicas")
    )
    new = min(total, updated) if is_seen(deployment) else 0
    wanted = max(0, integer(value_at(deployment, "spec", "replicas", default=1), 1))
    return PodCounts(wanted, new, total - new, ready)


def is_rolled_out(deployment: Manifest) -> bool:
    """Whether at least one pod of the present template is ready."""
    return count_pods(deployment).new_ready >= 1


def _age_seconds(child: Manifest, now: datetime) -> int:
    """Age in steps of 5 s, so that a status is not written for each second."""
    born = parse_time(value_at(child, "metadata", "creationTimestamp")) or now
    return max(0, int((now - born).total_seconds()) // 5 * 5)


def server_children(server: ModelServer) -> tuple[Child, ...]:
    """A temporary server: who may reach it, its Services and its Deployment.

    Where there are several replicas, workers find them by a headless Service and balance requests themselves.
    """
    policy = build_server_policy(
        server.owner, server.role, [owner_pods(server.owner)], reaches_ngc=reaches_ngc(server.serving)
    )
    service = build_service(server.owner, server.role, server.name, instance=server.name)
    pods = (build_pods_service(server.owner, server.role, server.name),) if (server.replicas or 1) > 1 else ()
    files = Child(build_files_map(server.owner), create_only=True)
    return (Child(policy), Child(service), *map(Child, pods), files, Child(build_model_server(server)))


def reaches_ngc(serving: Serving) -> bool:
    """Whether a server has a key for NGC."""
    return serving.nim is not None and serving.nim.ngc_api_key_secret_ref is not None


def unwanted_servers(observed: Observed, role: str, wanted: Iterable[str]) -> tuple[ObjectKey, ...]:
    """Deployments and Services of a role that nothing needs any more."""
    names = frozenset(name for server in wanted for name in (server, pods_service_name(server)))
    return tuple(
        key
        for key in sorted(observed.children)
        if key.kind in {"Deployment", "Service"}
        and value_at(observed.children[key], "metadata", "labels", LABEL_ROLE) == role
        and key.name not in names
        and not is_terminating(observed.children[key])
    )
