"""What of a server changes a model's answers."""

import pytest

from safety_operator.api.answer_settings import answer_settings, describe_differences
from safety_operator.api.common import Serving


@pytest.mark.parametrize(
    ("serving", "found"),
    [
        ({}, {}),
        ({"dtype": "auto", "replicas": 3, "tensorParallelSize": 4, "image": "other:1", "device": "gpu"}, {}),
        ({"maxModelLen": 4096, "resources": {"requests": {"cpu": 4}}}, {}),
        ({"dtype": "float16"}, {"dtype": "float16"}),
        ({"reasoningParser": "qwen3"}, {"reasoningParser": "qwen3"}),
        ({"toolCallParser": "hermes"}, {"toolCallParser": "hermes"}),
        ({"args": ["--quantization", "fp8"]}, {"--quantization": "fp8"}),
        ({"args": ["--kv_cache_dtype=fp8", "--max_num_seqs", "8"]}, {"--kv-cache-dtype": "fp8"}),
        ({"args": ["--gpu-memory-utilization=0.9", "--enforce-eager", "--no-enable-prefix-caching"]}, {}),
        ({"args": ["--quantization=awq", "--quantization", "fp8"]}, {"--quantization": "fp8"}),
        ({"args": ["--trust-remote-code"]}, {"--trust-remote-code": "true"}),
        ({"args": ["--lora-modules", "a=b", "c=d"]}, {"--lora-modules": "a=b c=d"}),
        ({"args": ["--hf-overrides.rope_theta", "1"]}, {"--hf-overrides.rope-theta": "1"}),
        ({"args": ["--an-unknown-flag"]}, {"--an-unknown-flag": "true"}),
    ],
)
def test_settings_that_change_answers_are_found_and_no_others(serving, found):
    assert answer_settings(Serving.model_validate(serving)) == found


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
