"""What leads requests from outside of the cluster to a guarded endpoint's Service."""

from typing import Any, NamedTuple

from safety_operator.api.guarded_exposure import NO_TIMEOUT, HttpRouteExposure, IngressExposure
from safety_operator.children.metadata import Owner, child_metadata, with_hash


class Target(NamedTuple):
    """Where requests go."""

    service: str
    port: int


def build_ingress(
    owner: Owner, role: str, name: str, spec: IngressExposure, target: Target
) -> dict[str, Any]:
    """An Ingress that leads all paths of its host to one port of a Service."""
    backend = {"service": {"name": target.service, "port": {"number": target.port}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    body: dict[str, Any] = {"rules": [{"host": spec.host, "http": {"paths": [path]}}]}
    if spec.class_name:
        body["ingressClassName"] = spec.class_name
    if spec.tls_secret_name:
        body["tls"] = [{"hosts": [spec.host], "secretName": spec.tls_secret_name}]
    metadata = child_metadata(owner, role, name, annotations=spec.annotations)
    return with_hash(
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": body}
    )


def build_http_route(
    owner: Owner,
    role: str,
    name: str,
    spec: HttpRouteExposure,
    target: Target,
    *,
    candidate: tuple[Target, int] | None = None,
) -> dict[str, Any]:
    """An HTTPRoute that leads requests of its host names to a Service.

    ``candidate``: another Service that gets a percentage of them. Without a time of its own Envoy would end
    answers after 15 seconds, streams too.
    """
    rule: dict[str, Any] = {"backendRefs": _backends(target, candidate)}
    if spec.request_timeout != NO_TIMEOUT:
        rule["timeouts"] = {"request": spec.request_timeout}
    body: dict[str, Any] = {
        "parentRefs": [
            ref.model_dump(mode="json", by_alias=True, exclude_none=True) for ref in spec.parent_refs
        ],
        "rules": [rule],
    }
    if spec.hostnames:
        body["hostnames"] = list(spec.hostnames)
    return with_hash(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": child_metadata(owner, role, name),
            "spec": body,
        }
    )


def _backends(target: Target, candidate: tuple[Target, int] | None) -> list[dict[str, Any]]:
    first = {"name": target.service, "port": target.port}
    if candidate is None:
        return [first]
    other, percent = candidate
    second = {"name": other.service, "port": other.port, "weight": percent}
    return [first | {"weight": 100 - percent}, second]
