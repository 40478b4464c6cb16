"""What training remembers beside its checkpoints."""

from safety_worker.training.records import (
    MetricsFile,
    Validated,
    count_in_row,
    count_resume,
    read_metrics,
    read_resumes,
    read_validated,
)


def test_resumes_are_counted_across_restarts(tmp_path):
    assert read_resumes(tmp_path) == 0
    assert count_resume(tmp_path) == 1
    assert count_resume(tmp_path) == 2
    assert read_resumes(tmp_path) == 2


def test_a_resumed_training_drops_the_steps_that_it_repeats(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, 0)
    for step in (1, 2, 3):
        metrics.append(step=step, loss=float(step))
    resumed = MetricsFile(path, 2)
    resumed.append(step=3, loss=9.0)
    assert [line["loss"] for line in read_metrics(path)] == [1.0, 2.0, 9.0]
    assert resumed.last("loss") == 9.0
    assert resumed.last("validation_loss") is None


def test_a_cut_last_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert [line["step"] for line in read_metrics(path)] == [1]


def test_other_processes_leave_the_file_alone(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path, 0).append(step=1, loss=1.0)
    MetricsFile(path, 0, writable=False).append(step=2, loss=2.0)
    assert [line["step"] for line in read_metrics(path)] == [1]


def test_the_best_loss_is_the_lowest_and_the_first_of_equals():
    lines = [
        {"step": 5, "validation_loss": 2.0},
        {"step": 6, "loss": 1.0},
        {"step": 10, "validation_loss": 1.5},
    ]
    lines += [{"step": 15, "validation_loss": 1.5}, {"step": 20, "validation_loss": 1.7}]
    found = read_validated(lines)
    assert found == Validated(best_step=10, best_loss=1.5, without_gain=2)
    assert found.stops_after(2)
    assert not found.stops_after(3)


def test_without_patience_or_measurement_nothing_stops():
    assert not Validated(1, 2.0, 1000).stops_after(None)
    assert not Validated().stops_after(1)


def test_only_what_happens_in_the_same_step_is_in_a_row(tmp_path):
    path = tmp_path / "hangs.json"
    assert [count_in_row(path, step) for step in (3, 3, 4, 3, 3, 3)] == [1, 2, 1, 1, 2, 3]
