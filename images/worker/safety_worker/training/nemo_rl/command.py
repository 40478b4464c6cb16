"""The train stage in NeMo-RL's image: one process a pod, with what that image has.

Ends as the worker's own command does: 0 with a result in the termination message of the pod that leads, 42 if
a person must act, 143 after SIGTERM or where another pod is gone, which the next try continues from the last
checkpoint, else 1.
"""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from safety_pod.cuda import find_trouble
from safety_records.finetune_stages import TrainStage
from safety_records.manifest import MANIFEST_NAME, RESULT_NAME, Manifest
from safety_records.result import EXIT_INPUT, FailureClass, StageResult
from safety_records.stages import parse_stage_spec
from safety_records.training import MEMORY_REMEDY
from safety_worker import ray_launcher, termination
from safety_worker.errors import InfrastructureError, InputError, PeerLostError, WorkerError, as_worker_error
from safety_worker.ray_launcher import LaunchError, LaunchSettings
from safety_worker.training.nemo_rl import memory
from safety_worker.training.nemo_rl.train import TrainingRun

TERMINATION_VARIABLE = "SAFETY_TERMINATION_LOG"
"""Variable with the path of the termination message, for runs by hand."""
NO_GPU_VARIABLE = "SAFETY_WITHOUT_GPU"
"""Variable by which no GPU is looked for, for runs by hand."""


def main(argv: Sequence[str] | None = None) -> int:
    """Take part in the training of a specification; gives the exit code."""
    parser = argparse.ArgumentParser(description="Trains with NeMo-RL.")
    parser.add_argument("--spec", type=Path, required=True, help="file with the specification as JSON")
    spec_file = parser.parse_args(argv).spec
    # Root in the published image; what exports and then deletes is another user of the same group.
    os.umask(0o002)
    ray_launcher.end_at_sigterm()
    message = Path(os.environ.get(TERMINATION_VARIABLE, "/dev/termination-log"))
    started = time.monotonic()
    spec: TrainStage | None = None
    try:
        spec = read_spec(spec_file)
        result = run(spec, os.environ)
    except Exception as error:  # noqa: BLE001 - the outermost boundary: any defect must leave a record
        traceback.print_exception(error)
        told = _of_launcher(error) if isinstance(error, LaunchError) else as_worker_error(error)
        return _fail(message, spec, with_memory(told))
    if result is not None:
        if result.seconds is None:
            result = result.model_copy(update={"seconds": round(time.monotonic() - started, 3)})
        termination.write_message(message, result)
    return 0


def read_spec(path: Path) -> TrainStage:
    """The specification of a train stage.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        spec = parse_stage_spec(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            "InvalidSpecification", f"operator and worker may differ in version: {error}"
        ) from error
    if not isinstance(spec, TrainStage) or spec.backend != "nemo-rl":
        raise InputError("InvalidSpecification", "this command runs train stages of backend nemo-rl only")
    return spec


def run(spec: TrainStage, environment: Mapping[str, str]) -> StageResult | None:
    """Train, or help to; gives the result in the pod that leads.

    Raises
    ------
    WorkerError, LaunchError
        If there is no result.
    SystemExit
        143 after SIGTERM.
    """
    root = Path(spec.root.removeprefix("file://"))
    stored = load_result(root / spec.out, spec.inputs_hash)
    settings = LaunchSettings.from_environment(
        environment,
        launcher=spec.launcher,
        nodes=spec.nodes,
        gpus=spec.processes,
        folder=root / f"{spec.out}.work" / "ray",
    )
    if stored is not None:
        return stored if settings.node == 0 else None
    training = TrainingRun(spec, root, environment)
    _require_gpu(environment)
    training.check_image()
    code = ray_launcher.launch(settings, training.drive)
    if code == ray_launcher.EXIT_INTERRUPTED:
        raise SystemExit(code)
    if code:
        raise InfrastructureError("HeadFailed", "the pod that leads the training failed: see its message")
    return training.result


def _require_gpu(environment: Mapping[str, str]) -> None:
    trouble = None if environment.get(NO_GPU_VARIABLE) else find_trouble(image_fields="nemoRl.image")
    if trouble is not None:
        raise InputError(trouble.reason, trouble.message)


def load_result(out: Path, inputs_hash: str) -> StageResult | None:
    """The stored result of a training that is done; None if there is none."""
    try:
        manifest = Manifest.model_validate_json((out / MANIFEST_NAME).read_text(encoding="utf-8"))
        result = StageResult.model_validate_json((out / RESULT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if manifest.inputs_hash == result.inputs_hash == inputs_hash else None


def with_memory(error: WorkerError) -> WorkerError:
    """What is told of an error: that this pod's memory was full, where that ended one of its processes."""
    if error.failure is FailureClass.INPUT or not memory.kills():
        return error
    return InputError(
        "OutOfMemory", f"a process was killed because the pod's memory was full: {MEMORY_REMEDY}"
    )


def _of_launcher(error: LaunchError) -> WorkerError:
    kinds = {EXIT_INPUT: InputError, ray_launcher.EXIT_INTERRUPTED: PeerLostError}
    return kinds.get(error.code, InfrastructureError)(error.reason, error.message)


def _fail(message: Path, spec: TrainStage | None, error: WorkerError) -> int:
    digest = spec.inputs_hash if spec else ""
    failure = error.to_failure()
    termination.write_message(message, StageResult(stage="train", inputs_hash=digest, failure=failure))
    print(f"{failure.reason}: {failure.message}", file=sys.stderr)  # noqa: T201 - last words in the log
    return error.exit_code
