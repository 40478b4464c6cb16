"""What the kinds share: model sources, serving, pods, artifacts, and the base of every model."""

from typing import Annotated, Any, Literal

from pydantic import Field

from safety_operator.api.base import ApiModel, ObjectName, SecretKeyRef
from safety_operator.api.serving_args import args_rules, asks_for_more_gpus
from safety_operator.api.serving_nim import NIM_RULES, Nim
from safety_records.data import ColumnNames
from safety_records.numbers import DECIMAL, FRACTION, SIGNED
from safety_records.schema import config, shaped
from safety_records.training import Device
from safety_records.uris import DATA_URI, MODEL_URI

__all__ = ["ApiModel", "ObjectName", "SecretKeyRef"]

Decimal = Annotated[str, shaped(*DECIMAL)]
"""A non-negative decimal number as a string, such as "0.95" or "5e-7"."""

SignedDecimal = Annotated[str, shaped(*SIGNED)]
"""A decimal number as a string, such as "0.25" or "-0.1"."""

Share = Annotated[str, shaped(*FRACTION)]
"""A decimal string from "0" to "1"."""

Duration = Annotated[
    str,
    shaped(
        r"^([1-9][0-9]{0,5}(s|m|h|d))+$",
        'write a duration such as "90s", "30m", "12h" or "30d"',
        max_length=16,
    ),
]
"""A duration such as "90s", "30m", "12h" or "30d"."""

ServerUrl = Annotated[
    str,
    shaped(
        r"^https?://[^/\s]+[^\s]*/v1$",
        "give the base URL of an OpenAI-compatible server, such as https://host:8000/v1",
        max_length=1024,
    ),
]
"""Base URL of an OpenAI-compatible server, up to and including /v1."""

Text = Annotated[str, Field(max_length=4096)]
"""Free text of at most 4,096 characters."""

ModelUri = Annotated[
    str,
    shaped(
        MODEL_URI,
        "say where the model is: hf://org/name@revision, pvc://claim/path, s3://bucket/path, "
        "gs://bucket/path, oci://registry/repository@sha256:digest, file:///path or package://module/path",
        max_length=1024,
    ),
]
"""hf://org/name[@revision], pvc://claim/path, s3://bucket/path, gs://bucket/path, file:///path,
oci://registry/repository@sha256:digest or package://module/path."""

DataUri = Annotated[
    str,
    shaped(
        DATA_URI,
        "say where the data is: configmap://name/key, pvc://claim/path, hf://org/name/path, "
        "s3://bucket/path, gs://bucket/path, https://host/file, http://host/file, file:///path or "
        "package://module/path",
        max_length=1024,
    ),
]
"""As a model's URI, and configmap://name/key. JSON lines, JSON, Parquet, CSV or YAML, by its ending."""

Passthrough = Annotated[
    dict[str, Any], Field(max_length=32, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]
"""A piece of Kubernetes' own pod API, passed through and checked by the API server when the pod is made."""


LabelValue = Annotated[
    str,
    shaped(
        r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        "a label's value has letters, digits, '-', '_' and '.', and starts and ends with a letter or digit",
        max_length=63,
    ),
]
"""Value of a label."""

Quantity = Annotated[str, Field(min_length=1, max_length=32)]
"""A Kubernetes quantity such as 500m, 6Gi or 1."""


class NamedRef(ApiModel):
    """Another resource or object of the same namespace, by name. It may be applied later."""

    name: ObjectName = Field(description="Name of the object, in this namespace.")


class ConfigMapKeyRef(ApiModel):
    """One key of a ConfigMap of the same namespace."""

    name: ObjectName = Field(description="Name of a ConfigMap of this namespace.")
    key: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="Key whose value is used.")


IMAGE_WITHOUT_TOKEN = (
    "!self.uri.startsWith('oci://') || !has(self.tokenSecretRef)",
    "images are pulled with spec.pod.imagePullSecrets: leave tokenSecretRef out",
)


