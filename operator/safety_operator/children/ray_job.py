"""The RayJob of a stage: KubeRay makes a Ray cluster of pods like a Job's, and runs the wrapper in its head.

The entry point is what a Job's pods would run. KubeRay takes the pods away when it ends; failures are read
from its last words, results from the store (``planning.engine.job_tries.after_loss``). Facts: KubeRay 1.5.
"""

import math
import shlex
from collections.abc import Iterable
from typing import Any

from safety_operator.api.quantities import amount
from safety_operator.children.metadata import Owner, canonical_hash, child_name
from safety_operator.children.network_policy import Peer, build_policy
from safety_operator.children.stage_spec import SPEC_FILE
from safety_operator.children.worker_job import JobShape, StageRun, build_stage_template, run_metadata
from safety_operator.state.labels import ANNOTATION_ENDED, LABEL_ROLE
from safety_records.result import StageResult

NAME_LENGTH = 47
"""Characters of a RayJob's name: KubeRay adds to it for the cluster, the head and its Service."""
DASHBOARD_PORT = 8265
NODE_MANAGER_PORT = 6380
LEAST_MEMORY = "1Gi"
"""Of a pod, below which no training on Ray begins: Ray's own processes take 0.3 GiB of it at rest, the driver
and a worker more; 700 MiB were too little (docs/experiments.md)."""
OBJECT_STORE_BYTES = 200_000_000
"""Of a node, in /dev/shm: supervised training moves batches only."""
RAY_ENV = {
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "60",
    "RAY_gcs_server_request_timeout_seconds": "60",
    "RAY_JOB_STOP_WAIT_TIME_S": "30",
}
"""The kernel and not Ray ends what takes too much memory; a node whose head is silent for a minute ends; a
busy head has a minute to answer; a job that is to stop has longer than the wrapper gives what it started."""
ENTRY = """\
rm -f "$SAFETY_TERMINATION_LOG"
{ echo "$BASHPID" >"$SAFETY_ENTRY_PID"; exec "$@"; } 2>&1 | tee -a "${SAFETY_POD_LOG:-/proc/1/fd/1}"
code=${PIPESTATUS[0]}
rm -f "$SAFETY_ENTRY_PID"
if [ -f "$SAFETY_TERMINATION_LOG" ]; then cat "$SAFETY_TERMINATION_LOG"; fi
exit "$code"
"""
"""Runs its arguments. What they print comes into the log of the head's pod too, where progress is read; their
record is printed last, so that it is among the last words that KubeRay keeps of a failure."""
STOP = """\
pid=$(cat "$SAFETY_ENTRY_PID") && kill "$pid" || exit 0
while [ -e "$SAFETY_ENTRY_PID" ]; do sleep 0.2; done
"""
"""Before the head's pod gets SIGTERM, which ends Ray at once: lets the entry point end first. KubeRay itself
stops no job before it takes pods away."""
FILES = {
    "SAFETY_TERMINATION_LOG": "/tmp/termination-message",  # noqa: S108 - the pod's own
    "SAFETY_ENTRY_PID": "/tmp/entry-pid",  # noqa: S108 - the pod's own
}
PROBE = {"initialDelaySeconds": 10, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 30}
"""KubeRay's own probes call wget, which images need not have."""


def ray_job_name(owner: Owner, role: str, inputs_hash: str, attempt: int) -> str:
    """Name of a try's RayJob."""
    digest = inputs_hash if attempt <= 1 else canonical_hash([inputs_hash, attempt])
    return child_name(owner, role, digest, longest=NAME_LENGTH)


def build_ray_job(run: StageRun) -> dict[str, Any]:
    """The RayJob of an attempt.

    One pod for each node: the head has GPUs like the others. KubeRay starts no further cluster
    (``backoffLimit``): the operator decides about further tries, as it does for Jobs. Suspending, which Kueue
    does, needs ``shutdownAfterJobFinishes``.
    """
    shape = run.shape
    name = ray_job_name(run.owner, run.role, run.inputs_hash, run.attempt)
    cluster = _cluster(run, name)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": run_metadata(run, name, cluster),
        "spec": {
            "submissionMode": "HTTPMode",
            "entrypoint": shlex.join(("bash", "-c", ENTRY, "bash", *shape.command, "--spec", SPEC_FILE)),
            "shutdownAfterJobFinishes": True,
            "backoffLimit": 0,
            "activeDeadlineSeconds": shape.deadline_seconds,
            "rayClusterSpec": cluster,
        },
    }


