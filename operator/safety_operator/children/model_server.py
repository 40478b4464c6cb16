"""A model behind an OpenAI-compatible server: vLLM on CPU or GPU, as a Deployment and a Service."""

import re
from dataclasses import dataclass, field
from typing import Any

from safety_operator.api.common import Serving
from safety_operator.api.serving_args import gpu_factor
from safety_operator.children.metadata import Owner, canonical_hash, child_labels, child_metadata, with_hash
from safety_operator.children.pod import (
    ARTIFACTS_PATH,
    SecretEnv,
    artifacts_mount,
    build_container,
    build_pod_template,
    shared_memory_mount,
)
from safety_operator.children.pod_options import EffectiveOptions
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.service import SERVER_PORT
from safety_operator.state.labels import LABEL_INSTANCE, LABEL_TEMPLATE, QUEUE_LABEL
from safety_operator.state.settings import Images

SERVED_NAME = "model"
"""Name of the model in requests."""
CPU_RESOURCES = ResourceSet(requests={"cpu": "400m", "memory": "5Gi"})
"""Measured with a model of 135 M weights: 4.2 to 6 GB, 2 GiB of which are key-value cache."""
GPU_RESOURCES = ResourceSet(requests={"cpu": "2", "memory": "16Gi"})
STARTUP_SECONDS = {"cpu": 1200, "gpu": 3600}
"""How long loading and compiling may take before the server counts as hung."""
CPU_ARGS = ("--enforce-eager", "--no-enable-chunked-prefill", "--max-num-seqs", "64")
"""Measured settings: with chunked prefill a request that carries a seed can kill the engine on CPU."""
# Threads that spin while they wait take the cores from everything else on a small node.
# Log-probabilities go through torch.compile, which on CPU calls a C++ compiler that the image does not have.
CPU_ENV = {
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
ONE_CPU_ENV = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}
"""For a server that asks for one CPU or less. Else vLLM pins a thread to every core of the node, and its
engine spins while they work: two such servers on two cores gave 340 tokens/s together, these 540, and they
start 9 s sooner (docs/experiments.md)."""
MODEL_CACHE = {"VLLM_CACHE_ROOT": "/opt/vllm-cache"}
"""Part of the worker image: what vLLM else finds out about common models by importing everything again."""
ENV = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
"""Nothing is fetched and nothing is reported: the model lies in the artifact store."""
RECREATE: dict[str, Any] = {"type": "Recreate"}
"""All old pods go before a new one starts."""
SURGE: dict[str, Any] = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
"""No ready pod goes before its successor is ready: what is served to people."""
IN_TURN: dict[str, Any] = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
"""One by one, the old pod first: an update needs no accelerator more than serving does."""
QUEUED_SECONDS = 1_209_600
"""Two weeks: the deadline of a Deployment whose pods wait in a queue, which counts as no progress."""
CLOSED_PATHS = "safety_worker.guarding.closed_paths.ClosedPaths"
"""Part of the worker image: vLLM's key leaves paths open, such as /invocations, which generates."""


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A server that is wanted."""

    owner: Owner
    role: str
    name: str
    serving: Serving
    device: str
    model_path: str
    """Folder of the model relative to the artifact root."""
    claim: str
    images: Images
    options: EffectiveOptions
    replicas: int = 1
    queue: str = ""
    """Kueue's queue; its webhook for Deployments hands the label on to the pods, as is done here."""
    api_key: SecretEnv | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    """Annotations of the Deployment."""
    pod_annotations: dict[str, str] = field(default_factory=dict)
    """Annotations of the pods: a change rolls them."""
    strategy: dict[str, Any] = field(default_factory=lambda: RECREATE)
    """How an update replaces pods. Of temporary servers the old pod goes first: one accelerator is enough."""


def build_model_server(server: ModelServer) -> dict[str, Any]:
    """The Deployment of a model server."""
    return build_server_deployment(
        server.owner,
        server.role,
        server.name,
        _build_template(server),
        replicas=server.replicas,
        strategy=server.strategy,
        deadline_seconds=QUEUED_SECONDS if server.queue else STARTUP_SECONDS[server.device] + 300,
        annotations=server.annotations,
        queue=server.queue,
    )


