"""What the worker's tests share: a store on disk and specifications that need few words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from tests.unit.worker.support.stage_settings import SETTINGS

from safety_records.data import Dataset
from safety_records.eval_stages import EvalSuite, JudgeSpec
from safety_records.progress import Progress
from safety_records.result import StageResult
from safety_records.sampling import Sampling
from safety_records.stage_base import ServedModel
from safety_records.stages import StageSpec, parse_stage_spec
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.context import StageContext
from safety_worker.dispatch import run_stage

settings.register_profile("shared-machine", deadline=None, derandomize=True)
settings.load_profile("shared-machine")


class Workplace:
    """A store, an inputs folder, and stages that run in this process as they would in a pod."""

    def __init__(self, folder: Path) -> None:
        self.artifacts = folder / "artifacts"
        self.artifacts.mkdir()
        self.inputs = folder / "inputs"
        self.inputs.mkdir()
        self.progress: list[Progress] = []
        self.environment: dict[str, str] = {}
        self.context = StageContext(
            store=ArtifactStore(f"file://{self.artifacts}"),
            inputs=self.inputs,
            report_progress=self.progress.append,
            environment=self.environment,
            scratch=folder / "scratch",
        )

    def spec(self, stage: str, **fields: Any) -> StageSpec:
        """A specification; ``out`` and ``inputs_hash`` follow from the stage unless they are given."""
        base = {
            "namespace": "demo",
            "kind": "SafetyEval",
            "name": "base",
            "inputs_hash": f"hash-of-{stage}",
            "root": f"file://{self.artifacts}",
            "out": f"demo/safetyeval/base/run/{stage}",
        }
        model = {"stage": stage, **base, **SETTINGS.get(stage, {}), **fields}
        return parse_stage_spec(_as_json(model))

    def run(self, stage: str, **fields: Any) -> StageResult:
        """Run a stage."""
        return run_stage(self.spec(stage, **fields), self.context)

    def configmap(self, name: str, key: str, content: str | bytes) -> str:
        """Write mounted data and give back its URI."""
        path = self.inputs / "configmap" / name / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return f"configmap://{name}/{key}"

    def folder(self, stage: str) -> Path:
        return self.artifacts / "demo/safetyeval/base/run" / stage


def _as_json(model: dict[str, Any]) -> str:
    def plain(value: Any) -> Any:
        return value.model_dump(mode="json", by_alias=True)

    return json.dumps(model, default=plain)


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture
def suite() -> Callable[..., EvalSuite]:
    def build(name: str, uri: str, judge: str = "phrases", expect: str = "safe", **dataset: Any) -> EvalSuite:
        return EvalSuite(name=name, dataset=Dataset(uri=uri, **dataset), judge=judge, expect=expect)

    return build


def resolve_files(uri: str, context: StageContext, *args: Any, **fields: Any) -> list[Any]:
    """The data files of a URI, without what was left out."""
    from safety_worker.datasets.resolve import find_files  # noqa: PLC0415 - the guardrails image has no pyarrow

    return find_files(uri, context, *args, **fields).files


PHRASES = JudgeSpec(name="phrases", type="refusal-phrases")
GREEDY = Sampling(temperature=0.0, max_tokens=64)


def served(base_url: str, **fields: Any) -> ServedModel:
    return ServedModel(base_url=base_url, model="model", **fields)
