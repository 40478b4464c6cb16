"""How a tracker's sender treats one that fails, comes back, and is told of the end."""

from pathlib import Path

from tests.unit.worker.training.tracking.runs import write_steps

from safety_worker.training.tracking.process import Sender
from safety_worker.training.tracking.steps import StepReader
from safety_worker.training.tracking.tracker import TrackerError


class Recorder:
    """A tracker that fails as it is told."""

    def __init__(self):
        self.run, self.url, self.calls, self.sent, self.fault = "r", "u", [], [], None

    def _call(self, name):
        self.calls.append(name)
        if self.fault is not None:
            raise self.fault

    def connect(self):
        self._call("connect")

    def send(self, steps):
        self._call("send")
        self.sent += [step.number for step in steps]

    def finish(self, ending):
        self._call(ending)


class Scene:
    def __init__(self, folder: Path):
        self.metrics, self.now, self.told = folder / "metrics.jsonl", 0.0, []
        self.tracker = Recorder()
        self.sender = Sender(
            self.tracker,
            StepReader(self.metrics),
            lambda *words: self.told.append(words),
            lambda: self.now,
        )


def test_what_a_tracker_missed_is_sent_when_it_is_back(tmp_path):
    scene = Scene(tmp_path)
    write_steps(scene.metrics, range(1, 5))
    scene.tracker.fault = TrackerError("it is down")
    scene.sender.send()
    assert scene.told[-1] == ("r", "u", "it is down")
    scene.now = 4.9
    scene.sender.send()
    assert scene.tracker.calls == ["connect"]
    scene.tracker.fault, scene.now = None, 5.0
    scene.sender.send()
    assert (scene.tracker.sent, scene.told[-1]) == ([1, 2, 3], ("r", "u", ""))


def test_steps_that_were_not_taken_are_kept_and_the_tracker_is_connected_anew(tmp_path):
    scene = Scene(tmp_path)
    scene.sender.send()
    write_steps(scene.metrics, range(1, 5))
    scene.tracker.fault = TrackerError("it went away")
    scene.sender.send()
    scene.tracker.fault, scene.now = None, 60.0
    scene.sender.send()
    assert scene.tracker.calls == ["connect", "send", "connect", "send"]
    assert scene.tracker.sent == [1, 2, 3]


def test_waits_between_tries_grow_to_five_minutes_and_start_again_after_a_success(tmp_path):
    scene = Scene(tmp_path)
    scene.tracker.fault = TrackerError("it is down")
    times = []
    for second in range(1200):
        scene.now = float(second)
        before = len(scene.tracker.calls)
        scene.sender.send()
        times += [second] if len(scene.tracker.calls) > before else []
    assert times == [0, 5, 15, 35, 75, 155, 315, 615, 915]
    scene.tracker.fault, scene.now = None, 2000.0
    scene.sender.send()
    scene.tracker.fault = TrackerError("down again")
    write_steps(scene.metrics, range(1, 4))
    scene.sender.send()
    scene.now, before = 2005.0, len(scene.tracker.calls)
    scene.sender.send()
    assert len(scene.tracker.calls) == before + 1


def test_the_end_is_tried_whatever_was_before_and_sends_the_last_step(tmp_path):
    scene = Scene(tmp_path)
    scene.tracker.fault = TrackerError("it is down")
    scene.sender.send()
    scene.tracker.fault = None
    write_steps(scene.metrics, range(1, 4))
    scene.sender.send("finished")
    assert scene.tracker.sent == [1, 2, 3]
    assert scene.tracker.calls[-1] == "finished"


def test_what_a_library_raises_is_told_by_its_kind_only(tmp_path):
    scene = Scene(tmp_path)
    scene.tracker.fault = ValueError("a secret")
    scene.sender.send()
    assert scene.told[-1][2] == "sending failed (ValueError)"
