"""Bases whose files name weights otherwise than they are trained, and how a base gets to its GPU."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.worker.training.test_planning import stage

from safety_worker.errors import InputError

INVERSE = "model.layers.0.self_attn.rotary_emb.inv_freq"
"""A buffer of old models, which nobody trains."""


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
def test_shards_are_put_together_with_the_buffers_that_only_the_base_has(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - only images have it
    import torch.distributed.checkpoint as dcp  # noqa: PLC0415 - as above
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - as above

    from safety_worker.training.trl.export import consolidate  # noqa: PLC0415 - as above

    base, out = tmp_path / "base", tmp_path / "out"
    base.mkdir()
    out.mkdir()
    save_file({"weight": torch.zeros(2), INVERSE: torch.full((3,), 0.1)}, base / "model.safetensors")
    dcp.save({"model": {"weight": torch.ones(2)}}, checkpoint_id=tmp_path / "state", no_dist=True)
    consolidate(tmp_path / "state", base, torch.bfloat16, out)
    found = load_file(out / "model.safetensors")
    assert found["weight"].tolist() == [1.0, 1.0]
    assert found["weight"].dtype is torch.bfloat16
    assert torch.equal(found[INVERSE], torch.full((3,), 0.1))


def test_names_that_are_not_trained_are_refused_before_a_training(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - only images have it
    from safetensors.torch import save_file  # noqa: PLC0415 - as above

    from safety_worker.training.trl.export import check_names  # noqa: PLC0415 - as above

    save_file({"experts.0.up": torch.zeros(1), INVERSE: torch.zeros(1)}, tmp_path / "model.safetensors")
    check_names(tmp_path, {"experts.0.up"})
    with pytest.raises(InputError, match=r"CannotExport: .*experts\.0\.up and 0 more.*use ddp"):
        check_names(tmp_path, {"experts.up"})


@pytest.mark.parametrize(("device", "shards"), [("gpu", 1), ("gpu", 2), ("cpu", 1)])
def test_a_whole_base_goes_straight_to_the_gpu_of_its_process(
    device: str, shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415 - only images have it

    from safety_worker.training.trl import trainer  # noqa: PLC0415 - as above

    given: dict[str, Any] = {}

    def from_pretrained(_folder: Path, **more: Any) -> Any:
        given.update(more)
        return SimpleNamespace(config=SimpleNamespace())

    monkeypatch.setattr(trainer.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    trainer.load_model(stage(device=device), tmp_path, shards, 3)
    wanted = {"": torch.device("cuda", 3)} if (device, shards) == ("gpu", 1) else None
    assert given.get("device_map") == wanted
