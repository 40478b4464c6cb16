import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import yaml

from safety_gateway.guard_answers import PARSERS
from safety_gateway.sensitive_data import DETECTORS
from safety_gateway.settings import CallerSettings, Streaming, read_settings
from safety_operator.api.common import SecretKeyRef
from safety_operator.api.guarded_deployment import CallerKey, GuardedStreaming
from safety_operator.api.guarded_guards import TopicModel
from safety_operator.api.guarded_rails import (
    GuardEndpoint,
    GuardFormat,
    Jailbreak,
    SelfCheck,
    SensitiveEntity,
    TopicControl,
)
from safety_operator.children.guardrails import PATHS, RailsConfig, build_rails_files
from safety_operator.children.guardrails_rails import (
    JAILBREAK_KEY_ENV,
    MAIN_KEY_ENV,
    FurtherRails,
    prompts,
)

CONFIG = RailsConfig(
    model_url="http://model/v1",
    model_name="model",
    served_name="assistant",
    guard_url="http://guard/v1",
    guard_name="content-safety",
    guard_format="classifier",
    check_input=True,
    check_output=True,
    refusal='"No", I say.',
    streaming=GuardedStreaming(chunk_tokens=32, context_tokens=8, release_before_check=True),
    speculative=True,
    show_reasoning=True,
    opens_reasoning=True,
    callers=(
        CallerKey(name="a", secret_ref=SecretKeyRef(name="keys", key="a"), requests_per_minute=5),
        CallerKey(
            name="b",
            secret_ref=SecretKeyRef(name="keys", key="b"),
            tokens_per_minute=9,
            max_request_bytes=2048,
        ),
    ),
    replicas=2,
    audit_text=True,
)


def test_the_gateway_reads_the_settings_that_the_operator_writes(tmp_path: Path):
    data = build_rails_files(replace(CONFIG, authorities="PEM")).data
    assert set(data) == set(PATHS)
    (tmp_path / PATHS["gateway.json"]).write_text(data["gateway.json"], encoding="utf-8")
    settings = read_settings(tmp_path)
    assert (settings.served_name, settings.model.name) == ("assistant", "model")
    assert settings.model.url == "http://model/v1"
    assert settings.model.key_env == MAIN_KEY_ENV
    assert settings.refusal == '"No", I say.'
    assert settings.streaming == Streaming(chunk_tokens=32, context_tokens=8, release_before_check=True)
    assert settings.speculative
    assert settings.model.show_reasoning
    assert settings.model.opens_reasoning
    assert settings.audit_text
    assert settings.callers == (
        CallerSettings(name="a", requests_per_minute=3),
        CallerSettings(name="b", tokens_per_minute=5, max_body_bytes=2048),
        CallerSettings(name="operator"),
    ), "each of two pods has half, rounded up"


def test_the_gateway_gives_the_guard_as_long_as_the_rails_do(tmp_path: Path):
    data = build_rails_files(CONFIG).data
    (tmp_path / "gateway.json").write_text(data["gateway.json"], encoding="utf-8")
    (guard,) = yaml.safe_load(data["config.yml"])["models"]
    assert guard["parameters"]["timeout"] == read_settings(tmp_path).guard_timeout_seconds


def test_a_configuration_holds_no_code():
    assert not [key for key in build_rails_files(CONFIG).data if key.endswith((".py", ".co"))]


def test_each_further_rail_has_its_flow_its_model_and_its_prompt():
    judge = GuardEndpoint(url="http://judge/v1", model="m")
    further = FurtherRails(
        topic=TopicControl(model=TopicModel(url=judge.url, model=judge.model), policy="cooking"),
        topic_server=judge,
        self_check=SelfCheck(policy="no bombs", output=False),
        jailbreak=Jailbreak(url="http://jail/v1", api_key_secret_ref=SecretKeyRef(name="s", key="k")),
        sensitive_input=("US_SSN",),
    )
    data = build_rails_files(replace(CONFIG, further=further)).data
    rails, settings = yaml.safe_load(data["config.yml"]), json.loads(data["gateway.json"])
    assert rails["rails"]["input"] == {
        "flows": [
            "content safety check input $model=content_safety",
            "topic safety check input $model=topic_control",
            "self check input",
        ],
        "parallel": True,
    }
    assert rails["rails"]["output"] == {"flows": ["content safety check output $model=content_safety"]}
    models = {model["type"]: model["parameters"]["base_url"] for model in rails["models"]}
    assert models == {
        "content_safety": "http://guard/v1",
        "topic_control": "http://judge/v1",
        "self_check_input": "http://model/v1",
    }, "the model checks itself where no judge is named"
    tasks = [prompt["task"] for prompt in yaml.safe_load(data["prompts.yml"])["prompts"]]
    assert "topic_safety_check_input $model=topic_control" in tasks
    assert "self_check_input" in tasks
    assert settings["texts"] == {"topic_policy": "cooking", "self_check_policy": "no bombs"}
    assert settings["jailbreak"]["keyEnv"] == JAILBREAK_KEY_ENV
    assert settings["sensitiveData"] == {"input": ["US_SSN"], "output": []}


def test_the_gateway_has_a_detector_for_each_kind_of_sensitive_data():
    assert set(get_args(SensitiveEntity)) == set(DETECTORS)


def test_the_gateway_has_the_parsers_that_the_prompts_name():
    for kind in (*get_args(GuardFormat), "classifier", "self-check", "topic-control"):
        for prompt in yaml.safe_load(prompts(kind)):
            parser = prompt.get("output_parser", "nemo")
            assert parser in PARSERS or parser.startswith("nemo"), parser
