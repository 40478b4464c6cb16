"""Generating and judging against what the engine can do, and against a loop with barriers.

1. Tokens a second of the generate stage, against a saturating load: all prompts in flight at once, from a
   bare HTTP client that keeps nothing. Answers are cut at ``--max-tokens``, so that a single long one that
   happens to be asked last does not decide. Aim: 95 %.
2. Seconds of the generate and judge stages as they run in pods (two processes, the judge following), against
   a loop that asks for 16 answers, waits for all, has them judged and goes on. Aim: a third.

Both ways ask the same servers for the same answers in one run, one after the other. Without ``--url`` the
servers batch as an engine does and compute nothing (``batching_server.py``); with it they are real, for
example vLLM.
Ends with 1 where a ratio is missed: ``python tests/benchmarks/generation.py [--url U --model M]``.
"""

# ruff: noqa: T201 - it prints a table

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "images/worker"), str(ROOT / "tests/benchmarks")]

from batching_server import Shape, batching_server  # noqa: E402

from safety_records.data import Dataset  # noqa: E402
from safety_records.eval_stages import EvalSuite, GenerateStage, JudgeSpec, JudgeStage  # noqa: E402
from safety_records.sampling import Sampling  # noqa: E402
from safety_records.stage_base import ServedModel, StageBase  # noqa: E402
from safety_worker.artifacts.store import ArtifactStore  # noqa: E402
from safety_worker.context import StageContext  # noqa: E402
from safety_worker.dispatch import run_stage  # noqa: E402

LIMIT_SHARE = 0.95
BARRIER_RATIO = 3.0
BARRIER = 16
LONG_TAIL = 1024
"""Tokens of the longest answers of the second comparison."""


class Servers(NamedTuple):
    """Who is asked."""

    target: ServedModel
    judge: ServedModel


class Speed(NamedTuple):
    """What a way of asking came to."""

    seconds: float
    tokens: int
    cpu_seconds: float
    """Of the client."""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="", help="base URL of a real server; empty: simulated ones")
    parser.add_argument("--model", default="model")
    parser.add_argument("--prompts", type=int, default=800, help="of the first comparison")
    parser.add_argument("--barrier-prompts", type=int, default=640, help="of the second; 0: leave it out")
    parser.add_argument(
        "--max-tokens", type=int, default=256, help="of the first comparison; 1024 in the second"
    )
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.url:
            served = ServedModel(base_url=options.url, model=options.model)
            servers = Servers(served, served)
        else:
            judge = Shape(shortest=12, longest=16)
            servers = Servers(
                *(
                    ServedModel(base_url=stack.enter_context(batching_server(shape)), model="model")
                    for shape in (Shape(), judge)
                )
            )
        missed = compare_with_limit(servers, options)
        if options.barrier_prompts:
            missed |= compare_with_barriers(servers, options)
    sys.exit(int(missed))


def prompts_of(count: int, number_of_round: int) -> list[str]:
    """Prompts that no other round has, so that nothing is found in a cache; in the stage's order."""
    begin = f"Round {number_of_round:04d}"
    return [f"{begin}: write a story about the number {index:06d}." for index in range(count)]


def compare_with_limit(servers: Servers, options: argparse.Namespace) -> bool:
    """Whether the generate stage misses its share of the engine's limit."""
    shares = []
    for number in range(options.rounds):
        ways: list[tuple[str, Any]] = [("saturating load", saturate), ("generate stage", generate)]
        speeds = {}
        for way, (name, measure) in enumerate(ways if number % 2 == 0 else reversed(ways)):
            prompts = prompts_of(options.prompts, 2 * number + way * bool(options.url))
            speeds[name] = measure(servers, prompts, options)
            speed = speeds[name]
            print(
                f"round {number + 1}, {name}: {speed.tokens_per_second:.0f} tokens/s in "
                f"{speed.seconds:.1f} s, client {speed.cpu_seconds:.1f} CPU s",
                flush=True,
            )
        shares.append(
            speeds["generate stage"].tokens_per_second / speeds["saturating load"].tokens_per_second
        )
    share = statistics.median(shares)
    print(f"share of the engine's limit: {share:.3f} (aim {LIMIT_SHARE}), each round: {shares}", flush=True)
    return share < LIMIT_SHARE


def compare_with_barriers(servers: Servers, options: argparse.Namespace) -> bool:
    """Whether the pipeline is less than three times as fast as a loop with barriers."""
    prompts = prompts_of(options.barrier_prompts, 1000)
    options.max_tokens = max(options.max_tokens, LONG_TAIL)
    loop = in_barriers(servers, prompts, options)
    print(f"loop in barriers of {BARRIER}: {loop:.1f} s", flush=True)
    pipeline = follow(servers, prompts, options)
    print(f"generate and judge stages: {pipeline:.1f} s", flush=True)
    print(f"ratio: {loop / pipeline:.2f} (aim {BARRIER_RATIO})", flush=True)
    return loop / pipeline < BARRIER_RATIO


