"""Where objects live in the API, and how much of each is watched."""

from dataclasses import dataclass

from safety_operator.api import API_VERSION
from safety_operator.api.kinds import KINDS
from safety_operator.state.labels import LABEL_MANAGED_BY, MANAGED_BY


@dataclass(frozen=True, slots=True)
class ApiKind:
    """One kind of object."""

    kind: str
    api_version: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str = "") -> str:
        """Give the URL path of a collection (without name) or of an object or its subresource."""
        prefix = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        tail = f"/{name}" if name else ""
        return f"{prefix}{scope}/{self.plural}{tail}" + (f"/{subresource}" if subresource else "")


OWNERS: dict[str, ApiKind] = {k.kind: ApiKind(k.kind, API_VERSION, k.plural) for k in KINDS}
"""The four kinds."""

BUILT_IN: dict[str, ApiKind] = {
    kind.kind: kind
    for kind in (
        ApiKind("Pod", "v1", "pods"),
        ApiKind("Service", "v1", "services"),
        ApiKind("ConfigMap", "v1", "configmaps"),
        ApiKind("Secret", "v1", "secrets"),
        ApiKind("PersistentVolumeClaim", "v1", "persistentvolumeclaims"),
        ApiKind("Job", "batch/v1", "jobs"),
        ApiKind("Deployment", "apps/v1", "deployments"),
        ApiKind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
        ApiKind("Ingress", "networking.k8s.io/v1", "ingresses"),
        ApiKind("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers"),
        ApiKind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
    )
}
EVENT = ApiKind("Event", "events.k8s.io/v1", "events")
CORE_EVENT = ApiKind("Event", "v1", "events")
"""The same objects as EVENT, in the form that tells when an event was seen last, whoever wrote it."""
LEASE = ApiKind("Lease", "coordination.k8s.io/v1", "leases")

RAY_JOB = ApiKind("RayJob", "ray.io/v1", "rayjobs")
"""KubeRay's."""
HTTP_ROUTE = ApiKind("HTTPRoute", "gateway.networking.k8s.io/v1", "httproutes")
"""Gateway API's."""
SCALED_OBJECT = ApiKind("ScaledObject", "keda.sh/v1alpha1", "scaledobjects")
"""KEDA's."""

OPTIONAL: dict[str, ApiKind] = {kind.kind: kind for kind in (RAY_JOB, HTTP_ROUTE, SCALED_OBJECT)}
"""Kinds of others, watched where they are installed (``cluster.optional``)."""

ALL: dict[str, ApiKind] = OWNERS | BUILT_IN | OPTIONAL


@dataclass(frozen=True, slots=True)
class WatchSpec:
    """What one informer watches."""

    kind: ApiKind
    selector: str = ""
    """Label selector; empty: all objects."""
    metadata_only: bool = False


OURS = f"{LABEL_MANAGED_BY}={MANAGED_BY}"

WATCHES: tuple[WatchSpec, ...] = (
    *(
        WatchSpec(BUILT_IN[k], OURS)
        for k in (
            *("Job", "Pod", "Deployment", "Service", "NetworkPolicy"),
            *("Ingress", "HorizontalPodAutoscaler", "PodDisruptionBudget"),
        )
    ),
    # Unlabelled on purpose: specs refer to ConfigMaps and claims that people made. ConfigMaps come as
    # metadata, so their data is not cached and existence costs no request. Secrets are not watched at all.
    WatchSpec(BUILT_IN["ConfigMap"], metadata_only=True),
    WatchSpec(BUILT_IN["PersistentVolumeClaim"]),
)
