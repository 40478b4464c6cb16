"""A fake kubelet: there is no node, so pods do what a test says."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from tests.until import until

from safety_operator.state.labels import ANNOTATION_HASH, LABEL_NAME, LABEL_ROLE
from safety_records.result import Artifact, FailureClass, StageFailure, StageResult

DIGEST = "sha256:" + "ab" * 32
NOW = "2026-11-21T12:00:00Z"


@dataclass
class FakeKubelet:
    """Pods of one namespace. The Job controller is real and makes the pods."""

    http: httpx.Client
    namespace: str

    def job(self, owner: str, role: str) -> dict[str, Any]:
        """Wait for the newest Job of a stage."""
        selector = f"{LABEL_NAME}={owner},{LABEL_ROLE}={role}"

        found: dict[str, Any] = until(lambda: self._newest_job(selector), f"a Job of stage {role} of {owner}")
        return found

    def _newest_job(self, selector: str) -> dict[str, Any] | None:
        jobs = self._list(f"/apis/batch/v1/namespaces/{self.namespace}/jobs", selector)
        there = [job for job in jobs if "deletionTimestamp" not in job["metadata"]]
        return max(there, key=lambda job: job["metadata"]["creationTimestamp"], default=None)

    def pod(self, job: dict[str, Any]) -> dict[str, Any]:
        """Wait for the newest unfinished pod of a Job."""
        found: dict[str, Any] = until(lambda: self._open_pod(job), f"a pod of Job {job['metadata']['name']}")
        return found

    def _open_pod(self, job: dict[str, Any]) -> dict[str, Any] | None:
        selector = f"batch.kubernetes.io/job-name={job['metadata']['name']}"
        pods = self._list(f"/api/v1/namespaces/{self.namespace}/pods", selector)
        open_ = [pod for pod in pods if pod["status"].get("phase") not in {"Succeeded", "Failed"}]
        return max(open_, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)

    def _at_work(self, owner: str, role: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Wait for the newest Job of a stage that has a pod: one that is about to go has none any more."""
        selector = f"{LABEL_NAME}={owner},{LABEL_ROLE}={role}"

        def look() -> tuple[dict[str, Any], dict[str, Any]] | None:
            job = self._newest_job(selector)
            pod = self._open_pod(job) if job else None
            return (job, pod) if job and pod else None

        found: tuple[dict[str, Any], dict[str, Any]] = until(look, f"a pod of stage {role} of {owner}")
        return found

    def succeed(self, owner: str, role: str, **result: Any) -> StageResult:
        """End a stage's pod well, with a record that belongs to its Job."""
        job, pod = self._at_work(owner, role)
        record = self._good_record(job, role, **result)
        self._end(pod, 0, "Completed", record.to_json())
        return record

    def carry_out(self, owner: str, role: str, work: Callable[[dict[str, Any]], tuple[int, str]]) -> None:
        """Let a stage's pod end as its work does: a Job gives an exit code and a termination message."""
        job, pod = self._at_work(owner, role)
        code, message = work(job)
        self._end(pod, code, "Error" if code else "Completed", message)

    def finish(self, job: dict[str, Any], record: StageResult) -> None:
        """End the pod of a Job well."""
        self._end(self.pod(job), 0, "Completed", record.to_json())

    def _good_record(self, job: dict[str, Any], role: str, **result: Any) -> StageResult:
        digest = job["metadata"]["annotations"][ANNOTATION_HASH]
        output = Artifact(uri=f"{self.namespace}/{role}/{digest[:8]}", digest=DIGEST, bytes=1)
        return StageResult(stage=role, inputs_hash=digest, **{"output": output} | result)

    def fail(self, owner: str, role: str, *, reason: str, message: str) -> None:
        """End a stage's pod for its input: the Job must not try again."""
        job = self.job(owner, role)
        digest = job["metadata"]["annotations"][ANNOTATION_HASH]
        failure = StageFailure(failure=FailureClass.INPUT, reason=reason, message=message)
        record = StageResult(stage=role, inputs_hash=digest, failure=failure)
        self._end(self.pod(job), 42, "Error", record.to_json())

    def linger(self, owner: str, role: str, code: int = 0, message: str = "") -> str:
        """End a worker beside a proxy that runs on; gives the pod. No message: a good record."""
        job, pod = self._at_work(owner, role)
        record = self._good_record(job, role).to_json()
        times = {"startedAt": NOW, "finishedAt": NOW}
        ended = {"exitCode": code, "reason": "Completed", "message": message or record} | times
        proxy = {"name": "istio-proxy", "image": "p", "imageID": "", "ready": True, "restartCount": 0}
        self._patch(pod, "Running", {"terminated": ended}, proxy | {"state": {"running": {"startedAt": NOW}}})
        return str(pod["metadata"]["name"])

    def let_go(self, name: str, code: int) -> None:
        """End all that is left of a pod that is being deleted, as a node does; the worker's code counts."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}"
        self._end(self.http.get(path).json(), code, "Error", "")

    def cannot_start(self, owner: str, role: str, reason: str, message: str) -> None:
        """Let a stage's pod wait in vain."""
        pod = self.pod(self.job(owner, role))
        self._patch(pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    def run(self, owner: str, role: str) -> str:
        """Let a stage's pod run; its name."""
        pod = self.pod(self.job(owner, role))
        self._patch(pod, "Running", {"running": {"startedAt": NOW}})
        return str(pod["metadata"]["name"])

    def server_pods(self, owner: str, role: str, num: int = 1) -> list[dict[str, Any]]:
        """Wait for the pods of a Deployment that are not being taken away, the youngest first."""
        selector = f"{LABEL_NAME}={owner},{LABEL_ROLE}={role}"

        def there() -> list[dict[str, Any]] | None:
            pods = self._list(f"/api/v1/namespaces/{self.namespace}/pods", selector)
            alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
            alive.sort(key=lambda pod: int(pod["metadata"]["resourceVersion"]), reverse=True)
            alive.sort(key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)
            return alive if len(alive) == num else None

        found: list[dict[str, Any]] = until(there, f"{num} pods of {role} of {owner}")
        return found

    def serve(self, pod: dict[str, Any]) -> None:
        """Let a server's pod become ready."""
        self._patch(pod, "Running", {"running": {"startedAt": NOW}})

    def kill(self, pod: dict[str, Any], code: int, reason: str, message: str = "") -> None:
        """End a pod badly, without a record."""
        self._end(pod, code, reason, message)

    def hinder(self, pod: dict[str, Any], reason: str, message: str) -> None:
        """Let a pod wait in vain."""
        self._patch(pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    def bury(self, pod: dict[str, Any]) -> None:
        """End a pod that is being taken away, as its node would."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}"
        self.http.request("DELETE", path, json={"gracePeriodSeconds": 0})

    def place(self, pod: dict[str, Any]) -> None:
        """Say that a pod has a node, without one: its containers are being created."""
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": NOW}
        self._patch_status(pod, {"phase": "Pending", "conditions": [scheduled]})

    def tell(self, about: dict[str, Any], reason: str, message: str, type_: str = "Warning") -> None:
        """Write an event about an object, as a controller or a node would."""
        meta, now = about["metadata"], datetime.now(UTC)
        body = {
            "metadata": {"generateName": "told-", "namespace": self.namespace},
            "involvedObject": {"kind": about["kind"], "namespace": self.namespace}
            | {key: meta[key] for key in ("name", "uid")},
            "type": type_,
            "reason": reason,
            "message": message,
            "count": 1,
            "lastTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        answer = self.http.post(f"/api/v1/namespaces/{self.namespace}/events", json=body)
        assert answer.is_success, answer.text

    def _end(self, pod: dict[str, Any], code: int, reason: str, message: str) -> None:
        ended = {"exitCode": code, "reason": reason, "message": message, "startedAt": NOW, "finishedAt": NOW}
        self._patch(pod, "Failed" if code else "Succeeded", {"terminated": ended})

    def _patch(self, pod: dict[str, Any], phase: str, state: dict[str, Any], *others: dict[str, Any]) -> None:
        container = pod["spec"]["containers"][0]
        status = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        ready = {"type": "Ready", "status": str(status["ready"])}
        self._patch_status(
            pod, {"phase": phase, "containerStatuses": [*others, status], "conditions": [ready]}
        )

    def _patch_status(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        body = {"status": status}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/status"
        answer = self.http.patch(path, json=body, headers={"Content-Type": "application/merge-patch+json"})
        assert answer.is_success, answer.text

    def _list(self, path: str, selector: str) -> list[dict[str, Any]]:
        answer = self.http.get(path, params={"labelSelector": selector})
        assert answer.is_success, answer.text
        kind = answer.json()["kind"].removesuffix("List")
        items: list[dict[str, Any]] = [item | {"kind": kind} for item in answer.json()["items"]]
        return items