class BaseSource(ApiModel):
    """The base model of an adapter."""

    model_config = config(IMAGE_WITHOUT_TOKEN)
    uri: ModelUri = Field(description="Where it is, as of the model itself.")
    token_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Token or credentials for it; not those of the adapter."
    )


class ModelSource(ApiModel):
    """A model by URI; a fetch stage checks it, and gives it a digest and a place in the artifact store."""

    model_config = config(IMAGE_WITHOUT_TOKEN)
    uri: ModelUri = Field(
        description="Where the model is: hf://org/name@revision, s3://, gs://, file:///path or "
        "package://module/path (inside the worker image) are copied into the artifact store; "
        "pvc://claim/path and oci://registry/repository@sha256:digest (image volumes) stay where they are."
    )
    token_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="Token for a gated model on a hub; for s3:// an AWS credentials file, for gs:// the JSON "
        "of a service account.",
    )
    base: BaseSource | None = Field(
        default=None,
        description="Base model of a LoRA adapter, which is merged into it. Where absent, an adapter on a "
        "hub is merged into what it names itself, read with the same token.",
    )


EndpointUrl = Annotated[
    str,
    shaped(
        r"^https?://[^/\s?#]+(/[^/\s?#]+)+/?$",
        "give what comes before /chat/completions, such as https://host:8000/v1, without a query",
        max_length=1024,
    ),
]
"""What comes before the routes of an OpenAI-compatible server, as a rule up to and including /v1."""


NO_COMPLETIONS_IN_URL = (
    "!self.url.endsWith('/completions') && !self.url.endsWith('/completions/')",
    "url ends before /chat/completions, as a rule with /v1",
)
NO_USER_IN_URL = (
    "!has(self.url) || !self.url.matches('^https?://[^/]*@')",
    "a user or password in url would be shown in status and logs: name a Secret in apiKeySecretRef",
)


