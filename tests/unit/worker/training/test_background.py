"""Work in a thread: what it ends with is raised where it is taken, once."""

import threading

import pytest

from safety_worker.training.background import Background


class Stalled:
    """Work that is done when it is let go."""

    def __init__(self, error=None):
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.error = error

    def __call__(self):
        self.begun.set()
        self.go_on.wait()
        if self.error is not None:
            raise self.error


def test_nothing_begun_is_nothing_to_wait_for():
    background = Background()
    assert background.finish()
    assert not background.is_over


def test_what_stalls_is_waited_for_no_longer_than_is_asked():
    background, work = Background(), Stalled()
    background.start(work)
    work.begun.wait()
    assert not background.finish(0)
    assert not background.is_over
    work.go_on.set()
    assert background.finish()


def test_what_ended_is_over_until_it_is_taken():
    background = Background()
    background.start(lambda: None)
    background._thread.join()
    assert background.is_over
    assert background.finish()
    assert not background.is_over


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_of_any_kind_is_raised_where_the_work_is_taken_and_only_once(error):
    background, work = Background(), Stalled(error)
    background.start(work)
    work.go_on.set()
    with pytest.raises(type(error)) as caught:
        background.finish()
    assert caught.value is error
    assert background.finish()


def test_one_thing_at_a_time():
    background, work = Background(), Stalled()
    background.start(work)
    with pytest.raises(AssertionError, match="one at a time"):
        background.start(lambda: None)
    work.go_on.set()
    background.finish()
