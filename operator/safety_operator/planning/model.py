"""Observed and Plan: all that a planner may know, and all that it may decide.

``cluster.gather`` makes an Observed, a planner turns it into a Plan, ``cluster.apply`` carries the plan out.
Nothing here or in a planner touches a client, a clock, the environment or a log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from safety_operator.api.pods import ChartPods, PodSecurity
from safety_records.progress import Progress
from safety_records.result import StageResult

Manifest = Mapping[str, Any]
"""A Kubernetes object as the API server speaks it."""

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "model-safety-operator"
LABEL_KIND = "modelsafety.dev/kind"
LABEL_NAME = "modelsafety.dev/name"
LABEL_ROLE = "modelsafety.dev/role"
"""Labels on every child: who owns it, and what it is for (fetch, target-server, generate, ...)."""
LABEL_INSTANCE = "modelsafety.dev/instance"
"""Label on the pods of a Deployment: the Deployment's name, so that two of one role never share pods."""
LABEL_TEMPLATE = "modelsafety.dev/template"
"""Label on the pods of a Deployment: hash of their template, so that the newest are told from older ones."""
LABEL_EGRESS = "modelsafety.dev/egress"
"""Label on pods: ``internet`` or ``namespace``, what the owner's NetworkPolicies let it reach."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""Kueue's label on Jobs, whose ``suspend`` it then owns, and on model servers."""
ANNOTATION_ATTEMPT = "modelsafety.dev/attempt"
"""On Jobs: 1 for the first Job of an inputs hash, one more for each that replaces a failed one."""
ANNOTATION_RETRY = "modelsafety.dev/retry-token"
"""On Jobs: hash of the pod template and of the versions of all objects it reads. When it changes, a failed
Job is tried again at once."""
ANNOTATION_SPEC = "modelsafety.dev/specification"
"""On Jobs: name of the ConfigMap that holds the stage's specification."""
ANNOTATION_HASH = "modelsafety.dev/inputs-hash"
"""On Jobs: the stage's inputs hash. On every child: hash of the applied manifest, to see drift cheaply."""


class Key(NamedTuple):
    """A resource of one of the four kinds."""

    kind: str
    namespace: str
    name: str


class ObjectKey(NamedTuple):
    """A namespaced object by kind and name; its namespace is the owner's."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class PodFailure:
    """Last words of a pod that failed or cannot start."""

    pod: str
    container: str
    exit_code: int | None
    reason: str
    """Kubernetes' reason: Error, OOMKilled, ImagePullBackOff, CreateContainerConfigError, Unschedulable."""
    message: str
    """The termination message or the last log lines, truncated to 1,200 characters."""
    ended: bool = False
    """Whether the pod is over without an exit code: evicted, or refused by its node."""


@dataclass(frozen=True, slots=True)
class Held:
    """What containers that others injected do to the pods of a Job: see ``cluster.sidecars``."""

    since: datetime | None = None
    """When the last of their workers ended; None where the pods do not say."""
    failed: tuple[str, ...] = ()
    """Pods whose worker failed while something beside it runs on, so that nobody counts the failure."""
    over: bool = False
    """Whether no worker of the Job has anything left to do once one of them succeeded."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What exists. An absent object is None or missing from its mapping."""

    resource: Manifest
    """The resource itself, with spec, metadata and status."""
    children: Mapping[ObjectKey, Manifest] = field(default_factory=dict)
    """Labelled children: Jobs, Deployments, Services, ConfigMaps, NetworkPolicies, Secrets (metadata)."""
    results: Mapping[str, StageResult] = field(default_factory=dict)
    """By Job name: records found in the termination messages of finished pods."""
    progress: Mapping[str, Progress] = field(default_factory=dict)
    """By Job name: last progress line of the running pod."""
    failures: Mapping[str, PodFailure] = field(default_factory=dict)
    """By Job or Deployment name: last words of the pod that is failing now or failed last."""
    held: Mapping[str, Held] = field(default_factory=dict)
    """By Job name: pods that injected containers keep from ending, or from ending well."""
    leaving: Mapping[str, str] = field(default_factory=dict)
    """Pods that are not over and whose Job is gone, by the Job's name: they may still write."""
    waits: Mapping[str, str] = field(default_factory=dict)
    """By Job or Deployment name: what its pods wait for before they start, where nothing is wrong: a queue's
    words, an image that is being pulled."""
    look_again: float | None = None
    """Seconds until the events of children that do not move are read again; None: all move."""
    references: Mapping[Key, Manifest | None] = field(default_factory=dict)
    """Resources of the four kinds that the spec refers to."""
    secrets: Mapping[str, str | None] = field(default_factory=dict)
    """Secrets that the spec refers to: resource version, or None when absent."""
    withheld: Mapping[str, str] = field(default_factory=dict)
    """Of those, the ones that resources may not use: why, and what to do."""
    config_maps: Mapping[str, Manifest | None] = field(default_factory=dict)
    """ConfigMaps that the spec refers to, with data."""
    claims: Mapping[str, Manifest | None] = field(default_factory=dict)
    """PersistentVolumeClaims that the spec or the default names."""
    cycle: tuple[Key, ...] = ()
    """The way along references from the resource back to itself; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a planner wants to be gathered for a resource, derived from its spec alone."""

    references: frozenset[Key] = frozenset()
    secrets: frozenset[str] = frozenset()
    config_maps: frozenset[str] = frozenset()
    claims: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Child:
    """An object that should exist."""

    manifest: Manifest
    create_only: bool = False
    """True: made once and never updated (Jobs, generated Secrets)."""
    secret_key: str = ""
    """Secrets only, with create_only: ``cluster.apply`` puts 32 random bytes, as URL-safe text, under this
    key of ``stringData`` when it creates the object. A planner is pure and cannot draw them."""


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes event on the resource; emitted when its (reason, message) is new."""

    type: str
    """Normal or Warning."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be done, in the order apply, delete, status, events."""

    status: Mapping[str, Any]
    """The whole wanted status; patched only where it differs. Transition times are the planner's."""
    apply: tuple[Child, ...] = ()
    delete: tuple[ObjectKey, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
    """Seconds until the next look even if nothing happens; None: only on a change."""


@dataclass(frozen=True, slots=True)
class Images:
    """Container images the operator launches."""

    worker: str
    server: str
    guardrails: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


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
    pods: ChartPods = DEFAULT_PODS
    """Options of all pods, below what resources say."""
