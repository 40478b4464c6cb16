"""Which checkpoints count after a kill at any moment."""

import pytest

from safety_worker.training import checkpoints


def write(folder, step, *, complete=True):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"x" * 10)
    (path / "optimizer.pt").write_bytes(b"y" * 20)
    if complete:
        checkpoints.mark_complete(path)
    return path


def test_no_folder_has_no_checkpoint(tmp_path):
    assert checkpoints.latest_complete(tmp_path / "absent") is None


def test_the_latest_is_the_highest_step_not_the_highest_name(tmp_path):
    for step in (5, 20, 100):
        write(tmp_path, step)
    found = checkpoints.latest_complete(tmp_path)
    assert found is not None
    assert found.step == 100


def test_a_checkpoint_without_marker_does_not_count(tmp_path):
    write(tmp_path, 5)
    write(tmp_path, 10, complete=False)
    found = checkpoints.latest_complete(tmp_path)
    assert found is not None
    assert found.step == 5


def test_a_checkpoint_with_a_cut_file_does_not_count(tmp_path):
    path = write(tmp_path, 5)
    (path / "optimizer.pt").write_bytes(b"y")
    assert not checkpoints.is_complete(path)


def test_a_checkpoint_with_a_missing_file_does_not_count(tmp_path):
    path = write(tmp_path, 5)
    (path / "model.safetensors").unlink()
    assert checkpoints.latest_complete(tmp_path) is None


@pytest.mark.parametrize("marker", ["", '{"files": {"model.saf', "[]", "{}"])
def test_behind_a_damaged_marker_the_checkpoint_before_counts(tmp_path, marker):
    write(tmp_path, 5)
    (write(tmp_path, 10) / checkpoints.MARKER).write_text(marker)
    found = checkpoints.latest_complete(tmp_path)
    assert found is not None
    assert found.step == 5


def test_half_written_checkpoints_are_removed_and_others_stay(tmp_path):
    write(tmp_path, 5)
    write(tmp_path, 10, complete=False)
    (tmp_path / "runs").mkdir()
    checkpoints.remove_incomplete(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-5", "runs"]


@pytest.mark.parametrize(("keep", "left"), [(1, [15]), (2, [10, 15]), (3, [5, 10, 15]), (9, [5, 10, 15])])
def test_pruning_keeps_the_newest(tmp_path, keep, left):
    for step in (5, 10, 15):
        write(tmp_path, step)
    checkpoints.prune(tmp_path, keep)
    assert [c.step for c in checkpoints.list_checkpoints(tmp_path)] == left


def test_pruning_never_counts_an_unfinished_checkpoint_as_kept(tmp_path):
    write(tmp_path, 5)
    write(tmp_path, 10, complete=False)
    checkpoints.prune(tmp_path, 1)
    found = checkpoints.latest_complete(tmp_path)
    assert found is not None
    assert found.step == 5


def test_the_best_checkpoint_stays_with_the_newest(tmp_path):
    for step in (5, 10, 15, 20):
        write(tmp_path, step)
    checkpoints.prune(tmp_path, 1, best=10)
    assert [c.step for c in checkpoints.list_checkpoints(tmp_path)] == [10, 20]


def test_a_flipped_bit_is_damage_although_sizes_are_right(tmp_path):
    path = write(tmp_path, 5)
    assert checkpoints.find_damage(path) == []
    (path / "model.safetensors").write_bytes(b"x" * 9 + b"z")
    assert checkpoints.is_complete(path)
    assert checkpoints.find_damage(path) == ["model.safetensors"]


def test_several_readers_find_all_damage_and_each_file_is_read_once(tmp_path):
    path = write(tmp_path, 5)
    for name in ("model.safetensors", "optimizer.pt"):
        (path / name).write_bytes(b"?" * (path / name).stat().st_size)
    found = [checkpoints.find_damage(path, part, 3) for part in range(3)]
    assert found == [["model.safetensors"], ["optimizer.pt"], []]


def test_what_others_have_sealed_is_what_counts(tmp_path):
    path = write(tmp_path, 5, complete=False)
    files = checkpoints.seal_files(path, ["optimizer.pt"]) | checkpoints.seal_files(
        path, ["model.safetensors"]
    )
    checkpoints.mark_complete(path, files, {"strategy": "fsdp"})
    assert checkpoints.is_complete(path)
    assert checkpoints.read_marker(path)["strategy"] == "fsdp"
