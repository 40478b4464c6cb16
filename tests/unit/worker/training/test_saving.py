"""In which order checkpoints are written, with a disk that stalls or is full."""

import threading

import pytest

from safety_records.training import COPY_ROOM, WRITTEN_BEHIND_BYTES
from safety_worker.training.ranks import ProcessRank
from safety_worker.training.trl import saving
from safety_worker.training.trl.saving import Saving

LARGE, SMALL = WRITTEN_BEHIND_BYTES, WRITTEN_BEHIND_BYTES - 1
FULL = OSError(28, "No space left on device")


class Peers:
    """One of some processes; ``largest`` gives what another one has where that is more."""

    def __init__(self, number=1, rank=0, other=0.0):
        self.place, self.number, self.other = ProcessRank(rank, number), number, other
        self.group = None

    def largest(self, values):
        return [max(value, self.other) for value in values]

    def apart(self):
        found = Peers(self.number)
        found.group = "apart"
        return found


class Disk:
    """Keeps what is written in order; the next write stalls, or fails, where that is asked for."""

    def __init__(self):
        self.done, self.error = [], None
        self.free = threading.Event()
        self.free.set()

    def write(self, state, group):
        self.free.wait()
        if self.error is not None:
            raise self.error
        self.done.append((dict(state), group))

    def complete(self, peers):
        self.done.append(("complete", peers.group))


@pytest.fixture(autouse=True)
def room(monkeypatch):
    monkeypatch.setattr(saving, "free_bytes", lambda: 2**50)
    monkeypatch.setattr(saving, "copy_of", dict)


@pytest.fixture
def disk():
    found = Disk()
    yield found
    found.free.set()


def save(one, disk, state, size=LARGE):
    one.begin(size, spread=False)
    one.write(state, disk.write)
    one.end(disk.complete)


def test_a_small_checkpoint_is_complete_when_training_goes_on(disk):
    one = Saving(Peers())
    save(one, disk, {"step": 1}, SMALL)
    assert disk.done == [({"step": 1}, None), ("complete", None)]
    assert not one.behind
    assert not one.check(), "nothing was written behind the training"


def test_a_large_one_is_written_as_it_was_and_completed_last_in_a_group_of_its_own(disk):
    one, state = Saving(Peers()), {"step": 1}
    disk.free.clear()
    save(one, disk, state)
    state["step"] = 2
    assert one.behind
    assert disk.done == []
    assert not one.check()
    disk.free.set()
    assert one.finish()
    assert disk.done == [({"step": 1}, "apart"), ("complete", "apart")]


def test_the_next_one_waits_until_the_one_before_is_complete(disk):
    one = Saving(Peers())
    disk.free.clear()
    save(one, disk, {"step": 1})
    next_one = threading.Thread(target=save, args=(one, disk, {"step": 2}))
    next_one.start()
    assert disk.done == []
    disk.free.set()
    next_one.join()
    one.finish()
    assert [what for what, _ in disk.done] == [{"step": 1}, "complete", {"step": 2}, "complete"]


def test_after_sigterm_the_last_one_is_written_while_training_waits_behind_the_one_before(disk):
    one = Saving(Peers())
    save(one, disk, {"step": 1})
    one.waits = True
    save(one, disk, {"step": 2})
    assert not one.behind
    assert disk.done[-2:] == [({"step": 2}, None), ("complete", None)]
    assert len(disk.done) == 4


def test_one_that_will_not_be_finished_in_time_is_waited_for_no_longer_and_stays_incomplete(disk):
    one = Saving(Peers())
    disk.free.clear()
    save(one, disk, {"step": 1})
    assert not one.finish(0)
    assert disk.done == []


def test_a_full_disk_is_told_at_the_next_step_and_nothing_is_called_complete(disk):
    one = Saving(Peers())
    disk.error = FULL
    save(one, disk, {"step": 1})
    one._background._thread.join()
    with pytest.raises(OSError, match="No space left"):
        one.check()
    assert disk.done == []


@pytest.mark.parametrize("ask", [lambda one: one.finish(), lambda one: one.begin(SMALL, spread=False)])
def test_a_full_disk_is_told_by_whatever_waits_for_the_checkpoint(disk, ask):
    one = Saving(Peers())
    disk.error = FULL
    save(one, disk, {"step": 1})
    with pytest.raises(OSError, match="No space left"):
        ask(one)


def test_what_is_completed_behind_the_training_is_told_once(disk):
    one = Saving(Peers())
    save(one, disk, {"step": 1})
    one._background._thread.join()
    assert one.check()
    assert not one.check()


@pytest.mark.parametrize(
    ("processes", "spread", "copies"),
    [((1, 1), False, 1), ((4, 4), False, 1), ((4, 4), True, 1), ((4, 2), True, 0.5)],
)
def test_training_waits_where_the_pod_has_no_room_for_its_copies(monkeypatch, processes, spread, copies):
    """Of sharded states each process copies its part, else the first one all of it."""
    number, local = processes
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    needed = int(LARGE * copies * COPY_ROOM)
    for free, behind in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(saving, "free_bytes", lambda free=free: free)
        one = Saving(Peers(number))
        one.begin(LARGE, spread=spread)
        assert one.behind is behind
        assert len(one.warnings) == (not behind)


def test_all_processes_wait_where_one_pod_has_no_room(disk):
    one = Saving(Peers(number=2, rank=1, other=2.0**30))
    save(one, disk, {"step": 1})
    save(one, disk, {"step": 2})
    assert not one.behind
    (warning,) = one.warnings
    assert warning == (
        "training waited for its checkpoints of 0.1 GiB: to write them while it goes on, training pods "
        "would need 1.0 GiB more memory"
    )
