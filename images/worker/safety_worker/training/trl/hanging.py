"""How a process ends whose main thread does not come back."""

import faulthandler
import os
import sys
from pathlib import Path

from safety_records.finetune_stages import TrainStage
from safety_records.result import StageResult
from safety_worker import termination
from safety_worker.errors import InfrastructureError, InputError, WorkerError
from safety_worker.training.ranks import ProcessRank
from safety_worker.training.records import HANGS_NAME, MAX_HANGS, count_in_row


def end_hung(spec: TrainStage, work: Path, place: ProcessRank, step: int, seconds: float) -> None:
    """Leave a record, and in the log where each thread stands; end the process.

    Parameters
    ----------
    spec
        The stage.
    work
        Folder of the working files.
    place
        Which process this is; the first one counts how often.
    step
        The step that is not done.
    seconds
        How long it has taken.
    """
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
    times = count_in_row(work / HANGS_NAME, step) if place.is_first else 1
    error = hung(place, step, seconds, times)
    failure = StageResult(stage=spec.stage, inputs_hash=spec.inputs_hash, failure=error.to_failure())
    termination.write_message(termination.message_path(os.environ), failure)
    os._exit(error.exit_code)


def hung(place: ProcessRank, step: int, seconds: float, times: int) -> WorkerError:
    """What is told of a step that hung, the ``times``-th time in a row."""
    told = f"step {step} was not done after {seconds:.0f} s in process {place.rank} (stepTimeoutSeconds)"
    if times < MAX_HANGS:
        return InfrastructureError("StepHung", f"{told}: training continues from the last checkpoint")
    return InputError(
        "StepHangs",
        f"{told}, {times} times in a row: raise stepTimeoutSeconds if steps take that long; else look at "
        "the GPUs and the network between pods (the log shows where each thread stands)",
    )
