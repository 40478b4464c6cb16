"""A local text classifier behind the same API as a content-safety model."""

from typing import Any

from safety_operator.children.deployment import SURGE, build_server_deployment, draining, http_probes
from safety_operator.children.metadata import Owner
from safety_operator.children.pod import build_container, build_pod_template
from safety_operator.children.pod_options import EffectiveOptions
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.service import SERVER_PORT
from safety_operator.state.settings import Images

RESOURCES = ResourceSet(requests={"cpu": "100m", "memory": "1Gi"})
NOTICE = {"sleep": {"seconds": 5}}
"""Time for Services to learn that the pod is on its way out: it still answers."""
ANSWER_SECONDS = 120
"""Longest time for a verdict."""
STARTUP_SECONDS = 300
"""Importing the libraries and loading 100 MB of weights, on a busy node."""


def build_classifier_server(
    owner: Owner,
    role: str,
    name: str,
    *,
    classifier: str,
    threshold: str,
    answer_threshold: str,
    images: Images,
    options: EffectiveOptions,
) -> dict[str, Any]:
    """The Deployment of a classifier. Thresholds are from 0 to 1; what is above counts as unsafe."""
    container = build_container(
        "classifier",
        images.worker,
        pull_policy=images.pull_policy,
        resources=Wanted(RESOURCES).settle(options.resources),
        options=options,
        args=(
            *("serve-classifier", "--name", classifier),
            *("--threshold", threshold, "--answer-threshold", answer_threshold),
            *("--port", str(SERVER_PORT)),
        ),
        env={"HF_HUB_OFFLINE": "1"},
        ports={"http": SERVER_PORT},
        probes=http_probes("/health", startup_seconds=STARTUP_SECONDS),
    )
    template = build_pod_template(owner, role, container, options=options, images=images, instance=name)
    deadline = STARTUP_SECONDS + 300
    return build_server_deployment(
        owner,
        role,
        name,
        draining(template, ANSWER_SECONDS, NOTICE),
        replicas=1,
        strategy=SURGE,
        deadline_seconds=deadline,
    )
