"""Guard models that the operator serves, for one GuardedDeployment or for several of a namespace."""

from typing import Annotated

from pydantic import Field

from safety_operator.api.common import (
    NO_USER_IN_URL,
    ApiModel,
    ModelSource,
    NamedRef,
    Resources,
    SecretKeyRef,
    ServerUrl,
    Serving,
    gpu_rules,
)
from safety_operator.api.serving_args import args_rules, asks_for_more_gpus
from safety_records.schema import config
from safety_records.training import Device

SERVING_OF_SOURCE = ("!has(self.serving) || has(self.source)", "serving belongs to source: remove it")


INSTEAD = {
    "spec.model says what is served": "source says what is served",
    "evaluated as model.endpoint": "asked by its address",
    "set serving.dtype": "vLLM chooses it by the guard's files",
    "set model.chatTemplate, which becomes part of the model's digest": (
        "put it into the folder of the guard's files, by which its format asks it"
    ),
    "set serving.reasoningParser": "the gateway reads what its format answers",
    "set serving.toolCallParser": "a guard calls no tools",
}
"""Ends of the refusals of arguments that name fields which only the main model has, and what a guard has."""


def guard_args_rules() -> tuple[tuple[str, str], ...]:
    """The rules of ``serving.args``, with what to do for a guard."""
    return tuple((rule, _for_guard(message)) for rule, message in args_rules())


def _for_guard(message: str) -> str:
    for of_model, of_guard in INSTEAD.items():
        message = message.replace(of_model, of_guard)
    return message


class GuardServing(ApiModel):
    """How a guard model is served: what of a model's serving a guard needs. A CRD has to stay small."""

    model_config = config(
        *guard_args_rules(),
        *gpu_rules(
            "(has(self.tensorParallelSize) ? self.tensorParallelSize : 1)",
            "tensorParallelSize",
            unless=asks_for_more_gpus(),
        ),
    )
    device: Device | None = Field(
        default=None, description="Where the engine runs; the chart's default where absent."
    )
    image: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Any image with vLLM; the chart's for the device where absent."
    )
    args: Annotated[tuple[Annotated[str, Field(max_length=1024)], ...], Field(max_length=64)] = Field(
        default=(),
        description="Further arguments of vLLM, appended last. What serving.args refuses is refused here.",
    )
    replicas: Annotated[int, Field(ge=1, le=64)] = Field(default=1, description="Pods of the guard.")
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="GPUs of each pod, over which the weights are split; all on one node."
    )
    max_model_len: Annotated[int, Field(ge=128, le=4194304)] | None = Field(
        default=None, description="Longest sequence in tokens; the model's own where absent."
    )
    resources: Resources | None = Field(
        default=None, description="Resources of the server container. GPUs follow tensorParallelSize."
    )
    startup_seconds: Annotated[int, Field(ge=60, le=86400)] | None = Field(
        default=None, description="How long loading may take; 1200 on CPU and 3600 on GPU where absent."
    )

    def whole(self) -> Serving:
        """The same as a model's serving."""
        return Serving.model_validate(self.model_dump(exclude_none=True))


class ServedGuard(ApiModel):
    """A guard model that the operator serves: its own, or another GuardedDeployment's."""

    model_config = config(
        (
            "has(self.source) != has(self.guardedDeploymentRef)",
            "name exactly one of source and guardedDeploymentRef",
        ),
        SERVING_OF_SOURCE,
    )
    source: ModelSource | None = Field(
        default=None,
        description="The guard model by URI: fetched, checked and served as the model is, in pods of its own "
        "that only guardrails reach.",
    )
    serving: GuardServing | None = Field(
        default=None, description="How the guard model is served, by vLLM; on one GPU or CPU where absent."
    )
    guarded_deployment_ref: NamedRef | None = Field(
        default=None,
        description="Another GuardedDeployment of this namespace that serves a guard from a source for this "
        "rail: several share one so. It goes with its owner, and then every request is refused.",
    )


class TopicModel(ServedGuard):
    """The model that judges subjects: at a server that already runs, or served by the operator."""

    model_config = config(
        (
            "[has(self.url), has(self.source), has(self.guardedDeploymentRef)].filter(x, x).size() == 1",
            "name exactly one of url, source and guardedDeploymentRef",
        ),
        (
            "has(self.url) == has(self.model)",
            "url and model belong together: server and model",
        ),
        ("has(self.url) || !has(self.apiKeySecretRef)", "apiKeySecretRef belongs to url: remove it"),
        NO_USER_IN_URL,
        SERVING_OF_SOURCE,
    )
    url: ServerUrl | None = Field(default=None, description="Base URL of a server, up to and including /v1.")
    model: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="Name of the model in requests to that server."
    )
    api_key_secret_ref: SecretKeyRef | None = Field(
        default=None, description="API key of that server, sent as a bearer token; none where absent."
    )


class GuardStatus(ApiModel):
    """A guard model that is served for a rail."""

    rail: Annotated[str, Field(max_length=32)] = Field(description="Rail that asks it.")
    digest: Annotated[str, Field(max_length=71)] = Field(default="", description="Digest of its files.")
    hash: Annotated[str, Field(max_length=64)] = Field(
        default="", description="Hash of all that influences its answers: digest and serving."
    )
    format: Annotated[str, Field(max_length=32)] = Field(
        default="", description="How it is asked and answers; empty where the rail says it."
    )
    server: Annotated[str, Field(max_length=63)] = Field(
        default="", description="Name of its Service, which only guardrails reach."
    )
    ready: bool = Field(default=False, description="Whether a pod of it is ready.")