def saturate(servers: Servers, prompts: list[str], options: argparse.Namespace) -> Speed:
    """All prompts in flight at once."""
    start, cpu = time.monotonic(), time.process_time()

    async def run() -> int:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=None) as client:
            asked = (ask(client, servers.target, prompt, options.max_tokens) for prompt in prompts)
            return sum(tokens for tokens, _ in await asyncio.gather(*asked))

    tokens = asyncio.run(run())
    return Speed(time.monotonic() - start, tokens, time.process_time() - cpu)


async def ask(
    client: httpx.AsyncClient, server: ServedModel, prompt: str, max_tokens: int
) -> tuple[int, str]:
    """Tokens and text of an answer."""
    messages = [{"role": "user", "content": prompt}]
    body = {
        "model": server.model,
        "messages": messages,
        "max_tokens": max_tokens,
        "temperature": 0,
        "top_p": 1,
    }
    answer = (await client.post(f"{server.base_url}/chat/completions", json=body)).raise_for_status().json()
    return answer["usage"]["completion_tokens"], answer["choices"][0]["message"]["content"]


def generate(servers: Servers, prompts: list[str], options: argparse.Namespace) -> Speed:
    """The generate stage, from reading the data set to its shards."""
    with tempfile.TemporaryDirectory() as folder:
        stage, _ = stages(Path(folder), servers, prompts, options)
        context = StageContext(
            store=ArtifactStore(stage.root), inputs=Path(folder), report_progress=lambda _: None
        )
        start, cpu = time.monotonic(), time.process_time()
        result = run_stage(stage, context)
        return Speed(time.monotonic() - start, result.tokens or 0, time.process_time() - cpu)


def stages(
    folder: Path, servers: Servers, prompts: list[str], options: argparse.Namespace
) -> tuple[GenerateStage, JudgeStage]:
    """Both stages on the prompts."""
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": item}) + "\n" for item in prompts))
    data = Dataset(uri=f"file://{folder}/prompts.jsonl")
    suites = (EvalSuite(name="s", dataset=data, judge="guard"),)

    def base(stage: str) -> dict[str, Any]:
        names = dict.fromkeys(("namespace", "kind", "name"), "bench")
        fields = names | {"inputs_hash": f"hash-{stage}", "root": f"file://{folder}/artifacts", "out": stage}
        return {name: value for name, value in fields.items() if name in StageBase.model_fields}

    sampling = Sampling(temperature=0.0, max_tokens=options.max_tokens)
    concurrency = options.concurrency
    return (
        GenerateStage(
            **base("generate"),
            target=servers.target,
            sampling=sampling,
            suites=suites,
            concurrency=concurrency,
        ),
        JudgeStage(
            **base("judge"),
            generated="generate",
            generated_hash="hash-generate",
            suites=suites,
            judges=(JudgeSpec(name="guard", type="wildguard", served=servers.judge),),
            concurrency=concurrency,
        ),
    )


def in_barriers(servers: Servers, prompts: list[str], options: argparse.Namespace) -> float:
    """Seconds of the loop: 16 answers, all of them, then 16 verdicts, all of them."""
    start = time.monotonic()

    async def run() -> None:
        async with httpx.AsyncClient(timeout=None) as client:
            for first in range(0, len(prompts), BARRIER):
                batch = prompts[first : first + BARRIER]
                answers = await asyncio.gather(
                    *(ask(client, servers.target, prompt, options.max_tokens) for prompt in batch)
                )
                await asyncio.gather(*(ask(client, servers.judge, text, 32) for _, text in answers))

    asyncio.run(run())
    return time.monotonic() - start


def follow(servers: Servers, prompts: list[str], options: argparse.Namespace) -> float:
    """Seconds of both stages as pods run them, the start of their processes included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.monotonic()
        running = []
        for stage in stages(folder, servers, prompts, options):
            path = folder / f"{stage.stage}.json"
            path.write_text(stage.to_json())
            environment = {
                **os.environ,
                "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'images/worker'}",
                "SAFETY_TERMINATION_LOG": str(folder / f"{stage.stage}.result"),
            }
            command = [sys.executable, "-m", "safety_worker", "run", "--spec", str(path)]
            running.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
        assert [process.wait() for process in running] == [0, 0]
        seconds = time.monotonic() - start
        for process in ("generate", "judge"):
            assert json.loads((folder / f"{process}.result").read_text())["rows"] == len(prompts)
        return seconds


if __name__ == "__main__":
    main()
