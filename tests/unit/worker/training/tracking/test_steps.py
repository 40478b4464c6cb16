"""The steps of a metrics file that grows, is cut by a kill, and is put in place anew."""

from tests.unit.worker.training.tracking.runs import write_steps

from safety_worker.training.records import MetricsFile
from safety_worker.training.tracking.steps import StepReader


def numbers(steps):
    return [step.number for step in steps]


def test_a_step_is_given_once_it_is_whole_and_the_last_one_at_the_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    reader = StepReader(path)
    assert reader.take(100) == []
    write_steps(path, range(1, 11))
    assert numbers(reader.take(100)) == list(range(1, 10))
    assert reader.take(100) == []
    (last,) = reader.take(100, ended=True)
    assert last == (10, {"train/epoch": 1.0, "train/loss": 0.1, "eval/loss": 0.2})


def test_half_a_line_is_left_for_the_next_look(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo', encoding="utf-8")
    reader = StepReader(path)
    assert reader.take(100) == []
    with path.open("a", encoding="utf-8") as stream:
        stream.write('ss": 1.0}\nno json\n[1]\n{"step": 3, "loss": NaN}\n{"step": 4, "loss": 0.5}\n')
    assert reader.take(100) == [(1, {"train/loss": 2.0}), (2, {"train/loss": 1.0})]


def test_a_training_that_resumes_gives_no_step_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_steps(path, range(1, 8))
    reader = StepReader(path)
    assert numbers(reader.take(100)) == [1, 2, 3, 4, 5, 6]
    MetricsFile(path, 4)
    write_steps(path, range(5, 10))
    assert numbers(reader.take(100)) == [7, 8]


def test_a_long_file_is_read_in_parts(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_steps(path, range(1, 1001))
    reader = StepReader(path)
    found = [numbers(reader.take(300, ended=True)) for _ in range(5)]
    assert [len(part) for part in found] == [300, 300, 300, 100, 0]
    assert [number for part in found for number in part] == list(range(1, 1001))
