"""Which settings of a server change the answers of one and the same model.

A gate asks whether a model is served as it was evaluated, and a comparison says where two evaluations served
otherwise. Left out is what changes the speed, or the last digits of a number: devices, parallelism, memory,
kernels; what loads code counts all the same. An argument that is not known counts. An image counts where a
spec names one; the chart's own changes with the operator, for all servers.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from safety_operator.api.common import Serving
from safety_operator.api.pods import EnvVar

WITHOUT_INFLUENCE = frozenset(
    {
        "--seed",  # other draws from the same distribution
        # how many requests at a time
        *("--max-num-seqs", "--max-num-batched-tokens", "--max-num-scheduled-tokens", "--async-scheduling"),
        *("--max-num-queued-reqs", "--max-num-queued-tokens", "--max-num-active-seqs", "--scheduling-policy"),
        *("--enable-chunked-prefill", "--long-prefill-token-threshold", "--stream-interval"),
        *("--api-server-count", "-asc", "--renderer-num-workers", "--performance-mode"),
        # memory
        *("--gpu-memory-utilization", "--device-memory-utilization", "--kv-cache-memory-bytes"),
        *("--num-gpu-blocks-override", "--block-size", "--enable-prefix-caching", "--cpu-offload-gb"),
        *("--kv-offloading-size", "--kv-offloading-backend", "--prefix-caching-hash-algo"),
        *("--safetensors-load-strategy", "--max-parallel-loading-workers", "--enable-sleep-mode"),
        # compiling and kernels
        *("--enforce-eager", "--compilation-config", "-cc", "--optimization-level", "-O"),
        *("--cudagraph-capture-sizes", "--max-cudagraph-capture-size", "--attention-backend", "-ac"),
        *("--attention-config", "--moe-backend", "--linear-backend", "--disable-custom-all-reduce"),
        *("--enable-flashinfer-autotune", "--kernel-config", "-kc"),
        # several GPUs
        *("--pipeline-parallel-size", "-pp", "--data-parallel-size", "-dp", "--data-parallel-size-local"),
        *("-dpl", "--data-parallel-backend", "-dpb", "--decode-context-parallel-size", "-dcp"),
        *("--prefill-context-parallel-size", "-pcp", "--enable-expert-parallel", "-ep"),
        *("--distributed-executor-backend", "--distributed-timeout-seconds", "--all2all-backend"),
        *("--numa-bind", "--numa-bind-cpus", "--numa-bind-nodes", "--device-ids"),
        # logs and metrics
        *("--disable-log-stats", "--enable-log-requests", "--enable-log-outputs", "--max-log-len"),
        *("--disable-uvicorn-access-log", "--uvicorn-log-level", "--log-level", "--log-config-file"),
        *("--otlp-traces-endpoint", "--collect-detailed-traces", "--enable-log-deltas", "--kv-cache-metrics"),
        *("--disable-fastapi-docs", "--enable-server-load-tracking", "--enable-request-id-headers"),
        *("--show-hidden-metrics-for-version", "--cudagraph-metrics", "--enable-mfu-metrics"),
        *("--shutdown-timeout", "--sse-keep-alive-interval", "--max-logprobs"),
    }
)
"""Flags of vLLM that change no answer; ``--no-`` before them neither."""


OF_ENGINE = ("VLLM_", "NIM_")
"""Beginnings of the variables that engines read; one that is not known counts."""
LOADING_CODE = re.compile(
    r"LD_\w+|PATH|BASH_ENV|PYTHON(?!UNBUFFERED$|DONTWRITEBYTECODE$|FAULTHANDLER$|HASHSEED$)\w*"
)
"""Names of variables by which other code runs than the image's; one of Python's that is not known counts."""
CLAIM = "/artifacts"
"""Folder of the claim, whose files no image fixes: a variable that names it counts, whatever its name."""
QUALIFIED = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]")
"""Name of a function or class in a module, which the engine imports."""
OF_NUMBERS = re.compile("QUANT|PRECISION|(INT|FP)[48]|F16|SIMULATION|PLUGINS|RANDOM")
"""Parts of variables' names that change numbers, whatever else the name says."""
OF_SPEED = frozenset(
    {
        *("TIMEOUT", "SECONDS", "S", "LOGGING", "LOG", "STATS", "USAGE", "TRACK", "DEBUG", "TRACE", "GC"),
        *("CACHE", "PORT", "HOST", "IP", "RPC", "DIR", "FOLDER", "WARMUP", "SHUTDOWN", "PROFILER"),
        *("RAY", "NCCL", "PYNCCL", "NIXL", "MOONCAKE", "P2P", "DP", "WORKER", "MULTIPROCESSING", "ALLREDUCE"),
        *("CPU", "CUDA", "CUDAGRAPH", "COMPILE", "INDUCTOR", "TRITON", "FLASHINFER", "GEMM", "DEEPEP"),
        *("AITER", "ATTENTION", "SAMPLER", "MB", "SYMM", "SPINLOOP", "OFFLOAD", "OFFLOADING"),
    }
)
"""Words in names of the engine's variables that are about speed, memory, logs and networks only."""
SHOWN = 256
"""Longest value as it is; of a longer one its beginning and a hash."""


