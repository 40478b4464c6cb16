"""A gateway as a pod runs it, with NeMo Guardrails, for other people's clients."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from tests.clients.agents_model import serving
from tests.until import until
from tests.worker_models.guardrails.gateway_process import (
    free_port,
    gateway_command,
    gateway_environment,
    make_config,
    write_config,
)

from safety_operator.api.guarded_deployment import CallerKey

KEY = "the-key-of-agents-1"
SLOW_KEY = "a-key-for-one-request"


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint's base URL."""
    folder, keys = tmp_path_factory.mktemp("config"), tmp_path_factory.mktemp("keys")
    callers = [caller("agents", KEY, keys), caller("slow", SLOW_KEY, keys, requestsPerMinute=1)]
    port = free_port()
    with serving(free_port()) as url:
        write_config(make_config(url, url, callers=tuple(callers)), folder)
        command = gateway_command(folder, port, "--keys", str(keys))
        with subprocess.Popen(command, env=gateway_environment()) as process:
            try:
                until(lambda: process.poll() is not None or answers(port), "the gateway", 120)
                yield f"http://127.0.0.1:{port}/v1"
            finally:
                process.kill()


def caller(name: str, key: str, keys: Path, **limits: int) -> CallerKey:
    """A caller whose key the gateway finds."""
    (keys / name).write_text(key, encoding="utf-8")
    return CallerKey.model_validate({"name": name, "secretRef": {"name": name, "key": "key"}, **limits})


def answers(port: int) -> bool:
    """Whether the gateway serves."""
    with suppress(URLError):
        return urlopen(f"http://127.0.0.1:{port}/v1/health/ready").status == 200
    return False
