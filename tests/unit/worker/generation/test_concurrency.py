"""How many requests a server gets: simulated servers of known speed, on a clock of their own."""

import heapq
import random
from collections.abc import Callable

import pytest

from safety_worker.generation.concurrency import FIRST_LIMIT, AdaptiveLimit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def simulate(
    limit: AdaptiveLimit,
    clock: Clock,
    lanes: int,
    answers: int,
    *,
    tokens: Callable[[], int] = lambda: 100,
    refuse_above: int = 10**9,
) -> float:
    """A server that works on ``lanes`` requests at a time, 100 tokens a second each; others wait.

    Gives its speed in tokens a second. Always as many requests are in flight as the limit allows.
    """
    start = clock.now
    served: list[float] = []
    flying: list[tuple[float, float, int]] = []
    done = total = 0
    while done < answers:
        while len(flying) < limit.value:
            limit.used(len(flying) + 1)
            if len(flying) >= refuse_above:
                limit.overloaded(clock.now)
                break
            length = tokens()
            begin = clock.now if len(served) < lanes else max(clock.now, heapq.heappop(served))
            heapq.heappush(served, begin + length / 100)
            heapq.heappush(flying, (begin + length / 100, clock.now, length))
        clock.now, began, length = heapq.heappop(flying)
        limit.succeeded(clock.now - began, length)
        done += 1
        total += length
    return total / (clock.now - start)


def test_it_grows_to_the_maximum_where_the_server_gets_faster() -> None:
    clock = Clock()
    limit = AdaptiveLimit(256, clock)
    assert limit.value == FIRST_LIMIT
    simulate(limit, clock, lanes=10_000, answers=2_000)
    assert limit.value == 256


@pytest.mark.parametrize("lanes", [24, 60, 100])
@pytest.mark.parametrize("long_tail", [False, True])
def test_it_keeps_the_server_busy_without_a_long_queue(lanes: int, long_tail: bool) -> None:
    clock = Clock()
    limit = AdaptiveLimit(1024, clock)
    lengths = random.Random(1)

    def tokens() -> int:
        return min(4_000, int(20 * lengths.paretovariate(1.2))) if long_tail else 100

    simulate(limit, clock, lanes, answers=4_000, tokens=tokens)
    speed = simulate(limit, clock, lanes, answers=6_000, tokens=tokens)
    assert speed > 0.9 * lanes * 100
    assert limit.value < 800, "most of what it may do would only wait"


def test_a_refusal_for_load_halves_it_and_it_comes_back_step_by_step() -> None:
    clock = Clock()
    limit = AdaptiveLimit(64, clock)
    simulate(limit, clock, lanes=1_000, answers=500)
    assert limit.value == 64
    limit.overloaded(clock.now)
    assert limit.value == 32
    before = limit.value
    simulate(limit, clock, lanes=1_000, answers=32 * 7)
    assert before < limit.value < 64
    simulate(limit, clock, lanes=1_000, answers=2_000)
    assert limit.value == 64


def test_a_steady_one_stays_at_its_maximum_however_slow_the_server_and_comes_back_after_an_overload() -> None:
    clock = Clock()
    limit = AdaptiveLimit(64, clock, steady=True)
    assert limit.value == 64
    simulate(limit, clock, lanes=8, answers=4_000)
    assert limit.value == 64
    limit.overloaded(clock.now)
    assert limit.value == 32
    simulate(limit, clock, lanes=8, answers=4_000)
    assert limit.value == 64


def test_requests_that_were_in_flight_together_count_once() -> None:
    clock = Clock()
    clock.now = 10.0
    limit = AdaptiveLimit(64, clock)
    clock.now = 11.0
    for _ in range(16):
        limit.overloaded(started=10.5)
    assert limit.value == FIRST_LIMIT // 2
    limit.overloaded(started=11.5)
    assert limit.value == FIRST_LIMIT // 4


def test_it_never_falls_below_one_nor_rises_above_its_maximum() -> None:
    clock = Clock()
    limit = AdaptiveLimit(5, clock)
    assert limit.value == 5
    for _ in range(10):
        clock.now += 1
        limit.overloaded(clock.now)
    assert limit.value == 1
    simulate(limit, clock, lanes=100, answers=200)
    assert limit.value == 5


def test_a_server_that_refuses_above_a_bound_is_used_near_that_bound() -> None:
    clock = Clock()
    limit = AdaptiveLimit(512, clock)
    speed = simulate(limit, clock, lanes=10_000, answers=3_000, refuse_above=40)
    assert speed > 0.6 * 40 * 100
    assert limit.value <= 80


def test_a_limit_that_is_not_reached_is_not_raised() -> None:
    clock = Clock()
    limit = AdaptiveLimit(64, clock)
    for _ in range(200):
        limit.used(3)
        clock.now += 1
        limit.succeeded(1.0, 100)
    assert limit.value == FIRST_LIMIT
