"""Services in front of a Deployment's or a Job's pods."""

from collections.abc import Mapping
from typing import Any

from safety_operator.api.guarded_exposure import ServicePort
from safety_operator.children.metadata import Owner, child_metadata, with_hash
from safety_operator.state.labels import LABEL_INSTANCE, LABEL_KIND

SERVER_PORT = 8000
"""Port of every HTTP server in a pod of the operator."""
METRICS_PORT = 9090
"""Port of a guarded endpoint's metrics, which its clients' port does not show."""
RENDEZVOUS_PORT = 29500
"""Port at which the processes of several nodes meet (torchrun's default)."""
INSIDE = ServicePort()
"""For the cluster only."""


def build_service(
    owner: Owner,
    role: str,
    name: str,
    *,
    instance: str,
    port: int = SERVER_PORT,
    service: ServicePort = INSIDE,
    tls: bool = False,
    pods: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A Service on the pods of one Deployment; ``service``: its type, annotations and IP families.

    ``tls``: whether the pods speak HTTPS; ``pods``: labels of those that it leads to, where not to all.
    """
    ports = _ports("http", port, SERVER_PORT)
    if tls:
        ports = [port | {"name": "https", "appProtocol": "https"} for port in ports]
    # The kind, because the chart's admission policy knows by it whose pods only the operator may make.
    spec: dict[str, Any] = {
        "type": service.type,
        "selector": {LABEL_KIND: owner.kind, LABEL_INSTANCE: instance, **(pods or {})},
        "ports": ports,
    }
    if service.ip_family_policy:
        spec["ipFamilyPolicy"] = service.ip_family_policy
    return _service(owner, role, name, spec, service.annotations)


def pods_service_name(name: str) -> str:
    """Name of the headless Service that goes with a server's Service."""
    return f"{name}-pods"


def build_pods_service(owner: Owner, role: str, name: str) -> dict[str, Any]:
    """The headless Service of a server: its name resolves to the addresses of all ready pods."""
    ports = _ports("http", SERVER_PORT, SERVER_PORT)
    spec = {"clusterIP": "None", "selector": {LABEL_INSTANCE: name}, "ports": ports}
    return _service(owner, role, pods_service_name(name), spec)


def build_rendezvous_service(owner: Owner, role: str, name: str) -> dict[str, Any]:
    """A headless Service that gives the pods of a Job names before they are ready, to find each other."""
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {"batch.kubernetes.io/job-name": name},
        "ports": _ports("rendezvous", RENDEZVOUS_PORT, RENDEZVOUS_PORT),
    }
    return _service(owner, role, name, spec)


def _service(
    owner: Owner, role: str, name: str, spec: dict[str, Any], annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    metadata = child_metadata(owner, role, name, annotations=annotations)
    return with_hash({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})


def _ports(name: str, port: int, target: int) -> list[dict[str, Any]]:
    return [{"name": name, "port": port, "targetPort": target, "protocol": "TCP"}]


def service_url(owner: Owner, name: str, port: int = SERVER_PORT, *, tls: bool = False) -> str:
    """Base URL of an OpenAI-compatible server behind a Service."""
    return f"http{'s' if tls else ''}://{name}.{owner.namespace}.svc:{port}/v1"
