"""Servers that a resource runs: whether they are ready, what they say if not, and which to take away."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from safety_operator.api.conditions import Reason
from safety_operator.children.model_server import ModelServer, build_model_server
from safety_operator.children.network_policy import build_server_policy, owner_pods
from safety_operator.children.service import build_pods_service, build_service, pods_service_name
from safety_operator.planning.model import LABEL_ROLE, Child, Manifest, ObjectKey, Observed
from safety_operator.planning.problems import HOPELESS, Problem, capital, pod_words
from safety_operator.planning.reading import condition_of, dig, is_terminating, parse_time, whole

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


def server_state(observed: Observed, server: ModelServer, now: datetime) -> ServerState:
    """How a model server is."""
    return deployment_state(observed, server.name, "the model server", now)


def deployment_state(observed: Observed, name: str, what: str, now: datetime) -> ServerState:
    """How a Deployment is: ready once one pod of its present template is.

    Parameters
    ----------
    observed
        What exists.
    name
        The Deployment's name.
    what
        What it is to people, such as ``the model server``.
    now
        For the time that it has been waited for.
    """
    child = observed.children.get(ObjectKey("Deployment", name))
    if child is None or is_terminating(child):
        return ServerState(ready=False, text=f"starting {what}")
    if is_rolled_out(child):
        return ServerState(ready=True)
    text = f"waiting for {what} ({_age_seconds(child, now)} s)"
    failure = observed.failures.get(name)
    if failure is None:
        if condition_of(child, "Progressing").get("status") == "False":
            message = f"{capital(what)} did not become ready in time; Deployment {name}."
            return ServerState(False, message, Problem(Reason.NOT_READY, message))
        return ServerState(ready=False, text=text)
    hung = condition_of(child, "Progressing").get("status") == "False"
    problem = _problem(failure_words(observed, name, what), failure.reason, failure.exit_code, hung=hung)
    return ServerState(ready=False, text=f"{text}: {failure.reason}", problem=problem)


def failure_words(observed: Observed, name: str, what: str) -> str:
    """Last words of a Deployment's pod, empty where there are none."""
    failure = observed.failures.get(name)
    return f"{capital(what)}: {pod_words(failure)}" if failure else ""


def _problem(words: str, reason: str, exit_code: int | None, *, hung: bool) -> Problem:
    if exit_code is None:
        return Problem(Reason.POD_CANNOT_START, words, stalled=hung or reason in HOPELESS)
    return Problem(Reason.NOT_READY, words, stalled=hung)


def is_rolled_out(deployment: Manifest) -> bool:
    """Whether at least one pod of the present template is ready and the controller has seen that template."""
    status = deployment.get("status") or {}
    seen = whole(status.get("observedGeneration"), -1)
    current = seen >= whole(dig(deployment, "metadata", "generation"), 0)
    ready = min(whole(status.get("readyReplicas")), whole(status.get("updatedReplicas")))
    return current and ready >= 1


def _age_seconds(child: Manifest, now: datetime) -> int:
    """Age in steps of 5 s, so that a status is not written for each second."""
    born = parse_time(dig(child, "metadata", "creationTimestamp")) or now
    return max(0, int((now - born).total_seconds()) // 5 * 5)


def server_children(server: ModelServer) -> tuple[Child, ...]:
    """A temporary server: who may reach it, its Services and its Deployment.

    Where there are several replicas, workers find them by a headless Service and spread requests themselves.
    """
    policy = build_server_policy(server.owner, server.role, [owner_pods(server.owner)])
    service = build_service(server.owner, server.role, server.name, instance=server.name)
    pods = (build_pods_service(server.owner, server.role, server.name),) if server.replicas > 1 else ()
    return (Child(policy), Child(service), *map(Child, pods), Child(build_model_server(server)))


def unwanted_servers(observed: Observed, role: str, wanted: Iterable[str]) -> tuple[ObjectKey, ...]:
    """Deployments and Services of a role that nothing needs any more."""
    names = frozenset(name for server in wanted for name in (server, pods_service_name(server)))
    return tuple(
        key
        for key in sorted(observed.children)
        if key.kind in {"Deployment", "Service"}
        and dig(observed.children[key], "metadata", "labels", LABEL_ROLE) == role
        and key.name not in names
        and not is_terminating(observed.children[key])
    )
