"""The chart's health scripts, run by Argo CD's own command line on statuses of every sort."""

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from safety_operator.api import API_VERSION
from safety_operator.api.kinds import KINDS

REPO = Path(__file__).parents[2]
SETTINGS = REPO / "charts/model-safety-operator/argocd/argocd-cm.yaml"
DATA = REPO / "tests/data/argocd"
KIND_NAMES = [kind.kind for kind in KINDS]


def cases(kind: str) -> list[dict[str, Any]]:
    files = (DATA / "any-kind.yaml", DATA / f"{kind.lower()}.yaml")
    return [case for path in files for case in yaml.safe_load(path.read_text(encoding="utf-8"))]


def resource(kind: str, case: dict[str, Any]) -> dict[str, Any]:
    generation = case.get("generation", 1)
    seen = case.get("seen", generation)
    metadata: dict[str, Any] = {"name": "x", "namespace": "team-a", "generation": generation}
    if case.get("deleted"):
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    made: dict[str, Any] = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata}
    made["spec"] = {"suspend": True} if case.get("suspend") else {}
    if "conditions" in case:
        made["status"] = {
            "observedGeneration": seen,
            "conditions": [
                {"type": type_, "status": status, "reason": reason, "message": message}
                | {"observedGeneration": seen, "lastTransitionTime": "2026-01-01T00:00:00Z"}
                for type_, (status, reason, message) in case["conditions"].items()
            ],
        }
    return made


def health(folder: Path, number: int, manifest: dict[str, Any]) -> tuple[str, str]:
    """Status and message as Argo CD reads them; its exit code is 0 whatever it says."""
    path = folder / f"{number}.yaml"
    path.write_text(yaml.safe_dump(manifest, allow_unicode=True), encoding="utf-8")
    command = ["argocd", "admin", "settings", "resource-overrides", "health", str(path)]
    done = subprocess.run(
        [*command, "--argocd-cm-path", str(SETTINGS)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r"^STATUS: (\S+)\nMESSAGE: ?(.*)", done.stdout, re.MULTILINE | re.DOTALL)
    assert found is not None, done.stdout + done.stderr
    return found[1], found[2].strip()


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_argocd_sees_the_health_that_the_conditions_tell(kind: str, tmp_path: Path) -> None:
    wanted = cases(kind)
    assert len(wanted) >= 20

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda n: health(tmp_path, n, resource(kind, wanted[n])), range(len(wanted))))

    wrong = [
        f"{case['name']}: {status} ({message})"
        for case, (status, message) in zip(wanted, found, strict=True)
        if status != case["health"] or case.get("says", "") not in message
    ]
    assert wrong == []
