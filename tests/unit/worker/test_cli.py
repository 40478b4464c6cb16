"""The command: what it leaves behind however it ends."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import typing
import weakref
from pathlib import Path
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace

from safety_records import stages
from safety_records.progress import Progress
from safety_records.result import MAX_RESULT_BYTES, StageResult
from safety_worker import cli, dispatch
from safety_worker.context import ProgressReporter
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.lazy import load


@pytest.fixture
def spec(workplace: Workplace) -> str:
    uri = workplace.configmap("c", "p.txt", "prompt")
    return workplace.spec("collect", sources=[{"name": "s", "dataset": {"uri": uri}}]).to_json()


@pytest.fixture
def environment(workplace: Workplace, spec: str) -> dict[str, str]:
    return {
        "SAFETY_STAGE_SPEC": spec,
        "SAFETY_TERMINATION_LOG": str(workplace.artifacts.parent / "termination"),
        "SAFETY_INPUTS": str(workplace.inputs),
    }


def ended(environment: dict[str, str]) -> StageResult:
    return StageResult.model_validate_json(Path(environment["SAFETY_TERMINATION_LOG"]).read_text())


def test_success_leaves_the_result_and_progress(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run_command(None, environment) == 0
    result = ended(environment)
    assert result.rows == 1
    assert result.failure is None
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["event"] == "progress"
    assert lines[-1]["done"] == lines[-1]["total"]


def test_a_second_start_gives_the_stored_result_without_working(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.run_command(None, environment)
    first = ended(environment)

    def never(_target: str) -> Any:
        raise AssertionError("the stage ran again")

    monkeypatch.setattr(dispatch, "load", never)
    assert cli.run_command(None, environment) == 0
    assert ended(environment).output == first.output


def test_a_specification_may_come_from_a_file(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(environment.pop("SAFETY_STAGE_SPEC"))
    assert cli.run_command(path, environment) == 0


class OutOfMemoryError(RuntimeError):
    """As torch has it."""


def raising(error: BaseException) -> Any:
    def stage(*_: object) -> StageResult:
        raise error

    return lambda _target: stage


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (InputError("MissingColumn", "set columns.prompt"), 42, "MissingColumn"),
        (InfrastructureError("ModelServerFailing", "HTTP 500"), 1, "ModelServerFailing"),
        (ZeroDivisionError("division by zero"), 1, "UnexpectedError"),
        (MemoryError(), 1, "OutOfMemory"),
        (OutOfMemoryError("CUDA out of memory"), 42, "OutOfGpuMemory"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "ArtifactStoreFull"),
        (PermissionError(errno.EACCES, "Permission denied", "/artifacts/x"), 1, "ArtifactStoreNotWritable"),
    ],
)
def test_every_failure_leaves_a_record_and_its_exit_code(  # noqa: PLR0917 - parameters and fixtures
    error: Exception,
    code: int,
    reason: str,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(dispatch, "load", raising(error))
    assert cli.run_command(None, environment) == code
    failure = ended(environment).failure
    assert failure is not None
    assert failure.reason == reason
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith(reason)


@pytest.mark.parametrize("error", [ValueError("how to make ..."), OSError("no row 'how to make ...'")])
def test_another_librarys_words_which_may_quote_rows_stay_in_the_log(
    error: Exception,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(dispatch, "load", raising(error))
    cli.run_command(None, environment)
    failure = ended(environment).failure
    assert failure is not None
    assert failure.message.startswith(f"{type(error).__name__} in unit/worker/test_cli.py, line ")
    assert "how to make" not in failure.message
    assert "how to make" in capsys.readouterr().err


def test_a_long_message_is_cut_and_still_ends(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "load", raising(InputError("TooLong", "ü\ud800" * 50_000)))
    assert cli.run_command(None, environment) == 42
    assert len(Path(environment["SAFETY_TERMINATION_LOG"]).read_bytes()) <= MAX_RESULT_BYTES


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (None, "SAFETY_STAGE_SPEC"),
        ("{", "Invalid JSON"),
        ('{"stage": "dance"}', "differ in version"),
        ('{"stage": "fetch", "unknown": 1}', "Extra inputs"),
    ],
)
def test_a_wrong_specification_is_an_input_error(
    spec: str | None, why: str, environment: dict[str, str]
) -> None:
    environment.pop("SAFETY_STAGE_SPEC")
    assert (
        cli.run_command(None, environment if spec is None else {**environment, "SAFETY_STAGE_SPEC": spec})
        == 42
    )
    failure = ended(environment).failure
    assert failure is not None
    assert why in failure.message


def test_a_missing_specification_file_is_reported(environment: dict[str, str]) -> None:
    assert cli.run_command(Path("/does/not/exist"), environment) == 42


def test_a_disk_that_cannot_give_the_specification_is_tried_again(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> str:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", failing)
        assert cli.run_command(tmp_path / "spec.json", environment) == 1
    failure = ended(environment).failure
    assert failure is not None
    assert failure.reason == "StorageError"


def test_code_that_an_image_lacks_is_reported() -> None:
    with pytest.raises(InfrastructureError, match="cannot load"):
        load("safety_worker.no_such_module:run")


def test_every_stage_of_the_records_has_a_function() -> None:
    union = typing.get_args(typing.get_args(stages.StageSpec)[0])
    assert {model.model_fields["stage"].default for model in union} == set(dispatch.STAGES)


def test_the_command_explains_itself() -> None:
    repository = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "safety_worker", "run", "--help"],
        env={"PYTHONPATH": f"{repository / 'operator'}:{repository / 'images/worker'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "SAFETY_STAGE_SPEC" in done.stdout


def test_progress_is_rate_limited_and_its_last_word_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    report = ProgressReporter(interval=2.0, clock=lambda: now[0])
    for tick in range(50):
        now[0] = tick * 0.1
        report(Progress(stage="generate", done=tick, total=50))
    report.flush()
    report.flush()
    assert [json.loads(line)["done"] for line in capsys.readouterr().out.splitlines()] == [0, 20, 40, 49]


def test_sigterm_that_a_library_makes_another_error_of_is_sigterm_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Context managers of asynchronous libraries do so when SystemExit comes up at a bad moment."""

    def interrupted(_spec: object, _context: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except SystemExit as error:
            raise RuntimeError("not the current cancel scope") from error

    before = signal.signal(signal.SIGTERM, cli._terminate)
    monkeypatch.setattr(cli, "_terminated", threading.Event())
    monkeypatch.setattr(cli, "read_spec", lambda *_: None)
    monkeypatch.setattr(cli, "run_spec", interrupted)
    message = tmp_path / "message"
    try:
        assert cli.run_command(None, {"SAFETY_TERMINATION_LOG": str(message)}) == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not message.exists()


def test_sigterm_that_python_drops_in_a_callback_ends_the_process_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The import system has such callbacks, and workers import for seconds."""

    class Module:
        pass

    before = {sign: signal.getsignal(sign) for sign in (signal.SIGTERM, signal.SIGALRM)}
    monkeypatch.setattr(cli, "_terminated", threading.Event())
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    modules = [Module()]
    reference = weakref.ref(modules[0], lambda _: os.kill(os.getpid(), signal.SIGTERM))

    def drop_and_go_on() -> None:
        modules.clear()
        assert reference() is None
        threading.Event().wait(30)

    try:
        cli.end_at_sigterm()
        with pytest.raises(SystemExit) as ended:
            drop_and_go_on()
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
    assert ended.value.code == cli.EXIT_INTERRUPTED
