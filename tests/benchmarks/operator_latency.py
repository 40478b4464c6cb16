"""How quick the operator is, against a real API server and etcd, and how quick a bare Kopf loop is there.

Run with ``python tests/benchmarks/operator_latency.py`` (about three minutes on 2 cores; needs what
``hack/apiserver.sh`` needs). Prints a table and exits 1 when a target is missed.

Both times of a latency come from one watcher: when its watch shows the resource, and when it shows the first
Job that carries the resource's labels. The watcher and the API server share the cores with the operator.
"""

# ruff: noqa: T201 - it prints a table

import argparse
import asyncio
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "operator"))

from safety_operator.cluster.access import find_access  # noqa: E402
from safety_operator.cluster.client import Api  # noqa: E402
from safety_operator.cluster.kinds import BUILT_IN, OWNERS, ApiKind  # noqa: E402
from safety_operator.errors import InfrastructureError  # noqa: E402
from safety_operator.state.labels import LABEL_KIND, LABEL_NAME  # noqa: E402

KIND = OWNERS["SafetyFinetune"]
JOB = BUILT_IN["Job"]
HTTP_PORT = 18099
AS_IN_IMAGE = """
import runpy, sys
sys.modules["kubernetes"] = None
runpy.run_module(sys.argv[1], run_name="__main__")
"""
"""Runs a module without the official client, which Kopf imports where it is: 28 MiB. Tests have it."""
IDLE_SECONDS = 30
CREATORS = 16
"""Requests at a time while resources are created."""
SINGLES = 15
"""Resources that come alone."""
BURSTS = 3
"""Times that 200 resources come at once; one burst is over so soon that a neighbour's second decides it."""
BUSY_LOAD = 1.0
"""Load from which the times say more about the neighbours than about the operator."""


class Row(NamedTuple):
    """One line of the table."""

    name: str
    operator: float
    bare: float | None
    target: float | None
    unit: str


def spec() -> dict[str, Any]:
    return {
        "model": {"source": {"uri": "hf://example/model"}},
        "data": {"uri": "file:///data/train.jsonl"},
        "compute": {"device": "cpu"},
    }


def resource(namespace: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": KIND.api_version,
        "kind": KIND.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec(),
    }


class Watcher:
    """Notes when resources and their first Jobs appear."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.accepted: dict[tuple[str, str], float] = {}
        self.served: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(KIND, self._on_resource))
            group.create_task(self._watch(JOB, self._on_job))

    async def _watch(self, kind: ApiKind, note: Any) -> None:
        # Metadata are all it needs: whole objects would cost the API server and this process more.
        listing = await self._api.list(kind, None, newest=True, metadata_only=True)
        version = listing["metadata"]["resourceVersion"]
        while True:
            # The API server ends the watch of a client that is too slow, as this one is on a busy machine.
            stream = self._api.watch(
                kind,
                None,
                selector="",
                resource_version=version,
                timeout_seconds=3600,
                metadata_only=True,
            )
            async for event in stream:
                meta = event["object"]["metadata"]
                if event["type"] == "ADDED":
                    note(meta, time.perf_counter())
                version = meta["resourceVersion"]

    def _on_resource(self, meta: dict[str, Any], now: float) -> None:
        self.accepted.setdefault((meta["namespace"], meta["name"]), now)

    def _on_job(self, meta: dict[str, Any], now: float) -> None:
        labels = meta.get("labels", {})
        if labels.get(LABEL_KIND) == KIND.kind:
            self.served.setdefault((meta["namespace"], labels[LABEL_NAME]), now)

    async def latencies(self, namespace: str, count: int, limit: float) -> list[float]:
        """Wait for the Jobs of ``count`` resources of a namespace; seconds of each, sorted."""
        end = time.monotonic() + limit
        while (
            missing := count - sum(key[0] == namespace for key in self.served.keys() & self.accepted.keys())
        ) > 0:
            if time.monotonic() > end:
                raise SystemExit(
                    f"{missing} of {count} resources of {namespace} have no Job after {limit:.0f} s"
                )
            await asyncio.sleep(0.02)
        return sorted(t - self.accepted[key] for key, t in self.served.items() if key[0] == namespace)

    def span(self, namespace: str) -> float:
        """Seconds from the first resource accepted to the last Job."""
        return max(t for k, t in self.served.items() if k[0] == namespace) - min(
            t for k, t in self.accepted.items() if k[0] == namespace
        )


async def kubectl(*arguments: str) -> str:
    """What kubectl prints of the API server of this run."""
    done = await asyncio.to_thread(
        subprocess.run, ["kubectl", *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


async def make_namespace(api: Api, name: str) -> None:
    await kubectl("create", "namespace", name)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "safety-artifacts"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await api.create(BUILT_IN["PersistentVolumeClaim"], name, claim)


async def create_many(api: Api, namespace: str, count: int) -> None:
    gate = asyncio.Semaphore(CREATORS)

    async def one(index: int) -> None:
        async with gate:
            await api.create(KIND, namespace, resource(namespace, f"r{index:04}"))

    await asyncio.gather(*(one(i) for i in range(count)))


def start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env=os.environ | environment, stdout=log.open("ab"), stderr=subprocess.STDOUT, cwd=ROOT
    )


def rss_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    match = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert match
    return int(match[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def api_calls() -> dict[str, float]:
    """Finished requests by verb and resource, as the API server counts them."""
    counts: dict[str, float] = {}
    for line in (await kubectl("get", "--raw", "/metrics")).splitlines():
        if line.startswith("apiserver_request_total{"):
            verb, what = re.search(r'verb="([^"]*)"', line), re.search(r'resource="([^"]*)"', line)
            assert verb
            assert what
            name = f"{verb[1]} {what[1]}"
            counts[name] = counts.get(name, 0) + float(line.rsplit(" ", 1)[1])
    return counts


async def idle_calls() -> dict[str, float]:
    """Requests of a quiet time that are neither watches nor the Lease nor the API server's own."""
    before = await api_calls()
    await asyncio.sleep(IDLE_SECONDS)
    after = await api_calls()
    diff = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    own = (
        "leases",
        "",
        "flowschemas",
        "prioritylevelconfigurations",
        "configmaps",
        "namespaces",
        "services",
        "endpoints",
        "ipaddresses",
        "servicecidrs",
        "serviceaccounts",
        "endpointslices",
    )
    return {n: c for n, c in diff.items() if not n.startswith("WATCH") and n.split(" ", 1)[1] not in own}