class ModelEndpoint(ApiModel):
    """An OpenAI-compatible server that already runs."""

    model_config = config(NO_COMPLETIONS_IN_URL, NO_USER_IN_URL)
    url: EndpointUrl = Field(
        description="What comes before /chat/completions, as a rule up to and including /v1."
    )
    model: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        description="Name of the model in requests."
    )
    api_key_secret_ref: SecretKeyRef | None = Field(
        default=None, description="API key, sent as a bearer token."
    )
    digest: (
        Annotated[
            str,
            shaped(
                r"^sha256:[0-9a-f]{64}$", "give a digest as sha256: and 64 hexadecimal digits", max_length=71
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="Digest of the model behind the endpoint, where you vouch for it; without it only a "
        "GuardedDeployment of the same endpoint can rest on this evaluation.",
    )


class ChatTemplate(ApiModel):
    """A chat template that takes the place of the one that a model was published with."""

    config_map_key_ref: ConfigMapKeyRef = Field(
        description="Key of a ConfigMap that holds the template, in Jinja, of at most 128 KiB."
    )


TEMPLATE_OF_SOURCE = (
    "!has(self.chatTemplate) || has(self.source)",
    (
        "chatTemplate belongs to a model with a source: the product of a fine-tuning has the template that "
        "it was trained with, and a server that runs has its own"
    ),
)


class OwnedModel(ApiModel):
    """A model whose weights are at hand: exactly one of source and finetuneRef."""

    model_config = config(
        (
            "has(self.source) != has(self.finetuneRef)",
            "name exactly one of source and finetuneRef",
        ),
        TEMPLATE_OF_SOURCE,
    )
    source: ModelSource | None = Field(
        default=None, description="A model by URI: on a hub, a claim, in an object store or in the image."
    )
    finetune_ref: NamedRef | None = Field(
        default=None, description="The product of a SafetyFinetune of this namespace."
    )
    chat_template: ChatTemplate | None = Field(
        default=None,
        description="Chat template in place of the model's own. It becomes part of the model and so of its "
        "digest: serving, answering for a blend and training use the same.",
    )


class EvaluatedModel(OwnedModel):
    """The model to evaluate: exactly one of source, finetuneRef and endpoint."""

    model_config = config(
        (
            "[has(self.source), has(self.finetuneRef), has(self.endpoint)].filter(x, x).size() == 1",
            "name exactly one of source, finetuneRef and endpoint",
        ),
        TEMPLATE_OF_SOURCE,
    )
    endpoint: ModelEndpoint | None = Field(default=None, description="A server that already runs.")


GPU = "nvidia.com/gpu"
"""The extended resource of NVIDIA's device plugin."""


class Resources(ApiModel):
    """Container resources, as in a pod."""

    model_config = config(
        *(
            (
                (
                    f"!has(self.{field}) || self.{field}.all(k, type(self.{field}[k]) == int || "
                    f"isQuantity(self.{field}[k]))"
                ),
                f"write each of {field} as a quantity, such as cpu: 500m, memory: 6Gi or nvidia.com/gpu: 1",
            )
            for field in ("requests", "limits")
        ),
        (
            (
                "!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || "
                "!isQuantity(string(self.requests[k])) || !isQuantity(string(self.limits[k])) || "
                "quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)"
            ),
            "a limit is at least the request of the same name",
        ),
    )

    requests: Annotated[dict[str, int | Quantity], Field(max_length=16)] = Field(
        default={},
        description="What is reserved on the node, by name of the resource, for example cpu: 500m, memory: "
        "6Gi.",
    )
    limits: Annotated[dict[str, int | Quantity], Field(max_length=16)] = Field(
        default={},
        description="Upper bounds by name of the resource, for example memory: 8Gi; none where absent, unless"
        " limitRatio sets them.",
    )


def gpu_rules(count: str, field: str, *, unless: str = "false") -> tuple[tuple[str, str], ...]:
    """CEL rules of an object with ``resources``: a number of GPUs there is the one that is set elsewhere.

    Parameters
    ----------
    count
        CEL expression of that number.
    field
        Its field, for the message.
    unless
        CEL expression: where the rule does not hold.
    """
    named = [f"self.resources.{part}" for part in ("requests", "limits")]
    return tuple(
        (
            (
                f"!has(self.resources) || !has({where}) || !('{GPU}' in {where}) || {unless} || "
                f"isQuantity(string({where}['{GPU}'])) && quantity(string({where}['{GPU}'])).isInteger() && "
                f"quantity(string({where}['{GPU}'])).asInteger() == {count}"
            ),
            (
                f"{GPU} in {where.removeprefix('self.')} is another number than {field}: set that, and leave "
                f"{GPU} out"
            ),
        )
        for where in named
    )


ParserName = Annotated[
    str,
    shaped(
        r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        "write the name of a parser of the engine, such as deepseek_r1 or hermes",
        max_length=64,
    ),
]
"""Name of a parser that the engine knows."""


class StartCache(ApiModel):
    """A volume that keeps what an engine compiles while it starts."""

    claim_name: ObjectName = Field(
        description="PersistentVolumeClaim of this namespace that servers may write: not the artifact store. "
        "Each model, image and way of serving has a folder of its own in it, which goes when no server has "
        "started from it for 30 days."
    )


SERVING_RULES = (
    *args_rules(),
    *NIM_RULES,
    *gpu_rules(
        "(has(self.tensorParallelSize) ? self.tensorParallelSize : 1)",
        "tensorParallelSize",
        unless=asks_for_more_gpus(),
    ),
)
"""CEL rules of how a model is served."""


class Serving(ApiModel):
    """How a model is served when it is not an endpoint."""

    model_config = config(*SERVING_RULES)

    runtime: Literal["vllm", "nim"] = Field(
        default="vllm",
        description="Inference engine that serves the model: vLLM, or NVIDIA's NIM for any model.",
    )
    nim: Nim | None = Field(default=None, description="Runtime nim: what only a NIM is told.")
    image: Annotated[str, Field(max_length=512)] | None = Field(
        default=None,
        description="Any image with vLLM, such as vllm/vllm-openai; the chart's for the device where absent. "
        "Runtime nim: the NIM's image.",
    )
    args: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=64)] = Field(
        default=[],
        description="Further arguments of the engine, appended last. Those that a field or the operator "
        "sets are refused.",
    )
    device: Device | None = Field(
        default=None, description="Where the engine runs; the chart's default where absent."
    )
    replicas: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="Pods. Prompts and answers go to the one with the fewest requests in flight; garak and "
        "lm-eval use the Service, which spreads connections.",
    )
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="GPUs of each pod, over which the model's weights are split; all on one node. "
        "--pipeline-parallel-size in args multiplies them.",
    )
    max_model_len: Annotated[int, Field(ge=128, le=4194304)] | None = Field(
        default=None, description="Longest sequence in tokens; the model's own where absent."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Type of weights and activations. auto is the engine's choice by the model; on CPU "
        "bfloat16, or float32, of twice the size, where the processor has no bfloat16.",
    )
    reasoning_parser: ParserName | None = Field(
        default=None,
        description="Parser that keeps the model's reasoning apart from its answer, such as deepseek_r1 or "
        "qwen3; the reasoning is part of the answer where absent.",
    )
    tool_call_parser: ParserName | None = Field(
        default=None,
        description="Parser of the model's calls of tools, such as hermes or llama3_json; clients may then "
        "leave the choice of a tool to the model.",
    )
    resources: Resources | None = Field(
        default=None,
        description="Resources of the server container, name by name over the role's and the defaults by "
        "device. GPUs follow tensorParallelSize. On CPU, an engine that asks for one CPU or less (limit, "
        "else request; the default) runs one thread, any other one takes all cores of its node.",
    )
    startup_seconds: Annotated[int, Field(ge=60, le=86400)] | None = Field(
        default=None,
        description="How long loading and compiling may take before the server counts as hung and is "
        "restarted; an hour on GPUs and 20 minutes on CPU where absent.",
    )
    start_cache: StartCache | None = Field(
        default=None,
        description="Where compiled code is kept, so that the next start of the same model on the same image "
        "is faster; nowhere where absent.",
    )
    placement: Literal["concurrent", "sequential"] = Field(
        default="concurrent",
        description="concurrent: target and judge models run at the same time, and answers are judged as "
        "they come; sequential: one after the other, so that one GPU is enough.",
    )


