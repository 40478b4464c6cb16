"""What a process wants after SIGTERM, by the time that is left."""

import pytest

from safety_worker.training.trl.stopping import GRACE_SECONDS, Interruption, Stop, least_left


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def interrupted(*, save_seconds, passed=0.0, grace_seconds=None):
    clock = Clock()
    interruption = Interruption(grace_seconds, clock)
    interruption.in_training = True
    interruption.save_seconds = save_seconds
    interruption._handle(15, None)
    clock.now += passed
    return interruption


def test_without_sigterm_training_goes_on():
    assert Interruption().wish() is Stop.GO_ON


def test_a_checkpoint_that_will_be_done_in_time_is_written():
    assert interrupted(save_seconds=20).wish() is Stop.SAVE


def test_one_that_would_not_is_not_begun():
    assert interrupted(save_seconds=GRACE_SECONDS).wish() is Stop.LEAVE


def test_a_step_that_took_long_leaves_less_time():
    assert interrupted(save_seconds=20, passed=25).wish() is Stop.LEAVE


def test_the_stage_says_how_much_time_its_pods_have():
    assert interrupted(save_seconds=200, grace_seconds=600).wish() is Stop.SAVE


def test_of_several_wishes_to_leave_counts_most():
    assert max(Stop.GO_ON, Stop.SAVE, Stop.LEAVE) is Stop.LEAVE


@pytest.mark.parametrize(
    ("each", "least"),
    [((None, 20.0), 20.0), ((20.0, None), 20.0), ((30.0, 0.0), 0.0), ((None, None), None)],
)
def test_all_processes_wait_as_long_as_the_one_with_least_time(each, least):
    told = []
    for seconds in each:
        least_left(seconds, lambda values: told.append(values[0]) or list(values))
    assert [least_left(seconds, lambda _values: [max(told)]) for seconds in each] == [least, least]


def test_before_training_the_process_ends_at_once():
    with pytest.raises(SystemExit, match="143"):
        Interruption()._handle(15, None)
