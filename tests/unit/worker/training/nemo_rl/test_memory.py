"""The kernel's count of processes that it ended for their memory."""

from pathlib import Path

import pytest

from safety_records.result import FailureClass
from safety_worker.errors import InfrastructureError, InputError, PeerLostError
from safety_worker.training.nemo_rl import command, memory


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("memory.events", "low 0\noom 2\noom_kill 3\noom_group_kill 0\n", 3),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", 0),
    ],
)
def test_kills_are_counted_by_either_version(tmp_path: Path, name: str, text: str, count: int):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert memory.kills(tmp_path) == count


def test_where_nobody_counts_nothing_was_killed(tmp_path: Path):
    assert memory.kills(tmp_path) == 0


@pytest.mark.parametrize("kind", [InfrastructureError, PeerLostError])
def test_a_pod_that_lost_a_process_to_its_memory_says_so(monkeypatch: pytest.MonkeyPatch, kind: type):
    monkeypatch.setattr(memory, "kills", lambda: 1)
    told = command.with_memory(kind("RayHeadLost", "the head is gone"))
    assert (told.reason, told.failure, told.exit_code) == ("OutOfMemory", FailureClass.INPUT, 42)
    assert "spec.compute.resources.limits.memory" in told.message


def test_wrong_input_stays_what_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "kills", lambda: 1)
    assert command.with_memory(InputError("LossNotFinite", "NaN")).reason == "LossNotFinite"
