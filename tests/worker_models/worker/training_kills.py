"""Kills a training again and again, and compares what comes out. Run with the worker's own Python.

Libraries are imported once and each start is a fork: a start then takes a second instead of ten. Nothing
kills the first training, whose checkpoints are written while it waits; those of the other are written behind
it in three of four starts.
Usage: training_kills.py ROOT SPEC.json NUMBER-OF-PROCESSES KILLS SEED
ROOT is an artifact root; SPEC a train stage, whose ``out`` is used twice, with -whole and -killed.
Prints one JSON object: how it ended, and after which steps it was killed by what.
"""

import faulthandler
import json
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from safety_worker import cli
from safety_worker.training.records import METRICS_NAME, read_metrics
from safety_worker.training.trl import backend, callback, export, library_errors, product, saving, trainer

LIBRARIES = (backend, callback, export, library_errors, product, trainer)
"""Imported before the first fork."""

DEADLINE_SECONDS = 240


def start(root: Path, spec: dict[str, Any], processes: int) -> list[int]:
    """Process ids of one pod of each process."""
    path = root / f"{spec['out']}.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    return [_fork(root, path, rank, port) for rank in range(processes)]


def _fork(root: Path, path: Path, rank: int, port: str) -> int:
    child = os.fork()
    if child:
        return child
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "JOB_COMPLETION_INDEX": str(rank),
        "SAFETY_TERMINATION_LOG": f"{path}.{rank}.message",
    }
    log = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    cli.end_at_sigterm()
    code = 1
    try:
        code = cli.run_command(path, os.environ)
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(children: list[int]) -> list[int]:
    """Exit codes; negative where a signal ended it."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def step_of(root: Path, spec: dict[str, Any]) -> int:
    """The last step whose numbers are written."""
    lines = read_metrics(root / f"{spec['out']}.work" / METRICS_NAME)
    return max((line["step"] for line in lines), default=0)


def kill_once(root: Path, spec: dict[str, Any], processes: int, words: random.Random) -> tuple[int, str]:
    """Start, kill one process or all at a random step; gives the step and the signal."""
    before = step_of(root, spec)
    wanted = before + words.randint(1, 5)
    sign = words.choice((signal.SIGKILL, signal.SIGTERM))
    saving.WRITTEN_BEHIND_BYTES = words.choice((0, 0, 0, 2**40))
    children = start(root, spec, processes)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while step_of(root, spec) < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"it hangs in step {step_of(root, spec)}")
        if os.waitpid(children[0], os.WNOHANG) != (0, 0):
            raise RuntimeError("it ended by itself")
        time.sleep(0.002)  # it looks as often as steps end, so that kills hit any place in a step
    for child in children if sign == signal.SIGTERM else [words.choice(children)]:
        os.kill(child, sign)
    codes = wait(children)
    assert all(code in {143, -sign} for code in codes), codes
    return wanted, sign.name


def model(root: Path, spec: dict[str, Any]) -> bytes:
    return (root / spec["out"] / "model.safetensors").read_bytes()


def main(root: Path, given: Path, processes: int, kills: int, seed: int) -> None:
    spec = json.loads(given.read_text(encoding="utf-8")) | {"nodes": processes}
    whole, killed = ({**spec, "out": f"{spec['out']}-{name}"} for name in ("whole", "killed"))
    assert wait(start(root, whole, processes)) == [0] * processes
    words = random.Random(seed)
    made = []
    while len(made) < kills and step_of(root, killed) + 5 < spec["steps"]:
        made.append(kill_once(root, killed, processes, words))
    saving.WRITTEN_BEHIND_BYTES = 0
    assert wait(start(root, killed, processes)) == [0] * processes
    message = json.loads(Path(f"{root / killed['out']}.json.0.message").read_text(encoding="utf-8"))
    result = {
        "alike": model(root, whole) == model(root, killed),
        "losses": losses(root, whole) == losses(root, killed),
        "resumes": message["training"]["resumes"],
        "kills": made,
    }
    sys.stdout.write(json.dumps(result))


def losses(root: Path, spec: dict[str, Any]) -> list[float]:
    lines = read_metrics(root / spec["out"] / METRICS_NAME)
    return [line["loss"] for line in lines if "loss" in line]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