@asynccontextmanager
async def api_server() -> AsyncIterator[tuple[Api, int]]:
    """Start an API server of its own, with the CRDs; gives a client and the server's process."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    script = str(ROOT / "hack" / "apiserver.sh")
    try:
        started = await asyncio.to_thread(
            subprocess.run, [script, "start", str(folder)], check=True, stdout=subprocess.PIPE
        )
        os.environ["KUBECONFIG"] = started.stdout.decode().strip()
        os.environ.pop("KUBERNETES_SERVICE_HOST", None)
        api = Api(find_access())
        try:
            await install_crds(api)
            yield api, int((folder / "kube-apiserver.pid").read_text(encoding="ascii"))
        finally:
            await api.close()
    finally:
        await asyncio.to_thread(subprocess.run, [script, "stop", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


async def install_crds(api: Api) -> None:
    """Create them and wait until they are served: the API server answers 429 for a moment."""
    await kubectl("create", "-f", str(ROOT / "crds"))
    for kind in OWNERS.values():
        while True:
            try:
                await api.list(kind, None)
                break
            except InfrastructureError:
                await asyncio.sleep(0.5)


class Figures(NamedTuple):
    """What was measured of one operator; seconds where nothing else is said."""

    first: float
    one: float
    median: float
    last: float
    thousand: float
    cpu: float
    server_cpu: float
    memory: float
    """MiB."""
    idle: dict[str, float]
    """Requests by verb and resource."""
    end: float


@dataclass
class Subject:
    """An operator under test, alone with its API server."""

    api: Api
    watcher: Watcher
    process: subprocess.Popen[bytes]
    server_pid: int

    async def one(self) -> float:
        """Median latency of resources that come alone."""
        found = []
        for index in range(SINGLES):
            namespace = f"one-{index}"
            await make_namespace(self.api, namespace)
            await asyncio.sleep(0.7)
            await create_many(self.api, namespace, 1)
            found += await self.watcher.latencies(namespace, 1, 20)
        return statistics.median(found)

    async def burst(self, namespace: str, count: int) -> list[float]:
        """Latencies of resources that come at once, sorted."""
        await make_namespace(self.api, namespace)
        await asyncio.sleep(1)
        await create_many(self.api, namespace, count)
        return await self.watcher.latencies(namespace, count, 180)

    async def figures(self, first: float) -> Figures:
        """Everything, once the operator has served its first resource."""
        await asyncio.sleep(2)
        one = await self.one()
        many = []
        for index in range(BURSTS):
            many.append(await self.burst(f"many-{index}", 200))
            await settled(self.api)
        before = cpu_seconds(self.process.pid), cpu_seconds(self.server_pid)
        await self.burst("most", 1000)
        cpu = cpu_seconds(self.process.pid) - before[0]
        server_cpu = cpu_seconds(self.server_pid) - before[1]
        await settled(self.api)
        idle = await idle_calls()
        memory = rss_mib(self.process.pid)
        began = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.wait, 20)
        end = time.perf_counter() - began
        thousand = self.watcher.span("most")
        median = statistics.median(map(statistics.median, many))
        last = statistics.median(burst[-1] for burst in many)
        return Figures(first, one, median, last, thousand, cpu, server_cpu, memory, idle, end)


async def measure(command: list[str], environment: dict[str, str], log: Path) -> Figures:
    """All figures of one operator."""
    async with api_server() as (api, server_pid):
        watcher = Watcher(api)
        watching = asyncio.create_task(watcher.run())
        await asyncio.sleep(0.5)
        await make_namespace(api, "first")
        await api.create(KIND, "first", resource("first", "first"))
        began = time.perf_counter()
        process = start(command, environment, log)
        try:
            await watcher.latencies("first", 1, 60)
            first = watcher.served["first", "first"] - began
            return await Subject(api, watcher, process, server_pid).figures(first)
        finally:
            watching.cancel()
            if process.poll() is None:
                process.kill()


async def settled(api: Api) -> None:
    """Wait until nobody writes any more."""

    def writes(calls: dict[str, float]) -> float:
        return sum(count for name, count in calls.items() if name.startswith(("APPLY", "PATCH", "POST")))

    for _ in range(60):
        before = writes(await api_calls())
        await asyncio.sleep(2)
        if writes(await api_calls()) == before:
            return


def rows_of(ours: Figures, bare: Figures) -> list[Row]:
    """Build the table."""
    calls = f"API calls in {IDLE_SECONDS} s idle"
    return [
        Row("start to first child", ours.first, bare.first, 3.0, "s"),
        Row("one resource to its first child", ours.one * 1000, bare.one * 1000, 30, "ms"),
        Row("200 at once, median", ours.median, bare.median, 0.6, "s"),
        Row("200 at once, last", ours.last, bare.last, 1.5, "s"),
        Row("1000 at once, all", ours.thousand, bare.thousand, 8.0, "s"),
        Row("  CPU of the operator", ours.cpu, bare.cpu, None, "s"),
        Row("  CPU of the API server", ours.server_cpu, bare.server_cpu, None, "s"),
        Row("memory with 1600 idle resources", ours.memory, bare.memory, 120, "MiB"),
        Row(calls, sum(ours.idle.values()), sum(bare.idle.values()), 0, ""),
        Row("SIGTERM to the end", ours.end, None, 5.0, "s"),
    ]


def show(row: Row) -> bool:
    """Print a line; whether its target is missed."""
    missed = row.target is not None and row.operator > row.target
    bare = f"{row.bare:.2f} {row.unit:<3}" if row.bare is not None else ""
    ratio = f"{row.operator / row.bare:.1f}" if row.bare else ""
    target = f"{row.target:.1f} {row.unit:<3}" if row.target is not None else ""
    end = "  MISSED" if missed else ""
    print(f"{row.name:34}{row.operator:>9.2f} {row.unit:<3}{bare:>12}{ratio:>7}{target:>12}{end}")
    return missed


async def main() -> int:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, default=Path(tempfile.gettempdir()) / "operator_latency.log")
    options = parser.parse_args()
    options.log.unlink(missing_ok=True)
    load = os.getloadavg()[0]
    if load > BUSY_LOAD:
        print(f"note: the machine is busy already (load {load:.1f}); times will be longer than they should")
    python = {"PYTHONPATH": str(ROOT / "operator")}
    settings = python | {"SAFETY_HTTP_PORT": str(HTTP_PORT)}
    ours = await measure([sys.executable, "-c", AS_IN_IMAGE, "safety_operator"], settings, options.log)
    bare_kopf = [sys.executable, "-c", AS_IN_IMAGE, "tests.benchmarks.bare_kopf"]
    bare = await measure(bare_kopf, python, options.log)
    print(f"{'':34}{'operator':>12}{'bare Kopf':>13}{'ratio':>7}{'target':>12}")
    missed = [show(row) for row in rows_of(ours, bare)]
    if ours.idle:
        print("idle calls:", ours.idle)
    return 1 if any(missed) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
