"""The generate stage at a fake server."""

import functools
from collections.abc import Callable

import pytest
from tests.unit.worker.conftest import GREEDY, Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer
from tests.unit.worker.support.asking import HASTY, Run

from safety_records.result import StageResult
from safety_records.sampling import Sampling
from safety_worker.generation import engine
from safety_worker.stages import generate


@pytest.fixture
def ask(workplace: Workplace, suite: Callable, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the generate stage at a server."""
    task = functools.partial(engine.AnsweringTask, policy=HASTY)
    monkeypatch.setattr(generate, "AnsweringTask", task)

    def run(
        server: FakeModelServer,
        *prompts: str,
        model: str = "model",
        sampling: Sampling = GREEDY,
        key_env: str = "",
    ) -> StageResult:
        uri = workplace.configmap("prompts", "suite.txt", "\n".join(prompts or ("one", "two")))
        target = served(server.base_url).model_copy(update={"model": model, "api_key_env": key_env})
        return workplace.run(
            "generate", target=target, sampling=sampling, suites=[suite("s", uri)], concurrency=2
        )

    return run
