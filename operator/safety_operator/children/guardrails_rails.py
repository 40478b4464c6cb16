"""Rails besides content safety, in NeMo Guardrails' configuration and in the gateway's own settings.

Policies of users are in the settings and not in the library's files, which are templates: its prompts name
them. Two rails are the gateway's own: the library's jailbreak rail lets everything pass while its server is
down, and its detectors of sensitive data need a language model from a hub.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from safety_operator.api.common import ModelEndpoint
from safety_operator.api.guarded_rails import GuardEndpoint, Jailbreak, SelfCheck, TopicControl

MAIN_KEY_ENV = "MAIN_MODEL_API_KEY"
GUARD_KEY_ENV = "CONTENT_SAFETY_API_KEY"
TOPIC_KEY_ENV = "TOPIC_CONTROL_API_KEY"
SELF_CHECK_KEY_ENV = "SELF_CHECK_API_KEY"
JAILBREAK_KEY_ENV = "JAILBREAK_API_KEY"
ENDPOINT_SECONDS = 60
"""Longest time for a verdict of a model at an endpoint."""


@lru_cache
def prompts(name: str) -> str:
    """The prompts of a file of ``guardrails_files``, as items of a YAML list."""
    path = files("safety_operator.children").joinpath("guardrails_files", f"prompts-{name}.yml")
    return path.read_text(encoding="utf-8").partition("prompts:\n")[2]


def guard_model(
    kind: str, endpoint: GuardEndpoint | ModelEndpoint, key_env: str, seconds: int
) -> dict[str, Any]:
    """A model of the library's configuration, asked by rails."""
    return {
        "type": kind,
        "engine": "openai",
        "model": endpoint.model,
        "api_key_env_var": key_env,
        "parameters": {"base_url": endpoint.url, "timeout": seconds},
    }


@dataclass(frozen=True, slots=True)
class FurtherRails:
    """The rails of a spec besides content safety."""

    topic: TopicControl | None = None
    topic_server: GuardEndpoint | None = None
    """Who judges subjects; there wherever ``topic`` is."""
    self_check: SelfCheck | None = None
    self_check_server: GuardEndpoint | None = None
    """None: the model that is served."""
    jailbreak: Jailbreak | None = None
    sensitive_input: tuple[str, ...] = ()
    """Kinds of sensitive data that block a request."""
    sensitive_output: tuple[str, ...] = ()

    def models(self, main: ModelEndpoint) -> Iterator[dict[str, Any]]:
        """Models that judge; ``main``: the one that is served."""
        if self.topic_server:
            yield guard_model("topic_control", self.topic_server, TOPIC_KEY_ENV, ENDPOINT_SECONDS)
        check = self.self_check
        if check:
            judge = self.self_check_server or main
            key_env = SELF_CHECK_KEY_ENV if self.self_check_server else MAIN_KEY_ENV
            for direction in ("input", "output"):
                if getattr(check, direction):
                    yield guard_model(f"self_check_{direction}", judge, key_env, ENDPOINT_SECONDS)

    def flows(self, direction: str) -> list[str]:
        """Flows of the library that check a direction."""
        found = []
        if self.topic and direction == "input":
            found.append("topic safety check input $model=topic_control")
        if self.self_check and getattr(self.self_check, direction):
            found.append(f"self check {direction}")
        return found

    def prompts(self) -> str:
        """Prompts of those flows, as items of a YAML list."""
        named = (("topic-control", self.topic), ("self-check", self.self_check))
        return "".join(prompts(name) for name, rail in named if rail)

    def settings(self) -> dict[str, Any]:
        """What ``safety_gateway.settings`` reads of them; nothing where there are none."""
        texts = {}
        if self.topic:
            texts["topic_policy"] = self.topic.policy
        if self.self_check:
            texts["self_check_policy"] = self.self_check.policy
        found: dict[str, Any] = {"texts": texts} if texts else {}
        if self.jailbreak:
            key = {"keyEnv": JAILBREAK_KEY_ENV} if self.jailbreak.api_key_secret_ref else {}
            found["jailbreak"] = {"url": self.jailbreak.url, "timeoutSeconds": ENDPOINT_SECONDS} | key
        if self.sensitive_input or self.sensitive_output:
            kinds = {"input": list(self.sensitive_input), "output": list(self.sensitive_output)}
            found["sensitiveData"] = kinds
        return found
