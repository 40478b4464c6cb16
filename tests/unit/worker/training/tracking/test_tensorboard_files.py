"""TensorBoard's files, read back by our reader; tests/worker_models has TensorBoard's own."""

import pytest
from tests.unit.worker.training.tracking.runs import described

from safety_worker.training.event_file import EventFile
from safety_worker.training.tracking.steps import Step
from safety_worker.training.tracking.tensorboard_files import FILE_NAME, TensorBoardFiles, record
from safety_worker.training.tracking.tracker import TrackerError


def steps(*numbers):
    return [Step(number, {"train/loss": number / 4, "eval/loss": 1.0}) for number in numbers]


def read(tmp_path):
    scalars = EventFile(tmp_path / "tensorboard" / FILE_NAME).new_scalars()
    return [(item.step, item.value) for item in scalars if item.tag == "train/loss"]


def test_what_is_written_is_read(tmp_path):
    files = TensorBoardFiles(described(tmp_path))
    files.connect()
    files.send(steps(1, 2, 300))
    assert read(tmp_path) == [(1, 0.25), (2, 0.5), (300, 75.0)]
    assert (files.run, files.url) == ("0f3a11c2-5d1e9a7745aa0c31", "team/tensorboard-1")


def test_a_record_that_a_kill_cut_is_replaced_and_each_step_is_there_once(tmp_path):
    files = TensorBoardFiles(described(tmp_path))
    files.connect()
    files.send(steps(1, 2, 3))
    path = tmp_path / "tensorboard" / FILE_NAME
    path.write_bytes(path.read_bytes()[:-5])
    again = TensorBoardFiles(described(tmp_path))
    again.connect()
    again.send(steps(2, 3, 4))
    assert [step for step, _ in read(tmp_path)] == [1, 2, 3, 4]


def test_a_checksum_is_that_of_tfrecord_files():
    # RFC 3720, B.4: the CRC-32C of 32 zero bytes is 8a9136aa; masked as in TensorFlow's crc32c.h.
    assert record(bytes(32))[-4:] == (
        (0xA282EAD8 + (0x8A9136AA >> 15 | 0x8A9136AA << 17)) & 0xFFFFFFFF
    ).to_bytes(4, "little")


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(TrackerError, match="look at the artifacts claim"):
        TensorBoardFiles(described(tmp_path)).connect()
