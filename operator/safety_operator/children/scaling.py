"""Pods of a Deployment by load, and how many of them may be taken away at a time."""

from typing import Any

from safety_operator.api.guarded_scaling import Autoscaling, QueueMetric
from safety_operator.children.metadata import Owner, child_metadata, with_hash
from safety_operator.state.labels import LABEL_INSTANCE

CPU_PERCENT = 80
"""Use of CPU that the number of pods aims at where the spec names none."""


def build_autoscaler(owner: Owner, role: str, name: str, spec: Autoscaling) -> dict[str, Any]:
    """What changes the number of pods of the Deployment of the same name: a ScaledObject for a queue."""
    if spec.queue is not None:
        return _build_scaled_object(owner, role, name, spec, spec.queue)
    target = {"type": "Utilization", "averageUtilization": spec.cpu_percent or CPU_PERCENT}
    body = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": spec.min_replicas,
        "maxReplicas": spec.max_replicas,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return _object(owner, role, name, ("autoscaling/v2", "HorizontalPodAutoscaler"), body)


def _build_scaled_object(
    owner: Owner, role: str, name: str, spec: Autoscaling, queue: QueueMetric
) -> dict[str, Any]:
    metadata = {"serverAddress": queue.server_address, "query": queue.query, "threshold": queue.threshold}
    body = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicaCount": spec.min_replicas,
        "maxReplicaCount": spec.max_replicas,
        "triggers": [{"type": "prometheus", "metadata": metadata}],
    }
    return _object(owner, role, name, ("keda.sh/v1alpha1", "ScaledObject"), body)


def build_budget(owner: Owner, role: str, name: str) -> dict[str, Any]:
    """Pods leave one by one when nodes are drained; those that are not ready may go at any time."""
    body = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": {LABEL_INSTANCE: name}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return _object(owner, role, name, ("policy/v1", "PodDisruptionBudget"), body)


def _object(
    owner: Owner, role: str, name: str, kind: tuple[str, str], spec: dict[str, Any]
) -> dict[str, Any]:
    metadata = child_metadata(owner, role, name)
    return with_hash({"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, "spec": spec})
