"""Options of pods: what is common to all of a resource, and what one role has over it.

The chart's ``pods`` has the same shape, with all roles; a resource's options override it. How the layers are
put together: ``children.pod_options``.
"""

from typing import Annotated, Literal

from pydantic import Field

from safety_operator.api.common import GPU, ApiModel, LabelValue, NamedRef, Passthrough, Resources, Text
from safety_records.schema import config, shaped

PodRole = Literal["worker", "trainer", "server", "classifier", "guardrails", "proof"]
"""What a pod is for. worker: every stage that neither trains nor screens; trainer: those that do."""

RESERVED_PREFIXES = ("modelsafety.dev/", "batch.kubernetes.io/", "apps.kubernetes.io/")
"""Beginnings of labels and annotations that belong to the operator or to Kubernetes' own controllers."""
RESERVED_LABELS = (
    *("app.kubernetes.io/managed-by", "controller-uid", "job-name", "pod-template-hash"),
    *("controller-revision-hash", "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/managed"),
)
"""Further labels by which pods are found, or handed to a queue."""

_NAME = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
"""A qualified name: an optional domain, and a name of at most 63 characters."""


def _key_rules(field: str) -> tuple[tuple[str, str], ...]:
    """CEL rules for the keys of labels or annotations."""
    starts = " && ".join(f"!k.startsWith('{prefix}')" for prefix in RESERVED_PREFIXES)
    names = ", ".join(f"'{name}'" for name in RESERVED_LABELS)
    own = f" && !(k in [{names}])" if field == "labels" else ""
    return (
        (
            f"!has(self.{field}) || self.{field}.all(k, k.matches('{_NAME}'))",
            f"write each name of {field} as name or example.com/name: letters, digits, '-', '_' and '.'",
        ),
        (
            f"!has(self.{field}) || self.{field}.all(k, {starts}{own})",
            (
                f"remove {field} of the operator (modelsafety.dev/) and of controllers "
                "(batch.kubernetes.io/, job-name and the like): they find pods by them; a queue goes into "
                "spec.queueName"
            ),
        ),
    )


KEY_RULES = (*_key_rules("labels"), *_key_rules("annotations"))


_WHAT_IS_SERVED = ("NIM_MODEL_NAME", "NIM_MODEL_PATH", "NIM_PASSTHROUGH_ARGS", "VLLM_MODEL_REDIRECT_PATH")
"""Variables that put another model, or other arguments, in the place of what the spec says."""
_OF_ENGINE = "(self.name.startsWith('VLLM_') || self.name.startsWith('NIM_'))"


class EnvVar(ApiModel):
    """An environment variable with a plain value; Secrets go through the fields made for them."""

    model_config = config(
        (
            "self.name != 'HOME' && !self.name.startsWith('SAFETY_')",
            "choose another name: HOME and SAFETY_* are set by the operator",
        ),
        (
            "self.name != 'VLLM_API_KEY'",
            "leave VLLM_API_KEY out: the operator makes the keys of servers, and env is no place for one",
        ),
        (
            "!(self.name in ['VLLM_ALLOW_RUNTIME_LORA_UPDATING', 'NIM_PEFT_SOURCE'])",
            (
                "leave VLLM_ALLOW_RUNTIME_LORA_UPDATING and NIM_PEFT_SOURCE out: adapters that a server "
                "loads itself are in no model's digest; merge one into its base as model.source (with base)"
            ),
        ),
        (
            (
                f"!(self.name in [{', '.join(map(repr, _WHAT_IS_SERVED))}]) && "
                f"!({_OF_ENGINE} && has(self.value) && self.value.contains('/artifacts'))"
            ),
            (
                f"leave {', '.join(_WHAT_IS_SERVED)} and paths of /artifacts in variables of the engine "
                "(VLLM_*, NIM_*) out: what they name is in no model's digest; spec.model and serving.args "
                "say what is served and how"
            ),
        ),
    )
    name: Annotated[
        str,
        shaped(
            r"^[A-Za-z_][A-Za-z0-9_]*$",
            "write a name of letters, digits and '_' that does not start with a digit",
            max_length=253,
        ),
    ] = Field(description="Name of the variable, such as HTTPS_PROXY.")
    value: Text = Field(
        default="",
        description="Plain value; empty where absent. Secrets go through the fields that name them.",
    )


Ratio = Annotated[
    str,
    shaped(
        r"^[1-9][0-9]{0,3}(\.[0-9]{1,3})?$", 'write a number from 1 as a string, such as "2.5"', max_length=8
    ),
]
"""A decimal string from "1"."""


class LimitRatio(ApiModel):
    """Limits for containers that have none, as multiples of what they request."""

    cpu: Ratio | None = Field(default=None, description='Limit of cpu by its request, such as "10".')
    memory: Ratio | None = Field(default=None, description='Limit of memory by its request, such as "2".')


class PodSecurity(ApiModel):
    """User and groups of the processes. What is left out is the cluster's or the image's choice."""

    run_as_user: Annotated[int, Field(ge=1, le=2147483647)] | None = Field(
        default=None, description="User; never 0, which is root."
    )
    run_as_group: Annotated[int, Field(ge=0, le=2147483647)] | None = Field(
        default=None, description="Primary group of the processes; the chart's where absent."
    )
    fs_group: Annotated[int, Field(ge=0, le=2147483647)] | None = Field(
        default=None, description="Group that owns what is written to volumes."
    )


