"""An adapter becomes the model that PEFT makes of it and its base: the same bytes in every tensor."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace
from tests.worker_models.conftest import ROOT

from safety_worker.errors import InputError
from safety_worker.models import adapter_merge
from safety_worker.models.safetensors_files import read_header

SCRIPT = Path(__file__).with_name("adapters_of_peft.py")
LINEAR = ["q_proj", "v_proj", "down_proj"]
CASES: dict[str, dict[str, Any]] = {
    "linear": {"base": "llama", "target_modules": LINEAR, "r": 4, "lora_alpha": 16},
    "stabilized": {"base": "llama", "target_modules": "all-linear", "r": 8, "use_rslora": True},
    "patterns": {
        "base": "llama",
        "target_modules": LINEAR,
        "r": 4,
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 8},
        "alpha_pattern": {"v_proj": 32, r"layers\.0\..*down_proj": 3},
    },
    "embeddings": {"base": "llama", "target_modules": ["embed_tokens", "lm_head"], "r": 4},
    "saved-whole": {
        "base": "llama",
        "target_modules": LINEAR,
        "modules_to_save": ["embed_tokens", "lm_head", "norm"],
    },
    "more-tokens": {"base": "llama", "target_modules": LINEAR, "tokens": 104},
    "tied-more-tokens": {"base": "tied", "target_modules": LINEAR, "tokens": 104},
    "inputs-first": {"base": "gpt2", "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True},
    "tied-output": {"base": "tied", "target_modules": ["q_proj", "embed_tokens"]},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), json.dumps(CASES)]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def fetch(workplace: Workplace, written: Path, name: str) -> tuple[Any, Path]:
    (workplace.inputs / "pvc").mkdir()
    (workplace.inputs / "pvc/models").symlink_to(written)
    base = f"pvc://models/{CASES[name]['base']}"
    result = workplace.run("fetch", uri=f"pvc://models/{name}", baseUri=base, chat=False)
    assert result.output is not None
    return result, workplace.artifacts / result.output.uri


def bytes_of(folder: Path) -> dict[str, tuple[object, object, bytes]]:
    return {
        name: (tensor.dtype, tensor.shape, b"".join(tensor.read(path)))
        for path in folder.glob("*.safetensors")
        for name, tensor in read_header(path).items()
    }


@pytest.mark.parametrize("name", [name for name in CASES if name != "tied-output"])
def test_a_merged_adapter_is_what_peft_merges(name: str, written: Path, workplace: Workplace) -> None:
    result, folder = fetch(workplace, written, name)
    expected = written / f"{name}-merged"
    assert bytes_of(folder) == bytes_of(expected)
    sizes = [json.loads((path / "config.json").read_text())["vocab_size"] for path in (folder, expected)]
    assert sizes[0] == sizes[1]
    assert len({result.merged.base.digest, result.merged.adapter.digest, result.output.digest}) == 3


def test_large_tensors_are_computed_in_blocks(
    written: Path, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_merge, "BLOCK_NUMBERS", 256)
    _, folder = fetch(workplace, written, "embeddings")  # in bfloat16, which hides the last bit of float32
    assert bytes_of(folder) == bytes_of(written / "embeddings-merged")


def test_a_change_of_one_of_two_tied_layers_is_refused(written: Path, workplace: Workplace) -> None:
    with pytest.raises(InputError, match="one layer for its input and its output"):
        fetch(workplace, written, "tied-output")
