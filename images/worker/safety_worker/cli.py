"""The command ``safety-worker``: ``run`` for a stage, ``serve-classifier``.

A stage leaves its ``StageResult`` in the termination message, whether it worked or not, and ends with 0,
with 42 if a person must act, with 1 if trying again may help.
"""

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from safety_records.result import EXIT_INTERRUPTED, StageResult
from safety_records.stages import SPEC_VARIABLE, StageSpec, parse_stage_spec
from safety_worker import dispatch, termination
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.context import ProgressReporter, StageContext
from safety_worker.errors import InputError, WorkerError, as_worker_error
from safety_worker.lazy import load
from safety_worker.library_warnings import collect_warnings

INPUTS_VARIABLE = "SAFETY_INPUTS"
"""Variable with the folder of mounted inputs, for runs by hand."""

AGAIN_SECONDS = 0.05
"""Pause before an end that Python dropped comes again."""

_terminated = threading.Event()
"""Set once SIGTERM has come."""

OTHER_COMMANDS = {
    "serve-classifier": ("serve a local classifier", "safety_worker.guarding.classifier_server:main"),
}
"""Commands that parse their own arguments: what they do, and their function."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="safety-worker", description="Runs one stage of a safety pipeline.")
    commands = parser.add_subparsers(dest="command", required=True)
    about = f"run a stage; its specification comes from --spec or, for runs by hand, {SPEC_VARIABLE}"
    run = commands.add_parser("run", help=about, description=about)
    run.add_argument("--spec", type=Path, help="file with the specification as JSON")
    for name, (about, _) in OTHER_COMMANDS.items():
        commands.add_parser(name, help=about, add_help=False)
    arguments, rest = parser.parse_known_args(argv)
    if arguments.command in OTHER_COMMANDS:
        code = load(OTHER_COMMANDS[arguments.command][1])(rest)
        return code if isinstance(code, int) else 0
    if rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    end_at_sigterm()
    return run_command(arguments.spec, os.environ)


def end_at_sigterm() -> None:
    """Let SIGTERM end this process, whatever its main thread is at."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGALRM, _terminate)
    sys.unraisablehook = _end_again


def run_command(spec_file: Path | None, environment: Mapping[str, str]) -> int:
    """Run the stage of a specification; every way it can end leaves a record, but for SIGTERM."""
    message = termination.message_path(environment)
    spec: StageSpec | None = None
    started, code = time.monotonic(), 0
    try:
        spec = read_spec(spec_file, environment)
        result = run_spec(spec, environment)
    except Exception as error:  # noqa: BLE001 - the outermost boundary: any defect must leave a record
        if _terminated.is_set():
            # SystemExit came up inside a library, which made another error of it while it cleaned up.
            return EXIT_INTERRUPTED
        cause = as_worker_error(error)
        result, code = _failed(spec, cause), cause.exit_code
        traceback.print_exception(error)
    if result is None:
        return 0
    if result.seconds is None:
        result = result.model_copy(update={"seconds": round(time.monotonic() - started, 3)})
    termination.write_message(message, result)
    if result.failure is not None:
        print(f"{result.failure.reason}: {result.failure.message}", file=sys.stderr)  # noqa: T201 - last words in the log
    return code


def run_spec(spec: StageSpec, environment: Mapping[str, str]) -> StageResult | None:
    """Run a stage with what this process has; None: another process has the result."""
    progress = ProgressReporter()
    context = StageContext(
        store=ArtifactStore(spec.root),
        inputs=Path(environment.get(INPUTS_VARIABLE, "/inputs")),
        report_progress=progress,
        environment=environment,
    )
    try:
        with collect_warnings() as found:
            result = dispatch.run_stage(spec, context)
        return result and result.model_copy(
            update={"warnings": tuple(dict.fromkeys((*result.warnings, *found)))}
        )
    finally:
        progress.flush()


def read_spec(spec_file: Path | None, environment: Mapping[str, str]) -> StageSpec:
    """The specification from the file or the environment.

    Raises
    ------
    InputError
        If there is none, or it is not valid.
    """
    if spec_file is None and SPEC_VARIABLE not in environment:
        raise InputError("NoSpecification", f"set {SPEC_VARIABLE} or pass --spec FILE")
    try:
        text = environment[SPEC_VARIABLE] if spec_file is None else spec_file.read_text(encoding="utf-8")
        return parse_stage_spec(text)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError("NoSpecification", f"{spec_file}: {error.strerror}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(
            "InvalidSpecification", f"operator and worker may differ in version: {problems}"
        ) from error


def _failed(spec: StageSpec | None, error: WorkerError) -> StageResult:
    return StageResult(
        stage="unknown" if spec is None else spec.stage,
        inputs_hash="" if spec is None else spec.inputs_hash,
        failure=error.to_failure(),
    )


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """End at once: finished rows are already in their files."""
    _terminated.set()
    raise SystemExit(EXIT_INTERRUPTED)


def _end_again(dropped: "sys.UnraisableHookArgs") -> None:
    """Python drops what a destructor or a weak reference's callback raises; importing modules has such."""
    if _terminated.is_set() and isinstance(dropped.exc_value, SystemExit):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
    else:
        sys.__unraisablehook__(dropped)
