"""How a guarded endpoint is reached from outside of the cluster, and what is to be said about that."""

from typing import NamedTuple

from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.guarded_exposure import Expose
from safety_operator.children.exposure import Target, build_http_route, build_ingress
from safety_operator.planning.engine.conditions import ConditionUpdate
from safety_operator.planning.engine.references import SECRET, Reference
from safety_operator.planning.guarded_deployment.deployment_parts import Parts
from safety_operator.state.keys import Manifest, ObjectKey
from safety_operator.state.plan import Child
from safety_operator.state.reading import (
    children_of_role,
    generation_of,
    integer,
    is_terminating,
    items_of,
    value_at,
)
from safety_records.result import Truth

CERTIFICATE = "tls.crt"
"""Key of a Secret of type kubernetes.io/tls."""
EXPOSURE_ROLE = "exposure"
INGRESS, HTTP_ROUTE = "Ingress", "HTTPRoute"


def exposure_children(parts: Parts, candidate: tuple[Parts, int] | None = None) -> tuple[Child, ...]:
    """Ingress and HTTPRoute as the spec asks for them; no HTTPRoute where the cluster has no such kind.

    ``candidate``: what gets a percentage of the HTTPRoute's requests, and how many.
    """
    owner, expose = parts.run.owner, parts.run.spec.expose
    name, target = parts.shared_name(EXPOSURE_ROLE), Target(parts.endpoint_name, expose.service.port)
    found = []
    if expose.ingress is not None:
        found.append(build_ingress(owner, EXPOSURE_ROLE, name, expose.ingress, target))
    if expose.http_route is not None and _has_routes(parts):
        share = (Target(candidate[0].preview_name, target.port), candidate[1]) if candidate else None
        found.append(build_http_route(owner, EXPOSURE_ROLE, name, expose.http_route, target, candidate=share))
    return tuple(map(Child, found))


def stale_exposure(parts: Parts) -> tuple[ObjectKey, ...]:
    """What leads to the endpoint and is not asked for any more."""
    expose, observed = parts.run.spec.expose, parts.run.observed
    wanted = {INGRESS: expose.ingress, HTTP_ROUTE: expose.http_route}
    return tuple(
        key
        for kind, spec in wanted.items()
        for key, child in children_of_role(observed, kind, EXPOSURE_ROLE)
        if spec is None and not is_terminating(child)
    )


def exposed(parts: Parts) -> ConditionUpdate | None:
    """The condition Exposed; None where the endpoint is for the cluster only."""
    ways = _ways(parts)
    if not ways:
        return None
    if parts.run.spec.expose.http_route is not None:
        if not _has_routes(parts):
            return _update(
                "False",
                Reason.API_MISSING,
                "spec.expose.httpRoute: this cluster has no HTTPRoutes that the operator may see. Install "
                "Gateway API (v1) and a controller for it, set rbac.httpRoutes of the chart, or use "
                "expose.ingress.",
            )
        refusal = next(filter(None, map(_refusal, _answers(parts))), "")
        if refusal:
            return _update("False", Reason.ROUTE_REFUSED, refusal)
        silent = ", ".join(answer.gateway for answer in _answers(parts) if not _is_taken(answer))
        if silent:
            return _update(
                "Unknown",
                Reason.ROUTE_NOT_TAKEN,
                f"No controller has taken the HTTPRoute for Gateway {silent} yet: see whether it is there, "
                "and whether its GatewayClass has a controller that runs (kubectl get gateways -A).",
            )
    text = f"Reached from outside of the cluster by {' and '.join(ways)}{_backend_tls(parts)}"
    if parts.wants_keys:
        return _update("True", Reason.EXPOSED, f"{text}; callers need a key.")
    return _update(
        "True",
        Reason.NO_CALLER_KEYS,
        f"{text}, and whoever reaches it may ask: it wants no keys. Name callers in spec.access.keys.",
    )


