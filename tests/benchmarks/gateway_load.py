"""The guarded endpoint under load, against the bare engine in the same run.

Run with ``PYTHONPATH=operator:images/guardrails:. python tests/benchmarks/gateway_load.py`` in an environment
that has ``images/guardrails/requirements.txt``. Both rails are on. Model and guard are those of
``instant_engine.py`` and take next to no CPU; the guard answers at once but where it says otherwise. Prints a
table, and exits 1 where a target of the issue is missed. With fewer than four cores two gateways share them
with the clients.

``--memory NUMBER`` measures the memory over so many requests, and nothing else.
"""

# ruff: noqa: T201 - it prints a table

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import uvloop
from tests.benchmarks.load_generator import Asked, Load, load, percentile, request
from tests.worker_models.guardrails.gateway_process import (
    free_port,
    gateway_command,
    gateway_environment,
    make_config,
    write_config,
)

ENGINE = Path(__file__).with_name("instant_engine.py")
WINDOW, EACH = 128, 0.02
"""Tokens of a stream's window, as is the default, and seconds of a token."""
GUARD_SECONDS = 0.03
"""Of a guard on hardware of its own."""
START_SECONDS = 60
ROUNDS = 4
"""Of which the best counts: what else runs on a machine can only add."""


class Server(NamedTuple):
    """A process and where it listens."""

    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def cpu_seconds(self) -> float:
        """CPU time so far."""
        fields = self._read("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_mib(self) -> float:
        """Memory that it holds."""
        line = next(line for line in self._read("status").splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def _read(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text(encoding="utf-8")


class Measured(NamedTuple):
    """A load, and the CPU time of the servers for one of its requests."""

    load: Load
    cpu_ms: float


class Target(NamedTuple):
    """A figure of the issue."""

    name: str
    found: float
    bound: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        word = "met   " if self.met else "MISSED"
        return f"{word} {self.name}: {self.found:.2f} {self.unit} ({sign} {self.bound})"


@contextmanager
def started(command: list[str], port: int, path: str) -> Iterator[Server]:
    """A server, once it answers."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=gateway_environment(), stdout=log, stderr=log)
        try:
            wait_for(port, path, process)
            yield Server(port, process)
        except RuntimeError:
            log.seek(0)
            print(log.read().decode()[-2000:], file=sys.stderr)
            raise
        finally:
            process.kill()
            process.wait()


def wait_for(port: int, path: str, process: "subprocess.Popen[bytes]") -> None:
    """Until a server answers."""
    until = time.monotonic() + START_SECONDS
    while not answers(port, path):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("a server does not answer")
        time.sleep(0.1)


def answers(port: int, path: str) -> bool:
    """Whether anything answers there."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return bool(connection.getresponse().read())
    except OSError:
        return False
    finally:
        connection.close()


class Bench:
    """An engine and gateways before it."""

    def __init__(self, stack: ExitStack, guard_seconds: float = 0.0, gateways: int = 1) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        command = [sys.executable, str(ENGINE), str(port), str(guard_seconds)]
        self.engine = stack.enter_context(started(command, port, "/"))
        url = f"http://127.0.0.1:{port}/v1"
        write_config(make_config(url, url, served_name="model"), folder)
        self.gateways = [self._gateway(stack, folder) for _ in range(gateways)]
        for gateway in self.gateways:
            self.measure([gateway], 4, instant, number=200)

    @staticmethod
    def _gateway(stack: ExitStack, folder: Path) -> Server:
        port = free_port()
        return stack.enter_context(started(gateway_command(folder, port), port, "/v1/health"))

    @staticmethod
    def measure(
        servers: list[Server],
        clients: int,
        asking: Callable[[random.Random], Asked],
        *,
        seconds: float = 0,
        number: int = 0,
    ) -> Measured:
        """Load some servers."""
        before = sum(server.cpu_seconds for server in servers)
        found = uvloop.run(
            load([server.port for server in servers], clients, asking, seconds=seconds, number=number)
        )
        spent = sum(server.cpu_seconds for server in servers) - before
        return Measured(found, 1000 * spent / len(found.added))


def instant(_chance: random.Random) -> Asked:
    """An answer at once."""
    return request()


def varied(chance: random.Random, tokens: int) -> Asked:
    """Answers of half to one and a half times so many tokens."""
    return request(chance.randint(tokens // 2, tokens * 3 // 2), EACH)


def streamed(chance: random.Random) -> Asked:
    """A stream that is longer than a window."""
    return request(chance.randint(WINDOW + 8, WINDOW + 32), EACH, stream=True)


def added_latency() -> Iterator[Target]:
    """What a request takes longer than at the engine: at once for one client, else with answers of 0.5 s."""
    half_a_second = partial(varied, tokens=25)
    with ExitStack() as stack:
        bench = Bench(stack)
        for clients, asking in ((1, instant), (16, half_a_second), (64, half_a_second)):
            rounds = [added(bench, clients, asking) for _ in range(ROUNDS)]
            for name, found, bound in zip(
                ("p50", "p99"), map(min, zip(*rounds, strict=True)), (10, 25), strict=True
            ):
                yield Target(f"added {name}, {clients} clients", found, bound, "ms")


def added(bench: Bench, clients: int, asking: Callable[[random.Random], Asked]) -> tuple[float, float]:
    """Median and p99 in ms of what the gateway adds, in one round."""
    bare = bench.measure([bench.engine], clients, asking, seconds=4).load
    found = bench.measure(bench.gateways, clients, asking, seconds=8)
    p50, p99 = (
        1000 * (percentile(found.load.added, share) - percentile(bare.added, share)) for share in (0.5, 0.99)
    )
    print(
        f"  {clients} clients: {found.load.per_second:.0f}/s, {found.cpu_ms:.2f} ms CPU, "
        f"added p50 {p50:.1f} ms, p99 {p99:.1f} ms; engine's p99 {1000 * percentile(bare.added, 0.99):.1f}"
    )
    return p50, p99


def throughput() -> Iterator[Target]:
    """Requests a second and CPU of one gateway, with an engine that answers at once."""
    with ExitStack() as stack:
        bench = Bench(stack)
        for clients in (1, 16, 64):
            found = [bench.measure(bench.gateways, clients, instant, seconds=6) for _ in range(ROUNDS)]
            for one in found:
                p50, p99 = (1000 * percentile(one.load.added, share) for share in (0.5, 0.99))
                print(f"  {clients} clients: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {one.load.per_second:.0f}/s")
            yield Target(f"CPU a request, {clients} clients", min(one.cpu_ms for one in found), 4, "ms")
            if clients > 1:
                best = max(one.load.per_second for one in found)
                yield Target(f"requests a second, {clients} clients", best, 250, "/s", at_least=True)


def first_token() -> Iterator[Target]:
    """The first text of a stream: a window later than the engine's, and the guard's time."""
    with ExitStack() as stack:
        bench = Bench(stack)
        rounds = [later_than_a_window(bench) for _ in range(ROUNDS)]
        yield Target("first text of a stream, later than a window, p50", min(rounds), 25, "ms")


def later_than_a_window(bench: Bench) -> float:
    """Median in ms of what the first text comes later than the engine's, and than a window after that."""
    bare = bench.measure([bench.engine], 8, streamed, number=16).load.first
    found = bench.measure(bench.gateways, 8, streamed, number=24).load.first
    later = 1000 * (percentile(found, 0.5) - percentile(bare, 0.5) - (WINDOW - 1) * EACH)
    print(f"  8 streams: {later:.1f} ms later than a window")
    return later


def guard_elsewhere() -> Iterator[Target]:
    """The engine's throughput behind rails whose guard takes its time, but none of the engine's."""
    with ExitStack() as stack:
        bench = Bench(stack, GUARD_SECONDS)
        asking, lost = partial(varied, tokens=64), []
        for _ in range(2):
            bare = bench.measure([bench.engine], 32, asking, number=256).load.per_second
            found = bench.measure(bench.gateways, 32, asking, number=256).load.per_second
            print(f"  32 clients, answers of 1.3 s: {bare:.1f}/s and {found:.1f}/s")
            lost.append(100 * (1 - found / bare))
        yield Target("throughput lost with a guard of 30 ms elsewhere", min(lost), 10, "%")


def two_gateways() -> Iterator[Target]:
    """Two processes against one; with too few cores the CPU of a request says whether they share anything."""
    with ExitStack() as stack:
        bench = Bench(stack, gateways=2)
        ratios, costs = [], []
        for _ in range(ROUNDS):
            one = bench.measure(bench.gateways[:1], 16, instant, seconds=6)
            two = bench.measure(bench.gateways, 32, instant, seconds=6)
            for name, found in (("one", one), ("two", two)):
                print(f"  {name}: {found.load.per_second:.0f}/s, {found.cpu_ms:.2f} ms CPU")
            ratios.append(two.load.per_second / one.load.per_second)
            costs.append(one.cpu_ms / two.cpu_ms)
        yield Target(
            "two gateways, of one by CPU a request",
            2 * sorted(costs)[ROUNDS // 2],
            1.9,
            "times",
            at_least=True,
        )
        if len(os.sched_getaffinity(0)) >= 4:
            yield Target("two gateways, of one", sorted(ratios)[ROUNDS // 2], 1.9, "times", at_least=True)
        else:
            print(f"  two of one: {sorted(ratios)[ROUNDS // 2]:.2f}; not judged, four cores are needed")


def memory(number: int) -> Iterator[Target]:
    """Memory after a tenth of the requests and after all, a tenth of them streams."""

    def mixed(chance: random.Random) -> Asked:
        return request(4, 0.0, stream=True) if chance.random() < 0.1 else request()

    with ExitStack() as stack:
        bench = Bench(stack)
        (gateway,) = bench.gateways
        found = []
        for _ in range(10):
            bench.measure([gateway], 16, mixed, number=number // 10)
            found.append(gateway.resident_mib)
            print(f"  {found[-1]:.1f} MiB", flush=True)
        yield Target(f"memory grown over {number} requests", found[-1] - found[0], 2, "MiB")


PARTS = {
    part.__name__: part for part in (added_latency, throughput, first_token, guard_elsewhere, two_gateways)
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", type=int, help="number of requests")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    arguments = parser.parse_args()
    parts = (
        [partial(memory, arguments.memory)] if arguments.memory else [PARTS[name] for name in arguments.only]
    )
    found = []
    for part in parts:
        for target in part():
            found.append(target)
            print(target, flush=True)
    return int(not all(target.met for target in found))


if __name__ == "__main__":
    sys.exit(main())
