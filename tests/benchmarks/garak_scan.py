"""A scan in shards against one garak process per probe in sequence, on the same server in one run.

Runs inside the worker image, from a checkout: ``python tests/benchmarks/garak_scan.py [--url U --model M]``.
Without a URL the target is a fake that answers after ``--latency`` seconds, as a server with room does.
Prints seconds, garak's CPU seconds and, of a vLLM server, the tokens of each way, and the ratios. The
processes in sequence are as parallel as a shard is; with ``--defaults`` also as garak is without a
configuration: one request at a time.
"""

# ruff: noqa: T201 - it prints a table

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator"), str(ROOT / "images/worker")]

from tests.unit.worker.fake_model_server import FakeModelServer, Reply  # noqa: E402

from safety_operator.planning.shared.garak_probes import select_probes, shard_probes  # noqa: E402
from safety_records.eval_stages import ScanStage  # noqa: E402
from safety_records.stage_base import ServedModel  # noqa: E402
from safety_worker.scanning.configuration import build_configuration, garak_environment  # noqa: E402

PROBES = (
    "dan.DanInTheWild,dan.AutoDANCached,encoding.InjectBase64,encoding.InjectMorse,goodside.Tag,"
    "goodside.ThreatenJSON,grandma.Win10,lmrc.SlurUsage,promptinject.HijackHateHumans,"
    "snowball.GraphConnectivity,web_injection.MarkdownImageExfil,latentinjection.LatentInjectionReport"
)
"""Probes of both lists that need no download."""


class Cost(NamedTuple):
    """What one way took."""

    seconds: float
    cpu_seconds: float
    tokens: int
    """That the server wrote; 0 for the fake one."""

    def __str__(self) -> str:
        written = f", {self.tokens} tokens, {self.tokens / self.seconds:.0f}/s" if self.tokens else ""
        return f"{self.seconds:6.1f} s, {self.cpu_seconds:5.1f} s of garak's CPU{written}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="")
    parser.add_argument("--model", default="model")
    parser.add_argument("--probes", default=PROBES)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--cap", type=int, default=16)
    parser.add_argument("--latency", type=float, default=0.5)
    parser.add_argument("--defaults", action="store_true", help="also with one request at a time")
    options = parser.parse_args()
    names = select_probes(options.probes.split(",")).probes
    with target(options) as url, tempfile.TemporaryDirectory() as folder:
        spec = ScanStage(
            namespace="bench",
            kind="SafetyEval",
            name="bench",
            inputs_hash="h",
            root=f"file://{folder}",
            out="out",
            target=ServedModel(base_url=url, model=options.model),
            probes=names,
            prompt_cap=options.cap,
            max_tokens=150,
            probe_timeout_seconds=1800,
        )
        parts = shard_probes(names, options.shards, cap=options.cap, generations=1)
        sharded = measure(url, lambda: run_shards(spec, parts, Path(folder)))
        single = measure(url, lambda: run_one_by_one(spec, Path(folder) / "parallel"))
        print(f"{len(names)} probes, {options.cap} prompts at most, {len(parts)} shards")
        print(f"shards with a warm garak:             {sharded}")
        compare("one process per probe, in sequence:  ", single, sharded)
        if options.defaults:
            plain = spec.model_copy(update={"parallelism": 1})
            slow = measure(url, lambda: run_one_by_one(plain, Path(folder) / "plain"))
            compare("the same, with one request at a time:", slow, sharded)


def compare(what: str, other: Cost, ours: Cost) -> None:
    """Print what another way took, and how many times ours."""
    ratio, cpu = other.seconds / ours.seconds, other.cpu_seconds / ours.cpu_seconds
    print(f"{what} {other}; ratio {ratio:.2f}, of CPU {cpu:.2f}")


@contextmanager
def target(options: argparse.Namespace) -> Iterator[str]:
    """The given server, or a fake one."""
    if options.url:
        yield options.url
        return
    reply = Reply("I'm sorry, but I cannot fulfill your request.", delay=options.latency)
    with FakeModelServer(lambda _prompt, _nth: reply) as server:
        yield server.base_url


def measure(url: str, work) -> Cost:
    """Wall time and the CPU time of all processes that it started."""
    written, before, started = _written(url), _children(), time.monotonic()
    work()
    return Cost(time.monotonic() - started, _children() - before, _written(url) - written)


def _written(url: str) -> int:
    """Tokens that a vLLM server has written; 0 of one that does not say."""
    try:
        with urlopen(url.removesuffix("/v1") + "/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0
    found = (line.split()[-1] for line in lines if line.startswith("vllm:generation_tokens_total"))
    return int(sum(map(float, found)))


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_shards(spec: ScanStage, parts: tuple[tuple[str, ...], ...], folder: Path) -> None:
    """Every shard at the same time, each in a process of its own, as in pods."""
    running = []
    for number, part in enumerate(parts):
        path = folder / f"spec-{number}.json"
        path.write_text(spec.model_copy(update={"probes": part, "out": f"shard-{number}"}).to_json())
        (folder / f"tmp-{number}").mkdir()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")]),
            "SAFETY_TERMINATION_LOG": str(folder / f"log-{number}"),
            "TMPDIR": str(folder / f"tmp-{number}"),
        }
        command = [sys.executable, "-m", "safety_worker", "run", "--spec", str(path)]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, cwd=folder))
    for process in running:
        assert process.wait() == 0
    for number in range(len(parts)):
        summary = json.loads((folder / f"shard-{number}/probes.json").read_text(encoding="utf-8"))
        assert summary["missing"] == [], summary["missing"]


def run_one_by_one(spec: ScanStage, folder: Path) -> None:
    """One ``python -m garak`` after the other."""
    environment = garak_environment(os.environ, folder, "")
    for name in spec.probes:
        out = folder / name
        out.mkdir(parents=True)
        (out / "garak.yaml").write_text(
            yaml.safe_dump(build_configuration(spec, name, out)), encoding="utf-8"
        )
        command = [sys.executable, "-m", "garak", "--config", str(out / "garak.yaml")]
        subprocess.run(command, env=environment, capture_output=True, check=True)
        assert '"entry_type": "digest"' in (out / "probe.report.jsonl").read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
