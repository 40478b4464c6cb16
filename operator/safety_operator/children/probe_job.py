"""The Job that probes a guarded model from another namespace, the operator's own for this.

No owner reference may cross namespaces: its end is that of its deadline, and Kubernetes removes it some
minutes later, if the operator has not. Nothing of it comes from the resource but addresses: its pod has the
chart's options only, no token, no Secret, no volume. It has none of the labels by which children are known.
"""

from typing import Any

from safety_operator.api.pods import ChartPods, PodOptions
from safety_operator.children.metadata import Owner, canonical_hash
from safety_operator.children.pod import build_container, build_pod_template
from safety_operator.children.pod_options import effective_options
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.worker_job import CONTAINER, OFFLINE
from safety_operator.state.labels import (
    ANNOTATION_HASH,
    ANNOTATION_PROBE_OF,
    LABEL_MANAGED_BY,
    LABEL_PROBE_OF,
    MANAGED_BY,
)
from safety_operator.state.settings import Images
from safety_records.stages import SPEC_VARIABLE, ProbeStage

RESOURCES = Wanted(ResourceSet(requests={"cpu": "50m", "memory": "256Mi"}))
DEADLINE_SECONDS = 300
"""A probe takes seconds once its image is there."""
KEPT_SECONDS = 600
"""Time for the operator to read the result, also one that was away meanwhile."""
NAME_DIGITS = 16
ROLE = "probe"


def probe_label(owner: Owner) -> str:
    """Value of the label by which the Jobs of a resource are found."""
    return canonical_hash([owner.kind, owner.namespace, owner.name, owner.uid])


def probe_name(owner: Owner, inputs_hash: str) -> str:
    """Name of the Job; a resource that was made anew, or a further proof, has another."""
    return f"safety-probe-{canonical_hash([probe_label(owner), inputs_hash])[:NAME_DIGITS]}"


def build_probe_job(
    owner: Owner, namespace: str, spec: ProbeStage, *, images: Images, pods: ChartPods
) -> dict[str, Any]:
    """The Job of a probe. Its specification is small and without secrets, so a variable holds it."""
    options = effective_options(pods, PodOptions(), "proof")
    container = build_container(
        CONTAINER,
        images.worker,
        pull_policy=images.pull_policy,
        resources=RESOURCES.settle(options.resources),
        options=options,
        args=("run",),
        env=OFFLINE | {SPEC_VARIABLE: spec.to_json()},
    )
    template = build_pod_template(
        owner, ROLE, container, options=options, images=images, restart_policy="Never"
    )
    ours = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_PROBE_OF: probe_label(owner)}
    template["metadata"]["labels"] = dict(options.labels) | ours
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": probe_name(owner, spec.inputs_hash),
            "namespace": namespace,
            "labels": ours,
            "annotations": {
                ANNOTATION_HASH: spec.inputs_hash,
                ANNOTATION_PROBE_OF: f"{owner.kind}/{owner.namespace}/{owner.name}",
            },
        },
        "spec": {
            "backoffLimit": 1,
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": template,
        },
    }
