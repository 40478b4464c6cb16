"""A step that hangs is noticed, and nothing else is."""

from safety_worker.training.watchdog import SAVING_SECONDS, Watchdog


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def make(seconds=10.0):
    clock, hangs = Clock(), []
    return Watchdog(seconds, hangs.append, clock), clock, hangs


def test_a_step_within_its_limit_is_left_alone():
    dog, clock, hangs = make()
    clock.now += 10
    assert not dog.check()
    assert hangs == []


def test_a_step_beyond_it_is_told_with_its_seconds():
    dog, clock, hangs = make()
    clock.now += 11
    assert dog.check()
    assert hangs == [11]


def test_each_step_has_the_whole_limit():
    dog, clock, hangs = make()
    for _ in range(5):
        clock.now += 9
        dog.renew()
    assert not dog.check()
    assert hangs == []


def test_writing_a_checkpoint_may_take_longer_than_a_step_and_only_until_it_is_written():
    dog, clock, _ = make()
    dog.allow_saving()
    clock.now += SAVING_SECONDS
    assert not dog.check()
    dog.renew()
    clock.now += 11
    assert dog.check()