class Placement(ApiModel):
    """Where and how pods run: what may differ from role to role."""

    model_config = config(*KEY_RULES)

    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32)] = Field(
        default={},
        description="Labels that a node must have for the pods to be scheduled there; over the chart's, name "
        "by name.",
    )
    tolerations: Annotated[list[Passthrough], Field(max_length=32)] = Field(
        default=[],
        description="Taints of nodes that the pods tolerate, as in a pod's spec; they replace the chart's.",
    )
    affinity: Passthrough | None = Field(
        default=None,
        description="Affinity to nodes and other pods, as in a pod's spec; replaces the chart's.",
    )
    priority_class_name: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="PriorityClass of the pods; the cluster's default where absent."
    )
    runtime_class_name: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="RuntimeClass of the pods, such as nvidia; the node's default where absent."
    )
    scheduler_name: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Name of the scheduler; the cluster's default scheduler where absent."
    )
    topology_spread_constraints: Annotated[list[Passthrough], Field(max_length=16)] = Field(
        default=[],
        description="How pods are spread over nodes and zones, as in a pod's spec; they replace the chart's.",
    )
    env: Annotated[list[EnvVar], Field(max_length=64)] = Field(
        default=[], description="Further environment variables, for example proxies."
    )
    labels: Annotated[dict[str, LabelValue], Field(max_length=32)] = Field(
        default={},
        description="Labels of the pods besides the operator's own, for policies and bookkeeping of yours.",
    )
    annotations: Annotated[dict[str, Text], Field(max_length=32)] = Field(
        default={}, description="Annotations of the pods besides the operator's own, such as those of a mesh."
    )


class RoleOptions(Placement):
    """What pods of one role have over the common options.

    Labels, annotations, nodeSelector, env and resources are merged name by name; anything else that is given
    replaces what is common.
    """

    model_config = config(
        *KEY_RULES,
        (
            " && ".join(
                f"(!has(self.resources) || !has(self.resources.{field}) || "
                f"!('{GPU}' in self.resources.{field}))"
                for field in ("requests", "limits")
            ),
            f"leave {GPU} out: it follows serving.tensorParallelSize and compute.gpusPerNode",
        ),
    )
    resources: Resources | None = Field(
        default=None,
        description="Requests and limits, name by name over the role's defaults; serving.resources and the "
        "like stand over them.",
    )


def _role(what: str) -> RoleOptions:
    field: RoleOptions = Field(default=RoleOptions(), description=what)
    return field


class Roles(ApiModel):
    """Options by role; each kind has those that it launches."""


class EvalRoles(Roles):
    """Roles of a SafetyEval."""

    worker: RoleOptions = _role("Pods of stages: fetching, generating, judging, scans, benchmarks, reports.")
    server: RoleOptions = _role("Model servers, of the model and of judges.")


class BlendRoles(EvalRoles):
    """Roles of a SafetyBlend."""

    trainer: RoleOptions = _role("Pods that screen training rows (spec.screening).")


class FinetuneRoles(Roles):
    """Roles of a SafetyFinetune."""

    worker: RoleOptions = _role("Pods of stages other than training.")
    trainer: RoleOptions = _role("Pods that train, one for each of compute.nodes.")


class GuardedRoles(Roles):
    """Roles of a GuardedDeployment."""

    worker: RoleOptions = _role("Pods that fetch the model and guard models.")
    server: RoleOptions = _role("Pods of the model server and of guard models.")
    classifier: RoleOptions = _role("Pod of the classifier that the guardrails ask.")
    guardrails: RoleOptions = _role("Pods of the guarded endpoint.")
    proof: RoleOptions = _role("Pods that send canary prompts and bypass probes.")


class AllRoles(GuardedRoles):
    """Every role, as in the chart."""

    trainer: RoleOptions = _role("Pods that train or screen.")


class PodOptions(Placement):
    """Options of every pod that the resource launches, over the chart's ``pods``."""

    image_pull_secrets: Annotated[list[NamedRef], Field(max_length=16)] = Field(
        default=[],
        description="Secrets of this namespace with credentials for the images' registries, besides the "
        "chart's.",
    )
    security_context: PodSecurity | None = Field(
        default=None,
        description="User and groups, instead of the chart's (1000, unless it says otherwise). Stands as a "
        "whole: {} leaves them all to the cluster, as OpenShift wants it.",
    )
    limit_ratio: LimitRatio | None = Field(
        default=None,
        description="Limits for containers that have none, as a namespace with a quota of limits wants "
        "them. Stands as a whole.",
    )
    roles: Roles = Field(default=Roles(), description="Options by role, over the common ones.")

    def of_role(self, role: PodRole) -> RoleOptions:
        """What a role has over the common options; nothing where the kind has no such pods."""
        found: RoleOptions = getattr(self.roles, role, RoleOptions())
        return found


class EvalPods(PodOptions):
    """Options of every pod, over the chart's ``pods``."""

    roles: EvalRoles = Field(default=EvalRoles(), description="Options by role, over the common ones.")


class BlendPods(PodOptions):
    """Options of every pod, over the chart's ``pods``."""

    roles: BlendRoles = Field(default=BlendRoles(), description="Options by role, over the common ones.")


class FinetunePods(PodOptions):
    """Options of every pod, over the chart's ``pods``."""

    roles: FinetuneRoles = Field(
        default=FinetuneRoles(), description="Options by role, over the common ones."
    )


class GuardedPods(PodOptions):
    """Options of every pod, over the chart's ``pods``."""

    roles: GuardedRoles = Field(default=GuardedRoles(), description="Options by role, over the common ones.")


class ChartPods(PodOptions):
    """The chart's ``pods``, which resources override."""

    roles: AllRoles = Field(default=AllRoles(), description="Options by role, over the common ones.")