def end_ray_job(manifest: dict[str, Any], record: StageResult) -> dict[str, Any]:
    """The RayJob of a try with a deadline that has passed: KubeRay takes its pods away and makes no others.

    ``record`` says why, and stays with it.
    """
    meta = manifest["metadata"]
    annotations = meta["annotations"] | {ANNOTATION_ENDED: record.to_json()}
    return manifest | {
        "metadata": meta | {"annotations": annotations},
        "spec": manifest["spec"] | {"activeDeadlineSeconds": 1},
    }


def memory_words(manifest: dict[str, Any]) -> str:
    """What a pod of a RayJob may take of memory, or asks for, in words."""
    (container,) = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    resources = container["resources"]
    limit = resources.get("limits", {}).get("memory")
    request = resources["requests"].get("memory", "none")
    return f"a limit of {limit}" if limit else f"no limit, a request of {request}"


def _cluster(run: StageRun, name: str) -> dict[str, Any]:
    shape = run.shape
    assert shape.ray is not None

    def group(port: int, **parameters: str) -> dict[str, Any]:
        template = build_stage_template(run, name, instance=name)
        _for_kuberay(template["spec"]["containers"][0], port)
        cpus = _cpus(template["spec"]["containers"][0], shape.ray.gpus if shape.ray else 0)
        return {"rayStartParams": _parameters(shape, cpus) | parameters, "template": template}

    head = group(DASHBOARD_PORT, **{"dashboard-host": "0.0.0.0"})  # noqa: S104 - KubeRay asks there
    stop = {"preStop": {"exec": {"command": ["bash", "-c", STOP]}}}
    head["template"]["spec"]["containers"][0]["lifecycle"] = stop
    cluster: dict[str, Any] = {"rayVersion": shape.ray.version, "headGroupSpec": head}
    others = shape.completions - 1
    if others > 0:
        count = {"replicas": others, "minReplicas": others, "maxReplicas": others}
        cluster["workerGroupSpecs"] = [{"groupName": "nodes", **count, **group(NODE_MANAGER_PORT)}]
    return cluster


def _for_kuberay(container: dict[str, Any], port: int) -> None:
    """KubeRay writes the command; what it would run is the entry point."""
    container.pop("command", None)
    container.pop("args", None)
    own = {item["name"] for item in container["env"]}
    container["env"] += [
        {"name": key, "value": text} for key, text in (RAY_ENV | FILES).items() if key not in own
    ]
    probe = {"tcpSocket": {"port": port}, **PROBE}
    container["readinessProbe"] = probe
    container["livenessProbe"] = probe


def _parameters(shape: JobShape, cpus: int) -> dict[str, str]:
    assert shape.ray is not None
    return {
        "num-cpus": str(cpus),
        "num-gpus": str(shape.ray.gpus),
        "object-store-memory": str(OBJECT_STORE_BYTES),
        "node-manager-port": str(NODE_MANAGER_PORT),
        "object-manager-port": str(NODE_MANAGER_PORT + 1),
        "disable-usage-stats": "true",
    }


def _cpus(container: dict[str, Any], gpus: int) -> int:
    """CPUs that Ray is told of: those of the container, and one more than GPUs at least, else it hangs."""
    resources = container["resources"]
    found = amount(resources.get("limits", {}).get("cpu") or resources["requests"].get("cpu") or 0)
    return max(gpus + 1, math.floor(found or 0))


def build_dashboard_policy(owner: Owner, role: str, kuberay: Iterable[Peer]) -> dict[str, Any]:
    """Lets KubeRay's operator reach the head, where it submits the job and asks how it goes.

    Whoever reaches that port runs code in the pods. No peers: a rule that lets nobody in, not everybody.
    """
    peers = [dict(peer) for peer in kuberay]
    rule = {"from": peers, "ports": [{"protocol": "TCP", "port": DASHBOARD_PORT}]}
    ingress = [rule] if peers else []
    return build_policy(owner, f"{role}-kuberay", {LABEL_ROLE: role}, ingress=ingress, egress=[])
