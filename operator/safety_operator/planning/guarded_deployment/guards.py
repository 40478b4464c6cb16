"""Guard models that the operator serves: from a source, or those that another GuardedDeployment serves.

A guard of a source is a child like the model: fetched by a stage of its own, served by a Deployment whose
name stays. Another GuardedDeployment may ask it, too: its guardrails' pods then have a label that the guard's
NetworkPolicy lets in, and the guard's digest is part of the configuration that it proves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from pydantic import ValidationError

from safety_operator.api.answer_settings import answer_variables
from safety_operator.api.common import OwnedModel, Serving
from safety_operator.api.conditions import Reason
from safety_operator.api.guarded_deployment import GuardedDeploymentSpec, GuardedDeploymentStatus, Guardrails
from safety_operator.api.guarded_guards import GuardStatus, ServedGuard
from safety_operator.api.guarded_rails import GuardEndpoint
from safety_operator.children.deployment import IN_TURN, SURGE
from safety_operator.children.metadata import Owner, canonical_hash, child_name
from safety_operator.children.model_server import build_model_server
from safety_operator.children.network_policy import Peer, build_server_policy, owner_pods
from safety_operator.children.runtimes.runtime import SERVED_NAME, ModelServer
from safety_operator.children.service import build_service, service_url
from safety_operator.planning.engine.problems import Blocked, Problem, attempt
from safety_operator.planning.engine.products import Model, find_reference, wait_for
from safety_operator.planning.engine.references import Reference
from safety_operator.planning.engine.stages import Decision, Run, Stage
from safety_operator.planning.guarded_deployment.roles import RAILS_ROLE
from safety_operator.planning.shared.models import (
    Part,
    device_of,
    fetch_model,
    find_model,
    model_references,
    serving_influences,
)
from safety_operator.state.keys import Manifest, ObjectKey
from safety_operator.state.labels import LABEL_KIND, LABEL_ROLE
from safety_operator.state.plan import Child
from safety_operator.state.reading import annotation, is_terminating, known_digest, value_at

GuardedRun = Run[GuardedDeploymentSpec]

KIND = "GuardedDeployment"
ROLE_PREFIX = "guard-"
"""Beginning of the role of a guard's server; the rail follows."""
ASKS = "modelsafety.dev/asks-"
"""Beginning of the label of guardrails' pods that ask another GuardedDeployment's guard; the rail follows,
and the value is that GuardedDeployment's name."""
CONTENT_SAFETY, TOPIC_CONTROL, SELF_CHECK = "content-safety", "topic-control", "self-check"
FIELDS = {CONTENT_SAFETY: "contentSafety", TOPIC_CONTROL: "topicControl", SELF_CHECK: "selfCheck"}
DEFAULT_FORMAT = "nemoguard"
GUARD_DIGEST, GUARD_HASH = "modelsafety.dev/guard-digest", "modelsafety.dev/guard-hash"
GUARD_FORMAT = "modelsafety.dev/guard-format"
"""Annotations of a guard's Deployment: what its pods serve, whatever the spec asks for by now."""


class Wanted(NamedTuple):
    """A guard model that a spec asks for."""

    rail: str
    spec: ServedGuard
    format: str = ""

    @property
    def where(self) -> str:
        """The field."""
        return f"spec.guardrails.{FIELDS[self.rail]}.model"

    @property
    def fetch(self) -> str:
        """Name of the stage that fetches it."""
        return f"fetch-{self.rail}"

    @property
    def part(self) -> Part:
        """Which model of the resource it is."""
        return Part(where=self.where, fetch=self.fetch)


def wanted_guards(rails: Guardrails) -> Iterator[Wanted]:
    """The guard models that the operator is to serve, here or for another GuardedDeployment."""
    safety = rails.content_safety.model
    found = [Wanted(CONTENT_SAFETY, safety, safety.format or DEFAULT_FORMAT)]
    if rails.topic_control:
        found.append(Wanted(TOPIC_CONTROL, rails.topic_control.model))
    if rails.self_check and rails.self_check.model:
        found.append(Wanted(SELF_CHECK, rails.self_check.model))
    return (item for item in found if item.spec.source or item.spec.guarded_deployment_ref)


