"""The demonstration and the tests share two cores: one suspends what the other left, and gives it back."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "hack/set-aside.sh"
MARK = "modelsafety.dev/set-aside"
FAKE_KUBECTL = r"""#!/usr/bin/env bash
# A cluster that is a file. Pods end at once when their resource is suspended.
set -euo pipefail
case "$*" in
"get crd -o json")
	jq -n '{items: [{metadata: {name: "safetyevals.modelsafety.dev"}, spec: {group: "modelsafety.dev"}}]}'
	;;
"get crd safetyevals.modelsafety.dev") ;;
"get pods"*)
	jq -r '.items[] | select(.spec.suspend != true and .status.state == "Running") |
		"\(.metadata.namespace) pod"' "$CLUSTER"
	;;
"get safetyevals.modelsafety.dev --all-namespaces -o json") cat "$CLUSTER" ;;
patch*)
	jq --arg name "$3" --arg namespace "$5" --argjson patch "${!#}" '.items |= map(
		if .metadata.name == $name and .metadata.namespace == $namespace then . * $patch else . end)' \
		"$CLUSTER" >"$CLUSTER.new"
	mv "$CLUSTER.new" "$CLUSTER"
	;;
*) echo "unknown call: $*" >&2; exit 1 ;;
esac
"""

pytestmark = pytest.mark.skipif(not shutil.which("jq"), reason="jq is missing: `make tools` installs it")


class Cluster:
    """Resources by namespace and name, and the script on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kubectl = folder / "bin/kubectl"
        kubectl.parent.mkdir()
        kubectl.write_text(FAKE_KUBECTL)
        kubectl.chmod(kubectl.stat().st_mode | stat.S_IXUSR)
        self.items: list[dict[str, Any]] = []

    def add(self, namespace: str, name: str, state: str, *, suspend: bool = False) -> None:
        metadata = {"namespace": namespace, "name": name}
        spec = {"suspend": True} if suspend else {}
        self.items.append(
            {"kind": "SafetyEval", "metadata": metadata, "spec": spec, "status": {"state": state}}
        )
        self._file.write_text(json.dumps({"items": self.items}))

    @property
    def _file(self) -> Path:
        return self.folder / "cluster.json"

    def run(self, *arguments: str) -> str:
        """What the script says."""
        environment = os.environ | {"MSO_CACHE": str(self.folder), "CLUSTER": str(self._file)}
        done = subprocess.run(
            [SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    def suspended(self) -> set[str]:
        items = json.loads(self._file.read_text())["items"]
        return {item["metadata"]["name"] for item in items if item["spec"].get("suspend")}

    def marked(self) -> set[str]:
        items = json.loads(self._file.read_text())["items"]
        return {
            item["metadata"]["name"] for item in items if item["metadata"].get("annotations", {}).get(MARK)
        }


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(tmp_path)
    made.add("demo", "assistant", "Running")
    made.add("demo", "finished", "Succeeded")
    made.add("demo", "paused-by-its-owner", "Suspended", suspend=True)
    made.add("tests", "flow", "Running")
    return made


def test_what_is_not_finished_elsewhere_is_suspended_and_said(cluster: Cluster):
    said = cluster.run("aside", "tests")
    assert cluster.suspended() == {"assistant", "paused-by-its-owner"}
    assert cluster.marked() == {"assistant"}
    assert "set aside: SafetyEval demo/assistant" in said


def test_back_takes_up_what_was_set_aside_and_nothing_that_its_owner_suspended(cluster: Cluster):
    cluster.run("aside", "tests")
    assert "brought back: SafetyEval demo/assistant" in cluster.run("back")
    assert cluster.suspended() == {"paused-by-its-owner"}
    assert cluster.marked() == set()


def test_after_a_run_that_was_killed_the_other_one_takes_its_own_back(cluster: Cluster):
    cluster.run("aside", "tests")
    cluster.run("aside", "demo")
    assert cluster.suspended() == {"flow", "paused-by-its-owner"}
    cluster.run("back")
    assert cluster.suspended() == {"paused-by-its-owner"}
