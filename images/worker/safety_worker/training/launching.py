"""Several processes in one pod: torchrun's launcher starts them, and this one waits for them.

Each runs the same stage with the variables of its rank. The first error among them becomes this pod's; a
SIGTERM is handed on, and they have the pod's grace period to write a checkpoint.
"""

import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from safety_records.finetune_stages import TrainStage
from safety_records.result import EXIT_INPUT, EXIT_INTERRUPTED, FailureClass, StageResult
from safety_worker.errors import InfrastructureError, InputError, PeerLostError, WorkerError
from safety_worker.termination import PATH_VARIABLE
from safety_worker.training.peer_loss import lost_peer
from safety_worker.training.pod_memory import count_kills, out_of_memory
from safety_worker.training.ranks import Node, find_node, is_launched, threads_of_each

STOP_SECONDS = 60
"""How long processes may take to end after SIGTERM, or once one failed, where the stage does not say it."""

MARGIN_SECONDS = 5
"""What is left of the pod's grace period when processes are killed that did not end."""


ABORTED = "Aborted"
"""Reason of a process that NCCL ended, as far as its signal tells."""


def needs_launcher(spec: TrainStage, environment: Mapping[str, str]) -> bool:
    """Whether this process starts those that train."""
    return spec.backend == "trl" and spec.processes > 1 and not is_launched(environment)


def launch(spec: TrainStage, environment: Mapping[str, str], work: Path) -> StageResult | None:
    """Run the stage in ``spec.processes`` processes; gives the first process's result, None on other nodes.

    ``work``: folder of the training's working files.

    Raises
    ------
    WorkerError
        What the first process that failed has left, of the same class.
    SystemExit
        143, after SIGTERM.
    """
    node = find_node(spec.nodes, environment)
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder:
        records = Path(folder)
        (records / "spec.json").write_text(spec.to_json(), encoding="utf-8")
        os.environ[PATH_VARIABLE] = f"{records}/{{rank}}.json"
        os.environ.setdefault("OMP_NUM_THREADS", str(threads_of_each(spec.processes)))
        kills = count_kills()
        failed = _run_all(spec, node, records / "spec.json")
        if failed:
            elsewhere = spec.nodes > 1 and spec.device == "gpu"
            error = first_error(records, failed, memory_kills=count_kills() != kills, elsewhere=elsewhere)
            if error.reason == ABORTED:
                raise lost_peer(error.message, work, counts=node.number == 0)
            raise error
        return read_record(records, 0)


def _run_all(spec: TrainStage, node: Node, spec_file: Path) -> dict[int, int]:
    """Start all and wait; gives exit codes of those that failed, by rank (negative: a signal)."""
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415 - torch comes late
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415 - as above
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415 - as above

    from safety_worker.training.rendezvous import gather_nodes, peer_seconds  # noqa: PLC0415 - as above

    if node.nodes == 1:
        node = node._replace(port=_free_port())
    store = gather_nodes(node, peer_seconds(os.environ))
    config = LaunchConfig(
        min_nodes=node.nodes,
        max_nodes=node.nodes,
        nproc_per_node=spec.processes,
        run_id=spec.inputs_hash[:32] or "train",
        rdzv_backend="static",
        rdzv_endpoint=f"{node.address}:{node.port}",
        rdzv_configs={"rank": node.number, "timeout": peer_seconds(os.environ)},
        max_restarts=0,
        local_addr=node.address if node.nodes == 1 else None,
        shutdown_timeout=(spec.grace_seconds or STOP_SECONDS) - MARGIN_SECONDS,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "safety_worker", "run", "--spec", str(spec_file))
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    except SignalException as error:
        raise SystemExit(EXIT_INTERRUPTED) from error
    finally:
        del store  # the first node's is open until here: processes of other nodes use it
    return {}


def _free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def read_record(records: Path, rank: int) -> StageResult | None:
    """What a process has left; None if nothing."""
    with contextlib.suppress(FileNotFoundError, ValidationError):
        return StageResult.model_validate_json((records / f"{rank}.json").read_text(encoding="utf-8"))
    return None


def first_error(
    records: Path, failed: Mapping[int, int], *, memory_kills: bool = False, elsewhere: bool = False
) -> WorkerError:
    """The error that explains the others.

    That a person must act explains most; that another process is gone explains nothing. A process that
    left no record was killed.

    Parameters
    ----------
    records
        Folder of the records.
    failed
        Exit codes by rank.
    memory_kills
        Whether the kernel killed processes of this pod meanwhile because its memory was full.
    elsewhere
        Whether other pods belong to it: where one of those is gone, NCCL's watchdog aborts the process.
    """
    ranks = range(_number(records, failed))
    errors = (
        _error_of(records, rank, failed, memory_kills=memory_kills, elsewhere=elsewhere) for rank in ranks
    )
    found = [error for error in errors if error is not None]
    rank_of = {EXIT_INPUT: 0, 1: 1, EXIT_INTERRUPTED: 2}
    return min(found, key=lambda error: rank_of.get(error.exit_code, 1))


def _number(records: Path, failed: Mapping[int, int]) -> int:
    written = [int(path.stem) for path in records.glob("*.json") if path.stem.isdigit()]
    return max([*written, *failed]) + 1


def _error_of(
    records: Path, rank: int, failed: Mapping[int, int], *, memory_kills: bool, elsewhere: bool
) -> WorkerError | None:
    record = read_record(records, rank)
    if record is not None and record.failure is not None:
        kind: type[WorkerError] = InfrastructureError
        if record.failure.failure is FailureClass.INPUT:
            kind = InputError
        elif record.failure.reason == "PeerLost":
            kind = PeerLostError
        return kind(record.failure.reason, record.failure.message)
    code = failed.get(rank)
    if code is None:
        return None
    if code in {EXIT_INTERRUPTED, -signal.SIGTERM}:
        return PeerLostError("Interrupted", "the training was asked to end")
    if code == -signal.SIGABRT and elsewhere:
        return PeerLostError(ABORTED, f"process {rank} was aborted, as NCCL does when another pod is gone")
    if code == -signal.SIGKILL and memory_kills:
        return out_of_memory(f"process {rank} was killed because the pod's memory was full")
    return InfrastructureError("ProcessEnded", f"process {rank} ended (exit code {code}); see the pod's log")
