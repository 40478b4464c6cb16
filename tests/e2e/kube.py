"""kubectl as a user would call it, and pods that look into the artifact store or ask a Service."""

import json
import subprocess
from typing import Any

from tests.until import until

Object = dict[str, Any]


class Kube:
    """kubectl in one namespace."""

    def __init__(self, namespace: str, worker_image: str) -> None:
        self.namespace = namespace
        self.worker_image = worker_image

    def run(self, *args: str, stdin: str | None = None, check: bool = True, seconds: float = 120) -> str:
        """Standard output of a command; a failing one fails the test with its own words."""
        command = ["kubectl", "-n", self.namespace, *args]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def get(self, kind: str, name: str) -> Object:
        """One object."""
        found: Object = json.loads(self.run("get", kind, name, "-o", "json"))
        return found

    def items(self, resource: str, **labels: str) -> list[Object]:
        """Objects with the given labels; ``modelsafety.dev/`` is prefixed."""
        selector = ",".join(f"modelsafety.dev/{key}={value}" for key, value in labels.items())
        found: list[Object] = json.loads(self.run("get", resource, "-l", selector, "-o", "json"))["items"]
        return found

    def pod(self, name: str, command: list[str], *, claim: str | None = None, seconds: float = 120) -> Object:
        """Run a command in a restricted pod of the worker image; phase and output are in the answer."""
        container: Object = {
            "name": "run",
            "image": self.worker_image,
            "imagePullPolicy": "IfNotPresent",
            "command": command,
            "env": [{"name": "HOME", "value": "/tmp"}],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        spec: Object = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        }
        if claim:
            container["volumeMounts"] = [{"name": "artifacts", "mountPath": "/artifacts"}]
            spec["volumes"] = [{"name": "artifacts", "persistentVolumeClaim": {"claimName": claim}}]
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        self.run("delete", "pod", name, "--ignore-not-found", "--wait=true")
        self.run("apply", "-f", "-", stdin=json.dumps(manifest))

        def ended() -> str:
            phase = self.get("pod", name)["status"].get("phase", "")
            return phase if phase in ("Succeeded", "Failed") else ""

        phase = until(ended, f"pod {name} to end", seconds)
        output = self.run("logs", name)
        self.run("delete", "pod", name, "--wait=false")
        return {"phase": phase, "output": output}

    def read_lines(self, pattern: str) -> list[Object]:
        """All JSON lines of the files that match a pattern below /artifacts."""
        done = self.pod("reader", ["sh", "-c", f"cat /artifacts/{pattern}"], claim="safety-artifacts")
        assert done["phase"] == "Succeeded", done["output"]
        return [json.loads(line) for line in done["output"].splitlines() if line]


def condition(resource: Object, kind: str) -> Object:
    """The condition of a type, or an empty one; stale generations count as absent."""
    for found in resource.get("status", {}).get("conditions", []):
        if found["type"] == kind and found.get("observedGeneration", 0) >= resource["metadata"]["generation"]:
            return dict(found)
    return {}


def is_true(resource: Object, kind: str) -> bool:
    """Whether a condition is True for the present generation."""
    return condition(resource, kind).get("status") == "True"
