"""What of a server changes a model's answers."""

import pytest

from safety_operator.api.answer_settings import answer_settings, describe_differences
from safety_operator.api.common import Serving
from safety_operator.api.pods import EnvVar
from safety_operator.children.pod import ARTIFACTS_PATH


@pytest.mark.parametrize(
    ("serving", "found"),
    [
        ({}, {}),
        ({"dtype": "auto", "replicas": 3, "tensorParallelSize": 4, "image": "chart:1", "device": "gpu"}, {}),
        ({"image": "vllm/vllm-openai:v0.32.0"}, {"image": "vllm/vllm-openai:v0.32.0"}),
        ({"maxModelLen": 4096, "resources": {"requests": {"cpu": 4}}}, {}),
        ({"dtype": "float16"}, {"dtype": "float16"}),
        ({"reasoningParser": "qwen3"}, {"reasoningParser": "qwen3"}),
        ({"toolCallParser": "hermes"}, {"toolCallParser": "hermes"}),
        ({"args": ["--quantization", "fp8"]}, {"--quantization": "fp8"}),
        ({"args": ["--kv_cache_dtype=fp8", "--max_num_seqs", "8"]}, {"--kv-cache-dtype": "fp8"}),
        ({"args": ["--gpu-memory-utilization=0.9", "--enforce-eager", "--no-enable-prefix-caching"]}, {}),
        ({"args": ["--quantization=awq", "--quantization", "fp8"]}, {"--quantization": "fp8"}),
        ({"args": ["--trust-remote-code"]}, {"--trust-remote-code": "true"}),
        ({"args": ["--logits-processors", "a:B", "c:D"]}, {"--logits-processors": "a:B c:D"}),
        ({"args": ["--hf-overrides.rope_theta", "1"]}, {"--hf-overrides.rope-theta": "1"}),
        ({"args": ["--compilation-config", '{"mode": 3}', "--otlp-traces-endpoint", "http://a.b:4317"]}, {}),
        (
            {"args": ["--compilation-config", '{"backend": "mine.backend"}']},
            {"--compilation-config": '{"backend": "mine.backend"}'},
        ),
        (
            {"args": ["--distributed-executor-backend=mine.Executor"]},
            {"--distributed-executor-backend": "mine.Executor"},
        ),
        ({"args": ["--an-unknown-flag"]}, {"--an-unknown-flag": "true"}),
    ],
)
def test_settings_that_change_answers_are_found_and_no_others(serving, found):
    assert answer_settings(Serving.model_validate(serving), default_image="chart:1") == found


@pytest.mark.parametrize(
    "name",
    [
        *("VLLM_USE_TRITON_AWQ_FP8", "VLLM_HUMMING_ONLINE_QUANT_CONFIG", "VLLM_PLUGINS"),
        *("VLLM_ROCM_QUICK_REDUCE_QUANTIZATION", "VLLM_A_NEW_ONE", "PYTHONPATH", "LD_PRELOAD"),
        *("LD_AUDIT", "PYTHONUSERBASE", "PYTHONWARNINGS", "PATH", "BASH_ENV"),
    ],
)
def test_variables_that_change_answers_count(name):
    assert answer_settings(Serving(), [EnvVar(name=name, value="1")]) == {f"env.{name}": "1"}


@pytest.mark.parametrize(
    "name",
    [
        *("HTTPS_PROXY", "NCCL_DEBUG", "OMP_NUM_THREADS", "TEAM", "CUDA_VISIBLE_DEVICES", "HF_HOME"),
        *("VLLM_LOGGING_LEVEL", "VLLM_ENGINE_READY_TIMEOUT_S", "VLLM_CPU_KVCACHE_SPACE", "VLLM_HOST_IP"),
        *("VLLM_ATTENTION_BACKEND", "VLLM_WORKER_MULTIPROC_METHOD", "VLLM_CACHE_ROOT", "PYTHONUNBUFFERED"),
        *("SOME_PATH", "OLD_LIBRARY", "MY_PYTHONPATH"),
    ],
)
def test_variables_of_speed_networks_and_logs_do_not_count(name):
    assert answer_settings(Serving(), [EnvVar(name=name, value="1")]) == {}


@pytest.mark.parametrize(
    ("name", "value", "counts"),
    [
        ("VLLM_LOGGING_CONFIG_PATH", "/opt/logging.json", True),
        ("VLLM_NCCL_SO_PATH", "/opt/libnccl.so", True),
        ("VLLM_CACHE_ROOT", "/tmp/compiled", False),
        ("VLLM_CACHE_ROOT", "/tmp/../opt/compiled", True),
        ("HF_HOME", f"{ARTIFACTS_PATH}/hub", True),
        ("TRITON_CACHE_DIR", f"/./{ARTIFACTS_PATH}/compiled", True),
        ("SSL_CERT_FILE", "/etc/ssl/ca.pem", False),
    ],
)
def test_variables_that_name_files_of_engine_or_claim_count(name, value, counts):
    found = answer_settings(Serving(), [EnvVar(name=name, value=value)])
    assert found == ({f"env.{name}": value} if counts else {})


def test_long_values_are_short_and_differ_by_what_stands_at_their_ends():
    one, other = (
        answer_settings(Serving(args=["--hf-overrides", "x" * 1000 + end]))["--hf-overrides"] for end in "ab"
    )
    assert one != other
    assert len(one) <= 256


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({}, {}, ""),
        ({"dtype": "bfloat16"}, {}, ""),
        ({"dtype": "bfloat16"}, {"dtype": "float16"}, "dtype (A: bfloat16, B: float16)"),
        ({"--quantization": "fp8"}, {}, "--quantization (A: fp8, B: not set)"),
        (
            {"reasoningParser": "qwen3"},
            {"--kv-cache-dtype": "fp8"},
            "--kv-cache-dtype (A: not set, B: fp8), reasoningParser (A: qwen3, B: not set)",
        ),
    ],
)
def test_differences_are_said_by_name(one, other, words):
    assert describe_differences(one, other, ("A", "B")) == words