def guard_references(rails: Guardrails) -> tuple[Reference, ...]:
    """What guard models come from."""
    found: list[Reference] = []
    for item in wanted_guards(rails):
        if item.spec.guarded_deployment_ref is not None:
            where = f"{item.where}.guardedDeploymentRef"
            found.append(Reference(where, KIND, item.spec.guarded_deployment_ref.name))
        else:
            found += model_references(_owned(item), item.part)
    return tuple(found)


def _owned(item: Wanted) -> OwnedModel:
    return OwnedModel(source=item.spec.source)


def fetch_stages(rails: Guardrails) -> tuple[Stage[GuardedDeploymentSpec], ...]:
    """A stage for each guard model that has to be fetched into the store."""

    def fetch(item: Wanted, run: GuardedRun) -> Decision:
        return fetch_model(run, _owned(item), item.fetch)

    return tuple(Stage(item.fetch, partial(fetch, item)) for item in wanted_guards(rails) if item.spec.source)


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard model that is served."""

    rail: str
    owner: Owner
    """Who serves it: this GuardedDeployment, or another one."""
    digest: str = ""
    """Empty while it is not known."""
    identity: str = ""
    """Hash of all that influences its answers."""
    format: str = ""
    model: Model | None = None
    """Its files; None: it is another GuardedDeployment's, or waited for."""
    serving: Serving | None = None
    shared: bool = False
    """Whether it is another GuardedDeployment's."""
    ready: bool = False
    """Whether a pod of another GuardedDeployment's is ready."""
    server: str = ""
    """Name of its Deployment and Service."""

    @property
    def role(self) -> str:
        """Role of its server."""
        return f"{ROLE_PREFIX}{self.rail}"

    def named(self, server: str) -> "Guard":
        """The same at a server of this name."""
        return replace(self, server=server)

    @property
    def endpoint(self) -> GuardEndpoint:
        """Where the guardrails ask it."""
        return GuardEndpoint(url=service_url(self.owner, self.server), model=SERVED_NAME)

    @property
    def words(self) -> str:
        """What it is to people."""
        whose = f" of {KIND} {self.owner.name}" if self.shared else ""
        return f"the guard model for {FIELDS[self.rail]}{whose}"


def known_guards(run: GuardedRun) -> tuple[Guard, ...]:
    """The guards that the spec asks for, without what is not known before they are fetched."""
    return tuple(
        Guard(
            item.rail,
            _owner_of(run, item),
            format=item.format,
            shared=item.spec.guarded_deployment_ref is not None,
            server="guard",
        )
        for item in wanted_guards(run.spec.guardrails)
    )


def _owner_of(run: GuardedRun, item: Wanted) -> Owner:
    ref = item.spec.guarded_deployment_ref
    return run.owner if ref is None else Owner(KIND, ref.name, run.owner.namespace, "")


def find_guards(run: GuardedRun) -> tuple[Guard, ...]:
    """The guards with their models. Raises Blocked while one of them is not fetched, or not another's."""
    return tuple(
        _find_shared(run, item) if item.spec.guarded_deployment_ref else _find_own(run, item)
        for item in wanted_guards(run.spec.guardrails)
    )


def _find_own(run: GuardedRun, item: Wanted) -> Guard:
    found, problem = attempt(find_model, run, _owned(item), item.where, fetch=item.fetch)
    if found is None:
        assert problem is not None
        raise Blocked(replace(problem, message=f"{problem.message}: {item.where}"))
    serving = item.spec.serving.whole() if item.spec.serving else Serving()
    device, variables = device_of(run, serving.device), answer_variables(run.options("server").env)
    influences = [found.digest, serving_influences(serving), device, variables]
    return Guard(item.rail, run.owner, found.digest, canonical_hash(influences), item.format, found, serving)


