"""Whatever is changed about a guarded endpoint while it is asked 20 times a second, no request fails.

Model server and guard are stand-ins (``load/``), which leave the machine's cores to what is tested: gateway,
Services, the ends of pods. Each test is one change, and holds for the requests that ended during it.
"""

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import REPO
from tests.e2e.kube import Kube, Object, condition, is_true
from tests.until import until

pytestmark = pytest.mark.cluster

LOAD = Path(__file__).parent / "load"
CLAIM = REPO / "examples/01-quickstart/claim.yaml"
"""As the other tests of this namespace have it."""
OLD, NEW = (secrets.token_hex(16) for _ in range(2))
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
INSTANCE = "modelsafety.dev/instance"
OPENED = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def guard(service: str) -> Object:
    """A guard at a Service of the namespace."""
    return {"model": {"endpoint": {"url": f"http://{service}:8000/v1", "model": "guard"}}}


class Endpoint:
    """The guarded endpoint, and who asks it."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube

    def change(self, spec: Object) -> None:
        """Change the GuardedDeployment."""
        self.kube.run("patch", "gdep", "load", "--type=merge", "-p", json.dumps({"spec": spec}))

    def use(self, key: str) -> None:
        """Give the client a key; it asks from the first one on."""
        write = f"echo {key} >/tmp/key.new; mv /tmp/key.new /tmp/key"
        self.kube.run("exec", "load-client", "--", "sh", "-c", write)

    def allow(self, *keys: str) -> None:
        """Write the Secret of the caller's keys."""
        secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "load-caller"}}
        secret["stringData"] = {"token": "\n".join(keys)}
        self.kube.run("apply", "-f", "-", stdin=json.dumps(secret))

    def pods(self, role: str) -> list[Object]:
        """Pods of a role that are not on their way out."""
        found = self.kube.items("pods", kind="GuardedDeployment", name="load", role=role)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def evict(self, role: str) -> None:
        """Have a pod leave its node, as ``kubectl drain`` does."""
        metadata = {"name": self.pods(role)[0]["metadata"]["name"], "namespace": self.kube.namespace}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/eviction"
        self.kube.run("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))

    def settle(self) -> None:
        """Wait until the change is through: Ready, and no pod on its way out."""
        until(self._settled, "the change to be through", 150)

    def _settled(self) -> bool:
        pods = self.kube.items("pods", kind="GuardedDeployment", name="load")
        leaving = [pod for pod in pods if "deletionTimestamp" in pod["metadata"]]
        return not leaving and is_true(self.kube.get("gdep", "load"), "Ready")

    def wait_for_rollout(self, status: str, reason: str) -> None:
        """Wait for the condition ``Promoted``."""

        def found() -> bool:
            promoted = condition(self.kube.get("gdep", "load"), "Promoted")
            return (promoted.get("status"), promoted.get("reason")) == (status, reason)

        until(found, f"Promoted to be {status}, {reason}", 300)

    def versions_with_policies(self) -> set[str]:
        """Labels of the pods that NetworkPolicies of one version select."""
        found: list[Object] = json.loads(self.kube.run("get", "networkpolicies", "-o", "json"))["items"]
        selectors = [policy["spec"]["podSelector"].get("matchLabels", {}) for policy in found]
        return {
            labels[INSTANCE]
            for labels in selectors
            if labels.get("modelsafety.dev/name") == "load" and INSTANCE in labels
        }

    def requests(self, since: float) -> list[Object]:
        """Requests that ended since then."""
        lines = self.kube.run("logs", "load-client", "--tail=-1").splitlines()
        return [found for found in map(json.loads, lines) if found["end"] >= since]

    def check(self, since: float) -> None:
        """No request failed since then, and there were some, streams among them."""
        found = self.requests(since)
        assert [request for request in found if request["problem"]] == []
        kinds = {request["kind"] for request in found}
        assert {"stream", "kept connection", "new connection"} <= kinds


@pytest.fixture(scope="module")
def endpoint(kube: Kube) -> Iterator[Endpoint]:
    """The endpoint with two pods each of gateway and model, asked until the last test is done."""
    endpoint = Endpoint(kube)
    kube.run("apply", "-f", str(CLAIM))
    files = [f"--from-file={LOAD / name}" for name in ("client.py", "guard_stand_in.py", "model_stand_in.py")]
    kube.run("create", "configmap", "load", *files)
    stand_ins = (LOAD / "stand-ins.yaml").read_text(encoding="utf-8").replace("WORKER", kube.worker_image)
    kube.run("apply", "-f", "-", stdin=stand_ins)
    kube.run("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/load-install", "--timeout=60s")
    kube.run("wait", "--for=condition=Ready", "pod/load-guard", "pod/load-client", "--timeout=60s")
    endpoint.allow(OLD)
    kube.run("apply", "-f", str(LOAD / "guarded.yaml"))
    until(lambda: is_true(kube.get("gdep", "load"), "Ready"), "the endpoint to be Ready", 480)
    endpoint.use(OLD)
    until(lambda: endpoint.requests(0), "requests", 30)
    yield endpoint
    kube.run("delete", "gdep", "load")
    # A namespace that is deleted before would wait for half of their grace period of ten minutes.
    until(lambda: not kube.items("pods", kind="GuardedDeployment", name="load"), "the pods to end", 60)
    kube.run("delete", "-f", "-", stdin=stand_ins)
    kube.run("delete", "configmap", "load", "load-template", "--ignore-not-found")
    kube.run("delete", "secret", "load-caller")


def test_new_rails_fail_no_request(endpoint: Endpoint) -> None:
    began = time.time()
    endpoint.allow(OLD, NEW)
    endpoint.change({"guardrails": {"refusal": "No."}})
    endpoint.settle()
    endpoint.check(began)


def test_a_new_key_fails_no_request(endpoint: Endpoint) -> None:
    began = time.time()
    endpoint.use(NEW)
    endpoint.allow(NEW)
    until(lambda: len(endpoint.requests(began)) > 40, "requests with the new key", 30)
    endpoint.check(began)


def test_a_new_model_fails_no_request_and_its_old_pods_end(endpoint: Endpoint) -> None:
    began = time.time()
    before = endpoint.kube.get("gdep", "load")["status"]["served"]["modelDigest"]
    template = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "load-template"}}
    data = {"template": TEMPLATE + OPENED}
    endpoint.kube.run("apply", "-f", "-", stdin=json.dumps(template | {"data": data}))
    ref = {"name": "load-template", "key": "template"}
    endpoint.change({"model": {"chatTemplate": {"configMapKeyRef": ref}}})

    def served() -> bool:
        found = endpoint.kube.get("gdep", "load")["status"]["served"]["modelDigest"]
        return bool(found and found != before)

    until(served, "the new model to be served", 120)
    endpoint.settle()
    endpoint.check(began)


