from pathlib import Path

import yaml

from safety_gateway.settings import CallerSettings, Streaming, read_settings
from safety_operator.api.common import SecretKeyRef
from safety_operator.api.guarded_deployment import CallerKey, GuardedStreaming
from safety_operator.children.guardrails import MAIN_KEY_ENV, PATHS, RailsConfig, build_rails_files

CONFIG = RailsConfig(
    model_url="http://model/v1",
    model_name="model",
    served_name="assistant",
    guard_url="http://guard/v1",
    guard_name="content-safety",
    guard_is_classifier=True,
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
    data = build_rails_files(CONFIG).data
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
