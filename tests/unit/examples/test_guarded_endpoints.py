"""The manifests to copy from: right by every rule, and planned to their end."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.cli.support import REPO, run_dry

from safety_cli.dry_run import DryRun
from safety_operator.schema.rules import find_mistakes
from safety_operator.state.keys import Key
from safety_operator.state.settings import Images, PlanSettings

EXAMPLE = REPO / "examples/04-guarded-endpoints"
FILES = sorted(
    path for path in EXAMPLE.glob("*.yaml") if path.name not in {"kustomization.yaml", "evals.yaml"}
)
SETTINGS = PlanSettings(images=Images("worker:1", "server:1", "guardrails:1"), device="gpu")
CONFIG_MAPS = {"safety-signing": {"public.pem": "PEM"}, "trust": {"ca.crt": "-----BEGIN CERTIFICATE-----"}}


def manifests(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@cache
def rendered(path: Path) -> DryRun:
    maps = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        for name, data in CONFIG_MAPS.items()
    ]
    return run_dry(*maps, *manifests(EXAMPLE / "evals.yaml"), *manifests(path), settings=SETTINGS)


@pytest.mark.parametrize("path", [*FILES, EXAMPLE / "evals.yaml"], ids=lambda path: path.name)
def test_no_rule_is_broken(path: Path):
    assert [find_mistakes(manifest) for manifest in manifests(path) if find_mistakes(manifest)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_planned_until_it_serves(path: Path):
    state = rendered(path).states[Key("GuardedDeployment", "team", path.stem)]
    conditions = {item["type"]: item for item in state.resource["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "True", conditions["Ready"]["message"]
    kinds = {key.kind for key in state.children}
    assert {"Deployment", "Service", "NetworkPolicy", "ConfigMap"} <= kinds
