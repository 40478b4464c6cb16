"""vLLM on CPU or GPU."""

import re

from safety_operator.api.common import Serving
from safety_operator.api.serving_args import gpu_factor
from safety_operator.children.pod import ARTIFACTS_PATH
from safety_operator.children.resources import ResourceSet
from safety_operator.children.runtimes.runtime import SERVED_NAME, ModelServer, Runtime
from safety_operator.children.server_files import CLOSED_PATHS
from safety_operator.children.service import SERVER_PORT

CPU_RESOURCES = ResourceSet(requests={"cpu": "400m", "memory": "5Gi"})
"""Measured with a model of 135 M weights: 4.2 to 6 GB, 2 GiB of which are key-value cache."""
GPU_RESOURCES = ResourceSet(requests={"cpu": "2", "memory": "16Gi"})
"""CPUs for the API server and the engine; one for the worker of each GPU comes on top. The least by
https://docs.vllm.ai/en/latest/configuration/optimization/"""
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
"""Nothing is fetched and nothing is reported: the model is in the artifact store."""


def _environment(server: ModelServer, resources: ResourceSet) -> dict[str, str]:
    if server.device != "cpu":
        return ENV
    found = ENV | CPU_ENV
    if server.image == server.images.worker:
        found |= MODEL_CACHE
    if asks_for_one_cpu(resources):
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
    if serving.reasoning_parser is not None:
        args += ["--reasoning-parser", serving.reasoning_parser]
    if serving.tool_call_parser is not None:
        args += ["--enable-auto-tool-choice", "--tool-call-parser", serving.tool_call_parser]
    if server.api_key is not None:
        args += ["--middleware", CLOSED_PATHS]
    return (*args, *serving.args)


def _gpus(serving: Serving) -> int:
    return serving.tensor_parallel_size * gpu_factor(serving.args)


VLLM = Runtime(
    module="vllm.entrypoints.openai.api_server",
    arguments=_arguments,
    environment=_environment,
    key_env="VLLM_API_KEY",
    gpus=_gpus,
    resources={"cpu": CPU_RESOURCES, "gpu": GPU_RESOURCES},
    start_cache={
        # torch.compile, DeepGEMM, FlashInfer's autotuning, what it knows of models
        "VLLM_CACHE_ROOT": "vllm",
        "TRITON_CACHE_DIR": "triton",
        "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    },
    startup_seconds={"cpu": 1200, "gpu": 3600},
    shared_memory={"cpu": "1Gi", "gpu": "16Gi"},
)