def _ways(parts: Parts) -> list[str]:
    """What leads to the endpoint from outside, in words for people."""
    expose = parts.run.spec.expose
    found = []
    if expose.service.type != "ClusterIP":
        found.append(f"a Service of type {expose.service.type}")
    if expose.ingress is not None:
        found.append(f"the Ingress of {expose.ingress.host}")
    if expose.http_route is not None:
        hosts = ", ".join(expose.http_route.hostnames)
        found.append(f"the HTTPRoute of {hosts}" if hosts else "an HTTPRoute")
    return found


def _backend_tls(parts: Parts) -> str:
    """What a Gateway needs besides the route to ask by HTTPS, which the operator does not make."""
    expose = parts.run.spec.expose
    if expose.tls is None or expose.http_route is None:
        return ""
    return (
        f" (a Gateway asks by HTTPS where a BackendTLSPolicy names the Service {parts.endpoint_name} and the "
        "authority of its certificate: make one)"
    )


def tls_references(expose: Expose, stage: str) -> tuple[Reference, ...]:
    """The Secret with the endpoint's own certificate."""
    if expose.tls is None:
        return ()
    where = "spec.expose.tls.secretName"
    return (Reference(where, SECRET, expose.tls.secret_name, f"{CERTIFICATE} and tls.key", stages=(stage,)),)


def is_routed(parts: Parts, weight: int) -> bool:
    """Whether each Gateway has taken the HTTPRoute with this weight of the candidate.

    Where the route has another one already, the status does not know of the step yet that was decided on.
    """
    if parts.run.spec.expose.http_route is None or not _has_routes(parts):
        return False
    answers = _answers(parts)
    decided = _weight(_route(parts)) != weight
    return not any(map(_refusal, answers)) and all(
        _is_taken(answer, 0 if decided else answer.generation) for answer in answers
    )


def _route(parts: Parts) -> Manifest:
    key = ObjectKey(HTTP_ROUTE, parts.shared_name(EXPOSURE_ROLE))
    return parts.run.observed.children.get(key, {})


def _weight(route: Manifest) -> int:
    """The candidate's percentage of the requests."""
    rules = items_of(value_at(route, "spec", "rules"))
    backends = items_of(rules[0].get("backendRefs")) if rules else []
    return integer(backends[1].get("weight")) if len(backends) > 1 else 0


def _has_routes(parts: Parts) -> bool:
    return HTTP_ROUTE in parts.run.observed.optional


class _Answer(NamedTuple):
    """What controllers say of the HTTPRoute at one Gateway of the spec."""

    gateway: str
    """namespace/name"""
    generation: int
    """Of the route as it is now."""
    conditions: tuple[Manifest, ...]


def _answers(parts: Parts) -> list[_Answer]:
    """One for each Gateway of the spec: controllers may leave what they said at others."""
    run, expose = parts.run, parts.run.spec.expose
    route = _route(parts)
    own = run.owner.namespace
    said: dict[tuple[str, ...], list[Manifest]] = {}
    for item in items_of(value_at(route, "status", "parents")):
        ref = item.get("parentRef")
        place = tuple(
            str(value_at(ref, key, default=default))
            for key, default in (("namespace", own), ("name", ""), ("sectionName", ""))
        )
        said.setdefault(place, []).extend(items_of(item.get("conditions")))
    return [
        _Answer(f"{place[0]}/{place[1]}", generation_of(route), tuple(said.get(place, ())))
        for ref in (expose.http_route.parent_refs if expose.http_route else ())
        for place in [(ref.namespace or own, ref.name, ref.section_name or "")]
    ]


def _refusal(answer: _Answer) -> str:
    """What is said against the route; empty: nothing."""
    for condition in answer.conditions:
        if condition.get("type") in {"Accepted", "ResolvedRefs"} and condition.get("status") == "False":
            words = ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))
            return f"Gateway {answer.gateway} does not take the HTTPRoute: {words}"
    return ""


def _is_taken(answer: _Answer, generation: int = 0) -> bool:
    """Whether a controller has taken the route, as it was in that generation or later."""
    return any(
        condition.get("type") == "Accepted"
        and condition.get("status") == "True"
        and integer(condition.get("observedGeneration", generation)) >= generation
        for condition in answer.conditions
    )


def _update(status: Truth, reason: str, message: str) -> ConditionUpdate:
    return ConditionUpdate(ConditionType.EXPOSED, status, reason, message)
