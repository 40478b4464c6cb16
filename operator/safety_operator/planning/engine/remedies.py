"""What to do about a pod that does not come up, by Kubernetes' own words.

The first rule that fits counts. The words are those of Kubernetes 1.30 to 1.36 and of what is often installed
with it; what no rule knows is told as it stands.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

from safety_operator.api.quantities import amount
from safety_operator.state.observed import PodFailure


@dataclass(frozen=True, slots=True)
class Remedy:
    """What helps."""

    text: str
    """A sentence, or empty."""
    stalled: bool
    """True: a person has to act; False: it may end by itself. Either way it is tried again by itself."""


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    """Searched in ``reason: message``."""
    remedy: Remedy


def _rule(pattern: str, text: str, *, stalled: bool) -> _Rule:
    return _Rule(re.compile(pattern, re.IGNORECASE | re.DOTALL), Remedy(text, stalled))


QUOTA = re.compile(r"exceeded quota: .*?requested: (.*?), used: .*?, limited: (.*)", re.DOTALL)
QUOTA_TOO_SMALL = Remedy(
    "The quota is too small for even one such pod: raise it, or ask for less in the spec.", stalled=True
)
QUOTA_IN_USE = Remedy(
    "It goes on when others free the quota; raise it to go on now.",
    stalled=False,
)

RULES = (
    _rule(
        r"^SchedulingGated",
        "A queue holds it back until there is room: see kubectl get workloads in this namespace.",
        stalled=False,
    ),
    _rule(
        r"failed quota: .*must specify",
        "The quota wants a value for each of them: set limitRatio (cpu, memory), or roles.<role>.resources "
        "(anything else), in spec.pod or in the chart's pods, or give defaults with a LimitRange.",
        stalled=True,
    ),
    _rule(
        r"(minimum|maximum) .* usage per |limit to request ratio|resources.requests: .*less than or equal",
        "A LimitRange of the namespace refuses it: change the resources in the spec, or the LimitRange.",
        stalled=True,
    ),
    _rule(
        r"violates PodSecurity.*container \"worker\" must .*runAsUser=0",
        "nemoRl.runAsRoot needs a namespace whose Pod Security level is baseline (label "
        "pod-security.kubernetes.io/enforce); or leave it out and set nemoRl.image to an image made from the "
        "published one that other users can start.",
        stalled=True,
    ),
    _rule(
        r"violates PodSecurity",
        "Change spec.pod, or label the namespace with a Pod Security level that allows it.",
        stalled=True,
    ),
    _rule(
        r"security context constraint",
        "Leave user and group to the cluster: securityContext: {} in spec.pod, or null in the chart's pods; "
        "or let the namespace's service account use a security context constraint that allows them.",
        stalled=True,
    ),
    _rule(
        r"failed calling webhook",
        "An admission webhook of the cluster does not answer: fix it; pods are made as soon as it does.",
        stalled=False,
    ),
    _rule(
        r"denied (the )?request|ValidatingAdmissionPolicy",
        "An admission policy of the cluster refuses the pod: change what it names, or ask who runs it.",
        stalled=True,
    ),
    _rule(
        r"no PriorityClass with name|error looking up service account|RuntimeClass .*not found",
        "Create it, or name another one in spec.pod.",
        stalled=True,
    ),
    _rule(r"because it is being terminated", "", stalled=False),
    _rule(
        r"volume node affinity conflict",
        "Its volumes are on different nodes or in different zones, or where the pod may not run: put the "
        "model and the artifacts on claims that one node can mount, or name the model by hf:// or s3://, so "
        "that it is copied.",
        stalled=True,
    ),
    _rule(
        r"Multi-Attach",
        "The volume can be used on one node at a time: end the pod that holds it, or use a claim with access "
        "mode ReadWriteMany.",
        stalled=False,
    ),
    _rule(
        r"FailedMount: .*((configmap|secret|persistentvolumeclaim)s? .*not found|references non-existent)",
        "Create what is missing; the pod starts as soon as it is there.",
        stalled=True,
    ),
    _rule(
        r"^(FailedMount|FailedAttachVolume)",
        "The node cannot mount the volume: look at the claim, its storage, and the node's storage driver.",
        stalled=False,
    ),
    _rule(
        r"^FailedCreatePodSandBox",
        "The node cannot set the pod up: look at the node, its network plugin and its container runtime.",
        stalled=False,
    ),
    _rule(
        r"^(ProvisioningFailed|FailedBinding)|: (ProvisioningFailed|FailedBinding):",
        "Name a StorageClass that exists in the claim, or make a volume that fits it.",
        stalled=True,
    ),
    _rule(r"ExternalProvisioning:", "Look whether the storage class's provisioner runs.", stalled=False),
    _rule(
        r"^Unschedulable: .*unbound .*PersistentVolumeClaim",
        "Look at the claim: kubectl describe pvc.",
        stalled=False,
    ),
    _rule(
        r"^Unschedulable: .*Insufficient",
        "Free what is missing, add a node, or ask for less in the spec's resources.",
        stalled=False,
    ),
    _rule(
        r"^Unschedulable",
        "Make room on a node, or change nodeSelector, affinity or tolerations in spec.pod.",
        stalled=False,
    ),
    _rule(
        r"^NoScheduler",
        "Look whether the scheduler runs that spec.pod.schedulerName names.",
        stalled=False,
    ),
    _rule(
        r"^NotEnded",
        "Look at the node: kubectl describe node. If it is gone for good, delete the node object, or the pod "
        "with kubectl delete pod --force.",
        stalled=False,
    ),
    _rule(r"^NotStarted", "Look at the node: kubectl describe node.", stalled=False),
    _rule(
        r"^(ImagePullBackOff|ErrImagePull|InvalidImageName|ErrImageNeverPull|ImageInspectError)",
        "Look at the image's name, at spec.pod.imagePullSecrets, and whether the registry answers.",
        stalled=True,
    ),
    _rule(
        r"^CreateContainerConfigError: .*run as root|^CreateContainerConfigError: .*runAsNonRoot",
        "Use an image with a user that is not root, or set the user in spec.pod.",
        stalled=True,
    ),
    _rule(
        r"^CreateContainerConfigError: .*(not found|couldn't find key)",
        "Create what is missing; the pod starts as soon as it is there.",
        stalled=True,
    ),
    _rule(
        r"^CreateContainerError: .*failed to (mkdir|stat) \"\"",
        "The node's container runtime cannot mount images as volumes: oci:// needs containerd 2.1 or CRI-O "
        "1.31. Update it, or copy the model to a claim and name pvc://claim/path.",
        stalled=True,
    ),
    _rule(
        r"^CreateContainerConfigError: .*failed to create subPath directory",
        "The volume cannot be written: give a claim that can be, or leave it out.",
        stalled=True,
    ),
    _rule(r"^(CreateContainerConfigError|CreateContainerError)", "", stalled=True),
    _rule(
        r"^Evicted",
        "It is tried again. Its node ran short of what the message names: ask for more of it in the spec's "
        "resources, or free it on the node.",
        stalled=False,
    ),
    _rule(r"^OOMKilled", "Raise the memory limit in the spec's resources.", stalled=False),
)


def remedy_of(failure: PodFailure) -> Remedy:
    """What helps against a failure; no text where nothing is known."""
    # What a program wrote before it ended is no word of Kubernetes.
    text = f"{failure.reason}: {failure.message if failure.exit_code is None else ''}"
    found = QUOTA.search(text)
    if found is not None:
        return QUOTA_TOO_SMALL if _never_fits(found[1], found[2]) else QUOTA_IN_USE
    return next((rule.remedy for rule in RULES if rule.pattern.search(text)), Remedy("", stalled=False))


def _never_fits(requested: str, limited: str) -> bool:
    """Whether a single request is above the limit, both as ``pods=1,requests.memory=5Gi``."""
    limits = _amounts(limited)
    return any(name in limits and value > limits[name] for name, value in _amounts(requested).items())


def _amounts(text: str) -> dict[str, Decimal]:
    pairs = (part.partition("=") for part in text.split(","))
    found = ((name.strip(), amount(value)) for name, _, value in pairs)
    return {name: value for name, value in found if value is not None}
