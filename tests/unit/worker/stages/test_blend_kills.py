"""A blend whose processes are killed, again and again at every stage, has the digest of one left alone.

Each try runs in a forked process that ends itself with SIGKILL just before its nth step on the disk: writing
a row, bringing a file to the disk, renaming, removing. The next try continues on what is left.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.fake_model_server import FakeModelServer, Reply
from tests.unit.worker.support.blend_runs import PATHS, REFUSAL, THINKING, Blend

from safety_records.eval_stages import JudgeSpec
from safety_worker.generation.shards import ShardWriter

CHILD_SECONDS = 120
"""A try that hangs fails the test."""

STAGES = ("collect", "answer", "judge", "assemble")


def thinks_and_refuses(prompt: str, nth: int) -> Reply:
    """Some answers end at the limit, some are unsafe, the rest refuse; the same for the same request."""
    if "number 7" in prompt:
        return Reply("Hm.</think>Sure, here is how.")
    if "number 2" in prompt and nth % 2 == 0:
        return Reply("They ask for", finish_reason="length")
    return Reply(f"They ask for {prompt[-12:]}.</think>{REFUSAL}")


def stages_of(blend: Blend, base_url: str) -> dict[str, Callable[[], object]]:
    """Every stage, with everything that makes it large: candidates, second tries, kept reasoning."""
    answer = {"sampling": THINKING, "candidates": 2, "more_tokens": 512, "concurrency": 1}
    target = {"base_url": base_url, "model": "model"}
    judge = JudgeSpec(name="phrases", type="refusal-phrases")
    keep = {"reasoning": "keep", "reasoning_end": "</think>", "pick": "best", "validation": 0.2}
    run = blend.workplace.run
    return {
        "collect": blend.collect,
        "answer": lambda: run("answer", collected=PATHS["collected"], target=target, **answer),
        "judge": lambda: run("judge", generated=PATHS["answered"], judges=[judge]),
        "assemble": lambda: run("assemble", **PATHS, **keep, candidates=2),
    }


@contextlib.contextmanager
def killed_at(step: int) -> Iterator[None]:
    """End this process with SIGKILL just before its nth step on the disk."""
    left = step

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*args: object, **kwargs: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapper

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "replace", "unlink"):
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(ShardWriter, "append", counted(ShardWriter.append))
        yield


def try_once(stage: Callable[[], object], step: int) -> int:
    """Run a stage in a process of its own that dies at a step; its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        code = 1
        try:
            signal.alarm(CHILD_SECONDS)
            with killed_at(step):
                stage()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def run_with_kills(stage: Callable[[], object], stride: int) -> int:
    """Try a stage until it comes through; how often it was killed."""
    kills = 0
    while (code := try_once(stage, 1 + kills * stride)) != 0:
        assert code == -signal.SIGKILL, f"the stage ended with {code}, not by the kill"
        kills += 1
    return kills


@pytest.mark.parametrize("stride", [1, 5])
def test_a_blend_that_was_killed_at_every_stage_has_the_same_digest(tmp_path: Path, stride: int) -> None:
    blends = []
    for name in ("left-alone", "killed"):
        (tmp_path / name).mkdir()
        blends.append(Blend(Workplace(tmp_path / name)))
    alone, killed = blends
    with FakeModelServer(thinks_and_refuses) as server:
        for stage in stages_of(alone, server.base_url).values():
            stage()
    with FakeModelServer(thinks_and_refuses) as server:
        kills = {
            name: run_with_kills(run, stride) for name, run in stages_of(killed, server.base_url).items()
        }
    assert min(kills.values()) >= 3, kills
    for name in STAGES:
        ours, theirs = (
            blend.workplace.context.store.manifest(f"demo/safetyeval/base/run/{name}") for blend in blends
        )
        assert ours is not None
        assert theirs is not None
        assert [(f.path, f.sha256) for f in theirs.files] == [(f.path, f.sha256) for f in ours.files], name
        assert theirs.digest == ours.digest
