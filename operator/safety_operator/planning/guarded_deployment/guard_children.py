"""The children of guard models that are served here, and what the status says of them.

Each track has a guard of its own, which its own guardrails ask. Other GuardedDeployments ask by a Service
that leads to the guard of the track that has the requests, so that they stay as they are while that changes.
Their guardrails' pods have a label that the guard's NetworkPolicy lets in.
"""

from collections.abc import Iterator
from typing import Any

from safety_operator.api.common import Serving
from safety_operator.api.guarded_guards import GuardStatus
from safety_operator.children.deployment import IN_TURN, SURGE
from safety_operator.children.metadata import Owner
from safety_operator.children.model_server import build_model_server
from safety_operator.children.network_policy import Peer, build_server_policy, owner_pods
from safety_operator.children.runtimes.runtime import ModelServer
from safety_operator.children.scaling import build_budget
from safety_operator.children.service import build_service
from safety_operator.planning.engine.products import Model
from safety_operator.planning.guarded_deployment.deployment_parts import GuardedRun, Parts
from safety_operator.planning.guarded_deployment.guards import (
    ASKS,
    KIND,
    ROLE_PREFIX,
    Guard,
    shared_name,
)
from safety_operator.planning.guarded_deployment.roles import RAILS_ROLE
from safety_operator.planning.shared.models import device_of
from safety_operator.state.keys import Manifest, ObjectKey
from safety_operator.state.labels import LABEL_KIND, LABEL_ROLE
from safety_operator.state.plan import Child
from safety_operator.state.reading import annotation, is_terminating, value_at

GUARD_DIGEST, GUARD_HASH = "modelsafety.dev/guard-digest", "modelsafety.dev/guard-hash"
"""Annotations of a guard's Deployment: what its pods serve, whatever the spec asks for by now."""
GUARD_FORMAT = "modelsafety.dev/guard-format"
"""The same, as an annotation of the Deployment and as a label of its pods: how they are asked and answer."""


def guard_policies(owner: Owner, guards: tuple[Guard, ...], clients: Peer) -> Iterator[dict[str, Any]]:
    """Who reaches the guards that are served here: ``clients``, and guardrails that share them."""
    for guard in guards:
        if not guard.shared:
            asking = {LABEL_KIND: KIND, LABEL_ROLE: RAILS_ROLE, f"{ASKS}{guard.rail}": owner.name}
            others = {"matchLabels": asking}
            yield build_server_policy(owner, guard.role, [clients, {"podSelector": others}])


def guard_children(run: GuardedRun, guards: tuple[Guard, ...]) -> Iterator[Child]:
    """Services and Deployments of the guards that are served here, and budgets of those with several pods."""
    for guard in guards:
        if guard.model is not None and guard.serving is not None:
            if guard.serving.replicas > 1:
                yield Child(build_budget(run.owner, guard.role, guard.server))
            yield Child(build_service(run.owner, guard.role, guard.server, instance=guard.server))
            yield Child(build_model_server(_server(run, guard, guard.model, guard.serving)))


def shared_services(parts: Parts) -> Iterator[Child]:
    """The Services by which others ask the guards of this track, as these are told to be."""
    owner = parts.run.owner
    for guard in parts.served_guards().values():
        server = parts.deployment(guard.role)
        if not guard.shared and server is not None:
            format_ = annotation(server, GUARD_FORMAT)
            name, pods = shared_name(owner, guard.rail, format_), {GUARD_FORMAT: format_}
            yield Child(build_service(owner, guard.role, name, instance=parts.name(guard.role), pods=pods))


def _server(run: GuardedRun, guard: Guard, model: Model, serving: Serving) -> ModelServer:
    device = device_of(run, serving.device)
    return ModelServer(
        owner=run.owner,
        role=guard.role,
        name=guard.server,
        serving=serving,
        device=device,
        model_path=model.path,
        claim=run.claim,
        images=run.settings.images,
        options=run.options("server"),
        replicas=serving.replicas,
        digest=model.digest if run.spec.gate.verify_files else "",
        serves_people=True,
        queue=run.spec.queue_name or "",
        strategy=IN_TURN if device == "gpu" and serving.replicas > 1 else SURGE,
        pod_labels={GUARD_FORMAT: guard.format},
        annotations={GUARD_DIGEST: guard.digest, GUARD_HASH: guard.identity, GUARD_FORMAT: guard.format},
    )


def guard_pods(guards: tuple[Guard, ...]) -> list[Peer]:
    """The guards' pods, whoever serves them, for the guardrails' own policy."""
    return [owner_pods(guard.owner, guard.role) for guard in guards]


def asking_labels(guards: tuple[Guard, ...]) -> dict[str, str]:
    """Labels of the guardrails' pods by which others' guards let them in."""
    return {f"{ASKS}{guard.rail}": guard.owner.name for guard in guards if guard.shared}


def unused_guards(parts: Parts) -> list[ObjectKey]:
    """Children of guards that no rail asks any more."""
    own = [guard for guard in parts.served_guards().values() if not guard.shared]
    roles = {guard.role for guard in own}
    services = {name for guard in own for name in (guard.server, guard.shared_server)}
    single = {guard.role for guard in own if guard.serving is not None and guard.serving.replicas == 1}
    return [
        key
        for key, child in parts.run.observed.children.items()
        if key.kind in {"Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"}
        and (role := str(value_at(child, "metadata", "labels", LABEL_ROLE))).startswith(ROLE_PREFIX)
        and (
            role not in roles
            or (key.kind == "Service" and key.name not in services)
            or (key.kind == "PodDisruptionBudget" and role in single)
        )
        and not is_terminating(child)
    ]


def guard_status(guard: Guard, *, ready: bool) -> GuardStatus:
    """A guard for the status."""
    return GuardStatus(
        rail=guard.rail,
        digest=guard.digest,
        hash=guard.identity,
        format=guard.format,
        server=guard.shared_server,
        ready=ready,
    )


def guard_of(owner: Owner, deployment: Manifest, *, ready: bool) -> GuardStatus:
    """A guard for the status, by what its Deployment was told to serve."""
    role = str(value_at(deployment, "metadata", "labels", LABEL_ROLE, default=""))
    rail, format_ = role.removeprefix(ROLE_PREFIX), annotation(deployment, GUARD_FORMAT)
    return GuardStatus(
        rail=rail,
        digest=annotation(deployment, GUARD_DIGEST),
        hash=annotation(deployment, GUARD_HASH),
        format=format_,
        server=shared_name(owner, rail, format_),
        ready=ready,
    )