def test_a_drain_and_a_scale_down_fail_no_request(endpoint: Endpoint) -> None:
    began = time.time()
    endpoint.evict("guardrails")
    endpoint.evict("model")
    endpoint.settle()
    endpoint.change({"guardrails": {"replicas": 1}})
    until(lambda: len(endpoint.pods("guardrails")) == 1, "one pod of the gateway to be left", 60)
    endpoint.settle()
    endpoint.check(began)


def test_blue_green_fails_no_request_whether_the_new_version_is_proven_or_not(
    endpoint: Endpoint,
) -> None:
    """BlueGreen on a network plugin that enforces policies: each version has rules of its own."""
    began = time.time()
    endpoint.change({"rollout": {"strategy": "BlueGreen"}})
    endpoint.settle()
    before = endpoint.versions_with_policies()
    endpoint.change({"guardrails": {"refusal": "Never."}})
    endpoint.wait_for_rollout("True", "Promoted")
    until(lambda: before.isdisjoint(endpoint.versions_with_policies()), "the old version's rules to go", 300)
    endpoint.change({"guardrails": {"contentSafety": guard("load-nobody")}})
    endpoint.wait_for_rollout("False", "RolloutFailed")
    endpoint.change({"guardrails": {"contentSafety": guard("load-guard")}})
    endpoint.wait_for_rollout("True", "Promoted")
    endpoint.settle()
    endpoint.check(began)