SuitePreset = Literal["advbench", "aegis-v2-test", "do-not-answer", "harmbench", "wildguard-test", "xstest"]
"""Known prompt sets. do-not-answer and harmbench are part of the worker image; the others are on the hub."""


NO_TOKEN_IN_CLEAR = (
    "!has(self.tokenSecretRef) || !has(self.uri) || !self.uri.startsWith('http://')",
    "http:// would carry the token in the clear: use https://, or leave tokenSecretRef out",
)

NO_COLUMNS_OF_PRESET = (
    "!has(self.preset) || !has(self.columns)",
    "a preset knows its columns: leave columns out, or give a uri",
)


class OwnData(ApiModel):
    """Where data of your own are."""

    uri: DataUri | None = Field(
        default=None,
        description="Your own data: configmap://name/key, pvc://claim/path, package://module/path, hf://, "
        "s3://, gs://, https://, http://. JSON lines, JSON, Parquet, CSV, YAML or Arrow.",
    )
    token_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="Token for a gated data set on the hub, such as wildguard-test and advbench, or behind "
        "https://; for s3:// an AWS credentials file, for gs:// the JSON of a service account.",
    )
    columns: ColumnNames | None = Field(
        default=None, description="Which columns of the uri's files hold what; a preset knows its own."
    )


class PromptData(OwnData):
    """A set of prompts: a preset, a uri, or both for your own copy of a preset's published file."""

    model_config = config(
        ("has(self.preset) || has(self.uri)", "name a preset, a uri, or both for a copy of the preset"),
        NO_COLUMNS_OF_PRESET,
        NO_TOKEN_IN_CLEAR,
    )
    preset: SuitePreset | None = Field(
        default=None,
        description="A known prompt set. aegis-v2-test, wildguard-test, xstest and advbench are read from "
        "the hub unless uri names a copy.",
    )