def answer_settings(serving: Serving, env: Iterable[EnvVar] = (), default_image: str = "") -> dict[str, str]:
    """By field, argument or variable: what changes answers. What is left out is the model's or the engine's.

    ``env``: the variables of the server's pods; ``default_image``: the image of a server that names none.
    """
    fields = {
        "runtime": "" if serving.runtime == "vllm" else serving.runtime,
        "nim.profile": (serving.nim.profile if serving.nim else None) or "",
        "image": "" if serving.image == default_image else serving.image or "",
        "dtype": "" if serving.dtype == "auto" else serving.dtype,
        "reasoningParser": serving.reasoning_parser or "",
        "toolCallParser": serving.tool_call_parser or "",
    }
    found = fields | _arguments(serving.args) | answer_variables(env)
    return {name: _shown(value) for name, value in found.items() if value}


def answer_variables(env: Iterable[EnvVar]) -> dict[str, str]:
    """Variables that change answers, as ``env.NAME``."""
    return {
        f"env.{var.name}": var.value or "empty"
        for var in env
        if LOADING_CODE.fullmatch(var.name)
        or CLAIM in var.value
        or (var.name.startswith(OF_ENGINE) and not (_is_of_speed(var.name) and _names_no_file(var.value)))
    }


def _names_no_file(value: str) -> bool:
    """Whether a value is no path but one to what the pod itself writes."""
    return "/" not in value or (value.startswith("/tmp/") and "/.." not in value)  # noqa: S108


def _is_of_speed(name: str) -> bool:
    return OF_NUMBERS.search(name) is None and not OF_SPEED.isdisjoint(name.split("_"))


def _shown(value: str) -> str:
    if len(value) <= SHOWN:
        return value
    return f"{value[: SHOWN - 30]}... ({hashlib.sha256(value.encode()).hexdigest()[:16]})"


def _arguments(args: Sequence[str]) -> dict[str, str]:
    """Flags with their values, as the engine reads them: the last of several counts."""
    found: dict[str, list[str]] = {}
    name = ""
    for arg in args:
        if arg.startswith("-"):
            head, equals, value = arg.partition("=")
            name = head.replace("_", "-")
            found[name] = [value] if equals else []
        else:
            found.setdefault(name, []).append(arg)
    return {
        name: " ".join(values) or "true"
        for name, values in found.items()
        if name.replace("--no-", "--", 1) not in WITHOUT_INFLUENCE or any(map(_loads_code, values))
    }


def _loads_code(value: str) -> bool:
    """Whether a value names what is imported: a backend, a pass of the compiler, a logger's formatter."""
    return "://" not in value and QUALIFIED.search(value) is not None


def describe_differences(one: Mapping[str, str], other: Mapping[str, str], words: tuple[str, str]) -> str:
    """What two servers do otherwise, such as ``dtype (A: float16, B: bfloat16)``; empty: nothing.

    A type of numbers that only one of the two names is no difference: the other has the model's own.
    """
    names = sorted({*one, *other} - ({"dtype"} if ("dtype" in one) != ("dtype" in other) else set()))
    return ", ".join(
        f"{name} ({words[0]}: {one.get(name, 'not set')}, {words[1]}: {other.get(name, 'not set')})"
        for name in names
        if one.get(name) != other.get(name)
    )
