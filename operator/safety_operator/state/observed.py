"""What exists: all that a planner may know.

``cluster.gather`` makes an Observed, a planner turns it into a Plan, ``cluster.apply`` carries the plan out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from safety_operator.state.keys import Key, Manifest, ObjectKey
from safety_records.progress import Progress
from safety_records.result import StageResult


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
class EndedPods:
    """Pods of a RayJob that ended by themselves, and that KubeRay deleted and made anew."""

    heads: int
    others: int
    last: PodFailure
    """Words of the newest of them."""


@dataclass(frozen=True, slots=True)
class Held:
    """What containers that others injected do to the pods of a Job: see ``cluster.sidecars``."""

    since: datetime | None = None
    """When the last of their workers ended; None where the pods do not say."""
    failed: tuple[str, ...] = ()
    """Pods whose worker failed while another container runs on, so that nobody counts the failure."""
    over: bool = False
    """Whether no worker of the Job has anything left to do once one of them succeeded."""


@dataclass(frozen=True, slots=True)
class OutsideJob:
    """A Job in the operator's namespace for probes."""

    job: Manifest
    result: StageResult | None = None
    failure: PodFailure | None = None


@dataclass(frozen=True, slots=True)
class OutsideRefusal:
    """Why such a Job could not be made, or not looked at."""

    message: str
    no_right: bool = False
    """Whether the operator has no right there."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Probes of this resource from another namespace: see ``cluster.outside``."""

    jobs: Mapping[str, OutsideJob] = field(default_factory=dict)
    refusals: Mapping[str, OutsideRefusal] = field(default_factory=dict)
    """By name of the Job."""


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
    with_pods: frozenset[str] = frozenset()
    """Deployments, also those that are gone, that have pods which are not over."""
    draining: frozenset[str] = frozenset()
    """Those of them that have pods which were told to end, and may still answer what they have begun."""
    waits: Mapping[str, str] = field(default_factory=dict)
    """By Job or Deployment name: what its pods wait for before they start, where nothing is wrong: a queue's
    words, an image that is being pulled."""
    headless: frozenset[str] = frozenset()
    """RayJobs that run for KubeRay, and whose head is gone: KubeRay 1.5 and 1.6 then wait for ever."""
    ended: Mapping[str, EndedPods] = field(default_factory=dict)
    """By RayJob: pods that ended by themselves since this process of the operator watches."""
    optional: frozenset[str] = frozenset()
    """Kinds of others that the API server has and lets the operator see: RayJob, HTTPRoute, ScaledObject."""
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
    outside: Outside = field(default_factory=Outside)
    """Looked for while a proof runs, and at no other time."""
    cycle: tuple[Key, ...] = ()
    """The way along references from the resource back to itself; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a planner wants to be gathered for a resource, derived from its spec alone."""

    references: frozenset[Key] = frozenset()
    secrets: frozenset[str] = frozenset()
    config_maps: frozenset[str] = frozenset()
    claims: frozenset[str] = frozenset()
