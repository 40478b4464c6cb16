"""What errors of the real libraries mean, and what only they can refuse."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from torch.distributed.checkpoint.api import CheckpointException
from torch.utils.data import BatchSampler, SequentialSampler

from safety_worker.errors import WorkerError
from safety_worker.training.peer_loss import MAX_LOSSES
from safety_worker.training.ranks import ProcessRank
from safety_worker.training.trl.filling import FilledBatches, with_blank
from safety_worker.training.trl.library_errors import told_errors
from safety_worker.training.trl.trainer import count_tokens

LOST = RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")


def told(error: BaseException, work: Path, processes: int = 1) -> WorkerError:
    with pytest.raises(WorkerError) as caught, told_errors(ProcessRank(0, processes), work):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("error", "reason", "code"),
    [
        (CheckpointException("save", {}), "CheckpointFailed", 1),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "OutOfMemory", 42),
        (OSError(28, "No space left on device"), "ArtifactStoreFull", 1),
    ],
)
def test_errors_of_libraries_are_told_with_a_reason(
    tmp_path: Path, error: BaseException, reason: str, code: int
) -> None:
    found = told(error, tmp_path)
    assert (found.reason, found.exit_code) == (reason, code)


def test_others_that_end_again_and_again_without_progress_count_in_the_end(tmp_path: Path) -> None:
    found = [told(LOST, tmp_path, processes=2) for _ in range(MAX_LOSSES + 1)]
    assert {error.reason for error in found[:-1]} == {"PeerLost"}
    assert (found[-1].reason, found[-1].exit_code) == ("PeersKeepEnding", 1)


def test_rows_of_which_nothing_is_learnt_are_refused() -> None:
    rows = Dataset.from_list([{"labels": [-100, -100]}])
    trainer: Any = SimpleNamespace(train_dataset=rows)
    with pytest.raises(WorkerError, match=r"^NothingTrained: "):
        count_tokens(trainer)


@pytest.mark.parametrize(("rows", "processes"), [(5, 2), (6, 3), (1, 3), (8, 2)])
def test_every_row_comes_once_and_what_fills_a_pass_is_the_blank_row(rows: int, processes: int) -> None:
    whole = BatchSampler(SequentialSampler(range(rows)), 2, drop_last=False)
    batches = FilledBatches(whole, rows, processes)
    found = list(batches)
    assert len(found) == len(batches)
    assert len(found) % processes == 0
    assert {len(batch) for batch in found} == {2}
    assert [row for batch in found for row in batch if row != rows] == list(range(rows))


def test_nothing_is_learnt_of_the_blank_row() -> None:
    rows = Dataset.from_list([{"input_ids": [1, 2], "labels": [-100, 2]}])
    assert with_blank(rows)[1] == {"input_ids": [1, 2], "labels": [-100, -100]}
