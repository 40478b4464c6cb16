"""Deployments of servers: how their pods are replaced, found and probed."""

from typing import Any

from safety_operator.children.metadata import Owner, canonical_hash, child_labels, child_metadata, with_hash
from safety_operator.children.service import SERVER_PORT
from safety_operator.state.labels import LABEL_INSTANCE, LABEL_TEMPLATE, QUEUE_LABEL

ANSWER_SECONDS = 600
"""Longest time for an answer of the model."""
HOOK_SECONDS = 30
"""Time of a grace period besides that for open requests: the notice, and the end of the process."""
RECREATE: dict[str, Any] = {"type": "Recreate"}
"""All old pods go before a new one starts."""
SURGE: dict[str, Any] = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
"""No ready pod goes before its successor is ready: what is served to people."""
IN_TURN: dict[str, Any] = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
"""One by one, the old pod first: an update needs no accelerator more than serving does."""


def build_server_deployment(
    owner: Owner,
    role: str,
    name: str,
    template: dict[str, Any],
    *,
    replicas: int | None,
    strategy: dict[str, Any],
    deadline_seconds: int,
    annotations: dict[str, str] | None = None,
    queue: str = "",
) -> dict[str, Any]:
    """A Deployment around a pod template, selected by its own name; ``replicas`` None: others decide."""
    labels = {QUEUE_LABEL: queue} if queue else {}
    template = _with_hash_label(_with_labels(template, labels))
    return with_hash(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": child_metadata(owner, role, name, labels=labels, annotations=annotations),
            "spec": {
                **({} if replicas is None else {"replicas": replicas}),
                "revisionHistoryLimit": 2,
                "progressDeadlineSeconds": deadline_seconds,
                "strategy": strategy,
                "selector": {"matchLabels": child_labels(owner, role) | {LABEL_INSTANCE: name}},
                "template": template,
            },
        }
    )


def _with_hash_label(template: dict[str, Any]) -> dict[str, Any]:
    """The template with its own hash as a label."""
    return _with_labels(template, {LABEL_TEMPLATE: canonical_hash(template)})


def _with_labels(template: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    meta = template["metadata"]
    return template | {"metadata": meta | {"labels": meta["labels"] | labels}}


def draining(template: dict[str, Any], seconds: int, hook: dict[str, Any] | None = None) -> dict[str, Any]:
    """The template of pods that have ``seconds`` for what is open before they end, behind a hook if any."""
    (container,) = template["spec"]["containers"]
    lifecycle = {"lifecycle": {"preStop": hook}} if hook else {}
    spec = template["spec"] | {
        "terminationGracePeriodSeconds": seconds + HOOK_SECONDS,
        "containers": [container | lifecycle],
    }
    return template | {"spec": spec}


def spread(template: dict[str, Any], name: str) -> dict[str, Any]:
    """The template of pods that keep apart where there is room, unless it says where they go."""
    if "topologySpreadConstraints" in template["spec"]:
        return template
    constraint = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {LABEL_INSTANCE: name}},
        "matchLabelKeys": ["pod-template-hash"],
    }
    return template | {"spec": template["spec"] | {"topologySpreadConstraints": [constraint]}}


def http_probes(
    path: str, *, startup_seconds: int, ready_path: str | None = None, tls: bool = False
) -> dict[str, Any]:
    """Startup with a long budget, then readiness; liveness forgives a busy minute and a half."""
    ready = ready_path or path
    return {
        "startupProbe": _probe(ready, period=2, failures=max(1, startup_seconds // 2), tls=tls),
        "readinessProbe": _probe(ready, period=5, failures=3, tls=tls),
        "livenessProbe": _probe(path, period=15, failures=6, tls=tls),
    }


def _probe(path: str, *, period: int, failures: int, tls: bool) -> dict[str, Any]:
    scheme = {"scheme": "HTTPS"} if tls else {}
    return {
        "httpGet": {"path": path, "port": SERVER_PORT} | scheme,
        "periodSeconds": period,
        "timeoutSeconds": 10,
        "failureThreshold": failures,
    }
