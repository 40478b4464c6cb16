"""Which settings of a server change the answers of one and the same model.

A gate asks whether a model is served as it was evaluated, and a comparison says where two evaluations served
otherwise. Left out is what changes the speed, or the last digits of a number: devices, parallelism, memory,
kernels, images. An argument that is not known counts.
"""

from collections.abc import Mapping, Sequence

from safety_operator.api.common import Serving

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


def answer_settings(serving: Serving) -> dict[str, str]:
    """By field, or by argument: what changes answers. What is left out is the model's own or the engine's."""
    fields = {
        "dtype": "" if serving.dtype == "auto" else serving.dtype,
        "reasoningParser": serving.reasoning_parser or "",
        "toolCallParser": serving.tool_call_parser or "",
    }
    return {name: value for name, value in (fields | _arguments(serving.args)).items() if value}


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
        if name.replace("--no-", "--", 1) not in WITHOUT_INFLUENCE
    }


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
