"""NVIDIA's NIM for any model: the multi-LLM image of the 1.x line, the model-free one of the 2.x line.

The image starts by itself and is told everything by variables; those of both lines are set, and each reads
its own. The model is a folder of the artifact store, so nothing is downloaded and no key is needed. No
middleware can be put into it and it asks no key of clients: who may ask it is decided by the NetworkPolicy
alone, which the bypass proof tries.

https://docs.nvidia.com/nim/large-language-models/latest/reference/environment-variables.html
"""

import shlex

from safety_operator.api.common import Serving
from safety_operator.api.serving_args import gpu_factor
from safety_operator.children.pod import ARTIFACTS_PATH, Mount, SecretEnv
from safety_operator.children.resources import ResourceSet
from safety_operator.children.runtimes.runtime import SERVED_NAME, ModelServer, Runtime
from safety_operator.children.service import SERVER_PORT

CACHE = "/opt/nim/.cache"
"""Where a NIM keeps what it downloads and builds."""
NGC_KEY = "NGC_API_KEY"
CPU_RESOURCES = ResourceSet(requests={"cpu": "100m", "memory": "256Mi"})
"""For stand-ins: a NIM itself needs GPUs."""
GPU_RESOURCES = ResourceSet(requests={"cpu": "2", "memory": "16Gi"})
"""As vLLM's, which is inside; a CPU for each GPU comes on top."""


def _environment(server: ModelServer, _: ResourceSet) -> dict[str, str]:
    serving, path = server.serving, f"{ARTIFACTS_PATH}/{server.model_path}"
    found = {
        "NIM_MODEL_NAME": path,  # 1.x
        "NIM_MODEL_PATH": path,  # 2.x
        "NIM_SERVED_MODEL_NAME": SERVED_NAME,
        "NIM_SERVER_PORT": str(SERVER_PORT),
        "NIM_CACHE_PATH": CACHE,
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "NIM_TENSOR_PARALLEL_SIZE": str(serving.tensor_parallel_size),
        "NIM_PASSTHROUGH_ARGS": shlex.join(_passed_through(serving)),  # 2.x: arguments of vLLM
    }
    if serving.max_model_len is not None:
        found["NIM_MAX_MODEL_LEN"] = str(serving.max_model_len)
    if serving.tool_call_parser is not None:  # 1.x
        found |= {"NIM_ENABLE_AUTO_TOOL_CHOICE": "1", "NIM_TOOL_CALL_PARSER": serving.tool_call_parser}
    if serving.nim is not None and serving.nim.profile is not None:
        found["NIM_MODEL_PROFILE"] = serving.nim.profile
    return {name: value for name, value in found.items() if value}


def _passed_through(serving: Serving) -> list[str]:
    args = ["--tensor-parallel-size", str(serving.tensor_parallel_size)]
    if serving.reasoning_parser is not None:
        args += ["--reasoning-parser", serving.reasoning_parser]
    if serving.tool_call_parser is not None:
        args += ["--enable-auto-tool-choice", "--tool-call-parser", serving.tool_call_parser]
    return [*args, *serving.args]


def _gpus(serving: Serving) -> int:
    return serving.tensor_parallel_size * gpu_factor(serving.args)


def _mounts(server: ModelServer) -> tuple[Mount, ...]:
    claim = server.serving.nim.cache_claim_name if server.serving.nim else None
    source = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}
    return (Mount("nim-cache", CACHE, source, read_only=False),)


def _secrets(server: ModelServer) -> tuple[SecretEnv, ...]:
    ref = server.serving.nim.ngc_api_key_secret_ref if server.serving.nim else None
    return (SecretEnv(NGC_KEY, ref.name, ref.key),) if ref else ()


NIM = Runtime(
    module="",
    arguments=lambda _: (),
    environment=_environment,
    key_env="",
    gpus=_gpus,
    resources={"cpu": CPU_RESOURCES, "gpu": GPU_RESOURCES},
    startup_seconds={"cpu": 1200, "gpu": 3600},
    shared_memory={"cpu": "1Gi", "gpu": "16Gi"},
    mounts=_mounts,
    secrets=_secrets,
    writes_anywhere=True,
    alive_path="/v1/health/live",
    ready_path="/v1/health/ready",
    metrics_path="/v1/metrics",
)
