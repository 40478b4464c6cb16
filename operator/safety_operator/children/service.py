"""Services in front of a Deployment's or a Job's pods."""

from typing import Any

from safety_operator.children.metadata import Owner, child_metadata, with_hash
from safety_operator.state.labels import LABEL_INSTANCE

SERVER_PORT = 8000
"""Port of every HTTP server in a pod of the operator."""


def build_service(
    owner: Owner, role: str, name: str, *, instance: str, port: int = SERVER_PORT, type_: str = "ClusterIP"
) -> dict[str, Any]:
    """A Service on the pods of one Deployment."""
    return with_hash(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": child_metadata(owner, role, name),
            "spec": {
                "type": type_,
                "selector": {LABEL_INSTANCE: instance},
                "ports": [{"name": "http", "port": port, "targetPort": SERVER_PORT, "protocol": "TCP"}],
            },
        }
    )


def pods_service_name(name: str) -> str:
    """Name of the headless Service beside a Service."""
    return f"{name}-pods"


def build_pods_service(owner: Owner, role: str, name: str) -> dict[str, Any]:
    """A headless Service beside a server's Service: its name resolves to the addresses of all ready pods."""
    return with_hash(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": child_metadata(owner, role, pods_service_name(name)),
            "spec": {
                "clusterIP": "None",
                "selector": {LABEL_INSTANCE: name},
                "ports": [
                    {"name": "http", "port": SERVER_PORT, "targetPort": SERVER_PORT, "protocol": "TCP"}
                ],
            },
        }
    )


def build_rendezvous_service(owner: Owner, role: str, name: str, *, port: int) -> dict[str, Any]:
    """A headless Service that gives the pods of a Job names before they are ready, to find each other."""
    return with_hash(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": child_metadata(owner, role, name),
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": True,
                "selector": {"batch.kubernetes.io/job-name": name},
                "ports": [{"name": "rendezvous", "port": port, "targetPort": port, "protocol": "TCP"}],
            },
        }
    )


def service_url(owner: Owner, name: str, port: int = SERVER_PORT) -> str:
    """Base URL of an OpenAI-compatible server behind a Service."""
    return f"http://{name}.{owner.namespace}.svc:{port}/v1"
