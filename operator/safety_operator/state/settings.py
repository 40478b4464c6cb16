"""What of the operator's settings influences decisions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safety_operator.api.pods import ChartPods, PodSecurity


@dataclass(frozen=True, slots=True)
class Images:
    """Container images the operator launches."""

    worker: str
    """Of pods without a GPU."""
    server: str
    """Of model servers without a GPU."""
    guardrails: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    worker_gpu: str = ""
    """Of workers that have a GPU; empty: the same as without."""
    server_gpu: str = ""
    """Of model servers that have a GPU; empty: the same as without."""
    nemo_rl: str = "nvcr.io/nvidia/nemo-rl"
    """NeMo-RL's repository; the tag is v and its release."""

    def worker_on(self, *, gpu: bool) -> str:
        """The worker image of a pod with or without a GPU."""
        return (self.worker_gpu if gpu else "") or self.worker

    def server_on(self, device: str) -> str:
        """The image of model servers on cpu or gpu."""
        return (self.server_gpu if device == "gpu" else "") or self.server


DNS_PEERS: tuple[Mapping[str, Any], ...] = (
    {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    },
    {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}},
        "podSelector": {"matchLabels": {"dns.operator.openshift.io/daemonset-dns": "default"}},
    },
)
"""The resolvers of Kubernetes and of OpenShift, which listens on 5353: a policy sees the pod's port."""

KUBERAY_PEERS: tuple[Mapping[str, Any], ...] = (
    {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/component": "kuberay-operator"}},
    },
)
"""KubeRay's operator by the label that its chart and its kustomization share, wherever it is: it has no
namespace of its own by custom."""


DEFAULT_PODS = ChartPods(security_context=PodSecurity(run_as_user=1000, run_as_group=1000, fs_group=1000))
"""What the chart says of pods where nobody changed it."""


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """The operator's settings that influence decisions."""

    images: Images
    device: str = "gpu"
    """Default device where a spec says nothing: cpu or gpu."""
    artifacts_claim: str = "safety-artifacts"
    """PersistentVolumeClaim, in each resource's own namespace, that holds artifacts by default."""
    progress_seconds: float = 3.0
    """How often a resource with running pods looks at their progress."""
    secret_label: str = ""
    """Label that a Secret needs to be used by resources, ``name=value`` or ``name``; empty: none."""
    dns_peers: tuple[Mapping[str, Any], ...] = DNS_PEERS
    """Peers of NetworkPolicies that resolve names, at whatever port they listen."""
    kuberay_peers: tuple[Mapping[str, Any], ...] = KUBERAY_PEERS
    """Peers that may submit jobs to the heads of Ray clusters, which ask nobody for a password."""
    metrics_peers: tuple[Mapping[str, Any], ...] = ()
    """Peers that may read metrics; empty: everybody those of guardrails, nobody those of model servers."""
    probe_namespace: str = ""
    """Namespace from which models are probed as well as from their own; empty: there is none."""
    pods: ChartPods = DEFAULT_PODS
    """Options of all pods, below what resources say."""
