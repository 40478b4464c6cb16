"""When a request is asked again: delays, the server's wish, and the end."""

import math

import pytest

from safety_worker.generation import retries
from safety_worker.generation.retries import Retries, RetryPolicy, TryAgainError

NEVER = -math.inf


class Clock:
    """The time that tries are measured by."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(retries, "time", made)
    return made


def test_delays_double_with_jitter_up_to_the_longest(clock: Clock) -> None:
    tries = Retries(RetryPolicy(first_delay_seconds=1.0, longest_delay_seconds=8.0))
    for longest in (1, 2, 4, 8, 8):
        delay = tries.next_delay(TryAgainError("x"), NEVER)
        assert delay is not None
        assert longest / 2 <= delay <= longest


def test_the_server_is_not_asked_before_the_time_that_it_names(clock: Clock) -> None:
    assert Retries(RetryPolicy()).next_delay(TryAgainError("x", 77.0), NEVER) == 77


def test_another_replica_is_asked_at_once(clock: Clock) -> None:
    assert Retries(RetryPolicy()).next_delay(TryAgainError("x", elsewhere=True), NEVER) == 0


def test_it_ends_where_the_next_try_would_be_too_late(clock: Clock) -> None:
    tries = Retries(RetryPolicy(retry_seconds=60.0))
    assert tries.next_delay(TryAgainError("x", 50.0), NEVER) == 50
    clock.now += 50
    assert tries.next_delay(TryAgainError("x", 11.0), NEVER) is None
    assert tries.failures == 2


def test_a_busy_server_that_answers_others_is_waited_for_from_its_last_answer_on(clock: Clock) -> None:
    tries = Retries(RetryPolicy(retry_seconds=60.0))
    for _ in range(5):
        assert tries.next_delay(TryAgainError("x", 50.0, overload=True), clock.now) == 50
        clock.now += 50
    assert tries.next_delay(TryAgainError("x", 50.0), clock.now) is None


def test_json_without_an_answer_is_asked_for_four_times(clock: Clock) -> None:
    tries = Retries(RetryPolicy())
    delays = [tries.next_delay(TryAgainError("x", unreadable=True), NEVER) for _ in range(4)]
    assert [delay is None for delay in delays] == [False, False, False, True]
    assert tries.is_unreadable
