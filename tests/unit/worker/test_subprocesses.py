"""Running a program under a limit."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from safety_worker import subprocesses
from safety_worker.subprocesses import Ending, run_process


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocesses, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(subprocesses, "GRACE_SECONDS", 0.2)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_exit_code_and_last_words(tmp_path: Path) -> None:
    outcome = run_process(
        python("print('bye'); raise SystemExit(3)"), os.environ, tmp_path / "log", 20, lambda _: False
    )
    assert (outcome.ending, outcome.code, outcome.log) == (Ending.EXITED, 3, "bye\n")


def test_only_the_given_environment_is_passed(tmp_path: Path) -> None:
    code = "import os; print(os.environ.get('GIVEN'), os.environ.get('HOME'))"
    outcome = run_process(python(code), {"GIVEN": "x"}, tmp_path / "log", 20, lambda _: False)
    assert outcome.log == "x None\n"


def test_a_hanging_program_is_stopped_at_its_limit_with_its_children(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    outcome = run_process(python(code), os.environ, tmp_path / "log", 0.5, lambda _: False)
    assert (outcome.ending, outcome.code) == (Ending.TIMED_OUT, None)
    deadline = time.monotonic() + 5
    while alive(int(outcome.log)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(int(outcome.log))


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = f"import signal, time; signal.signal({int(signal.SIGTERM)}, signal.SIG_IGN); time.sleep(60)"
    outcome = run_process(python(code), os.environ, tmp_path / "log", 0.5, lambda _: False)
    assert outcome.ending is Ending.TIMED_OUT
    assert outcome.seconds < 10


def test_children_of_a_program_that_ended_are_stopped(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)\n"
    )
    outcome = run_process(python(code), os.environ, tmp_path / "log", 20, lambda _: False)
    assert outcome.ending is Ending.EXITED
    deadline = time.monotonic() + 5
    while alive(int(outcome.log)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(int(outcome.log))


def test_giving_up_stops_it(tmp_path: Path) -> None:
    outcome = run_process(
        python("import time; time.sleep(60)"), os.environ, tmp_path / "log", 20, lambda _: True
    )
    assert outcome.ending is Ending.GIVEN_UP


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    outcome = run_process(
        python("print('x' * 10000 + 'end')"), os.environ, tmp_path / "log", 20, lambda _: False
    )
    assert len(outcome.log) == subprocesses.LOG_BYTES
    assert outcome.log.endswith("end\n")
