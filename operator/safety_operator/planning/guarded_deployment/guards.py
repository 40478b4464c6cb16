"""Guard models that the operator serves: from a source, or those that another GuardedDeployment serves.

A guard of a source is a child like the model: fetched by a stage of its own, served by a Deployment whose
name stays. Another GuardedDeployment may ask it, too, and the guard's digest is then part of the
configuration that it proves.
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
from safety_operator.api.guarded_guards import ServedGuard
from safety_operator.api.guarded_rails import GuardEndpoint
from safety_operator.children.metadata import Owner, canonical_hash, child_name
from safety_operator.children.runtimes.runtime import SERVED_NAME
from safety_operator.children.service import service_url
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
from safety_operator.state.keys import Key
from safety_operator.state.reading import children_of_role, is_terminating, known_digest, value_at

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
    """Name of the Service that the guardrails ask; of one that is served here, of its Deployment, too."""
    wait: str = ""
    """Why no pod of another GuardedDeployment's is ready, where that is known."""

    @property
    def role(self) -> str:
        """Role of its server."""
        return f"{ROLE_PREFIX}{self.rail}"

    def named(self, server: str) -> "Guard":
        """The same at a server of this name."""
        return replace(self, server=server)

    @property
    def shared_server(self) -> str:
        """Name of the Service by which other GuardedDeployments ask it."""
        return self.server if self.shared else shared_name(self.owner, self.rail, self.format)

    @property
    def endpoint(self) -> GuardEndpoint:
        """Where the guardrails ask it."""
        return GuardEndpoint(url=service_url(self.owner, self.server), model=SERVED_NAME)

    @property
    def words(self) -> str:
        """What it is to people."""
        return guard_words(self.rail, self.owner.name if self.shared else "")


def guard_words(rail: str, owner: str) -> str:
    """What a guard is to people; ``owner``: the other GuardedDeployment that serves it, if another does."""
    whose = f" of {KIND} {owner}" if owner else ""
    return f"the guard model for {FIELDS.get(rail, rail)}{whose}"


def shared_name(owner: Owner, rail: str, format_: str) -> str:
    """Name of the Service on a guard by which others ask it: the same on whichever track it is served.

    It leads to pods of this format alone, so that nobody reads answers as something that they are not.
    """
    return child_name(owner, f"{ROLE_PREFIX}{rail}", f"shared {format_}")


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
    _check_is_there(run, item, ref.name)
    found = find_reference(run, GuardedDeploymentStatus, ref.name)
    _check_serves(item, ref.name, value_at(found.manifest, "spec", "guardrails", default={}))
    served = next((guard for guard in found.status.guards if guard.rail == item.rail), None)
    if served is None or not known_digest(served.digest):
        raise wait_for(KIND, ref.name, f" to fetch its guard model for {FIELDS[item.rail]}")
    format_ = served.format or item.format
    suspended = value_at(found.manifest, "spec", "suspend") is True
    return Guard(
        item.rail,
        _owner_of(run, item),
        served.digest,
        served.hash,
        format_,
        shared=True,
        ready=served.ready,
        server=served.server or shared_name(_owner_of(run, item), item.rail, format_),
        wait="its spec.suspend is true" if suspended else "",
    )


def _check_is_there(run: GuardedRun, item: Wanted, name: str) -> None:
    """Raise Blocked, for a person, where a guard that guardrails ask already is gone."""
    found = run.observed.references.get(Key(KIND, run.owner.namespace, name))
    if found is not None and not is_terminating(found):
        return
    path = ("spec", "template", "metadata", "labels", f"{ASKS}{item.rail}")
    servers = children_of_role(run.observed, "Deployment", RAILS_ROLE)
    if any(value_at(server, *path) == name for _, server in servers):
        message = (
            f"{item.where}.guardedDeploymentRef: {KIND} {name}, which serves this guard, is "
            f"{'gone' if found is None else 'being deleted'}. Without it every request is refused (503). "
            "Create it again, or name another guard there."
        )
        raise Blocked(Problem(Reason.WAITING_FOR_REFERENCE, message, reference=True))


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
