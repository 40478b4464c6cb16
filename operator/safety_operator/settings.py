"""Settings: read once from the environment (prefix ``SAFETY_``) at start and passed in.

The chart sets these variables; ``main`` reads them. Nothing else looks at the environment.
"""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from safety_operator.api.pods import ChartPods
from safety_operator.errors import SettingsError
from safety_operator.state.settings import DEFAULT_PODS, DNS_PEERS, KUBERAY_PEERS, Images, PlanSettings

PREFIX = "SAFETY_"
SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Settings(BaseModel):
    """The operator's settings; each field is the variable ``SAFETY_<FIELD>``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespaces: tuple[str, ...] = ()
    """Namespaces to watch, separated by commas; empty: the whole cluster."""
    operator_namespace: str = "default"
    """Where the Lease lives; the service account's own namespace where absent."""
    worker_image: str = "model-safety-worker:latest"
    """Image of worker pods."""
    worker_gpu_image: str = "model-safety-worker-gpu:latest"
    """Image of worker pods that have a GPU, which the other image cannot use."""
    server_image: str = ""
    """Image of model servers on the default device; empty: the worker image of the device."""
    guardrails_image: str = "model-safety-guardrails:latest"
    """Image of guardrails servers."""
    nemo_rl_image: str = "nvcr.io/nvidia/nemo-rl"
    """Repository of NeMo-RL's images; the tag is v and the release."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Pull policy of all of them."""
    image_pull_secrets: tuple[str, ...] = ()
    """Pull secrets of pods, separated by commas."""
    device: Literal["cpu", "gpu"] = "gpu"
    """Default device where a spec says nothing."""
    artifacts_claim: str = "safety-artifacts"
    """PersistentVolumeClaim, in each resource's namespace, that holds artifacts by default."""
    secret_label: str = ""
    """Label that a Secret needs to be used by resources, ``name=value`` or ``name``; empty: none."""
    dns_peers: tuple[dict[str, Any], ...] = tuple(dict(peer) for peer in DNS_PEERS)
    """Who resolves names, at whatever port: JSON, a list of peers as in a NetworkPolicy."""
    kuberay_peers: tuple[dict[str, Any], ...] = tuple(dict(peer) for peer in KUBERAY_PEERS)
    """Who may submit jobs to the heads of Ray clusters: JSON, as dns_peers."""
    metrics_peers: tuple[dict[str, Any], ...] = ()
    """Who may read the metrics of guarded endpoints: JSON, as dns_peers; empty: everybody."""
    probe_namespace: str = ""
    """Namespace from which guarded models are probed as well as from their own; empty: none."""
    pods: ChartPods = DEFAULT_PODS
    """Options of all pods of runs, below what resources say: JSON of the shape of ``spec.pod``, all roles."""
    progress_seconds: float = Field(default=3.0, ge=0.5, le=300)
    """Seconds between two looks at the progress of running pods."""
    workers: int = Field(default=24, ge=1, le=256)
    """Reconciles at a time. They wait for the API server, so more than cores; few enough to be kind to it."""
    leader_election: bool = True
    """Whether to hold a Lease. Off only where nothing else can run (a developer's machine)."""
    lease_name: str = "model-safety-operator"
    """Name of the Lease; two installations that share a namespace need two names."""
    lease_seconds: float = Field(default=30, ge=3, le=600)
    """A Lease that was not renewed for so long may be taken."""
    identity: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    """Name of this replica in the Lease: the pod's name."""
    http_host: str = "0.0.0.0"  # noqa: S104 - a pod's probes come from the node
    """Address for metrics and probes."""
    http_port: int = Field(default=8080, ge=1, le=65535)
    """Port for metrics and probes."""
    watch_silence_seconds: float = Field(default=300, ge=10, le=3600)
    """A watch without an event, bookmark or list for so long counts as dead; bookmarks come each minute."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level that is logged."""

    @field_validator("pods", "dns_peers", "kuberay_peers", "metrics_peers", mode="before")
    @classmethod
    def _parse_json(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; empty variables count as absent. Raises SettingsError naming the variable."""
        values: dict[str, str | tuple[str, ...]] = {}
        for name, field in cls.model_fields.items():
            text = environment.get(PREFIX + name.upper(), "").strip()
            if not text:
                continue
            is_list = field.annotation == tuple[str, ...]
            values[name] = (
                tuple(part.strip() for part in text.split(",") if part.strip()) if is_list else text
            )
        if "operator_namespace" not in values and SERVICE_ACCOUNT_NAMESPACE.exists():
            values["operator_namespace"] = SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError("; ".join(map(_explain, error.errors()))) from error

    def _images(self) -> Images:
        return Images(
            worker=self.worker_image,
            worker_gpu=self.worker_gpu_image,
            server=(self.server_image if self.device == "cpu" else "") or self.worker_image,
            server_gpu=(self.server_image if self.device == "gpu" else "") or self.worker_gpu_image,
            guardrails=self.guardrails_image,
            nemo_rl=self.nemo_rl_image,
            pull_policy=self.image_pull_policy,
            pull_secrets=self.image_pull_secrets,
        )

    def for_planning(self) -> PlanSettings:
        """Take out the part that influences decisions."""
        return PlanSettings(
            images=self._images(),
            device=self.device,
            artifacts_claim=self.artifacts_claim,
            progress_seconds=self.progress_seconds,
            secret_label=self.secret_label,
            dns_peers=self.dns_peers,
            kuberay_peers=self.kuberay_peers,
            metrics_peers=self.metrics_peers,
            probe_namespace=self.probe_namespace,
            pods=self.pods,
        )


def find_unknown(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none, such as misspelt ones."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def _explain(error: ErrorDetails) -> str:
    """The variable, the field inside it where it holds several, and what is wrong."""
    variable, *inside = map(str, error["loc"])
    where = f" at {'.'.join(inside)}" if inside else ""
    return f"{PREFIX}{variable.upper()}{where}: {error['msg']}"
