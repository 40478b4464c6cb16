"""What a request costs the guarded endpoint, compared with NeMo Guardrails' own server with the same rails.

Run with ``PYTHONPATH=operator:images/guardrails:. python tests/benchmarks/gateway.py`` in an environment that
has ``nemoguardrails[server]==0.24.1`` (the image has no server; ``--alone`` does without). Model and guard
answer at once, from a process of their own; both rails are on. Prints a table and exits 1 where a target is
missed. CPU time is the server process's own; on a busy machine only the ratio of one run means something.
"""

# ruff: noqa: T201 - it prints a table

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import aiohttp
import yaml
from tests.worker_models.guardrails.gateway_process import (
    free_port,
    gateway_command,
    gateway_environment,
    make_config,
    write_config,
)

from safety_operator.children.guardrails import PATHS
from safety_operator.children.guardrails_rails import MAIN_KEY_ENV

WARM_UP, REQUESTS = 20, 160
CLIENTS = (1, 16)
TARGET_MS = 4.0
"""CPU of the gateway for a request with two rails (issue of the gateway)."""
TARGET_RATIO = 0.25
"""Of the stock server's CPU."""

ENGINE = Path(__file__).with_name("instant_engine.py")
PROMPTS = {
    "prompts": [
        {
            "task": f"content_safety_check_{direction} $model=content_safety",
            "content": "{{ user_input }} {{ bot_response }}" if direction == "output" else "{{ user_input }}",
            "output_parser": f"nemoguard_parse_{parser}_safety",
            "max_tokens": 100,
        }
        for direction, parser in (("input", "prompt"), ("output", "response"))
    ]
}
"""For the stock server, which knows the last message only."""


class Measured(NamedTuple):
    """One server with a number of clients."""

    cpu_ms: float
    """CPU time of the server process for a request."""
    median_ms: float
    per_second: float


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(port: int, pid: int, clients: int) -> Measured:
    """Ask a server, ``clients`` requests at a time."""
    body = {"model": "model", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    times: list[float] = []
    idle = aiohttp.TCPConnector(keepalive_timeout=1)  # the stock server closes idle connections after 5 s
    async with aiohttp.ClientSession(connector=idle) as session:

        async def ask(number: int) -> None:
            for _ in range(number):
                began = time.perf_counter()
                url = f"http://127.0.0.1:{port}/v1/chat/completions"
                async with session.post(url, json=body) as response:
                    answer = await response.json()
                    assert answer["choices"][0]["message"]["content"] == "Paris.", answer
                times.append(time.perf_counter() - began)

        await ask(WARM_UP)
        times.clear()
        cpu, began = cpu_seconds(pid), time.perf_counter()
        await asyncio.gather(*(ask(REQUESTS // clients) for _ in range(clients)))
        seconds = time.perf_counter() - began
        return Measured(
            1000 * (cpu_seconds(pid) - cpu) / len(times),
            1000 * statistics.median(times),
            len(times) / seconds,
        )


def stock_command(folder: Path, url: str, port: int) -> list[str]:
    """Write the same rails for the library's own server; its command."""
    config = yaml.safe_load((folder / PATHS["config.yml"]).read_text(encoding="utf-8"))
    main = {"type": "main", "engine": "openai", "model": "model", "parameters": {"base_url": url}}
    config["models"].insert(0, main | {"api_key_env_var": MAIN_KEY_ENV})
    config["models"][1]["parameters"] = {"base_url": url}
    stock = folder / "stock" / "rails"
    stock.mkdir(parents=True)
    (stock / "config.yml").write_text(yaml.safe_dump(config | {"passthrough": True} | PROMPTS), "utf-8")
    command = [str(Path(sys.executable).with_name("nemoguardrails")), "server", "--disable-chat-ui"]
    return [*command, "--config", str(stock.parent), "--default-config-id", "rails", "--port", str(port)]


async def measure_server(command: list[str], port: int, folder: Path) -> dict[int, Measured]:
    """Start a server, measure it with each number of clients, end it."""
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(  # noqa: ASYNC220 - it runs at the same time
            command, env=gateway_environment(), stdout=log, stderr=log
        )
    try:
        await wait_for(port, server)
        return {clients: await measure(port, server.pid, clients) for clients in CLIENTS}
    finally:
        server.terminate()
        server.wait()


async def wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    """Until the server answers."""
    async with aiohttp.ClientSession() as session:
        while server.poll() is None:
            try:
                async with session.get(f"http://127.0.0.1:{port}/v1/health") as response:
                    if response.ok:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.2)
    raise RuntimeError("the server ended")


async def main(*, alone: bool) -> int:
    """Measure and print."""
    port = free_port()
    behind = subprocess.Popen([sys.executable, str(ENGINE), str(port), "0"])  # noqa: ASYNC220
    found: dict[str, dict[int, Measured]] = {}
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder, url = Path(temporary), f"http://127.0.0.1:{port}/v1"
            write_config(make_config(url, url, served_name="model"), folder)
            own, other = free_port(), free_port()
            found["gateway"] = await measure_server(gateway_command(folder, own), own, folder)
            if not alone:
                found["stock"] = await measure_server(stock_command(folder, url, other), other, folder)
    finally:
        behind.terminate()
    for name, rows in found.items():
        for clients, row in rows.items():
            print(
                f"{name:8} {clients:3} clients: {row.cpu_ms:6.1f} ms CPU a request, "
                f"{row.median_ms:6.1f} ms median, {row.per_second:6.1f} requests/s"
            )
    cost = found["gateway"][CLIENTS[-1]].cpu_ms
    missed = cost > TARGET_MS
    if not alone:
        ratio = cost / found["stock"][CLIENTS[-1]].cpu_ms
        print(f"the gateway takes {ratio:.2f} of the stock server's CPU (target {TARGET_RATIO})")
        missed = missed or ratio > TARGET_RATIO
    return int(missed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alone", action="store_true", help="without the stock server")
    sys.exit(asyncio.run(main(alone=parser.parse_args().alone)))
