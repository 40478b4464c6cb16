"""Batches that do not fit into memory: half as many tokens, down to one row, and then a reason.

A row's score depends on its batch by rounding alone. Knows no torch; what is to be freed after an error is
given by the caller.
"""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from safety_records.screening import SCREENING_MEMORY_REMEDY
from safety_worker.errors import InputError
from safety_worker.memory_errors import is_gpu_full, is_pod_full

Result = TypeVar("Result")

GPU_REMEDY = "lower screening.maxTokens, or use GPUs with more memory"
"""Where one row, or the model itself, does not fit into a GPU."""


def run_batches(
    batches: Sequence[list[int]],
    lengths: Sequence[int],
    work: Callable[[list[int]], Result],
    release: Callable[[], None],
) -> Iterator[tuple[list[int], Result]]:
    """Work on batches; one that does not fit is halved, and those that follow are as small.

    Parameters
    ----------
    batches
        Positions of rows, the longest first.
    lengths
        Tokens of each row, by position.
    work
        Gives the result of a batch.
    release
        Gives memory back that a failed batch leaves.

    Yields
    ------
    tuple
        A batch that did fit, and its result.

    Raises
    ------
    Exception
        What ``work`` raises: a full memory where one row does not fit.
    """
    waiting, most = list(reversed(batches)), sys.maxsize
    while waiting:
        batch = waiting.pop()
        tokens = len(batch) * max(lengths[n] for n in batch)
        if tokens > most and len(batch) > 1:
            waiting += _halves(batch)
            continue
        found = _attempt(batch, work)
        if found:
            yield batch, found[0]
            continue
        most = tokens // 2
        gc.collect()  # behind the attempt, whose error kept its tensors
        release()
        words = f"screening: {len(batch)} rows do not fit into memory: trying half of them"
        print(words, file=sys.stderr)  # noqa: T201 - the log
        waiting.append(batch)


def _attempt(batch: list[int], work: Callable[[list[int]], Result]) -> list[Result]:
    """One result; none where several rows do not fit."""
    try:
        return [work(batch)]
    except Exception as error:
        if len(batch) == 1 or not (is_gpu_full(error) or is_pod_full(error)):
            raise
        return []


def _halves(batch: list[int]) -> list[list[int]]:
    """Both halves, the first last."""
    middle = -(-len(batch) // 2)
    return [batch[middle:], batch[:middle]]


@contextmanager
def told_memory() -> Iterator[None]:
    """Raise the reason and the remedy of a full memory: another try would end the same."""
    try:
        yield
    except Exception as error:
        if is_gpu_full(error):
            words = f"the model, or one row, does not fit into the GPU's memory: {GPU_REMEDY}"
            raise InputError("OutOfGpuMemory", f"screening: {words} ({str(error)[:300]})") from error
        if is_pod_full(error):
            words = f"the pod has no memory left: {SCREENING_MEMORY_REMEDY}"
            raise InputError("OutOfMemory", f"screening: {words}") from error
        raise
