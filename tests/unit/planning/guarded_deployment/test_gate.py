"""Which evaluations open the gate of a GuardedDeployment."""

import pytest
from tests.unit.planning.examples import finished_eval
from tests.unit.planning.guarded_deployment.guarded import make_open


def test_the_gate_stays_shut_for_a_model_that_failed_or_that_is_another_one():
    for evaluation, words in (
        (finished_eval(passed=False), "did not pass: ThresholdNotMet"),
        (finished_eval("another"), "is about another model"),
    ):
        world = make_open()
        world.refer("SafetyEval", "hardened", evaluation)
        world.settle()
        assert world.children == {}
        gate = world.condition("GatePassed")
        assert (gate["status"], gate["reason"]) == ("False", "GateNotPassed")
        assert words in gate["message"]
        assert world.condition("Stalled")["status"] == "True"


@pytest.mark.parametrize(
    ("evaluated", "served", "words"),
    [
        ({}, {"reasoningParser": "qwen3"}, "reasoningParser (evaluated: not set, to be served: qwen3)"),
        ({"args": ["--quantization", "fp8"]}, {}, "--quantization (evaluated: fp8, to be served: not set)"),
        (
            {"args": ["--kv-cache-dtype=fp8"]},
            {"args": ["--kv-cache-dtype=auto"]},
            "--kv-cache-dtype (evaluated: fp8, to be served: auto)",
        ),
        ({"dtype": "float16"}, {"dtype": "bfloat16"}, "dtype (evaluated: float16, to be served: bfloat16)"),
        ({"dtype": "float64"}, {}, "not one of this version"),
        ({}, {"image": "vllm:2"}, "image (evaluated: not set, to be served: vllm:2)"),
    ],
)
def test_an_evaluation_at_a_server_that_answers_otherwise_opens_no_gate(evaluated, served, words):
    world = make_open(serving=served)
    world.refer("SafetyEval", "hardened", finished_eval() | {"spec": {"serving": evaluated}})
    world.settle()
    gate = world.condition("GatePassed")
    assert (gate["status"], gate["reason"]) == ("False", "GateNotPassed")
    assert words in gate["message"]
    assert world.children == {}


@pytest.mark.parametrize(
    ("evaluated", "served", "words"),
    [
        ({}, {"VLLM_PLUGINS": "mine"}, "env.VLLM_PLUGINS (evaluated: not set, to be served: mine)"),
        ({"VLLM_PLUGINS": "mine"}, {}, "env.VLLM_PLUGINS (evaluated: mine, to be served: not set)"),
        ({"HTTPS_PROXY": "http://proxy"}, {"TEAM": "one"}, ""),
        ({"VLLM_PLUGINS": "mine"}, {"VLLM_PLUGINS": "mine"}, ""),
    ],
)
def test_variables_of_the_servers_pods_that_change_answers_have_to_be_the_same(evaluated, served, words):
    one, other = ([{"name": name, "value": env[name]} for name in env] for env in (evaluated, served))
    world = make_open(pod={"roles": {"server": {"env": other}}})
    world.refer("SafetyEval", "hardened", finished_eval() | {"spec": {"pod": {"env": one}}})
    world.settle()
    gate = world.condition("GatePassed")
    assert gate["status"] == ("False" if words else "True")
    assert words in gate["message"]


def test_what_an_evaluation_says_that_it_was_served_with_counts_more_than_its_spec():
    world = make_open()
    evaluation = finished_eval() | {"spec": {"serving": {}}}
    evaluation["status"]["target"]["serving"] = {"--quantization": "fp8"}
    world.refer("SafetyEval", "hardened", evaluation)
    world.settle()
    assert (
        "--quantization (evaluated: fp8, to be served: not set)" in world.condition("GatePassed")["message"]
    )


@pytest.mark.parametrize(
    ("spec", "served"),
    [
        ({"serving": {"args": ["--max-num-seqs=8"], "replicas": 2}}, {"tensorParallelSize": 4}),
        ({"serving": {"reasoningParser": "qwen3"}}, {"reasoningParser": "qwen3", "device": "gpu"}),
        ({"model": {"endpoint": {"url": "http://host/v1"}}}, {"reasoningParser": "qwen3"}),
    ],
)
def test_speed_and_size_of_the_server_are_nothing_to_the_gate(spec, served):
    world = make_open(serving=served)
    world.refer("SafetyEval", "hardened", finished_eval() | {"spec": spec})
    world.settle()
    assert world.condition("GatePassed")["status"] == "True"


def test_a_verdict_about_an_earlier_generation_does_not_count():
    world = make_open()
    evaluation = finished_eval()
    evaluation["metadata"]["generation"] = 4
    world.refer("SafetyEval", "hardened", evaluation)
    world.settle()
    assert world.condition("GatePassed")["status"] == "Unknown"


def test_an_evaluation_that_is_too_old_does_not_count_and_the_moment_is_foreseen():
    world = make_open(gate={"evalRefs": [{"name": "hardened"}], "maxAge": "2h"})
    made = world.settle()
    assert world.condition("GatePassed")["status"] == "True"
    assert made.requeue_after is not None
    assert made.requeue_after <= 3600
    world.wait(3601)
    world.settle()
    assert "spec.gate.maxAge" in world.condition("GatePassed")["message"]


def test_an_evaluation_without_the_time_of_its_end_is_not_young_enough():
    world = make_open(gate={"evalRefs": [{"name": "hardened"}], "maxAge": "2h"})
    evaluation = finished_eval()
    evaluation["status"]["conditions"][1]["lastTransitionTime"] = "yesterday"
    world.refer("SafetyEval", "hardened", evaluation)
    world.settle()
    assert world.condition("GatePassed")["status"] == "Unknown"
    assert "does not say when it finished" in world.condition("GatePassed")["message"]
    assert world.children == {}