def _find_shared(run: GuardedRun, item: Wanted) -> Guard:
    ref = item.spec.guarded_deployment_ref
    assert ref is not None
    found = find_reference(run, GuardedDeploymentStatus, ref.name)
    _check_serves(item, ref.name, value_at(found.manifest, "spec", "guardrails", default={}))
    served = next((guard for guard in found.status.guards if guard.rail == item.rail), None)
    if served is None or not known_digest(served.digest):
        raise wait_for(KIND, ref.name, f" to fetch its guard model for {FIELDS[item.rail]}")
    return Guard(
        item.rail,
        _owner_of(run, item),
        served.digest,
        served.hash,
        served.format or item.format,
        shared=True,
        ready=served.ready,
        server=served.server or child_name(_owner_of(run, item), f"{ROLE_PREFIX}{item.rail}", ""),
    )


def _check_serves(item: Wanted, name: str, rails: Mapping[str, Any]) -> None:
    """Raise Blocked where the other GuardedDeployment serves no such guard."""
    try:
        theirs = [guard for guard in wanted_guards(Guardrails.model_validate(rails)) if guard.spec.source]
    except ValidationError:
        raise wait_for(KIND, name, ", whose spec.guardrails is not one of this version") from None
    if item.rail not in {guard.rail for guard in theirs}:
        message = (
            f"{item.where}.guardedDeploymentRef: GuardedDeployment {name} serves no guard for "
            f"{FIELDS[item.rail]} itself. Name one that has model.source there."
        )
        raise Blocked(Problem(Reason.INVALID_SPEC, message))


def guard_policies(owner: Owner, guards: tuple[Guard, ...], clients: Peer) -> Iterator[dict[str, Any]]:
    """Who reaches the guards that are served here: ``clients``, and guardrails that share them."""
    for guard in guards:
        if not guard.shared:
            asking = {LABEL_KIND: KIND, LABEL_ROLE: RAILS_ROLE, f"{ASKS}{guard.rail}": owner.name}
            others = {"matchLabels": asking}
            yield build_server_policy(owner, guard.role, [clients, {"podSelector": others}])


def guard_children(run: GuardedRun, guards: tuple[Guard, ...]) -> Iterator[Child]:
    """Services and Deployments of the guards that are served here."""
    for guard in guards:
        if guard.model is not None and guard.serving is not None:
            yield Child(build_service(run.owner, guard.role, guard.server, instance=guard.server))
            yield Child(build_model_server(_server(run, guard, guard.model, guard.serving)))


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
        annotations={GUARD_DIGEST: guard.digest, GUARD_HASH: guard.identity, GUARD_FORMAT: guard.format},
    )


def guard_pods(guards: tuple[Guard, ...]) -> list[Peer]:
    """The guards' pods, whoever serves them, for the guardrails' own policy."""
    return [owner_pods(guard.owner, guard.role) for guard in guards]


def asking_labels(guards: tuple[Guard, ...]) -> dict[str, str]:
    """Labels of the guardrails' pods by which others' guards let them in."""
    return {f"{ASKS}{guard.rail}": guard.owner.name for guard in guards if guard.shared}


def unused_guards(run: GuardedRun, guards: tuple[Guard, ...]) -> list[ObjectKey]:
    """Children of guards that no rail asks any more."""
    own = {guard.role for guard in guards if not guard.shared}
    return [
        key
        for key, child in run.observed.children.items()
        if key.kind in {"Deployment", "NetworkPolicy", "Service"}
        and (role := str(value_at(child, "metadata", "labels", LABEL_ROLE, default=""))) not in own
        and role.startswith(ROLE_PREFIX)
        and not is_terminating(child)
    ]


def guard_status(guard: Guard, *, ready: bool) -> GuardStatus:
    """A guard for the status."""
    return GuardStatus(
        rail=guard.rail,
        digest=guard.digest,
        hash=guard.identity,
        format=guard.format,
        server=guard.server,
        ready=ready,
    )


def guard_of(deployment: Manifest, *, ready: bool) -> GuardStatus:
    """A guard for the status, by what its Deployment was told to serve."""
    role = str(value_at(deployment, "metadata", "labels", LABEL_ROLE, default=""))
    return GuardStatus(
        rail=role.removeprefix(ROLE_PREFIX),
        digest=annotation(deployment, GUARD_DIGEST),
        hash=annotation(deployment, GUARD_HASH),
        format=annotation(deployment, GUARD_FORMAT),
        server=deployment["metadata"]["name"],
        ready=ready,
    )
