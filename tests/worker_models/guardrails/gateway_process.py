"""A gateway as the operator configures and starts it, for tests with the real library and for measuring."""

import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

from safety_operator.api.guarded_deployment import GuardedStreaming
from safety_operator.children.guardrails import PATHS, RailsConfig, build_rails_files
from safety_operator.children.guardrails_rails import GUARD_KEY_ENV, MAIN_KEY_ENV

ROOT = Path(__file__).parents[3]
KEY = "the-models-key"


def make_config(model_url: str, guard_url: str, **changes: object) -> RailsConfig:
    """Both rails, with our classifier as the guard."""
    config = RailsConfig(
        model_url=model_url,
        model_name="model",
        served_name="assistant",
        guard_url=guard_url,
        guard_name="content-safety",
        guard_format="classifier",
        check_input=True,
        check_output=True,
        refusal="No.",
        streaming=GuardedStreaming(),
        speculative=False,
        show_reasoning=False,
        opens_reasoning=False,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def write_config(config: RailsConfig, folder: Path) -> None:
    """The files as a pod sees them."""
    for key, text in build_rails_files(config).data.items():
        path = folder / PATHS[key]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def gateway_command(folder: Path, port: int, *options: str) -> list[str]:
    """What starts the gateway of a configuration."""
    place = ["--config", str(folder), "--port", str(port)]
    return [sys.executable, "-m", "safety_gateway", *place, *options]


def gateway_environment(**more: str) -> dict[str, str]:
    """Its environment."""
    own = {MAIN_KEY_ENV: KEY, GUARD_KEY_ENV: "none", "NEMO_GUARDRAILS_NO_USAGE_STATS": "1"}
    return os.environ | own | {"PYTHONPATH": str(ROOT / "images/guardrails")} | more


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
