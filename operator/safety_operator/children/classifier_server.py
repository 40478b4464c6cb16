"""A local text classifier behind the same API as a content-safety model."""

from dataclasses import dataclass
from typing import Any

from safety_operator.children.deployment import SURGE, build_server_deployment, http_probes
from safety_operator.children.metadata import Owner
from safety_operator.children.pod import build_container, build_pod_template
from safety_operator.children.pod_options import EffectiveOptions
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.service import SERVER_PORT
from safety_operator.state.settings import Images

RESOURCES = ResourceSet(requests={"cpu": "100m", "memory": "1Gi"})
STARTUP_SECONDS = 300
"""Importing the libraries and loading 100 MB of weights, on a busy node."""


@dataclass(frozen=True, slots=True)
class ClassifierServer:
    """A classifier that is wanted."""

    owner: Owner
    role: str
    name: str
    classifier: str
    threshold: str
    answer_threshold: str
    images: Images
    options: EffectiveOptions
    replicas: int = 1


def build_classifier_server(server: ClassifierServer) -> dict[str, Any]:
    """The Deployment of a classifier."""
    container = build_container(
        "classifier",
        server.images.worker,
        pull_policy=server.images.pull_policy,
        resources=Wanted(RESOURCES).settle(server.options.resources),
        options=server.options,
        args=(
            *("serve-classifier", "--name", server.classifier),
            *("--threshold", server.threshold, "--answer-threshold", server.answer_threshold),
            *("--port", str(SERVER_PORT)),
        ),
        env={"HF_HUB_OFFLINE": "1"},
        ports={"http": SERVER_PORT},
        probes=http_probes("/health", startup_seconds=STARTUP_SECONDS),
    )
    template = build_pod_template(
        server.owner,
        server.role,
        container,
        options=server.options,
        images=server.images,
        instance=server.name,
    )
    return build_server_deployment(
        server.owner,
        server.role,
        server.name,
        template,
        replicas=server.replicas,
        strategy=SURGE,
        deadline_seconds=STARTUP_SECONDS + 300,
    )
