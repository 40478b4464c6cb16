"""The launcher, with a garak that runs the Python text in its configuration."""

import ast
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from safety_worker import subprocesses
from safety_worker.empty_answers import EmptyReason
from safety_worker.scanning.probes import read_silence
from safety_worker.scanning.warm import Launcher, ProbeOrder
from safety_worker.subprocesses import Ending, Outcome

FAKE = Path(__file__).parent / "fake_garak"
CLI = """
import pathlib
def main(arguments):
    exec(pathlib.Path(arguments[1]).read_text())
"""


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Launcher]:
    monkeypatch.setattr(subprocesses, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(subprocesses, "GRACE_SECONDS", 0.2)
    package = tmp_path / "path"
    for file in FAKE.rglob("*.py"):
        copy = package / file.relative_to(FAKE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(CLI if file.name == "cli.py" else file.read_text(encoding="utf-8"), encoding="utf-8")
    environment = {"PYTHONPATH": str(tmp_path / "path"), "PATH": os.environ["PATH"], "GIVEN": "x"}
    with Launcher(environment, tmp_path / "launcher.log") as started:
        yield started


def run(launcher: Launcher, folder: Path, code: str, seconds: float = 120, **fields: str) -> Outcome:
    (folder / "code").write_text(code, encoding="utf-8")
    return launcher.run(ProbeOrder(folder / "code", folder / "log", **fields), seconds, lambda _: False)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def await_death(pid: int) -> None:
    deadline = time.monotonic() + 60
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(pid)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print('bye')", 0),
        ("print('bye'); raise SystemExit(3)", 3),
        ("print('bye'); exit('words')", 1),
        ("print('bye', flush=True); import os; os.abort()", -signal.SIGABRT),
    ],
)
def test_exit_code_and_last_words(launcher: Launcher, tmp_path: Path, code: str, expected: int) -> None:
    outcome = run(launcher, tmp_path, code)
    assert (outcome.ending, outcome.code, outcome.log) == (Ending.EXITED, expected, "bye\n")


def test_only_the_given_environment_is_passed(launcher: Launcher, tmp_path: Path) -> None:
    code = "import os; print(os.environ.get('GIVEN'), os.environ.get('HOME'))"
    assert run(launcher, tmp_path, code).log == "x None\n"


def test_what_one_run_changes_the_next_does_not_see(launcher: Launcher, tmp_path: Path) -> None:
    run(launcher, tmp_path, "import os, garak; garak.changed = True; os.environ['GIVEN'] = 'y'")
    assert run(
        launcher, tmp_path, "import os, garak; print(hasattr(garak, 'changed'), os.environ['GIVEN'])"
    ).log == ("False x\n")


def test_odd_characters_are_written_and_not_raised(launcher: Launcher, tmp_path: Path) -> None:
    outcome = run(launcher, tmp_path, "print('\\ud800 \\u2028 é')")
    assert (outcome.code, outcome.log) == (0, "? \u2028 é\n")


FORKS = """
import os, time
child = os.fork()
if child:
    print(child, flush=True)
"""


def test_a_hanging_run_is_stopped_at_its_limit_with_its_children(launcher: Launcher, tmp_path: Path) -> None:
    run(launcher, tmp_path, "pass")
    outcome = run(launcher, tmp_path, FORKS + "time.sleep(600)", seconds=3)
    assert (outcome.ending, outcome.code) == (Ending.TIMED_OUT, None)
    await_death(int(outcome.log))


def test_a_run_that_ignores_sigterm_is_killed_and_the_launcher_lives_on(
    launcher: Launcher, tmp_path: Path
) -> None:
    code = f"import signal, time; signal.signal({int(signal.SIGTERM)}, signal.SIG_IGN); time.sleep(600)"
    run(launcher, tmp_path, "pass")
    outcome = run(launcher, tmp_path, code, seconds=2)
    assert outcome.ending is Ending.TIMED_OUT
    assert outcome.seconds < 60
    assert run(launcher, tmp_path, "print('next')").log == "next\n"


def test_children_of_a_run_that_ended_are_stopped(launcher: Launcher, tmp_path: Path) -> None:
    outcome = run(launcher, tmp_path, FORKS + "else: time.sleep(600)")
    assert (outcome.ending, outcome.code) == (Ending.EXITED, 0)
    await_death(int(outcome.log))


def test_giving_up_stops_it(launcher: Launcher, tmp_path: Path) -> None:
    (tmp_path / "code").write_text("import time; time.sleep(600)", encoding="utf-8")
    outcome = launcher.run(
        ProbeOrder(tmp_path / "code", tmp_path / "log"), 120, lambda seconds: seconds > 0.5
    )
    assert outcome.ending is Ending.GIVEN_UP


def test_a_launcher_that_dies_is_noticed_at_once_and_started_again(
    launcher: Launcher, tmp_path: Path
) -> None:
    code = "import os, time; print(os.getpid(), flush=True); os.kill(os.getppid(), 9); time.sleep(600)"
    outcome = run(launcher, tmp_path, code)
    assert (outcome.ending, outcome.code) == (Ending.EXITED, None)
    assert outcome.seconds < 60
    await_death(int(outcome.log))
    assert run(launcher, tmp_path, "print('next')").log == "next\n"


def test_a_time_limit_before_garak_is_imported_stops_the_launcher(launcher: Launcher, tmp_path: Path) -> None:
    assert run(launcher, tmp_path, "print('never')", seconds=0).ending is Ending.TIMED_OUT
    assert run(launcher, tmp_path, "print('next')").log == "next\n"


def test_only_the_end_of_a_long_log_is_read(launcher: Launcher, tmp_path: Path) -> None:
    outcome = run(launcher, tmp_path, "print('x' * 10000 + 'end')")
    assert len(outcome.log) == subprocesses.LOG_BYTES
    assert outcome.log.endswith("end\n")


REASONING = """
from garak.generators.openai import OpenAICompatible
class Message:
    def __init__(self, text): self.text = text
texts = ["thoughts</end>answer", "thoughts", "thoughts</end>", "", "<think>thoughts", "\u200b", None]
outputs = [*map(Message, texts), None]
found = OpenAICompatible()._post_generate_hook(outputs)
print([output.text if output else None for output in found])
"""


@pytest.mark.parametrize(
    ("end", "answers"),
    [
        ("</end>", ["thoughts</end>answer"]),
        ("", ["thoughts</end>answer", "thoughts", "thoughts</end>"]),
    ],
)
def test_an_answer_without_text_is_none_and_noted(
    launcher: Launcher, tmp_path: Path, end: str, answers: list[str]
) -> None:
    found = ast.literal_eval(run(launcher, tmp_path, REASONING, reasoning_end=end).log)
    assert [text for text in found if text] == answers
    assert len(found) == 8
    noted = read_silence(tmp_path / "silence.txt")
    assert sum(noted.values()) == 8 - len(answers)
    assert noted[EmptyReason.UNFINISHED] == (2 if end else 0)
    assert noted[EmptyReason.REFUSED] == 1
