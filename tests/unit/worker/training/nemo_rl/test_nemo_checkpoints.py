"""Which checkpoints of NeMo-RL are whole, and what is cleared away before a start."""

import shutil

from tests.unit.worker.training.nemo_rl.nemo import checkpoint

from safety_worker.training.nemo_rl.checkpoints import (
    best_checkpoint,
    clear_debris,
    last_checkpoint,
    list_checkpoints,
)
from safety_worker.training.nemo_rl.sealing import seal_new


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_and_the_best_checkpoint_are_found_by_step_and_loss(tmp_path):
    for step, loss in ((2, 0.5), (10, 0.7), (4, 0.5), (6, float("nan"))):
        checkpoint(tmp_path, step, loss)
    assert last_checkpoint(tmp_path).step == 10
    assert best_checkpoint(tmp_path).step == 4
    assert best_checkpoint(tmp_path / "none") is None
    assert list_checkpoints(tmp_path / "none") == []


def test_a_half_written_checkpoint_is_removed_and_an_interrupted_replacement_given_back(tmp_path):
    checkpoint(tmp_path, 2).rename(tmp_path / "old_step_2")
    checkpoint(tmp_path, 4)
    shutil.copytree(tmp_path / "step_4", tmp_path / "old_step_4")
    (tmp_path / "tmp_step_6").mkdir()
    assert clear_debris(tmp_path) == ()
    assert names(tmp_path) == ["step_2", "step_4"]


def test_a_damaged_checkpoint_is_moved_aside_and_the_one_before_is_the_last(tmp_path):
    checkpoint(tmp_path, 2)
    (checkpoint(tmp_path, 4) / "training_info.json").write_text('{"total_st', encoding="utf-8")
    weights = next(checkpoint(tmp_path, 6).rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    (checkpoint(tmp_path, 8) / "policy/optimizer/optim/.metadata").unlink()
    optimizer = checkpoint(tmp_path, 10) / "policy/optimizer/optim/__0_0.distcp"
    optimizer.write_bytes(b"states")
    seal_new(tmp_path)
    optimizer.write_bytes(b"stat")
    said = clear_debris(tmp_path)
    assert [text.split(":")[0] for text in said] == [
        f"checkpoint step_{step} is not used" for step in (10, 4, 6, 8)
    ]
    assert last_checkpoint(tmp_path).step == 2
    assert said[0].endswith("policy/optimizer/optim/__0_0.distcp is cut off")
    assert clear_debris(tmp_path) == said  # told as long as it is there
    assert names(tmp_path) == [
        "damaged_step_10",
        "damaged_step_4",
        "damaged_step_6",
        "damaged_step_8",
        "step_2",
    ]


def test_a_spoilt_header_that_asks_for_more_than_the_file_has_is_damage_and_reads_nothing(tmp_path):
    weights = next(checkpoint(tmp_path, 2).rglob("*.safetensors"))
    weights.write_bytes(b"\xff" * 6 + b"\x0f\0" + weights.read_bytes()[8:])
    (said,) = clear_debris(tmp_path)
    assert said.endswith(f"{weights.name} is cut off")


def test_a_checkpoint_whose_files_are_as_they_were_is_used(tmp_path):
    checkpoint(tmp_path, 2)
    seal_new(tmp_path)
    assert clear_debris(tmp_path) == ()
    (tmp_path / "step_2/policy/optimizer/optim/.metadata").unlink()
    assert clear_debris(tmp_path) == (
        "checkpoint step_2 is not used: it has no policy/optimizer/optim/.metadata",
    )