def build_server_deployment(
    owner: Owner,
    role: str,
    name: str,
    template: dict[str, Any],
    *,
    replicas: int,
    strategy: dict[str, Any],
    deadline_seconds: int,
    annotations: dict[str, str] | None = None,
    queue: str = "",
) -> dict[str, Any]:
    """A Deployment around a pod template, selected by its own name."""
    labels = {QUEUE_LABEL: queue} if queue else {}
    template = _with_hash_label(_with_labels(template, labels))
    return with_hash(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": child_metadata(owner, role, name, labels=labels, annotations=annotations),
            "spec": {
                "replicas": replicas,
                "revisionHistoryLimit": 2,
                "progressDeadlineSeconds": deadline_seconds,
                "strategy": strategy,
                "selector": {"matchLabels": child_labels(owner, role) | {LABEL_INSTANCE: name}},
                "template": template,
            },
        }
    )


def _with_hash_label(template: dict[str, Any]) -> dict[str, Any]:
    """The template with its own hash as a label."""
    return _with_labels(template, {LABEL_TEMPLATE: canonical_hash(template)})


def _with_labels(template: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    meta = template["metadata"]
    return template | {"metadata": meta | {"labels": meta["labels"] | labels}}


def http_probes(
    path: str, *, startup_seconds: int, ready_path: str | None = None, live: bool = True
) -> dict[str, Any]:
    """Startup with a long budget, then readiness; liveness forgives a busy minute and a half."""
    ready = ready_path or path
    probes: dict[str, Any] = {
        "startupProbe": _probe(ready, period=2, failures=max(1, startup_seconds // 2)),
        "readinessProbe": _probe(ready, period=5, failures=3),
    }
    if live:
        probes["livenessProbe"] = _probe(path, period=15, failures=6)
    return probes


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": SERVER_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 10,
        "failureThreshold": failures,
    }


def _build_template(server: ModelServer) -> dict[str, Any]:
    mounts = (
        artifacts_mount(server.claim, read_only=True),
        shared_memory_mount("16Gi" if server.device == "gpu" else "1Gi"),
    )
    container = build_container(
        "server",
        _image(server),
        pull_policy=server.images.pull_policy,
        resources=_resources(server),
        options=server.options,
        mounts=mounts,
        command=("python", "-m", "vllm.entrypoints.openai.api_server"),
        args=_arguments(server),
        env=_environment(server),
        secret_env=(server.api_key,) if server.api_key else (),
        ports={"http": SERVER_PORT},
        probes=http_probes("/health", startup_seconds=STARTUP_SECONDS[server.device]),
    )
    return build_pod_template(
        server.owner,
        server.role,
        container,
        options=server.options,
        images=server.images,
        mounts=mounts,
        instance=server.name,
        annotations=server.pod_annotations,
    )


def _image(server: ModelServer) -> str:
    return server.serving.image or server.images.server


def _environment(server: ModelServer) -> dict[str, str]:
    if server.device != "cpu":
        return ENV
    found = ENV | CPU_ENV
    if _image(server) == server.images.worker:
        found |= MODEL_CACHE
    if asks_for_one_cpu(_resources(server)):
        found |= ONE_CPU_ENV
    return found


def asks_for_one_cpu(resources: ResourceSet) -> bool:
    """Whether the limit, or else the request, is at most one CPU. Rare notations (1e3m) count as more."""
    text = str(resources.limits.get("cpu", resources.requests.get("cpu", "")))
    if not (found := re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)):
        return False
    return float(found[1]) <= (1000 if found[2] else 1)


def _arguments(server: ModelServer) -> tuple[str, ...]:
    serving = server.serving
    args = [
        *("--model", f"{ARTIFACTS_PATH}/{server.model_path}"),
        *("--served-model-name", SERVED_NAME),
        *("--host", "0.0.0.0", "--port", str(SERVER_PORT)),  # noqa: S104 - the pod's own network
        *("--dtype", serving.dtype),
    ]
    if server.device == "cpu":
        args += CPU_ARGS
    if serving.tensor_parallel_size > 1:
        args += ["--tensor-parallel-size", str(serving.tensor_parallel_size)]
    if serving.max_model_len is not None:
        args += ["--max-model-len", str(serving.max_model_len)]
    if server.api_key is not None and _image(server) == server.images.worker:
        args += ["--middleware", CLOSED_PATHS]
    return (*args, *serving.args)


def _resources(server: ModelServer) -> ResourceSet:
    serving, on_gpu = server.serving, server.device == "gpu"
    gpus = serving.tensor_parallel_size * gpu_factor(serving.args) if on_gpu else 0
    wanted = Wanted(GPU_RESOURCES if on_gpu else CPU_RESOURCES, serving.resources, gpus)
    return wanted.settle(server.options.resources)
