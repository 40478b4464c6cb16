"""Flags that the operator sets, in every spelling that vLLM understands."""

import re

import pytest

from safety_operator.api.guarded_guards import INSTEAD, GuardServing, guard_args_rules
from safety_operator.api.serving_args import OWNED, args_rules, asks_for_more_gpus, gpu_factor
from safety_operator.schema.cel import evaluate

FLAGS = [flag for owned in OWNED for flag in owned.flags]


def refusals(*args):
    """Messages of the rules that arguments break."""
    return [message for rule, message in args_rules() if evaluate(rule, {"args": list(args)}) is False]


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_is_refused_in_every_spelling(flag):
    underscored = f"--{flag[2:].replace('-', '_')}" if flag.startswith("--") else flag
    for args in ([flag, "x"], [f"{flag}=x"], [underscored], [f"{underscored}=x"], [f"{flag}.key", "x"]):
        assert len(refusals("--seed", "7", *args)) == 1, args


@pytest.mark.parametrize(
    ("argument", "instead"),
    [
        ("--served", "spec.model"),
        ("--served_model=x", "spec.model"),
        ("--tensor-parallel=4", "serving.tensorParallelSize"),
        ("-t", "serving.tensorParallelSize"),
        ("-tp=2", "serving.tensorParallelSize"),
        ("--max-model-l=5", "serving.maxModelLen"),
        ("--max_model_len", "serving.maxModelLen"),
        ("--ssl", "HTTP"),
        ("--middle", "key"),
        ("--lora", "merged into its base"),
        ("--tokenizer=/artifacts/other", "model's folder"),
        ("--model some/name", "spec.model"),
    ],
)
def test_a_shortened_flag_is_refused_with_what_to_use(argument, instead):
    assert any(instead in message for message in refusals(argument))


@pytest.mark.parametrize("argument", ["--max-num-seqs 64", "-q awq", "--hf-overrides.a.b 1"])
def test_a_flag_with_its_value_behind_a_blank_is_refused(argument):
    assert any("--flag=value" in message for message in refusals(argument))


@pytest.mark.parametrize(
    "args",
    [
        ["--generation-config", "/artifacts/other"],
        ["--generation-config", "../artifacts"],
        ["--generation-config", "artifacts"],
        ["--generation_config=./other"],
        ["--reasoning-parser-plugin", "/artifacts/parser.py"],
        ["--tool-parser-plug=/proc/self/cwd/parser.py"],
        ["--log-config-file", "/artifacts/log.json"],
        ["--speculative-config", '{"model": "org/draft", "num_speculative_tokens": 3}'],
        ["--speculative-config.model", "/artifacts/draft"],
        ["--speculative-config", r'{"model": "\u002fartifact\u0073"}'],
        ["--speculative-config", r'{"model": "<\/artifact"}'],
        ["--model-loader-extra-config", '{"tensorizer_uri": "s3://bucket/other"}'],
        ["--compilation-config", '{"cache_dir": "/artifacts/compiled"}'],
        ["--kv-events-config", '{"endpoint": "tcp://*:5557"}'],
        ["--allowed-local-media-path=/"],
        ["--override-generation-config", '{"a": "</think>/x"}'],
        ["--otlp-traces-endpoint", "file:///artifacts/x"],
    ],
)
def test_arguments_that_name_files_are_refused(args):
    """What lies there is in no model's digest."""
    assert [message for message in refusals(*args) if "digest" in message], args


@pytest.mark.parametrize(
    "args",
    [
        [],
        ['--override-generation-config={"temperature": 0.6}'],
        ["--kv-cache-dtype", "fp8"],
        ["--model-impl=transformers"],
        ["--max-num-seqs", "64"],
        ["--config-format", "mistral"],
        ["--tokenizer-mode", "mistral"],
        ["--device-ids", "0"],
        ["--hf-overrides.model.port", "1"],
        ["--chat-template-content-format=string"],
        ["--max-logprobs", "-1"],
        ["--override-generation-config", '{"a": "--model"}'],
        ["--reasoning-config", '{"reasoning_start_str": "<think>", "reasoning_end_str": "</think>"}'],
        ["--generation-config", "vllm"],
        ["--speculative-config", '{"method": "ngram", "num_speculative_tokens": 4}'],
        ["--logits-processors", "my_module:Processor"],
        ["--otlp-traces-endpoint", "http://collector.observe:4317/v1"],
        ["--otlp-traces-endpoint=https://collector.observe:4317"],
        ["--", "value"],
        ["-"],
        [""],
    ],
)
def test_other_arguments_are_the_users(args):
    assert refusals(*args) == []


@pytest.mark.parametrize(
    ("args", "factor"),
    [
        ([], 1),
        (["--pipeline-parallel-size", "2"], 2),
        (["--pipeline_parallel_size=3", "-dp", "2"], 6),
        (["-pp=2", "-pp=4"], 4),
        (["--pipeline-par", "2"], 2),
        (["--p", "2"], 1),
        (["--data-parallel-size"], 1),
        (["--data-parallel-size=many"], 1),
        (["--pi=2"], 2),
        (["--prefill_context_par=2"], 2),
        (["--pipeline-parallel-sizes", "2"], 1),
        (["--data-parallel-si", "2"], 1),
        (["-pcp", "2", "--seed", "9"], 2),
    ],
)
def test_other_kinds_of_parallelism_multiply_gpus(args, factor):
    """Of the rule for resources.limits any such flag makes one that no number is compared with."""
    assert gpu_factor(args) == factor
    assert factor == 1 or evaluate(asks_for_more_gpus(), {"args": args})


@pytest.mark.parametrize("args", [[], ["--p", "2"], ["--pipeline-parallel-sizes=2"], ["--seed", "-1"]])
def test_other_arguments_ask_for_no_more_gpus(args):
    assert not evaluate(asks_for_more_gpus(), {"args": args})


def test_a_guard_s_arguments_are_refused_by_the_same_rules_with_fields_that_it_has():
    assert [rule for rule, _ in guard_args_rules()] == [rule for rule, _ in args_rules()]
    told = " ".join(message for _, message in guard_args_rules())
    fields = {field.alias for field in GuardServing.model_fields.values()}
    assert set(re.findall(r"serving\.(\w+)", told)) <= fields
    assert all(text in " ".join(message for _, message in args_rules()) for text in INSTEAD)
