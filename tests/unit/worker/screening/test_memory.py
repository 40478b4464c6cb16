"""Batches that do not fit into memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_records.result import EXIT_INPUT
from safety_worker.errors import InputError
from safety_worker.screening.encoding import batches_by_length
from safety_worker.screening.memory import run_batches, told_memory


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


FULL = [
    OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


class Device:
    """Has room for so many tokens."""

    def __init__(self, lengths: list[int], room: int, error: Exception = FULL[0]) -> None:
        self.lengths, self.room, self.error = lengths, room, error
        self.failures = self.released = 0

    def work(self, batch: list[int]) -> list[int]:
        if len(batch) * max(self.lengths[n] for n in batch) > self.room:
            self.failures += 1
            raise self.error
        return [self.lengths[n] for n in batch]

    def release(self) -> None:
        self.released += 1

    def run(self, budget: int) -> dict[int, int]:
        batches = batches_by_length(self.lengths, budget)
        made = list(run_batches(batches, self.lengths, self.work, self.release))
        assert sorted(n for batch, _ in made for n in batch) == list(range(len(self.lengths)))
        return {n: length for batch, found in made for n, length in zip(batch, found, strict=True)}


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    room=st.integers(30, 200),
    budget=st.integers(30, 2000),
    error=st.sampled_from(FULL),
)
def test_every_row_has_its_result_where_one_row_fits(lengths, room, budget, error) -> None:
    device = Device(lengths, room, error)
    assert device.run(budget) == dict(enumerate(lengths))
    assert device.failures == device.released
    assert device.failures <= 7, "batches behind one that did not fit are as small"


def test_a_row_that_does_not_fit_by_itself_ends_at_once() -> None:
    device = Device([8, 8, 8, 8], 7)
    with pytest.raises(OutOfMemoryError):
        device.run(32)
    assert device.failures == 3, "four rows, two, one"


def test_another_error_is_no_reason_to_try_less() -> None:
    device = Device([1, 1], 1, RuntimeError("CUDA error: an illegal memory access"))
    with pytest.raises(RuntimeError, match="illegal"):
        device.run(2)
    assert device.failures == 1


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (FULL[0], "OutOfGpuMemory", "lower screening.maxTokens"),
        (FULL[1], "OutOfMemory", "screening.compute.resources.limits.memory"),
        (FULL[2], "OutOfMemory", "lower screening.compute.batchTokens"),
    ],
)
def test_a_full_memory_is_told_with_what_helps_and_not_tried_again(error, reason, remedy) -> None:
    with pytest.raises(InputError, match=remedy) as caught, told_memory():
        raise error
    assert (caught.value.reason, caught.value.exit_code) == (reason, EXIT_INPUT)


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(ValueError, match="x"), told_memory():
        raise ValueError("x")
